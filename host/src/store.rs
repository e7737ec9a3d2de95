//! What the host asks of the place where records are kept.
//!
//! Two implementations, one conformance suite ([`conformance`]). A store knows positions and
//! bytes; what the bytes mean, whether they chain and what folds them is not its business.

pub mod conformance;
pub mod embedded;
pub mod jetstream;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Instant,
};

use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    record::{Position, Stored},
};

/// Largest record by default, in bytes: NATS' default payload limit of 1 MiB less room for
/// headers and the protocol.
pub const DEFAULT_RECORD_LIMIT: usize = 768 << 10;

/// One record to be written.
#[derive(Debug, Clone)]
pub struct Append {
    /// The actor whose log it goes to.
    pub actor: Address,
    /// Position of the actor's last record as the writer knows it: the version check.
    pub expected: Position,
    /// Version of the record's first event.
    pub first: u64,
    /// How many events it holds; none in a repair, from which on a store counts the actor among
    /// those of [`EventStore::repaired`].
    pub events: u64,
    /// Ids of its commands that callers gave. The embedded store keeps them for ever.
    pub command_ids: Vec<String>,
    /// The record's bytes.
    pub bytes: Bytes,
    /// When the writer stops waiting.
    pub deadline: Instant,
}

/// Why a record was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The actor's last record is another than the expected one. It may be this very record, if
    /// an earlier try of it was stored without an answer: the writer must read everything after
    /// `expected`, at least up to `last`, to know.
    #[error("the actor's log has moved on{}", .last.map_or(String::new(), |p| format!(" to position {p}")))]
    Conflict {
        /// The position that the store named, if it did.
        last: Option<Position>,
    },
    /// The record is over the limit; nothing was sent.
    #[error("the record has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`EventStore::record_limit`].
        limit: usize,
    },
    /// Nothing was stored, definitely.
    #[error(transparent)]
    Unavailable(StoreError),
    /// No answer settled it before the deadline: it may be stored, now or soon.
    #[error("not settled before the deadline: {0}")]
    Unresolved(StoreError),
}

/// The store cannot answer now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any replica may answer: for waking, where the version check catches what is missing.
    Any,
    /// It holds every record acknowledged before the read began.
    Leader,
    /// As [`Self::Leader`], and every record as the leader itself has it: before anything is
    /// believed damaged. May cost a round trip per record.
    Proof,
}

/// Some records of one actor, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The records.
    pub records: Vec<Stored>,
    /// Whether there are more after them.
    pub more: bool,
}

/// An actor's folded past as a store keeps it: a cache, never the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The code that folded it: one of other code is never returned.
    pub key: Digest,
    /// Position of the last record in it.
    pub position: Position,
    /// Its bytes; opaque to the store.
    pub bytes: Bytes,
}

/// What lies in a context's storage, for the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Aggregates of which there are records.
    pub aggregates: BTreeSet<String>,
    /// Places that can be no actor's, the first [`MAX_STRAYS`] of them.
    pub strays: Vec<Stray>,
    /// Actors that have a snapshot and no record.
    pub unlogged: Vec<Address>,
    /// Places from which records are gone, nobody knows whose.
    pub losses: Vec<Stray>,
}

/// Most strays that a census tells.
pub const MAX_STRAYS: usize = 1000;

/// Something in the storage that belongs to no actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it lies, as the store names it: a subject, or a row.
    pub place: String,
    /// How many records.
    pub records: u64,
    /// Why it belongs to nobody.
    pub reason: String,
}

/// One record of a context's feed.
#[derive(Debug, Clone)]
pub struct FeedRecord {
    /// Where the feed goes on after this record; `[A-Za-z0-9._-]`.
    pub cursor: String,
    /// The actor, as the store's own index has it.
    pub actor: Address,
    /// The record.
    pub stored: Stored,
}

/// Up to where each partition of a context was read: the position of its last record, by
/// partition; empty = nothing was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reach(pub Vec<Position>);

/// One record of a [`Scan`].
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The partition that it stands in: an index into [`Reach`].
    pub partition: usize,
    /// The actor, as the store's own index has it.
    pub actor: Address,
    /// The record.
    pub stored: Stored,
}

/// Some records at a time, never none; an error is the last item.
pub type ScannedPages = BoxStream<'static, Result<Vec<Scanned>, StoreError>>;

/// A reading of what a context holds, which ends.
pub struct Scan {
    /// Where it ends: the last record of each partition when it began.
    pub end: Reach,
    /// How many records it gives, about: other contexts may share the numbers.
    pub about: u64,
    /// The records. Those of one partition come in order.
    pub pages: ScannedPages,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("end", &self.end).finish_non_exhaustive()
    }
}

/// Records as they come; an error is the last item.
pub type RecordFeed = BoxStream<'static, Result<FeedRecord, StoreError>>;

/// Why a feed or a scan was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FeedError {
    /// The cursor is none that this store's feed gave, or the reach none of its scans.
    #[error("{0}")]
    Cursor(String),
    /// The store cannot answer now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is deployed of a context under one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// 1, 2, 3 … per context.
    pub number: u64,
    /// The context.
    pub context: String,
    /// The model.
    pub model: Digest,
    /// The component of each aggregate.
    pub components: BTreeMap<String, Digest>,
    /// When it was activated, in ms since 1970.
    pub at: u64,
    /// Who or what activated it.
    pub by: String,
    /// Why, as that one said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Where the model came from: a file, as it was named there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// The deployment that this one brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// The gates that it did not have to pass.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forced: BTreeSet<String>,
    /// How far the log was replayed before, per partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replayed: Vec<u64>,
    /// The actors whose pasts were not replayed before, as [`Rest`] shows itself: each host checks
    /// them when they wake. None if all were.
    ///
    /// [`Rest`]: crate::deploy::replay::sample::Rest
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
}

/// Events that no host may append any more, because a deployment that is about to be activated
/// could not read them. It holds until a deployment has its number, whatever that deploys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// Number that the deployment is to have.
    pub number: u64,
    /// The context.
    pub context: String,
    /// The events, by aggregate, by their names in the model that is active.
    pub events: BTreeMap<String, BTreeSet<String>>,
    /// The host that wants to activate it.
    pub host: String,
    /// When, in ms since 1970.
    pub at: u64,
}

/// Why a deployment was not activated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ActivateError {
    /// Another one has taken its number.
    #[error("another deployment took the number first")]
    Taken,
    /// The store cannot answer now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an actor takes no commands until an operator has looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Where the damage was found.
    pub position: Position,
    /// A short name of the kind.
    pub kind: String,
    /// What is wrong.
    pub reason: String,
    /// Digest of the record that the log has lost, if that is the damage.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// When it was found, in ms since 1970.
    pub at: u64,
}

impl Quarantine {
    /// Whether this mark tells of a lost record where `other` does not, or of a later one. A log
    /// that lost its tail cannot tell it again; every other damage it can.
    #[must_use]
    pub fn adds_to(&self, other: &Self) -> bool {
        self.digest.is_some() && (other.digest.is_none() || other.position < self.position)
    }
}

/// A host that shares the store, as it last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The host's id: new at every start.
    pub host: String,
    /// The machine and process, for people.
    pub place: String,
    /// Number of the deployment that it serves, per context.
    pub serves: BTreeMap<String, u64>,
    /// Why it serves no actor of a context.
    #[serde(default)]
    pub unable: BTreeMap<String, String>,
    /// Number of the [`Closing`] that it obeys, per context.
    #[serde(default)]
    pub closed: BTreeMap<String, u64>,
}

/// A place where records are kept. `Arc<dyn EventStore>` is shared by all of a host.
#[async_trait]
pub trait EventStore: fmt::Debug + Send + Sync + 'static {
    /// What it is and what it promises, in one line for people.
    fn describe(&self) -> String;

    /// Whether other hosts may write to it while this one runs.
    fn is_shared(&self) -> bool;

    /// Largest record, in bytes.
    fn record_limit(&self) -> usize;

    /// Writes a record behind the one at `expected`. `Ok` means: durable as the store promises.
    async fn append(&self, append: Append) -> Result<Position, AppendError>;

    /// Records of `actor` from position `from` on (inclusive), oldest first, at most what fits a
    /// page of the store's own size (at least one record).
    async fn read(
        &self,
        actor: &Address,
        from: Position,
        freshness: Freshness,
    ) -> Result<Page, StoreError>;

    /// Whether the store knows that `actor` had a record at `position`, and cannot give it. A store
    /// whose records vanish without a trace never knows.
    async fn has_lost(&self, _actor: &Address, _position: Position) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Position of the last record of `actor` (0 = none), even if it cannot be read. It covers every record that was
    /// acknowledged, to anyone, before the call began.
    async fn head(&self, actor: &Address) -> Result<Position, StoreError>;

    /// The snapshot of `actor` that stands furthest in its log, whatever code made it.
    async fn newest_snapshot(&self, actor: &Address) -> Result<Option<Snapshot>, StoreError>;

    /// The newest snapshot of `actor` that the code `key` made.
    async fn snapshot(&self, actor: &Address, key: &Digest)
    -> Result<Option<Snapshot>, StoreError>;

    /// What waking `actor` begins with: [`Self::snapshot`], and the page that [`Self::read`] gives
    /// with [`Freshness::Any`] from its record on, or from the first one if there is no snapshot.
    async fn beginning(
        &self,
        actor: &Address,
        key: &Digest,
    ) -> Result<(Option<Snapshot>, Page), StoreError> {
        let snapshot = self.snapshot(actor, key).await?;
        let from = snapshot.as_ref().map_or(Position(0), |snapshot| snapshot.position);
        Ok((snapshot, self.read(actor, from, Freshness::Any).await?))
    }

    /// Keeps `snapshot` in place of the actor's former one of the same code, unless that is newer.
    /// Of two codes there is one each; a third pushes out the one of the others that stands at the
    /// lower position. Too large ones are refused.
    async fn save_snapshot(&self, actor: &Address, snapshot: Snapshot) -> Result<(), StoreError>;

    /// Forgets all snapshots of `actor`: they may stand on what a repair skips.
    async fn forget_snapshot(&self, actor: &Address) -> Result<(), StoreError>;

    /// Positions of records that may hold the command `id` of `actor`; the caller must look. A
    /// store that keeps no such index gives none.
    async fn find_command(&self, actor: &Address, id: &str) -> Result<Vec<Position>, StoreError>;

    /// Actors of an aggregate that have records, ordered by the subject token of the id, after
    /// the id `after`, at most `limit`.
    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Address>, StoreError>;

    /// Every record of a context after `cursor` (from the beginning if none), first those that
    /// are there, then new ones as they come. Records of one actor come in order, none is left
    /// out. The stream ends only with an error or when the store closes.
    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<RecordFeed, FeedError>;

    /// Every record of a context behind `from` that was acknowledged before the call, and no later
    /// one. Made for reading all there is as fast as the store gives it; nothing is read ahead of
    /// who takes the pages but a few of them.
    async fn scan(&self, context: &str, from: &Reach) -> Result<Scan, FeedError>;

    /// Keeps bytes by their digest.
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError>;

    /// The bytes of a digest; checked.
    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError>;

    /// All deployments of a context, oldest first.
    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError>;

    /// The contexts that have deployments, in order.
    async fn contexts(&self) -> Result<Vec<String>, StoreError>;

    /// Writes a deployment as the newest of its context, if its number is the next one.
    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError>;

    /// Wakes up whenever another host may have deployed or closed something. A hint only: some may
    /// be missing, and then the next look at [`Self::deployments`] shows it.
    fn deployment_hints(&self) -> BoxStream<'static, ()> {
        futures::stream::pending().boxed()
    }

    /// Tells all hosts to append some events no more, if the number is the next one. A store that
    /// is not [shared](Self::is_shared) has nobody to tell.
    async fn close_events(&self, _closing: &Closing) -> Result<(), ActivateError> {
        Ok(())
    }

    /// What was told so for a number.
    async fn closing(&self, _context: &str, _number: u64) -> Result<Option<Closing>, StoreError> {
        Ok(None)
    }

    /// Marks an actor as quarantined, durably. The first mark stays, unless `mark`
    /// [adds to](Quarantine::adds_to) it. One that is older than the actor's last release and names
    /// no lost record may be passed over.
    async fn quarantine(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError>;

    /// The mark of an actor.
    async fn quarantined(&self, actor: &Address) -> Result<Option<Quarantine>, StoreError>;

    /// All marks of a context, ordered by address.
    async fn quarantines(&self, context: &str) -> Result<Vec<(Address, Quarantine)>, StoreError>;

    /// Takes back the mark of an actor, if it still is `mark`.
    async fn release(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError>;

    /// The actors of a context that have, or may have, a repair in their logs.
    async fn repaired(&self, context: &str) -> Result<Vec<Address>, StoreError>;

    /// What lies in the storage of a context. Cost: all of its actors are listed.
    async fn census(&self, context: &str) -> Result<Census, StoreError>;

    /// Tells others that this host lives (for 15 s), and who else does.
    async fn announce(&self, presence: &Presence) -> Result<Vec<Presence>, StoreError>;

    /// Whether it answers now.
    async fn check(&self) -> Result<(), StoreError>;

    /// Finishes what was begun and lets go of the store; every later call fails.
    async fn close(&self);
}
