//! After a commit that failed: what is stored?
//!
//! *Problem.* When the sync of a commit fails, SQLite takes the transaction back, and every
//! connection says that its records are absent. Yet its frames, commit mark included, may stand in
//! the write-ahead log, and the next recovery of the file, after a crash, brings them back. A host
//! that had answered "not stored" would then have decided the command twice.
//!
//! *Mechanism.* Answer nothing. Close the writing connection and all that read, so that SQLite
//! forgets what it believes of the log. Open again, reset the log and commit a fence
//! ([`schema::settle_log`]); try until that succeeds. Only then is the end of the log what
//! it will stay, and each waiting append is settled by looking for its record.
//!
//! *Cost.* Meanwhile nothing is read or written: new requests are refused, those of the failed
//! commit wait until their deadlines and are then `unresolved`.

use std::{thread, time::Duration};

use tokio::sync::mpsc::error::TryRecvError;

use super::{
    schema,
    session::Session,
    writer::{Job, Waiting, Work, Writer},
};
use crate::{
    step::step,
    store::{AppendError, StoreError},
};

/// Between the first two tries.
const BACKOFF: Duration = Duration::from_millis(20);

/// Between later tries, at most.
const BACKOFF_LIMIT: Duration = Duration::from_secs(1);

/// How often requests are answered between tries.
const TICK: Duration = Duration::from_millis(10);

impl Writer {
    /// Takes the store back into use after `error`, and settles `jobs`. None if the store was
    /// closed before that succeeded.
    pub(super) fn recover(
        &mut self,
        session: Session,
        jobs: Vec<Work>,
        error: &rusqlite::Error,
    ) -> Option<Session> {
        let dir = self.place.dir.display().to_string();
        let why = StoreError(format!("the store in {dir} recovers from a failed write: {error}"));
        tracing::error!(waiting = jobs.len(), "{why}");
        let waiting = answer_changes(jobs, &why);
        self.readers.suspend(&why);
        drop(session);

        let mut backoff = BACKOFF;
        let (session, last) = loop {
            match step!("embedded.reopen", self.reopen()) {
                Ok(reopened) => break reopened,
                Err(error) => tracing::warn!("{error}; trying again in {backoff:?}"),
            }
            if !self.wait(backoff, &why) {
                for left in waiting {
                    left.answer(Err(AppendError::Unresolved(why.clone())));
                }
                return None;
            }
            backoff = (backoff * 2).min(BACKOFF_LIMIT);
        };
        self.log = self.place.identify(schema::LOG);
        self.committed.send_replace(last);
        self.readers.resume();
        tracing::info!("the store in {dir} is in use again");
        for left in waiting {
            settle(&session, left, &why);
        }
        Some(session)
    }

    fn reopen(&self) -> Result<(Session, crate::record::Position), StoreError> {
        let unreadable = |error: rusqlite::Error| StoreError(error.to_string());
        let session = Session::new(self.place.open_writer()?).map_err(unreadable)?;
        let last = session.last_position().map_err(unreadable)?;
        Ok((session, last))
    }

    /// Lets `time` pass and refuses what comes meanwhile. False if the store is to be closed.
    fn wait(&mut self, time: Duration, why: &StoreError) -> bool {
        let until = crate::clock::now() + time;
        while crate::clock::now() < until {
            match self.jobs.try_recv() {
                Ok(Job::Append(waiting)) => {
                    waiting.answer(Err(AppendError::Unavailable(why.clone())));
                }
                Ok(Job::Change { answer, .. }) => {
                    let _ = answer.send(Err(why.clone()));
                }
                Ok(Job::Close(done)) => {
                    self.closing.push(done);
                    return false;
                }
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => thread::sleep(TICK.min(time)),
            }
        }
        true
    }
}

/// Changes are not settled: each may be asked for again. What remains are the appends.
fn answer_changes(jobs: Vec<Work>, why: &StoreError) -> Vec<Waiting> {
    let append = |job| match job {
        Work::Append(waiting) => Some(waiting),
        Work::Change { answer, .. } => {
            let _ = answer.send(Err(why.clone()));
            None
        }
    };
    jobs.into_iter().filter_map(append).collect()
}

/// Answers an append by what the log holds now.
fn settle(session: &Session, waiting: Waiting, why: &StoreError) {
    let answer = match step!("embedded.find", session.find(&waiting.append)) {
        Ok(Some(position)) => Ok(position),
        Ok(None) => Err(AppendError::Unavailable(why.clone())),
        Err(error) => Err(AppendError::Unresolved(StoreError(format!("{why}; then: {error}")))),
    };
    waiting.answer(answer);
}
