//! The bodies of answers: the same JSON on every face.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    address::Address,
    audit::release::Released,
    command::{ActorEntry, ActorsPage, Event, EventsPage, FeedEvent, StateView},
    record::Position,
    store::Quarantine,
};

/// What a command did: `{"actor","version","command","events":[{"version","type","data"}]}`.
#[must_use]
pub fn accepted<'a>(actor: &'a str, version: u64, command: &'a str, events: &'a [Event]) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actor: &'a str,
        version: u64,
        command: &'a str,
        events: Vec<Line<'a>>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        version: u64,
        r#type: &'a str,
        data: &'a RawValue,
    }
    let line = |e: &'a Event| Line { version: e.version, r#type: &e.name, data: &e.data };
    json(&Body { actor, version, command, events: events.iter().map(line).collect() })
}

/// An actor's state: `{"actor","version","state","component"}`.
#[must_use]
pub fn state(view: &StateView) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actor: String,
        version: u64,
        state: &'a RawValue,
        component: String,
    }
    json(&Body {
        actor: view.actor.to_string(),
        version: view.version,
        state: &view.state,
        component: view.component.to_string(),
    })
}

/// A part of a history: `{"actor","events":[{"version","type","data","at","command"}],"next"}`.
#[must_use]
pub fn events<'a>(page: &'a EventsPage) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actor: String,
        events: Vec<Line<'a>>,
        next: Option<u64>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        version: u64,
        r#type: &'a str,
        data: &'a RawValue,
        at: u64,
        command: &'a str,
    }
    let line = |e: &'a Event| Line {
        version: e.version,
        r#type: &e.name,
        data: &e.data,
        at: e.at,
        command: &e.command,
    };
    json(&Body {
        actor: page.actor.to_string(),
        events: page.events.iter().map(line).collect(),
        next: page.next,
    })
}

/// One line of a feed: `{"cursor","actor","version","type","data","at","command"}`.
#[must_use]
pub fn feed(event: &FeedEvent) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        cursor: &'a str,
        actor: String,
        version: u64,
        r#type: &'a str,
        data: &'a RawValue,
        at: u64,
        command: &'a str,
    }
    let FeedEvent { cursor, actor, event } = event;
    json(&Line {
        cursor,
        actor: actor.to_string(),
        version: event.version,
        r#type: &event.name,
        data: &event.data,
        at: event.at,
        command: &event.command,
    })
}

/// A part of a listing: `{"actors":[{"actor","awake","quarantined"}],"next"}`.
#[must_use]
pub fn actors(page: &ActorsPage) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actors: Vec<Entry<'a>>,
        next: Option<&'a str>,
    }
    json(&Body { actors: page.actors.iter().map(Entry::of).collect(), next: page.next.as_deref() })
}

/// The actors that are awake: `{"actors":[{"actor","awake","quarantined"}]}`.
#[must_use]
pub fn awake(entries: &[ActorEntry]) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actors: Vec<Entry<'a>>,
    }
    json(&Body { actors: entries.iter().map(Entry::of).collect() })
}

/// An actor that was told to wake: `{"actor","version"}`.
#[must_use]
pub fn woken(actor: &str, version: u64) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        actor: &'a str,
        version: u64,
    }
    json(&Body { actor, version })
}

/// An actor that was told to sleep, and whether it was awake: `{"actor","was-awake"}`.
#[must_use]
pub fn asleep(actor: &str, was_awake: bool) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Body<'a> {
        actor: &'a str,
        was_awake: bool,
    }
    json(&Body { actor, was_awake })
}

/// The actors that are quarantined:
/// `{"quarantined":[{"actor","position","kind","reason","at"}]}`.
#[must_use]
pub fn quarantined(all: &[(Address, Quarantine)]) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        quarantined: Vec<Line<'a>>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        actor: String,
        position: Position,
        kind: &'a str,
        reason: &'a str,
        at: u64,
    }
    let lines = all.iter().map(|(actor, mark)| Line {
        actor: actor.to_string(),
        position: mark.position,
        kind: &mark.kind,
        reason: &mark.reason,
        at: mark.at,
    });
    json(&Body { quarantined: lines.collect() })
}

/// An actor that goes on: `{"actor","version","was-quarantined","repair"}`.
#[must_use]
pub fn released(done: &Released) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Body {
        actor: String,
        version: u64,
        was_quarantined: bool,
        repair: Option<Position>,
    }
    json(&Body {
        actor: done.actor.to_string(),
        version: done.version,
        was_quarantined: done.was_quarantined,
        repair: done.repair,
    })
}

/// `value` as JSON. The bodies above hold texts, numbers and JSON: none of them can fail.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[derive(Serialize)]
struct Entry<'a> {
    actor: String,
    awake: Option<u64>,
    quarantined: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn of(entry: &'a ActorEntry) -> Self {
        Self {
            actor: entry.actor.to_string(),
            awake: entry.awake_at,
            quarantined: entry.quarantined.as_deref(),
        }
    }
}
