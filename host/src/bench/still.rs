//! A store without I/O: what a host costs by itself.
//!
//! It takes every record and keeps an actor's last ones, as many as its ledger may ask for: one id in
//! 250,000 looks like a known one, and then the record is read. An actor that wakes finds none of
//! them. What is deployed is in a real store in memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aether_wit::Digest;
use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    address::Address,
    record::{Position, Stored},
    store::{
        ActivateError, Append, AppendError, Census, Deployment, EventStore, FeedError, Freshness,
        Page, Presence, Quarantine, Reach, RecordFeed, Scan, Snapshot, StoreError,
        embedded::EmbeddedStore,
    },
};

/// Records that are kept of an actor: those of its recent commands, as the model has it by default.
const KEPT: usize = 64;

/// A store that forgets.
#[derive(Debug)]
pub struct StillStore {
    registry: EmbeddedStore,
    last: AtomicU64,
    kept: Mutex<HashMap<Address, VecDeque<Stored>>>,
}

impl StillStore {
    /// An empty one, as it will stay.
    ///
    /// # Errors
    /// If the store in memory cannot be made.
    pub async fn new() -> Result<Arc<Self>> {
        let registry = EmbeddedStore::in_memory().await?;
        let (last, kept) = (AtomicU64::new(0), Mutex::default());
        Ok(Arc::new(Self { registry, last, kept }))
    }
}

#[async_trait]
impl EventStore for StillStore {
    fn describe(&self) -> String {
        "no store: records are taken and forgotten".to_owned()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn record_limit(&self) -> usize {
        usize::MAX
    }

    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let position = Position(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(append.actor).or_default();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Stored { position, bytes: append.bytes });
        Ok(position)
    }

    async fn read(
        &self,
        actor: &Address,
        from: Position,
        _: Freshness,
    ) -> Result<Page, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let records = kept.get(actor).into_iter().flatten();
        // Whoever names none of them wakes the actor, for whom it is a new one.
        let records = records.skip_while(|stored| stored.position != from);
        Ok(Page { records: records.cloned().collect(), more: false })
    }

    async fn head(&self, _: &Address) -> Result<Position, StoreError> {
        Ok(Position(0))
    }

    async fn newest_snapshot(&self, _: &Address) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn snapshot(&self, _: &Address, _: &Digest) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn save_snapshot(&self, _: &Address, _: Snapshot) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget_snapshot(&self, _: &Address) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find_command(&self, _: &Address, _: &str) -> Result<Vec<Position>, StoreError> {
        Ok(Vec::new())
    }

    async fn actors(
        &self,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<Address>, StoreError> {
        Ok(Vec::new())
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<RecordFeed, FeedError> {
        self.registry.feed(context, cursor).await
    }

    async fn scan(&self, context: &str, from: &Reach) -> Result<Scan, FeedError> {
        self.registry.scan(context, from).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        self.registry.put_blob(bytes).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.registry.blob(digest).await
    }

    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError> {
        self.registry.deployments(context).await
    }

    async fn contexts(&self) -> Result<Vec<String>, StoreError> {
        self.registry.contexts().await
    }

    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError> {
        self.registry.activate(deployment).await
    }

    async fn quarantine(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        self.registry.quarantine(actor, mark).await
    }

    async fn quarantined(&self, actor: &Address) -> Result<Option<Quarantine>, StoreError> {
        self.registry.quarantined(actor).await
    }

    async fn quarantines(&self, context: &str) -> Result<Vec<(Address, Quarantine)>, StoreError> {
        self.registry.quarantines(context).await
    }

    async fn release(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        self.registry.release(actor, mark).await
    }

    async fn repaired(&self, context: &str) -> Result<Vec<Address>, StoreError> {
        self.registry.repaired(context).await
    }

    async fn census(&self, context: &str) -> Result<Census, StoreError> {
        self.registry.census(context).await
    }

    async fn announce(&self, presence: &Presence) -> Result<Vec<Presence>, StoreError> {
        self.registry.announce(presence).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.registry.check().await
    }

    async fn close(&self) {
        self.registry.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::hosts::{Bench, address, deposit};

    #[tokio::test]
    async fn what_a_ledger_may_ask_for_is_there() {
        let (store, cache) = (StillStore::new().await.unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::on(store, cache.path(), "aether").await.unwrap();
        let actor = address("account", "a").unwrap();
        for _ in 0..KEPT + 9 {
            deposit(&bench.host, &actor).await.unwrap();
        }
        let read = |from| bench.store.read(&actor, Position(from), Freshness::Leader);
        assert_eq!(read(10).await.unwrap().records.len(), KEPT);
        assert!(read(0).await.unwrap().records.is_empty());
        assert!(read(9).await.unwrap().records.is_empty());
    }
}
