//! Whether the places that the versions give can be points in real time.
//!
//! The log gives the turns an order; answers that stored nothing stand behind the turn of their
//! version, in no order among themselves. There are points in time for all of them just if nobody
//! in that order ended before somebody in front of it had begun. A turn begins when the first that
//! could have stored it was asked, and ends when the first that was told of it had its answer.

use std::time::Duration;

use super::{
    Kind,
    actor::{Actor, End, Turn},
};
use crate::faults::history::{Operation, Outcome};

/// An answer in its place.
struct Placed<'a> {
    version: u64,
    index: usize,
    operation: &'a Operation,
}

/// Reports answers and turns that are at odds with real time.
pub(super) fn check(actor: &mut Actor<'_>) {
    let mut answers: Vec<Placed<'_>> = actor
        .observations
        .iter()
        .filter_map(|it| {
            let operation = *actor.asked.get(&it.operation)?;
            Some(Placed { version: it.version, index: it.operation, operation })
        })
        .collect();
    answers.sort_by_key(|answer| (answer.version, answer.index));
    from_the_future(actor, &mut answers);
    from_the_past(actor, &answers);
}

/// Nobody is answered before what the answer tells was asked for. What is reported is taken out.
fn from_the_future(actor: &mut Actor<'_>, answers: &mut Vec<Placed<'_>>) {
    let mut found = Vec::new();
    let mut latest: Option<End> = None;
    let mut turns = actor.turns.iter().peekable();
    let mut advance = |to: u64, latest: &mut Option<End>, found: &mut Vec<_>| {
        while let Some(turn) = turns.next_if(|turn| turn.last() <= to) {
            let before = *latest;
            *latest = (*latest).max(turn.begun);
            let (Some((ended, told)), Some((begun, asked))) = (turn.ended, *latest) else {
                continue;
            };
            if ended < begun {
                let is_own = before < turn.begun;
                let kind = if is_own { Kind::Future } else { Kind::Reordered };
                found.push((kind, turn.last(), told, asked, begun.saturating_sub(ended)));
            }
        }
    };
    answers.retain(|answer| {
        advance(answer.version, &mut latest, &mut found);
        let Some((begun, asked)) = latest.filter(|(begun, _)| answer.operation.ended < *begun)
        else {
            return true;
        };
        let by = begun.saturating_sub(answer.operation.ended);
        found.push((Kind::Future, answer.version, answer.index, asked, by));
        false
    });
    advance(u64::MAX, &mut latest, &mut found);
    for (kind, version, told, asked, by) in found {
        let text = format!(
            "answered {by:?} before what stands in front of it in the log was asked for; operations: answered, asked"
        );
        actor.report(kind, version, [told, asked], &text);
    }
}

/// Nobody is answered from a state when a later one was told before the question.
fn from_the_past(actor: &mut Actor<'_>, answers: &[Placed<'_>]) {
    let mut found = Vec::new();
    let mut earliest: Option<End> = None;
    let mut turns = actor.turns.iter().rev().peekable();
    for group in answers.chunk_by(|a, b| a.version == b.version).rev() {
        let version = group.first().map_or(0, |answer| answer.version);
        while let Some(turn) = turns.next_if(|turn| turn.first() > version) {
            earliest = sooner(earliest, told(turn));
        }
        for answer in group {
            let Some((ended, other)) = earliest else { break };
            if ended < answer.operation.begun {
                found.push((answer, other, answer.operation.begun.saturating_sub(ended)));
            }
        }
        for answer in group {
            earliest = sooner(earliest, Some((answer.operation.ended, answer.index)));
        }
    }
    for (answer, other, by) in found {
        let kind = match answer.operation.outcome {
            Outcome::State { .. } => Kind::StaleRead,
            Outcome::Rejected { .. } => Kind::StaleRejection,
            _ => Kind::StaleAnswer,
        };
        let text = format!(
            "a later version had been told {by:?} before the question; operations: asked, told before"
        );
        actor.report(kind, answer.version, [answer.index, other], &text);
    }
}

fn told(turn: &Turn<'_>) -> Option<(Duration, usize)> {
    turn.ended
}

fn sooner(a: Option<End>, b: Option<End>) -> Option<End> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
