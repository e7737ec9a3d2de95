//! The one thread that writes.
//!
//! It takes what waits, up to a bound, and commits it as one transaction. It does not wait for
//! more: while one transaction syncs, the next one's records gather by themselves. Nobody is
//! answered before the commit, refusals included, since they may rest on records of the same
//! transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rusqlite::ErrorCode;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use super::{
    lock::{self, Lock},
    readers::Readers,
    schema::{self, FileIdentity, Place},
    session::{Change, Session},
};
use crate::{
    clock,
    record::Position,
    step::step,
    store::{Append, AppendError, StoreError},
};

/// Most jobs of one transaction.
const BATCH_JOBS: usize = 1024;

/// Bytes from which on a transaction takes no more jobs.
const BATCH_BYTES: usize = 8 << 20;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Write a record.
    Append(Waiting),
    /// Make another change; the answer is whether it was made.
    Change { change: Change, answer: oneshot::Sender<Result<bool, StoreError>> },
    /// Finish what is queued, then end.
    Close(oneshot::Sender<()>),
}

/// An append whose caller waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) append: Append,
    /// Set by whoever comes first: the writer that takes it up, or the caller that gives up.
    pub(super) claim: Arc<AtomicBool>,
    pub(super) answer: oneshot::Sender<Result<Position, AppendError>>,
}

impl Waiting {
    pub(super) fn answer(self, answer: Result<Position, AppendError>) {
        // The caller may be gone; the record is stored all the same.
        let _ = self.answer.send(answer);
    }
}

/// Starts the writer on the folder; returns when the store can be used.
pub(super) async fn start(
    place: Arc<Place>,
    readers: Arc<Readers>,
    jobs: mpsc::Receiver<Job>,
    committed: watch::Sender<Position>,
) -> Result<(), StoreError> {
    let (ready, started) = oneshot::channel();
    let runtime = Handle::current();
    let body = move || match open(&place) {
        Ok((lock, session, last)) => {
            committed.send_replace(last);
            let closing = Vec::new();
            let log = place.identify(schema::LOG);
            let writer =
                Writer { place, log, readers, jobs, committed, runtime, closing, _lock: lock };
            let _ = ready.send(Ok(()));
            writer.run(session);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    };
    thread::Builder::new()
        .name("aether-store-write".to_owned())
        .spawn(body)
        .map_err(|error| StoreError(format!("cannot start the store's writer: {error}")))?;
    let ended = |_| StoreError("the store's writer ended while it opened".to_owned());
    step!("embedded.await-open", started.await).map_err(ended)?
}

fn open(place: &Place) -> Result<(Lock, Session, Position), StoreError> {
    let lock = step!("embedded.lock", lock::acquire(&place.dir))?;
    let unreadable = |error: rusqlite::Error| {
        StoreError(format!("cannot read the store in {}: {error}", place.dir.display()))
    };
    let session = Session::new(place.open_writer()?).map_err(unreadable)?;
    let last = session.last_position().map_err(unreadable)?;
    Ok((lock, session, last))
}

/// The writer's side of the store.
pub(super) struct Writer {
    pub(super) place: Arc<Place>,
    /// The write-ahead log that is open.
    pub(super) log: Option<FileIdentity>,
    pub(super) readers: Arc<Readers>,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// The last position that readers can see.
    pub(super) committed: watch::Sender<Position>,
    /// Where those run who wait for answers.
    pub(super) runtime: Handle,
    /// Who waits for the end.
    pub(super) closing: Vec<oneshot::Sender<()>>,
    /// Last, because it must be freed after everything else is gone.
    _lock: Lock,
}

/// Jobs of one transaction.
#[derive(Default)]
struct Batch {
    jobs: Vec<Work>,
    bytes: usize,
}

/// A job of a transaction.
pub(super) enum Work {
    Append(Waiting),
    Change { change: Change, answer: oneshot::Sender<Result<bool, StoreError>> },
}

/// What a transaction answers to one of its jobs.
enum Answer {
    Append(Result<Position, AppendError>),
    Change(bool),
}

/// How a transaction failed.
enum Trouble {
    /// Before its commit began: nothing of it is stored.
    Before(rusqlite::Error),
    /// In its commit: it may be stored, now or after a recovery.
    Commit(rusqlite::Error),
}

impl Writer {
    fn run(mut self, mut session: Session) {
        while let Some(job) = self.jobs.blocking_recv() {
            let mut batch = Batch::default();
            let mut next = Some(job);
            while let Some(job) = next {
                self.take(job, &mut batch);
                let full = batch.jobs.len() >= BATCH_JOBS || batch.bytes >= BATCH_BYTES;
                next = if full { None } else { self.jobs.try_recv().ok() };
            }
            session = match self.write(session, batch.jobs) {
                Some(session) => session,
                None => return self.finish(None),
            };
        }
        self.finish(Some(session));
    }

    fn take(&mut self, job: Job, batch: &mut Batch) {
        match job {
            Job::Append(waiting) => {
                if waiting.claim.swap(true, Ordering::AcqRel) {
                    return;
                }
                if waiting.append.deadline <= clock::now() {
                    let late = "the deadline passed before the record could be written".to_owned();
                    return waiting.answer(Err(AppendError::Unavailable(StoreError(late))));
                }
                batch.bytes += waiting.append.bytes.len();
                batch.jobs.push(Work::Append(waiting));
            }
            Job::Change { change, answer } => {
                batch.bytes += change.size();
                batch.jobs.push(Work::Change { change, answer });
            }
            Job::Close(done) => {
                // What is queued is still done; new jobs are refused.
                self.jobs.close();
                self.closing.push(done);
            }
        }
    }

    /// Writes `jobs` and answers them. None if the store had to be given up.
    fn write(&mut self, mut session: Session, jobs: Vec<Work>) -> Option<Session> {
        if !self.place.is_in_place() || self.place.identify(schema::LOG) != self.log {
            self.refuse(jobs, schema::MOVED);
            return Some(session);
        }
        match transact(&mut session, &jobs) {
            Ok(answers) => {
                self.publish(&answers);
                step!("embedded.answer", self.tell(jobs, answers));
                Some(session)
            }
            Err(Trouble::Before(error)) => match session.roll_back() {
                // A job that SQLite refuses is a defect of ours, one that meets a damaged page is
                // not: either way its neighbours must not suffer.
                Ok(()) if is_refusal(&error) && jobs.len() > 1 => {
                    let mut left = jobs.into_iter();
                    left.try_fold(session, |session, job| self.write(session, vec![job]))
                }
                Ok(()) => {
                    self.refuse_for(jobs, &error);
                    Some(session)
                }
                Err(worse) => {
                    self.refuse_for(jobs, &error);
                    self.recover(session, Vec::new(), &worse)
                }
            },
            // SQLite has rolled back: the write of a frame failed, so the commit mark, which is
            // in the last frame, is not in the log, and the next commit overwrites the rest.
            Err(Trouble::Commit(error)) if is_full(&error) => {
                let rolled_back = session.roll_back();
                self.refuse_for(jobs, &error);
                match rolled_back {
                    Ok(()) => Some(session),
                    Err(worse) => self.recover(session, Vec::new(), &worse),
                }
            }
            Err(Trouble::Commit(error)) => self.recover(session, jobs, &error),
        }
    }

    /// Answers the jobs. Waking a task from outside of the runtime costs a lock and often a call of
    /// the kernel; many are woken from inside, which costs neither, and this thread goes on writing.
    fn tell(&self, jobs: Vec<Work>, answers: Vec<Answer>) {
        let alone = jobs.len() == 1;
        let answered = jobs.into_iter().zip(answers);
        let tell = move || answered.for_each(|(job, answer)| job.answer(answer));
        if alone {
            tell();
        } else {
            self.runtime.spawn(async move { tell() });
        }
    }

    /// Tells readers of the feed how far they can see.
    fn publish(&self, answers: &[Answer]) {
        let stored = answers.iter().filter_map(|answer| match answer {
            Answer::Append(Ok(position)) => Some(*position),
            _ => None,
        });
        if let Some(last) = stored.max() {
            self.committed.send_replace(last);
        }
    }

    /// Tells all callers that nothing was stored, for what SQLite said.
    fn refuse_for(&self, jobs: Vec<Work>, error: &rusqlite::Error) {
        let advice = schema::advice(Some(error));
        self.refuse(jobs, &format!("{error}{advice}"));
    }

    /// Tells all callers that nothing was stored.
    fn refuse(&self, jobs: Vec<Work>, why: &str) {
        let dir = self.place.dir.display();
        let error = StoreError(format!("the store in {dir} could not write: {why}"));
        tracing::warn!(jobs = jobs.len(), "{error}");
        jobs.into_iter().for_each(|job| job.refuse(error.clone()));
    }

    /// Lets go of everything, the lock last.
    fn finish(mut self, session: Option<Session>) {
        self.readers.close();
        if let Some(mut session) = session {
            if let Err(error) = session.give_back_positions() {
                tracing::warn!("some positions will be left out: {error}");
            }
            if let Err(error) = schema::fold_log(session.db()) {
                tracing::warn!(
                    "the store's log was not folded into its file at the end: {error:#}"
                );
            }
        }
        let (closing, place) = (std::mem::take(&mut self.closing), self.place.clone());
        drop(self);
        if place.temporary
            && let Err(error) = std::fs::remove_dir_all(&place.dir)
        {
            tracing::warn!("cannot remove {}: {error}", place.dir.display());
        }
        for done in closing {
            let _ = done.send(());
        }
    }
}

impl Work {
    fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Append(waiting), Answer::Append(answer)) => waiting.answer(answer),
            (Self::Change { answer: to, .. }, Answer::Change(made)) => {
                let _ = to.send(Ok(made));
            }
            // `transact` answers each job in its kind.
            (Self::Append(_), Answer::Change(_)) | (Self::Change { .. }, Answer::Append(_)) => {}
        }
    }

    /// Nothing was stored.
    fn refuse(self, error: StoreError) {
        match self {
            Self::Append(waiting) => waiting.answer(Err(AppendError::Unavailable(error))),
            Self::Change { answer, .. } => {
                let _ = answer.send(Err(error));
            }
        }
    }
}

fn transact(session: &mut Session, jobs: &[Work]) -> Result<Vec<Answer>, Trouble> {
    session.begin().map_err(Trouble::Before)?;
    let answer = |job: &Work| {
        Ok(match job {
            Work::Append(waiting) => Answer::Append(session.append(&waiting.append)?),
            Work::Change { change, .. } => Answer::Change(session.change(change)?),
        })
    };
    let answers: Vec<_> =
        jobs.iter().map(answer).collect::<rusqlite::Result<_>>().map_err(Trouble::Before)?;
    session.commit().map_err(Trouble::Commit)?;
    Ok(answers)
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether SQLite refused one statement for what it says or touches, not for the state of the disk.
fn is_refusal(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code.is_none_or(|code| {
        matches!(
            code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::TypeMismatch
                | ErrorCode::DatabaseCorrupt
        )
    })
}
