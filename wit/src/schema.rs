//! The model language itself as a JSON Schema, for editors.
//!
//! It tells an editor which keys may stand where, what they mean, and how names look. It is looser
//! than the compiler: names that must be known somewhere else, and values that must fit a type,
//! are checked by [`crate::read`] alone. Sections that are reserved for later are not in it.

use serde_json::{Map, Value, json};

#[cfg(test)]
mod tests;

/// The form of every name in a model.
const NAME: &str = "^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$";

/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// The JSON Schema (2020-12) of the model language, as pretty JSON with a final newline.
#[must_use]
pub fn schema() -> String {
    let root = object(
        [
            ("context", described("The bounded context, e.g. `bank`.", reference("name"))),
            ("version", version()),
            ("about", described("What the context is about.", reference("about"))),
            ("components", components()),
            ("types", section("Types that fields can name.", "type-declaration")),
            ("aggregates", not_empty(map_of("The types of actors.", "aggregate"))),
            ("scenarios", scenarios()),
        ],
        &["context", "version", "aggregates"],
    );
    let root = with(root, "$schema", "https://json-schema.org/draft/2020-12/schema".into());
    let root = with(root, "title", "An aether model (NAME.storm.yaml)".into());
    let root = with(root, "$defs", definitions().into());
    format!("{root:#}\n")
}

fn definitions() -> Map<String, Value> {
    let definitions = [
        ("name", json!({"type": "string", "pattern": NAME, "maxLength": MAX_NAME})),
        ("about", json!({"type": ["string", "null"]})),
        (
            "was",
            described("The name that it had before, in events that are stored.", reference("name")),
        ),
        ("type", type_expression()),
        ("field", field()),
        ("fields", section("Fields by name; each is a type, or `{type:, default:, …}`.", "field")),
        ("type-declaration", type_declaration()),
        ("case", case()),
        ("aggregate", aggregate()),
        ("command", command()),
        ("fact", fact()),
        ("upcast", upcast()),
        ("runtime", runtime()),
        ("scenario", scenario()),
        ("step", object([("when", when()), ("then", then())], &["when", "then"])),
        ("call", call()),
    ];
    definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn version() -> Value {
    json!({
        "description": "The model's version for people (SemVer), e.g. `0.1.0`.",
        "type": "string",
        "pattern": "^(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)([-+].*)?$",
    })
}

fn components() -> Value {
    json!({
        "description": "Component files, relative to this file's folder. Each implements one or \
                        more of the aggregates.",
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 1},
        "uniqueItems": true,
    })
}

fn type_expression() -> Value {
    json!({
        "description": "A WIT type (`u64`, `string`, `list<..>`, `option<..>`, `tuple<..>`, \
                        `result<..>`) or one that `types` declares. Quote it inside `{ }` if it \
                        has a comma.",
        "type": "string",
        "anyOf": [
            {"enum": [
                "bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char",
                "string",
            ]},
            {"pattern": "^[a-z0-9<>,_ -]+$"},
        ],
    })
}

fn field() -> Value {
    let long = object(
        [
            ("type", reference("type")),
            ("default", json!({"description": "The value of a field that is left out."})),
            ("was", reference("was")),
            ("about", described("What the field means.", reference("about"))),
        ],
        &["type"],
    );
    json!({"oneOf": [reference("type"), long]})
}

fn type_declaration() -> Value {
    let names = |about: &str| {
        json!({
            "description": about,
            "type": "array",
            "items": reference("name"),
            "minItems": 1,
            "uniqueItems": true,
        })
    };
    let shape = object(
        [
            ("record", not_empty(described("Named fields.", reference("fields")))),
            ("variant", not_empty(map_of("Cases, each with what it carries or null.", "case"))),
            ("enum", names("Cases that carry nothing.")),
            ("flags", names("Marks, any of which may be set.")),
            ("about", described("What the type means.", reference("about"))),
        ],
        &[],
    );
    let one = ["record", "variant", "enum", "flags"].map(|key| json!({"required": [key]}));
    let shape = with(shape, "oneOf", one.to_vec().into());
    json!({"oneOf": [described("Another name for a type.", reference("type")), shape]})
}

fn case() -> Value {
    let inline = object(
        [
            ("record", not_empty(described("What the case carries.", reference("fields")))),
            ("about", reference("about")),
        ],
        &["record"],
    );
    json!({"oneOf": [{"type": "null"}, reference("type"), inline]})
}

fn aggregate() -> Value {
    let needed = |about: &str, of: &str| not_empty(map_of(about, of));
    object(
        [
            ("about", described("What the aggregate is.", reference("about"))),
            ("state", not_empty(described("The fields of its state.", reference("fields")))),
            ("commands", needed("What its actors may be asked to do.", "command")),
            ("events", needed("What may happen to its actors.", "fact")),
            ("rejections", section("Named reasons for which commands are refused.", "fact")),
            (
                "upcasts",
                section("What becomes of stored events that do not read as they stand.", "upcast"),
            ),
            ("runtime", described("How the host treats its actors.", reference("runtime"))),
        ],
        &["state", "commands", "events"],
    )
}

fn command() -> Value {
    let names = |about: &str, types: Value| {
        json!({
            "description": about,
            "type": types,
            "items": reference("name"),
            "uniqueItems": true,
        })
    };
    object(
        [
            ("fields", described("What the caller says.", reference("fields"))),
            ("emits", names("The events that it may give.", json!("array"))),
            ("rejects", names("The rejections that it may give.", json!(["array", "null"]))),
            ("about", described("What the command means.", reference("about"))),
        ],
        &["emits"],
    )
}

/// An event or a rejection: its fields, or the long form, which has the key `fields`.
fn fact() -> Value {
    let long = object(
        [
            ("fields", reference("fields")),
            ("was", reference("was")),
            ("about", described("What it means.", reference("about"))),
        ],
        &["fields"],
    );
    json!({
        "description": "`{field: type}`, or `{fields: {field: type}, about: …, was: …}`.",
        "if": {"type": "object", "required": ["fields"]},
        "then": long,
        "else": reference("fields"),
    })
}

/// What becomes of stored events of one name.
fn upcast() -> Value {
    let names = |about: &str| {
        json!({
            "description": about,
            "type": "array",
            "items": reference("name"),
            "uniqueItems": true,
        })
    };
    let values = |about: &str| json!({"description": about, "type": ["object", "null"], "propertyNames": reference("name")});
    let rules = object(
        [
            ("to", described("The event that it becomes.", reference("name"))),
            ("drop", or_nothing(names("Stored fields that are left out."))),
            ("rename", section("New names of stored fields.", "name")),
            ("set", values("Values of fields, whatever is stored.")),
            ("default", values("Values of fields, where nothing is stored.")),
            (
                "into",
                json!({
                    "description": "Record fields, each with the fields that move into it.",
                    "type": ["object", "null"],
                    "propertyNames": reference("name"),
                    "additionalProperties": names("The fields that move into it."),
                }),
            ),
        ],
        &[],
    );
    let by_component = json!({"description": "The component does it.", "enum": ["component"]});
    json!({"oneOf": [by_component, not_empty(rules)]})
}

fn runtime() -> Value {
    let count = |about: &str, default: u64| json!({"description": about, "type": "integer", "minimum": 1, "default": default});
    let amount = |about: &str, units: &str, default: &str| {
        json!({
            "description": about,
            "type": "string",
            "pattern": format!("^[0-9]+({units})$"),
            "default": default,
        })
    };
    let isolation = json!({
        "description": "How long an instance is kept: while its actor is awake, or for one command.",
        "enum": ["actor", "turn"],
        "default": "actor",
    });
    let time = "ms|s|m|h|d";
    or_null(object(
        [
            ("snapshot-every", count("A snapshot is due after this many events.", 100)),
            ("idle", amount("An actor without commands for this long falls asleep.", time, "5m")),
            ("mailbox", count("How many commands may wait for one actor.", 256)),
            ("memory", amount("Most memory of one instance.", "B|KiB|MiB|GiB", "64MiB")),
            ("deadline", amount("Longest time for one command.", time, "100ms")),
            ("dedupe", count("How many recent turns an actor remembers.", 64)),
            ("isolation", isolation),
        ],
        &[],
    ))
}

fn scenarios() -> Value {
    json!({
        "description": "Examples that every component must satisfy.",
        "type": ["array", "null"],
        "items": reference("scenario"),
    })
}

fn scenario() -> Value {
    let calls = json!({
        "description": "The events that happened before.",
        "type": ["array", "null"],
        "items": reference("call"),
    });
    let steps = json!({
        "description": "Commands one after the other, each with its outcome.",
        "type": "array",
        "items": reference("step"),
        "minItems": 1,
    });
    let scenario = object(
        [
            ("name", json!({"description": "What must hold.", "type": "string"})),
            (
                "actor",
                json!({"description": "AGGREGATE/ID, e.g. `account/alice`.", "type": "string"}),
            ),
            ("given", calls),
            ("when", when()),
            ("then", then()),
            ("steps", steps),
        ],
        &["name", "actor"],
    );
    let one = json!([{"required": ["when", "then"]}, {"required": ["steps"]}]);
    with(scenario, "oneOf", one)
}

/// The name of an event or a rejection, alone or with its fields.
fn call() -> Value {
    let fields = json!({
        "type": "object",
        "propertyNames": reference("name"),
        "additionalProperties": {"type": ["object", "null"]},
        "minProperties": 1,
        "maxProperties": 1,
    });
    json!({"oneOf": [reference("name"), fields]})
}

fn when() -> Value {
    let named = json!({
        "type": "object",
        "properties": {
            "at": {
                "description": "The host's time, e.g. `2026-01-01T00:00:00Z`.",
                "type": ["string", "integer"],
            },
            "by": {"description": "Who asks.", "type": "string"},
            "seed": {"description": "The seed that is seen.", "type": ["string", "integer"]},
        },
        "propertyNames": reference("name"),
        "additionalProperties": {"type": ["object", "null"]},
        "minProperties": 1,
        "maxProperties": 4,
    });
    json!({
        "description": "The command, alone or with its fields; `at`, `by` and `seed` beside it.",
        "oneOf": [reference("name"), named],
    })
}

fn then() -> Value {
    let events = json!({"type": "array", "items": reference("call")});
    let rejected = object([("rejected", reference("call"))], &["rejected"]);
    let state = json!({"description": "A part of the state afterwards.", "type": "object"});
    let accepted = not_empty(object([("events", events.clone()), ("state", state)], &[]));
    json!({
        "description": "The events (`[]` = none), `{rejected: …}`, or `{events: …, state: …}`.",
        "oneOf": [events, rejected, accepted],
    })
}

/// A map of the model by its keys.
fn object<const N: usize>(properties: [(&str, Value); N], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect();
    let schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if required.is_empty() { schema } else { with(schema, "required", json!(required)) }
}

/// A map from names to what `$defs` calls `definition`.
fn map_of(about: &str, definition: &str) -> Value {
    json!({
        "description": about,
        "type": "object",
        "propertyNames": reference("name"),
        "additionalProperties": reference(definition),
    })
}

/// As [`map_of`], for a section that may be empty.
fn section(about: &str, definition: &str) -> Value {
    or_null(map_of(about, definition))
}

/// The map that `schema` tells of, or nothing.
fn or_null(schema: Value) -> Value {
    with(schema, "type", json!(["object", "null"]))
}

/// The list that `schema` tells of, or nothing.
fn or_nothing(schema: Value) -> Value {
    with(schema, "type", json!(["array", "null"]))
}

/// The map that `schema` tells of, with at least one entry.
fn not_empty(schema: Value) -> Value {
    with(with(schema, "type", json!("object")), "minProperties", json!(1))
}

fn with(mut schema: Value, key: &str, value: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(key.into(), value);
    }
    schema
}

fn described(about: &str, schema: Value) -> Value {
    with(schema, "description", about.into())
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}")})
}
