//! The way to a value inside a JSON text.
//!
//! `NAME`, then any number of `.NAME` and `[N]`: `lines[2].price.cents`. N counts from 0. There
//! are no wildcards: a path leads to one value.

use std::{fmt, str::FromStr};

use aether_wit::report::nearest;
use serde_json::value::RawValue;

use super::{Node, member};

/// Most characters of a value that a message repeats.
const SHOWN: usize = 60;

/// Most steps of a path: deeper than any value.
const MAX_STEPS: usize = 128;

/// The way to a value inside another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The member of an object, or what is in the case of a variant.
    Name(String),
    /// The item of a list, from 0.
    Item(usize),
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PathError(String);

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let refused = |why: &str| {
            let text = shortened(text);
            PathError(format!("`{text}` is not a path: {why}; expected e.g. lines[2].price.cents"))
        };
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(item) = rest.strip_prefix('[') {
                let (number, after) =
                    item.split_once(']').ok_or_else(|| refused("`[` has no `]`"))?;
                let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let number = number.parse().ok().filter(|_| digits);
                let number =
                    number.ok_or_else(|| refused("between `[` and `]` stands a number"))?;
                steps.push(Step::Item(number));
                rest = after;
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(name) if !steps.is_empty() => name,
                    None if steps.is_empty() => rest,
                    Some(_) => return Err(refused("it begins with a dot")),
                    None => return Err(refused("a dot is missing behind `]`")),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (name, after) = name.split_at(end);
                if name.is_empty() {
                    return Err(refused("a name is missing"));
                }
                steps.push(Step::Name(name.to_owned()));
                rest = after;
            }
            if steps.len() > MAX_STEPS {
                return Err(refused("it has more than 128 steps"));
            }
        }
        if steps.is_empty() {
            return Err(refused("it is empty"));
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.0))
    }
}

impl Path {
    /// The value that it leads to inside `value`.
    ///
    /// # Errors
    /// How far it leads, what stands there, and which name is the nearest.
    pub fn find<'a>(&self, value: &'a RawValue) -> Result<&'a RawValue, PathError> {
        let mut found = value;
        for (at, step) in self.0.iter().enumerate() {
            let inner = match (step, Node::of(found)) {
                (Step::Name(name), Node::Object(members)) => member(&members, name),
                (Step::Item(item), Node::List(items)) => items.get(*item).copied(),
                _ => None,
            };
            found = inner.ok_or_else(|| self.ends(at, step, found))?;
        }
        Ok(found)
    }

    /// It leads no further than to its first `at` steps, where `value` stands.
    fn ends(&self, at: usize, step: &Step, value: &RawValue) -> PathError {
        let way = written(self.0.get(..at).unwrap_or_default());
        let here = if way.is_empty() { "the state".to_owned() } else { format!("`{way}`") };
        PathError(match (step, Node::of(value)) {
            (Step::Name(name), Node::Object(members)) => {
                let names = || members.iter().map(|(name, _)| name.as_str());
                let shown = shortened(name);
                match nearest(name, names()) {
                    Some(near) => format!("{here} has no `{shown}`; did you mean `{near}`?"),
                    None => {
                        let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                        let names =
                            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
                        format!("{here} has no `{shown}`; it has {names}")
                    }
                }
            }
            (Step::Item(item), Node::List(items)) => match items.len() {
                0 => format!("{here} has no item [{item}]: it is an empty list"),
                1 => format!("{here} has no item [{item}]: it has one, [0]"),
                n => format!("{here} has no item [{item}]: it has {n}, [0] to [{}]", n - 1),
            },
            (Step::Name(name), Node::List(_)) => {
                format!(
                    "{here} is a list: expected a number as in `[0]`, found `{}`",
                    shortened(name)
                )
            }
            (Step::Item(item), _) => {
                format!(
                    "{here} is not a list but {}: it has no item [{item}]",
                    shortened(value.get())
                )
            }
            (Step::Name(name), _) => {
                format!("{here} is {}: it has no `{}`", shortened(value.get()), shortened(name))
            }
        })
    }
}

fn written(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Name(name) if text.is_empty() => text.push_str(name),
            Step::Name(name) => text.push_str(&format!(".{name}")),
            Step::Item(item) => text.push_str(&format!("[{item}]")),
        }
    }
    text
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
