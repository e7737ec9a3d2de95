//! The HTTP face of models as OpenAPI 3.1.
//!
//! Every aggregate has its own paths and every command its own operation, with the events that it
//! may give and the rejections that it may use, so that a client made from the document is typed
//! to the last field. Values look as JSON writes them everywhere in aether; a field that may be
//! left out is not required. Keys are sorted, so the same models give the same bytes.

use serde_json::{Map, Value, json};

use crate::{
    Model,
    model::{Aggregate, Command, Field},
};

mod schemas;
mod shared;
#[cfg(test)]
mod tests;

use schemas::{fields_schema, is_optional, reference};

/// The OpenAPI document of `models`, as pretty JSON with a final newline.
#[must_use]
pub fn openapi(models: &[&Model]) -> String {
    let mut document = Document::default();
    for model in models {
        document.model(model);
    }
    document.paths.extend(shared::paths());
    document.schemas.extend(shared::schemas());
    let whole = json!({
        "openapi": "3.1.0",
        "info": info(models),
        "servers": [{"url": "/"}],
        // A host that was started with tokens wants one; others take none.
        "security": [{}, {"token": []}],
        "tags": document.tags,
        "paths": document.paths,
        "components": {
            "schemas": document.schemas,
            "parameters": shared::parameters(),
            "responses": shared::responses(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    });
    format!("{whole:#}\n")
}

fn info(models: &[&Model]) -> Value {
    let join = |part: fn(&Model) -> String, between: &str| {
        models.iter().map(|model| part(model)).collect::<Vec<_>>().join(between)
    };
    let version = match models {
        [model] => model.version.to_string(),
        _ => join(|model| format!("{} {}", model.context, model.version), ", "),
    };
    let mut info = json!({"title": join(|model| model.context.clone(), ", "), "version": version});
    let about = join(|model| model.about.clone().unwrap_or_default(), "\n\n");
    describe(&mut info, Some(about.trim()));
    info
}

/// Gives an object the description `about`, if it says something.
fn describe(object: &mut Value, about: Option<&str>) {
    let about = about.map(str::trim).filter(|about| !about.is_empty());
    if let (Some(about), Some(object)) = (about, object.as_object_mut()) {
        object.insert("description".into(), about.into());
    }
}

#[derive(Default)]
struct Document {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
}

impl Document {
    fn model(&mut self, model: &Model) {
        let context = &model.context;
        for (name, decl) in &model.types {
            let schema = schemas::declared(model, decl);
            self.schemas.insert(format!("{context}.{name}"), schema);
        }
        for aggregate in model.aggregates.values() {
            self.aggregate(model, aggregate);
        }
        self.operation(&format!("/v1/{context}/events"), "get", shared::feed(model));
    }

    fn aggregate(&mut self, model: &Model, aggregate: &Aggregate) {
        let mut tag = json!({"name": tag(model, aggregate)});
        describe(&mut tag, aggregate.about.as_deref());
        self.tags.push(tag);
        self.records(model, aggregate);

        let many = format!("/v1/{}/{}", model.context, aggregate.name);
        let one = format!("{many}/{{id}}");
        self.operation(&many, "get", shared::list(model, aggregate));
        self.operation(&one, "get", shared::state(model, aggregate));
        self.operation(&format!("{one}/events"), "get", shared::history(model, aggregate));
        self.operation(&format!("{one}/wake"), "post", shared::wake(model, aggregate));
        self.operation(&format!("{one}/sleep"), "post", shared::sleep(model, aggregate));
        for (name, command) in &aggregate.commands {
            let operation = self::command(model, aggregate, name, command);
            self.operation(&format!("{one}/{name}"), "post", operation);
        }
    }

    /// The schemas of an aggregate's state, commands, events and rejections.
    fn records(&mut self, model: &Model, aggregate: &Aggregate) {
        let commands = aggregate.commands.iter();
        let commands = commands.map(|(name, it)| ("commands", name, &it.about, &it.fields));
        let events = aggregate.events.iter();
        let events = events.map(|(name, it)| ("events", name, &it.about, &it.fields));
        let rejections = aggregate.rejections.iter();
        let rejections = rejections.map(|(name, it)| ("rejections", name, &it.about, &it.fields));
        for (kind, name, about, fields) in commands.chain(events).chain(rejections) {
            self.record(model, aggregate, &format!("{kind}.{name}"), about.as_deref(), fields);
        }
        self.record(model, aggregate, "state", None, &aggregate.state);
    }

    fn record(
        &mut self,
        model: &Model,
        aggregate: &Aggregate,
        name: &str,
        about: Option<&str>,
        fields: &[Field],
    ) {
        let mut schema = fields_schema(model, fields);
        describe(&mut schema, about);
        self.schemas.insert(format!("{}.{}.{name}", model.context, aggregate.name), schema);
    }

    fn operation(&mut self, path: &str, method: &str, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.into(), operation);
        }
    }
}

fn tag(model: &Model, aggregate: &Aggregate) -> String {
    format!("{}/{}", model.context, aggregate.name)
}

/// A reference to the schema of an aggregate's `state`, `events.NAME` and the like.
fn record_reference(model: &Model, aggregate: &Aggregate, name: &str) -> Value {
    reference(&format!("{}.{}.{name}", model.context, aggregate.name))
}

/// `POST …/{id}/COMMAND`.
fn command(model: &Model, aggregate: &Aggregate, name: &str, command: &Command) -> Value {
    let mut answers = shared::failures(&[
        "invalid",
        "unauthenticated",
        "unknown",
        "contended",
        "conflict",
        "too-large",
        "quarantined",
        "overloaded",
        "component-fault",
        "unavailable",
        "unresolved",
    ]);
    answers.insert("200".into(), accepted(model, aggregate, command));
    if !command.rejects.is_empty() {
        answers.insert("422".into(), rejected(model, aggregate, command));
    }
    let must_be_given = command.fields.iter().any(|field| !is_optional(model, field));
    let body = record_reference(model, aggregate, &format!("commands.{name}"));
    let mut operation = json!({
        "operationId": format!("{}.{}.commands.{name}", model.context, aggregate.name),
        "summary": name,
        "tags": [tag(model, aggregate)],
        "parameters": shared::references(&[
            "id", "timeout", "idempotency-key", "if-match", "traceparent", "correlation-id",
        ]),
        "requestBody": {
            "required": must_be_given,
            "content": {"application/json": {"schema": body}},
        },
        "responses": answers,
    });
    describe(&mut operation, command.about.as_deref());
    operation
}

/// What a command did.
fn accepted(model: &Model, aggregate: &Aggregate, command: &Command) -> Value {
    let lines = command.emits.iter().map(|event| shared::event(model, aggregate, event, &[]));
    let schema = json!({
        "type": "object",
        "properties": {
            "actor": {"type": "string"},
            "version": {"type": "integer", "minimum": 0},
            "command": {"type": "string"},
            "events": shared::list_of(lines.collect()),
        },
        "required": ["actor", "version", "command", "events"],
        "additionalProperties": false,
    });
    json!({
        "description": "It happened: these events are stored.",
        "content": {"application/json": {"schema": schema}},
    })
}

/// Why the domain refuses a command.
fn rejected(model: &Model, aggregate: &Aggregate, command: &Command) -> Value {
    let cases = command.rejects.iter().map(|name| {
        let has_fields = aggregate.rejections.get(name).is_some_and(|it| !it.fields.is_empty());
        let record = record_reference(model, aggregate, &format!("rejections.{name}"));
        (name.as_str(), has_fields.then_some(record))
    });
    let rejection = schemas::cases(cases);
    let schema = json!({
        "allOf": [
            reference("problem"),
            {
                "type": "object",
                "properties": {"code": {"const": "rejected"}, "rejection": rejection},
                "required": ["rejection", "actor", "version", "command"],
            },
        ],
    });
    json!({
        "description": "The domain said no, and why. Nothing was stored.",
        "content": {"application/problem+json": {"schema": schema}},
    })
}
