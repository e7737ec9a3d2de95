use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::wit::samples::{bank, shop};

fn document() -> Value {
    serde_json::from_str(&openapi(&[&bank(), &shop()])).unwrap()
}

/// Calls `see` for every object in `value`.
fn visit<'v>(value: &'v Value, see: &mut impl FnMut(&'v Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values().for_each(|value| visit(value, see));
        }
        Value::Array(items) => items.iter().for_each(|value| visit(value, see)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves_and_every_schema_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    visit(&document, &mut |object| {
        if let Some(reference) = object.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
            used.insert(pointer.to_owned());
        }
    });
    for kind in ["parameters", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("/components/{kind}/{name}")), "{kind} {name}");
        }
    }
}

#[test]
fn operation_ids_are_unique_and_path_parameters_declared() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let has_id = parameters.contains(&json!({"$ref": "#/components/parameters/id"}));
            assert_eq!(has_id, path.contains("{id}"), "{path}");
        }
    }
    assert!(ids.contains("bank.account.commands.withdraw"), "{ids:?}");
}

#[test]
fn a_command_names_its_events_and_its_rejections() {
    let document = document();
    let withdraw = &document["paths"]["/v1/bank/account/{id}/withdraw"]["post"];
    let body = &withdraw["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body, &json!({"$ref": "#/components/schemas/bank.account.commands.withdraw"}));
    let answer = &withdraw["responses"]["200"]["content"]["application/json"]["schema"];
    let events = answer["properties"]["events"]["items"]["oneOf"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["properties"]["type"], json!({"const": "withdrawn"}));
    let refusal = &withdraw["responses"]["422"]["content"]["application/problem+json"]["schema"];
    let cases = &refusal["allOf"][1]["properties"]["rejection"]["oneOf"];
    assert_eq!(cases[0], json!({"type": "string", "enum": ["not-open"]}));
    assert_eq!(
        cases[1]["properties"]["insufficient-funds"],
        json!({"$ref": "#/components/schemas/bank.account.rejections.insufficient-funds"})
    );
    let silent = &document["paths"]["/v1/use/interface/{id}/export"]["post"];
    assert!(silent["responses"].get("422").is_none());
    assert_eq!(silent["requestBody"]["required"], json!(false));
    let events = &silent["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(events["properties"]["events"], json!({"type": "array", "maxItems": 0}));
}

#[test]
fn values_look_as_json_writes_them() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let every = &schemas["use.interface.events.record"];
    let field = |name: &str| every["properties"][name].clone();
    let none = json!({"type": "null"});
    let text = json!({"type": "string"});
    let case = |name: &str, value: &Value| {
        json!({
            "type": "object",
            "properties": {name: value},
            "required": [name],
            "additionalProperties": false,
        })
    };
    assert_eq!(field("blob"), json!({"type": "string", "contentEncoding": "base64"}));
    assert_eq!(field("b"), json!({"type": "integer", "minimum": -128, "maximum": 127}));
    assert_eq!(field("e"), json!({"$ref": "#/components/schemas/s64"}));
    let inner = json!({"oneOf": [text, none]});
    assert_eq!(field("use"), json!({"oneOf": [case("some", &inner), none]}));
    assert_eq!(field("outcome"), json!({"oneOf": [case("ok", &none), case("err", &text)]}));
    let required = every["required"].as_array().unwrap();
    assert!(!required.contains(&json!("use")) && required.contains(&json!("blob")));
    assert_eq!(schemas["use.charge"]["oneOf"][0], json!({"type": "string", "enum": ["waived"]}));
    assert_eq!(schemas["use.marks"]["uniqueItems"], json!(true));
    let rejection = &schemas["use.world.rejections.enum"];
    assert_eq!(rejection["properties"]["from"]["default"], json!(7));
    assert_eq!(rejection.get("required"), None);
    assert_eq!(schemas["bank.account.state"]["additionalProperties"], json!(false));
}

#[test]
fn the_same_models_give_the_same_bytes() {
    assert_eq!(openapi(&[&bank()]), openapi(&[&bank()]));
    assert!(openapi(&[&bank()]).ends_with("}\n"));
    let none: Value = serde_json::from_str(&openapi(&[])).unwrap();
    assert!(none["paths"]["/healthz"].is_object());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_reference_of_every_sound_model_resolves(model in crate::testing::model()) {
        let document: Value = serde_json::from_str(&openapi(&[&model])).unwrap();
        visit(&document, &mut |object| {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
            }
        });
    }
}
