//! Which actors are awake, and the way from an address to a mailbox.
//!
//! Each aggregate keeps its awake actors in shards, each shard ordered by last use, so both the
//! idle ones and, when the host is full, the longest idle one are found at the end of a list
//! instead of by looking at all.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lru::{DefaultHasher, LruCache};
use tokio::sync::oneshot;

use crate::{
    address::Address,
    env::Env,
    failure::{Code, Failure},
    mailbox::{Cell, Job, NotTaken},
    served::Realm,
};

/// More shards than cores, so that two commands rarely meet at one lock.
const SHARDS: usize = 16;

/// Actors that are not idle for long enough, one after the other from the longest unused on, behind
/// which none is taken for idle: the order is not exact.
const IN_USE_IN_A_ROW: usize = 32;

/// How often an actor that falls asleep in the very moment is woken anew before giving up: more
/// than once needs another host or sweep at work each time.
const WAKE_TRIES: usize = 16;

/// The actors of one aggregate that are awake in this host.
#[derive(Debug)]
pub struct Actors {
    shards: Vec<Mutex<LruCache<Address, Arc<Cell>>>>,
    hasher: DefaultHasher,
    awake: AtomicUsize,
}

impl Default for Actors {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect(),
            hasher: DefaultHasher::default(),
            awake: AtomicUsize::new(0),
        }
    }
}

impl Actors {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.awake.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The actor, if it is awake. Does not count as use.
    #[must_use]
    pub fn get(&self, actor: &Address) -> Option<Arc<Cell>> {
        self.shard(actor)?.peek(actor).cloned()
    }

    /// All that are awake.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Cell>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| lock(shard).iter().map(|(_, c)| c.clone()).collect::<Vec<_>>())
            .collect()
    }

    /// The actor, if it is awake. Counts as use.
    #[must_use]
    pub fn touch(&self, actor: &Address) -> Option<Arc<Cell>> {
        self.shard(actor)?.get(actor).cloned()
    }

    /// Those idle for at least `idle`. Looks at no more than those and a few: a host full of
    /// actors in use is swept at the cost of an empty one.
    #[must_use]
    pub fn idle_for(&self, idle: Duration) -> Vec<Arc<Cell>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let mut in_use = 0;
            for (_, cell) in shard.iter().rev() {
                match cell.idle_for() {
                    Some(time) if time >= idle => {
                        found.push(cell.clone());
                        in_use = 0;
                    }
                    Some(_) => in_use += 1,
                    // It is at work, however long ago that was asked for.
                    None => {}
                }
                if in_use >= IN_USE_IN_A_ROW {
                    break;
                }
            }
        }
        found
    }

    /// The one that has been idle the longest.
    #[must_use]
    pub fn longest_idle(&self) -> Option<(Duration, Arc<Cell>)> {
        let oldest = self.shards.iter().filter_map(|shard| {
            let shard = lock(shard);
            let mut oldest_first = shard.iter().rev().map(|(_, cell)| cell);
            oldest_first.find_map(|cell| Some((cell.idle_for()?, cell.clone())))
        });
        oldest.max_by_key(|(idle, _)| *idle)
    }

    /// Forgets a cell that takes no more jobs.
    pub fn remove(&self, cell: &Arc<Cell>) {
        let actor = cell.actor();
        let Some(mut shard) = self.shard(actor) else { return };
        if shard.peek(actor).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            shard.pop(actor);
            self.awake.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets all of them: a cell holds its VM, and a VM its realm, whose actors these are.
    pub fn forget_all(&self) {
        for shard in &self.shards {
            let cells = std::mem::replace(&mut *lock(shard), LruCache::unbounded());
            self.awake.fetch_sub(cells.len(), Ordering::Relaxed);
        }
    }

    /// The actor's cell, made if it is not awake.
    fn enter(&self, actor: &Address) -> Option<Arc<Cell>> {
        let mut shard = self.shard(actor)?;
        if let Some(cell) = shard.get(actor) {
            return Some(cell.clone());
        }
        let cell = Arc::new(Cell::new(actor.clone()));
        shard.put(cell.actor().clone(), cell.clone());
        self.awake.fetch_add(1, Ordering::Relaxed);
        Some(cell)
    }

    fn shard(&self, actor: &Address) -> Option<MutexGuard<'_, LruCache<Address, Arc<Cell>>>> {
        let hash = self.hasher.hash_one(actor);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.shards.get(index).map(lock)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a job into the mailbox of `actor`, waking it if it sleeps.
///
/// # Errors
/// `overloaded` if its mailbox is full.
pub fn post(
    env: &Arc<Env>,
    realm: &Arc<Realm>,
    actor: &Address,
    mut job: Job,
) -> Result<(), Failure> {
    for _ in 0..WAKE_TRIES {
        let Some(cell) = realm.actors.enter(actor) else { break };
        match cell.post(env, realm, job) {
            Ok(()) => return Ok(()),
            Err(NotTaken::Full(_)) => {
                let limit = realm.runtime.mailbox;
                return Err(Failure::new(
                    Code::Overloaded,
                    format!("{limit} requests wait for {actor} already (`mailbox` of its aggregate); nothing was stored, try again later"),
                )
                .for_actor(actor));
            }
            // It fell asleep between the two steps above.
            Err(NotTaken::Closed(back)) => {
                realm.actors.remove(&cell);
                job = back;
            }
        }
    }
    let detail = format!("{actor} falls asleep again and again; nothing was stored, try again");
    Err(Failure::new(Code::Unavailable, detail).for_actor(actor))
}

/// Puts an awake actor to sleep after the jobs that wait for it; whether it was awake.
pub async fn sleep(env: &Arc<Env>, realm: &Arc<Realm>, cell: &Arc<Cell>) -> bool {
    let (tell, told) = oneshot::channel();
    match cell.post(env, realm, Job::Sleep(tell)) {
        Ok(()) => told.await.is_ok(),
        Err(NotTaken::Full(_) | NotTaken::Closed(_)) => false,
    }
}
