//! Whether a component answers the same question the same way.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{
    Actor, Brain, EVOLVE_BUDGET, Prepared, Problem, ScenarioResult, What, difference,
    play::{Answer, Cast, Script, Trace, play},
};
use crate::{
    address::Address,
    json::{AggregatePlans, Packed, PackedCase},
    vm::{Fault, FaultKind},
};

/// Most places at which a scenario's events are cut in two; they are spread evenly over longer
/// histories, whose cost would otherwise grow with the square of their length.
pub const MAX_CUTS: usize = 256;

/// Plays every scenario again with kept instances, forwards and backwards, and applies its events
/// in one call and in several. `traces` are those of new instances. What differs is added to `results`.
pub(super) async fn check<B: Brain>(
    scripts: &[Prepared<'_, B>],
    traces: &[Trace],
    results: &mut [ScenarioResult],
) {
    let order: Vec<_> = (0..scripts.len()).collect();
    let backwards: Vec<_> = order.iter().rev().copied().collect();
    for (order, how) in [(order, "in the model's order"), (backwards, "in the opposite order")] {
        let mut kept: HashMap<Address, B::Actor> = HashMap::new();
        for index in order {
            let (Some(Ok((script, brain))), Some(trace), Some(result)) =
                (scripts.get(index), traces.get(index), results.get_mut(index))
            else {
                continue;
            };
            if is_settled(result) {
                continue;
            }
            let mut cast = Cast::kept(*brain, &script.actor, kept.remove(&script.actor));
            let (again, problem) = play(script, &mut cast).await;
            if let Some(actor) = cast.into_kept() {
                kept.insert(script.actor.clone(), actor);
            }
            let found = compare(script, how, trace, &again);
            // An answer in one play and a fault in the other differ too.
            let fault = problem.filter(|problem| matches!(problem.what, What::Fault { .. }));
            let fault = fault.filter(|_| result.problems.is_empty());
            result.problems.extend(found.or(fault));
        }
    }
    for ((script, trace), result) in scripts.iter().zip(traces).zip(results) {
        if let Ok((script, brain)) = script
            && !is_settled(result)
        {
            result.problems.extend(cut(script, *brain, trace).await);
        }
    }
}

/// Whether nothing more is to be learnt: one impurity is enough, and a call that took too long
/// would take as long again.
fn is_settled(result: &ScenarioResult) -> bool {
    result.problems.iter().any(|problem| {
        matches!(problem.what, What::Impure { .. } | What::Fault { kind: FaultKind::Deadline, .. })
    })
}

fn compare(script: &Script<'_>, how: &str, one: &Trace, other: &Trace) -> Option<Problem> {
    let pairs = one.answers.iter().zip(&other.answers);
    let mut differing = pairs.filter(|(one, other)| one != other);
    differing.next().map(|((question, one), (_, other))| {
        let question =
            format!("{question}: with a new instance, and with one that is kept ({how})");
        impure(script.plans, question, one, other)
    })
}

/// Applies the events of `trace` at once, one by one, and in two calls cut at each place.
async fn cut<B: Brain>(script: &Script<'_>, brain: &B, trace: &Trace) -> Option<Problem> {
    let (initial, events) = (trace.initial.as_ref()?, trace.events.as_slice());
    if events.is_empty() {
        return None;
    }
    let mut cast = Cast::kept(brain, &script.actor, None);
    let whole = match cast.actor().evolve(initial, events, EVOLVE_BUDGET).await {
        Ok(state) => Answer::State(state),
        Err(fault) => return Some(trapped(fault)),
    };
    let count = events.len();
    let cuts = count.min(MAX_CUTS);
    let ways = (0..=cuts).map(|n| n * count / cuts).map(|at| {
        let (first, rest) = events.split_at(at);
        (format!("cut in two after event {at}"), vec![first, rest])
    });
    let one_by_one = ("one by one".to_owned(), events.chunks(1).collect());
    for (way, parts) in std::iter::once(one_by_one).chain(ways) {
        let state = match in_parts(cast.actor(), initial, &parts).await {
            Ok(state) => Answer::State(state),
            Err(fault) => return Some(trapped(fault)),
        };
        if state != whole {
            let question = format!("evolve of all {count} events: at once, and {way}");
            return Some(impure(script.plans, question, &whole, &state));
        }
    }
    None
}

async fn in_parts<A: Actor>(
    actor: &mut A,
    initial: &Packed,
    parts: &[&[PackedCase]],
) -> Result<Packed, Fault> {
    let mut state = initial.clone();
    for part in parts {
        state = actor.evolve(&state, part, EVOLVE_BUDGET).await?;
    }
    Ok(state)
}

fn trapped(Fault { kind, detail }: Fault) -> Problem {
    let detail = format!("{detail} (while its events were applied again)");
    Problem { step: None, what: What::Fault { function: "evolve", kind, detail }, state: None }
}

fn impure(plans: &AggregatePlans, question: String, one: &Answer, other: &Answer) -> Problem {
    let (one, other) = (one.json(plans), other.json(plans));
    let raw = |json: &str| RawValue::from_string(json.to_owned()).ok();
    let differs = raw(&one).zip(raw(&other));
    let differs = differs.and_then(|(one, other)| difference::first("", &one, &other));
    // NaNs of different bits have one text.
    let (path, one, other) = differs.unwrap_or_else(|| (String::new(), one, other));
    Problem { step: None, what: What::Impure { question, path, one, other }, state: None }
}
