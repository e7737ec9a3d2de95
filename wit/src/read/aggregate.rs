//! The `aggregates` section.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::{
    Reader,
    fields::{Rename, refused_fields},
    names::article,
    problems::Span,
    tree::{Map, Node, Scalar},
};
use crate::{
    model::{Aggregate, Command, Event, Field, Rejection, Runtime},
    report::quoted,
};

/// Most aggregates of a bounded context: what an aggregate reaches is collected for each of them.
const MAX_AGGREGATES: usize = 256;

/// Names that the faces of the host or WIT need for themselves.
const TAKEN_AGGREGATES: [&str; 3] = ["events", "types", "all"];
const TAKEN_COMMANDS: [&str; 5] = ["wake", "sleep", "at", "by", "seed"];

/// Events and rejections are written alike.
struct Fact {
    about: Option<String>,
    was: Option<String>,
    fields: Vec<Field>,
}

impl<'t> Reader<'t, '_> {
    /// Reads the section `aggregates`.
    pub(super) fn aggregates(&mut self, model: &'t Map) -> IndexMap<String, Aggregate> {
        let mut aggregates = IndexMap::new();
        let node = self.required(model, "the model", "aggregates");
        let Some(map) = node.and_then(|node| self.map(node, "the aggregates")) else {
            return aggregates;
        };
        if map.entries.is_empty() {
            self.problems.error(map.span, "the model has no aggregates");
        }
        if map.entries.len() > MAX_AGGREGATES {
            let span = Span { width: 1, ..map.span };
            self.problems.error(span, format!("more than {MAX_AGGREGATES} aggregates"));
            return aggregates;
        }
        for (key, node) in &map.entries {
            self.name(key, "aggregate");
            self.refuse_taken(key, "aggregate", &TAKEN_AGGREGATES);
            let what = format!("the aggregate {}", quoted(&key.text));
            if let Some(body) = self.map(node, &what) {
                aggregates.insert(key.text.clone(), self.aggregate(key, body));
            }
        }
        aggregates
    }

    fn aggregate(&mut self, key: &'t Scalar, map: &'t Map) -> Aggregate {
        self.keys(
            map,
            "an aggregate",
            &["about", "state", "commands", "events", "rejections", "upcasts", "runtime"],
        );
        let errors_before = self.problems.errors();
        let about = self.about(map);
        let state = match self.elements(key, map, "state") {
            Some(fields) => self.fields(fields),
            None => Vec::new(),
        };
        let mut events = IndexMap::new();
        if let Some(section) = self.elements(key, map, "events") {
            for (name, fact) in self.facts(section, "event") {
                let Fact { about, was, fields } = fact;
                events.insert(name.text.clone(), Event { at: name.span.at, about, was, fields });
            }
        }
        let upcasts = self.upcasts(key, map, &events);
        let mut rejections = IndexMap::new();
        if let Some(section) = self.optional_map(map, "rejections", "the rejections") {
            for (name, fact) in self.facts(section, "rejection") {
                let Fact { about, was, fields } = fact;
                let rejection = Rejection { at: name.span.at, about, was, fields };
                rejections.insert(name.text.clone(), rejection);
            }
        }
        let mut commands = IndexMap::new();
        let section = self.elements(key, map, "commands");
        for (name, node) in section.map_or(&[][..], |section| &section.entries) {
            self.name(name, "command");
            self.refuse_taken(name, "command", &TAKEN_COMMANDS);
            let command = self.command(name, node, &events, &rejections);
            commands.insert(name.text.clone(), command);
        }
        let runtime = match self.optional_map(map, "runtime", "the runtime settings") {
            Some(settings) => self.runtime(settings),
            None => Runtime::default(),
        };
        let (at, name) = (key.span.at, key.text.clone());
        let aggregate =
            Aggregate { at, name, about, state, commands, events, rejections, upcasts, runtime };
        // Where something is wrong, names may be missing only because of that.
        if self.problems.errors() == errors_before {
            self.warn_of_unused(&aggregate);
        }
        aggregate
    }

    /// A section of an aggregate that must be there and hold something.
    fn elements(&mut self, owner: &Scalar, map: &'t Map, section: &str) -> Option<&'t Map> {
        let name = format!("the aggregate {}", quoted(&owner.text));
        let Some((key, node)) = map.get(section) else {
            self.problems.error(owner.span, format!("{name} has no `{section}`"));
            return None;
        };
        let empty = node.is_null() || matches!(node, Node::Map(map) if map.entries.is_empty());
        if empty {
            let why = match section {
                "state" => "it needs at least one field: WIT has no empty records",
                "commands" => "without commands nothing can ever happen to it",
                _ => "without events its state can never change",
            };
            let message = format!("the `{section}` of {name} is empty");
            self.problems.error_help(key.span, message, why.to_string());
            return None;
        }
        self.map(node, &format!("the {section} of {name}"))
    }

    fn command(
        &mut self,
        name: &'t Scalar,
        node: &'t Node,
        events: &IndexMap<String, Event>,
        rejections: &IndexMap<String, Rejection>,
    ) -> Command {
        let at = name.span.at;
        let mut command =
            Command { at, about: None, fields: Vec::new(), emits: Vec::new(), rejects: Vec::new() };
        let what = format!("the command {}", quoted(&name.text));
        let Some(map) = self.map(node, &what) else {
            command.fields = refused_fields();
            return command;
        };
        self.keys(map, "a command", &["fields", "emits", "rejects", "about"]);
        command.about = self.about(map);
        command.fields = self.fields_of(map);
        match map.get("emits") {
            None => self.problems.error_help(
                name.span,
                format!("{what} has no `emits`"),
                "name the events that it may give, e.g. `emits: [opened]`".to_string(),
            ),
            Some((key, list)) => {
                command.emits = self.references(list, "event", events);
                if matches!(list, Node::List(list) if list.items.is_empty()) {
                    self.problems.warn(
                        key.span,
                        format!("{what} emits nothing"),
                        "it can only be refused, or be accepted without effect".to_string(),
                    );
                }
            }
        }
        if let Some((_, list)) = map.get("rejects").filter(|(_, list)| !list.is_null()) {
            command.rejects = self.references(list, "rejection", rejections);
        }
        command
    }

    /// A list of names of events or rejections of the same aggregate.
    fn references<T>(
        &mut self,
        node: &'t Node,
        what: &str,
        known: &IndexMap<String, T>,
    ) -> Vec<String> {
        let Some(list) = self.list(node, &format!("the names of {what}s")) else {
            return Vec::new();
        };
        let mut names = indexmap::IndexSet::new();
        for item in &list.items {
            let Some(scalar) = self.text(item, &format!("the name of {}", article(what))) else {
                continue;
            };
            let name = scalar.text.as_str();
            if known.is_empty() && what == "event" {
                // That there are none was told where they should be.
                continue;
            }
            if !known.contains_key(name) {
                let help = self.problems.did_you_mean(name, known.keys().map(String::as_str));
                let help = help
                    .unwrap_or_else(|| format!("declare it in `{what}s` of the same aggregate"));
                let message = format!("unknown {what} {}", quoted(name));
                self.problems.error_help(scalar.span, message, help);
            } else if !names.insert(name.to_string()) {
                let message = format!("the {what} `{name}` stands twice");
                self.problems.error(scalar.span, message);
            }
        }
        names.into_iter().collect()
    }

    /// Events or rejections; `what` says which.
    fn facts(&mut self, section: &'t Map, what: &str) -> Vec<(&'t Scalar, Fact)> {
        let mut renames = Vec::new();
        let mut facts = Vec::new();
        for (name, node) in &section.entries {
            self.name(name, what);
            facts.push((name, self.fact(name, node, what, &mut renames)));
        }
        let names = section.entries.iter().map(|(name, _)| name.text.as_str()).collect();
        self.renames(what, &names, &renames);
        facts
    }

    fn fact(
        &mut self,
        name: &'t Scalar,
        node: &'t Node,
        what: &str,
        renames: &mut Vec<Rename<'t>>,
    ) -> Fact {
        let mut fact = Fact { about: None, was: None, fields: Vec::new() };
        if node.is_null() {
            return fact;
        }
        let Some(map) = self.map(node, &format!("the {what} {}", quoted(&name.text))) else {
            fact.fields = refused_fields();
            return fact;
        };
        if map.get("fields").is_none() {
            fact.fields = self.short_fact(map, what);
            return fact;
        }
        let long = format!("the long form of {}", article(what));
        self.keys(map, &long, &["fields", "was", "about"]);
        fact.about = self.about(map);
        fact.was = self.was(map, &name.text, renames);
        fact.fields = self.fields_of(map);
        fact
    }

    /// The entry `fields` of a command, event or rejection.
    fn fields_of(&mut self, map: &'t Map) -> Vec<Field> {
        match map.get("fields") {
            None => Vec::new(),
            Some((_, node)) if node.is_null() => Vec::new(),
            Some((_, node)) => match self.map(node, "the fields") {
                Some(fields) => self.fields(fields),
                None => refused_fields(),
            },
        }
    }

    /// `{ field: type }`. A description among the fields is a long form without its `fields`.
    fn short_fact(&mut self, map: &'t Map, what: &str) -> Vec<Field> {
        for key in ["about", "was"] {
            let Some((at, Node::Scalar(text))) = map.get(key) else { continue };
            let is_type = super::type_text::parse(&text.text, &|name| self.declared.contains(name));
            if is_type.is_ok() {
                continue;
            }
            self.problems.error_help(
                at.span,
                format!("`{key}` is read as a field here, and {} is no type", quoted(&text.text)),
                format!("to describe the {what}, write `{{ fields: {{ … }}, {key}: … }}`"),
            );
            return self.fields_but(map, Some(key));
        }
        self.fields(map)
    }

    fn refuse_taken(&mut self, name: &Scalar, what: &str, taken: &[&str]) {
        if taken.contains(&name.text.as_str()) {
            let message = format!("no {what} may be called `{}`", name.text);
            let help = "the name is taken by the interfaces of the host: choose another";
            self.problems.error_help(name.span, message, help.to_string());
        }
    }

    fn warn_of_unused(&mut self, aggregate: &Aggregate) {
        let commands = aggregate.commands.values();
        let emitted: HashSet<&String> = commands.clone().flat_map(|c| &c.emits).collect();
        let used: HashSet<&String> = commands.flat_map(|c| &c.rejects).collect();
        for (name, event) in aggregate.events.iter().filter(|(name, _)| !emitted.contains(name)) {
            self.problems.warn(
                Span::of(event.at, name),
                format!("no command emits the event {}", quoted(name)),
                "add it to the `emits` of a command; keep it if old events bear the name"
                    .to_string(),
            );
        }
        for (name, rejection) in
            aggregate.rejections.iter().filter(|(name, _)| !used.contains(name))
        {
            self.problems.warn(
                Span::of(rejection.at, name),
                format!("no command uses the rejection {}", quoted(name)),
                "add it to the `rejects` of a command, or remove it".to_string(),
            );
        }
    }
}
