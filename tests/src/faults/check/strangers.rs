//! Turns whose command id no client gave, and that no client was told: each must be one of the
//! commands without an id of which the client learned nothing.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    Kind,
    actor::{Actor, Turn, command, decided, expects},
};
use crate::faults::{
    history::{Operation, Outcome},
    spec::Spec,
};

/// Commands without an id, and the turns that they may have stored.
pub(super) struct Strangers<'a> {
    unknown: Vec<(usize, &'a Operation)>,
    refused: Vec<(usize, &'a Operation)>,
    /// Turns, and who may have stored them.
    waiting: Vec<(usize, Vec<usize>)>,
}

/// What is wrong with a turn that nobody can have stored.
type Flaw = (Kind, Vec<usize>, &'static str);

impl<'a> Strangers<'a> {
    pub fn of(all: &HashMap<usize, &'a Operation>, asked: &[usize]) -> Self {
        let strangers: Vec<(usize, &Operation)> = asked
            .iter()
            .filter_map(|index| Some((*index, *all.get(index)?)))
            .filter(|(_, operation)| operation.id().is_none() && !operation.is_read())
            .collect();
        let of = |kind: fn(&Outcome) -> bool| {
            strangers.iter().copied().filter(|(_, it)| kind(&it.outcome)).collect()
        };
        Self {
            unknown: of(|outcome| matches!(outcome, Outcome::Unknown { .. })),
            refused: of(|outcome| matches!(outcome, Outcome::Refused { .. })),
            waiting: Vec::new(),
        }
    }

    /// Who may have stored `turn` in this state.
    pub fn candidates<S: Spec>(
        &self,
        turn: &Turn<'_>,
        state: &S::State,
    ) -> Result<Vec<usize>, Flaw> {
        let before = turn.first().saturating_sub(1);
        let facts = |operation: &'a Operation| decided::<S>(state, command(operation)?);
        let fits = |(_, operation): &&(usize, &'a Operation)| {
            expects(operation, before) && facts(operation).is_some_and(|facts| turn.holds(&facts))
        };
        let indices = |them: Vec<&(usize, &'a Operation)>| them.iter().map(|(i, _)| *i).collect();
        let could: Vec<_> = self.unknown.iter().filter(fits).collect();
        if !could.is_empty() {
            return Ok(indices(could));
        }
        let is_part = |(_, operation): &&(usize, &'a Operation)| {
            facts(operation).is_some_and(|facts| turn.is_part_of(&facts))
        };
        let parts: Vec<_> = self.unknown.iter().filter(is_part).collect();
        if !parts.is_empty() {
            return Err((Kind::Torn, indices(parts), "the turn is not whole"));
        }
        let refused: Vec<_> = self.refused.iter().filter(fits).collect();
        if !refused.is_empty() {
            let text = "every client that asked for it was told that nothing was stored";
            return Err((Kind::RefusedStored, indices(refused), text));
        }
        Err((Kind::Invented, Vec::new(), "nobody asked for it"))
    }

    /// Remembers a turn until the answers of the whole log are known.
    pub fn wait(&mut self, turn: usize, candidates: Vec<usize>) {
        self.waiting.push((turn, candidates));
    }

    /// Gives each waiting turn an operation of its own.
    ///
    /// A turn must have been asked for before anybody was answered from behind it. If some choice
    /// satisfies that for all turns, this one does: it is a maximum matching by augmenting paths.
    pub fn settle(self, actor: &mut Actor<'_>) {
        let deadlines = deadlines(actor);
        let begun = |index: &usize| actor.asked.get(index).map(|it| it.begun);
        let in_time: Vec<Vec<usize>> = self
            .waiting
            .iter()
            .map(|(turn, candidates)| {
                let deadline = deadlines.get(turn).copied().unwrap_or(Duration::MAX);
                let in_time = |index: &&usize| begun(index).is_some_and(|it| it <= deadline);
                candidates.iter().filter(in_time).copied().collect()
            })
            .collect();
        let mut owner = HashMap::new();
        for place in 0..in_time.len() {
            augment(place, &in_time, &mut owner, &mut BTreeSet::new());
        }
        let mut chosen: HashMap<usize, usize> =
            owner.iter().map(|(operation, place)| (*place, *operation)).collect();
        for (place, (turn, candidates)) in self.waiting.iter().enumerate() {
            // Nobody is left in time: whoever is left at all shows how much too late it was.
            let free = || candidates.iter().copied().find(|it| !owner.contains_key(it));
            let Some(operation) = chosen.remove(&place).or_else(free) else {
                let text = "more turns are in the log than were asked for";
                actor.flaw(*turn, Kind::Invented, candidates.clone(), text);
                continue;
            };
            owner.insert(operation, place);
            let begun = actor.asked.get(&operation).map(|it| (it.begun, operation));
            if let Some(turn) = actor.turns.get_mut(*turn) {
                turn.begun = begun;
            }
        }
    }
}

/// When the first answer from behind each turn came.
fn deadlines(actor: &Actor<'_>) -> HashMap<usize, Duration> {
    let mut answers: Vec<(u64, Duration)> = actor
        .observations
        .iter()
        .filter_map(|it| Some((it.version, actor.asked.get(&it.operation)?.ended)))
        .collect();
    answers.sort_unstable();
    let mut earliest = Duration::MAX;
    let mut deadlines = HashMap::new();
    for (index, turn) in actor.turns.iter().enumerate().rev() {
        while let Some((_, ended)) = answers.pop_if(|(version, _)| *version >= turn.last()) {
            earliest = earliest.min(ended);
        }
        earliest = turn.ended.map_or(earliest, |(ended, _)| earliest.min(ended));
        deadlines.insert(index, earliest);
    }
    deadlines
}

/// Finds an operation for the turn at `place`, moving other turns to others of theirs if need be.
fn augment(
    place: usize,
    candidates: &[Vec<usize>],
    owner: &mut HashMap<usize, usize>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    for operation in candidates.get(place).into_iter().flatten().copied() {
        if !tried.insert(operation) {
            continue;
        }
        let free = match owner.get(&operation).copied() {
            Some(other) => augment(other, candidates, owner, tried),
            None => true,
        };
        if free {
            owner.insert(operation, place);
            return true;
        }
    }
    false
}
