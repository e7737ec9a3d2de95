use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn changes(before: &str, after: &str) -> Vec<String> {
    difference(&raw(before), &raw(after)).iter().map(ToString::to_string).collect()
}

#[test]
fn each_place_is_named_with_what_stood_and_stands_there() {
    let before =
        r#"{"owner":"A","lines":[{"price":{"cents":1}},{"price":{"cents":2}}],"open":false}"#;
    let after =
        r#"{"owner":"B","lines":[{"price":{"cents":1}},{"price":{"cents":3}}],"open":false}"#;
    assert_eq!(changes(before, after), ["owner: \"A\" -> \"B\"", "lines[1].price.cents: 2 -> 3"]);
    assert!(changes(before, before).is_empty());
}

#[test]
fn null_is_not_nothing() {
    assert_eq!(
        changes(r#"{"a":null}"#, r#"{"a":1,"b":null}"#),
        ["a: null -> 1", "b: nothing -> null"]
    );
    assert_eq!(changes(r#"{"a":1,"b":2}"#, r#"{"a":1}"#), ["b: 2 -> nothing"]);
    let change = difference(&raw(r#"{"a":1}"#), &raw(r#"{"a":1,"b":null}"#)).remove(0);
    let written = serde_json::to_string(&change).unwrap();
    assert_eq!(written, r#"{"path":"b","after":null}"#);
    assert_eq!(serde_json::from_str::<Change>(&written).unwrap(), change);
}

#[test]
fn a_list_that_grew_or_shrank_shows_what_came_and_went() {
    assert_eq!(changes("[2,3]", "[1,2,3]"), ["[0]: nothing -> 1"]);
    assert_eq!(changes("[1,2,3]", "[1,3]"), ["[1]: 2 -> nothing"]);
    assert_eq!(changes("[1,2]", "[1,2,3,4]"), ["[2]: nothing -> 3", "[3]: nothing -> 4"]);
    assert_eq!(changes("[1,2,9]", "[1,5,6,9]"), ["[1]: 2 -> 5", "[2]: nothing -> 6"]);
    assert_eq!(changes("[1,1]", "[1]"), ["[1]: 1 -> nothing"]);
    assert_eq!(changes("[]", "[[1]]"), ["[0]: nothing -> [1]"]);
    // Of the same length: number by number.
    assert_eq!(changes("[1,2]", "[2,1]"), ["[0]: 1 -> 2", "[1]: 2 -> 1"]);
}

#[test]
fn cases_of_a_variant_differ_as_a_whole() {
    let card = r#"{"by":{"card":{"cents":5}}}"#;
    assert_eq!(
        changes(card, r#"{"by":{"cash":5}}"#),
        ["by: {\"card\":{\"cents\":5}} -> {\"cash\":5}"]
    );
    assert_eq!(changes(card, r#"{"by":"waived"}"#), ["by: {\"card\":{\"cents\":5}} -> \"waived\""]);
    assert_eq!(changes(card, r#"{"by":{"card":{"cents":6}}}"#), ["by.card.cents: 5 -> 6"]);
}

#[test]
fn values_are_compared_to_the_last_digit() {
    let near = (r#"{"a":0.30000000000000004}"#, r#"{"a":0.3}"#);
    assert_eq!(changes(near.0, near.1), ["a: 0.30000000000000004 -> 0.3"]);
    let big = (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551614}"#);
    assert_eq!(changes(big.0, big.1).len(), 1);
    // How a text is written and where blanks stand is no difference.
    assert!(changes("{\"a\": [ \"\\u00e9\" ], \"b\":{} }", "{\"b\":{ },\"a\":[\"é\"]}").is_empty());
    assert_eq!(changes("1", "2"), ["the value: 1 -> 2"]);
}

#[test]
fn what_is_deeper_than_anyone_reads_is_compared_as_a_text() {
    let deep = |leaf: &str| format!("{}{leaf}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(difference(&raw(&deep("1")), &raw(&deep("2"))).len(), 1);
}

fn found(path: &str, value: &str) -> Result<String, String> {
    let path: Path = path.parse().map_err(|error: PathError| error.to_string())?;
    let value = raw(value);
    path.find(&value).map(|value| value.get().to_owned()).map_err(|error| error.to_string())
}

const STATE: &str =
    r#"{"owner":"A","lines":[{"price":{"cents":7}},{"price":null}],"none":[],"by":"waived"}"#;

#[test]
fn a_path_leads_to_one_value() {
    assert_eq!(found("owner", STATE).unwrap(), "\"A\"");
    assert_eq!(found("lines[0].price.cents", STATE).unwrap(), "7");
    assert_eq!(found("lines[1].price", STATE).unwrap(), "null");
    assert_eq!(found("[1][0]", "[1,[2]]").unwrap(), "2");
    for path in ["owner", "lines[0].price.cents", "[1][0]", "a[0][1].b-c"] {
        assert_eq!(path.parse::<Path>().unwrap().to_string(), path);
    }
}

#[test]
fn a_path_that_leads_nowhere_says_how_far_it_leads() {
    for (path, said) in [
        ("ownr", "the state has no `ownr`; did you mean `owner`?"),
        ("balance", "the state has no `balance`; it has `owner`, `lines`, `none`, `by`"),
        ("lines[0].price.sents", "`lines[0].price` has no `sents`; did you mean `cents`?"),
        ("lines[2].price", "`lines` has no item [2]: it has 2, [0] to [1]"),
        ("none[0]", "`none` has no item [0]: it is an empty list"),
        ("lines.price", "`lines` is a list: expected a number as in `[0]`, found `price`"),
        ("lines[1].price.cents", "`lines[1].price` is null: it has no `cents`"),
        ("owner[0]", "`owner` is not a list but \"A\": it has no item [0]"),
        ("by.card", "`by` is \"waived\": it has no `card`"),
    ] {
        assert_eq!(found(path, STATE).unwrap_err(), said);
    }
}

#[test]
fn what_is_no_path_is_told_with_an_example() {
    for bad in [
        "",
        ".a",
        "a.",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[-1]",
        "a[*]",
        "a[0]b",
        "a[99999999999999999999]",
    ] {
        let said = bad.parse::<Path>().unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{bad}` is not a path: ")), "{said}");
        assert!(said.ends_with("expected e.g. lines[2].price.cents"), "{said}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_u8).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = proptest::collection::btree_map("[a-c]", inner.clone(), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            names.prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn there_are_changes_exactly_if_the_values_differ(one in values(), other in values()) {
        let found = difference(&raw(&one.to_string()), &raw(&other.to_string()));
        prop_assert_eq!(found.is_empty(), one == other, "{:?}", found);
    }

    #[test]
    fn what_a_change_shows_stands_where_it_says(one in values(), other in values()) {
        let (before, after) = (raw(&one.to_string()), raw(&other.to_string()));
        for change in difference(&before, &after) {
            let at = |value: &RawValue| match change.path.as_str() {
                "" => Some(value.get().to_owned()),
                path => path.parse::<Path>().unwrap().find(value).ok().map(|v| v.get().to_owned()),
            };
            if let Some(shown) = &change.after {
                prop_assert_eq!(at(&after), Some(shown.get().to_owned()));
            }
            if let Some(shown) = &change.before {
                prop_assert_eq!(at(&before), Some(shown.get().to_owned()));
            }
        }
    }
}
