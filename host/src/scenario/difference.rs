//! Where two JSON values differ, and how to show it.

use serde_json::value::RawValue;

use crate::json::difference;

/// The first place where `one` and `other`, which stand at `path`, differ: its path and both
/// values.
pub(super) fn first(
    path: &str,
    one: &RawValue,
    other: &RawValue,
) -> Option<(String, String, String)> {
    let change = difference(one, other).into_iter().next()?;
    let inside = !path.is_empty() && !change.path.is_empty() && !change.path.starts_with('[');
    let dot = if inside { "." } else { "" };
    let text = |value: Option<Box<RawValue>>| {
        value.map_or_else(|| "nothing".to_owned(), |value| value.get().to_owned())
    };
    Some((format!("{path}{dot}{}", change.path), text(change.before), text(change.after)))
}

/// Compact JSON over several lines, members in their order, for comparing line by line.
pub(super) fn lines(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        let newline = |out: &mut String, depth| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        };
        match c {
            '{' | '[' if chars.next_if(|next| matches!(next, '}' | ']')).is_some() => {
                out.push_str(if c == '{' { "{}" } else { "[]" });
            }
            '{' | '[' => {
                out.push(c);
                depth += 1;
                newline(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_first_difference_is_named_by_path() {
        let first = |path: &str, one: &str, other: &str| {
            let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
            let (path, one, other) = first(path, &raw(one), &raw(other))?;
            Some(format!("{path}: {one}, {other}"))
        };
        let (one, other) = (r#"{"a":{"b":[1,{"c":2}]},"z":1}"#, r#"{"a":{"b":[1,{"c":3}]},"z":2}"#);
        assert_eq!(first("", one, other).unwrap(), "a.b[1].c: 2, 3");
        assert_eq!(first("x", one, other).unwrap(), "x.a.b[1].c: 2, 3");
        assert_eq!(first("x", one, one), None);
        assert_eq!(first("x", "[1]", "[1,2]").unwrap(), "x[1]: nothing, 2");
        assert_eq!(first("x", "1", "2").unwrap(), "x: 1, 2");
    }

    #[test]
    fn lines_say_the_same_as_the_text() {
        let json = r#"[{"a":{"b":[],"c":"x\"{[,:]}\\"},"d":[1,{}]}]"#;
        let shown = lines(json);
        assert_eq!(value(&shown), value(json));
        assert!(shown.starts_with("[\n  {\n    \"a\": {\n      \"b\": [],\n"), "{shown}");
        assert_eq!(shown.lines().count(), 12);
    }
}
