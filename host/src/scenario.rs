//! A model's scenarios, run against components without any server or store.
//!
//! Each scenario is played three times: with a new instance for every call, and twice with
//! instances that are kept, the second time in the opposite order. The first time says whether
//! the component does what the scenario wants; the others must not differ from it in anything,
//! because a guest is a pure function. Then the scenario's events are applied in one call, one by
//! one, and in two calls, cut at every place, which must not differ either. So nobody has to promise purity: a
//! counter in a static, or the order of a hash map in the state, is found and named.
//!
//! The cost is a few calls per event, and for long histories at most [`MAX_CUTS`] cuts.

mod difference;
mod play;
mod purity;
pub mod report;

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use aether_wit::{
    Model,
    model::{Location, Scenario, Then},
};

use crate::{
    address::Address,
    clock,
    json::{AggregatePlans, Packed, PackedCase},
    vm::{Behaviour, Budget, Context, Decision, Fault, FaultKind, Guest},
};
use play::{Cast, Script, Trace};

pub use purity::MAX_CUTS;

/// Longest that all events of a scenario may take to be applied.
const EVOLVE_BUDGET: Duration = Duration::from_secs(10);

/// Least time that a call of a step has: test machines are slow, and the model's deadline, if it
/// is longer, is what counts.
const MIN_CALL_BUDGET: Duration = Duration::from_secs(1);

/// What a scenario that does not say `at` happens at: 2026-01-01T00:00:00Z, in ms since 1970.
pub const DEFAULT_AT: u64 = 1_767_225_600_000;

/// The code of one aggregate, whose actors can be asked.
pub trait Brain {
    /// The code of one actor.
    type Actor: Actor;

    /// The plans of the aggregate's values.
    fn plans(&self) -> &AggregatePlans;

    /// The code of `actor`, which serves it and no other.
    fn actor(&self, actor: &Address) -> Self::Actor;
}

/// The code of one actor; see [`Guest`], whose functions these are. `budget` is the longest that
/// the call may take.
pub trait Actor {
    /// The state without events.
    fn initial(&mut self, budget: Duration) -> impl Future<Output = Result<Packed, Fault>> + Send;

    /// What a command does.
    fn decide(
        &mut self,
        context: &Context,
        state: &Packed,
        command: &PackedCase,
        budget: Duration,
    ) -> impl Future<Output = Result<Decision, Fault>> + Send;

    /// The state after `events`.
    fn evolve(
        &mut self,
        state: &Packed,
        events: &[PackedCase],
        budget: Duration,
    ) -> impl Future<Output = Result<Packed, Fault>> + Send;
}

impl Brain for Arc<Behaviour> {
    type Actor = Guest;

    fn plans(&self) -> &AggregatePlans {
        Behaviour::plans(self)
    }

    fn actor(&self, actor: &Address) -> Guest {
        self.guest(actor)
    }
}

impl Actor for Guest {
    async fn initial(&mut self, budget: Duration) -> Result<Packed, Fault> {
        Self::initial(self, &mut Budget::new(budget)).await
    }

    async fn decide(
        &mut self,
        context: &Context,
        state: &Packed,
        command: &PackedCase,
        budget: Duration,
    ) -> Result<Decision, Fault> {
        Self::decide(self, context, state, command, &mut Budget::new(budget)).await
    }

    async fn evolve(
        &mut self,
        state: &Packed,
        events: &[PackedCase],
        budget: Duration,
    ) -> Result<Packed, Fault> {
        Self::evolve(self, state, events, &mut Budget::new(budget)).await
    }
}

/// What came of all scenarios of a model.
#[derive(Debug, Clone)]
pub struct Results {
    /// One per scenario, in the model's order.
    pub scenarios: Vec<ScenarioResult>,
    /// Elements of the model that no scenario touches, in the model's order. No failure.
    pub untouched: Vec<Untouched>,
}

impl Results {
    /// How many scenarios passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.passed()).count()
    }

    /// How many scenarios failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.scenarios.len() - self.passed()
    }
}

/// What came of one scenario.
#[derive(Debug, Clone)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// The aggregate of its actor.
    pub aggregate: String,
    /// Its actor's address.
    pub actor: String,
    /// Where it stands in the model.
    pub at: Location,
    /// What is wrong; nothing = it passed.
    pub problems: Vec<Problem>,
    /// How long it took to play once.
    pub took: Duration,
}

impl ScenarioResult {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Something that is wrong with a component, shown by a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// At which command of the scenario, from 1; none = before the first or at no one in
    /// particular.
    pub step: Option<usize>,
    /// What is wrong.
    pub what: What,
    /// The state before the command as §5 JSON, where there is one.
    pub state: Option<String>,
}

/// What is wrong. Values are §5 JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// None of the components implements the scenario's aggregate.
    NoComponent,
    /// The scenario itself does not fit the model.
    Misfit(String),
    /// A call gave no answer.
    Fault {
        /// `initial`, `decide` or `evolve`.
        function: &'static str,
        /// How it failed.
        kind: FaultKind,
        /// What the sandbox says.
        detail: String,
    },
    /// An answer that the model does not allow.
    Unlawful(String),
    /// Other events or another rejection than the scenario wants.
    Outcome {
        /// What the scenario wants: an array of events, or `{"rejected": …}`.
        expected: String,
        /// What came.
        got: String,
    },
    /// Another state than the scenario wants.
    State {
        /// Where in the state.
        path: String,
        /// What the scenario wants there.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// The same question was answered in two ways.
    Impure {
        /// What was asked in which two ways.
        question: String,
        /// Where in the state or the answer; empty = all of it.
        path: String,
        /// What the first way gave there.
        one: String,
        /// What the other way gave there.
        other: String,
    },
}

/// An element of the model that no scenario touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    /// Its aggregate.
    pub aggregate: String,
    /// `command`, `event` or `rejection`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// Runs every scenario of `model`; `brains` holds the code of each aggregate by name.
pub async fn run<B: Brain>(model: &Model, brains: &HashMap<String, B>) -> Results {
    let mut results = Vec::with_capacity(model.scenarios.len());
    let mut traces = Vec::with_capacity(model.scenarios.len());
    let scripts: Vec<_> = model
        .scenarios
        .iter()
        .enumerate()
        .map(|(index, scenario)| prepare(model, brains, index, scenario))
        .collect();

    for (scenario, script) in model.scenarios.iter().zip(&scripts) {
        let start = clock::now();
        let (trace, problem) = match script {
            Ok((script, brain)) => {
                play::play(script, &mut Cast::fresh(*brain, &script.actor)).await
            }
            Err(what) => {
                let problem = Problem { step: None, what: what.clone(), state: None };
                (Trace::default(), Some(problem))
            }
        };
        results.push(ScenarioResult {
            name: scenario.name.clone(),
            aggregate: scenario.aggregate.clone(),
            actor: format!("{}/{}/{}", model.context, scenario.aggregate, scenario.id),
            at: scenario.at,
            problems: problem.into_iter().collect(),
            took: start.elapsed(),
        });
        traces.push(trace);
    }

    purity::check(&scripts, &traces, &mut results).await;
    let untouched = untouched(model, &traces);
    Results { scenarios: results, untouched }
}

/// A scenario with the code that it is for, ready to be played.
type Prepared<'a, B> = Result<(Script<'a>, &'a B), What>;

fn prepare<'a, B: Brain>(
    model: &'a Model,
    brains: &'a HashMap<String, B>,
    index: usize,
    scenario: &'a Scenario,
) -> Prepared<'a, B> {
    let brain = brains.get(&scenario.aggregate).ok_or(What::NoComponent)?;
    let script = Script::new(model, brain.plans(), index, scenario).map_err(What::Misfit)?;
    Ok((script, brain))
}

/// The elements of `model` that stand in no scenario and came out of none.
fn untouched(model: &Model, traces: &[Trace]) -> Vec<Untouched> {
    let mut untouched = Vec::new();
    for (aggregate, elements) in &model.aggregates {
        let (mut commands, mut events, mut rejections) = (Vec::new(), Vec::new(), Vec::new());
        let scenarios = model.scenarios.iter().zip(traces);
        for (scenario, trace) in scenarios.filter(|(s, _)| s.aggregate == *aggregate) {
            events.extend(scenario.given.iter().map(|event| event.name.as_str()));
            events.extend(trace.emitted.iter().map(String::as_str));
            rejections.extend(trace.rejected.iter().map(String::as_str));
            for step in &scenario.steps {
                commands.push(step.when.name.as_str());
                match &step.then {
                    Then::Rejected(rejection) => rejections.push(&rejection.name),
                    Then::Accepted { events: Some(named), .. } => {
                        events.extend(named.iter().map(|event| event.name.as_str()));
                    }
                    Then::Accepted { events: None, .. } => {}
                }
            }
        }
        let mut missing = |kind, names: Vec<&String>, touched: &[&str]| {
            let names = names.into_iter().filter(|name| !touched.contains(&name.as_str()));
            untouched.extend(names.map(|name| Untouched {
                aggregate: aggregate.clone(),
                kind,
                name: name.clone(),
            }));
        };
        missing("command", elements.commands.keys().collect(), &commands);
        missing("event", elements.events.keys().collect(), &events);
        missing("rejection", elements.rejections.keys().collect(), &rejections);
    }
    untouched
}

#[cfg(test)]
mod tests;
