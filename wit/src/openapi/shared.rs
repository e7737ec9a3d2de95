//! What does not depend on a command: reading, listing, the feed, failures, and the host's own
//! paths.

use serde_json::{Map, Value, json};

use super::{describe, record_reference, reference, tag};
use crate::{Model, model::Aggregate};

/// Status, code and meaning of every failure.
const FAILURES: [(&str, &str, &str); 11] = [
    ("400", "invalid", "The request does not fit the model. Change it."),
    ("401", "unauthenticated", "There is no token, or a wrong one."),
    ("404", "unknown", "There is no such context, aggregate, command or version."),
    ("409", "contended", "Others kept writing to this actor; nothing was stored. Try again."),
    ("412", "conflict", "The actor is not at the version that `If-Match` names. Read again."),
    ("413", "too-large", "The body is over the limit. Make it smaller."),
    ("423", "quarantined", "The actor's log is damaged. An operator must look."),
    ("429", "overloaded", "Too much waits already; nothing was stored. Try again later."),
    ("500", "component-fault", "The component failed; nothing was stored. It must change."),
    ("503", "unavailable", "Something that is needed is away; nothing was stored. Try again."),
    ("504", "unresolved", "Whether it was stored is not known. Ask again with the same id."),
];

/// The failures of requests that only read.
const READING: [&str; 7] = [
    "invalid",
    "unauthenticated",
    "unknown",
    "quarantined",
    "component-fault",
    "unavailable",
    "unresolved",
];

/// References to the responses of the failures with these codes, by status.
pub(super) fn failures(codes: &[&str]) -> Map<String, Value> {
    FAILURES
        .iter()
        .filter(|(_, code, _)| codes.contains(code))
        .map(|(status, code, _)| {
            let response = json!({"$ref": format!("#/components/responses/{code}")});
            ((*status).to_owned(), response)
        })
        .collect()
}

/// The responses that operations share.
pub(super) fn responses() -> Value {
    let responses: Map<String, Value> = FAILURES
        .iter()
        .map(|(_, code, about)| {
            let schema = json!({
                "allOf": [
                    reference("problem"),
                    {"type": "object", "properties": {"code": {"const": code}}},
                ],
            });
            let content = json!({"application/problem+json": {"schema": schema}});
            ((*code).to_owned(), json!({"description": about, "content": content}))
        })
        .collect();
    responses.into()
}

/// The schemas that do not come from a model; models' schemas have a dot in their names.
pub(super) fn schemas() -> Map<String, Value> {
    let text = json!({"type": "string"});
    let whole = |pattern: &str, extra: Value| {
        let mut integer = json!({"type": "integer"});
        if let (Some(integer), Value::Object(extra)) = (integer.as_object_mut(), extra) {
            integer.extend(extra);
        }
        json!({
            "description": "A number within ±(2^53 - 1), a decimal string beyond; both are read.",
            "oneOf": [integer, {"type": "string", "pattern": pattern}],
        })
    };
    let problem = json!({
        "description": "Why a request has no answer from the domain (RFC 9457).",
        "type": "object",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "description": "What to do, in one word."},
            "reason": {"type": "string", "description": "A finer name, where the code has several."},
            "actor": text,
            "version": {"type": "integer", "minimum": 0},
            "command": {"type": "string", "description": "The command's id."},
            "component": text,
            "rejection": {"description": "The domain's reason: its name, or an object with it."},
        },
        "required": ["type", "title", "status", "detail", "code"],
    });
    let float = json!({
        "oneOf": [
            {"type": "number"},
            {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
        ],
    });
    Map::from_iter([
        ("u64".to_owned(), whole("^(0|[1-9][0-9]*)$", json!({"minimum": 0}))),
        ("s64".to_owned(), whole("^(0|-?[1-9][0-9]*)$", json!({}))),
        ("float".to_owned(), float),
        ("problem".to_owned(), problem),
    ])
}

/// The parameters that operations share.
pub(super) fn parameters() -> Value {
    let header = |name: &str, about: &str, example: &str| {
        json!({
            "name": name,
            "in": "header",
            "description": about,
            "schema": {"type": "string"},
            "example": example,
        })
    };
    json!({
        "id": {
            "name": "id",
            "in": "path",
            "required": true,
            "description": "The actor: 1 to 256 bytes of UTF-8. It must not be personal data.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        },
        "timeout": header("Aether-Timeout", "How long the caller waits; 10s if left out.", "10s"),
        "idempotency-key": header(
            "Idempotency-Key",
            "The command's id: sent again, it is answered with what it did.",
            "b3c1f0de",
        ),
        "if-match": header(
            "If-Match",
            "The version that the actor must be at.",
            "\"3\"",
        ),
        "traceparent": header(
            "traceparent",
            "W3C trace context; recorded as what caused the command.",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        "correlation-id": header(
            "Aether-Correlation-Id",
            "Ties the commands of one piece of work together; recorded.",
            "order-7",
        ),
    })
}

/// References to shared parameters.
pub(super) fn references(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).collect()
}

/// One event as callers see it, with these members beside `version`, `type` and `data`.
pub(super) fn event(
    model: &Model,
    aggregate: &Aggregate,
    name: &str,
    members: &[(&str, Value)],
) -> Value {
    let mut properties = json!({
        "version": {"type": "integer", "minimum": 1},
        "type": {"const": name},
        "data": record_reference(model, aggregate, &format!("events.{name}")),
    });
    let mut required = vec!["version", "type", "data"];
    if let Some(properties) = properties.as_object_mut() {
        for (name, schema) in members {
            properties.insert((*name).to_owned(), schema.clone());
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An array whose items are of one of these schemas; empty if there are none.
pub(super) fn list_of(items: Vec<Value>) -> Value {
    if items.is_empty() {
        json!({"type": "array", "maxItems": 0})
    } else {
        json!({"type": "array", "items": {"oneOf": items}})
    }
}

/// `GET …/{id}`.
pub(super) fn state(model: &Model, aggregate: &Aggregate) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "actor": {"type": "string"},
            "version": {"type": "integer", "minimum": 0},
            "state": record_reference(model, aggregate, "state"),
            "component": {"type": "string"},
        },
        "required": ["actor", "version", "state", "component"],
        "additionalProperties": false,
    });
    let mut answers = failures(&READING);
    answers.insert(
        "200".into(),
        json!({
            "description": "The state; that of version 0 for an id that was never used.",
            "headers": {"ETag": {"description": "The version.", "schema": {"type": "string"}}},
            "content": {"application/json": {"schema": schema}},
        }),
    );
    let number = |name, about| query(name, about, json!({"type": "integer", "minimum": 0}));
    let consistency = json!({"type": "string", "enum": ["linearizable", "local"]});
    let mut parameters = vec![
        number("version", "The state as it was at this version."),
        number("min-version", "Wait until the actor has reached this version."),
        query("consistency", "`local` answers from memory, without asking the store.", consistency),
    ];
    parameters.extend(references(&["id", "timeout"]));
    operation(model, aggregate, "state", "Read the state", parameters, answers)
}

/// `GET …/{id}/events`.
pub(super) fn history(model: &Model, aggregate: &Aggregate) -> Value {
    let members = recorded();
    let lines = aggregate.events.keys().map(|name| event(model, aggregate, name, &members));
    let schema = json!({
        "type": "object",
        "properties": {
            "actor": {"type": "string"},
            "events": list_of(lines.collect()),
            "next": {
                "type": ["integer", "null"],
                "description": "What to ask for next by `from`; null at the end.",
            },
        },
        "required": ["actor", "events", "next"],
        "additionalProperties": false,
    });
    let mut answers = failures(&READING);
    answers.insert("200".into(), page("Events, oldest first.", schema));
    let first = json!({"type": "integer", "minimum": 1, "default": 1});
    let mut parameters = vec![query("from", "The version to begin with.", first), limit()];
    parameters.extend(references(&["id", "timeout"]));
    operation(model, aggregate, "history", "Read the history", parameters, answers)
}

/// `GET /v1/CONTEXT/AGGREGATE`.
pub(super) fn list(model: &Model, aggregate: &Aggregate) -> Value {
    let entry = json!({
        "type": "object",
        "properties": {
            "actor": {"type": "string"},
            "awake": {
                "type": ["integer", "null"],
                "description": "Its version, if it is awake in this host.",
            },
            "quarantined": {
                "type": ["string", "null"],
                "description": "Why it is quarantined, if it is.",
            },
        },
        "required": ["actor", "awake", "quarantined"],
        "additionalProperties": false,
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "actors": {"type": "array", "items": entry},
            "next": {
                "type": ["string", "null"],
                "description": "What to ask for next by `after`; null at the end.",
            },
        },
        "required": ["actors", "next"],
        "additionalProperties": false,
    });
    let mut answers = failures(&["invalid", "unauthenticated", "unknown", "unavailable"]);
    answers.insert("200".into(), page("Actors.", schema));
    let after = query("after", "The id to begin after.", json!({"type": "string"}));
    operation(model, aggregate, "list", "List the actors", vec![after, limit()], answers)
}

/// `POST …/{id}/wake`.
pub(super) fn wake(model: &Model, aggregate: &Aggregate) -> Value {
    let version = json!({"type": "integer", "minimum": 0});
    told(model, aggregate, "wake", "Wake the actor", ("version", version))
}

/// `POST …/{id}/sleep`.
pub(super) fn sleep(model: &Model, aggregate: &Aggregate) -> Value {
    told(
        model,
        aggregate,
        "sleep",
        "Let the actor sleep",
        ("was-awake", json!({"type": "boolean"})),
    )
}

fn told(
    model: &Model,
    aggregate: &Aggregate,
    name: &str,
    summary: &str,
    (member, value): (&str, Value),
) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"actor": {"type": "string"}, member: value},
        "required": ["actor", member],
        "additionalProperties": false,
    });
    let mut answers = failures(&READING);
    answers.extend(failures(&["overloaded"]));
    answers.insert("200".into(), page("Done.", schema));
    operation(model, aggregate, name, summary, references(&["id", "timeout"]), answers)
}

/// `GET /v1/CONTEXT/events`.
pub(super) fn feed(model: &Model) -> Value {
    let mut members = recorded().to_vec();
    members.push(("cursor", json!({"type": "string"})));
    members.push(("actor", json!({"type": "string"})));
    let lines = model.aggregates.values().flat_map(|aggregate| {
        aggregate.events.keys().map(|name| event(model, aggregate, name, &members))
    });
    // Two aggregates may have events that look alike.
    let line = json!({"anyOf": lines.collect::<Vec<_>>()});
    let mut answers = failures(&["invalid", "unauthenticated", "unknown", "unavailable"]);
    answers.insert(
        "200".into(),
        json!({
            "description": "One JSON object per line, or server-sent events whose id is the \
                            cursor: all that happened after the cursor, then what happens.",
            "content": {
                "application/x-ndjson": {"schema": line},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }),
    );
    let text = json!({"type": "string"});
    let mut operation = json!({
        "operationId": format!("{}.feed", model.context),
        "summary": "Follow the events of the context",
        "parameters": [
            query("after", "The cursor to begin after; from the start if left out.", text.clone()),
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "As `after`, sent by clients of server-sent events; it wins.",
                "schema": text,
            },
        ],
        "responses": answers,
    });
    describe(&mut operation, model.about.as_deref());
    operation
}

/// The host's own paths.
pub(super) fn paths() -> Map<String, Value> {
    let path = |name: &str, summary: &str, media: &str, open: bool, may_be_unavailable: bool| {
        let schema = if media == "text/plain" { "string" } else { "object" };
        let ok = json!({
            "description": summary,
            "content": {media: {"schema": {"type": schema}}},
        });
        let mut answers = Map::from_iter([("200".to_owned(), ok)]);
        if may_be_unavailable {
            answers.extend(failures(&["unavailable"]));
        }
        if !open {
            answers.extend(failures(&["unauthenticated"]));
        }
        let mut operation = json!({"operationId": name, "summary": summary, "responses": answers});
        if let (true, Some(operation)) = (open, operation.as_object_mut()) {
            operation.insert("security".into(), json!([]));
        }
        (format!("/{name}"), json!({"get": operation}))
    };
    Map::from_iter([
        path("healthz", "Whether the host lives", "application/json", true, false),
        path("readyz", "Whether the host can serve", "application/json", true, true),
        path("metrics", "Metrics in the text format of Prometheus", "text/plain", false, false),
        path("openapi.json", "This document", "application/json", false, false),
    ])
}

/// What histories and feeds tell of an event beside what it says.
fn recorded() -> [(&'static str, Value); 2] {
    let at = json!({
        "type": "integer",
        "minimum": 0,
        "description": "When its command was received, in ms since 1970.",
    });
    [("at", at), ("command", json!({"type": "string", "description": "The id of its command."}))]
}

fn operation(
    model: &Model,
    aggregate: &Aggregate,
    name: &str,
    summary: &str,
    parameters: Vec<Value>,
    answers: Map<String, Value>,
) -> Value {
    json!({
        "operationId": format!("{}.{}.{name}", model.context, aggregate.name),
        "summary": summary,
        "tags": [tag(model, aggregate)],
        "parameters": parameters,
        "responses": answers,
    })
}

fn page(about: &str, schema: Value) -> Value {
    json!({"description": about, "content": {"application/json": {"schema": schema}}})
}

fn query(name: &str, about: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": about, "schema": schema})
}

fn limit() -> Value {
    let schema = json!({"type": "integer", "minimum": 1, "default": 100});
    query("limit", "How many at most; above 1,000 it is cut.", schema)
}
