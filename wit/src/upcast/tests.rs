use serde_json::Value;

use super::*;
use crate::diff::{EventRef, Impact, diff};

/// A model whose `account` has these events and upcasts, both in braces.
fn model(events: &str, upcasts: &str) -> Model {
    let names = events.trim_matches(['{', '}', ' ']).split(':').next().unwrap().trim();
    let text = format!(
        "context: bank\nversion: 0.1.0\ntypes:\n  \
         money: {{ record: {{ cents: u64, currency: string, note: option<string> }} }}\n\
         aggregates:\n  account:\n    state: {{ n: u64 }}\n    \
         commands: {{ act: {{ emits: [{names}] }} }}\n    events: {events}\n    \
         upcasts: {upcasts}\n"
    );
    match crate::read("m.yaml", text.as_bytes()) {
        Ok((model, _)) => model,
        Err(report) => panic!("{report}"),
    }
}

/// How `new` reads events that `old` stored as `deposited`.
fn deposited(old: &Model, new: &Model) -> Reading {
    reading(new, old, "account", "deposited")
}

/// The event and its fields after the upcast in `new` of what `old` stored.
fn upcast(old: &Model, new: &Model, data: &str) -> (String, Value) {
    match deposited(old, new) {
        Reading::Mapped(mapping) => {
            let data = mapping.apply(data).unwrap_or_else(|error| panic!("{error}"));
            (mapping.event().to_owned(), serde_json::from_str(&data).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// What is not compatible from `old` to `new`.
fn against(old: &Model, new: &Model) -> Vec<String> {
    let changes = diff(old, new).into_iter();
    changes.filter(|it| it.impact != Impact::Compatible).map(|it| it.to_string()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const MONEY: &str = "{ rename: { amount: cents }, set: { currency: EUR }, \
                     into: { money: [cents, currency] }, drop: [legacy] }";

#[test]
fn every_step_in_its_order() {
    let old = model("{ deposited: { amount: u64, legacy: bool, by: option<string> } }", "{}");
    let new = model(
        "{ credited: { money: money, by: string } }",
        &format!("{{ deposited: {{ to: credited, default: {{ by: nobody }}, {} }}", &MONEY[1..]),
    );
    let (event, data) = upcast(&old, &new, r#"{"amount":5,"legacy":true,"by":null}"#);
    assert_eq!(event, "credited");
    assert_eq!(data, json(r#"{"by":"nobody","money":{"cents":5,"currency":"EUR"}}"#));
    let (_, data) = upcast(&old, &new, r#"{"amount":5,"legacy":true,"by":"alice"}"#);
    assert_eq!(data["by"], "alice");
    assert_eq!(against(&old, &new), [""; 0]);
}

#[test]
fn events_that_read_as_they_stand_are_never_touched() {
    let new = model("{ deposited: { money: money, by: option<string> } }", MONEY_ALONE);
    assert_eq!(deposited(&new, &new), Reading::AsStored("deposited".into()));
    let before = model("{ deposited: { money: money } }", "{}");
    assert_eq!(deposited(&before, &new), Reading::AsStored("deposited".into()));
    let after = model("{ deposited: { money: money, by: option<string>, at: u64 } }", "{}");
    assert!(matches!(deposited(&after, &new), Reading::Unreadable(_)));
}

const MONEY_ALONE: &str = "{ deposited: { rename: { amount: cents }, set: { currency: EUR }, \
                           into: { money: [cents, currency] } } }";

#[test]
fn one_upcast_serves_several_older_forms() {
    let new = model("{ deposited: { money: money } }", MONEY_ALONE);
    let first = model("{ deposited: { amount: u32 } }", "{}");
    let (_, data) = upcast(&first, &new, r#"{"amount":5}"#);
    assert_eq!(data, json(r#"{"money":{"cents":5,"currency":"EUR"}}"#));
    // This one has a currency: the constant is for those that have none.
    let second = model("{ deposited: { cents: u64, currency: string } }", "{}");
    let (_, data) = upcast(&second, &new, r#"{"cents":5,"currency":"USD"}"#);
    assert_eq!(data, json(r#"{"money":{"cents":5,"currency":"USD"}}"#));
    for old in [&first, &second] {
        assert_eq!(against(old, &new), [""; 0]);
    }
}

#[test]
fn a_number_becomes_a_record_of_the_same_name() {
    let old = model("{ deposited: { amount: u64 } }", "{}");
    let new = model(
        "{ deposited: { amount: money } }",
        "{ deposited: { rename: { amount: cents }, set: { currency: EUR }, into: { amount: [cents, currency] } } }",
    );
    let (_, data) = upcast(&old, &new, r#"{"amount":"18446744073709551615"}"#);
    let expected = json(r#"{"amount":{"cents":"18446744073709551615","currency":"EUR"}}"#);
    assert_eq!(data, expected);
    assert_eq!(deposited(&new, &new), Reading::AsStored("deposited".into()));
}

#[test]
fn values_that_move_keep_their_text() {
    let old = model("{ deposited: { amount: f64, other: f64 } }", "{}");
    let new =
        model("{ deposited: { a: f64, amount: f64 } }", "{ deposited: { rename: { other: a } } }");
    let Reading::Mapped(mapping) = deposited(&old, &new) else { panic!() };
    let digits = "0.30000000000000004440892098500626161694526672363281250";
    let data = mapping.apply(&format!(r#"{{"other":{digits},"amount":1.10}}"#)).unwrap();
    assert_eq!(data, format!(r#"{{"amount":1.10,"a":{digits}}}"#));
    assert_eq!(
        mapping.apply("[]").unwrap_err().to_string().split(':').next().unwrap(),
        "expected the event's fields as a JSON object"
    );
    assert_eq!(mapping.apply("{}"), Err(Misfit::Missing("other".into())));
}

#[test]
fn constants_replace_what_does_not_fit_and_nothing_else() {
    let new = model(
        "{ deposited: { kind: string, note: option<string> } }",
        "{ deposited: { set: { kind: cash, note: old } } }",
    );
    let number = model("{ deposited: { kind: u8 } }", "{}");
    let (_, data) = upcast(&number, &new, r#"{"kind":7}"#);
    assert_eq!(data, json(r#"{"kind":"cash","note":"old"}"#));
    let text = model("{ deposited: { kind: string } }", "{}");
    let (_, data) = upcast(&text, &new, r#"{"kind":"cheque"}"#);
    assert_eq!(data, json(r#"{"kind":"cheque","note":"old"}"#));
}

#[test]
fn an_upcast_follows_an_event_that_was_renamed() {
    let old = model("{ deposited: { amount: u64 } }", "{}");
    let new = model(
        "{ credited: { fields: { cents: u64 }, was: deposited } }",
        "{ credited: { rename: { amount: cents } } }",
    );
    assert_eq!(upcast(&old, &new, r#"{"amount":1}"#), ("credited".into(), json(r#"{"cents":1}"#)));
    assert_eq!(against(&old, &new), [""; 0]);
}

#[test]
fn names_can_be_exchanged() {
    let old = model("{ deposited: { a: u8, b: string } }", "{}");
    let new =
        model("{ deposited: { a: string, b: u8 } }", "{ deposited: { rename: { a: b, b: a } } }");
    let (_, data) = upcast(&old, &new, r#"{"a":1,"b":"x"}"#);
    assert_eq!(data, json(r#"{"a":"x","b":1}"#));
    // A field as it is, for a type that only differs by an option.
    let old = model("{ deposited: { a: u8 } }", "{}");
    let new = model("{ deposited: { a: option<u8> } }", "{ deposited: { rename: { a: a } } }");
    assert_eq!(upcast(&old, &new, r#"{"a":1}"#).1, json(r#"{"a":1}"#));
}

#[test]
fn what_is_not_covered_is_told_with_its_field() {
    let old = model("{ deposited: { amount: u64, note: string } }", "{}");
    let new =
        model("{ deposited: { cents: u32 } }", "{ deposited: { rename: { amount: cents } } }");
    assert_eq!(
        against(&old, &new),
        [
            "needs upcast: account.events.deposited.cents: its type was `u64` and is `u32`: the \
             upcast of `deposited` moves `amount` here as it is stored",
            "needs upcast: account.events.deposited.note: the field was removed: stored events \
             have it, and the upcast of `deposited` does not say what becomes of it",
        ]
    );
    let Reading::Unreadable(changes) = deposited(&old, &new) else { panic!() };
    let stored: Vec<_> = changes.iter().flat_map(|change| change.stored.clone()).collect();
    let event = |field: &str| EventRef {
        aggregate: "account".into(),
        event: "deposited".into(),
        field: Some(field.into()),
    };
    assert_eq!(stored, [event("amount"), event("note")]);

    let new = model(
        "{ deposited: { money: money } }",
        "{ deposited: { rename: { amount: cents }, into: { money: [cents, currency] }, drop: [note] } }",
    );
    assert_eq!(
        against(&old, &new),
        ["needs upcast: account.events.deposited.money: the upcast of `deposited` gives no \
          `currency`, which must be given: say it by `set` or `default`"]
    );
}

#[test]
fn what_is_covered_says_by_what() {
    let old = model("{ deposited: { amount: u64 } }", "{}");
    let new =
        model("{ deposited: { cents: u64 } }", "{ deposited: { rename: { amount: cents } } }");
    let changes: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "compatible: account.events.deposited.cents: new field: covered by the upcast of `deposited`",
            "compatible: account.upcasts.deposited: new upcast",
            "compatible: account.events.deposited.amount: the field was removed: covered by the upcast of `deposited`",
        ]
    );
}

#[test]
fn the_component_is_asked_for_what_does_not_read_as_it_stands() {
    let new = model("{ deposited: { cents: u64 } }", "{ deposited: component, gone: component }");
    let same = model("{ deposited: { cents: u32 } }", "{}");
    assert_eq!(deposited(&same, &new), Reading::AsStored("deposited".into()));
    let other = model("{ deposited: { amount: u64 } }", "{}");
    assert_eq!(deposited(&other, &new), Reading::Component);
    assert_eq!(against(&other, &new), [""; 0]);
    let gone = model("{ gone: { money: money } }", "{}");
    assert_eq!(reading(&new, &gone, "account", "gone"), Reading::Component);
    let changes: Vec<String> = diff(&gone, &new).iter().map(ToString::to_string).collect();
    assert!(
        changes
            .iter()
            .any(|it| it
                .starts_with("compatible: account.events.gone: the event was removed: covered")),
        "{changes:?}"
    );
    // A type that only such an event holds may change as it likes.
    let mut changed = new;
    changed.types.shift_remove("money");
    assert_eq!(against(&gone, &changed), [""; 0]);
}

#[test]
fn a_change_inside_a_type_names_the_events_that_hold_it() {
    let events =
        "{ deposited: { price: list<money>, n: u8 }, withdrawn: { money: money }, left: {} }";
    let old = model(events, "{}");
    let mut new = model(events, "{ withdrawn: component }");
    let crate::model::TypeDef::Record(fields) = &mut new.types["money"].def else { panic!() };
    fields.remove(1);
    let changes = diff(&old, &new);
    let change = changes.iter().find(|it| it.impact == Impact::NeedsUpcast).unwrap();
    assert_eq!(change.element, "types.money.currency");
    let event = |event: &str, field: &str| EventRef {
        aggregate: "account".into(),
        event: event.into(),
        field: Some(field.into()),
    };
    assert_eq!(change.stored, [event("deposited", "price")]);
    assert_eq!(reading(&new, &old, "account", "withdrawn"), Reading::Component);
    // What does no harm concerns nobody.
    let mut wider = old.clone();
    let crate::model::TypeDef::Record(fields) = &mut wider.types["money"].def else { panic!() };
    fields[0].ty = crate::model::Type::U8;
    let changes = diff(&wider, &old);
    assert!(changes.iter().all(|it| it.stored.is_empty() == (it.impact == Impact::Compatible)));
}

#[test]
fn what_earlier_upcasts_read_must_still_be_read() {
    let events = "{ deposited: { cents: u64, by: string } }";
    let upcast = "{ deposited: { rename: { amount: cents }, set: { by: nobody } } }";
    let old = model(events, upcast);
    assert_eq!(against(&old, &old), [""; 0]);
    let says = |new: &str| against(&old, &model(events, new));
    assert_eq!(
        says("{}"),
        ["needs upcast: account.upcasts.deposited: the upcast was removed: events of earlier \
          models may be stored that only it could read"]
    );
    assert_eq!(
        says("{ deposited: { set: { by: nobody } } }"),
        ["needs upcast: account.upcasts.deposited: it no longer says what becomes of the stored \
          field `amount`: events of earlier models may be stored that have it"]
    );
    assert_eq!(
        says("{ deposited: { drop: [amount] } }"),
        ["needs upcast: account.upcasts.deposited: it no longer gives the field `by`: events of \
          earlier models may be stored that do not have it"]
    );
    assert_eq!(says("{ deposited: component }"), [""; 0]);
}

#[test]
fn a_default_that_goes_is_kept_by_an_upcast() {
    let with =
        |default: &str| format!("{{ deposited: {{ n: {{ type: u8, default: {default} }} }} }}");
    let old = model(&with("1"), "{}");
    assert_eq!(against(&old, &model(&with("2"), "{}")).len(), 1);
    let kept = "{ deposited: { default: { n: 1 } } }";
    assert_eq!(against(&old, &model(&with("2"), kept)), [""; 0]);
    // What is older than `old` lacks the field, and reads as it did.
    let older = model("{ deposited: { m: option<u8> } }", "{}");
    let new = model(&with("2").replace("{ n", "{ m: option<u8>, n"), kept);
    assert_eq!(upcast(&older, &new, r#"{"m":null}"#).1["n"], 1);
}

#[test]
fn a_model_cannot_go_back_behind_events_that_may_be_stored() {
    let old = model("{ deposited: { amount: u64 } }", "{}");
    let new = model("{ credited: { amount: u64 }, never: {}, deposited: { amount: u64 } }", "{}");
    // The helper emits the first event alone.
    assert_eq!(unreadable(&old, &new), [("account".to_owned(), "credited".to_owned())]);
    assert_eq!(unreadable(&new, &old), []);
    let mut gone = old.clone();
    gone.aggregates.clear();
    assert_eq!(unreadable(&gone, &old), [("account".to_owned(), "deposited".to_owned())]);
}

#[test]
fn an_event_that_its_model_does_not_declare_is_read_as_it_stands() {
    let new = model("{ deposited: { amount: u64 } }", "{}");
    let old = model("{ left: {} }", "{}");
    assert_eq!(deposited(&old, &new), Reading::AsStored("deposited".into()));
    assert_eq!(reading(&old, &old, "account", "deposited"), Reading::Unreadable(Vec::new()));
}
