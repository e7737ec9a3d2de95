//! Reading one map of the model: its keys, and the kind of node behind each.

use super::{
    Reader,
    problems::{Problems, Span},
    tree::{List, Map, Node, Scalar},
};
use crate::report::quoted;

/// Sections of the board that a later version will read.
const RESERVED: [&str; 6] =
    ["policies", "read-models", "external-systems", "roles", "timers", "hotspots"];

/// Refuses keys of `map` that are not `known`. `what` is what the map describes, e.g. "a command".
pub(super) fn keys(problems: &mut Problems, map: &Map, what: &str, known: &[&str]) {
    for (key, node) in &map.entries {
        let name = key.text.as_str();
        if known.contains(&name) {
            continue;
        }
        if name.ends_with('>') && matches!(node, Node::Scalar(value) if value.is_absent()) {
            // The end of a type that a comma cut, told where the type starts.
            continue;
        }
        if RESERVED.contains(&name) {
            problems.error_help(
                key.span,
                format!("`{name}` is reserved for a later version and cannot be used yet"),
                "leave it out, or keep it as a comment".to_string(),
            );
            continue;
        }
        let help = problems.did_you_mean(name, known.iter().copied());
        let help = help.unwrap_or_else(|| match name {
            "upcasts" => "upcasts stand in the aggregate whose events they are for".into(),
            _ => format!("{what} has {}", listed(known)),
        });
        problems.error_help(key.span, format!("unknown key {} in {what}", quoted(name)), help);
    }
}

/// `node` as a map, or a mistake. `what` is what was expected, e.g. "the fields of `open`".
pub(super) fn map<'t>(problems: &mut Problems, node: &'t Node, what: &str) -> Option<&'t Map> {
    match node {
        Node::Map(map) => Some(map),
        _ => unexpected(problems, node, what, "a map (`name: …`)"),
    }
}

/// `node` as a list, or a mistake.
pub(super) fn list<'t>(problems: &mut Problems, node: &'t Node, what: &str) -> Option<&'t List> {
    match node {
        Node::List(list) => Some(list),
        _ => unexpected(problems, node, what, "a list (`[a, b]`)"),
    }
}

/// `node` as text that is not left out, or a mistake.
pub(super) fn text<'t>(problems: &mut Problems, node: &'t Node, what: &str) -> Option<&'t Scalar> {
    match node {
        Node::Scalar(scalar) if !scalar.is_absent() => Some(scalar),
        _ => unexpected(problems, node, what, "text"),
    }
}

/// `a`, `b` and `c`, each in back quotes.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn unexpected<T>(problems: &mut Problems, node: &Node, what: &str, form: &str) -> Option<T> {
    if !matches!(node, Node::Broken(_)) {
        problems.error(node.span(), format!("expected {what} as {form}, found {}", node.found()));
    }
    None
}

impl<'t> Reader<'t, '_> {
    pub(super) fn keys(&mut self, map: &Map, what: &str, known: &[&str]) {
        keys(self.problems, map, what, known);
    }

    pub(super) fn map(&mut self, node: &'t Node, what: &str) -> Option<&'t Map> {
        map(self.problems, node, what)
    }

    pub(super) fn list(&mut self, node: &'t Node, what: &str) -> Option<&'t List> {
        list(self.problems, node, what)
    }

    pub(super) fn text(&mut self, node: &'t Node, what: &str) -> Option<&'t Scalar> {
        text(self.problems, node, what)
    }

    /// The value of a key that must be there; `owner` is what the map describes.
    pub(super) fn required(&mut self, map: &'t Map, owner: &str, key: &str) -> Option<&'t Node> {
        let found = map.get(key).map(|(_, node)| node);
        if found.is_none() {
            let span = Span { width: 1, ..map.span };
            self.problems.error(span, format!("{owner} has no `{key}`"));
        }
        found
    }

    /// The entries of a section that may be left out or empty.
    pub(super) fn optional_map(&mut self, map: &'t Map, key: &str, what: &str) -> Option<&'t Map> {
        let (_, node) = map.get(key)?;
        if node.is_null() { None } else { self.map(node, what) }
    }

    /// The `about` of a map. It becomes a comment in generated code, where control characters and
    /// those that turn the reading direction are not legal.
    pub(super) fn about(&mut self, map: &'t Map) -> Option<String> {
        let (_, node) = map.get("about")?;
        if node.is_null() {
            return None;
        }
        let scalar = self.text(node, "a description")?;
        if let Some(bad) = scalar.text.chars().find(|c| unfit_for_comment(*c)) {
            self.problems.error_help(
                scalar.span,
                format!("the description holds the character {}", bad.escape_unicode()),
                "control characters, direction marks and deprecated characters cannot stand in \
                 generated code: leave it out"
                    .to_string(),
            );
        }
        Some(scalar.text.clone())
    }
}

/// What WIT refuses in its source text.
fn unfit_for_comment(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        '\u{149}' | '\u{673}' | '\u{f77}' | '\u{f79}' => true,
        '\u{17a3}' | '\u{17a4}' | '\u{17b4}' | '\u{17b5}' => true,
        _ => c.is_control(),
    }
}
