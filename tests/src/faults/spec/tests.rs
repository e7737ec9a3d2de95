//! The specifications against the scenarios of the models: both must say the same.

use aether_wit::model::{Model, Named, Then};

use super::*;
use crate::workspace;

fn model(path: &str) -> Model {
    let text = std::fs::read(workspace::root().join(path)).unwrap();
    aether_wit::read(path, &text).unwrap_or_else(|report| panic!("{report}")).0
}

/// Scenarios may leave out what is null.
fn without_nulls(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
}

fn fact(named: &Named) -> Fact {
    Fact { name: named.name.clone(), data: without_nulls(&named.fields) }
}

fn rejection(named: &Named) -> Value {
    match named.fields.as_object() {
        Some(fields) if fields.is_empty() => named.name.clone().into(),
        _ => serde_json::json!({ (named.name.as_str()): named.fields }),
    }
}

fn plays<S: Spec>(path: &str, aggregate: &str) {
    let model = model(path);
    let mut steps = 0;
    for scenario in model.scenarios.iter().filter(|scenario| scenario.aggregate == aggregate) {
        let mut state = S::initial();
        for event in &scenario.given {
            S::evolve(&mut state, &event.name, &event.fields).unwrap();
        }
        for step in &scenario.steps {
            steps += 1;
            let told = S::decide(&state, &step.when.name, &step.when.fields);
            match &step.then {
                Then::Rejected(named) => {
                    assert_eq!(told, Decision::Rejected(rejection(named)), "{}", scenario.name);
                }
                Then::Accepted { events, state: shown } => {
                    let Decision::Events(mut facts) = told else {
                        panic!("{}: {told:?}", scenario.name);
                    };
                    for fact in &facts {
                        S::evolve(&mut state, &fact.name, &fact.data).unwrap();
                    }
                    facts.iter_mut().for_each(|fact| fact.data = without_nulls(&fact.data));
                    if let Some(events) = events {
                        assert_eq!(facts, events.iter().map(fact).collect::<Vec<_>>());
                    }
                    let now = S::shown(&state);
                    for (field, value) in shown.iter().flat_map(|shown| shown.as_object().unwrap())
                    {
                        assert_eq!(&now[field], value, "{}: {field}", scenario.name);
                    }
                }
            }
        }
    }
    assert!(steps >= 8, "only {steps} steps of {aggregate}");
}

#[test]
fn journals_do_what_the_model_shows() {
    plays::<Journal>("tests/guests/journal/journal.storm.yaml", "journal");
}

#[test]
fn accounts_do_what_the_model_shows() {
    plays::<Account>("examples-guests/bank/bank.storm.yaml", "account");
}

#[test]
fn numbers_are_written_as_the_host_writes_them() {
    assert_eq!(written(MAX_NUMBER), serde_json::json!(9_007_199_254_740_991_u64));
    assert_eq!(written(u64::MAX), serde_json::json!("18446744073709551615"));
    assert_eq!(number(&serde_json::json!({"n": "18446744073709551615"}), "n"), Some(u64::MAX));
}
