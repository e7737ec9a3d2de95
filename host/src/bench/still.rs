//! A store without I/O: what a host costs by itself.
//!
//! It takes every record and keeps none. What is deployed is in a real store in memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aether_wit::Digest;
use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    address::Address,
    record::Position,
    store::{
        ActivateError, Append, AppendError, Census, Deployment, EventStore, FeedError, Freshness,
        Page, Presence, Quarantine, Reach, RecordFeed, Scan, Snapshot, StoreError,
        embedded::EmbeddedStore,
    },
};

/// A store that forgets.
#[derive(Debug)]
pub struct StillStore {
    registry: EmbeddedStore,
    last: AtomicU64,
}

impl StillStore {
    /// An empty one, as it will stay.
    ///
    /// # Errors
    /// If the store in memory cannot be made.
    pub async fn new() -> Result<Arc<Self>> {
        let registry = EmbeddedStore::in_memory().await?;
        Ok(Arc::new(Self { registry, last: AtomicU64::new(0) }))
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

    async fn append(&self, _: Append) -> Result<Position, AppendError> {
        Ok(Position(self.last.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn read(&self, _: &Address, _: Position, _: Freshness) -> Result<Page, StoreError> {
        Ok(Page::default())
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
