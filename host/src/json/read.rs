//! JSON to packed values.
//!
//! The text is read once, by the plan, straight into packed bytes: no tree of values, and no
//! allocation per field. Fields may come in any order, so a record's values are written as they
//! arrive and put in order at its end, which costs nothing where they were in order already.
//!
//! Numbers are taken by their text: integers are exact at any size, and floats are rounded once,
//! to the type they are for. A path is only made when something is wrong: each level adds its
//! part while the error is on its way out, and what stands there is then looked up in the text.
//! Nesting is bounded by serde_json's recursion limit (128).

mod error;
mod number;
mod seed;

use std::cell::Cell;

use serde::de::DeserializeSeed as _;

use super::{Packed, Plan};
use seed::{Reading, Room, Seed};

/// Why a JSON text is not a value of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}expected {expected}, found {found}", .path, if .path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// Where in the value, e.g. `lines[2].price.cents`; empty = the value itself.
    pub path: String,
    /// What the type wants, e.g. `u64`.
    pub expected: String,
    /// What stands there, shortened, e.g. `-4`.
    pub found: String,
}

/// How JSON is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// What a caller sends now: names of today; a default fills a field that is left out.
    Caller,
    /// What the log holds: former names (`was`) are understood too.
    Log,
}

impl Reader {
    /// Reads a whole JSON text as a value of `plan`.
    ///
    /// # Errors
    /// Where the text is not JSON or does not fit, by path; unknown, missing and duplicate keys
    /// and lone surrogates are errors.
    pub fn read(self, plan: &Plan, json: &[u8]) -> Result<Packed, JsonError> {
        read(plan, json, self, false)
    }
}

/// Reads what a caller sent so that fields left out can be told from fields that say what their
/// default says: a field with a default is 0, or 1 and its value.
pub(super) fn sparse(plan: &Plan, json: &[u8]) -> Result<Packed, JsonError> {
    read(plan, json, Reader::Caller, true)
}

thread_local! {
    /// Events are small and many: a third of what reading one costs would be room to do it in.
    static SPARE: Cell<Room> = Cell::default();
}

fn read(plan: &Plan, json: &[u8], reader: Reader, sparse: bool) -> Result<Packed, JsonError> {
    let text = std::str::from_utf8(json).map_err(|error| JsonError {
        path: String::new(),
        expected: "JSON in UTF-8".to_owned(),
        found: format!("other bytes from byte {} on", error.valid_up_to()),
    })?;
    let mut reading = Reading::new(reader, sparse, SPARE.take());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = Seed { plan, reading: &mut reading }.deserialize(&mut deserializer);
    match result.and_then(|()| deserializer.end()) {
        Ok(()) => {
            let packed = reading.writer.take();
            SPARE.set(reading.into_room());
            Ok(packed)
        }
        Err(error) => Err(reading.problem.explain(&error, text)),
    }
}

#[cfg(test)]
mod tests;
