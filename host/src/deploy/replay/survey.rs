//! What must be covered whatever the time: noted of every record while it passes by.
//!
//! Each pair of an event's type and the model that wrote it has one actor that stands for it; the
//! longest and the newest actors are kept beside. The memory is bounded by the number of pairs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use aether_wit::Digest;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    address::Address,
    record::{Record, Stored},
};

/// Longest, and newest, actors that must be covered.
const TOP: usize = 16;

/// Most pairs that are noted: far more than a context has.
const MAX_PAIRS: usize = 100_000;

/// An event's type of an aggregate, and the model by which it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The aggregate.
    pub aggregate: String,
    /// The event's type as it is stored.
    pub event: String,
    /// The model's digest.
    pub model: Digest,
}

/// The events of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// How many.
    pub count: u64,
    /// An actor that has some, by its place in the [sample](super::sample).
    pub example: (u64, Address),
}

/// What was noted.
#[derive(Debug, Default)]
pub struct Survey {
    /// Records that were looked at.
    pub records: u64,
    /// Actors whose first record was among them.
    pub actors: u64,
    pairs: HashMap<Digest, HashMap<String, HashMap<String, Events>>>,
    pair_count: usize,
    longest: Top,
    newest: Top,
}

/// The actors with the greatest numbers.
#[derive(Debug, Default)]
struct Top(Vec<(u64, Address)>);

impl Top {
    /// The numbers of an actor only grow, so one that is pushed out comes back if it belongs here.
    fn note(&mut self, number: u64, actor: &Address) {
        if let Some(known) = self.0.iter_mut().find(|(_, known)| known == actor) {
            known.0 = known.0.max(number);
            return;
        }
        if self.0.len() < TOP {
            self.0.push((number, actor.clone()));
        } else if let Some(least) = self.0.iter_mut().min_by_key(|(number, _)| *number)
            && least.0 < number
        {
            *least = (number, actor.clone());
        }
    }
}

/// As much of a record as is noted.
#[derive(Deserialize)]
struct Head<'a> {
    first: u64,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    turns: Vec<Turn<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    command: Command,
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Command {
    at: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

impl Survey {
    /// Notes a record that is not folded: only its head is read. One that cannot be read is for
    /// the audit to tell.
    pub fn note_head(&mut self, actor: &Address, place: u64, stored: &Stored) {
        self.records += 1;
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&stored.bytes) else { return };
        let Ok(model) = head.model.parse() else { return };
        let events = head.turns.iter().flat_map(|turn| turn.events.iter().map(|e| &*e.name));
        let count = self.events(actor, place, &model, events);
        let at = head.turns.last().map_or(0, |turn| turn.command.at);
        self.actor(actor, head.first, count, at);
    }

    /// Notes a record that was read anyway.
    pub fn note(&mut self, actor: &Address, place: u64, record: &Record) {
        self.records += 1;
        let events = record.events().map(|(_, _, event)| event.name.as_str());
        let count = self.events(actor, place, &record.model, events);
        let at = record.turns.last().map_or(0, |turn| turn.command.at);
        self.actor(actor, record.first, count, at);
    }

    fn actor(&mut self, actor: &Address, first: u64, events: u64, at: u64) {
        self.actors += u64::from(first == 1 && events > 0);
        self.longest.note(first.saturating_add(events), actor);
        self.newest.note(at, actor);
    }

    fn events<'a>(
        &mut self,
        actor: &Address,
        place: u64,
        model: &Digest,
        events: impl Iterator<Item = &'a str>,
    ) -> u64 {
        let mut count = 0;
        for event in events {
            count += 1;
            let aggregates = self.pairs.entry(*model).or_default();
            let known = match aggregates.get_mut(actor.aggregate()) {
                Some(known) => known,
                None => aggregates.entry(actor.aggregate().to_owned()).or_default(),
            };
            match known.get_mut(event) {
                Some(events) => {
                    events.count += 1;
                    if place < events.example.0 {
                        events.example = (place, actor.clone());
                    }
                }
                None if self.pair_count < MAX_PAIRS => {
                    self.pair_count += 1;
                    let example = (place, actor.clone());
                    known.insert(event.to_owned(), Events { count: 1, example });
                }
                None => {}
            }
        }
        count
    }

    /// Adds what was noted elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.actors += other.actors;
        for (pair, more) in other.pairs() {
            let aggregates = self.pairs.entry(pair.model).or_default();
            let known = aggregates.entry(pair.aggregate).or_default();
            if let Some(events) = known.get_mut(&pair.event) {
                events.count += more.count;
                events.example = events.example.clone().min(more.example);
            } else {
                known.insert(pair.event, more);
            }
        }
        other.longest.0.iter().for_each(|(number, actor)| self.longest.note(*number, actor));
        other.newest.0.iter().for_each(|(number, actor)| self.newest.note(*number, actor));
    }

    /// The pairs that were noted, in order.
    #[must_use]
    pub fn pairs(&self) -> BTreeMap<Pair, Events> {
        let mut all = BTreeMap::new();
        for (model, aggregates) in &self.pairs {
            for (aggregate, events) in aggregates {
                for (event, noted) in events {
                    let (aggregate, event) = (aggregate.clone(), event.clone());
                    all.insert(Pair { aggregate, event, model: *model }, noted.clone());
                }
            }
        }
        all
    }

    /// The actors that must be covered.
    #[must_use]
    pub fn wanted(&self) -> BTreeSet<Address> {
        let examples = self.pairs().into_values().map(|events| events.example.1);
        let top = self.longest.0.iter().chain(&self.newest.0).map(|(_, actor)| actor.clone());
        examples.chain(top).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Position, parse};

    fn stored(actor: &Address, first: u64, model: u8, event: &str, at: u64) -> Stored {
        let digest = Digest::of([model]);
        let bytes = format!(
            r#"{{"format":1,"kind":"turns","actor":"{actor}","first":{first},"prev":null,"deployment":1,"model":"{digest}","component":"{digest}","turns":[{{"command":{{"id":"c","name":"n","digest":"{digest}","at":{at},"by":null,"correlation":"c","causation":null,"seed":"0"}},"events":[{{"type":"{event}","data":{{"a":[1]}}}},{{"type":"{event}","data":{{}}}}]}}]}}"#
        );
        Stored { position: Position(1), bytes: Bytes::from(bytes) }
    }

    fn actor(n: usize) -> Address {
        Address::new("bank", "account", &format!("a{n}")).unwrap()
    }

    proptest! {
        /// The longest and newest are found however the records of many actors come, and reading
        /// heads notes the same as reading whole records.
        #[test]
        fn what_must_be_covered_is_noted(order in prop::collection::vec(0..60_usize, 1..400)) {
            let mut versions = [0_u64; 60];
            let (mut heads, mut whole) = (Survey::default(), Survey::default());
            let mut parts = [Survey::default(), Survey::default()];
            for (at, n) in (1..).zip(&order) {
                let actor = actor(*n);
                let event = ["opened", "closed"][n % 2];
                let stored = stored(&actor, versions[*n] + 1, (n % 3) as u8, event, at);
                versions[*n] += 2;
                heads.note_head(&actor, *n as u64, &stored);
                let record = parse(&stored).unwrap();
                whole.note(&actor, *n as u64, &record);
                parts[n % 2].note(&actor, *n as u64, &record);
            }
            let [mut merged, other] = parts;
            merged.merge(other);
            prop_assert_eq!(heads.pairs(), whole.pairs());
            prop_assert_eq!(merged.pairs(), whole.pairs());
            prop_assert_eq!(heads.wanted(), whole.wanted());
            let used = versions.iter().filter(|v| **v > 0).count();
            prop_assert_eq!((whole.actors, merged.actors), (used as u64, used as u64));
            let wanted = merged.wanted();
            let longest = versions.iter().max().unwrap();
            let n = order.last().unwrap();
            prop_assert!(wanted.contains(&actor(*n)), "the newest");
            prop_assert!(
                wanted.iter().any(|a| versions[a.id()[1..].parse::<usize>().unwrap()] == *longest)
            );
            for (pair, events) in merged.pairs() {
                prop_assert!(wanted.contains(&events.example.1), "{:?}", pair);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let mut survey = Survey::default();
        let bytes = Bytes::from_static(b"{");
        survey.note_head(&actor(1), 1, &Stored { position: Position(1), bytes });
        assert_eq!((survey.records, survey.wanted().len()), (1, 0));
    }
}
