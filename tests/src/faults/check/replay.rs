//! The log is replayed through the specification; each turn needs somebody who asked for it, and
//! each answer that stored nothing is compared with the state of its version.

use std::collections::HashMap;

use super::{
    Kind,
    actor::{Actor, Asked, Given, Observation, Turn, command, decided, expects, stored},
    strangers::Strangers,
};
use crate::faults::{
    history::{LoggedEvent, Operation, Outcome},
    spec::{Decision, Fact, Spec},
};

/// What the replay has met.
#[derive(Default)]
struct Seen<'a> {
    /// The last turn of each command.
    turns: HashMap<&'a str, usize>,
    /// The first turn of what may be done once.
    once: HashMap<String, usize>,
    /// What each id that is in the log stands for.
    stored: HashMap<&'a str, Asked<'a>>,
}

impl<'a> Actor<'a> {
    /// Replays the log, and compares each turn and each answer with the specification.
    pub fn replay<S: Spec>(&mut self, asked: &[usize], given: &Given<'a>) {
        let mut answers = self.answers(asked);
        let mut strangers = Strangers::of(&self.asked, asked);
        let mut seen = Seen::default();
        let mut state = S::initial();
        self.observe::<S>(&state, (0, false), &mut answers, &seen);
        for at in 0..self.turns.len() {
            let Some(events) = self.turns.get(at).map(|turn| turn.events) else { continue };
            let Some(last) = events.last() else { continue };
            self.is_first::<S>(at, &last.command, events, &mut seen);
            match given.get(last.command.as_str()) {
                Some(tries) => self.explain::<S>(at, tries, &state, &mut seen),
                None => self.explain_stranger::<S>(at, &state, &mut strangers),
            }
            for event in events {
                if let Err(text) = S::evolve(&mut state, &event.name, &event.data) {
                    self.flaw(at, Kind::Unlawful, [], &text);
                }
            }
            let is_flawed = self.turns.get(at).is_some_and(|turn| turn.flawed);
            self.observe::<S>(&state, (last.version, is_flawed), &mut answers, &seen);
        }
        let end = self.turns.last().map_or(0, Turn::last);
        for (version, index) in answers {
            let text = format!("the answer told version {version}; the log ends at {end}");
            self.report(Kind::Future, version, [index], &text);
        }
        strangers.settle(self);
    }

    /// Answers that stored nothing, last version first.
    fn answers(&self, asked: &[usize]) -> Vec<(u64, usize)> {
        let told = |index: &usize| {
            let operation = self.asked.get(index)?;
            let version = operation.version().filter(|_| stored(operation).is_none())?;
            Some((version, *index))
        };
        let mut answers: Vec<(u64, usize)> = asked.iter().filter_map(told).collect();
        answers.sort_unstable_by(|a, b| b.cmp(a));
        answers
    }

    /// Whether the turn is the only one of its command, and holds nothing that may be done once.
    fn is_first<S: Spec>(
        &mut self,
        at: usize,
        id: &'a str,
        events: &'a [LoggedEvent],
        seen: &mut Seen<'a>,
    ) {
        if let Some(before) = seen.turns.insert(id, at).and_then(|it| self.turns.get(it)) {
            if before.flawed {
                // The rest of a torn turn: told with its beginning.
                self.hide(at);
            } else {
                let told = before.told.clone();
                self.flaw(at, Kind::Doubled, told, "the command is in the log a second time");
            }
        }
        for event in events {
            let Some(key) = S::once(&event.name, &event.data) else { continue };
            let text = format!("{key} is in the log a second time");
            let known = *seen.once.entry(key).or_insert(at);
            if known != at {
                let told = self.turns.get(known).map(|turn| turn.told.clone());
                self.flaw(at, Kind::Doubled, told.unwrap_or_default(), &text);
            }
        }
    }

    fn hide(&mut self, at: usize) {
        if let Some(turn) = self.turns.get_mut(at) {
            turn.flawed = true;
        }
    }

    /// Who of those that gave the turn's command id stored it, and what the id stands for.
    fn explain<S: Spec>(
        &mut self,
        at: usize,
        tries: &[usize],
        state: &S::State,
        seen: &mut Seen<'a>,
    ) {
        let Some(turn) = self.turns.get(at).filter(|turn| !turn.flawed) else { return };
        let asked = |index: &usize| Some((*index, command(self.asked.get(index)?)?));
        let could: Vec<(usize, Asked<'a>)> = tries
            .iter()
            .filter(|index| self.asked.get(index).is_some_and(|it| may_have_stored(it)))
            .filter_map(asked)
            .collect();
        if could.is_empty() {
            let text = "every client that asked for it was told that nothing was stored";
            return self.flaw(at, Kind::RefusedStored, tries.to_vec(), text);
        }
        let told = turn.told.clone();
        let is_told = |index: usize| told.is_empty() || told.contains(&index);
        let facts: Vec<_> = could.iter().map(|(_, asked)| decided::<S>(state, *asked)).collect();
        let mut fitting = could.iter().zip(&facts).filter(|((index, _), facts)| {
            is_told(*index) && facts.as_ref().is_some_and(|facts| turn.holds(facts))
        });
        let Some(((_, meant), _)) = fitting.next() else {
            let (kind, text) = misfit(turn, facts.iter().flatten());
            return self.flaw(at, kind, could.iter().map(|(index, _)| *index), text);
        };
        let before = turn.first().saturating_sub(1);
        let starts = could.iter().zip(&facts).filter(|((_, asked), facts)| {
            asked == meant
                || told.is_empty() && facts.as_ref().is_some_and(|facts| turn.holds(facts))
        });
        let begun = starts.filter_map(|((index, _), _)| {
            let operation = self.asked.get(index).filter(|it| expects(it, before))?;
            Some((operation.begun, *index))
        });
        let Some(begun) = begun.min() else {
            let text = "it was stored at another version than its clients expected";
            return self.flaw(at, Kind::Unlawful, tries.to_vec(), text);
        };
        let (events, meant) = (turn.events, *meant);
        if let Some(event) = events.first() {
            seen.stored.insert(&event.command, meant);
        }
        if let Some(turn) = self.turns.get_mut(at) {
            turn.begun = Some(begun);
        }
        self.are_true(&told, before + 1, events.len(), meant);
    }

    /// Whether all that were told of a turn asked for it, and were told all of it.
    fn are_true(&mut self, told: &[usize], version: u64, length: usize, meant: Asked<'a>) {
        for index in told.iter().copied() {
            let Some(operation) = self.asked.get(&index).copied() else { continue };
            if command(operation) != Some(meant) {
                let text = "its id was used before for something else, and it was told that";
                self.report(Kind::Reused, version, [index], text);
            } else if stored(operation).is_some_and(|events| events.len() != length) {
                let text = format!("the reply told not all of {length} events");
                self.report(Kind::WrongAnswer, version, [index], &text);
            }
        }
    }

    /// Who stored a turn whose command id no client gave.
    fn explain_stranger<S: Spec>(
        &mut self,
        at: usize,
        state: &S::State,
        strangers: &mut Strangers<'a>,
    ) {
        let Some(turn) = self.turns.get(at).filter(|turn| !turn.flawed) else { return };
        let before = turn.first().saturating_sub(1);
        let Some(told) = turn.told.first().copied() else {
            let candidates = strangers.candidates::<S>(turn, state);
            return match candidates {
                Ok(candidates) => strangers.wait(at, candidates),
                Err((kind, operations, text)) => self.flaw(at, kind, operations, text),
            };
        };
        let Some(operation) = self.asked.get(&told).copied() else { return };
        let facts = command(operation).and_then(|asked| decided::<S>(state, asked));
        if facts.is_some_and(|facts| turn.holds(&facts)) && expects(operation, before) {
            if let Some(turn) = self.turns.get_mut(at) {
                turn.begun = Some((operation.begun, told));
            }
        } else {
            let text = "the specification decides otherwise in this state";
            self.flaw(at, Kind::Unlawful, [told], text);
        }
    }

    /// Compares the answers that were given behind a turn that ends at `last`, or inside it.
    fn observe<S: Spec>(
        &mut self,
        state: &S::State,
        (last, is_flawed): (u64, bool),
        answers: &mut Vec<(u64, usize)>,
        seen: &Seen<'a>,
    ) {
        let mut shown = None;
        while let Some((version, index)) = answers.pop_if(|(version, _)| *version <= last) {
            let Some(operation) = self.asked.get(&index).copied() else { continue };
            if version < last && is_flawed {
                // What is wrong with the turn explains the answer, too.
                continue;
            }
            if version < last {
                let text = "the answer was given between the events of one turn";
                self.report(Kind::Torn, version, [index], text);
                continue;
            }
            let wrong = match &operation.outcome {
                Outcome::State { state: told, .. } if operation.is_read() => {
                    let shown = shown.get_or_insert_with(|| S::shown(state));
                    (told != shown).then(|| (Kind::WrongState, format!("{told}, not {shown}")))
                }
                _ => wrong_answer::<S>(operation, version, state, seen),
            };
            match wrong {
                Some((kind, text)) => self.report(kind, version, [index], &text),
                None => self.observations.push(Observation { version, operation: index }),
            }
        }
    }
}

/// Whether the outcome leaves it possible that this very try stored something.
fn may_have_stored(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Unknown { .. }) || stored(operation).is_some()
}

/// What is wrong with a turn that holds not what any of its commands gives.
fn misfit<'a>(turn: &Turn<'_>, facts: impl Iterator<Item = &'a Vec<Fact>>) -> (Kind, &'static str) {
    for facts in facts.filter(|facts| !facts.is_empty()) {
        if turn.is_part_of(facts) {
            return (Kind::Torn, "the turn is not whole");
        }
        if turn.begins(facts) {
            return (Kind::Doubled, "the turn holds more than the command gives");
        }
    }
    (Kind::Unlawful, "the specification decides otherwise in this state")
}

/// What is wrong with a command's answer that stored nothing.
fn wrong_answer<S: Spec>(
    operation: &Operation,
    version: u64,
    state: &S::State,
    seen: &Seen<'_>,
) -> Option<(Kind, String)> {
    let Some(asked) = command(operation) else {
        return Some((Kind::WrongAnswer, "that is no answer to a read".to_owned()));
    };
    if let Some(meant) = operation.id().and_then(|id| seen.stored.get(id)) {
        let text = "the command was done before, and its id was decided again".to_owned();
        return Some((if *meant == asked { Kind::Retried } else { Kind::Reused }, text));
    }
    let decision = S::decide(state, asked.name, asked.fields);
    let fits = match (&operation.outcome, &decision) {
        (Outcome::Rejected { rejection, .. }, Decision::Rejected(expected)) => {
            rejection == expected
        }
        (Outcome::Accepted { .. }, Decision::Events(facts)) => facts.is_empty(),
        _ => false,
    };
    if fits && expects(operation, version) {
        return None;
    }
    let text = format!("{:?} to {}, not {decision:?}", operation.outcome, asked.name);
    Some((Kind::WrongAnswer, text))
}
