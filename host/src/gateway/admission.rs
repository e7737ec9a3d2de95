//! How much a face takes on at once.
//!
//! A request that is taken costs memory until it is answered, and whoever may ask may ask as often
//! and as fast as the wire carries. So requests and the bytes of their bodies are counted, and one
//! more is `overloaded` at once. What one caller has under way is counted too, where callers can
//! be told apart: a flood of one must not take the places of all others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Code, Failure};

/// Bytes of each body that are not counted, so that large bodies can hold up large ones only:
/// most commands are smaller, and requests themselves are bounded in number.
pub const SMALL_BODY_BYTES: usize = 4 << 10;

/// The bytes of bodies that a face may hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies {
    free: Arc<Semaphore>,
    most: u32,
}

/// The bytes of one body that are held; given back when dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Room for `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // A semaphore cannot hold more, and it is more than any machine has for this.
        let most = u32::try_from(most.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Takes room for `bytes` more of a body. One that is larger than all the room gets all of it.
    ///
    /// # Errors
    /// `overloaded`, if there is not so much left.
    pub fn add(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        held.bytes = held.bytes.saturating_add(bytes);
        let has = held.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = held.bytes.saturating_sub(SMALL_BODY_BYTES).min(self.most as usize);
        let more = u32::try_from(needs.saturating_sub(has)).unwrap_or(self.most);
        let taken = Arc::clone(&self.free).try_acquire_many_owned(more).map_err(|_| {
            let detail =
                "the host holds all the bodies of requests that it may (`max-request-bytes`)";
            Failure::new(Code::Overloaded, detail)
        })?;
        match &mut held.room {
            Some(room) => room.merge(taken),
            none => *none = Some(taken),
        }
        Ok(())
    }
}

impl Held {
    /// Nothing yet.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { bytes: 0, room: None }
    }
}

/// Places for requests, in all and for each caller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only callers that have requests under way: never more than there are places.
    by_caller: HashMap<Box<str>, usize>,
}

/// A place that is taken; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    caller: Box<str>,
}

/// The limit that lets no more requests in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of all callers.
    All,
    /// That of this caller.
    Caller,
}

impl Places {
    /// `most` places in all, of which one caller may take `most_of_one`.
    #[must_use]
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self(Arc::new(Shared { most, most_of_one, taken: Mutex::default() }))
    }

    /// Takes a place for `caller`.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn take(&self, caller: &str) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.all >= self.0.most {
            return Err(Full::All);
        }
        match taken.by_caller.get_mut(caller) {
            Some(n) if *n >= self.0.most_of_one => return Err(Full::Caller),
            Some(n) => *n += 1,
            None => {
                taken.by_caller.insert(caller.into(), 1);
            }
        }
        taken.all += 1;
        Ok(Place { places: self.clone(), caller: caller.into() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Counting cannot panic half-way.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(n) = taken.by_caller.get_mut(&self.caller) {
            *n -= 1;
            if *n == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_cannot_take_all_places() {
        let places = Places::new(3, 2);
        let (a, b) = (places.take("a").unwrap(), places.take("a").unwrap());
        assert_eq!(places.take("a").unwrap_err(), Full::Caller);
        let c = places.take("c").unwrap();
        assert_eq!(places.take("d").unwrap_err(), Full::All);
        drop(a);
        let again = places.take("a").unwrap();
        drop((b, c, again));
        assert!(places.taken().by_caller.is_empty(), "who has nothing under way is forgotten");
        assert_eq!(places.taken().all, 0);
    }

    #[test]
    fn bodies_are_held_until_they_are_dropped() {
        let small = SMALL_BODY_BYTES;
        let bodies = Bodies::new(100);
        let (mut one, mut two) = (Held::nothing(), Held::nothing());
        bodies.add(&mut one, small + 60).unwrap();
        assert_eq!(bodies.add(&mut two, small + 50).unwrap_err().code, Code::Overloaded);
        let (mut two, mut three) = (Held::nothing(), Held::nothing());
        bodies.add(&mut two, small).unwrap();
        bodies.add(&mut two, 30).unwrap();
        bodies.add(&mut two, 10).unwrap();
        assert!(bodies.add(&mut one, 1).is_err());
        bodies.add(&mut three, small).expect("small ones need no room");
        drop((one, two));
        // Larger than all the room: it may be there, alone.
        let mut large = Held::nothing();
        bodies.add(&mut large, small + 1000).unwrap();
        bodies.add(&mut large, 1000).unwrap();
        assert!(bodies.add(&mut three, 1).is_err());
    }
}
