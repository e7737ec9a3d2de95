use super::*;
use crate::json::Reader;

fn read(plan: &Plan, json: &str) -> Packed {
    Reader::Caller.read(plan, json.as_bytes()).unwrap()
}

fn field(name: &str, plan: Plan, default: Option<&str>) -> Field {
    let default = default.map(|json| read(&plan, json));
    Field { name: name.into(), plan, default, was: None }
}

/// Digests of commands stand in logs: their texts must never change.
#[test]
fn spellings_are_fixed() {
    for (plan, json) in [
        (Plan::F64, "1e16"),
        (Plan::F64, "1234567890123456.0"),
        (Plan::F64, "0.0001"),
        (Plan::F64, "1e-5"),
        (Plan::F64, "-1.5"),
        (Plan::F64, "5e-324"),
        (Plan::F64, "1.7976931348623157e308"),
        (Plan::F32, "16777216.0"),
        (Plan::F32, "1e-45"),
        (Plan::String, r#""\b\t\n\f\r\"\\/\u0000\u001f€ ""#),
    ] {
        assert_eq!(write(&plan, &read(&plan, json)).get(), json);
    }
    assert_eq!(
        write(&Plan::String, &read(&Plan::String, "\"\\u007f\\u2028\"")).get(),
        "\"\u{7f}\u{2028}\""
    );
}

#[test]
fn a_digest_is_over_what_the_caller_said() {
    let option = Plan::Option(Plan::U8.into());
    let inner =
        Plan::Record([field("x", Plan::U8, Some("1")), field("y", option.clone(), None)].into());
    let plan = Plan::Record(
        [
            field("a", Plan::U64, None),
            field("b", option.clone(), None),
            field("c", Plan::U8, Some("3")),
            field("d", option, Some("4")),
            field("e", Plan::List(inner.into()), Some("[]")),
        ]
        .into(),
    );
    for (said, digested) in [
        (r#"{ "a": "1" }"#, r#"{"a":1}"#),
        (r#"{"b":null,"a":1}"#, r#"{"a":1}"#),
        (r#"{"c":3,"b":2,"a":1}"#, r#"{"a":1,"b":2,"c":3}"#),
        // Not what leaving it out means: that is 4.
        (r#"{"a":1,"d":null}"#, r#"{"a":1,"d":null}"#),
        (r#"{"a":1,"e":[{"y":null},{"x":1}]}"#, r#"{"a":1,"e":[{},{"x":1}]}"#),
    ] {
        assert_eq!(canonical(&plan, said.as_bytes()).as_deref(), Some(digested), "{said}");
    }
    assert_eq!(canonical(&plan, b"{}"), None);
}

#[test]
#[should_panic(expected = "bug in aether")]
fn bytes_of_another_plan_are_a_bug() {
    let _ = write(&Plan::Bool, &read(&Plan::U64, "300"));
}
