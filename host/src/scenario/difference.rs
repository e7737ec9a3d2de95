//! Where two JSON values differ, and how to show it.

use serde_json::Value;

/// The value of a text that aether wrote.
pub(super) fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// The first place where `one` and `other`, which stand at `path`, differ: its path and both
/// values.
pub(super) fn first(path: &str, one: &Value, other: &Value) -> Option<(String, String, String)> {
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) if ones.keys().eq(others.keys()) => {
            ones.iter().zip(others.values()).find_map(|((name, one), other)| {
                let dot = if path.is_empty() { "" } else { "." };
                first(&format!("{path}{dot}{name}"), one, other)
            })
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => ones
            .iter()
            .zip(others)
            .enumerate()
            .find_map(|(n, (one, other))| first(&format!("{path}[{n}]"), one, other)),
        _ if one == other => None,
        _ => Some((path.to_owned(), one.to_string(), other.to_string())),
    }
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
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_by_path() {
        let one = json!({"a": {"b": [1, {"c": 2}]}, "z": 1});
        let other = json!({"a": {"b": [1, {"c": 3}]}, "z": 2});
        let found = first("", &one, &other);
        assert_eq!(found, Some(("a.b[1].c".to_owned(), "2".to_owned(), "3".to_owned())));
        assert_eq!(first("x", &one, &one), None);
        let longer = first("x", &json!([1]), &json!([1, 2]));
        assert_eq!(longer, Some(("x".to_owned(), "[1]".to_owned(), "[1,2]".to_owned())));
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
