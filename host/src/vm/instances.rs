//! Who may have an instance: the limit, and the instances that wait for their actor's next call.
//!
//! Every instance holds a [`Permit`]; there are as many as the machine bears. An instance that
//! nobody calls is kept here under its guest's key, and is given up, longest idle first, when
//! another guest needs a permit. A guest that finds all of them busy waits.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Instances of `T` and the permits for them.
pub(super) struct Instances<T> {
    permits: Arc<Semaphore>,
    max: usize,
    last_key: AtomicU64,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    /// The place of one that is being called stays, empty: most come back to it at once.
    idle: LruCache<NonZeroU64, Option<T>>,
    waiting: usize,
}

/// The right to have one instance; given back when dropped.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl<T> Kept<T> {
    /// The one that has been idle the longest. Places of those that are being called are made anew
    /// when they come back.
    fn oldest(&mut self) -> Option<T> {
        while let Some((_, place)) = self.idle.pop_lru() {
            if place.is_some() {
                return place;
            }
        }
        None
    }
}

impl<T> Instances<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            max,
            last_key: AtomicU64::new(0),
            kept: Mutex::new(Kept { idle: LruCache::unbounded(), waiting: 0 }),
        }
    }

    /// Most instances at once.
    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Instances now, idle ones included.
    pub(super) fn alive(&self) -> usize {
        self.max - self.permits.available_permits().min(self.max)
    }

    /// A key that no other guest has.
    pub(super) fn new_key(&self) -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(self.last_key.fetch_add(1, Relaxed))
    }

    /// The idle instance of a guest, to be called.
    pub(super) fn take(&self, key: NonZeroU64) -> Option<T> {
        self.kept().idle.get_mut(&key)?.take()
    }

    /// The idle instance of a guest that will not call it again.
    pub(super) fn remove(&self, key: NonZeroU64) -> Option<T> {
        self.kept().idle.pop(&key)?
    }

    /// Keeps an instance until its guest's next call, unless somebody waits for its permit.
    pub(super) fn keep(&self, key: NonZeroU64, instance: T) {
        let mut kept = self.kept();
        let given_up = if kept.waiting > 0 {
            Some(instance)
        } else {
            kept.idle.put(key, Some(instance)).flatten()
        };
        drop(kept);
        // Dropped without the lock: it returns memory to the kernel.
        drop(given_up);
    }

    /// A permit for a new instance, if nobody has to give one up for it.
    pub(super) fn free_permit(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Permit { _permit: permit })
    }

    /// A permit for a new instance; takes the longest idle one if there is no other. `None` after
    /// `patience`.
    pub(super) async fn permit(&self, patience: Duration) -> Option<Permit> {
        if let Some(permit) = self.free_permit() {
            return Some(permit);
        }
        let _waiting = {
            let mut kept = self.kept();
            let oldest = kept.oldest();
            kept.waiting += 1;
            drop(kept);
            drop(oldest);
            Waiting(self)
        };
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(patience, permit).await.ok()?.ok()?;
        Some(Permit { _permit: permit })
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        // Nothing under the lock can panic half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a, T>(&'a Instances<T>);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.kept().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held {
        name: &'static str,
        _permit: Permit,
    }

    async fn held(instances: &Instances<Held>, name: &'static str) -> Held {
        Held { name, _permit: instances.permit(Duration::from_secs(60)).await.unwrap() }
    }

    #[tokio::test]
    async fn the_longest_idle_goes_first() {
        let instances = Instances::new(2);
        let [a, b, c] = [(); 3].map(|()| instances.new_key());
        instances.keep(a, held(&instances, "a").await);
        instances.keep(b, held(&instances, "b").await);
        let touched = instances.take(a).unwrap();
        instances.keep(a, touched);
        instances.keep(c, held(&instances, "c").await);
        assert!(instances.take(b).is_none(), "b was idle longest");
        assert_eq!(instances.take(a).unwrap().name, "a");
        assert_eq!(instances.alive(), 1);
    }

    #[tokio::test]
    async fn the_place_of_one_that_is_called_is_not_given_up_for_it() {
        let instances = Instances::new(2);
        let [a, b, c] = [(); 3].map(|()| instances.new_key());
        for (key, name) in [(a, "a"), (b, "b")] {
            instances.keep(key, held(&instances, name).await);
        }
        let called = instances.take(a).unwrap();
        instances.keep(b, instances.take(b).unwrap());
        // Though `a` has the older place, `b` is the one that idles.
        instances.keep(c, held(&instances, "c").await);
        instances.keep(a, called);
        assert_eq!(instances.take(a).unwrap().name, "a");
        assert!(instances.take(b).is_none());
        assert_eq!(instances.remove(c).unwrap().name, "c");
        assert!(instances.remove(a).is_none() && instances.kept().idle.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_waits_for_a_busy_instance_but_not_for_ever() {
        let instances = Arc::new(Instances::new(1));
        let busy = held(&instances, "busy").await;
        assert!(instances.permit(Duration::from_millis(100)).await.is_none());
        let waiter = tokio::spawn({
            let instances = Arc::clone(&instances);
            async move { instances.permit(Duration::from_secs(60)).await.is_some() }
        });
        while instances.kept().waiting == 0 {
            tokio::task::yield_now().await;
        }
        instances.keep(instances.new_key(), busy);
        assert!(waiter.await.unwrap());
        assert_eq!((instances.alive(), instances.kept().waiting), (0, 0));
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_is_not_counted() {
        let instances = Arc::new(Instances::new(1));
        let busy = held(&instances, "busy").await;
        let waiter = tokio::spawn({
            let instances = Arc::clone(&instances);
            async move { instances.permit(Duration::from_secs(60)).await.is_some() }
        });
        while instances.kept().waiting == 0 {
            tokio::task::yield_now().await;
        }
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        let key = instances.new_key();
        instances.keep(key, busy);
        assert!(instances.take(key).is_some(), "kept, for nobody waits");
    }
}
