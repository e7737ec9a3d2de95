//! Record format 1: what is written to an actor's log, and the proof that nothing is missing.
//!
//! A record is one append: the events of one or more turns, as JSON. Records of an actor form a
//! chain: each names the digest of the stored bytes of the one before it, so a record that is
//! lost, altered, reordered or foreign is found when it is read ([`Chain::accept`]).
//!
//! The format cannot change: golden files in `host/golden/` hold what every later build must read.

mod read;
mod repair;
mod write;

use std::fmt;

use aether_wit::Digest;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::repair::Step;
pub use self::repair::{Place, Repair, Repairs, Skip, Skipped};
use crate::address::Address;

/// The number of the format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The store's own sequence number of a record: the token of the version check. 0 = before the
/// first record.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub position: Position,
    /// Its bytes, to the letter.
    pub bytes: Bytes,
}

/// What a record says. Fields are written in this order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// What the record is.
    pub kind: Kind,
    /// The actor's address.
    pub actor: String,
    /// Version of the first event.
    pub first: u64,
    /// Digest of the stored bytes of the actor's previous record; none in the first.
    #[serde(deserialize_with = "present")]
    pub prev: Option<Digest>,
    /// Number of the deployment that decided.
    pub deployment: u64,
    /// The model by which the events are to be read.
    pub model: Digest,
    /// The component that decided.
    pub component: Digest,
    /// One or more turns, oldest first; none in a repair.
    pub turns: Vec<Turn>,
    /// What a repair skips; written in repairs only.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub repair: Option<Repair>,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Commands and their events.
    Turns,
    /// An operator's word on which records before it do not count.
    Repair,
}

/// One command and the events that it gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The command.
    pub command: CommandMeta,
    /// Its events, at least one.
    pub events: Vec<EventData>,
}

/// What is kept of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandMeta {
    /// Its id.
    pub id: String,
    /// Its name in the model.
    pub name: String,
    /// Digest of the caller's fields (§5 JSON in declared order, defaults not filled in).
    pub digest: Digest,
    /// The host's time of receipt, ms since 1970.
    pub at: u64,
    /// The authenticated principal.
    #[serde(deserialize_with = "present")]
    pub by: Option<String>,
    /// What ties the commands of one piece of work together.
    pub correlation: String,
    /// What caused it: a `traceparent` or another command's id.
    #[serde(deserialize_with = "present")]
    pub causation: Option<String>,
    /// The seed that the component saw: a decimal string.
    pub seed: String,
}

/// One event as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventData {
    /// Its name in the model.
    #[serde(rename = "type")]
    pub name: String,
    /// Its fields as §5 JSON; `{}` if it has none.
    pub data: Box<RawValue>,
}

/// An optional member must still be written: a record without it is damaged.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// A member that may be left out, but not be `null`.
fn some<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl Record {
    /// The record's bytes.
    ///
    /// # Errors
    /// If an event's data is not JSON, which [`RawValue`] excludes.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        write::write(self)
    }

    /// How many events the record holds.
    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.turns.iter().map(|turn| turn.events.len() as u64).sum()
    }

    /// Version of the last event; of the one before the record if it has none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.event_count() - 1
    }

    /// The events with their versions and commands, oldest first.
    pub fn events(&self) -> impl Iterator<Item = (u64, &CommandMeta, &EventData)> {
        let turns = self.turns.iter();
        turns
            .flat_map(|turn| turn.events.iter().map(move |event| (&turn.command, event)))
            .zip(self.first..)
            .map(|((command, event), version)| (version, command, event))
    }
}

/// Why a record cannot be what this actor's log held here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes are not a record.
    #[error("the record at position {position} cannot be read: {reason}")]
    Unreadable {
        /// Where.
        position: Position,
        /// What the reader said.
        reason: String,
    },
    /// A newer build wrote it.
    #[error(
        "the record at position {position} has format {found}; this build reads up to {FORMAT}: a newer aether must read it"
    )]
    Format {
        /// Where.
        position: Position,
        /// Its format.
        found: u32,
    },
    /// It belongs to another actor.
    #[error("the record at position {position} belongs to actor `{found}`")]
    Foreign {
        /// Where.
        position: Position,
        /// The actor that it names.
        found: String,
    },
    /// Events are missing before it, or it repeats some.
    #[error("the record at position {position} begins with version {found}; expected {expected}")]
    Gap {
        /// Where.
        position: Position,
        /// The version that follows the last one.
        expected: u64,
        /// The version that it begins with.
        found: u64,
    },
    /// The record before it is not the one that it was written after.
    #[error(
        "the record at position {position} follows {found}; the record before it is {expected}"
    )]
    Chain {
        /// Where.
        position: Position,
        /// Digest of the record before it, or `none`.
        expected: String,
        /// Digest that it names, or `none`.
        found: String,
    },
    /// It is a repair that the reader does not know: what counts before it must be read anew.
    #[error("the repair at position {position} changes what counts before it")]
    Repaired {
        /// Where.
        position: Position,
    },
    /// A record that an index or the ledger names is not there.
    #[error("the record at position {position} is missing")]
    Missing {
        /// Where it was.
        position: Position,
    },
    /// The log no longer holds the record that a snapshot or an awake actor stands on.
    #[error(
        "log-behind: the log does not hold the record {digest} at position {position}, which was acknowledged before"
    )]
    LogBehind {
        /// Where it was.
        position: Position,
        /// Its digest.
        digest: Digest,
    },
}

impl Damage {
    /// The kind of [`Self::Unreadable`]: other code may read it.
    pub const UNREADABLE: &str = "unreadable";

    /// Where the damage was found.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::Unreadable { position, .. }
            | Self::Format { position, .. }
            | Self::Foreign { position, .. }
            | Self::Gap { position, .. }
            | Self::Chain { position, .. }
            | Self::Repaired { position }
            | Self::Missing { position }
            | Self::LogBehind { position, .. } => *position,
        }
    }

    /// Digest of the record that is lost, if that is what is known of it.
    #[must_use]
    pub const fn lost(&self) -> Option<Digest> {
        match self {
            Self::LogBehind { digest, .. } => Some(*digest),
            _ => None,
        }
    }

    /// A short name of the kind, for lists and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => Self::UNREADABLE,
            Self::Format { .. } => "format",
            Self::Foreign { .. } => "foreign",
            Self::Gap { .. } => "gap",
            Self::Chain { .. } => "chain",
            Self::Repaired { .. } => "repaired",
            Self::Missing { .. } => "missing",
            Self::LogBehind { .. } => "log-behind",
        }
    }
}

/// The end of an actor's log as far as it has been read: what the next record must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    actor: Address,
    /// Version of the last event; 0 = none.
    pub version: u64,
    /// Position of the last record that counts; 0 = none.
    pub position: Position,
    /// Digest of the last record's bytes.
    pub digest: Option<Digest>,
    /// Up to where the log has been read: behind `position` if what follows was skipped.
    pub read: Position,
    repairs: Repairs,
}

impl Chain {
    /// The chain of an actor without events.
    #[must_use]
    pub fn start(actor: &Address) -> Self {
        Self {
            actor: actor.clone(),
            version: 0,
            position: Position(0),
            digest: None,
            read: Position(0),
            repairs: Repairs::default(),
        }
    }

    /// The chain of an actor whose last record is known, e.g. from a snapshot.
    #[must_use]
    pub fn at(actor: &Address, version: u64, position: Position, digest: Digest) -> Self {
        let start = Self::start(actor);
        Self { version, position, digest: Some(digest), read: position, ..start }
    }

    /// The same chain, obeying `repairs`.
    #[must_use]
    pub fn with_repairs(self, repairs: Repairs) -> Self {
        Self { repairs, ..self }
    }

    /// The repairs that it obeys.
    #[must_use]
    pub const fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// The record that it stands on; none at the start.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.digest.map(|digest| Place { position: self.position, digest })
    }

    /// Checks that `stored` is the actor's next record, and moves behind it. None: a repair says
    /// that it does not count.
    ///
    /// # Errors
    /// The damage found; the chain then stays where it was.
    pub fn accept(&mut self, stored: &Stored) -> Result<Option<Record>, Damage> {
        let step = if self.repairs.is_empty() {
            None
        } else {
            self.repairs.step(self.place(), stored.into())
        };
        if step == Some(Step::Skip) {
            self.read = stored.position;
            return Ok(None);
        }
        let record = parse(stored)?;
        let position = stored.position;
        if !self.actor.is_written(&record.actor) {
            return Err(Damage::Foreign { position, found: record.actor });
        }
        if step.is_none() && record.prev != self.digest {
            let name = |digest: Option<Digest>| digest.map_or("none".to_owned(), |d| d.to_string());
            return Err(Damage::Chain {
                position,
                expected: name(self.digest),
                found: name(record.prev),
            });
        }
        let is_repair = record.kind == Kind::Repair;
        if is_repair && !self.repairs.knows(stored.into()) {
            return Err(Damage::Repaired { position });
        }
        // Versions may be missing behind what was skipped, and before a repair, which leaves out
        // those that were told already. They never go back.
        let expected = self.version + 1;
        let may_jump = is_repair || step.is_some();
        if record.first < expected || (!may_jump && record.first != expected) {
            return Err(Damage::Gap { position, expected, found: record.first });
        }
        self.advance(&record, stored);
        Ok(Some(record))
    }

    /// Moves behind a record that this process built on this chain and that the store acknowledged.
    pub fn advance(&mut self, record: &Record, stored: &Stored) {
        self.version = record.last();
        self.position = stored.position;
        self.read = stored.position;
        self.digest = Some(Digest::of(&stored.bytes));
    }

    /// Whether `stored` is the record that this chain stands on.
    #[must_use]
    pub fn stands_on(&self, stored: &Stored) -> bool {
        stored.position == self.position && Some(Digest::of(&stored.bytes)) == self.digest
    }
}

/// Reads a record without its neighbours: format and form are checked, the chain is not.
///
/// # Errors
/// [`Damage::Unreadable`] or [`Damage::Format`].
pub fn parse(stored: &Stored) -> Result<Record, Damage> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let position = stored.position;
    let unreadable = |reason: String| Damage::Unreadable { position, reason };
    let read = read::read(&stored.bytes).map_or_else(|| serde_json::from_slice(&stored.bytes), Ok);
    let record: Record = match read {
        Ok(record) => record,
        // Of another format nothing else need be known.
        Err(error) => match serde_json::from_slice(&stored.bytes) {
            Ok(Head { format }) if format != FORMAT => {
                return Err(Damage::Format { position, found: format });
            }
            _ => return Err(unreadable(error.to_string())),
        },
    };
    if record.format != FORMAT {
        return Err(Damage::Format { position, found: record.format });
    }
    if let Some(misfit) = misfit(&record) {
        return Err(unreadable(misfit.to_owned()));
    }
    let is_seed =
        |seed: &str| seed.bytes().all(|b| b.is_ascii_digit()) && seed.parse::<u64>().is_ok();
    if let Some(turn) = record.turns.iter().find(|turn| !is_seed(&turn.command.seed)) {
        return Err(unreadable(format!("`seed` is `{}`, not a decimal u64", turn.command.seed)));
    }
    if record.first == 0 || record.first.checked_add(record.event_count()).is_none() {
        return Err(unreadable(format!("`first` is {}", record.first)));
    }
    Ok(record)
}

/// What a record holds that its kind does not.
fn misfit(record: &Record) -> Option<&'static str> {
    match (record.kind, &record.repair) {
        (Kind::Turns, Some(_)) => Some("a repair among turns"),
        (Kind::Turns, None) => {
            let empty = record.turns.is_empty() || record.turns.iter().any(|t| t.events.is_empty());
            empty.then_some("a turn without events")
        }
        (Kind::Repair, None) => Some("a repair that does not say what it skips"),
        (Kind::Repair, Some(_)) if !record.turns.is_empty() => Some("turns in a repair"),
        (Kind::Repair, Some(repair)) => repair.misfit(),
    }
}

#[cfg(test)]
mod tests;
