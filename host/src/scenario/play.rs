//! One scenario, once.

use std::{collections::HashMap, sync::Arc};

use aether_wit::{
    Model,
    model::{Aggregate, Named, Scenario, Then},
};
use serde_json::{Value, value::RawValue};

use super::{Actor, Brain, DEFAULT_AT, EVOLVE_BUDGET, MIN_CALL_BUDGET, Problem, What, difference};
use crate::{
    address::Address,
    json::{AggregatePlans, Cases, Packed, PackedCase, Plan, Reader, write},
    vm::{Context, Decision, Fault},
};

/// A scenario whose values have been read by the model.
pub(super) struct Script<'a> {
    pub(super) actor: Address,
    pub(super) plans: &'a AggregatePlans,
    aggregate: &'a Aggregate,
    given: Vec<PackedCase>,
    steps: Vec<Step<'a>>,
}

/// A command and what must come of it.
struct Step<'a> {
    name: &'a str,
    command: PackedCase,
    /// `version` is set when it is played.
    context: Context,
    decision: Option<Decision>,
    /// Fields of the state with what they must be.
    state: Vec<(&'a str, Plan, Packed)>,
}

/// All answers of one play, to be compared with those of another.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The state without events.
    pub(super) initial: Option<Packed>,
    /// The answers in the order of the questions.
    pub(super) answers: Vec<(String, Answer)>,
    /// All events, the given ones first.
    pub(super) events: Vec<PackedCase>,
    /// Names of events that came out.
    pub(super) emitted: Vec<String>,
    /// Names of rejections that came out.
    pub(super) rejected: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    State(Packed),
    Decision(Decision),
}

impl Answer {
    /// The answer as §5 JSON.
    pub(super) fn json(&self, plans: &AggregatePlans) -> String {
        match self {
            Self::State(state) => write(&plans.state, state).get().to_owned(),
            Self::Decision(decision) => decision_json(plans, decision),
        }
    }
}

/// Gives the actor of a scenario: a new one for every call, or one that is kept.
pub(super) struct Cast<'a, B: Brain> {
    brain: &'a B,
    address: &'a Address,
    kept: Option<B::Actor>,
    fresh: bool,
}

impl<'a, B: Brain> Cast<'a, B> {
    pub(super) fn fresh(brain: &'a B, address: &'a Address) -> Self {
        Self { brain, address, kept: None, fresh: true }
    }

    pub(super) fn kept(brain: &'a B, address: &'a Address, kept: Option<B::Actor>) -> Self {
        Self { brain, address, kept, fresh: false }
    }

    pub(super) fn actor(&mut self) -> &mut B::Actor {
        if self.fresh {
            self.kept = None;
        }
        self.kept.get_or_insert_with(|| self.brain.actor(self.address))
    }

    pub(super) fn into_kept(self) -> Option<B::Actor> {
        self.kept
    }
}

impl<'a> Script<'a> {
    /// # Errors
    /// What in the scenario does not fit the model.
    pub(super) fn new(
        model: &'a Model,
        plans: &'a AggregatePlans,
        index: usize,
        scenario: &'a Scenario,
    ) -> Result<Self, String> {
        let actor = Address::new(&model.context, &scenario.aggregate, &scenario.id)
            .map_err(|error| error.to_string())?;
        let aggregate = model
            .aggregates
            .get(&scenario.aggregate)
            .ok_or_else(|| format!("unknown aggregate `{}`", scenario.aggregate))?;
        let given = scenario.given.iter().map(|event| case(&plans.events, event));
        let steps = scenario.steps.iter().enumerate().map(|(n, step)| {
            let id = format!("scenario-{}-{}", index + 1, n + 1);
            let context = Context {
                version: 0,
                command_id: id.clone(),
                correlation_id: id,
                at: step.when_at.unwrap_or(DEFAULT_AT),
                by: step.by.as_deref().map(Arc::from),
                seed: step.seed.unwrap_or(0),
            };
            let (decision, state) = then(plans, &step.then)?;
            let command = case(&plans.commands, &step.when)?;
            Ok(Step { name: &step.when.name, command, context, decision, state })
        });
        Ok(Self {
            given: given.collect::<Result<_, String>>()?,
            steps: steps.collect::<Result<_, String>>()?,
            actor,
            plans,
            aggregate,
        })
    }
}

/// The wanted decision, and the wanted fields of the state.
type Wanted<'a> = (Option<Decision>, Vec<(&'a str, Plan, Packed)>);

fn then<'a>(plans: &AggregatePlans, then: &'a Then) -> Result<Wanted<'a>, String> {
    match then {
        Then::Rejected(rejection) => {
            Ok((Some(Decision::Rejected(case(&plans.rejections, rejection)?)), Vec::new()))
        }
        Then::Accepted { events, state } => {
            let events = events.as_ref().map(|events| {
                let events = events.iter().map(|event| case(&plans.events, event));
                events.collect::<Result<_, String>>().map(Decision::Events)
            });
            let state = state.as_ref().map(|state| part(&plans.state, state)).transpose()?;
            Ok((events.transpose()?, state.unwrap_or_default()))
        }
    }
}

fn case(cases: &Cases, named: &Named) -> Result<PackedCase, String> {
    let index = cases.index_of(&named.name);
    let (index, (_, plan)) = index
        .and_then(|index| Some((index, cases.get(index)?)))
        .ok_or_else(|| format!("line {}: unknown name `{}`", named.at.line, named.name))?;
    let fields = Reader::Caller
        .read(plan, named.fields.to_string().as_bytes())
        .map_err(|error| format!("line {}: `{}`: {error}", named.at.line, named.name))?;
    Ok(PackedCase { case: index, fields })
}

fn part<'a>(plan: &Plan, part: &'a Value) -> Result<Vec<(&'a str, Plan, Packed)>, String> {
    let (Plan::Record(fields), Value::Object(part)) = (plan, part) else {
        return Err("the state is an object".to_owned());
    };
    let wanted = part.iter().map(|(name, value)| {
        let field = fields
            .iter()
            .find(|field| *field.name == **name)
            .ok_or_else(|| format!("the state has no field `{name}`"))?;
        let value = Reader::Caller.read(&field.plan, value.to_string().as_bytes());
        let value = value.map_err(|error| format!("state `{name}`: {error}"))?;
        Ok((name.as_str(), field.plan.clone(), value))
    });
    wanted.collect()
}

/// Plays `script` up to the first answer that it does not want.
pub(super) async fn play<B: Brain>(
    script: &Script<'_>,
    cast: &mut Cast<'_, B>,
) -> (Trace, Option<Problem>) {
    let mut trace = Trace::default();
    let problem = acts(script, cast, &mut trace).await.err().map(|problem| *problem);
    (trace, problem)
}

async fn acts<B: Brain>(
    script: &Script<'_>,
    cast: &mut Cast<'_, B>,
    trace: &mut Trace,
) -> Result<(), Box<Problem>> {
    let plans = script.plans;
    let budget = script.aggregate.runtime.deadline.max(MIN_CALL_BUDGET);
    let fault = |step, function, state: Option<&Packed>| {
        let state = state.map(|state| write(&plans.state, state).get().to_owned());
        move |Fault { kind, detail }| {
            Box::new(Problem { step, what: What::Fault { function, kind, detail }, state })
        }
    };
    let mut state = cast.actor().initial(budget).await.map_err(fault(None, "initial", None))?;
    trace.initial = Some(state.clone());
    trace.answers.push(("initial".to_owned(), Answer::State(state.clone())));

    if !script.given.is_empty() {
        let given = cast.actor().evolve(&state, &script.given, EVOLVE_BUDGET).await;
        state = given.map_err(fault(None, "evolve", Some(&state)))?;
        trace.events.extend(script.given.iter().cloned());
        let question = "evolve of the given events".to_owned();
        trace.answers.push((question, Answer::State(state.clone())));
    }

    for (n, step) in (1..).zip(&script.steps) {
        let before = write(&plans.state, &state).get().to_owned();
        let refuse = |what| Box::new(Problem { step: Some(n), what, state: Some(before.clone()) });
        let context = Context { version: trace.events.len() as u64, ..step.context.clone() };
        let decision = cast.actor().decide(&context, &state, &step.command, budget).await;
        let decision = decision.map_err(fault(Some(n), "decide", Some(&state)))?;
        let question = format!("decide of step {n}, `{}`", step.name);
        trace.answers.push((question, Answer::Decision(decision.clone())));
        trace.note(plans, &decision);
        lawful(script, step, &decision).map_err(|detail| refuse(What::Unlawful(detail)))?;
        if let Some(wanted) = step.decision.as_ref().filter(|wanted| **wanted != decision) {
            let expected = decision_json(plans, wanted);
            let got = decision_json(plans, &decision);
            return Err(refuse(What::Outcome { expected, got }));
        }
        let events = match decision {
            Decision::Events(events) => events,
            Decision::Rejected(_) if step.decision.is_some() => continue,
            rejected @ Decision::Rejected(_) => {
                let expected = "\"accepted\"".to_owned();
                let got = decision_json(plans, &rejected);
                return Err(refuse(What::Outcome { expected, got }));
            }
        };
        if !events.is_empty() {
            let after = cast.actor().evolve(&state, &events, budget).await;
            state = after.map_err(fault(Some(n), "evolve", Some(&state)))?;
            trace.events.extend(events);
            let question = format!("evolve of step {n}, `{}`", step.name);
            trace.answers.push((question, Answer::State(state.clone())));
        }
        as_wanted(plans, step, &state).map_err(refuse)?;
    }
    Ok(())
}

impl Trace {
    fn note(&mut self, plans: &AggregatePlans, decision: &Decision) {
        let name = |cases: &Cases, case| cases.get(case).map(|(name, _)| name.as_ref().to_owned());
        match decision {
            Decision::Events(events) => {
                self.emitted.extend(events.iter().filter_map(|e| name(&plans.events, e.case)));
            }
            Decision::Rejected(rejection) => {
                self.rejected.extend(name(&plans.rejections, rejection.case));
            }
        }
    }
}

/// Whether the model lets the command do this.
fn lawful(script: &Script<'_>, step: &Step<'_>, decision: &Decision) -> Result<(), String> {
    let Some(command) = script.aggregate.commands.get(step.name) else { return Ok(()) };
    let check = |kind: &str, list: &str, allowed: &[String], cases: &Cases, case: &PackedCase| {
        let (name, _) = cases.get(case.case).ok_or_else(|| format!("an unknown {kind}"))?;
        if allowed.iter().any(|allowed| *allowed == **name) {
            return Ok(());
        }
        Err(format!(
            "`{}` gave the {kind} `{name}`, which is not in its `{list}`: [{}]",
            step.name,
            allowed.join(", ")
        ))
    };
    let plans = script.plans;
    match decision {
        Decision::Events(events) => events
            .iter()
            .try_for_each(|case| check("event", "emits", &command.emits, &plans.events, case)),
        Decision::Rejected(case) => {
            check("rejection", "rejects", &command.rejects, &plans.rejections, case)
        }
    }
}

/// Whether the state is what the step wants.
fn as_wanted(plans: &AggregatePlans, step: &Step<'_>, state: &Packed) -> Result<(), What> {
    if step.state.is_empty() {
        return Ok(());
    }
    let json = write(&plans.state, state);
    let state: HashMap<&str, &RawValue> = serde_json::from_str(json.get()).unwrap_or_default();
    for (name, plan, wanted) in &step.state {
        let wanted = write(plan, wanted);
        let got = state.get(name).copied().unwrap_or(RawValue::NULL);
        if let Some(differs) = difference::first(name, &wanted, got) {
            let (path, expected, got) = differs;
            return Err(What::State { path, expected, got });
        }
    }
    Ok(())
}

fn decision_json(plans: &AggregatePlans, decision: &Decision) -> String {
    let case = |cases: &Cases, case: &PackedCase| match cases.get(case.case) {
        Some((name, plan)) => format!("{{\"{name}\":{}}}", write(plan, &case.fields).get()),
        None => "null".to_owned(),
    };
    match decision {
        Decision::Events(events) => {
            let events: Vec<_> = events.iter().map(|event| case(&plans.events, event)).collect();
            format!("[{}]", events.join(","))
        }
        Decision::Rejected(rejection) => {
            format!("{{\"rejected\":{}}}", case(&plans.rejections, rejection))
        }
    }
}
