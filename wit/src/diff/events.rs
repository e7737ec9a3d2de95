//! Events: what is stored of them for good, and how the new model reads it.

use std::collections::HashSet;

use super::{
    Change, Impact,
    mapping::{Mapped, mapped},
    types::{Place, Role, Subject, Walk},
};
use crate::{
    Model,
    model::{Aggregate, Event, Field, How, Location, Rules, Upcast},
    upcast::{Mapping, Reading, Step},
};

/// How stored events come to be events of the new model, if nothing that was noted stands against
/// it.
enum Way<'m> {
    /// As this event, after these steps.
    Steps(&'m str, Vec<Step>),
    /// By the component.
    Component,
    /// Not at all.
    None,
}

/// All events of an aggregate, and its upcasts.
pub(super) fn events<'m>(
    walk: &mut Walk<'m>,
    group: &Place,
    old: &'m Aggregate,
    new: &'m Aggregate,
) {
    let mut known = HashSet::new();
    for (stored, before) in &old.events {
        if let Some((name, _)) = target(new, stored) {
            known.insert(name);
        }
        event(walk, group, (stored, before), new);
    }
    for (name, event) in new.events.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        walk.fine(&group.child(name, event.at), "new event");
    }
    upcasts(walk, &group.beside("upcasts", new.at), old, new);
}

/// The events of one name that components of `writer` stored, as `target` reads them.
pub(crate) fn reading(target: &Model, writer: &Model, aggregate: &str, stored: &str) -> Reading {
    let mut walk = Walk::trial(writer, target);
    let group = format!("{aggregate}.events");
    let Some(after) = target.aggregates.get(aggregate) else {
        let place = Place::new(group, Location::default()).child(stored, Location::default());
        walk.breaking(&place, "the aggregate was removed", "its events can no longer be read");
        return Reading::Unreadable(walk.into_changes());
    };
    let group = Place::new(group, after.at);
    let before = writer.aggregates.get(aggregate);
    let way = match before.and_then(|before| before.events.get_key_value(stored)) {
        Some(before) => event(&mut walk, &group, before, after),
        None => match after.event_named(stored) {
            Some((name, _)) => return Reading::AsStored(name.clone()),
            None => Way::None,
        },
    };
    walk.compare_pairs();
    let mut changes = walk.into_changes();
    changes.retain(|change: &Change| change.impact != Impact::Compatible);
    match way {
        Way::None => Reading::Unreadable(changes),
        Way::Component => Reading::Component,
        Way::Steps(..) if !changes.is_empty() => Reading::Unreadable(changes),
        Way::Steps(event, steps)
            if steps.is_empty()
                && after.event_named(stored).is_some_and(|(name, _)| name == event) =>
        {
            Reading::AsStored(event.to_owned())
        }
        Way::Steps(event, steps) => Reading::Mapped(Mapping { event: event.to_owned(), steps }),
    }
}

/// The event of the new model that events stored as `stored` become without the component.
fn target<'m>(new: &'m Aggregate, stored: &str) -> Option<(&'m str, &'m Event)> {
    let to = match new.upcast_of(stored) {
        Some((_, Upcast { how: How::Rules(rules), .. })) => rules.to.as_deref(),
        _ => None,
    };
    let found = match to {
        Some(to) => new.events.get_key_value(to),
        None => new.event_named(stored),
    };
    found.map(|(name, event)| (name.as_str(), event))
}

fn event<'m>(
    walk: &mut Walk<'m>,
    group: &Place,
    (stored, before): (&'m String, &'m Event),
    new: &'m Aggregate,
) -> Way<'m> {
    let upcast = new.upcast_of(stored);
    let target = target(new, stored);
    let rules = match upcast {
        Some((_, Upcast { how: How::Rules(rules), .. })) => Some(rules.as_ref()),
        _ => None,
    };
    let by_component = upcast.is_some_and(|(_, upcast)| upcast.how == How::Component);
    let covered = by_component
        && !target.is_some_and(|(name, event)| walk.reads_event(group, before, name, event));
    walk.about_events(Some(Subject {
        aggregate: new.name.as_str(),
        event: stored,
        // An event that reads as it stands is not the component's.
        upcast: upcast.map(|(name, _)| name.as_str()).filter(|_| covered || !by_component),
        rules,
        covered,
    }));
    let steps = match target {
        Some((name, event)) => {
            let place = group.child(name, event.at);
            header(walk, &place, (stored, before), (name, event), new);
            match rules {
                Some(rules) => with_rules(walk, &place, rules, &before.fields, &event.fields),
                None => {
                    walk.fields(&place, Role::Event, &before.fields, &event.fields);
                    Vec::new()
                }
            }
        }
        None => {
            let why = "stored events can no longer be read; an event that is no longer wanted \
                       stays in the model, and no command emits it, or an upcast makes another \
                       event of it";
            walk.unread(&group.gone(stored, before.at), "the event was removed", why, None);
            Vec::new()
        }
    };
    if covered && let Some((name, event)) = target {
        let place = group.child(name, event.at);
        walk.covered(&place, "stored events do not read as they stand", None);
    }
    walk.about_events(None);
    match target {
        _ if covered => Way::Component,
        Some((name, _)) => Way::Steps(name, steps),
        None => Way::None,
    }
}

/// Name and description of an event.
fn header(
    walk: &mut Walk<'_>,
    place: &Place,
    (stored, before): (&String, &Event),
    (name, event): (&str, &Event),
    new: &Aggregate,
) {
    // What an upcast reads needs no `was`.
    let was = before.was.clone().filter(|was| !new.upcasts.contains_key(was));
    walk.name(place, Role::Event, (stored, &was), (&name.to_owned(), &event.was));
    walk.about(place, &before.about, &event.about);
}

/// The fields of stored events, after what the rules of an upcast do to them.
fn with_rules<'m>(
    walk: &mut Walk<'m>,
    place: &Place,
    rules: &'m Rules,
    old: &'m [Field],
    new: &'m [Field],
) -> Vec<Step> {
    let Mapped { steps, kept, moved, given, taken, lacking } = mapped(walk, rules, old, new);
    let by_name = |name: &str| new.iter().find(|field| field.name == name);
    for field in moved.iter().map(|moved| moved.from).chain(taken) {
        match by_name(&field.name) {
            Some(now) => {
                let at = place.child(&now.name, now.at);
                walk.covered(&at, "it is not the stored field of that name", Some(&field.name));
            }
            None => {
                let at = place.gone(&field.name, field.at);
                walk.covered(&at, "the field was removed", Some(&field.name));
            }
        }
    }
    for field in new.iter().filter(|field| given.contains(field.name.as_str())) {
        if !old.iter().any(|old| old.name == field.name) {
            walk.covered(&place.child(&field.name, field.at), "new field", None);
        }
    }
    for moved in &moved {
        let top = moved.record.and_then(by_name).unwrap_or(moved.to);
        let at = place.child(&top.name, top.at);
        let at = if moved.record.is_some() { at.child(&moved.to.name, top.at) } else { at };
        walk.moved(&at, moved);
    }
    for (record, field) in lacking {
        if let Some(top) = by_name(record) {
            walk.lacking(&place.child(&top.name, top.at), field);
        }
    }
    let rest: Vec<Field> =
        new.iter().filter(|field| !given.contains(field.name.as_str())).cloned().collect();
    walk.fields(place, Role::Event, &kept, &rest);
    steps
}

/// The upcasts themselves. What is stored may be older than the old model: what its upcasts read
/// must still be read.
fn upcasts<'m>(walk: &mut Walk<'m>, group: &Place, old: &'m Aggregate, new: &'m Aggregate) {
    for (stored, upcast) in &new.upcasts {
        let place = group.child(stored, upcast.at);
        match old.upcasts.get(stored) {
            None => walk.fine(&place, "new upcast"),
            Some(before) if before.how == upcast.how => {}
            Some(_) => walk.fine(&place, "the upcast changed"),
        }
    }
    for (stored, before) in &old.upcasts {
        walk.about_events(Some(Subject {
            aggregate: &new.name,
            event: stored,
            upcast: None,
            rules: None,
            covered: false,
        }));
        match (&before.how, new.upcast_of(stored)) {
            (_, None) => {
                let why = "events of earlier models may be stored that only it could read";
                walk.unread(&group.gone(stored, before.at), "the upcast was removed", why, None);
            }
            (How::Rules(before), Some((name, Upcast { at, how: How::Rules(after) }))) => {
                narrowed(walk, &group.child(name, *at), (before, after), target(new, stored));
            }
            _ => {}
        }
        walk.about_events(None);
    }
}

/// What the rules `before` did for stored events and the rules `after` do not do.
fn narrowed(
    walk: &mut Walk<'_>,
    place: &Place,
    (before, after): (&Rules, &Rules),
    target: Option<(&str, &Event)>,
) {
    let fields = target.map_or(&[][..], |(_, event)| event.fields.as_slice());
    let read = |name: &str| {
        let is = |field: &Field| field.name == name || field.was.as_deref() == Some(name);
        after.takes(name) || fields.iter().any(is)
    };
    let why = "events of earlier models may be stored that have it";
    let moved = before.into.values().flatten().filter(|part| before.gives(part).is_none());
    let took = before.drop.iter().chain(before.rename.keys()).chain(moved);
    for name in took.filter(|name| !read(name)) {
        let what = format!("it no longer says what becomes of the stored field `{name}`");
        walk.unread(place, &what, why, Some(name));
    }
    let why = "events of earlier models may be stored that do not have it";
    for field in fields {
        if !walk.may_be_missing(field)
            && before.gives(&field.name).is_some()
            && after.gives(&field.name).is_none()
            && !after.into.contains_key(&field.name)
            && !after.rename.values().any(|to| *to == field.name)
        {
            let what = format!("it no longer gives the field `{}`", field.name);
            walk.unread(place, &what, why, None);
        }
    }
}
