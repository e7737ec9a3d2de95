//! Whether and when actors are served.

use std::{collections::BTreeMap, time::Duration};

use super::{Kind, Violation};
use crate::faults::history::{Operation, Outcome};

/// Actors whose first acknowledged command after `healed`, the end of the last fault, came later
/// than `bound`, or never. Only actors that were asked to do something after `healed` count.
#[must_use]
pub fn liveness(operations: &[Operation], healed: Duration, bound: Duration) -> Vec<Violation> {
    let mut actors: BTreeMap<&str, (Vec<usize>, Option<Duration>)> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        if operation.ended < healed || operation.is_read() {
            continue;
        }
        let (asked, first) = actors.entry(&operation.actor).or_default();
        if operation.begun >= healed {
            asked.push(index);
        }
        if matches!(operation.outcome, Outcome::Accepted { .. }) {
            *first = Some(first.map_or(operation.ended, |first| first.min(operation.ended)));
        }
    }
    let late = actors.into_iter().filter_map(|(actor, (asked, first))| {
        if asked.is_empty() {
            return None;
        }
        let text = match first.map(|first| first.saturating_sub(healed)) {
            Some(waited) if waited <= bound => return None,
            Some(waited) => format!("served again {waited:?} after the last fault"),
            None => "not served again after the last fault".to_owned(),
        };
        let text = format!("{text}; the bound is {bound:?}");
        Some(Violation::new(Kind::Stalled, actor, None, asked, &text))
    });
    late.collect()
}

/// The longest time in which no client of the run had an answer: accepted, rejected or read.
#[must_use]
pub fn longest_unavailability(operations: &[Operation]) -> Duration {
    let Some(begun) = operations.iter().map(|operation| operation.begun).min() else {
        return Duration::ZERO;
    };
    let answered = operations.iter().filter(|operation| operation.version().is_some());
    let mut moments: Vec<Duration> = answered.map(|operation| operation.ended).collect();
    moments.extend(operations.iter().map(|operation| operation.ended).max());
    moments.sort_unstable();
    let mut longest = Duration::ZERO;
    let mut last = begun;
    for moment in moments {
        longest = longest.max(moment.saturating_sub(last));
        last = moment;
    }
    longest
}
