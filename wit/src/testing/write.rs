//! A model as its text.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    Model,
    model::{Aggregate, Field, How, Isolation, Named, Rules, Runtime, Step, Then, Type, TypeDef},
};

/// The text of `model`: sections as indented maps, what is in them in braces. JSON is legal there,
/// and says for every value whether it is text.
#[must_use]
pub fn text(model: &Model) -> String {
    let mut out = format!("context: {}\nversion: {}\n", model.context, model.version);
    if let Some(about) = &model.about {
        push(&mut out, format_args!("about: {}\n", Value::from(about.as_str())));
    }
    push(&mut out, format_args!("components: {}\n", Value::from(model.components.clone())));
    if !model.types.is_empty() {
        out.push_str("types:\n");
    }
    for (name, decl) in &model.types {
        let shape = match &decl.def {
            TypeDef::Record(fields) => format!("{{ record: {} }}", braces(fields)),
            TypeDef::Variant(cases) => {
                let cases = cases.iter().map(|case| {
                    let payload = case.payload.as_ref().map(written);
                    format!("{}: {}", case.name, Value::from(payload))
                });
                format!("{{ variant: {{ {} }} }}", cases.collect::<Vec<_>>().join(", "))
            }
            TypeDef::Enum(cases) => format!("{{ enum: [{}] }}", cases.join(", ")),
            TypeDef::Flags(flags) => format!("{{ flags: [{}] }}", flags.join(", ")),
            TypeDef::Alias(ty) => quoted_type(ty),
        };
        push(&mut out, format_args!("  {name}: {shape}\n"));
    }
    out.push_str("aggregates:\n");
    for aggregate in model.aggregates.values() {
        write_aggregate(&mut out, aggregate);
    }
    if !model.scenarios.is_empty() {
        out.push_str("scenarios:\n");
    }
    for scenario in &model.scenarios {
        let name = Value::from(scenario.name.as_str());
        let actor = Value::from(format!("{}/{}", scenario.aggregate, scenario.id));
        push(&mut out, format_args!("  - name: {name}\n    actor: {actor}\n"));
        push(&mut out, format_args!("    given: {}\n    steps:\n", calls(&scenario.given)));
        for step in &scenario.steps {
            let (when, then) = (when(step), then(&step.then));
            push(&mut out, format_args!("      - when: {when}\n        then: {then}\n"));
        }
    }
    out
}

/// The WIT text of a type.
#[must_use]
pub fn written(ty: &Type) -> String {
    match ty {
        Type::List(inner) => format!("list<{}>", written(inner)),
        Type::Option(inner) => format!("option<{}>", written(inner)),
        Type::Tuple(members) => {
            format!("tuple<{}>", members.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        Type::Result { ok, err } => match (ok, err) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", written(ok)),
            (None, Some(err)) => format!("result<_, {}>", written(err)),
            (Some(ok), Some(err)) => format!("result<{}, {}>", written(ok), written(err)),
        },
        Type::Named(name) => name.clone(),
        simple => format!("{simple:?}").to_lowercase(),
    }
}

fn write_aggregate(out: &mut String, of: &Aggregate) {
    push(out, format_args!("  {}:\n", of.name));
    if let Some(about) = &of.about {
        push(out, format_args!("    about: {}\n", Value::from(about.as_str())));
    }
    push(out, format_args!("    state: {}\n    events:\n", braces(&of.state)));
    for (name, event) in &of.events {
        push(out, format_args!("      {name}: {}\n", fact(&event.fields, event.was.as_deref())));
    }
    if !of.rejections.is_empty() {
        out.push_str("    rejections:\n");
    }
    for (name, rejection) in &of.rejections {
        let fact = fact(&rejection.fields, rejection.was.as_deref());
        push(out, format_args!("      {name}: {fact}\n"));
    }
    out.push_str("    commands:\n");
    for (name, command) in &of.commands {
        let (emits, rejects) = (command.emits.join(", "), command.rejects.join(", "));
        let fields = braces(&command.fields);
        push(
            out,
            format_args!(
                "      {name}: {{ fields: {fields}, emits: [{emits}], rejects: [{rejects}] }}\n"
            ),
        );
    }
    if !of.upcasts.is_empty() {
        out.push_str("    upcasts:\n");
    }
    for (name, upcast) in &of.upcasts {
        let how = match &upcast.how {
            How::Component => "component".to_owned(),
            How::Rules(rules) => self::rules(rules),
        };
        push(out, format_args!("      {name}: {how}\n"));
    }
    push(out, format_args!("    runtime: {}\n", settings(&of.runtime)));
}

fn rules(rules: &Rules) -> String {
    let of = |what: &str, entries: Vec<String>| {
        (!entries.is_empty()).then(|| format!("{what}: {{ {} }}", entries.join(", ")))
    };
    let values = |values: &IndexMap<String, Value>| {
        values.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    };
    let rename = rules.rename.iter().map(|(from, to)| format!("{from}: {to}"));
    let into = rules.into.iter().map(|(name, parts)| format!("{name}: [{}]", parts.join(", ")));
    let parts = [
        rules.to.as_ref().map(|to| format!("to: {to}")),
        (!rules.drop.is_empty()).then(|| format!("drop: [{}]", rules.drop.join(", "))),
        of("rename", rename.collect()),
        of("set", values(&rules.set)),
        of("default", values(&rules.default)),
        of("into", into.collect()),
    ];
    format!("{{ {} }}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// An event or rejection: the long form where it is needed.
fn fact(fields: &[Field], was: Option<&str>) -> String {
    match was {
        Some(was) => format!("{{ fields: {}, was: {was} }}", braces(fields)),
        // The short form of a field called `fields` would be read as the long form.
        None if fields.iter().any(|field| field.name == "fields") => {
            format!("{{ fields: {} }}", braces(fields))
        }
        None => braces(fields),
    }
}

fn braces(fields: &[Field]) -> String {
    let fields: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name, field(f))).collect();
    if fields.is_empty() { "{}".into() } else { format!("{{ {} }}", fields.join(", ")) }
}

fn field(field: &Field) -> String {
    if field.default.is_none() && field.was.is_none() && field.about.is_none() {
        return quoted_type(&field.ty);
    }
    let mut long = format!("{{ type: {}", quoted_type(&field.ty));
    if let Some(default) = &field.default {
        push(&mut long, format_args!(", default: {default}"));
    }
    if let Some(was) = &field.was {
        push(&mut long, format_args!(", was: {was}"));
    }
    if let Some(about) = &field.about {
        push(&mut long, format_args!(", about: {}", Value::from(about.as_str())));
    }
    long.push_str(" }");
    long
}

fn quoted_type(ty: &Type) -> String {
    let written = written(ty);
    if written.contains(',') { format!("\"{written}\"") } else { written }
}

fn settings(runtime: &Runtime) -> String {
    let Runtime { snapshot_every, mailbox, memory, dedupe, .. } = runtime;
    let (idle, deadline) = (runtime.idle.as_millis(), runtime.deadline.as_millis());
    let isolation = match runtime.isolation {
        Isolation::Actor => "actor",
        Isolation::Turn => "turn",
    };
    format!(
        "{{ snapshot-every: {snapshot_every}, idle: {idle}ms, mailbox: {mailbox}, \
         memory: {memory}B, deadline: {deadline}ms, dedupe: {dedupe}, isolation: {isolation} }}"
    )
}

fn calls(named: &[Named]) -> String {
    let calls: Vec<String> = named.iter().map(|named| format!("{{ {} }}", call(named))).collect();
    format!("[{}]", calls.join(", "))
}

fn call(named: &Named) -> String {
    format!("{}: {}", named.name, named.fields)
}

fn when(step: &Step) -> String {
    let mut when = format!("{{ {}", call(&step.when));
    let at =
        step.when_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms.try_into().ok()?).ok());
    if let Some(at) = at {
        push(&mut when, format_args!(", at: {at}"));
    }
    if let Some(by) = &step.by {
        push(&mut when, format_args!(", by: {}", Value::from(by.as_str())));
    }
    if let Some(seed) = step.seed {
        push(&mut when, format_args!(", seed: {seed}"));
    }
    when.push_str(" }");
    when
}

fn then(then: &Then) -> String {
    match then {
        Then::Rejected(named) => format!("{{ rejected: {{ {} }} }}", call(named)),
        Then::Accepted { events: Some(events), state: None } => calls(events),
        Then::Accepted { events, state } => {
            let events = events.iter().map(|events| format!("events: {}", calls(events)));
            let state = state.iter().map(|state| format!("state: {state}"));
            format!("{{ {} }}", events.chain(state).collect::<Vec<_>>().join(", "))
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
