//! Where two JSON texts differ, value by value, and how to reach a value by its path.
//!
//! Texts are compared, not trees of numbers: what [`super::write()`] wrote differs exactly if the
//! values do, to the last bit of a float and the last digit of a u64. Only what differs is parsed.

mod path;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub use path::{Path, PathError};

/// Nesting at which a difference is no longer taken apart: as deep as serde_json reads.
const MAX_DEPTH: usize = 128;

/// One place where two values differ.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// Where, e.g. `lines[2].price.cents`; empty = the value itself. The number in a list counts
    /// in the new list; in the old one if it is gone.
    pub path: String,
    /// What stood there; none = nothing, which is not the same as `null`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub before: Option<Box<RawValue>>,
    /// What stands there now; none = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub after: Option<Box<RawValue>>,
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        let text = |value: &Option<Box<RawValue>>| value.as_ref().map(|v| v.get().to_owned());
        self.path == other.path
            && text(&self.before) == text(&other.before)
            && text(&self.after) == text(&other.after)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Box<RawValue>>| {
            value.as_ref().map_or("nothing".to_owned(), |value| value.get().to_owned())
        };
        let path = if self.path.is_empty() { "the value" } else { &self.path };
        write!(f, "{path}: {} -> {}", text(&self.before), text(&self.after))
    }
}

/// A member that is there, be it `null`.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

/// Every place where `after` differs from `before`, in the order of their members.
///
/// Members are matched by name, items of lists by number; where a list has grown or shrunk, what
/// its ends have in common is left aside first. Objects without a common member, as two cases of a
/// variant are, differ as a whole.
#[must_use]
pub fn difference(before: &RawValue, after: &RawValue) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), before, after, 0, &mut changes);
    changes
}

fn compare(path: String, before: &RawValue, after: &RawValue, depth: usize, out: &mut Vec<Change>) {
    if before.get() == after.get() {
        return;
    }
    let shallow = depth < MAX_DEPTH;
    match (Node::of(before), Node::of(after)) {
        (Node::Object(old), Node::Object(new)) if shallow && share_a_name(&old, &new) => {
            members(&path, &old, &new, depth, out);
        }
        (Node::List(old), Node::List(new)) if shallow => items(&path, &old, &new, depth, out),
        (Node::Text(old), Node::Text(new)) if old == new => {}
        (Node::Object(old), Node::Object(new)) if old.is_empty() && new.is_empty() => {}
        _ => out.push(Change {
            path,
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
        }),
    }
}

fn members(path: &str, old: &Members, new: &Members, depth: usize, out: &mut Vec<Change>) {
    let dot = if path.is_empty() { "" } else { "." };
    for (name, before) in old {
        let path = format!("{path}{dot}{name}");
        match member(new, name) {
            Some(after) => compare(path, before, after, depth + 1, out),
            None => out.push(gone(path, before)),
        }
    }
    for (name, after) in new.iter().filter(|(name, _)| member(old, name).is_none()) {
        out.push(come(format!("{path}{dot}{name}"), after));
    }
}

fn items(path: &str, old: &[&RawValue], new: &[&RawValue], depth: usize, out: &mut Vec<Change>) {
    let same = |(a, b): &(&&RawValue, &&RawValue)| a.get() == b.get();
    let (mut head, mut tail) = (0, 0);
    if old.len() != new.len() {
        let shorter = old.len().min(new.len());
        head = old.iter().zip(new).take_while(same).count();
        tail = old.iter().rev().zip(new.iter().rev()).take(shorter - head).take_while(same).count();
    }
    let old_middle = old.iter().enumerate().take(old.len() - tail).skip(head);
    let new_middle = new.iter().enumerate().take(new.len() - tail).skip(head);
    for ((at, before), (_, after)) in old_middle.clone().zip(new_middle.clone()) {
        compare(format!("{path}[{at}]"), before, after, depth + 1, out);
    }
    let both = old_middle.len().min(new_middle.len());
    out.extend(old_middle.skip(both).map(|(at, value)| gone(format!("{path}[{at}]"), value)));
    out.extend(new_middle.skip(both).map(|(at, value)| come(format!("{path}[{at}]"), value)));
}

fn gone(path: String, value: &RawValue) -> Change {
    Change { path, before: Some(value.to_owned()), after: None }
}

fn come(path: String, value: &RawValue) -> Change {
    Change { path, before: None, after: Some(value.to_owned()) }
}

/// The members of an object in their own order.
type Members<'a> = Vec<(String, &'a RawValue)>;

/// One level of a JSON text.
enum Node<'a> {
    Object(Members<'a>),
    List(Vec<&'a RawValue>),
    /// A text, without its escapes.
    Text(String),
    /// `null`, a truth value or a number.
    Other,
}

impl<'a> Node<'a> {
    fn of(value: &'a RawValue) -> Self {
        let json = value.get().trim_start();
        let node = match json.as_bytes().first() {
            Some(b'{') => serde_json::from_str(json).map(|Object(members)| Self::Object(members)),
            Some(b'[') => serde_json::from_str(json).map(Self::List),
            Some(b'"') => serde_json::from_str(json).map(Self::Text),
            _ => Ok(Self::Other),
        };
        node.unwrap_or(Self::Other)
    }
}

struct Object<'a>(Members<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;

        impl<'de> Visitor<'de> for Seen {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Members::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Seen)
    }
}

fn member<'a>(members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn share_a_name(one: &Members<'_>, other: &Members<'_>) -> bool {
    one.iter().any(|(name, _)| member(other, name).is_some())
}
