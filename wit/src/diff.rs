//! What changed from one model to another, and whether old data and callers survive it.
//!
//! Events are stored by name as JSON and read again by the new model, so a change to an event is
//! compatible only if every stored event still reads: a new field is optional or has a default, a
//! renamed one says what it `was`, a number only gets wider, cases are only added. For anything else
//! it needs an upcast, and is compatible where the new model's `upcasts` cover it
//! ([`upcast`](crate::upcast)). Callers send commands and read rejections: what they send must still be taken. The state is not stored for
//! good (it is folded from the events anew), so any change to it is compatible.
//!
//! Types are compared by structure, through their names: a new name alone changes nothing. A
//! change inside a named type is told once, at the type, and judged by the strictest of the places
//! that reach it. What is not known to be safe is not called compatible.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::{
    Model,
    model::{Aggregate, Location, Named, Rejection, Runtime, Scenario, Step, Then},
};

mod events;
mod mapping;
mod shape;
mod types;
pub(crate) use events::reading;
use types::{Place, Role, Walk};

/// What a change means for what exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impact {
    /// Old events, state and callers go on as they are.
    Compatible,
    /// Stored events can be read only if an upcast says what becomes of them, and the new model has
    /// none that does.
    NeedsUpcast,
    /// Old data or callers can no longer be served.
    Breaking,
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compatible => "compatible",
            Self::NeedsUpcast => "needs upcast",
            Self::Breaking => "breaking",
        })
    }
}

/// One of the two texts that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The new model's text.
    New,
    /// The old model's text: the element is not in the new one.
    Old,
}

/// One change between two models.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it means.
    pub impact: Impact,
    /// The element, e.g. `account.events.deposited.amount`.
    pub element: String,
    /// What changed and why that matters, e.g. "its type was `u32` and is `u64`".
    pub what: String,
    /// The text that [`at`](Self::at) points into.
    pub side: Side,
    /// Where the element stands in the new model, or in the old one if it was removed.
    pub at: Location,
    /// The stored events that cannot be read as they stand because of it: those of these names,
    /// stored under the old model or one that declares them alike. Empty where it has no effect on
    /// stored events.
    pub stored: Vec<EventRef>,
}

/// Stored events of one name, or one field of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventRef {
    /// The aggregate of their actors.
    pub aggregate: String,
    /// The name that they are stored under.
    pub event: String,
    /// The stored field that it is about; none = the event as a whole, e.g. as it lacks a field.
    pub field: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.impact, self.element, self.what)
    }
}

/// Every change from `old` to `new`, in the order of the new text, removals last.
#[must_use]
pub fn diff(old: &Model, new: &Model) -> Vec<Change> {
    let mut walk = Walk::new(old, new);
    head(&mut walk, old, new);
    for aggregate in new.aggregates.values() {
        let place = Place::new(aggregate.name.clone(), aggregate.at);
        match old.aggregates.get(&aggregate.name) {
            Some(before) => self::aggregate(&mut walk, &place, before, aggregate),
            None => walk.fine(&place, "new aggregate"),
        }
    }
    for aggregate in old.aggregates.values() {
        if !new.aggregates.contains_key(&aggregate.name) {
            let place = Place::removed(aggregate.name.clone(), aggregate.at);
            let why = "the events of its actors can no longer be read";
            walk.breaking(&place, "the aggregate was removed", why);
        }
    }
    walk.named_types();
    scenarios(&mut walk, old, new);
    walk.into_changes()
}

/// What stands above the aggregates.
fn head(walk: &mut Walk<'_>, old: &Model, new: &Model) {
    // What was left out stands nowhere: then it is the file that changed.
    let start = Location { line: 1, column: 1 };
    let stands = |at: Location| if at.line == 0 { start } else { at };
    let at = new.places;
    if old.context != new.context {
        let what = was_and_is(&old.context, &new.context);
        let why = "the addresses of all actors begin with it";
        walk.breaking(&Place::new("context".into(), stands(at.context)), &what, why);
    }
    if old.version != new.version {
        let what = was_and_is(&old.version.to_string(), &new.version.to_string());
        walk.fine(&Place::new("version".into(), stands(at.version)), &what);
    }
    if old.about != new.about {
        walk.fine(&Place::new("about".into(), stands(at.about)), "the description changed");
    }
    if old.components != new.components {
        let what = was_and_is(&old.components.join(", "), &new.components.join(", "));
        walk.fine(&Place::new("components".into(), stands(at.components)), &what);
    }
}

fn aggregate<'m>(walk: &mut Walk<'m>, place: &Place, old: &'m Aggregate, new: &'m Aggregate) {
    walk.about(place, &old.about, &new.about);
    walk.fields(&place.child("state", new.at), Role::State, &old.state, &new.state);
    commands(walk, &place.child("commands", new.at), old, new);
    events::events(walk, &place.child("events", new.at), old, new);
    rejections(walk, &place.child("rejections", new.at), old, new);
    runtime(walk, &place.child("runtime", new.at), &old.runtime, &new.runtime);
}

fn commands(walk: &mut Walk<'_>, group: &Place, old: &Aggregate, new: &Aggregate) {
    for (name, command) in &new.commands {
        let place = group.child(name, command.at);
        let Some(before) = old.commands.get(name) else {
            walk.fine(&place, "new command");
            continue;
        };
        walk.about(&place, &before.about, &command.about);
        walk.fields(&place, Role::Command, &before.fields, &command.fields);
        names(walk, &place.child("emits", command.at), &before.emits, &command.emits);
        names(walk, &place.child("rejects", command.at), &before.rejects, &command.rejects);
    }
    for (name, command) in &old.commands {
        if !new.commands.contains_key(name) {
            let place = group.gone(name, command.at);
            walk.breaking(&place, "the command was removed", "callers that send it are refused");
        }
    }
}

/// A command's `emits` or `rejects`.
fn names(walk: &mut Walk<'_>, place: &Place, old: &[String], new: &[String]) {
    let [olds, news] = [old, new].map(|names| names.iter().collect::<HashSet<_>>());
    for name in new.iter().filter(|name| !olds.contains(name)) {
        walk.fine(place, &format!("`{name}` was added"));
    }
    for name in old.iter().filter(|name| !news.contains(name)) {
        walk.fine(place, &format!("`{name}` was removed"));
    }
}

fn rejections(walk: &mut Walk<'_>, group: &Place, old: &Aggregate, new: &Aggregate) {
    let mut kept = HashSet::new();
    for (name, rejection) in &new.rejections {
        let place = group.child(name, rejection.at);
        let former = rejection.was.as_ref().filter(|was| !new.rejections.contains_key(*was));
        let found = old
            .rejections
            .get_key_value(name)
            .or_else(|| former.and_then(|was| old.rejections.get_key_value(was)));
        let Some((old_name, before)) = found else {
            walk.fine(&place, "new rejection");
            continue;
        };
        kept.insert(old_name);
        self::rejection(walk, &place, (old_name, before), rejection, name);
    }
    for (name, rejection) in &old.rejections {
        if !kept.contains(name) {
            let place = group.gone(name, rejection.at);
            walk.breaking(&place, "the rejection was removed", "callers may wait for it by name");
        }
    }
}

fn rejection(
    walk: &mut Walk<'_>,
    place: &Place,
    (old_name, old): (&String, &Rejection),
    new: &Rejection,
    name: &String,
) {
    walk.name(place, Role::Rejection, (old_name, &old.was), (name, &new.was));
    walk.about(place, &old.about, &new.about);
    walk.fields(place, Role::Rejection, &old.fields, &new.fields);
}

fn runtime(walk: &mut Walk<'_>, group: &Place, old: &Runtime, new: &Runtime) {
    let values = |it: &Runtime| {
        [
            ("snapshot-every", it.snapshot_every.to_string()),
            ("idle", format!("{:?}", it.idle)),
            ("mailbox", it.mailbox.to_string()),
            ("memory", format!("{} bytes", it.memory)),
            ("deadline", format!("{:?}", it.deadline)),
            ("dedupe", it.dedupe.to_string()),
            ("isolation", format!("{:?}", it.isolation).to_lowercase()),
        ]
    };
    for ((key, before), (_, after)) in values(old).into_iter().zip(values(new)) {
        if before != after {
            walk.fine(&group.child(key, group.at()), &was_and_is(&before, &after));
        }
    }
}

fn scenarios(walk: &mut Walk<'_>, old: &Model, new: &Model) {
    let (olds, news) = (numbered(old), numbered(new));
    let known: HashMap<_, _> = olds.iter().copied().collect();
    for (key, scenario) in &news {
        let place = Place::new(format!("scenarios.{}", scenario.name), scenario.at);
        match known.get(key) {
            Some(before) if same_scenario(before, scenario) => {}
            Some(_) => walk.fine(&place, "the scenario changed"),
            None => walk.fine(&place, "new scenario"),
        }
    }
    let kept: HashSet<_> = news.iter().map(|(key, _)| key).collect();
    for (_, scenario) in olds.iter().filter(|(key, _)| !kept.contains(key)) {
        let place = Place::removed(format!("scenarios.{}", scenario.name), scenario.at);
        walk.fine(&place, "the scenario was removed");
    }
}

/// The scenarios by name, and by number where several have one name.
fn numbered(model: &Model) -> Vec<((&str, usize), &Scenario)> {
    let mut counts = HashMap::new();
    let mut numbered = Vec::new();
    for scenario in &model.scenarios {
        let name = scenario.name.as_str();
        let count = counts.entry(name).or_insert(0);
        *count += 1;
        numbered.push(((name, *count), scenario));
    }
    numbered
}

/// Whether two scenarios say the same, wherever they stand.
fn same_scenario(old: &Scenario, new: &Scenario) -> bool {
    let actor = |it: &Scenario| (it.aggregate.clone(), it.id.clone());
    actor(old) == actor(new)
        && same_list(&old.given, &new.given, same_named)
        && same_list(&old.steps, &new.steps, same_step)
}

fn same_step(old: &Step, new: &Step) -> bool {
    let rest = |it: &Step| (it.when_at, it.by.clone(), it.seed);
    let same_then = match (&old.then, &new.then) {
        (Then::Rejected(old), Then::Rejected(new)) => same_named(old, new),
        (
            Then::Accepted { events: old_events, state: old_state },
            Then::Accepted { events, state },
        ) => {
            let same_events = match (old_events, events) {
                (Some(old), Some(new)) => same_list(old, new, same_named),
                (None, None) => true,
                _ => false,
            };
            same_events && old_state == state
        }
        _ => false,
    };
    same_named(&old.when, &new.when) && rest(old) == rest(new) && same_then
}

fn same_named(old: &Named, new: &Named) -> bool {
    old.name == new.name && old.fields == new.fields
}

fn same_list<T>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old, new))
}

fn was_and_is(old: &str, new: &str) -> String {
    format!("was `{old}` and is `{new}`")
}

#[cfg(test)]
mod tests;
