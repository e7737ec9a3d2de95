//! Models without mistakes become what they say.

use proptest::prelude::*;
use serde_json::json;

use super::{BANK, accepted};
use crate::{
    Model,
    model::{Aggregate, Field, Isolation, Location, Named, Then, Type, TypeDef},
    testing,
};

#[test]
fn the_bank_is_read() {
    let (model, warnings) = accepted(BANK);
    assert_eq!(warnings, []);
    assert_eq!((model.context.as_str(), model.version.to_string().as_str()), ("bank", "0.1.0"));
    assert_eq!(
        model.about.as_deref(),
        Some("Accounts that hold money, and transfers between them.")
    );
    assert_eq!(model.components, ["account.wasm"]);
    assert_eq!(model.types["tier"].def, TypeDef::Enum(vec!["basic".into(), "gold".into()]));
    let account = model.aggregate("account").unwrap();
    assert_eq!(account.at, Location { line: 9, column: 3 });
    assert_eq!(account.commands["withdraw"].rejects, ["not-open", "insufficient-funds"]);
    assert_eq!(account.events["withdrawn"].fields[0].was.as_deref(), Some("sum"));
    assert_eq!(account.events["deposited"].about.as_deref(), Some("Money came in."));
    assert_eq!(account.rejections["not-open"].fields, []);
    assert_eq!(account.runtime, crate::model::Runtime::default());
    let scenario = &model.scenarios[0];
    assert_eq!((scenario.aggregate.as_str(), scenario.id.as_str()), ("account", "alice"));
    assert_eq!(scenario.given[0].fields, json!({ "owner": "Alice" }));
    let step = &scenario.steps[0];
    assert_eq!(step.when_at, Some(1_767_225_600_000));
    assert_eq!((step.by.as_deref(), step.seed), (Some("alice"), Some(7)));
    let Then::Rejected(rejected) = &step.then else { panic!("{:?}", step.then) };
    assert_eq!(rejected.fields, json!({ "balance": 10 }));
}

/// A model whose one command has one field of `ty`, and a scenario that gives it `value`.
fn with_value(ty: &str, value: &str) -> String {
    format!(
        "context: c\nversion: 1.0.0\ntypes:\n  \
         money: {{ record: {{ cents: u64, note: {{ type: string, default: x }} }} }}\n  \
         charge: {{ variant: {{ card: money, waived: null, part: {{ record: {{ of: u8 }} }} }} }}\n  \
         marks: {{ flags: [a, b] }}\n  tier: {{ enum: [basic, gold] }}\n  maybe: option<u8>\n  byte: u8\n\
         aggregates:\n  thing:\n    state: {{ s: u8 }}\n    events: {{ e: {{}} }}\n    \
         commands: {{ go: {{ fields: {{ x: \"{ty}\" }}, emits: [e] }} }}\n\
         scenarios:\n  - name: n\n    actor: thing/1\n    when:\n      go:\n        x: {value}\n    then: [e]\n"
    )
}

#[test]
fn values_are_read_by_their_type_from_what_was_typed() {
    let cases = [
        ("string", "007", json!("007")),
        ("string", "no", json!("no")),
        ("string", "~", json!("~")),
        ("string", "null", json!("null")),
        ("string", "1.10", json!("1.10")),
        ("string", "\"\"", json!("")),
        ("string", "|-\n          two\n          lines", json!("two\nlines")),
        ("u64", "18446744073709551615", json!("18446744073709551615")),
        ("u64", "9007199254740991", json!(9_007_199_254_740_991_u64)),
        ("u64", "9007199254740992", json!("9007199254740992")),
        ("u64", "\"12\"", json!(12)),
        ("s64", "-9223372036854775808", json!("-9223372036854775808")),
        ("s8", "-128", json!(-128)),
        ("bool", "true", json!(true)),
        ("f64", "1", json!(1.0)),
        ("f64", "-1.5e3", json!(-1500.0)),
        ("f64", ".nan", json!("NaN")),
        ("f32", "0.1", json!(0.1)),
        ("char", "7", json!("7")),
        ("option<string>", "null", json!(null)),
        ("option<string>", "~", json!(null)),
        ("option<string>", "", json!(null)),
        ("option<string>", "\"null\"", json!("null")),
        ("option<option<u8>>", "{ some: null }", json!({ "some": null })),
        ("option<maybe>", "{ some: 3 }", json!({ "some": 3 })),
        ("list<u8>", "aGk=", json!("aGk=")),
        ("list<byte>", "aGk=", json!("aGk=")),
        ("list<u16>", "[1, 2]", json!([1, 2])),
        ("tuple<u8, string>", "[1, 01]", json!([1, "01"])),
        ("result<u8, string>", "{ err: no }", json!({ "err": "no" })),
        ("result", "ok", json!({ "ok": null })),
        ("tier", "gold", json!("gold")),
        ("marks", "[b, a]", json!(["b", "a"])),
        ("charge", "waived", json!("waived")),
        ("charge", "{ waived: null }", json!("waived")),
        ("charge", "{ card: { cents: 5 } }", json!({ "card": { "cents": 5 } })),
        ("charge", "{ part: { of: 5 } }", json!({ "part": { "of": 5 } })),
        ("money", "{ cents: 5, note: ~ }", json!({ "cents": 5, "note": "~" })),
    ];
    for (ty, value, expected) in cases {
        let (model, warnings) = accepted(&with_value(ty, value));
        assert_eq!(warnings, []);
        assert_eq!(
            model.scenarios[0].steps[0].when.fields,
            json!({ "x": expected }),
            "{ty} {value}"
        );
    }
}

#[test]
fn an_inline_payload_becomes_a_type() {
    let (model, _) = accepted(&with_value("charge", "waived"));
    let TypeDef::Variant(cases) = &model.types["charge"].def else { panic!() };
    assert_eq!(cases[2].payload, Some(Type::Named("charge-part".into())));
    let TypeDef::Record(fields) = &model.types["charge-part"].def else { panic!() };
    assert_eq!((fields[0].name.as_str(), &fields[0].ty), ("of", &Type::U8));
}

#[test]
fn every_form_of_a_scenario_is_read() {
    let text = "
context: c
version: 1.0.0
aggregates:
  door:
    state: { open: bool, count: { type: u32, default: 7 } }
    events: { opened:, closed: {}, left: ~ }
    commands:
      open: { emits: [opened] }
      close: { emits: [closed], rejects: [shut] }
    rejections: { shut: }
    runtime: { idle: 2h, memory: 1GiB, deadline: 3s, isolation: turn }
scenarios:
  - name: steps
    actor: door/a/b c
    given: [opened, { closed: {} }, { left: }]
    steps:
      - { when: open, then: [opened] }
      - { when: { close: {}, by: no }, then: { rejected: shut } }
      - { when: { close: null }, then: { rejected: { shut: {} } } }
      - { when: close, then: { events: [closed], state: { open: false } } }
      - { when: { open:, at: 1970-01-01T01:00:00+01:00 }, then: { state: { open: true } } }
      - { when: open, then: [] }
";
    let (model, warnings) = accepted(text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].message, "no command emits the event `left`");
    let scenario = &model.scenarios[0];
    assert_eq!(scenario.id, "a/b c");
    assert_eq!(scenario.given.len(), 3);
    assert_eq!(scenario.steps[1].by.as_deref(), Some("no"));
    assert_eq!(scenario.steps[4].when_at, Some(0));
    let state = Some(json!({ "open": false }));
    let Then::Accepted { events: Some(events), state: found } = &scenario.steps[3].then else {
        panic!()
    };
    assert_eq!((events[0].name.as_str(), found), ("closed", &state));
    let door = &model.aggregates["door"];
    assert_eq!(door.state[1].default, Some(json!(7)));
    assert_eq!((door.runtime.idle.as_secs(), door.runtime.memory), (7200, 1 << 30));
    assert_eq!(door.runtime.isolation, Isolation::Turn);
}

#[test]
fn line_ends_and_a_document_marker_do_not_matter() {
    accepted(&BANK.replace('\n', "\r\n"));
    accepted(&format!("---\n{BANK}"));
    accepted(BANK.trim_end());
}

/// What a model says, without where.
fn content(mut model: Model) -> String {
    let nowhere = Location::default();
    let fields = |fields: &mut Vec<Field>| fields.iter_mut().for_each(|f| f.at = nowhere);
    let named = |named: &mut Named| named.at = nowhere;
    let aggregate = |of: &mut Aggregate| {
        of.at = nowhere;
        fields(&mut of.state);
        for command in of.commands.values_mut() {
            command.at = nowhere;
            fields(&mut command.fields);
        }
        for event in of.events.values_mut() {
            event.at = nowhere;
            fields(&mut event.fields);
        }
        for rejection in of.rejections.values_mut() {
            rejection.at = nowhere;
            fields(&mut rejection.fields);
        }
        of.upcasts.values_mut().for_each(|upcast| upcast.at = nowhere);
    };
    for decl in model.types.values_mut() {
        decl.at = nowhere;
        match &mut decl.def {
            TypeDef::Record(of) => fields(of),
            TypeDef::Variant(cases) => cases.iter_mut().for_each(|case| case.at = nowhere),
            _ => {}
        }
    }
    model.aggregates.values_mut().for_each(aggregate);
    for scenario in &mut model.scenarios {
        scenario.at = nowhere;
        scenario.given.iter_mut().for_each(named);
        for step in &mut scenario.steps {
            named(&mut step.when);
            match &mut step.then {
                Then::Rejected(rejected) => named(rejected),
                Then::Accepted { events, .. } => {
                    events.iter_mut().flatten().for_each(named);
                }
            }
        }
    }
    let Model { context, version, about, components, types, aggregates, scenarios, .. } = model;
    format!(
        "{context} {version} {about:?} {components:?}\n{types:#?}\n{aggregates:#?}\n{scenarios:#?}"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_model_reads_back_as_what_was_written(model in testing::model()) {
        let text = testing::text(&model);
        match crate::read("m.yaml", text.as_bytes()) {
            Ok((read, _)) => prop_assert_eq!(content(read), content(model), "{}", text),
            Err(report) => prop_assert!(false, "{report}\n{text}"),
        }
    }
}
