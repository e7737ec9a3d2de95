//! Where two states differ, and what kind of difference it is.

use serde::Serialize;
use serde_json::Value;

/// Most differences of one actor that are told: a list that moved by one differs everywhere.
const MAX_DIFFERENCES: usize = 100;

/// Longest text of a value in a report, in characters.
const MAX_SHOWN: usize = 200;

/// What happened to a place of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the new state has it.
    Added,
    /// Only the old state has it.
    Removed,
    /// Both have it, with other values.
    Changed,
}

/// One place where two states differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Where, e.g. `lines[2].price`; empty = the whole state.
    pub path: String,
    /// What happened there.
    pub change: Change,
    /// The old value as JSON, long ones cut; none if it was added.
    pub old: Option<String>,
    /// The new value as JSON, long ones cut; none if it was removed.
    pub new: Option<String>,
}

impl Difference {
    /// The path with every index left out: the kind of place.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.path.len());
        let mut inside = false;
        for c in self.path.chars() {
            inside &= c != ']';
            if !inside {
                pattern.push(c);
            }
            inside |= c == '[';
        }
        pattern
    }
}

/// All places where two states differ, the first hundred of them.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    match (old, new) {
        (Value::Object(olds), Value::Object(news)) => {
            let dot = if path.is_empty() { "" } else { "." };
            let added = news.keys().filter(|name| !olds.contains_key(*name));
            for name in olds.keys().chain(added) {
                step(&format!("{path}{dot}{name}"), olds.get(name), news.get(name), found);
            }
        }
        (Value::Array(olds), Value::Array(news)) => {
            for n in 0..olds.len().max(news.len()) {
                if found.len() >= MAX_DIFFERENCES {
                    return;
                }
                step(&format!("{path}[{n}]"), olds.get(n), news.get(n), found);
            }
        }
        _ => step(path, Some(old), Some(new), found),
    }
}

fn step(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    let change = match (old, new) {
        (Some(old), Some(new)) if old == new => return,
        (Some(old @ Value::Object(_)), Some(new @ Value::Object(_)))
        | (Some(old @ Value::Array(_)), Some(new @ Value::Array(_))) => {
            return compare(path, old, new, found);
        }
        (Some(_), Some(_)) => Change::Changed,
        (Some(_), None) => Change::Removed,
        (None, _) => Change::Added,
    };
    if found.len() < MAX_DIFFERENCES {
        let path = path.to_owned();
        found.push(Difference { path, change, old: old.map(shown), new: new.map(shown) });
    }
}

/// A value as people are shown it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(old: &Value, new: &Value) -> Vec<(String, Change, String)> {
        let found = differences(old, new);
        found.iter().map(|it| (it.path.clone(), it.change, it.pattern())).collect()
    }

    #[test]
    fn every_difference_has_its_place_and_kind() {
        let old = json!({"a": 1, "gone": null, "list": [{"x": 1}, {"x": 2}, 3], "same": [1]});
        let new = json!({"a": 2, "list": [{"x": 1}, {"x": 5, "y": 0}], "new": {}, "same": [1]});
        let found = told(&old, &new);
        let of = |path: &str, change, pattern: &str| (path.to_owned(), change, pattern.to_owned());
        assert_eq!(
            found,
            [
                of("a", Change::Changed, "a"),
                of("gone", Change::Removed, "gone"),
                of("list[1].x", Change::Changed, "list[].x"),
                of("list[1].y", Change::Added, "list[].y"),
                of("list[2]", Change::Removed, "list[]"),
                of("new", Change::Added, "new"),
            ]
        );
        assert!(differences(&old, &old).is_empty());
        let whole = differences(&json!(1), &json!("1"));
        assert_eq!((whole.len(), whole[0].path.as_str()), (1, ""));
    }

    #[test]
    fn long_lists_and_long_values_are_cut() {
        let list = |from: u32| json!({ "list": (from..from + 5000).collect::<Vec<_>>() });
        assert_eq!(differences(&list(0), &list(1)).len(), MAX_DIFFERENCES);
        let text = differences(&json!({"a": "é".repeat(900)}), &json!({"a": null}));
        assert_eq!(text[0].old.as_ref().unwrap().chars().count(), MAX_SHOWN + 1);
    }
}
