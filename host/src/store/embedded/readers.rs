//! Connections that read, each on a thread of its own.
//!
//! A query is a closure that goes to a thread that is free ([`super::queue`]). Queries are short and
//! paged, because a long read keeps SQLite from resetting its write-ahead log. The writer can take
//! all connections away for a while ([`super::recovery`]); queries then fail.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    queue::Queue,
    schema::{Place, advice},
};
use crate::{step::step, store::StoreError};

/// Queries that may wait; more make callers wait in turn.
const QUEUE_QUERIES: usize = 1024;

/// A query, with the way of its answer in it.
type Query = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

/// The connections that read.
pub(super) struct Readers {
    place: Arc<Place>,
    /// Closed with the store.
    queries: Arc<Queue<Query>>,
    slots: Mutex<Vec<Arc<Mutex<Slot>>>>,
}

/// One thread's connection.
enum Slot {
    /// Opened by the next query.
    Empty,
    Open(Connection),
    /// Taken away, and why.
    Away(StoreError),
}

impl Readers {
    pub(super) fn new(place: Arc<Place>) -> Arc<Self> {
        let queries = Arc::new(Queue::new(QUEUE_QUERIES));
        Arc::new(Self { place, queries, slots: Mutex::new(Vec::new()) })
    }

    /// Starts `count` threads.
    pub(super) fn start(&self, count: usize) -> Result<(), StoreError> {
        for n in 0..count.max(1) {
            let slot = Arc::new(Mutex::new(Slot::Empty));
            lock(&self.slots).push(slot.clone());
            let (place, queries) = (self.place.clone(), self.queries.clone());
            thread::Builder::new()
                .name(format!("aether-store-read-{n}"))
                .spawn(move || serve(&place, &queries, &slot))
                .map_err(|error| StoreError(format!("cannot start a reader: {error}")))?;
        }
        Ok(())
    }

    /// Runs `query` on the next free connection.
    pub(super) async fn query<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    {
        let dir = self.place.dir.clone();
        let (answer, answered) = oneshot::channel();
        let run: Query = Box::new(move |db| {
            let result = db.and_then(|db| {
                query(db).map_err(|error| {
                    let advice = advice(error.downcast_ref());
                    let dir = dir.display();
                    StoreError(format!("cannot read the store in {dir}: {error:#}{advice}"))
                })
            });
            // The caller may be gone.
            let _ = answer.send(result);
        });
        step!("embedded.give-query", self.queries.push(run).await).map_err(|_| self.closed())?;
        step!("embedded.await-query", answered.await).map_err(|_| self.closed())?
    }

    /// Takes all connections away; waits for queries under way.
    pub(super) fn suspend(&self, why: &StoreError) {
        self.set(|| Slot::Away(why.clone()));
    }

    /// Gives connections back.
    pub(super) fn resume(&self) {
        self.set(|| Slot::Empty);
    }

    /// Ends the threads; every later query fails.
    pub(super) fn close(&self) {
        self.queries.close();
        self.suspend(&self.closed());
    }

    pub(super) fn closed(&self) -> StoreError {
        StoreError(format!("the embedded store in {} is closed", self.place.dir.display()))
    }

    fn set(&self, slot: impl Fn() -> Slot) {
        for one in lock(&self.slots).iter() {
            *lock(one) = slot();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queries.close();
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.place.dir).finish()
    }
}

fn serve(place: &Place, queries: &Queue<Query>, slot: &Mutex<Slot>) {
    while let Some(query) = queries.pop() {
        let mut slot = lock(slot);
        if let Slot::Empty = *slot {
            match step!("embedded.open-reader", place.open_reader()) {
                Ok(db) => *slot = Slot::Open(db),
                Err(error) => {
                    let dir = place.dir.display();
                    let advice = advice(error.downcast_ref());
                    let why = format!("cannot read the store in {dir}: {error:#}{advice}");
                    query(Err(StoreError(why)));
                    continue;
                }
            }
        }
        match &*slot {
            Slot::Open(db) => step!("embedded.query", query(Ok(db))),
            Slot::Away(why) => query(Err(why.clone())),
            Slot::Empty => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
