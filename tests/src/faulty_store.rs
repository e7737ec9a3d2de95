//! A store in front of a store that loses answers, refuses, waits and forgets on command: what a
//! network does to a host, without a network.
//!
//! Several hosts may be started on one of these; it says that it is shared.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aether::{
    address::Address,
    record::Position,
    store::{
        ActivateError, Append, AppendError, Census, Closing, Deployment, EventStore, FeedError,
        Freshness, Page, Presence, Quarantine, Reach, RecordFeed, Scan, Snapshot, StoreError,
    },
};
use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
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

/// What is asked of a store around a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`EventStore::activate`].
    Activate,
    /// [`EventStore::announce`].
    Announce,
    /// [`EventStore::close_events`].
    CloseEvents,
    /// [`EventStore::deployments`].
    Deployments,
}

/// What happens to such a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is lost on its way, and so is the answer.
    RequestLost,
}

/// A store in front of a store.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    faults: Mutex<VecDeque<AppendFault>>,
    /// Permits of appends. While these are held there are none but for single ones, which are used up.
    gate: Semaphore,
    /// Records from this position on are not shown; 0 = all are.
    forgotten_from: AtomicU64,
    appends: AtomicU64,
    /// Whose next question for a head waits for ever, until it is asked; and those that wait.
    held_head: Mutex<Option<Address>>,
    heads: AtomicU64,
    /// Records that are shown otherwise than they are.
    altered: Mutex<HashMap<Position, Bytes>>,
    /// A record that only the proof shows; 0 = all show all.
    hole: AtomicU64,
    /// How many reads have the hole.
    hole_reads: AtomicU64,
    /// How many reads are still answered.
    reads: AtomicU64,
    /// What others append behind the next reads.
    late: Mutex<VecDeque<Option<Append>>>,
    /// What others append behind the beginning of the next scan.
    behind_scan: Mutex<Option<Append>>,
    /// What happens to calls from the next closing on.
    behind_closing: Mutex<Vec<(Call, CallFault)>>,
    /// What happens to the next of these calls.
    calls: Mutex<Vec<(Call, CallFault)>>,
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
            held_head: Mutex::default(),
            heads: AtomicU64::new(0),
            altered: Mutex::default(),
            hole: AtomicU64::new(0),
            hole_reads: AtomicU64::new(u64::MAX),
            reads: AtomicU64::new(u64::MAX),
            late: Mutex::default(),
            behind_scan: Mutex::default(),
            behind_closing: Mutex::default(),
            calls: Mutex::default(),
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

    /// One append goes on, of those that are held.
    pub fn release_one_append(&self) {
        self.gate.add_permits(1);
    }

    /// The next question for the head of `actor` is never answered.
    pub fn hold_next_head(&self, actor: &Address) {
        let mut held = self.held_head.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(actor.clone());
    }

    /// How many questions for heads are never answered.
    pub fn held_heads(&self) -> u64 {
        self.heads.load(Ordering::SeqCst)
    }

    /// How many appends have arrived.
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// The store behaves as if it had lost all records from `position` on.
    pub fn forget_from(&self, position: Position) {
        self.forgotten_from.store(position.0, Ordering::SeqCst);
    }

    /// The store shows the record at `position` so from now on.
    pub fn alter(&self, position: Position, bytes: Bytes) {
        let mut altered = self.altered.lock().unwrap_or_else(PoisonError::into_inner);
        altered.insert(position, bytes);
    }

    /// Replicas do not show the record at `position` any more.
    pub fn make_hole(&self, position: Position) {
        self.hole.store(position.0, Ordering::SeqCst);
    }

    /// The same for the next `reads` reads only: then another replica answers.
    pub fn make_hole_for(&self, position: Position, reads: u64) {
        self.hole_reads.store(reads, Ordering::SeqCst);
        self.make_hole(position);
    }

    /// So many reads are answered, then none.
    pub fn answer_reads(&self, number: u64) {
        self.reads.store(number, Ordering::SeqCst);
    }

    /// Behind each of the next reads, one after the other, others append this.
    pub fn append_behind_reads(&self, appends: Vec<Option<Append>>) {
        *self.late.lock().unwrap_or_else(PoisonError::into_inner) = appends.into();
    }

    /// Behind the beginning of the next scan, which does not see it, others append this.
    pub fn append_behind_scan(&self, append: Append) {
        *self.behind_scan.lock().unwrap_or_else(PoisonError::into_inner) = Some(append);
    }

    /// From the next closing on, itself included, this happens to these calls, one after the other.
    pub fn fail_from_closing(&self, faults: &[(Call, CallFault)]) {
        *self.behind_closing.lock().unwrap_or_else(PoisonError::into_inner) = faults.to_vec();
    }

    /// How many of the faults for calls have not happened yet.
    pub fn calls_to_fail(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Does a call, or what happens to it instead.
    async fn call<T, E: From<StoreError>>(
        &self,
        call: Call,
        done: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let fault = {
            let mut faults = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let next = faults.iter().position(|(of, _)| *of == call);
            next.map(|at| faults.remove(at).1)
        };
        match fault {
            None => done.await,
            Some(CallFault::RequestLost) => Err(lost().into()),
            Some(CallFault::AnswerLost) => {
                done.await?;
                Err(lost().into())
            }
        }
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
        let open = self.gate.acquire().await.map_err(|_| AppendError::Unresolved(lost()))?;
        let held = self.gate.available_permits() < OPEN / 2;
        let _open = if held {
            open.forget();
            None
        } else {
            Some(open)
        };
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
        let answered =
            self.reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        answered.map_err(|_| lost())?;
        let mut page = self.inner.read(actor, from, freshness).await?;
        let left =
            self.hole_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        let hole = left.map_or(0, |_| self.hole.load(Ordering::SeqCst));
        page.records.retain(|stored| {
            let shown = freshness == Freshness::Proof || stored.position.0 != hole;
            shown && !self.is_forgotten(stored.position)
        });
        {
            let altered = self.altered.lock().unwrap_or_else(PoisonError::into_inner);
            for stored in &mut page.records {
                if let Some(bytes) = altered.get(&stored.position) {
                    stored.bytes = bytes.clone();
                }
            }
        }
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(append) = late.flatten() {
            self.inner.append(append).await.map_err(|error| StoreError(error.to_string()))?;
        }
        Ok(page)
    }

    async fn head(&self, actor: &Address) -> Result<Position, StoreError> {
        let held = {
            let mut held = self.held_head.lock().unwrap_or_else(PoisonError::into_inner);
            held.take_if(|held| held == actor).is_some()
        };
        if held {
            self.heads.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let head = self.inner.head(actor).await?;
        Ok(if self.is_forgotten(head) { Position(0) } else { head })
    }

    async fn newest_snapshot(&self, actor: &Address) -> Result<Option<Snapshot>, StoreError> {
        self.inner.newest_snapshot(actor).await
    }

    async fn snapshot(
        &self,
        actor: &Address,
        key: &Digest,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(actor, key).await
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

    async fn scan(&self, context: &str, from: &Reach) -> Result<Scan, FeedError> {
        let scan = self.inner.scan(context, from).await?;
        let late = self.behind_scan.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(append) = late {
            let appended = self.inner.append(append).await;
            appended.map_err(|error| StoreError(error.to_string()))?;
        }
        Ok(scan)
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        self.inner.put_blob(bytes).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(digest).await
    }

    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError> {
        self.call(Call::Deployments, self.inner.deployments(context)).await
    }

    async fn contexts(&self) -> Result<Vec<String>, StoreError> {
        self.inner.contexts().await
    }

    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError> {
        self.call(Call::Activate, self.inner.activate(deployment)).await
    }

    fn deployment_hints(&self) -> BoxStream<'static, ()> {
        self.inner.deployment_hints()
    }

    async fn close_events(&self, closing: &Closing) -> Result<(), ActivateError> {
        {
            let mut faults = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let mut waiting = self.behind_closing.lock().unwrap_or_else(PoisonError::into_inner);
            faults.append(&mut waiting);
        }
        self.call(Call::CloseEvents, self.inner.close_events(closing)).await
    }

    async fn closing(&self, context: &str, number: u64) -> Result<Option<Closing>, StoreError> {
        self.inner.closing(context, number).await
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
        self.call(Call::Announce, self.inner.announce(presence)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
