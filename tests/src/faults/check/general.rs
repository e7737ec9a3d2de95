//! Linearizability by search: the algorithm of Wing and Gong with Lowe's memoisation, as Porcupine
//! and Knossos use it.
//!
//! It knows nothing of versions or logs: an object is a state and what an operation makes of it.
//! It tries every order that real time allows, and remembers which pairs of *operations done* and
//! *state* led nowhere. It is exponential in the number of operations that overlap, so it serves
//! to judge the quick checker on short histories, not to replace it.
//!
//! An actor becomes such an object by keeping its log in its state. What the log held in the end
//! is one more read, behind everything else, so nothing but answers decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::Hash,
    time::Duration,
};

use crate::faults::{
    history::{LoggedEvent, Operation, Outcome, Request},
    spec::{Decision, Fact, Spec},
};

/// The most operations of a history: they are the bits of a word.
const MAX_OPERATIONS: usize = 63;

/// An object that one operation at a time is done on.
pub trait Object {
    /// All that later answers depend on.
    type State: Clone + Eq + Hash;

    /// The state at the beginning.
    fn initial(&self) -> Self::State;

    /// The state behind an operation, if the operation's answer is right in `state`.
    fn apply(&self, state: &Self::State, operation: usize) -> Option<Self::State>;
}

/// When an operation was asked for and answered.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// When it was asked for.
    pub begun: Duration,
    /// When it was answered. None: it was not, so it may be done at any time, or never.
    pub ended: Option<Duration>,
}

/// Whether some order of the operations explains all answers; none if there are too many.
#[must_use]
pub fn linearizable<O: Object>(object: &O, intervals: &[Interval]) -> Option<bool> {
    if intervals.len() > MAX_OPERATIONS {
        return None;
    }
    let must = bits(intervals, |interval| interval.ended.is_some());
    let mut failed = HashSet::new();
    let mut open = vec![(0, object.initial())];
    while let Some((done, state)) = open.pop() {
        if done & must == must {
            return Some(true);
        }
        // The first answer that is still to come: whoever was asked later cannot be next.
        let waiting = intervals.iter().enumerate().filter(|(index, _)| done & (1 << index) == 0);
        let first = waiting.clone().filter_map(|(_, interval)| interval.ended).min();
        for (index, interval) in waiting {
            if first.is_none_or(|first| interval.begun <= first)
                && let Some(next) = object.apply(&state, index)
            {
                let place = (done | (1 << index), next);
                if failed.insert(place.clone()) {
                    open.push(place);
                }
            }
        }
    }
    Some(false)
}

fn bits(intervals: &[Interval], which: impl Fn(&Interval) -> bool) -> u64 {
    let set = intervals.iter().enumerate().filter(|(_, interval)| which(interval));
    set.fold(0, |bits, (index, _)| bits | (1 << index))
}

/// Whether the history of one actor is linearizable, by search; none if it is too long.
#[must_use]
pub fn actor_is_linearizable<S: Spec>(
    operations: &[Operation],
    log: &[LoggedEvent],
) -> Option<bool> {
    // What was refused changed nothing and told nothing.
    let refused = |operation: &&Operation| matches!(operation.outcome, Outcome::Refused { .. });
    let operations: Vec<&Operation> = operations.iter().filter(|it| !refused(it)).collect();
    let interval = |operation: &&Operation| Interval {
        begun: operation.begun,
        ended: (!matches!(operation.outcome, Outcome::Unknown { .. })).then_some(operation.ended),
    };
    let mut intervals: Vec<Interval> = operations.iter().map(interval).collect();
    intervals.push(Interval { begun: Duration::MAX, ended: Some(Duration::MAX) });
    let given: BTreeSet<&str> = operations.iter().filter_map(|operation| operation.id()).collect();
    if log.iter().zip(1..).any(|(event, version)| event.version != version) {
        return Some(false);
    }
    let logged = log
        .chunk_by(|a, b| a.command == b.command)
        .map(|events| {
            let id = events.first().map(|event| event.command.as_str());
            let fact = |it: &LoggedEvent| Fact { name: it.name.clone(), data: it.data.clone() };
            let events = events.iter().map(fact).collect();
            (id.filter(|id| given.contains(id)).map(str::to_owned), events)
        })
        .collect();
    linearizable(&Actor::<S> { operations, logged, spec: std::marker::PhantomData }, &intervals)
}

/// A turn: the id that its client gave, if one did, and its events.
type Turn = (Option<String>, Vec<Fact>);

struct Actor<'a, S> {
    operations: Vec<&'a Operation>,
    /// What the last operation, the read of the whole log, tells.
    logged: Vec<Turn>,
    spec: std::marker::PhantomData<S>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State<T> {
    state: T,
    version: u64,
    log: Vec<Turn>,
    /// What each id stands for, and its turn's last version.
    done: BTreeMap<String, (usize, u64)>,
}

impl<S: Spec> Object for Actor<'_, S> {
    type State = State<S::State>;

    fn initial(&self) -> Self::State {
        State { state: S::initial(), version: 0, log: Vec::new(), done: BTreeMap::new() }
    }

    fn apply(&self, before: &Self::State, index: usize) -> Option<Self::State> {
        let Some(operation) = self.operations.get(index) else {
            return (before.log == self.logged).then(|| before.clone());
        };
        let Request::Command { id, name, fields, expected_version } = &operation.request else {
            return match &operation.outcome {
                Outcome::State { version, state } => (*version == before.version
                    && *state == S::shown(&before.state))
                .then(|| before.clone()),
                Outcome::Unknown { .. } => Some(before.clone()),
                _ => None,
            };
        };
        let is_unknown = matches!(operation.outcome, Outcome::Unknown { .. });
        if let Some((first, version)) = id.as_ref().and_then(|id| before.done.get(id)) {
            let meant = self.operations.get(*first).map(|it| &it.request);
            let is_same = matches!(meant, Some(Request::Command { name: n, fields: f, .. })
                if n == name && f == fields);
            let facts = before.log.iter().find(|(it, _)| it == id).map(|(_, facts)| facts)?;
            let is_told = is_same && tells(&operation.outcome, *version, facts);
            return (is_unknown || is_told).then(|| before.clone());
        }
        if expected_version.is_some_and(|expected| expected != before.version) {
            return is_unknown.then(|| before.clone());
        }
        match S::decide(&before.state, name, fields) {
            Decision::Events(facts) => {
                let version = before.version + facts.len() as u64;
                let fits = is_unknown || tells(&operation.outcome, version, &facts);
                fits.then(|| stored::<S>(before, index, id.as_ref(), facts))?
            }
            Decision::Rejected(expected) => match &operation.outcome {
                Outcome::Rejected { version, rejection } => {
                    (*version == before.version && *rejection == expected).then(|| before.clone())
                }
                _ => is_unknown.then(|| before.clone()),
            },
            Decision::Invalid => is_unknown.then(|| before.clone()),
        }
    }
}

/// Whether the answer tells these events, the last of them at `version`.
fn tells(outcome: &Outcome, version: u64, facts: &[Fact]) -> bool {
    let Outcome::Accepted { version: told, events } = outcome else { return false };
    let first = (version + 1).saturating_sub(facts.len() as u64);
    *told == version
        && events.len() == facts.len()
        && events.iter().zip(facts).zip(first..).all(|((event, fact), version)| {
            event.version == version && event.name == fact.name && event.data == fact.data
        })
}

/// The state behind a command's events.
fn stored<S: Spec>(
    before: &State<S::State>,
    index: usize,
    id: Option<&String>,
    facts: Vec<Fact>,
) -> Option<State<S::State>> {
    let mut after = before.clone();
    if facts.is_empty() {
        return Some(after);
    }
    for fact in &facts {
        S::evolve(&mut after.state, &fact.name, &fact.data).ok()?;
    }
    after.version += facts.len() as u64;
    if let Some(id) = id {
        after.done.insert(id.clone(), (index, after.version));
    }
    after.log.push((id.cloned(), facts));
    Some(after)
}
