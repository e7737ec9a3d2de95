//! Fields: `name: type`, or `name: { type:, default:, was:, about: }`.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    Reader,
    problems::Span,
    tree::{Map, Node, Scalar, Style},
    type_text,
    types::REFUSED,
};
use crate::{
    model::{Aggregate, Field, Location, Type, TypeDecl, TypeDef},
    report::quoted,
};

/// Most fields of one record, command, event, rejection or state. Every use of it is compared with
/// all of them.
const MAX_FIELDS: usize = 256;

/// An old name with the place where it stands, beside the name that it became.
pub(super) type Rename<'t> = (&'t str, &'t Scalar);

impl<'t> Reader<'t, '_> {
    /// Reads the entries of `map` as fields.
    pub(super) fn fields(&mut self, map: &'t Map) -> Vec<Field> {
        self.fields_but(map, None)
    }

    /// Reads the entries of `map` as fields, but for one that was refused.
    pub(super) fn fields_but(&mut self, map: &'t Map, refused: Option<&str>) -> Vec<Field> {
        if map.entries.len() > MAX_FIELDS {
            let found = map.entries.len();
            let message = format!("{found} fields in one place, at most {MAX_FIELDS}");
            let span = Span { width: 1, ..map.span };
            self.problems.error_help(span, message, "group them into records".to_string());
            return refused_fields();
        }
        let mut fields = Vec::new();
        if !map.complete || refused.is_some() {
            fields.extend(refused_fields());
        }
        let mut renames = Vec::new();
        let mut rest = map.entries.as_slice();
        while let Some(((key, node), tail)) = rest.split_first() {
            if refused == Some(key.text.as_str()) {
                rest = tail;
                continue;
            }
            self.name(key, "field");
            let pieces = broken_type(node, tail);
            rest = tail.get(pieces.len()..).unwrap_or_default();
            if pieces.is_empty() {
                fields.push(self.field(key, node, &mut renames));
            } else {
                self.broken_by_comma(key, node, pieces);
                fields.push(plain_field(key, REFUSED));
            }
        }
        let names: HashSet<&str> = map.entries.iter().map(|(key, _)| key.text.as_str()).collect();
        self.renames("field", &names, &renames);
        fields
    }

    fn field(&mut self, key: &'t Scalar, node: &'t Node, renames: &mut Vec<Rename<'t>>) -> Field {
        match node {
            Node::Scalar(scalar) if !scalar.is_null() => plain_field(key, self.ty(scalar)),
            Node::Map(map) => self.long_field(key, map, renames),
            Node::Broken(_) => plain_field(key, REFUSED),
            Node::Scalar(_) | Node::List(_) => {
                self.problems.error_help(
                    node.span(),
                    format!("the field {} has no type, found {}", quoted(&key.text), node.found()),
                    "write e.g. `amount: u64`".to_string(),
                );
                plain_field(key, REFUSED)
            }
        }
    }

    fn long_field(
        &mut self,
        key: &'t Scalar,
        map: &'t Map,
        renames: &mut Vec<Rename<'t>>,
    ) -> Field {
        self.keys(map, "a field", &["type", "default", "was", "about", "personal"]);
        let owner = format!("the field {}", quoted(&key.text));
        let ty = match self.required(map, &owner, "type") {
            None => REFUSED,
            Some(node) => self.text(node, "a type").map_or(REFUSED, |scalar| self.ty(scalar)),
        };
        if let Some((personal, node)) = map.get("personal") {
            match node {
                Node::Scalar(scalar) if scalar.text == "true" => self.problems.error_help(
                    personal.span,
                    "`personal: true` is reserved: erasing personal data is not built yet",
                    "leave it out; do not put personal data into events before it is".to_string(),
                ),
                Node::Scalar(scalar) if scalar.text == "false" => {}
                Node::Broken(_) => {}
                other => {
                    let message = format!("expected `true` or `false`, found {}", other.found());
                    self.problems.error(other.span(), message);
                }
            }
        }
        let was = self.was(map, &key.text, renames);
        let about = self.about(map);
        let default = map.get("default").map(|(_, node)| {
            self.defaults.push((key.span.at, ty.clone(), node));
            // Replaced once all types are known; until then it only says that there is one.
            Value::Null
        });
        Field { at: key.span.at, name: key.text.clone(), ty, default, was, about }
    }

    /// The old name of an element.
    pub(super) fn was(
        &mut self,
        map: &'t Map,
        now: &'t str,
        renames: &mut Vec<Rename<'t>>,
    ) -> Option<String> {
        let (_, node) = map.get("was")?;
        let scalar = self.text(node, "the old name")?;
        self.name(scalar, "field");
        renames.push((now, scalar));
        Some(scalar.text.clone())
    }

    /// Refuses old names that are still in use or claimed twice; `what` is what bears them.
    pub(super) fn renames(&mut self, what: &str, names: &HashSet<&str>, renames: &[Rename<'t>]) {
        let mut claimed: HashMap<&str, &str> = HashMap::new();
        for (now, was) in renames {
            let old = was.text.as_str();
            if names.contains(old) {
                self.problems.error_help(
                    was.span,
                    format!("`was: {old}` names a {what} that still exists"),
                    format!("`was` is the name that `{now}` had before and nothing has now"),
                );
            } else if let Some(other) = claimed.insert(old, now) {
                let message = format!("both `{other}` and `{now}` say `was: {old}`");
                self.problems.error(was.span, message);
            }
        }
    }

    /// Refuses a type that a flow comma cut.
    pub(super) fn broken_by_comma(&mut self, key: &Scalar, node: &Node, pieces: &[(Scalar, Node)]) {
        let Node::Scalar(first) = node else { return };
        let whole = pieces.iter().fold(first.text.clone(), |mut whole, (piece, _)| {
            whole.push_str(", ");
            whole.push_str(&piece.text);
            whole
        });
        self.problems.error_help(
            first.span,
            format!("the type {} has no closing `>`", quoted(&first.text)),
            format!(
                "inside `{{ }}` a comma ends the value: write `{}: \"{}\"` with the quotes",
                key.text,
                quoted(&whole).trim_matches('`')
            ),
        );
    }
}

/// The entries that are the rest of a type that a flow comma cut: `{ a: tuple<u64, string> }` is
/// read as `a: tuple<u64` and `string>:`.
pub(super) fn broken_type<'t>(node: &Node, tail: &'t [(Scalar, Node)]) -> &'t [(Scalar, Node)] {
    let Node::Scalar(first) = node else { return &[] };
    let mut open = type_text::unclosed(&first.text);
    if first.style != Style::Plain || open <= 0 {
        return &[];
    }
    let mut pieces = 0;
    for (key, value) in tail {
        let is_piece = matches!(value, Node::Scalar(scalar) if scalar.is_absent());
        if open <= 0 || !is_piece {
            break;
        }
        open += type_text::unclosed(&key.text);
        pieces += 1;
    }
    if open <= 0 { tail.get(..pieces).unwrap_or_default() } else { &[] }
}

/// Stands for fields that could not be read: with it among them, none is missed or unknown.
pub(super) fn refused_fields() -> Vec<Field> {
    vec![Field {
        at: Location::default(),
        name: String::new(),
        ty: REFUSED,
        default: None,
        was: None,
        about: None,
    }]
}

fn plain_field(key: &Scalar, ty: Type) -> Field {
    let (at, name) = (key.span.at, key.text.clone());
    Field { at, name, ty, default: None, was: None, about: None }
}

/// Puts the defaults, read by their types, into the fields that stand at those places.
pub(super) fn set_defaults(
    types: &mut IndexMap<String, TypeDecl>,
    aggregates: &mut IndexMap<String, Aggregate>,
    defaults: &HashMap<Location, Value>,
) {
    let set = |fields: &mut Vec<Field>| {
        for field in fields.iter_mut().filter(|field| field.default.is_some()) {
            field.default = defaults.get(&field.at).cloned();
        }
    };
    for decl in types.values_mut() {
        if let TypeDef::Record(fields) = &mut decl.def {
            set(fields);
        }
    }
    for aggregate in aggregates.values_mut() {
        set(&mut aggregate.state);
        aggregate.commands.values_mut().for_each(|command| set(&mut command.fields));
        aggregate.events.values_mut().for_each(|event| set(&mut event.fields));
        aggregate.rejections.values_mut().for_each(|rejection| set(&mut rejection.fields));
    }
}
