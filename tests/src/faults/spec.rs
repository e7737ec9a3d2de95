//! Sequential specifications: what actors do when nothing goes wrong and one asks at a time.
//!
//! Plain Rust, written from the models: nothing here is shared with the host or with a guest, so
//! neither can hide a mistake by making it twice.

mod account;
mod journal;

use std::{fmt::Debug, hash::Hash};

use serde_json::Value;

pub use account::Account;
pub use journal::Journal;

/// The largest number that JSON carries as a number; larger ones are decimal strings.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The rules of one aggregate.
pub trait Spec {
    /// What an actor is made of. Equal states decide and show the same.
    type State: Clone + Debug + Eq + Hash;

    /// The state of an actor without events.
    fn initial() -> Self::State;

    /// What becomes of a command.
    fn decide(state: &Self::State, command: &str, fields: &Value) -> Decision;

    /// Moves `state` behind an event.
    ///
    /// # Errors
    /// If the event is none of the model's: what is wrong with it.
    fn evolve(state: &mut Self::State, event: &str, data: &Value) -> Result<(), String>;

    /// The state as a read shows it.
    fn shown(state: &Self::State) -> Value;

    /// What may be in the log in one turn only, whoever asked for it: a client's counter.
    #[must_use]
    fn once(_event: &str, _data: &Value) -> Option<String> {
        None
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is done.
    Events(Vec<Fact>),
    /// The domain refuses it: the rejection as a variant's case.
    Rejected(Value),
    /// It is none of the model's commands.
    Invalid,
}

/// An event before it has a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Its name in the model.
    pub name: String,
    /// Its fields.
    pub data: Value,
}

fn events(facts: impl IntoIterator<Item = (&'static str, Value)>) -> Decision {
    let fact = |(name, data): (&str, Value)| Fact { name: name.to_owned(), data };
    Decision::Events(facts.into_iter().map(fact).collect())
}

/// An unsigned number as JSON carries it.
fn written(number: u64) -> Value {
    if number <= MAX_NUMBER { number.into() } else { number.to_string().into() }
}

/// The number in the field `name`.
fn number(fields: &Value, name: &str) -> Option<u64> {
    let field = fields.get(name)?;
    field.as_u64().or_else(|| field.as_str()?.parse().ok())
}

/// The text in the field `name`.
fn text(fields: &Value, name: &str) -> Option<String> {
    Some(fields.get(name)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests;
