//! What clients asked and were told, and what the logs held in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

/// One request of one client and what came of it.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// The actor's address, e.g. `bank/account/a`.
    pub actor: String,
    /// What was asked.
    pub request: Request,
    /// When, since the run began, on a monotonic clock.
    pub begun: Duration,
    /// When the answer came, or the caller gave up.
    pub ended: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a client can ask of an actor.
#[derive(Debug, Clone)]
pub enum Request {
    /// Do something.
    Command {
        /// The command's id, if the client gave one.
        id: Option<String>,
        /// Its name in the model.
        name: String,
        /// Its fields.
        fields: Value,
        /// Do it only at this version.
        expected_version: Option<u64>,
    },
    /// Tell the state.
    Read,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A command was done. No events: there was nothing to do.
    Accepted {
        /// The actor's version after the events.
        version: u64,
        /// The command's events.
        events: Vec<Event>,
    },
    /// The domain said no.
    Rejected {
        /// The version at which it did.
        version: u64,
        /// The rejection as a variant's case: `"name"`, or `{"name": fields}`.
        rejection: Value,
    },
    /// A read's answer.
    State {
        /// The version of the state.
        version: u64,
        /// The state.
        state: Value,
    },
    /// A definite "nothing was stored": overloaded, contended, unavailable, conflict, invalid, …
    Refused {
        /// The failure's code.
        code: String,
    },
    /// Unresolved, connection lost, timed out: it may have happened, or may still happen later.
    Unknown {
        /// What the client saw.
        why: String,
    },
}

/// An event as a client was told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The actor's version after it.
    pub version: u64,
    /// Its name in the model.
    pub name: String,
    /// Its fields.
    pub data: Value,
}

/// What the logs hold at the end, read through the host after the last fault is over.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// The events of each actor in the order of its log, by address. An actor that is not here
    /// has none.
    pub actors: BTreeMap<String, Vec<LoggedEvent>>,
}

/// An event as it is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The actor's version after it.
    pub version: u64,
    /// Its name in the model.
    pub name: String,
    /// Its fields.
    pub data: Value,
    /// When its command was received, by the host's own clock, in ms since 1970.
    pub at: u64,
    /// The id of its command.
    pub command: String,
}

/// Counts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands that were done, those without events and repeated ones too.
    pub acknowledged: u64,
    /// Commands that the domain refused.
    pub rejected: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Requests that were refused, by the failure's code.
    pub refused: BTreeMap<String, u64>,
    /// Requests of which it is not known what came of them.
    pub unknown: u64,
    /// Commands of which the client learned nothing and whose events are in the log: unknown
    /// outcomes that mattered.
    pub unknown_stored: u64,
    /// Appends that met another host's record, as the runner counted them.
    pub conflicts: u64,
}

impl Operation {
    /// The command's id, if the client gave one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match &self.request {
            Request::Command { id, .. } => id.as_deref(),
            Request::Read => None,
        }
    }

    /// Whether it asked for the state.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self.request, Request::Read)
    }

    /// The version that the answer told, if it told one.
    #[must_use]
    pub const fn version(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Accepted { version, .. }
            | Outcome::Rejected { version, .. }
            | Outcome::State { version, .. } => Some(*version),
            Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
        }
    }
}

impl Tally {
    /// Adds the counts of another part of the run.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.rejected += other.rejected;
        self.reads += other.reads;
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
        self.unknown += other.unknown;
        self.unknown_stored += other.unknown_stored;
        self.conflicts += other.conflicts;
    }

    /// Counts what came of `operations`. The `conflicts` are counted by the hosts, not here.
    #[must_use]
    pub fn of(operations: &[Operation], logs: &Logs, conflicts: u64) -> Self {
        let mut tally = Self { conflicts, ..Self::default() };
        let mut unknown = BTreeSet::new();
        for operation in operations {
            match &operation.outcome {
                Outcome::Accepted { .. } => tally.acknowledged += 1,
                Outcome::Rejected { .. } => tally.rejected += 1,
                Outcome::State { .. } => tally.reads += 1,
                Outcome::Refused { code } => *tally.refused.entry(code.clone()).or_default() += 1,
                Outcome::Unknown { .. } => {
                    tally.unknown += 1;
                    unknown.extend(operation.id().map(|id| (operation.actor.as_str(), id)));
                }
            }
        }
        for operation in operations {
            if let (Outcome::Accepted { .. }, Some(id)) = (&operation.outcome, operation.id()) {
                unknown.remove(&(operation.actor.as_str(), id));
            }
        }
        let stored: BTreeSet<(&str, &str)> = logs
            .actors
            .iter()
            .flat_map(|(actor, log)| log.iter().map(|event| (actor.as_str(), &*event.command)))
            .collect();
        tally.unknown_stored = unknown.intersection(&stored).count() as u64;
        tally
    }
}
