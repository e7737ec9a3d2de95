//! A store in front of a store that loses answers, refuses, waits and forgets on command: what a
//! network does to a host, without a network.
//!
//! Several hosts may be started on one of these; it says that it is shared.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aether::{
    address::Address,
    record::Position,
    store::{
        ActivateError, Append, AppendError, Census, Deployment, EventStore, FeedError, Freshness,
        Page, Presence, Quarantine, RecordFeed, Snapshot, StoreError,
    },
};
use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

/// What happens to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// It is lost on its way, and so is the answer.
    RequestLost,
    /// It is stored, the answer is lost, and the try after that is refused by the version check:
    /// what a store that sends the same record again tells its caller.
    RefusedAfterStored,
    /// It is refused before it is sent.
    Refused,
    /// It is refused by the version check, as if others had written.
    Contended,
}

/// A store in front of a store.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    faults: Mutex<VecDeque<AppendFault>>,
    /// Permits of appends: none while they are held.
    gate: Semaphore,
    /// Records from this position on are not shown; 0 = all are.
    forgotten_from: AtomicU64,
    appends: AtomicU64,
}

/// Permits of an open gate: more than any test has appends in flight.
const OPEN: usize = 1 << 20;

impl FaultyStore {
    /// A store in front of `inner` that does nothing yet.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::default(),
            gate: Semaphore::new(OPEN),
            forgotten_from: AtomicU64::new(0),
            appends: AtomicU64::new(0),
        })
    }

    /// What happens to the next appends, one after the other.
    pub fn next_appends(&self, faults: &[AppendFault]) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// Appends wait from now on.
    pub fn hold_appends(&self) {
        self.gate.forget_permits(OPEN);
    }

    /// Appends go on.
    pub fn release_appends(&self) {
        self.gate.add_permits(OPEN);
    }

    /// How many appends have arrived.
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// The store behaves as if it had lost all records from `position` on.
    pub fn forget_from(&self, position: Position) {
        self.forgotten_from.store(position.0, Ordering::SeqCst);
    }

    fn is_forgotten(&self, position: Position) -> bool {
        let from = self.forgotten_from.load(Ordering::SeqCst);
        from > 0 && position.0 >= from
    }
}

fn lost() -> StoreError {
    StoreError("the answer was lost (injected)".to_owned())
}

#[async_trait]
impl EventStore for FaultyStore {
    fn describe(&self) -> String {
        format!("faults in front of {}", self.inner.describe())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn record_limit(&self) -> usize {
        self.inner.record_limit()
    }

    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.acquire().await.map_err(|_| AppendError::Unresolved(lost()))?;
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match fault {
            None => self.inner.append(append).await,
            Some(AppendFault::AnswerLost) => {
                self.inner.append(append).await?;
                Err(AppendError::Unresolved(lost()))
            }
            Some(AppendFault::RequestLost) => Err(AppendError::Unresolved(lost())),
            Some(AppendFault::RefusedAfterStored) => {
                let position = self.inner.append(append).await?;
                Err(AppendError::Conflict { last: Some(position) })
            }
            Some(AppendFault::Refused) => Err(AppendError::Unavailable(lost())),
            Some(AppendFault::Contended) => Err(AppendError::Conflict { last: None }),
        }
    }

    async fn read(
        &self,
        actor: &Address,
        from: Position,
        freshness: Freshness,
    ) -> Result<Page, StoreError> {
        let mut page = self.inner.read(actor, from, freshness).await?;
        page.records.retain(|stored| !self.is_forgotten(stored.position));
        Ok(page)
    }

    async fn head(&self, actor: &Address) -> Result<Position, StoreError> {
        let head = self.inner.head(actor).await?;
        Ok(if self.is_forgotten(head) { Position(0) } else { head })
    }

    async fn newest_snapshot(&self, actor: &Address) -> Result<Option<Snapshot>, StoreError> {
        self.inner.newest_snapshot(actor).await
    }

    async fn save_snapshot(&self, actor: &Address, snapshot: Snapshot) -> Result<(), StoreError> {
        self.inner.save_snapshot(actor, snapshot).await
    }

    async fn forget_snapshot(&self, actor: &Address) -> Result<(), StoreError> {
        self.inner.forget_snapshot(actor).await
    }

    async fn find_command(&self, actor: &Address, id: &str) -> Result<Vec<Position>, StoreError> {
        self.inner.find_command(actor, id).await
    }

    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Address>, StoreError> {
        self.inner.actors(context, aggregate, after, limit).await
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<RecordFeed, FeedError> {
        self.inner.feed(context, cursor).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        self.inner.put_blob(bytes).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(digest).await
    }

    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError> {
        self.inner.deployments(context).await
    }

    async fn contexts(&self) -> Result<Vec<String>, StoreError> {
        self.inner.contexts().await
    }

    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError> {
        self.inner.activate(deployment).await
    }

    async fn quarantine(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        self.inner.quarantine(actor, mark).await
    }

    async fn quarantined(&self, actor: &Address) -> Result<Option<Quarantine>, StoreError> {
        self.inner.quarantined(actor).await
    }

    async fn quarantines(&self, context: &str) -> Result<Vec<(Address, Quarantine)>, StoreError> {
        self.inner.quarantines(context).await
    }

    async fn release(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        self.inner.release(actor, mark).await
    }

    async fn repaired(&self, context: &str) -> Result<Vec<Address>, StoreError> {
        self.inner.repaired(context).await
    }

    async fn census(&self, context: &str) -> Result<Census, StoreError> {
        self.inner.census(context).await
    }

    async fn announce(&self, presence: &Presence) -> Result<Vec<Presence>, StoreError> {
        self.inner.announce(presence).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
