//! What callers ask and what they are told.

use std::{sync::Arc, time::Instant};

use serde_json::value::RawValue;

use crate::{address::Address, clock, failure::Failure};

/// A command on its way to an actor.
#[derive(Debug, Clone)]
pub struct Command {
    /// The actor.
    pub to: Address,
    /// The command's name in the model.
    pub name: String,
    /// The caller's fields: a JSON object as it was sent.
    pub fields: Box<RawValue>,
    /// The id by which the command is known, if the caller gave one; else the host makes one.
    pub id: Option<String>,
    /// Refuse with `conflict` unless the actor is at this version.
    pub expected_version: Option<u64>,
    /// What ties the commands of one piece of work together; by default the command's id.
    pub correlation: Option<String>,
    /// What caused it: a `traceparent` or another command's id.
    pub causation: Option<String>,
    /// The authenticated principal.
    pub by: Option<Arc<str>>,
    /// The host's time of receipt, in ms since 1970.
    pub at: u64,
    /// The seed that the component sees; by default the host draws one.
    pub seed: Option<u64>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl Command {
    /// A command of nobody in particular, received now.
    #[must_use]
    pub fn new(to: Address, name: &str, fields: Box<RawValue>, deadline: Instant) -> Self {
        Self {
            to,
            name: name.to_owned(),
            fields,
            id: None,
            expected_version: None,
            correlation: None,
            causation: None,
            by: None,
            at: clock::unix_ms(),
            seed: None,
            deadline,
        }
    }
}

/// The domain's answer to a command. A refusal by the domain is an answer, not a failure.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The actor.
    pub actor: Address,
    /// The command's id.
    pub command: String,
    /// The actor's version: after the command's events, or the one a rejection was decided at.
    pub version: u64,
    /// What the domain said.
    pub outcome: Outcome,
}

/// What the domain said to a command.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It happened: these events, which may be none, are in the log.
    Accepted(Vec<Event>),
    /// The domain said no.
    Rejected {
        /// The rejection's name in the model.
        name: String,
        /// Its fields as §5 JSON; `{}` if it has none.
        fields: Box<RawValue>,
    },
}

/// What became of a command in one word: `accepted`, `rejected` or the failure's code.
#[must_use]
pub const fn outcome_word(result: &Result<Reply, Failure>) -> &'static str {
    match result {
        Ok(Reply { outcome: Outcome::Accepted(_), .. }) => "accepted",
        Ok(Reply { outcome: Outcome::Rejected { .. }, .. }) => "rejected",
        Err(failure) => failure.code.as_str(),
    }
}

/// One event of an actor as callers see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The actor's version after it.
    pub version: u64,
    /// Its name in the model.
    pub name: String,
    /// Its fields as §5 JSON; `{}` if it has none.
    pub data: Box<RawValue>,
    /// When its command was received, in ms since 1970.
    pub at: u64,
    /// The id of its command.
    pub command: String,
}

/// Whether an answer must hold everything that was acknowledged before the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Yes: the host confirms with the store that its version is the log's last.
    #[default]
    Linearizable,
    /// No: the host answers from memory, with its version.
    Local,
}

/// A question about an actor's state.
#[derive(Debug, Clone)]
pub struct Query {
    /// The actor.
    pub actor: Address,
    /// The state as it was at this version; the newest if none.
    pub version: Option<u64>,
    /// Wait until the actor has reached this version.
    pub min_version: Option<u64>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

/// An actor's state at a version.
#[derive(Debug, Clone)]
pub struct StateView {
    /// The actor.
    pub actor: Address,
    /// How many events it has.
    pub version: u64,
    /// Its state as §5 JSON.
    pub state: Box<RawValue>,
    /// The component that folded it.
    pub component: aether_wit::Digest,
}

/// A part of an actor's history.
#[derive(Debug, Clone)]
pub struct EventsPage {
    /// The actor.
    pub actor: Address,
    /// Its events, oldest first.
    pub events: Vec<Event>,
    /// The version to ask for next; none at the end.
    pub next: Option<u64>,
}

/// One actor in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorEntry {
    /// The actor.
    pub actor: Address,
    /// Its version if it is awake in this host.
    pub awake_at: Option<u64>,
    /// Why it is quarantined, if it is.
    pub quarantined: Option<String>,
}

/// A part of the list of actors.
#[derive(Debug, Clone)]
pub struct ActorsPage {
    /// The actors in the order of their ids' subject tokens (bytes).
    pub actors: Vec<ActorEntry>,
    /// The id to ask after next; none at the end.
    pub next: Option<String>,
}

/// One event of a context's feed.
#[derive(Debug, Clone)]
pub struct FeedEvent {
    /// Where the feed goes on after this event; opaque text without spaces.
    pub cursor: String,
    /// The actor.
    pub actor: Address,
    /// The event.
    pub event: Event,
}
