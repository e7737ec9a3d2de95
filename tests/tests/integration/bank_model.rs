//! The example's board says all that it can: people learn the model language from it.

use std::collections::BTreeSet;

use aether_tests::workspace;
use aether_wit::{
    Model,
    model::{Aggregate, Named, Then},
};

fn bank() -> (Model, Vec<aether_wit::Problem>) {
    let path = workspace::root().join("examples-guests/bank/bank.storm.yaml");
    let text = std::fs::read(&path).expect("the example has a model");
    aether_wit::read("bank.storm.yaml", &text).unwrap_or_else(|report| panic!("{report}"))
}

/// The names of the aggregate's notes that its scenarios never show.
fn untouched(model: &Model, aggregate: &Aggregate) -> Vec<String> {
    let mut touched = BTreeSet::new();
    let mut touch = |kind: &'static str, named: &Named| {
        touched.insert((kind, named.name.clone()));
    };
    for scenario in model.scenarios.iter().filter(|it| it.aggregate == aggregate.name) {
        for step in &scenario.steps {
            touch("command", &step.when);
            match &step.then {
                Then::Rejected(rejection) => touch("rejection", rejection),
                Then::Accepted { events, .. } => {
                    events.iter().flatten().for_each(|event| touch("event", event));
                }
            }
        }
    }
    let commands = aggregate.commands.keys().map(|name| ("command", name.clone()));
    let events = aggregate.events.keys().map(|name| ("event", name.clone()));
    let rejections = aggregate.rejections.keys().map(|name| ("rejection", name.clone()));
    let all = commands.chain(events).chain(rejections);
    all.filter(|note| !touched.contains(note))
        .map(|(kind, name)| format!("{kind} {name}"))
        .collect()
}

#[test]
fn the_model_has_no_mistakes_and_no_warnings() {
    let (_, warnings) = bank();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn every_command_event_and_rejection_is_shown_by_a_scenario() {
    let (model, _) = bank();
    assert_eq!(model.aggregates.keys().collect::<Vec<_>>(), ["account", "transfer"]);
    for aggregate in model.aggregates.values() {
        assert_eq!(untouched(&model, aggregate), [""; 0], "of {}", aggregate.name);
    }
}

#[test]
fn every_rejection_is_shown_for_every_command_that_may_give_it() {
    let (model, _) = bank();
    let shown: BTreeSet<(&str, &str, &str)> = model
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)))
        .filter_map(|(scenario, step)| match &step.then {
            Then::Rejected(rejection) => Some((
                scenario.aggregate.as_str(),
                step.when.name.as_str(),
                rejection.name.as_str(),
            )),
            Then::Accepted { .. } => None,
        })
        .collect();
    let mut missing = Vec::new();
    for aggregate in model.aggregates.values() {
        for (name, command) in &aggregate.commands {
            for rejection in &command.rejects {
                if !shown.contains(&(aggregate.name.as_str(), name.as_str(), rejection.as_str())) {
                    missing.push(format!("{} {name}: {rejection}", aggregate.name));
                }
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}
