//! Which turn an acknowledgement tells, and whether the log has it so.

use std::collections::HashMap;

use super::{
    Kind,
    actor::{Actor, Given, Turn, facts, stored},
};
use crate::faults::history::{Event, Operation};

impl<'a> Actor<'a> {
    /// Finds for each acknowledgement with events the turn that it tells.
    pub fn claim(&mut self, asked: &[usize], given: &Given<'_>) {
        let mut first_of: HashMap<&str, usize> = HashMap::new();
        let mut holder: HashMap<u64, usize> = HashMap::new();
        for (index, turn) in self.turns.iter().enumerate() {
            let id = turn.events.first().map_or("", |event| &event.command);
            first_of.entry(id).or_insert(index);
            holder.extend(turn.events.iter().map(|event| (event.version, index)));
        }
        let mut elsewhere = Vec::new();
        for index in asked.iter().copied() {
            let Some(operation) = self.asked.get(&index).copied() else { continue };
            let Some(told) = stored(operation) else { continue };
            if !is_whole(operation, told) {
                let text = "the reply's version is not that of its last event";
                self.report(Kind::WrongVersion, last(told), [index], text);
                continue;
            }
            let turn = match operation.id() {
                Some(id) => first_of.get(id).copied(),
                None => self.turn_at(told, &holder, given),
            };
            match (turn, operation.id()) {
                (Some(turn), _) => self.compare(index, told, turn),
                (None, Some(_)) => self.is_missing(index, told),
                (None, None) => elsewhere.push((index, told)),
            }
        }
        for (index, told) in elsewhere {
            match self.equal_turn(told, given) {
                Some(turn) => self.compare(index, told, turn),
                None => self.is_missing(index, told),
            }
        }
    }

    /// The turn that a command without an id was told.
    fn turn_at(
        &self,
        told: &[Event],
        holder: &HashMap<u64, usize>,
        given: &Given<'_>,
    ) -> Option<usize> {
        let facts = facts(told);
        told.iter().filter_map(|event| holder.get(&event.version).copied()).find(|at| {
            let turn = self.turns.get(*at).filter(|turn| is_free(turn, given));
            turn.is_some_and(|turn| turn.holds(&facts) || turn.is_part_of(&facts))
        })
    }

    /// A turn that a command without an id may have meant, and that was told to nobody else.
    fn equal_turn(&self, told: &[Event], given: &Given<'_>) -> Option<usize> {
        let facts = facts(told);
        self.turns.iter().position(|turn| is_free(turn, given) && turn.holds(&facts))
    }

    /// Compares what was told with the turn of that command.
    fn compare(&mut self, index: usize, told: &[Event], at: usize) {
        let Some(turn) = self.turns.get_mut(at) else { return };
        let (facts, first) = (facts(told), turn.first());
        if turn.begins(&facts) {
            turn.told.push(index);
            let begins = told.first().map_or(0, |event| event.version);
            if begins != first {
                let text = format!("the reply told the events from version {begins} on");
                self.report(Kind::WrongVersion, first, [index], &text);
            } else if let Some(ended) = self.asked.get(&index).map(|it| (it.ended, index)) {
                turn.ended = Some(turn.ended.map_or(ended, |known| known.min(ended)));
            }
        } else if turn.is_part_of(&facts) {
            let text = format!("{} of {} acknowledged events", turn.events.len(), told.len());
            self.flaw(at, Kind::Torn, [index], &text);
        } else {
            let text = "the acknowledged events are not those that the log has for the command";
            self.flaw(at, Kind::Lost, [index], text);
        }
    }

    fn is_missing(&mut self, index: usize, told: &[Event]) {
        let last = last(told);
        let holder = self.turns.iter().find(|turn| (turn.first()..=turn.last()).contains(&last));
        let there = holder.map_or_else(
            || "the log ends before it".to_owned(),
            |turn| format!("the log has the command `{}` there", turn.command()),
        );
        let text = format!("{} events were acknowledged; {there}", told.len());
        self.report(Kind::Lost, last, [index], &text);
    }
}

/// Whether the versions are dense and the reply's own is the last of them.
fn is_whole(operation: &Operation, told: &[Event]) -> bool {
    let first = told.first().map_or(0, |event| event.version);
    let dense = told.iter().zip(first..).all(|(event, version)| event.version == version);
    dense && first > 0 && operation.version() == Some(last(told))
}

fn last(told: &[Event]) -> u64 {
    told.last().map_or(0, |event| event.version)
}

/// Whether a client that gave no id may have stored the turn, and none was told so yet.
fn is_free(turn: &Turn<'_>, given: &Given<'_>) -> bool {
    turn.told.is_empty() && !given.contains_key(turn.command())
}
