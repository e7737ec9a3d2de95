//! How a model reads events that were stored under another.
//!
//! Stored bytes are never rewritten. Each record names the model that it was written under, and
//! what that model declares of an event says how the running model reads it: as it stands, after
//! the steps of an upcast ([`Mapping`]), or by the component.
//!
//! # What an upcast touches
//!
//! An upcast touches only what the model cannot read as it stands, by what the model that stored
//! the event *declares*, never by a stored value:
//!
//! - A declared field that the model reads as it stands (under the same name or its `was`, with a
//!   type that holds all its values) stays as it is, whatever the upcast says of it.
//! - `drop`, `rename` and `into` take declared fields that are not read as they stand; `set` and
//!   `default` give fields that the event would not have otherwise. `set` also replaces a field
//!   whose type does not fit, and `default` the none of an `option<..>` that must be a value now.
//!
//! So events of the running model are never changed, nor are those of any model whose events read
//! as they are; and one upcast serves several older forms of an event, each as far as it needs.
//! The component is asked for an event as a whole, where it does not read as it stands.
//!
//! The order is fixed: `drop`, `rename` (all at once), `set`, `default`, `into`.

use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    Model,
    diff::{self, Change},
};

/// How the events of one name that one model stored are read by another.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// As they stand, as this event.
    AsStored(String),
    /// After these steps.
    Mapped(Mapping),
    /// By the component's `upcast`.
    Component,
    /// Not, by what the two models declare. A given value may still read as it stands: a number
    /// may be small, a case that is gone may be absent.
    Unreadable(Vec<Change>),
}

/// What the model's own upcast does to the events of one name that one model stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(crate) event: String,
    pub(crate) steps: Vec<Step>,
}

/// One step on the fields of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Leaves a field out.
    Drop(String),
    /// Gives fields other names, all at once.
    Rename(Vec<Move>),
    /// Gives a field a value, as JSON.
    Give(String, String),
    /// Gives a field a value, as JSON, where it is none.
    GiveIfNone(String, String),
    /// Moves fields into a record, which is a field itself.
    Into(String, Vec<String>),
}

/// A field that gets another name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Move {
    pub from: String,
    pub to: String,
    /// Whether events may lack it.
    pub optional: bool,
}

/// Why a stored event could not be upcast: it is not what its model declares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The data is no JSON object.
    #[error("expected the event's fields as a JSON object: {0}")]
    NoObject(String),
    /// A field that the upcast moves is not there.
    #[error("expected the field `{0}`, which the upcast moves, found none")]
    Missing(String),
}

impl Mapping {
    /// The name of the event that it becomes.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The fields of an event as the model reads them: `data` is a JSON object as it is stored,
    /// and what comes out is one. Values that only move keep their text, byte for byte.
    ///
    /// # Errors
    /// If the data is not what the model that stored it declares.
    pub fn apply(&self, data: &str) -> Result<String, Misfit> {
        let no_object = |error: serde_json::Error| Misfit::NoObject(error.to_string());
        let mut fields: Fields = serde_json::from_str(data).map_err(no_object)?;
        for step in &self.steps {
            step.apply(&mut fields)?;
        }
        serde_json::to_string(&fields).map_err(no_object)
    }
}

/// The fields of an event, each with its value's text.
type Fields = IndexMap<String, Box<RawValue>>;

impl Step {
    fn apply(&self, fields: &mut Fields) -> Result<(), Misfit> {
        match self {
            Self::Drop(name) => drop(fields.shift_remove(name)),
            Self::Rename(moves) => {
                let mut taken = Vec::new();
                for Move { from, to, optional } in moves {
                    match fields.shift_remove(from) {
                        Some(value) => taken.push((to.clone(), value)),
                        None if *optional => {}
                        None => return Err(Misfit::Missing(from.clone())),
                    }
                }
                fields.extend(taken);
            }
            Self::Give(name, value) => drop(fields.insert(name.clone(), raw(value)?)),
            Self::GiveIfNone(name, value) => {
                if fields.get(name).is_none_or(|stored| stored.get() == "null") {
                    fields.insert(name.clone(), raw(value)?);
                }
            }
            Self::Into(record, parts) => {
                let mut moved = Fields::new();
                for part in parts {
                    moved.extend(fields.shift_remove_entry(part));
                }
                let value = to_raw_value(&moved);
                let value = value.map_err(|error| Misfit::NoObject(error.to_string()))?;
                fields.insert(record.clone(), value);
            }
        }
        Ok(())
    }
}

fn raw(json: &str) -> Result<Box<RawValue>, Misfit> {
    RawValue::from_string(json.to_owned()).map_err(|error| Misfit::NoObject(error.to_string()))
}

/// How `target` reads the events called `event` that components of `writer` stored. It depends on
/// the two models alone: ask once for each pair, not for each event.
///
/// An event that `writer` does not declare is read as it stands, if `target` has one of that name.
#[must_use]
pub fn reading(target: &Model, writer: &Model, aggregate: &str, event: &str) -> Reading {
    diff::reading(target, writer, aggregate, event)
}

/// The events, as `(aggregate, event)`, that components of `writer` may store and `target` cannot
/// read: what stands against going back from `writer` to `target`. Events that no command emits
/// are never stored.
#[must_use]
pub fn unreadable(target: &Model, writer: &Model) -> Vec<(String, String)> {
    let mut unreadable = Vec::new();
    for aggregate in writer.aggregates.values() {
        let emits = aggregate.commands.values().flat_map(|command| &command.emits);
        for event in aggregate.events.keys() {
            let emitted = emits.clone().any(|emitted| emitted == event);
            let read = || reading(target, writer, &aggregate.name, event);
            if emitted && matches!(read(), Reading::Unreadable(_)) {
                unreadable.push((aggregate.name.clone(), event.clone()));
            }
        }
    }
    unreadable
}

#[cfg(test)]
mod tests;
