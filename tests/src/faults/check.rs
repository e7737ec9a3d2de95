//! Whether what clients were told can be true, given what the logs hold.
//!
//! Every answer names the version that it was given at, so whether an actor was linearizable is no
//! search: the log gives the order of the writes, the versions give each other answer its place
//! among them, and what is left is to compare those places with real time ([`check`]). That is
//! polynomial, and takes seconds for a hundred thousand operations. The same question is put to an
//! algorithm that knows nothing of versions ([`general`]), and on short histories both must agree.
//!
//! What is held against a history:
//!
//! - a write takes effect once, after it was asked for and before it was acknowledged; one whose
//!   outcome is unknown takes effect at any later time, or never;
//! - a repeated command is answered with what it did the first time, at the version of that time:
//!   its answer says only that it was done before the answer came;
//! - a rejection, a read and a command without events are answered from the state of one moment
//!   between question and answer;
//! - what was refused for certain is not in the log, unless another try of the same id is.

mod actor;
mod chain;
mod claim;
pub mod general;
mod liveness;
mod order;
mod replay;
mod strangers;
mod sums;

use std::{collections::BTreeMap, fmt};

pub use chain::logged;
pub use liveness::{liveness, longest_unavailability};
pub use sums::balances;

use super::{
    history::{Logs, Operation},
    spec::{Account, Journal},
};

/// The most characters of a violation's text.
const MAX_TEXT: usize = 400;

/// The most operations that a violation names.
const MAX_OPERATIONS: usize = 8;

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In one word.
    pub kind: Kind,
    /// The actor's address; `all` where it is no single one.
    pub actor: String,
    /// The version that it is about.
    pub version: Option<u64>,
    /// The operations that it is about, as indices of the history; the first few if many.
    pub operations: Vec<usize>,
    /// In words.
    pub text: String,
}

/// The kinds of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An acknowledged event is not in the log at the version that was told.
    Lost,
    /// Versions are not 1, 2, 3 …
    Gap,
    /// The records of an actor are no chain.
    Chain,
    /// One command, or what can be done only once, is in the log in two turns.
    Doubled,
    /// Some events of a turn, but not all, or others between them.
    Torn,
    /// Nobody asked for what is in the log.
    Invented,
    /// It was asked for, but not to be decided so in this state.
    Unlawful,
    /// Every client that asked for it was told that nothing was stored.
    RefusedStored,
    /// The answer's version is not the one at which the log has its events.
    WrongVersion,
    /// The answer is not what the specification says at its version.
    WrongAnswer,
    /// The state is not the one of its version.
    WrongState,
    /// A repeated command was decided again.
    Retried,
    /// A command's id was answered with what other fields had done.
    Reused,
    /// A write is in the log before one that had been answered when it was asked for.
    Reordered,
    /// A read was answered from a past that was known to be over.
    StaleRead,
    /// A rejection was given in a past that was known to be over.
    StaleRejection,
    /// A command without events was accepted in a past that was known to be over.
    StaleAnswer,
    /// An answer tells what nobody had asked for yet, or what the log does not hold.
    Future,
    /// Money was made or has vanished.
    Sum,
    /// An actor was not served again in time.
    Stalled,
    /// There is no specification for the actor.
    Unspecified,
}

/// What the report counts a kind as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Acknowledged events are gone.
    Lost,
    /// Something happened twice.
    Doubled,
    /// A turn is not whole.
    Torn,
    /// Everything else that no sequence of turns explains.
    NonLinearizable,
    /// Nothing false, but no service.
    Stalled,
}

impl Kind {
    /// What the report counts it as.
    #[must_use]
    pub const fn column(self) -> Column {
        match self {
            Self::Lost | Self::Gap | Self::Chain => Column::Lost,
            Self::Doubled => Column::Doubled,
            Self::Torn => Column::Torn,
            Self::Stalled => Column::Stalled,
            Self::Invented
            | Self::Unlawful
            | Self::RefusedStored
            | Self::WrongVersion
            | Self::WrongAnswer
            | Self::WrongState
            | Self::Retried
            | Self::Reused
            | Self::Reordered
            | Self::StaleRead
            | Self::StaleRejection
            | Self::StaleAnswer
            | Self::Future
            | Self::Sum
            | Self::Unspecified => Column::NonLinearizable,
        }
    }
}

impl Violation {
    fn new(
        kind: Kind,
        actor: &str,
        version: Option<u64>,
        operations: impl IntoIterator<Item = usize>,
        text: &str,
    ) -> Self {
        let mut operations: Vec<usize> = operations.into_iter().take(MAX_OPERATIONS + 1).collect();
        let more = operations.len() > MAX_OPERATIONS;
        operations.truncate(MAX_OPERATIONS);
        let mut short: String = text.chars().take(MAX_TEXT).collect();
        if short.len() < text.len() || more {
            short.push('…');
        }
        Self { kind, actor: actor.to_owned(), version, operations, text: short }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, actor, version, operations, text } = self;
        write!(f, "{kind:?}: {actor}")?;
        if let Some(version) = version {
            write!(f, " at version {version}")?;
        }
        write!(f, ": {text} (operations {operations:?})")
    }
}

/// Everything that is wrong with what clients were told, actor by actor.
///
/// The specification is chosen by the address: `faults/journal/…` or `bank/account/…`. An actor of
/// another aggregate is a violation, so that nothing goes unchecked.
#[must_use]
pub fn check(operations: &[Operation], logs: &Logs) -> Vec<Violation> {
    let mut actors: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for actor in logs.actors.keys() {
        actors.entry(actor).or_default();
    }
    for (index, operation) in operations.iter().enumerate() {
        actors.entry(&operation.actor).or_default().push(index);
    }
    let mut found = Vec::new();
    for (name, asked) in actors {
        let log = logs.actors.get(name).map(Vec::as_slice).unwrap_or_default();
        let asked = asked.into_iter().filter_map(|index| Some((index, operations.get(index)?)));
        let asked = asked.collect();
        if name.starts_with("faults/journal/") {
            found.extend(actor::check::<Journal>(name, asked, log));
        } else if name.starts_with("bank/account/") {
            found.extend(actor::check::<Account>(name, asked, log));
        } else {
            let text = "no specification says what this actor does";
            found.push(Violation::new(Kind::Unspecified, name, None, [], text));
        }
    }
    found
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
