//! The `scenarios` section: given / when / then, checked against the aggregate they speak of.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{
    problems::Span,
    section,
    tree::{Map, Node, Scalar},
    value::Values,
};
use crate::{
    model::{Aggregate, Field, Named, Scenario, Step, Then, Type},
    report::quoted,
};

/// Longest id of an actor, in bytes: it stands in subjects.
const MAX_ID_BYTES: usize = 256;

/// What may stand beside the command in `when`.
const BESIDE: [&str; 3] = ["at", "by", "seed"];

/// Reads scenarios.
pub(super) struct Scenarios<'a, 'v, 'p> {
    pub context: Option<&'a str>,
    pub aggregates: &'a IndexMap<String, Aggregate>,
    pub values: &'a mut Values<'v, 'p>,
}

/// A named thing as written: `opened`, or `{ opened: … }`.
struct Call<'n> {
    name: &'n Scalar,
    fields: Option<&'n Node>,
}

impl<'a> Scenarios<'a, '_, '_> {
    /// Reads the section.
    pub fn read(mut self, node: &Node) -> Vec<Scenario> {
        if node.is_null() {
            return Vec::new();
        }
        let Some(list) = section::list(self.values.problems, node, "the scenarios") else {
            return Vec::new();
        };
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut scenarios = Vec::new();
        for item in &list.items {
            let Some(map) = section::map(self.values.problems, item, "a scenario") else {
                continue;
            };
            if let Some((_, Node::Scalar(name))) = map.get("name")
                && let Some(first) = names.insert(&name.text, name.span.at.line)
            {
                self.values.problems.error_help(
                    name.span,
                    format!("two scenarios are called {}", quoted(&name.text)),
                    format!("the first is in line {first}: rename one of them"),
                );
            }
            scenarios.extend(self.scenario(map));
        }
        scenarios
    }

    fn scenario(&mut self, map: &Map) -> Option<Scenario> {
        let known = ["name", "actor", "given", "when", "then", "steps"];
        section::keys(self.values.problems, map, "a scenario", &known);
        let name = self.required(map, "the scenario", "name");
        let name = name.and_then(|node| self.text(node, "the name of the scenario"));
        let actor = self.required(map, "the scenario", "actor");
        let actor = actor.and_then(|node| self.text(node, "`AGGREGATE/ID`"));
        let (aggregate, id) = self.actor(actor?)?;
        let given = match map.get("given") {
            Some((_, node)) if !node.is_null() => self.events(node, aggregate, None),
            _ => Some(Vec::new()),
        };
        let steps = self.steps(map, aggregate);
        let at = map.span.at;
        let (name, id) = (name?.text.clone(), id.to_string());
        let aggregate = aggregate.name.clone();
        Some(Scenario { at, name, aggregate, id, given: given?, steps: steps? })
    }

    fn actor<'n>(&mut self, actor: &'n Scalar) -> Option<(&'a Aggregate, &'n str)> {
        let Some((name, id)) = actor.text.split_once('/') else {
            self.values.problems.error_help(
                actor.span,
                format!("expected `AGGREGATE/ID`, found {}", quoted(&actor.text)),
                "name the actor, e.g. `account/alice`".to_string(),
            );
            return None;
        };
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            let length = id.len();
            let message =
                format!("the id is {length} bytes long: at least 1, at most {MAX_ID_BYTES}");
            self.values.problems.error(actor.span, message);
            return None;
        }
        let found = self.aggregates.get(name);
        if found.is_none() {
            let help = if self.context == Some(name) {
                Some(format!("leave the context out: `{id}`"))
            } else {
                let known = self.aggregates.keys().map(String::as_str);
                self.values.problems.did_you_mean(name, known)
            };
            let span = Span { width: name.chars().count(), ..actor.span };
            let message = format!("unknown aggregate {}", quoted(name));
            self.values.problems.error_help(span, message, help);
        }
        Some((found?, id))
    }

    fn steps(&mut self, map: &Map, aggregate: &Aggregate) -> Option<Vec<Step>> {
        let Some((key, node)) = map.get("steps") else {
            return Some(vec![self.step(map, aggregate)?]);
        };
        if map.get("when").is_some() || map.get("then").is_some() {
            self.values.problems.error_help(
                key.span,
                "a scenario has either `when` and `then`, or `steps`",
                "move `when` and `then` into the steps".to_string(),
            );
        }
        let list = section::list(self.values.problems, node, "the steps")?;
        if list.items.is_empty() {
            self.values.problems.error(key.span, "the scenario has no steps");
            return None;
        }
        let mut steps = Vec::new();
        for item in &list.items {
            let Some(map) = section::map(self.values.problems, item, "a step") else { continue };
            section::keys(self.values.problems, map, "a step", &["when", "then"]);
            steps.extend(self.step(map, aggregate));
        }
        (steps.len() == list.items.len()).then_some(steps)
    }

    fn step(&mut self, map: &Map, aggregate: &Aggregate) -> Option<Step> {
        let owner = if map.get("actor").is_some() { "the scenario" } else { "the step" };
        let when = self.required(map, owner, "when");
        let then = self.required(map, owner, "then");
        let beside = self.beside(when);
        let call = when.and_then(|node| self.command_call(node));
        let call = call.and_then(|call| {
            let known = aggregate.commands.keys().map(String::as_str);
            match aggregate.commands.get(&call.name.text) {
                Some(command) => Some((call, command)),
                // That there are none was told where they should be.
                None if aggregate.commands.is_empty() => None,
                None => self.unknown("command", call.name, aggregate, known),
            }
        });
        let (call, command) = call?;
        let what = format!("the command `{}`", call.name.text);
        let when = self.named(&call, &command.fields, &what);
        let then = then.and_then(|node| self.then(node, aggregate, &call.name.text));
        let (when_at, by, seed) = beside;
        Some(Step { when: when?, when_at: when_at?, by: by?, seed: seed?, then: then? })
    }

    /// `at`, `by` and `seed` of a `when`.
    #[expect(clippy::type_complexity, reason = "three optional settings, each read or refused")]
    fn beside(
        &mut self,
        when: Option<&Node>,
    ) -> (Option<Option<u64>>, Option<Option<String>>, Option<Option<u64>>) {
        let Some(Node::Map(map)) = when else { return (Some(None), Some(None), Some(None)) };
        let at = match map.get("at") {
            Some((_, node)) if !node.is_null() => self.instant(node).map(Some),
            _ => Some(None),
        };
        let by = match map.get("by") {
            Some((_, node)) if !node.is_null() => {
                self.text(node, "who asks").map(|scalar| Some(scalar.text.clone()))
            }
            _ => Some(None),
        };
        let seed = match map.get("seed") {
            Some((_, node)) if !node.is_null() => {
                let number = self.values.integer(node, &Type::U64);
                number.and_then(|number| u64::try_from(number).ok()).map(Some)
            }
            _ => Some(None),
        };
        (at, by, seed)
    }

    fn instant(&mut self, node: &Node) -> Option<u64> {
        let scalar = self.text(node, "a time")?;
        let instant = scalar.text.parse::<jiff::Timestamp>().ok();
        let ms = instant.and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
        if ms.is_none() {
            self.values.problems.error_help(
                scalar.span,
                format!("expected a time since 1970, found {}", quoted(&scalar.text)),
                "write e.g. `2026-01-31T12:00:00Z` (RFC 3339)".to_string(),
            );
        }
        ms
    }

    /// The one command in a `when`.
    fn command_call<'n>(&mut self, node: &'n Node) -> Option<Call<'n>> {
        let Node::Map(map) = node else { return self.call(node, "a command") };
        let mut commands =
            map.entries.iter().filter(|(key, _)| !BESIDE.contains(&key.text.as_str()));
        let Some((name, fields)) = commands.next() else {
            self.values.problems.error(map.span, "`when` names no command");
            return None;
        };
        if let Some((second, _)) = commands.next() {
            self.values.problems.error_help(
                second.span,
                format!("expected one command, found {} beside it", quoted(&second.text)),
                "beside the command stand only `at`, `by` and `seed`; for several commands use \
                 `steps`"
                    .to_string(),
            );
            return None;
        }
        Some(Call { name, fields: Some(fields) })
    }

    /// `name`, or `{ name: fields }`.
    fn call<'n>(&mut self, node: &'n Node, what: &str) -> Option<Call<'n>> {
        match node {
            Node::Scalar(name) if !name.is_absent() => return Some(Call { name, fields: None }),
            Node::Map(map) => {
                if let [(name, fields)] = map.entries.as_slice() {
                    return Some(Call { name, fields: Some(fields) });
                }
            }
            Node::Broken(_) => return None,
            _ => {}
        }
        let message =
            format!("expected {what} as `name` or `{{ name: {{ … }} }}`, found {}", node.found());
        self.values.problems.error(node.span(), message);
        None
    }

    fn then(&mut self, node: &Node, aggregate: &Aggregate, command: &str) -> Option<Then> {
        let map = match node {
            Node::List(_) => {
                let events = self.events(node, aggregate, Some(command))?;
                return Some(Then::Accepted { events: Some(events), state: None });
            }
            Node::Map(map) => map,
            Node::Broken(_) => return None,
            Node::Scalar(_) => {
                self.values.problems.error_help(
                    node.span(),
                    format!("expected what must come out, found {}", node.found()),
                    "a list of events (`[]` = none), `{ rejected: … }`, or `{ events: …, state: … }`"
                        .to_string(),
                );
                return None;
            }
        };
        section::keys(self.values.problems, map, "`then`", &["rejected", "events", "state"]);
        if let Some((key, node)) = map.get("rejected") {
            if map.entries.len() > 1 {
                let message = "`rejected` stands alone: a rejected command changes nothing";
                self.values.problems.error(key.span, message);
            }
            return self.rejection(node, aggregate, command).map(Then::Rejected);
        }
        let events = map.get("events").map(|(_, node)| self.events(node, aggregate, Some(command)));
        let state = map.get("state").map(|(_, node)| self.state(node, aggregate));
        if events.is_none() && state.is_none() {
            self.values.problems.error_help(
                map.span,
                "`then` says nothing",
                "give `rejected`, `events` or `state`".to_string(),
            );
            return None;
        }
        // Present and refused is no outcome; absent is.
        let events = match events {
            Some(events) => Some(events?),
            None => None,
        };
        let state = match state {
            Some(state) => Some(state?),
            None => None,
        };
        Some(Then::Accepted { events, state })
    }

    fn state(&mut self, node: &Node, aggregate: &Aggregate) -> Option<Value> {
        let map = section::map(self.values.problems, node, "a part of the state")?;
        let what = format!("the state of `{}`", aggregate.name);
        self.values.part(map, &aggregate.state, &what)
    }

    fn rejection(&mut self, node: &Node, aggregate: &Aggregate, command: &str) -> Option<Named> {
        let call = self.call(node, "a rejection")?;
        let name = &call.name.text;
        let known = aggregate.rejections.keys().map(String::as_str);
        let Some(rejection) = aggregate.rejections.get(name) else {
            return self.unknown("rejection", call.name, aggregate, known);
        };
        let may = aggregate.commands.get(command).is_none_or(|c| c.rejects.contains(name));
        if !may {
            self.not_declared(&call, command, "rejects");
        }
        let what = format!("the rejection `{name}`");
        let named = self.named(&call, &rejection.fields, &what)?;
        may.then_some(named)
    }

    /// A list of events; those of a command's outcome must be among what it emits.
    fn events(
        &mut self,
        node: &Node,
        aggregate: &Aggregate,
        command: Option<&str>,
    ) -> Option<Vec<Named>> {
        let list = section::list(self.values.problems, node, "the events")?;
        let mut events = Vec::new();
        for item in &list.items {
            let Some(call) = self.call(item, "an event") else { continue };
            let name = &call.name.text;
            let known = aggregate.events.keys().map(String::as_str);
            let Some(event) = aggregate.events.get(name) else {
                if aggregate.events.is_empty() {
                    continue;
                }
                self.unknown::<()>("event", call.name, aggregate, known);
                continue;
            };
            let by = command.and_then(|command| aggregate.commands.get(command));
            if let (Some(by), Some(command)) = (by, command)
                && !by.emits.contains(name)
            {
                self.not_declared(&call, command, "emits");
                continue;
            }
            events.extend(self.named(&call, &event.fields, &format!("the event `{name}`")));
        }
        (events.len() == list.items.len()).then_some(events)
    }

    fn named(&mut self, call: &Call<'_>, fields: &[Field], what: &str) -> Option<Named> {
        let empty = Map { span: call.name.span, entries: Vec::new(), complete: true };
        let map = match call.fields {
            None => &empty,
            Some(node) if node.is_null() => &empty,
            Some(node) => {
                section::map(self.values.problems, node, &format!("the fields of {what}"))?
            }
        };
        let value = if map.entries.is_empty() && fields.is_empty() {
            json!({})
        } else {
            self.values.record(map, fields, what, call.name.span)?
        };
        let name = call.name.text.clone();
        Some(Named { at: call.name.span.at, name, fields: value })
    }

    fn not_declared(&mut self, call: &Call<'_>, command: &str, list: &str) {
        let name = &call.name.text;
        self.values.problems.error_help(
            call.name.span,
            format!("`{name}` is not among what `{command}` {list}"),
            format!("add it to `{list}` of the command, or correct the scenario"),
        );
    }

    fn unknown<'n, T>(
        &mut self,
        what: &str,
        name: &Scalar,
        aggregate: &Aggregate,
        known: impl Iterator<Item = &'n str>,
    ) -> Option<T> {
        let help = self.values.problems.did_you_mean(&name.text, known);
        let message = format!("unknown {what} {} of `{}`", quoted(&name.text), aggregate.name);
        self.values.problems.error_help(name.span, message, help);
        None
    }

    fn required<'n>(&mut self, map: &'n Map, owner: &str, key: &str) -> Option<&'n Node> {
        let found = map.get(key).map(|(_, node)| node);
        if found.is_none() {
            let span = Span { width: 1, ..map.span };
            self.values.problems.error(span, format!("{owner} has no `{key}`"));
        }
        found
    }

    fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Scalar> {
        section::text(self.values.problems, node, what)
    }
}
