use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::json::{
    canonical, canonical_of,
    generate::{Source, evolved, json, plan},
    plan::{Case, Field},
    write,
};

fn field(name: &str, plan: Plan) -> Field {
    Field { name: name.into(), plan, default: None, was: None }
}

fn record(fields: impl IntoIterator<Item = Field>) -> Plan {
    Plan::Record(fields.into_iter().collect())
}

/// `{lines: list<{sku: string, price: {cents: u64, currency: string}}>, note: option<string>}`
fn order() -> Plan {
    let price = record([field("cents", Plan::U64), field("currency", Plan::String)]);
    let line = record([field("sku", Plan::String), field("price", price)]);
    record([
        field("lines", Plan::List(line.into())),
        field("note", Plan::Option(Plan::String.into())),
    ])
}

fn names(names: &[&str]) -> Arc<[Arc<str>]> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn charge() -> Plan {
    let money = record([field("cents", Plan::U64)]);
    Plan::Variant(
        [
            Case { name: "card".into(), payload: Some(money) },
            Case { name: "waived".into(), payload: None },
            Case { name: "maybe".into(), payload: Some(Plan::Option(Plan::Bool.into())) },
        ]
        .into(),
    )
}

/// What is written for what was read.
fn through(plan: &Plan, json: &str) -> String {
    let value = Reader::Caller.read(plan, json.as_bytes()).unwrap();
    write(plan, &value).get().to_owned()
}

fn error(plan: &Plan, json: &str) -> String {
    Reader::Caller.read(plan, json.as_bytes()).expect_err(json).to_string()
}

#[test]
fn values_are_read_in_every_allowed_form_and_written_in_one() {
    let option = |plan: Plan| Plan::Option(plan.into());
    let nested = option(option(Plan::U8));
    let deep = option(nested.clone());
    let result = Plan::Result { ok: Some(Plan::U8.into()), err: None };
    let tier = Plan::Enum(names(&["basic", "gold"]));
    let marks = Plan::Flags(names(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]));
    let pair = Plan::Tuple([Plan::U8, Plan::String].into());
    let cases: &[(&Plan, &str, &str)] = &[
        (&Plan::Bool, " true ", "true"),
        (&Plan::U64, "9007199254740991", "9007199254740991"),
        (&Plan::U64, "9007199254740992", "\"9007199254740992\""),
        (&Plan::U64, "\"7\"", "7"),
        (&Plan::U64, "18446744073709551615", "\"18446744073709551615\""),
        (&Plan::S64, "-9223372036854775808", "\"-9223372036854775808\""),
        (&Plan::S64, "\"-9007199254740991\"", "-9007199254740991"),
        (&Plan::S8, "-128", "-128"),
        (&Plan::U8, "\"\\u0032\"", "2"),
        (&Plan::F64, "1", "1.0"),
        (&Plan::F64, "-0", "-0.0"),
        (&Plan::F64, "0.1", "0.1"),
        (&Plan::F64, "1e300", "1e300"),
        (&Plan::F64, "\"NaN\"", "\"NaN\""),
        (&Plan::F64, "\"-Infinity\"", "\"-Infinity\""),
        (&Plan::F64, "9007199254740993", "9007199254740992.0"),
        // serde_json's own reader is one bit off here without `float_roundtrip`.
        (&Plan::F64, "31.245270191439438", "31.245270191439438"),
        (&Plan::F32, "0.1", "0.1"),
        (&Plan::F32, "3.4028235e38", "3.4028235e38"),
        // Rounding twice, first to f64, would give 1.0000001.
        (&Plan::F32, "1.000000059604644775390625", "1.0"),
        (&Plan::F32, "\"Infinity\"", "\"Infinity\""),
        (&Plan::Char, "\"é\"", "\"é\""),
        (&Plan::String, "\"a\\u00e9\\/\\ud83d\\ude00\\n\"", "\"aé/😀\\n\""),
        (&Plan::Bytes, "\"AAEC\"", "\"AAEC\""),
        (&Plan::Bytes, "\"\"", "\"\""),
        (&nested, "null", "null"),
        (&nested, "{\"some\": null}", "{\"some\":null}"),
        (&nested, "{\"some\": 1}", "{\"some\":1}"),
        (&deep, "{\"some\": {\"some\": 1}}", "{\"some\":{\"some\":1}}"),
        (&result, "{\"ok\": 1}", "{\"ok\":1}"),
        (&result, "{\"err\": null}", "{\"err\":null}"),
        (&tier, "\"gold\"", "\"gold\""),
        (&tier, "{\"gold\": null}", "\"gold\""),
        (&marks, "[\"i\", \"a\"]", "[\"a\",\"i\"]"),
        (&marks, "[]", "[]"),
        (&pair, "[1, \"x\"]", "[1,\"x\"]"),
        (&charge(), "{\"card\": {\"cents\": 1}}", "{\"card\":{\"cents\":1}}"),
        (&charge(), "{\"waived\": null}", "\"waived\""),
        (&charge(), "{\"maybe\": null}", "{\"maybe\":null}"),
        (&order(), "{\"lines\": []}", "{\"lines\":[],\"note\":null}"),
        (&order(), "{\"note\": \"n\", \"lines\": []}", "{\"lines\":[],\"note\":\"n\"}"),
        (
            &order(),
            r#"{"lines":[{"price":{"currency":"EUR","cents":"5"},"sku":"s"}]}"#,
            r#"{"lines":[{"sku":"s","price":{"cents":5,"currency":"EUR"}}],"note":null}"#,
        ),
    ];
    for (plan, json, written) in cases {
        assert_eq!(through(plan, json), *written, "{json}");
    }
}

#[test]
fn long_lists_keep_their_count() {
    for count in [0, 1, 127, 128, 300, 20_000] {
        let json = format!("{:?}", vec![7_u16; count]).replace(' ', "");
        let list = Plan::List(Plan::U16.into());
        assert_eq!(through(&list, &json), json);
        let around = record([field("a", list), field("z", Plan::Bool)]);
        let json = format!("{{\"z\":true,\"a\":{json}}}");
        assert_eq!(through(&around, &json).len(), json.len());
    }
}

#[test]
fn errors_name_the_path_and_what_was_found() {
    let cases: &[(&Plan, &str, &str)] = &[
        (
            &order(),
            r#"{"lines":[{"sku":"a","price":{"cents":1,"currency":"E"}},{"sku":"a","price":{"currency":"E","cents":-4}}]}"#,
            "lines[1].price.cents: expected u64, found -4",
        ),
        (&order(), r#"{"lines":[{"sku":5}]}"#, "lines[0].sku: expected string, found 5"),
        (&order(), r#"{"lines":{"a": 1}}"#, "lines: expected an array, found {\"a\": 1}"),
        (
            &order(),
            r#"{"note":null}"#,
            "lines: expected an array, found nothing: the field is missing",
        ),
        (
            &order(),
            r#"{"lines":[],"lines":[]}"#,
            "lines: expected the field once, found it a second time",
        ),
        (
            &order(),
            r#"{"note":null,"lines":[],"note":1}"#,
            "note: expected the field once, found it a second time",
        ),
        (
            &order(),
            r#"{"lines":[{"sku":"s","pricee":1}]}"#,
            "lines[0]: expected one of the fields `sku`, `price` (did you mean `price`?), found `pricee`",
        ),
        (&record([]), r#"{"a":1}"#, "expected no fields, found `a`"),
        (&order(), "[]", "expected an object, found []"),
        (&Plan::U8, "256", "expected u8, found 256"),
        (&Plan::U64, "18446744073709551616", "expected u64, found 18446744073709551616"),
        (
            &Plan::U64,
            "999999999999999999999999999999999999999999999",
            "expected u64, found 999999999999999999999999999999999999999999999",
        ),
        (&Plan::U64, "1.0", "expected u64 (a whole number without point or exponent), found 1.0"),
        (&Plan::U64, "1e3", "expected u64 (a whole number without point or exponent), found 1e3"),
        (&Plan::U64, "true", "expected u64, found true"),
        (&Plan::F32, "1e39", "expected f32 (a number that the type can hold), found 1e39"),
        (&Plan::Bool, "\"true\"", "expected bool, found \"true\""),
        (&Plan::Char, "\"ab\"", "expected char: a string of one character, found \"ab\""),
        (&Plan::Bytes, "\"AAE\"", "expected list<u8>: a string of padded base64, found \"AAE\""),
        (&charge(), "\"card\"", "expected {\"card\": value}, found \"card\""),
        (
            &charge(),
            "\"waved\"",
            "expected one of the cases `card`, `waived`, `maybe` (did you mean `waived`?), found `waved`",
        ),
        (&charge(), "{\"waived\": 1}", "waived: expected null, found 1"),
        (&charge(), "7", "expected one of the cases `card`, `waived`, `maybe`, found 7"),
        (
            &charge(),
            "{\"waived\":null,\"card\":1}",
            "expected an object with one key, found {\"waived\":null,\"card\":1}",
        ),
        (
            &Plan::Option(Plan::U8.into()),
            "\"x\"",
            "expected u8 (a whole number; in a string only its decimal digits), found \"x\"",
        ),
        (
            &Plan::Tuple([Plan::U8, Plan::U8].into()),
            "[1,2,3]",
            "expected an array of 2 items, found [1,2,3]",
        ),
        (
            &Plan::Tuple([Plan::U8, Plan::U8].into()),
            "[1]",
            "expected an array of 2 items, found [1]",
        ),
        (&Plan::Flags(names(&["a"])), "[\"a\",\"a\"]", "[1]: expected each flag once, found \"a\""),
        (
            &Plan::Option(Plan::Option(Plan::U8.into()).into()),
            "3",
            "expected null or {\"some\": value}, found 3",
        ),
        (
            &Plan::Result { ok: None, err: Some(Plan::U8.into()) },
            "{\"okay\":null}",
            "expected {\"ok\": null} or {\"err\": value}, found {\"okay\":null}",
        ),
    ];
    for (plan, json, message) in cases {
        assert_eq!(error(plan, json), *message, "{json}");
    }
    let long = format!("\"{}\"", "x".repeat(1000));
    assert!(error(&Plan::Bool, &long).len() < 100);
}

#[test]
fn whole_numbers_have_one_spelling() {
    for bad in [
        "\"\"", "\"-\"", "\"-0\"", "-0", "\"007\"", "\"+1\"", "\" 1\"", "\"1 \"", "\"1.0\"",
        "\"0x1\"", "null", "[1]",
    ] {
        assert!(Reader::Caller.read(&Plan::S64, bad.as_bytes()).is_err(), "{bad}");
    }
    for bad in ["\"1\"", "\"nan\"", "\"inf\"", "\"+Infinity\"", "1e400", "null", "\"\""] {
        assert!(Reader::Caller.read(&Plan::F64, bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let cases = [
        (&Plan::String, "\"\\ud800\"", "hex escape"),
        (&Plan::String, "\"\\ud800\\u0041\"", "hex escape"),
        (&Plan::String, "\"\\udc00\"", "hex escape"),
        (&Plan::String, "\"a\nb\"", "control character"),
        (&Plan::U8, "1 2", "trailing"),
        (&Plan::U8, "", "EOF"),
        (&Plan::U8, "01", "invalid number"),
        (&Plan::U8, "1//", "trailing"),
    ];
    for (plan, json, part) in cases {
        let error = error(plan, json);
        assert!(error.starts_with("expected JSON, found ") && error.contains(part), "{error}");
    }
    let key = error(&order(), "{\"li\\udc00nes\": []}");
    assert!(key.contains("expected JSON"), "{key}");
    let bytes = Reader::Caller.read(&Plan::String, b"\"a\xff\"").unwrap_err();
    assert_eq!(bytes.to_string(), "expected JSON in UTF-8, found other bytes from byte 2 on");
}

/// A model cannot say "any depth"; a plan this deep shows that the reader has a floor all the same.
#[test]
fn nesting_is_bounded() {
    let mut plan = Plan::U8;
    for _ in 0..200 {
        plan = Plan::List(Arc::new(plan));
    }
    let json = "[".repeat(200) + "1" + &"]".repeat(200);
    assert!(error(&plan, &json).contains("recursion limit"), "{}", error(&plan, &json));
    let foreign = "[".repeat(1_000_000);
    assert!(Reader::Caller.read(&Plan::U8, foreign.as_bytes()).is_err());
}

#[test]
fn former_names_are_understood_in_the_log_only() {
    let plan = record([
        Field { was: Some("sum".into()), ..field("amount", Plan::U64) },
        field("note", Plan::Option(Plan::String.into())),
    ]);
    let old = br#"{"sum":5}"#;
    let value = Reader::Log.read(&plan, old).unwrap();
    assert_eq!(write(&plan, &value).get(), r#"{"amount":5,"note":null}"#);
    assert_eq!(
        Reader::Caller.read(&plan, old).unwrap_err().to_string(),
        "expected one of the fields `amount`, `note` (did you mean `amount`?), found `sum`"
    );
    for (bad, message) in [
        (r#"{"sum":5,"amount":5}"#, "amount: expected the field once, found it a second time"),
        (r#"{"sum":-1}"#, "sum: expected u64, found -1"),
        (r#"{"sum":1,"x":1}"#, "expected one of the fields `amount`, `note`, found `x`"),
    ] {
        assert_eq!(Reader::Log.read(&plan, bad.as_bytes()).unwrap_err().to_string(), message);
    }
}

/// Reading a command is on the way of every turn: some thousand per second and actor must be
/// nothing. The bound is a hundred times what is measured, so only a change of kind fails it.
#[test]
fn reading_is_fast() {
    let plan = order();
    let json = br#"{"lines":[{"sku":"a","price":{"cents":100,"currency":"EUR"}}],"note":"n"}"#;
    let start = crate::clock::now();
    for _ in 0..10_000 {
        let value = Reader::Caller.read(&plan, json).unwrap();
        assert!(write(&plan, &value).get().len() > 10);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

fn json_of(plan: &Plan, value: &Packed) -> Value {
    serde_json::from_str(write(plan, value).get()).unwrap()
}

/// Whether `new` says what `old` said, by the plan that follows the one of `old`.
fn carried(plan: &Plan, old: &Value, new: &Value) -> bool {
    match (plan, old, new) {
        (Plan::Record(fields), Value::Object(old), Value::Object(new)) => {
            new.len() == fields.len()
                && fields.iter().all(|field| {
                    let was = field.was.as_deref().unwrap_or(&field.name);
                    match (old.get(&*field.name).or_else(|| old.get(was)), new.get(&*field.name)) {
                        (Some(old), Some(new)) => carried(&field.plan, old, new),
                        (None, Some(new)) => match &field.default {
                            Some(default) => json_of(&field.plan, default) == *new,
                            None => new.is_null(),
                        },
                        _ => false,
                    }
                })
        }
        (Plan::List(item), Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| carried(item, old, new))
        }
        (Plan::Option(some), old, new) if !matches!(**some, Plan::Option(_)) => match old {
            Value::Null => new.is_null(),
            old => carried(some, old, new),
        },
        // Below other types nothing evolves in these tests.
        (_, old, new) => old == new,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_value_survives(shape: Vec<u8>, value: Vec<u8>, one: Vec<u8>, other: Vec<u8>) {
        let plan = plan(&mut Source::new(&shape), 4);
        let first = json(&plan, &mut Source::new(&value), &mut Source::new(&one));
        let second = json(&plan, &mut Source::new(&value), &mut Source::new(&other));

        let packed = Reader::Caller.read(&plan, first.as_bytes());
        let packed = packed.map_err(|e| TestCaseError::fail(format!("{e}: {first}")))?;
        prop_assert_eq!(&Reader::Caller.read(&plan, second.as_bytes()).unwrap(), &packed);
        let written = write(&plan, &packed);
        prop_assert_eq!(&Reader::Caller.read(&plan, written.get().as_bytes()).unwrap(), &packed);
        prop_assert_eq!(&Reader::Log.read(&plan, written.get().as_bytes()).unwrap(), &packed);

        let digested = canonical(&plan, first.as_bytes()).unwrap();
        let of = canonical_of(&plan, plan.has_defaults(), first.as_bytes(), &packed);
        prop_assert_eq!(of.as_ref(), Some(&digested));
        let same = canonical(&plan, second.as_bytes());
        prop_assert_eq!(same.as_ref(), Some(&digested), "{} and {}", first, second);
        let again = canonical(&plan, digested.as_bytes());
        prop_assert_eq!(again.as_ref(), Some(&digested));
        prop_assert_eq!(&Reader::Caller.read(&plan, digested.as_bytes()).unwrap(), &packed);
    }

    #[test]
    fn old_values_are_read_by_evolved_plans(shape: Vec<u8>, value: Vec<u8>, change: Vec<u8>) {
        let old = plan(&mut Source::new(&shape), 4);
        let new = evolved(&old, &mut Source::new(&change));
        let text = json(&old, &mut Source::new(&value), &mut Source::new(&[]));
        let stored = write(&old, &Reader::Caller.read(&old, text.as_bytes()).unwrap());
        let read = Reader::Log.read(&new, stored.get().as_bytes());
        let read = read.map_err(|e| TestCaseError::fail(format!("{e}: {stored}")))?;
        let before: Value = serde_json::from_str(stored.get()).unwrap();
        let after: Value = serde_json::from_str(write(&new, &read).get()).unwrap();
        prop_assert!(carried(&new, &before, &after), "{} and {}", before, after);
    }

    #[test]
    fn no_text_makes_the_reader_panic(shape: Vec<u8>, value: Vec<u8>, at: u16, with: Vec<u8>) {
        let plan = plan(&mut Source::new(&shape), 4);
        let mut text = json(&plan, &mut Source::new(&value), &mut Source::new(&[])).into_bytes();
        let at = usize::from(at) % (text.len() + 1);
        text.splice(at..(at + with.len() / 2).min(text.len()), with);
        for reader in [Reader::Caller, Reader::Log] {
            if let Err(error) = reader.read(&plan, &text) {
                prop_assert!(error.to_string().len() < 4000);
            }
        }
        let _ = canonical(&plan, &text);
    }

    #[test]
    fn no_json_makes_the_reader_panic(shape: Vec<u8>, other: Vec<u8>, value: Vec<u8>) {
        let (ours, theirs) = (plan(&mut Source::new(&shape), 3), plan(&mut Source::new(&other), 3));
        let text = json(&theirs, &mut Source::new(&value), &mut Source::new(&[]));
        match Reader::Caller.read(&ours, text.as_bytes()) {
            Ok(value) => { let _ = write(&ours, &value); }
            Err(error) => prop_assert!(!error.found.is_empty() && !error.expected.is_empty()),
        }
    }

    #[test]
    fn floats_come_back_to_the_bit(single: u32, double: u64) {
        let (single, double) = (f32::from_bits(single), f64::from_bits(double));
        prop_assume!(single.is_finite() && double.is_finite());
        for json in [format!("{single:e}"), format!("{single:?}")] {
            let value = Reader::Caller.read(&Plan::F32, json.as_bytes()).unwrap();
            let read = crate::json::Cursor::new(&value).f32();
            prop_assert_eq!(read.unwrap().to_bits(), single.to_bits());
        }
        let value = Reader::Caller.read(&Plan::F64, format!("{double:e}").as_bytes()).unwrap();
        let written = write(&Plan::F64, &value);
        prop_assert_eq!(written.get().parse::<f64>().unwrap().to_bits(), double.to_bits());
    }
}
