//! The embedded store: one folder of one machine, one SQLite file in it, nothing else to run.
//!
//! *Problem.* An acknowledged record must survive the loss of power, and one `fsync` per record
//! would bound a host to a few thousand records per second.
//!
//! *Mechanism.* One thread writes ([`writer`]). It takes all appends that wait and commits them as
//! one transaction in WAL mode with `synchronous=FULL`, so one `fsync` serves them all; nobody is
//! answered before the commit. Reads run on connections of their own ([`readers`]) and never wait
//! for the writer. A commit whose outcome is unknown is settled by [`recovery`] before anyone is
//! answered. The folder is locked against a second host ([`lock`]).
//!
//! *Cost.* An append alone pays one `fsync` and two thread hops; 256 at once pay about 1/100 of an
//! `fsync` each. A record takes its own size and about 130 bytes of indexes.
//!
//! SQLite's locks are POSIX locks, which any `close` of the same file in the same process drops:
//! nothing in this process may open `store.db`, `store.db-wal` or `store.db-shm` but SQLite.
//! Network file systems are not supported, for the same locks.

mod census;
mod feed;
mod heads;
mod lock;
mod queries;
mod queue;
mod readers;
mod recovery;
mod schema;
mod session;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    readers::Readers,
    session::Change,
    writer::{Job, Waiting},
};
use crate::{
    address::Address,
    clock,
    record::Position,
    step::step,
    store::{
        ActivateError, Append, AppendError, Census, DEFAULT_RECORD_LIMIT, Deployment, EventStore,
        FeedError, Freshness, Page, Presence, Quarantine, Reach, RecordFeed, Scan, Snapshot,
        StoreError,
    },
};

/// Jobs that may wait for the writer; more make callers wait in turn.
const QUEUE_JOBS: usize = 4096;

/// Largest blob, in bytes: components are far smaller, and one is held in memory as a whole.
pub const MAX_BLOB_BYTES: usize = 64 << 20;

/// How an embedded store is opened.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Largest record, in bytes.
    pub record_limit: usize,
    /// How SQLite is used; other values than the default are for tests.
    pub tuning: Tuning,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { record_limit: DEFAULT_RECORD_LIMIT, tuning: Tuning::default() }
    }
}

/// How SQLite is used. The default is what the store promises; the rest is for crash tests.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Name of a registered SQLite VFS, for crash tests; none = the machine's own.
    pub vfs: Option<String>,
    /// When SQLite syncs. Only [`Synchronous::Full`] makes "acknowledged" mean "on disk".
    pub synchronous: Synchronous,
    /// Pages in the WAL from which on a commit also checkpoints. Large, because a checkpoint
    /// writes each hot page once, however often it changed: 16,000 pages are 64 MB.
    pub checkpoint_pages: u32,
    /// Connections that read, each with a thread.
    pub readers: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { vfs: None, synchronous: Synchronous::Full, checkpoint_pages: 16_000, readers: 2 }
    }
}

/// SQLite's `synchronous` setting in WAL mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// Every commit is on disk before it is acknowledged.
    Full,
    /// Only checkpoints sync: a loss of power loses acknowledged records.
    Normal,
    /// Nothing syncs: a loss of power may destroy the file.
    Off,
}

/// A store in a folder of this machine.
pub struct EmbeddedStore {
    about: String,
    dir: PathBuf,
    record_limit: usize,
    /// Empty once the store is closed.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    readers: Arc<Readers>,
    committed: watch::Receiver<Position>,
}

impl EmbeddedStore {
    /// Opens the store in the folder `dir`; makes both if they are missing.
    ///
    /// The folder stays locked until the store was closed or, if it is only dropped, until its
    /// writer has ended.
    ///
    /// # Errors
    /// If another process has the folder open, the folder cannot be written, or it holds
    /// something else than a store of a version that this build knows.
    pub async fn open(
        dir: impl Into<PathBuf>,
        options: EmbeddedOptions,
    ) -> Result<Self, StoreError> {
        Self::start(schema::Place::new(dir.into(), false, options.tuning.clone()), options).await
    }

    /// A store that is gone with this process, for tests and trials: in a folder of its own, in
    /// memory where the machine has `/dev/shm`, that is removed when the store closes.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let dir = base.join(format!("aether-{}", uuid::Uuid::now_v7()));
        let mut options = EmbeddedOptions::default();
        options.tuning.synchronous = Synchronous::Off;
        Self::start(schema::Place::new(dir, true, options.tuning.clone()), options).await
    }

    async fn start(place: schema::Place, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let (dir, about) = (place.dir.clone(), about(&place));
        let place = Arc::new(place);
        let readers = Readers::new(place.clone());
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS);
        let (committed, seen) = watch::channel(Position(0));
        writer::start(place, readers.clone(), jobs, committed).await?;
        readers.start(options.tuning.readers)?;
        Ok(Self {
            about,
            dir,
            record_limit: options.record_limit,
            queue: Mutex::new(Some(queue)),
            readers,
            committed: seen,
        })
    }

    /// The way to the writer.
    fn queue(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> StoreError {
        StoreError(format!("the embedded store in {} is closed", self.dir.display()))
    }

    /// Has the writer make a change that is no append. The answer is whether it was made; an
    /// error leaves it unknown, and every change may be asked for again.
    async fn change(&self, change: Change) -> Result<bool, StoreError> {
        let (answer, answered) = oneshot::channel();
        let (queue, job) = (self.queue()?, Job::Change { change, answer });
        step!("embedded.give-change", queue.send(job).await).map_err(|_| self.closed())?;
        step!("embedded.await-change", answered.await).map_err(|_| self.closed())?
    }

    /// What SQLite finds wrong with its own file, at most 100 lines. It reads all of the file and
    /// keeps the write-ahead log from being reset meanwhile: for stores that nobody works on.
    ///
    /// # Errors
    /// If SQLite cannot even look.
    pub async fn file_faults(&self) -> Result<Vec<String>, StoreError> {
        self.query(census::faults).await
    }

    /// Runs `query` on a connection that reads.
    async fn query<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> anyhow::Result<T> + Send + 'static,
    {
        self.readers.query(query).await
    }
}

#[async_trait]
impl EventStore for EmbeddedStore {
    fn describe(&self) -> String {
        self.about.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn record_limit(&self) -> usize {
        self.record_limit
    }

    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let (bytes, limit) = (append.bytes.len(), self.record_limit);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        if append.deadline <= clock::now() {
            return Err(AppendError::Unavailable(StoreError(
                "the deadline had passed before the record was sent".to_owned(),
            )));
        }
        let deadline = tokio::time::Instant::from_std(append.deadline);
        let claim = Arc::new(AtomicBool::new(false));
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting { append, claim: claim.clone(), answer };
        let queue = self.queue().map_err(AppendError::Unavailable)?;
        let given = tokio::time::timeout_at(deadline, queue.send(Job::Append(waiting)));
        match step!("embedded.give-append", given.await) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(AppendError::Unavailable(self.closed())),
            Err(_) => return Err(AppendError::Unavailable(self.busy())),
        }
        drop(queue);
        let answer = tokio::time::timeout_at(deadline, &mut answered);
        let why = match step!("embedded.await-append", answer.await) {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_)) => self.closed(),
            Err(_) => self.busy(),
        };
        // Whoever claims first decides: the writer takes it up, or the caller takes it back.
        if !claim.swap(true, Ordering::AcqRel) {
            return Err(AppendError::Unavailable(why));
        }
        answered.try_recv().unwrap_or(Err(AppendError::Unresolved(why)))
    }

    async fn read(
        &self,
        actor: &Address,
        from: Position,
        freshness: Freshness,
    ) -> Result<Page, StoreError> {
        if freshness != Freshness::Any {
            // The writer works in order: behind this, what it had taken up is committed or not.
            self.change(Change::Nothing).await?;
        }
        let actor = actor.clone();
        self.query(move |db| queries::page(db, &actor, from)).await
    }

    async fn head(&self, actor: &Address) -> Result<Position, StoreError> {
        let actor = actor.clone();
        self.query(move |db| queries::head(db, &actor)).await
    }

    async fn newest_snapshot(&self, actor: &Address) -> Result<Option<Snapshot>, StoreError> {
        let actor = actor.clone();
        self.query(move |db| queries::snapshot(db, &actor, None)).await
    }

    async fn snapshot(
        &self,
        actor: &Address,
        key: &Digest,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (actor, key) = (actor.clone(), *key);
        self.query(move |db| queries::snapshot(db, &actor, Some(key))).await
    }

    async fn beginning(
        &self,
        actor: &Address,
        key: &Digest,
    ) -> Result<(Option<Snapshot>, Page), StoreError> {
        let (actor, key) = (actor.clone(), *key);
        self.query(move |db| {
            let snapshot = queries::snapshot(db, &actor, Some(key))?;
            let from = snapshot.as_ref().map_or(Position(0), |snapshot| snapshot.position);
            Ok((snapshot, queries::page(db, &actor, from)?))
        })
        .await
    }

    async fn save_snapshot(&self, actor: &Address, snapshot: Snapshot) -> Result<(), StoreError> {
        let (bytes, limit) = (snapshot.bytes.len(), self.record_limit);
        if bytes > limit {
            return Err(StoreError(format!(
                "the snapshot of {actor} has {bytes} bytes; the limit is {limit}"
            )));
        }
        self.change(Change::Snapshot { actor: actor.clone(), snapshot }).await.map(drop)
    }

    async fn forget_snapshot(&self, actor: &Address) -> Result<(), StoreError> {
        self.change(Change::ForgetSnapshot { actor: actor.clone() }).await.map(drop)
    }

    async fn find_command(&self, actor: &Address, id: &str) -> Result<Vec<Position>, StoreError> {
        let (actor, fingerprint) = (actor.clone(), session::fingerprint(id));
        self.query(move |db| queries::commands(db, &actor, fingerprint)).await
    }

    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Address>, StoreError> {
        let (context, aggregate) = (context.to_owned(), aggregate.to_owned());
        let after = after.map(crate::address::encode_id).unwrap_or_default();
        self.query(move |db| queries::actors(db, &context, &aggregate, &after, limit)).await
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<RecordFeed, FeedError> {
        self.queue()?;
        feed::start(self.readers.clone(), self.committed.clone(), context, cursor)
    }

    async fn scan(&self, context: &str, from: &Reach) -> Result<Scan, FeedError> {
        self.queue()?;
        feed::scan(self.readers.clone(), &self.committed, context, from)
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        if bytes.len() > MAX_BLOB_BYTES {
            return Err(StoreError(format!(
                "the blob has {} bytes; the limit is {MAX_BLOB_BYTES}",
                bytes.len()
            )));
        }
        let digest = Digest::of(&bytes);
        self.change(Change::Blob { digest, bytes }).await?;
        Ok(digest)
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let digest = *digest;
        self.query(move |db| queries::blob(db, digest)).await
    }

    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError> {
        let context = context.to_owned();
        self.query(move |db| queries::deployments(db, &context)).await
    }

    async fn contexts(&self) -> Result<Vec<String>, StoreError> {
        self.query(queries::contexts).await
    }

    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError> {
        let body = serde_json::to_string(deployment)
            .map_err(|error| StoreError(format!("the deployment cannot be written: {error}")))?;
        let (context, number) = (deployment.context.clone(), deployment.number);
        match self.change(Change::Activate { context, number, body }).await? {
            true => Ok(()),
            false => Err(ActivateError::Taken),
        }
    }

    async fn quarantine(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        let text = serde_json::to_string(mark)
            .map_err(|error| StoreError(format!("the mark cannot be written: {error}")))?;
        let (actor, mark) = (actor.clone(), mark.clone());
        self.change(Change::Quarantine { actor, mark, text }).await.map(drop)
    }

    async fn quarantined(&self, actor: &Address) -> Result<Option<Quarantine>, StoreError> {
        let actor = actor.clone();
        self.query(move |db| queries::quarantined(db, &actor)).await
    }

    async fn quarantines(&self, context: &str) -> Result<Vec<(Address, Quarantine)>, StoreError> {
        let context = context.to_owned();
        self.query(move |db| queries::quarantines(db, &context)).await
    }

    async fn release(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        self.change(Change::Release { actor: actor.clone(), mark: mark.clone() }).await.map(drop)
    }

    async fn repaired(&self, context: &str) -> Result<Vec<Address>, StoreError> {
        let context = context.to_owned();
        self.query(move |db| queries::repaired(db, &context)).await
    }

    async fn census(&self, context: &str) -> Result<Census, StoreError> {
        let context = context.to_owned();
        self.query(move |db| census::census(db, &context)).await
    }

    async fn announce(&self, presence: &Presence) -> Result<Vec<Presence>, StoreError> {
        self.queue()?;
        Ok(vec![presence.clone()])
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.change(Change::Nothing).await?;
        self.query(queries::check).await
    }

    async fn close(&self) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(queue) = queue else { return };
        let (done, finished) = oneshot::channel();
        if step!("embedded.give-close", queue.send(Job::Close(done)).await).is_ok() {
            // An error means that the writer has ended already.
            let _ = step!("embedded.await-close", finished.await);
        }
    }
}

impl EmbeddedStore {
    fn busy(&self) -> StoreError {
        StoreError(format!(
            "the embedded store in {} did not answer before the deadline",
            self.dir.display()
        ))
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedStore").field(&self.dir).finish()
    }
}

fn about(place: &schema::Place) -> String {
    let promise = match place.tuning.synchronous {
        Synchronous::Full => "synchronous=FULL: acknowledged = on disk",
        Synchronous::Normal => "synchronous=NORMAL: a loss of power loses acknowledged records",
        Synchronous::Off => "synchronous=OFF: a loss of power may lose everything",
    };
    let kept = if place.temporary { "; removed when it closes" } else { "" };
    let version = rusqlite::version();
    format!("embedded store at {} (SQLite {version}, WAL, {promise}{kept})", place.dir.display())
}
