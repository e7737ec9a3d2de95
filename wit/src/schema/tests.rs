use super::*;

/// What is wrong with `value` by `schema`, for the keywords that the schema of models uses but
/// patterns, sizes and uniqueness.
fn wrong(root: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    let wrong = |schema: &Value, value: &Value, path: &str| wrong(root, schema, value, path);
    let fits = |schema: &Value| wrong(schema, value, path).is_none();
    if let Some(reference) = schema.get("$ref") {
        let target = root.pointer(&reference.as_str().unwrap()[1..]).unwrap();
        if let Some(message) = wrong(target, value, path) {
            return Some(message);
        }
    }
    if let Some(types) = schema.get("type") {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let ok = types == found || types.as_array().is_some_and(|it| it.contains(&json!(found)));
        if !ok {
            return Some(format!("{path}: {found}, expected {types}"));
        }
    }
    let count = |key: &str, ok: fn(usize) -> bool| {
        let schemas = schema.get(key).and_then(Value::as_array);
        schemas.is_none_or(|schemas| ok(schemas.iter().filter(|it| fits(it)).count()))
    };
    if !count("oneOf", |n| n == 1) || !count("anyOf", |n| n > 0) {
        return Some(format!("{path}: none or several of {schema}"));
    }
    if let Some(condition) = schema.get("if") {
        let branch = if fits(condition) { "then" } else { "else" };
        if let Some(message) = wrong(&schema[branch], value, path) {
            return Some(message);
        }
    }
    if schema.get("enum").is_some_and(|known| !known.as_array().unwrap().contains(value)) {
        return Some(format!("{path}: {value} is none of {schema}"));
    }
    let below = match value {
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            wrong(schema.get("items")?, item, &format!("{path}[{index}]"))
        }),
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            let path = format!("{path}.{key}");
            match schema.get("properties").and_then(|it| it.get(key)) {
                Some(known) => wrong(known, member, &path),
                None => match schema.get("additionalProperties")? {
                    Value::Bool(false) => Some(format!("{path}: unknown key")),
                    others => wrong(others, member, &path),
                },
            }
        }),
        _ => None,
    };
    let required = schema.get("required").and_then(Value::as_array);
    let missing = required
        .filter(|_| value.is_object())
        .and_then(|keys| keys.iter().find(|key| value.get(key.as_str().unwrap()).is_none()));
    below.or_else(|| missing.map(|key| format!("{path}: no {key}")))
}

fn check(model: &Value) -> Option<String> {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    wrong(&schema, &schema, model, "model")
}

/// The bank of the documentation, as an editor sees it.
fn bank() -> Value {
    json!({
        "context": "bank",
        "version": "0.1.0",
        "about": "Accounts that hold money, and transfers between them.",
        "components": ["account.wasm"],
        "types": {
            "money": {"record": {"cents": "u64", "currency": "string"}},
            "tier": {"enum": ["basic", "gold"]},
            "charge": {"variant": {"card": "money", "cash": {"record": {"note": "u8"}}, "waived": null}},
            "marks": {"flags": ["a", "b"], "about": "Marks."},
            "iban": "string",
        },
        "aggregates": {"account": {
            "state": {"owner": "string", "balance": "u64", "open": "bool"},
            "commands": {
                "open": {"fields": {"owner": "string"}, "emits": ["opened"], "rejects": ["already-open"]},
                "close": {"emits": []},
            },
            "events": {
                "opened": {"owner": "string"},
                "deposited": {"fields": {"amount": "u64"}, "about": "Money came in."},
                "withdrawn": {"amount": {"type": "u64", "was": "sum", "default": 1}},
                "closed": {},
            },
            "upcasts": {
                "paid": {"to": "deposited", "rename": {"sum": "amount"}, "drop": ["note"]},
                "withdrawn": {"set": {"amount": 1}, "default": {"amount": 1}, "into": {"x": ["y"]}},
                "closed": "component",
            },
            "rejections": {"already-open": {}, "not-open": null, "insufficient-funds": {"balance": "u64"}},
            "runtime": {
                "snapshot-every": 100, "idle": "5m", "mailbox": 256, "memory": "64MiB",
                "deadline": "100ms", "dedupe": 64, "isolation": "actor",
            },
        }},
        "scenarios": [
            {
                "name": "an account cannot be overdrawn",
                "actor": "account/alice",
                "given": [{"opened": {"owner": "Alice"}}, {"deposited": {"amount": 10}}],
                "when": {"withdraw": {"amount": 20}, "at": "2026-01-01T00:00:00Z", "by": "alice", "seed": 7},
                "then": {"rejected": {"insufficient-funds": {"balance": 10}}},
            },
            {
                "name": "steps",
                "actor": "account/bob",
                "steps": [
                    {"when": "close", "then": []},
                    {"when": {"close": {}}, "then": ["closed"]},
                    {"when": {"close": null}, "then": {"events": [], "state": {"open": true}}},
                    {"when": "close", "then": {"rejected": "not-open"}},
                ],
            },
        ],
    })
}

#[test]
fn the_bank_passes() {
    assert_eq!(check(&bank()), None);
}

#[test]
fn mistakes_are_found_where_they_are() {
    let broken = |pointer: &str, value: Value| {
        let mut model = bank();
        *model.pointer_mut(pointer).unwrap() = value;
        check(&model).unwrap_or_default()
    };
    let account = "/aggregates/account";
    let message = broken(&format!("{account}/commands/open"), json!({"emit": []}));
    assert_eq!(message, "model.aggregates.account.commands.open.emit: unknown key");
    let message = broken(&format!("{account}/commands/open"), json!({"fields": {}}));
    assert_eq!(message, "model.aggregates.account.commands.open: no \"emits\"");
    assert!(broken(&format!("{account}/events/deposited/about"), json!(7)).contains("deposited"));
    assert!(broken(&format!("{account}/events/withdrawn/amount/was"), json!(7)).contains("amount"));
    assert!(broken(&format!("{account}/upcasts/paid"), json!("host")).contains("paid"));
    assert!(broken(&format!("{account}/upcasts/paid/rename"), json!(["a"])).contains("paid"));
    assert!(broken("/types/money", json!({"record": {}, "enum": []})).contains("money"));
    assert!(broken("/scenarios/0/when", json!(7)).contains("scenarios[0]"));
    assert!(broken("/scenarios/0/then", json!({"rejected": "a", "events": []})).contains("then"));
    assert!(broken("", json!({"context": "bank"})).contains("no \"version\""));
}

#[test]
fn reserved_keys_are_not_offered() {
    let text = schema();
    for key in
        ["policies", "read-models", "external-systems", "roles", "timers", "hotspots", "personal"]
    {
        assert!(!text.contains(&format!("\"{key}\"")), "{key}");
    }
}

#[test]
fn every_reference_resolves_and_the_bytes_are_the_same() {
    let text = schema();
    assert_eq!(text, schema());
    let schema: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> =
        text.split("\"#/$defs/").skip(1).filter_map(|it| it.split('"').next()).collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
}
