//! One actor: its log is replayed, and each answer is compared with the state of its version.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;

use super::{Kind, Violation, order};
use crate::faults::{
    history::{Event, LoggedEvent, Operation, Outcome, Request},
    spec::{Decision, Fact, Spec},
};

/// Operations by the id that the client gave them.
pub(super) type Given<'a> = HashMap<&'a str, Vec<usize>>;

/// A moment, and the operation that it is one end of.
pub(super) type End = (Duration, usize);

/// What is known of one actor.
pub(super) struct Actor<'a> {
    pub name: &'a str,
    /// The operations on it, with their indices in the history.
    pub asked: HashMap<usize, &'a Operation>,
    /// Its log, turn by turn.
    pub turns: Vec<Turn<'a>>,
    /// Answers that stored nothing and are true of their version.
    pub observations: Vec<Observation>,
    pub found: Vec<Violation>,
}

/// Events that are next to each other in the log and have one command id.
pub(super) struct Turn<'a> {
    pub events: &'a [LoggedEvent],
    /// Operations that were told just this turn.
    pub told: Vec<usize>,
    /// The first that could have stored it was asked here.
    pub begun: Option<End>,
    /// The first that was told it was answered here.
    pub ended: Option<End>,
    /// A violation says already what is wrong with it.
    pub flawed: bool,
}

/// An answer that stored nothing.
pub(super) struct Observation {
    pub version: u64,
    pub operation: usize,
}

/// A command as its id stands for it.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Asked<'a> {
    pub name: &'a str,
    pub fields: &'a Value,
}

impl Turn<'_> {
    pub fn first(&self) -> u64 {
        self.events.first().map_or(0, |event| event.version)
    }

    pub fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.version)
    }

    pub fn command(&self) -> &str {
        self.events.first().map_or("", |event| &event.command)
    }

    /// Whether it holds just `facts`.
    pub fn holds(&self, facts: &[Fact]) -> bool {
        self.events.len() == facts.len() && self.begins(facts)
    }

    /// Whether it holds `facts` and perhaps more.
    pub fn begins(&self, facts: &[Fact]) -> bool {
        facts.len() <= self.events.len() && facts.iter().zip(self.events).all(is)
    }

    /// Whether it holds some of `facts` in their order, but not all.
    pub fn is_part_of(&self, facts: &[Fact]) -> bool {
        let mut rest = facts.iter();
        self.events.len() < facts.len()
            && self.events.iter().all(|event| rest.any(|fact| is((fact, event))))
    }
}

fn is((fact, event): (&Fact, &LoggedEvent)) -> bool {
    fact.name == event.name && fact.data == event.data
}

/// What was told, without versions.
pub(super) fn facts(events: &[Event]) -> Vec<Fact> {
    let fact = |event: &Event| Fact { name: event.name.clone(), data: event.data.clone() };
    events.iter().map(fact).collect()
}

/// The events that an operation was told it stored.
pub(super) const fn stored(operation: &Operation) -> Option<&[Event]> {
    match &operation.outcome {
        Outcome::Accepted { events, .. } if !events.is_empty() => Some(events.as_slice()),
        _ => None,
    }
}

/// What the operation's id stands for, if it is a command.
pub(super) const fn command(operation: &Operation) -> Option<Asked<'_>> {
    match &operation.request {
        Request::Command { name, fields, .. } => Some(Asked { name: name.as_str(), fields }),
        Request::Read => None,
    }
}

/// Whether the command may be done at `version`.
pub(super) fn expects(operation: &Operation, version: u64) -> bool {
    match &operation.request {
        Request::Command { expected_version, .. } => {
            expected_version.is_none_or(|expected| expected == version)
        }
        Request::Read => false,
    }
}

/// The events that the specification gives for a command.
pub(super) fn decided<S: Spec>(state: &S::State, asked: Asked<'_>) -> Option<Vec<Fact>> {
    match S::decide(state, asked.name, asked.fields) {
        Decision::Events(facts) => Some(facts),
        Decision::Rejected(_) | Decision::Invalid => None,
    }
}

/// Everything that is wrong with one actor.
pub(super) fn check<'a, S: Spec>(
    name: &'a str,
    asked: Vec<(usize, &'a Operation)>,
    log: &'a [LoggedEvent],
) -> Vec<Violation> {
    let by_index: HashMap<usize, &Operation> = asked.iter().copied().collect();
    let turns = turns(log);
    let mut actor =
        Actor { name, asked: by_index, turns, observations: Vec::new(), found: Vec::new() };
    let mut given = Given::new();
    for (index, operation) in &asked {
        if let Some(id) = operation.id() {
            given.entry(id).or_default().push(*index);
        }
    }
    actor.is_dense(log);
    let indices: Vec<usize> = asked.iter().map(|(index, _)| *index).collect();
    actor.claim(&indices, &given);
    if actor.found.iter().any(|violation| violation.kind == Kind::Gap) {
        // Behind a gap no state is known, and nothing more can be said of the answers.
        return actor.found;
    }
    actor.replay::<S>(&indices, &given);
    order::check(&mut actor);
    actor.found
}

fn turns(log: &[LoggedEvent]) -> Vec<Turn<'_>> {
    log.chunk_by(|a, b| a.command == b.command)
        .map(|events| Turn { events, told: Vec::new(), begun: None, ended: None, flawed: false })
        .collect()
}

impl<'a> Actor<'a> {
    pub fn report(
        &mut self,
        kind: Kind,
        version: u64,
        operations: impl IntoIterator<Item = usize>,
        text: &str,
    ) {
        let violation = Violation::new(kind, self.name, Some(version), operations, text);
        self.found.push(violation);
    }

    /// Reports what is wrong with a turn, once.
    pub fn flaw(
        &mut self,
        turn: usize,
        kind: Kind,
        operations: impl IntoIterator<Item = usize>,
        text: &str,
    ) {
        let Some(it) = self.turns.get_mut(turn).filter(|it| !it.flawed) else { return };
        it.flawed = true;
        let version = it.first();
        let text = format!("{text}; the command's id in the log is `{}`", it.command());
        self.report(kind, version, operations, &text);
    }

    fn is_dense(&mut self, log: &[LoggedEvent]) {
        if let Some((event, expected)) = log.iter().zip(1..).find(|(event, n)| event.version != *n)
        {
            let text = format!("the log goes on with version {}", event.version);
            self.report(Kind::Gap, expected, [], &text);
        }
    }
}
