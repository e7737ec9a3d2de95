//! Where readers of long pasts are expected next.
//!
//! A page of events ends at a record whose digest stands for everything before it, because each
//! record names the digest of the one before. Whoever goes on behind that record, and finds it in
//! the log as it was, need not read what lies before it again. Bookmarks are kept in memory only:
//! one that is lost costs time.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use aether_wit::Digest;
use lru::LruCache;

use crate::{
    address::Address,
    record::{Chain, Position, Record, Stored},
};

/// Readers whose places are kept, at most: below 1 MB.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// A record that was found to continue its actor's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark {
    /// Version of its last event.
    version: u64,
    position: Position,
    digest: Digest,
}

impl Bookmark {
    /// A bookmark at `record`, which a chain has accepted.
    #[must_use]
    pub fn behind(stored: &Stored, record: &Record) -> Self {
        let digest = Digest::of(&stored.bytes);
        Self { version: record.last(), position: stored.position, digest }
    }

    /// The chain that ends there.
    #[must_use]
    pub fn chain(&self, actor: &Address) -> Chain {
        Chain::at(actor, self.version, self.position, self.digest)
    }
}

/// The bookmarks of a host; the longest unused make room for new ones.
#[derive(Debug)]
pub struct Bookmarks(Mutex<LruCache<(Address, u64), Bookmark>>);

impl Default for Bookmarks {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Bookmarks {
    /// The last record that lies wholly before `version` of `actor`, if a reader was told to ask
    /// for that version next.
    #[must_use]
    pub fn before(&self, actor: &Address, version: u64) -> Option<Bookmark> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(actor.clone(), version)).copied()
    }

    /// Keeps it for a reader that was told to ask for `version` next.
    pub fn put(&self, actor: &Address, version: u64, bookmark: Bookmark) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put((actor.clone(), version), bookmark);
    }
}
