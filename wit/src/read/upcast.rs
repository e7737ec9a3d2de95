//! The `upcasts` of an aggregate: what becomes of stored events that the model cannot read.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    Reader,
    problems::Span,
    section::listed,
    tree::{Map, Node, Scalar},
    types::REFUSED,
};
use crate::{
    model::{Aggregate, Event, Field, How, Rules, Type, TypeDef, Upcast},
    report::quoted,
    wit::record_of,
};

/// Most entries of one part of an upcast: each is compared with all fields of the event.
const MAX_ENTRIES: usize = 256;

/// A value of an upcast as written, until all types are known.
pub(super) struct Given<'t> {
    aggregate: &'t str,
    event: &'t str,
    field: &'t str,
    ty: Type,
    node: &'t Node,
    is_default: bool,
}

/// What the entries of an upcast may name.
struct Names<'t, 'e> {
    aggregate: &'t str,
    stored: &'t str,
    /// The event that it becomes.
    event: &'e str,
    fields: &'e [Field],
    /// Whether a mistake among the fields may hide some.
    broken: bool,
    /// What gives each field, e.g. `set`.
    given: HashMap<&'t str, &'static str>,
    /// What takes each stored field.
    taken: HashMap<&'t str, &'static str>,
    /// The fields that move into records, by name.
    parts: HashMap<&'t str, Type>,
}

impl<'t> Reader<'t, '_> {
    /// Reads the section of the aggregate `owner`.
    pub(super) fn upcasts(
        &mut self,
        owner: &'t Scalar,
        aggregate: &'t Map,
        events: &IndexMap<String, Event>,
    ) -> IndexMap<String, Upcast> {
        let mut upcasts = IndexMap::new();
        let Some(map) = self.optional_map(aggregate, "upcasts", "the upcasts") else {
            return upcasts;
        };
        for (key, node) in &map.entries {
            self.name(key, "event");
            let how = match node {
                Node::Scalar(scalar) if scalar.text == "component" => Some(How::Component),
                Node::Map(rules) => {
                    self.rules(&owner.text, key, rules, events).map(|it| How::Rules(Box::new(it)))
                }
                Node::Broken(_) => None,
                other => {
                    self.problems.error_help(
                        other.span(),
                        format!(
                            "expected an upcast as `component` or a map (`rename: …`), found {}",
                            other.found()
                        ),
                        "`component` means that the component does it".to_string(),
                    );
                    None
                }
            };
            let how = how.unwrap_or_else(|| How::Rules(Box::default()));
            upcasts.insert(key.text.clone(), Upcast { at: key.span.at, how });
        }
        upcasts
    }

    fn rules(
        &mut self,
        aggregate: &'t str,
        stored: &'t Scalar,
        map: &'t Map,
        events: &IndexMap<String, Event>,
    ) -> Option<Rules> {
        self.keys(map, "an upcast", &["to", "drop", "rename", "set", "default", "into"]);
        if map.entries.is_empty() && map.complete {
            let message = format!("the upcast of {} says nothing", quoted(&stored.text));
            let help = "say what becomes of the event, e.g. `rename: { amount: cents }`";
            self.problems.error_help(stored.span, message, help.to_string());
        }
        let to = map.get("to").map(|(_, node)| self.to(stored, node, events));
        let (event, fields) = match &to {
            Some(to) => events.get_key_value(to.as_ref()?)?,
            None => self.same(stored, events)?,
        };
        let mut names = Names {
            aggregate,
            stored: &stored.text,
            event,
            fields: &fields.fields,
            broken: fields.fields.iter().any(|field| field.ty == REFUSED),
            given: HashMap::new(),
            taken: HashMap::new(),
            parts: HashMap::new(),
        };
        let into = self.into(map, &mut names);
        let rules = Rules {
            to: to.flatten(),
            drop: self.drop(map, &mut names),
            rename: self.rename(map, &mut names),
            set: self.given(map, "set", &mut names),
            default: self.given(map, "default", &mut names),
            into,
        };
        Some(rules)
    }

    /// The event that `to` names.
    fn to(
        &mut self,
        stored: &'t Scalar,
        node: &'t Node,
        events: &IndexMap<String, Event>,
    ) -> Option<String> {
        let scalar = self.text(node, "the name of an event")?;
        let Some((name, _)) = events.get_key_value(&scalar.text) else {
            self.unknown_event(scalar, events, "declare it in `events` of the same aggregate");
            return None;
        };
        if let Some(event) = events.get(&stored.text) {
            let line = event.at.line;
            self.problems.error_help(
                scalar.span,
                format!("{} is still an event, and cannot become another", quoted(&stored.text)),
                format!("leave `to` out, or take the event in line {line} out of `events`"),
            );
            return None;
        }
        let renamed = events.iter().find(|(_, event)| event.was.as_ref() == Some(&stored.text));
        if let Some((now, _)) = renamed {
            self.problems.error_help(
                scalar.span,
                format!("`{now}` says `was: {}` already", stored.text),
                "leave `to` out".to_string(),
            );
            return None;
        }
        Some(name.clone())
    }

    /// The event that is called so, or was.
    fn same<'e>(
        &mut self,
        stored: &'t Scalar,
        events: &'e IndexMap<String, Event>,
    ) -> Option<(&'e String, &'e Event)> {
        let now = events.get_key_value(&stored.text);
        let former = || events.iter().find(|(_, event)| event.was.as_ref() == Some(&stored.text));
        let found = now.or_else(former);
        if found.is_none() && !events.is_empty() {
            let help = "say by `to` which event it becomes";
            self.unknown_event(stored, events, help);
        }
        found
    }

    fn unknown_event(&mut self, name: &Scalar, events: &IndexMap<String, Event>, help: &str) {
        let near = self.problems.did_you_mean(&name.text, events.keys().map(String::as_str));
        let help = near.unwrap_or_else(|| help.to_owned());
        self.problems.error_help(name.span, format!("unknown event {}", quoted(&name.text)), help);
    }

    /// The entries of one part of an upcast.
    fn entries(&mut self, map: &'t Map, key: &str, what: &str) -> &'t [(Scalar, Node)] {
        let Some(entries) = self.optional_map(map, key, what) else { return &[] };
        if entries.entries.len() > MAX_ENTRIES {
            let message = format!("more than {MAX_ENTRIES} entries in `{key}`");
            self.problems.error(Span { width: 1, ..entries.span }, message);
            return &[];
        }
        &entries.entries
    }

    /// The names in a list, each once.
    fn names(&mut self, node: &'t Node, what: &str) -> Vec<&'t Scalar> {
        let Some(list) = self.list(node, what) else { return Vec::new() };
        if list.items.len() > MAX_ENTRIES {
            let message = format!("more than {MAX_ENTRIES} names in one list");
            self.problems.error(Span { width: 1, ..list.span }, message);
            return Vec::new();
        }
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        for item in &list.items {
            let Some(scalar) = self.text(item, "the name of a field") else { continue };
            self.name(scalar, "field");
            if seen.insert(scalar.text.as_str()) {
                names.push(scalar);
            } else {
                let message = format!("the field {} stands twice", quoted(&scalar.text));
                self.problems.error(scalar.span, message);
            }
        }
        names
    }

    fn into(&mut self, map: &'t Map, names: &mut Names<'t, '_>) -> IndexMap<String, Vec<String>> {
        let mut into = IndexMap::new();
        for (key, node) in self.entries(map, "into", "the records that fields move into") {
            let Some(field) = names.fields.iter().find(|field| field.name == key.text) else {
                self.unknown_field(key, names);
                continue;
            };
            self.give(names, key, "into");
            let types = &self.types;
            let Some(record) = record_of(types, &field.ty).map(<[Field]>::to_vec) else {
                if field.ty != REFUSED {
                    self.problems.error_help(
                        key.span,
                        format!("`{}` is no record: nothing can move into it", key.text),
                        "`rename` gives a field another name".to_string(),
                    );
                }
                continue;
            };
            let parts = self.names(node, "the fields that move into it");
            let parts = self.parts(key, parts, &record, names);
            into.insert(key.text.clone(), parts);
        }
        into
    }

    /// The fields that move into the record `key`.
    fn parts(
        &mut self,
        key: &'t Scalar,
        parts: Vec<&'t Scalar>,
        record: &[Field],
        names: &mut Names<'t, '_>,
    ) -> Vec<String> {
        for part in &parts {
            let name = part.text.as_str();
            let Some(field) = record.iter().find(|field| field.name == name) else {
                let known = record.iter().map(|field| field.name.as_str());
                let help = self.problems.did_you_mean(name, known.clone());
                let known: Vec<&str> = known.take(8).collect();
                let help = help.unwrap_or_else(|| {
                    format!("it has {}; `rename` gives a stored field its name", listed(&known))
                });
                let message = format!("the record of `{}` has no field {}", key.text, quoted(name));
                self.problems.error_help(part.span, message, help);
                continue;
            };
            if name != key.text && names.fields.iter().any(|field| field.name == name) {
                self.problems.error_help(
                    part.span,
                    format!("`{name}` is a field of `{}` itself and cannot move", names.event),
                    "give the stored field another name by `rename`".to_string(),
                );
            } else if names.parts.insert(name, field.ty.clone()).is_some() {
                let message = format!("`{name}` moves into two records");
                self.problems.error(part.span, message);
            }
        }
        let names: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
        let must = record.iter().filter(|field| {
            field.default.is_none() && !self.is_option(&field.ty) && field.ty != REFUSED
        });
        let missing: Vec<&str> = must
            .filter(|field| !names.contains(&field.name))
            .map(|field| field.name.as_str())
            .take(8)
            .collect();
        if !missing.is_empty() && names.iter().all(|name| record.iter().any(|it| it.name == *name))
        {
            self.problems.error_help(
                key.span,
                format!("nothing moves into {} of `{}`", listed(&missing), key.text),
                "list it here; `set` and `default` give what was never stored".to_string(),
            );
        }
        names
    }

    fn is_option<'a>(&'a self, mut ty: &'a Type) -> bool {
        for _ in 0..=self.types.len() {
            match ty {
                Type::Named(name) => match self.types.get(name).map(|decl| &decl.def) {
                    Some(TypeDef::Alias(target)) => ty = target,
                    _ => return false,
                },
                ty => return matches!(ty, Type::Option(_)),
            }
        }
        false
    }

    fn drop(&mut self, map: &'t Map, names: &mut Names<'t, '_>) -> Vec<String> {
        let Some((_, node)) = map.get("drop").filter(|(_, node)| !node.is_null()) else {
            return Vec::new();
        };
        let dropped = self.names(node, "the stored fields that are left out");
        for name in &dropped {
            names.taken.insert(&name.text, "drop");
        }
        dropped.into_iter().map(|name| name.text.clone()).collect()
    }

    fn rename(&mut self, map: &'t Map, names: &mut Names<'t, '_>) -> IndexMap<String, String> {
        let mut rename = IndexMap::new();
        for (key, node) in self.entries(map, "rename", "the new names of fields") {
            self.name(key, "field");
            let Some(to) = self.text(node, "the name of a field") else { continue };
            if let Some(other) = names.taken.get(key.text.as_str()) {
                let message = format!("`{}` stands in both `{other}` and `rename`", key.text);
                self.problems.error(key.span, message);
            }
            if !names.knows(&to.text) {
                self.unknown_field(to, names);
            } else if !names.parts.contains_key(to.text.as_str())
                || names.given.get(to.text.as_str()) != Some(&"into")
            {
                self.give(names, to, "rename");
            }
            rename.insert(key.text.clone(), to.text.clone());
        }
        rename
    }

    /// The entries of `set` or `default`; their values are read when all types are known.
    fn given(
        &mut self,
        map: &'t Map,
        part: &'static str,
        names: &mut Names<'t, '_>,
    ) -> IndexMap<String, Value> {
        let mut given = IndexMap::new();
        for (key, node) in self.entries(map, part, "the values of fields") {
            let field = names.fields.iter().find(|field| field.name == key.text);
            let ty = field.map(|field| &field.ty).or_else(|| names.parts.get(key.text.as_str()));
            let Some(ty) = ty.cloned() else {
                self.unknown_field(key, names);
                continue;
            };
            // A stored none that gets a name may get a value as well.
            if part != "default" || names.given.get(key.text.as_str()) != Some(&"rename") {
                self.give(names, key, part);
            }
            let (aggregate, event) = (names.aggregate, names.stored);
            let is_default = part == "default";
            self.given.push(Given { aggregate, event, field: &key.text, ty, node, is_default });
            given.insert(key.text.clone(), Value::Null);
        }
        given
    }

    /// Notes that `by` gives a field, which nothing else may.
    fn give(&mut self, names: &mut Names<'t, '_>, field: &'t Scalar, by: &'static str) {
        if let Some(other) = names.given.insert(&field.text, by) {
            let message = if other == by {
                format!("`{by}` gives `{}` twice", field.text)
            } else {
                format!("both `{other}` and `{by}` give `{}`", field.text)
            };
            self.problems.error_help(field.span, message, "keep one of them".to_string());
        }
    }

    fn unknown_field(&mut self, found: &Scalar, names: &Names<'_, '_>) {
        if names.broken {
            return;
        }
        let known = names.fields.iter().map(|field| field.name.as_str());
        let mut parts: Vec<&str> = names.parts.keys().copied().collect();
        parts.sort_unstable();
        let all: Vec<&str> = known.chain(parts).collect();
        let help = self.problems.did_you_mean(&found.text, all.iter().copied());
        let help = help.unwrap_or_else(|| {
            let all: Vec<&str> = all.into_iter().take(8).collect();
            match all.as_slice() {
                [] => format!("`{}` has no fields", names.event),
                all => format!("`{}` has {}", names.event, listed(all)),
            }
        });
        let message = format!("unknown field {}", quoted(&found.text));
        self.problems.error_help(found.span, message, help);
    }
}

impl Names<'_, '_> {
    fn knows(&self, name: &str) -> bool {
        self.parts.contains_key(name) || self.fields.iter().any(|field| field.name == name)
    }
}

/// Puts values that were read by their types into the upcasts that they stand in.
pub(super) fn set_given(
    aggregates: &mut IndexMap<String, Aggregate>,
    given: Vec<Given<'_>>,
    read: &mut dyn FnMut(&Node, &Type) -> Option<Value>,
) {
    for Given { aggregate, event, field, ty, node, is_default } in given {
        let Some(value) = read(node, &ty) else { continue };
        let upcast = aggregates.get_mut(aggregate).and_then(|it| it.upcasts.get_mut(event));
        let Some(Upcast { how: How::Rules(rules), .. }) = upcast else { continue };
        let values = if is_default { &mut rules.default } else { &mut rules.set };
        values.insert(field.to_owned(), value);
    }
}
