//! YAML text as a tree that keeps places and the source text of scalars.
//!
//! A usual YAML reader guesses types (`007` becomes 7, `1.10` becomes 1.1, `18446744073709551615`
//! a float) and takes duplicate keys. A model needs neither: what a scalar means is decided later,
//! by the declared type, from what was typed. So the tree is built from the parser's events, and
//! what the model language does not have (anchors, aliases, tags, merge keys, several documents)
//! is refused here.
//!
//! Cost: one pass without recursion. The parser is linear, limits flow nesting itself, and is asked
//! for no event beyond the limits below.

use std::{cmp::Ordering, collections::HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

use super::problems::{Problems, Span};
use crate::{
    model::Location,
    report::{self, quoted},
};

/// Deepest nesting of maps and lists. The language itself needs 8; values may nest further.
const MAX_DEPTH: usize = 48;

/// Most scalars, lists and maps of a file: bounds memory and time of every later pass.
const MAX_NODES: usize = 100_000;

/// A value with its place.
#[derive(Debug)]
pub(super) enum Node {
    /// Text.
    Scalar(Scalar),
    /// Keys with values, in the order of the text, each key once.
    Map(Map),
    /// Values one after the other.
    List(List),
    /// Something that was refused already: no further complaint about it is due.
    Broken(Span),
}

impl Node {
    pub fn span(&self) -> Span {
        match self {
            Self::Scalar(scalar) => scalar.span,
            Self::Map(map) => map.span,
            Self::List(list) => list.span,
            Self::Broken(span) => *span,
        }
    }

    /// Whether this is `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.is_null())
    }

    /// What this is, for "found …".
    pub fn found(&self) -> String {
        match self {
            Self::Scalar(scalar) if scalar.is_absent() => "nothing".into(),
            Self::Scalar(scalar) => quoted(&scalar.text),
            Self::Map(_) => "a map".into(),
            Self::List(_) => "a list".into(),
            Self::Broken(_) => "a mistake".into(),
        }
    }
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Bare.
    Plain,
    /// In quotes or as a block: always text.
    Text,
}

/// Text with its place.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// The text, quotes removed and line folds applied, otherwise as typed.
    pub text: String,
    pub style: Style,
    pub span: Span,
}

impl Scalar {
    /// Whether nothing was written, e.g. after `about:`.
    pub fn is_absent(&self) -> bool {
        self.style == Style::Plain && self.text.is_empty()
    }

    /// Whether this is `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// Keys with values.
#[derive(Debug)]
pub(super) struct Map {
    pub span: Span,
    pub entries: Vec<(Scalar, Node)>,
    /// Whether no key was refused.
    pub complete: bool,
}

impl Map {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<(&Scalar, &Node)> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(k, v)| (k, v))
    }
}

/// Values one after the other.
#[derive(Debug)]
pub(super) struct List {
    pub span: Span,
    pub items: Vec<Node>,
}

/// Reads `text` as one YAML document. `None`, with the reason noted, if there is no tree.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder {
        lines: report::lines(text),
        problems,
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = next(&mut parser) {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => {
                if !builder.event(event, span.start, span.end) {
                    return None;
                }
            }
            Err(error) => {
                builder.syntax(&error);
                return None;
            }
        }
    }
    builder.root
}

fn next<'t>(
    parser: &mut Parser<'t, StrInput<'t>>,
) -> Option<Result<(Event<'t>, saphyr_parser::Span), ScanError>> {
    parser.next_event()
}

/// A map or list whose end was not met yet.
enum Open {
    Map {
        start: Marker,
        entries: Vec<(Scalar, Node)>,
        seen: HashMap<String, usize>,
        key: Key,
        complete: bool,
    },
    List {
        start: Marker,
        items: Vec<Node>,
    },
}

/// What stands before the next value of a map.
enum Key {
    /// The next node is a key.
    Awaited,
    /// The next node belongs to this key.
    Given(Scalar),
    /// The next node belongs to a key that was refused.
    Refused,
}

struct Builder<'t, 'p> {
    lines: Vec<&'t str>,
    problems: &'p mut Problems,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder<'_, '_> {
    /// Takes one event in; false = stop here.
    fn event(&mut self, event: Event<'_>, start: Marker, end: Marker) -> bool {
        let span = self.span(start, end);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.error_help(
                        span,
                        "a second document in the file",
                        "one file holds one model: put the second into a file of its own"
                            .to_string(),
                    );
                    return false;
                }
            }
            Event::Alias(_) => {
                self.alias(span);
                return self.node(Node::Broken(span));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_yaml_only(span, anchor, tag.is_some());
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Text };
                return self.node(Node::Scalar(Scalar { text: text.into_owned(), style, span }));
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_yaml_only(span, anchor, tag.is_some());
                let (entries, seen) = (Vec::new(), HashMap::new());
                let (key, complete) = (Key::Awaited, true);
                return self.enter(Open::Map { start, entries, seen, key, complete }, span);
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_yaml_only(span, anchor, tag.is_some());
                return self.enter(Open::List { start, items: Vec::new() }, span);
            }
            Event::MappingEnd | Event::SequenceEnd => return self.leave(start),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn enter(&mut self, open: Open, span: Span) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.problems.error(span, format!("nested deeper than {MAX_DEPTH} levels"));
            return false;
        }
        self.open.push(open);
        true
    }

    /// `last` is the closing brace or bracket, or for indented ones a place in a later line.
    fn leave(&mut self, last: Marker) -> bool {
        let end = Marker::new(last.index(), last.line(), last.col() + 1);
        match self.open.pop() {
            Some(Open::Map { start, entries, complete, .. }) => {
                let span = self.span(start, end);
                self.node(Node::Map(Map { span, entries, complete }))
            }
            Some(Open::List { start, items }) => {
                let span = self.span(start, end);
                self.node(Node::List(List { span, items }))
            }
            None => true,
        }
    }

    /// Puts a complete node where it belongs.
    fn node(&mut self, node: Node) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one file");
            self.problems.error(node.span(), message);
            return false;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, seen, key, complete, .. }) => {
                match std::mem::replace(key, Key::Awaited) {
                    Key::Awaited => *key = take_key(node, seen, self.problems),
                    Key::Given(name) => entries.push((name.clone(), beside(&name, node))),
                    Key::Refused => *complete = false,
                }
            }
        }
        true
    }

    fn alias(&mut self, span: Span) {
        self.problems.error_help(
            span,
            "aliases are not part of the model language",
            "write the value out; text that starts with `*` needs quotes".to_string(),
        );
    }

    fn plain_yaml_only(&mut self, span: Span, anchor: usize, tagged: bool) {
        if anchor > 0 {
            self.problems.error_help(
                span,
                "anchors are not part of the model language",
                "leave `&…` out; text that starts with `&` needs quotes".to_string(),
            );
        }
        if tagged {
            self.problems.error_help(
                span,
                "tags are not part of the model language",
                "leave `!…` out; text that starts with `!` needs quotes".to_string(),
            );
        }
    }

    fn syntax(&mut self, error: &ScanError) {
        let marker = error.marker();
        let span = self.span(*marker, *marker);
        if error.info() == "while parsing node, found unknown anchor" {
            return self.alias(span);
        }
        self.problems.error_help(
            span,
            format!("not valid YAML: {}", error.info()),
            advice(error.info()).map(str::to_string),
        );
    }

    /// What lies between two marks, as far as it is on the first line.
    fn span(&self, start: Marker, end: Marker) -> Span {
        let lines = self.lines.len();
        if start.line() > lines {
            // The scanner counts one line too many at the end of a text without a final newline.
            let column = 1 + self.lines.last().map_or(0, |text| text.chars().count());
            return Span { at: Location { line: lines, column }, width: 1 };
        }
        let at = Location { line: start.line().max(1), column: start.col() + 1 };
        let width = match end.line().cmp(&start.line()) {
            Ordering::Greater => Span::TO_LINE_END,
            _ => end.col().saturating_sub(start.col()).max(1),
        };
        Span { at, width }
    }
}

/// A node as a key, unless it is none, or one that the map has.
fn take_key(node: Node, seen: &mut HashMap<String, usize>, problems: &mut Problems) -> Key {
    let scalar = match node {
        Node::Scalar(scalar) => scalar,
        Node::Broken(_) => return Key::Refused,
        Node::Map(_) | Node::List(_) => {
            problems.error_help(
                node.span(),
                format!("a key must be a name, found {}", node.found()),
                "text in braces or brackets needs quotes".to_string(),
            );
            return Key::Refused;
        }
    };
    if scalar.text == "<<" && scalar.style == Style::Plain {
        problems.error_help(
            scalar.span,
            "merge keys are not part of the model language",
            "write the entries out".to_string(),
        );
        return Key::Refused;
    }
    if let Some(first) = seen.get(&scalar.text) {
        problems.error_help(
            scalar.span,
            format!("the key {} stands twice", quoted(&scalar.text)),
            format!("the first is in line {first}: keep one of them"),
        );
        return Key::Refused;
    }
    seen.insert(scalar.text.clone(), scalar.span.at.line);
    Key::Given(scalar)
}

/// A value that was left out stands where its key stands: there is nothing else to point at.
fn beside(key: &Scalar, node: Node) -> Node {
    match node {
        Node::Scalar(scalar) if scalar.is_absent() => {
            Node::Scalar(Scalar { span: key.span, ..scalar })
        }
        other => other,
    }
}

/// What to do about a syntax error, for those that people make.
fn advice(info: &str) -> Option<&'static str> {
    if info.contains("tab") {
        return Some("indent with blanks");
    }
    if info.contains("mapping values are not allowed") || info.contains("illegal placement of ':'")
    {
        return Some("text that holds `: ` needs quotes; otherwise look at the indentation");
    }
    if info.contains("expected ',' or") || info.contains("flow construct") {
        return Some(
            "a `{` or `[` is not closed, a comma is missing, or text that holds `: ` needs quotes",
        );
    }
    if info.contains("unexpected character") || info.contains("expected alphabetic or numeric") {
        return Some("text that starts with this character needs quotes");
    }
    if info.contains("indent")
        || info.contains("block mapping")
        || info.contains("block collection")
    {
        return Some("entries of one map or list must start in the same column");
    }
    if info.contains("quoted scalar") {
        return Some("look for a quote that is not closed, or a `\\` that needs another `\\`");
    }
    if info.contains("simple key") {
        return Some("a `:` with a blank after it is missing");
    }
    None
}
