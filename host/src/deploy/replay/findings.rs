//! What shadow replay has found, counted and grouped; a few of each kind are kept to be shown.
//!
//! Which ones are kept does not depend on the order in which actors were looked at: those whose
//! addresses come first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::difference::{Change, Difference};

/// Failures that are kept to be shown.
const MAX_FAILURES: usize = 100;

/// Actors that are kept to be shown for each kind of difference.
const MAX_EXAMPLES: usize = 5;

/// Actors that were left out and are kept to be shown.
const MAX_SKIPPED: usize = 100;

/// Code that could not take an actor's past.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failed {
    /// The actor.
    pub actor: String,
    /// The event at which it failed; 0 = before the first.
    pub version: u64,
    /// `undecodable`, `trap`, `deadline`, `memory`, `contract`, `state-too-large` or
    /// `no-aggregate`.
    pub kind: &'static str,
    /// The event's type as it is stored; none before the first.
    pub event: Option<String>,
    /// What happened.
    pub detail: String,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FailureKind {
    /// The aggregate.
    pub aggregate: String,
    /// As [`Failed::kind`].
    pub kind: &'static str,
    /// As [`Failed::event`].
    pub event: Option<String>,
}

/// All failures: counted by kind, the first hundred kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many actors, by kind.
    pub kinds: BTreeMap<FailureKind, u64>,
    /// The first of them, by address.
    pub first: BTreeSet<Failed>,
}

/// Differences of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DifferenceKind {
    /// The aggregate.
    pub aggregate: String,
    /// Where, with every index left out.
    pub place: String,
    /// What happened there.
    pub change: Change,
}

/// An actor whose states differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// The actor.
    pub actor: String,
    /// Its version.
    pub version: u64,
    /// Its first difference of this kind.
    #[serde(flatten)]
    pub difference: Difference,
}

/// The actors that differ in one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differing {
    /// How many.
    pub actors: u64,
    /// Some of them.
    pub examples: BTreeSet<Example>,
}

/// An actor that was not looked at to its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// The actor.
    pub actor: String,
    /// `quarantined`, `newer`, `busy`, or the kind of damage of its log.
    pub kind: String,
    /// What is wrong.
    pub reason: String,
}

/// What became of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Both codes give the same state.
    Same,
    /// They give different states, at this version.
    Differs(u64, Vec<Difference>),
    /// The new code fails where the old does not.
    Fails(Failed),
    /// The new code fails where the old one fails too, or behind that.
    BothFail(Failed),
    /// The new code takes a past that the old one does not.
    Healed,
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Actors that were looked at to their end.
    pub covered: u64,
    /// Events of these actors.
    pub events: u64,
    /// What only the new code fails at: a refusal.
    pub failures: Failures,
    /// What both codes fail at.
    pub shared: Failures,
    /// Actors that only the old code fails at.
    pub healed: u64,
    /// Actors whose states differ.
    pub differing: u64,
    /// How they differ.
    pub differences: BTreeMap<DifferenceKind, Differing>,
    /// How many actors were left out.
    pub skipped: u64,
    /// The first of them, by address.
    pub first_skipped: BTreeSet<Skipped>,
}

impl Failures {
    /// How many actors failed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds.values().sum()
    }

    fn add(&mut self, aggregate: &str, failed: Failed) {
        let (kind, event) = (failed.kind, failed.event.clone());
        let kind = FailureKind { aggregate: aggregate.to_owned(), kind, event };
        *self.kinds.entry(kind).or_default() += 1;
        keep(&mut self.first, failed, MAX_FAILURES);
    }

    fn merge(&mut self, other: Self) {
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        other.first.into_iter().for_each(|failed| keep(&mut self.first, failed, MAX_FAILURES));
    }
}

impl Findings {
    /// Takes note of what became of `actor`, of this aggregate, with so many events.
    pub fn add(&mut self, aggregate: &str, actor: &str, events: u64, verdict: Verdict) {
        self.covered += 1;
        self.events += events;
        match verdict {
            Verdict::Same => {}
            Verdict::Healed => self.healed += 1,
            Verdict::Fails(failed) => self.failures.add(aggregate, failed),
            Verdict::BothFail(failed) => self.shared.add(aggregate, failed),
            Verdict::Differs(version, differences) => {
                self.differing += 1;
                let mut seen = BTreeSet::new();
                for difference in differences {
                    let (aggregate, place) = (aggregate.to_owned(), difference.pattern());
                    let kind = DifferenceKind { aggregate, place, change: difference.change };
                    if seen.insert(kind.clone()) {
                        let differing = self.differences.entry(kind).or_default();
                        differing.actors += 1;
                        let example = Example { actor: actor.to_owned(), version, difference };
                        keep(&mut differing.examples, example, MAX_EXAMPLES);
                    }
                }
            }
        }
    }

    /// Takes note of an actor that was left out.
    pub fn skip(&mut self, skipped: Skipped) {
        self.skipped += 1;
        keep(&mut self.first_skipped, skipped, MAX_SKIPPED);
    }

    /// Adds what was found elsewhere, of other actors.
    pub fn merge(&mut self, other: Self) {
        self.covered += other.covered;
        self.events += other.events;
        self.failures.merge(other.failures);
        self.shared.merge(other.shared);
        self.healed += other.healed;
        self.differing += other.differing;
        for (kind, more) in other.differences {
            let differing = self.differences.entry(kind).or_default();
            differing.actors += more.actors;
            for example in more.examples {
                keep(&mut differing.examples, example, MAX_EXAMPLES);
            }
        }
        self.skipped += other.skipped;
        for skipped in other.first_skipped {
            keep(&mut self.first_skipped, skipped, MAX_SKIPPED);
        }
    }
}

/// Keeps `item` if it is among the first `most`.
fn keep<T: Ord>(kept: &mut BTreeSet<T>, item: T, most: usize) {
    kept.insert(item);
    if kept.len() > most {
        kept.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(n: u64) -> Verdict {
        let difference = |path: &str| Difference {
            path: path.to_owned(),
            change: Change::Changed,
            old: Some("1".to_owned()),
            new: Some(n.to_string()),
        };
        match n % 4 {
            0 => Verdict::Same,
            1 => Verdict::Differs(n, vec![difference("a[0]"), difference("a[1]")]),
            2 => Verdict::Fails(Failed {
                actor: format!("{n:04}"),
                version: n,
                kind: "trap",
                event: Some("opened".to_owned()),
                detail: String::new(),
            }),
            _ => Verdict::Healed,
        }
    }

    #[test]
    fn the_order_and_the_parts_do_not_matter() {
        let gather = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut found = Findings::default();
            numbers.for_each(|n| found.add("account", &format!("{n:04}"), 1, verdict(n)));
            found
        };
        let forward = gather(&mut (0..1000));
        assert_eq!(forward, gather(&mut (0..1000).rev()));
        let mut parts = gather(&mut (0..1000).filter(|n| n % 3 == 0));
        parts.merge(gather(&mut (0..1000).filter(|n| n % 3 != 0)));
        assert_eq!(forward, parts);
        assert_eq!((forward.covered, forward.differing, forward.healed), (1000, 250, 250));
        assert_eq!(forward.failures.count(), 250);
        assert_eq!(forward.failures.first.len(), MAX_FAILURES);
        let (kind, differing) = forward.differences.first_key_value().unwrap();
        assert_eq!((kind.place.as_str(), differing.actors), ("a[]", 250));
        let examples: Vec<_> = differing.examples.iter().map(|it| it.actor.as_str()).collect();
        assert_eq!(examples, ["0001", "0005", "0009", "0013", "0017"]);
    }
}
