//! Commands to try, made from a model: what `aether run` prints when it listens.

use aether_wit::model::{Aggregate, Field, Model, Then, Type, TypeDef};
use serde_json::{Map, Value, json};

use super::client::encode;

/// Nesting at which a sample stops: types are not recursive, but may be deep.
const MAX_DEPTH: usize = 16;

/// Up to three `curl` commands for the first aggregate of `model`, in an order in which they work.
///
/// A scenario that begins with nothing and is accepted gives the first command, because its
/// author knows what the domain accepts; otherwise the first command gets sample values.
#[must_use]
pub fn curls(url: &str, model: &Model) -> Vec<String> {
    let Some(aggregate) = model.aggregates.values().next() else { return Vec::new() };
    let (id, mut posts) = from_scenario(model, aggregate).unwrap_or_else(|| {
        let commands = aggregate.commands.iter().take(2);
        let post = |(name, command): (&String, &aether_wit::model::Command)| {
            (name.clone(), Value::Object(sample_fields(&command.fields, model, 0)))
        };
        ("alice".to_owned(), commands.map(post).collect())
    });
    if let [(first, _)] = posts.as_slice() {
        let next = aggregate.commands.iter().find(|(name, _)| *name != first);
        posts.extend(next.map(|(name, command)| {
            (name.clone(), Value::Object(sample_fields(&command.fields, model, 0)))
        }));
    }
    let actor = format!("{url}/v1/{}/{}/{}", model.context, aggregate.name, encode(&id));
    let mut lines: Vec<String> = posts
        .iter()
        .take(2)
        .map(|(name, fields)| format!("curl -d {} {actor}/{name}", quoted(&fields.to_string())))
        .collect();
    lines.push(format!("curl {actor}"));
    lines
}

type Posts = Vec<(String, Value)>;

fn from_scenario(model: &Model, aggregate: &Aggregate) -> Option<(String, Posts)> {
    let fresh = model.scenarios.iter().find(|scenario| {
        let accepted = |step: &aether_wit::model::Step| {
            !matches!(&step.then, Then::Rejected(_))
                && !matches!(&step.then, Then::Accepted { events: Some(none), .. } if none.is_empty())
        };
        scenario.aggregate == aggregate.name
            && scenario.given.is_empty()
            && scenario.steps.first().is_some_and(accepted)
    })?;
    let step = fresh.steps.first()?;
    Some((fresh.id.clone(), vec![(step.when.name.clone(), step.when.fields.clone())]))
}

fn sample_fields(fields: &[Field], model: &Model, depth: usize) -> Map<String, Value> {
    let required =
        fields.iter().filter(|f| f.default.is_none() && !matches!(f.ty, Type::Option(_)));
    required.map(|field| (field.name.clone(), sample(&field.ty, model, depth))).collect()
}

fn sample(ty: &Type, model: &Model, depth: usize) -> Value {
    let inner = |ty: &Type| sample(ty, model, depth + 1);
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    match ty {
        Type::Bool => json!(true),
        Type::S8 | Type::S16 | Type::S32 | Type::S64 => json!(1),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => json!(10),
        Type::F32 | Type::F64 => json!(1.5),
        Type::Char => json!("a"),
        Type::String => json!("Alice"),
        Type::List(of) if **of == Type::U8 => json!("AAE="),
        Type::List(of) => json!([inner(of)]),
        Type::Option(_) => Value::Null,
        Type::Tuple(parts) => parts.iter().map(inner).collect(),
        Type::Result { ok, .. } => json!({ "ok": ok.as_ref().map(|ty| inner(ty)) }),
        Type::Named(name) => match model.types.get(name).map(|declared| &declared.def) {
            Some(TypeDef::Record(fields)) => Value::Object(sample_fields(fields, model, depth + 1)),
            Some(TypeDef::Variant(cases)) => match cases.first() {
                Some(case) => case.payload.as_ref().map_or_else(
                    || json!(case.name),
                    |ty| json!({ case.name.as_str(): inner(ty) }),
                ),
                None => Value::Null,
            },
            Some(TypeDef::Enum(names)) => json!(names.first()),
            Some(TypeDef::Flags(_)) => json!([]),
            Some(TypeDef::Alias(ty)) => inner(ty),
            None => Value::Null,
        },
    }
}

/// `text` as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aether_wit::{
        Digest,
        model::{Command, Location, Named, Runtime, Scenario, Step, TypeDecl},
    };
    use indexmap::IndexMap;

    use super::*;

    fn field(name: &str, ty: Type) -> Field {
        let at = Location::default();
        Field { at, name: name.to_owned(), ty, default: None, was: None, about: None }
    }

    fn command(fields: Vec<Field>) -> Command {
        Command { at: Location::default(), about: None, fields, emits: vec![], rejects: vec![] }
    }

    fn model(commands: Vec<(&str, Vec<Field>)>) -> Model {
        let commands = commands.into_iter().map(|(n, f)| (n.to_owned(), command(f))).collect();
        let account = Aggregate {
            at: Location::default(),
            name: "account".to_owned(),
            about: None,
            state: vec![],
            commands,
            events: IndexMap::new(),
            rejections: IndexMap::new(),
            upcasts: IndexMap::new(),
            runtime: Runtime::default(),
        };
        Model {
            digest: Digest::of(""),
            source: Arc::from(""),
            places: aether_wit::model::Places::default(),
            context: "bank".to_owned(),
            version: "0.1.0".parse().unwrap(),
            about: None,
            components: vec![],
            types: IndexMap::new(),
            aggregates: [("account".to_owned(), account)].into_iter().collect(),
            scenarios: vec![],
        }
    }

    #[test]
    fn without_scenarios_the_first_commands_get_samples() {
        let model = model(vec![
            (
                "open",
                vec![
                    field("owner", Type::String),
                    field("note", Type::Option(Box::new(Type::Bool))),
                ],
            ),
            ("deposit", vec![field("amount", Type::U64)]),
            ("close", vec![]),
        ]);
        assert_eq!(
            curls("http://127.0.0.1:4280", &model),
            [
                r#"curl -d '{"owner":"Alice"}' http://127.0.0.1:4280/v1/bank/account/alice/open"#,
                r#"curl -d '{"amount":10}' http://127.0.0.1:4280/v1/bank/account/alice/deposit"#,
                "curl http://127.0.0.1:4280/v1/bank/account/alice",
            ]
        );
    }

    #[test]
    fn a_scenario_that_begins_with_nothing_shows_the_way() {
        let mut model = model(vec![("deposit", vec![]), ("open", vec![])]);
        let named = |name: &str, fields: Value| Named {
            at: Location::default(),
            name: name.to_owned(),
            fields,
        };
        let scenario = |then: Then| Scenario {
            at: Location::default(),
            name: "s".to_owned(),
            aggregate: "account".to_owned(),
            id: "o'hara b".to_owned(),
            given: vec![],
            steps: vec![Step {
                when: named("open", json!({"owner": "O'Hara"})),
                when_at: None,
                by: None,
                seed: None,
                then,
            }],
        };
        model.scenarios.push(scenario(Then::Rejected(named("no", json!({})))));
        model.scenarios.push(scenario(Then::Accepted { events: None, state: None }));
        assert_eq!(
            curls("http://h", &model),
            [
                r#"curl -d '{"owner":"O'\''Hara"}' http://h/v1/bank/account/o%27hara%20b/open"#,
                "curl -d '{}' http://h/v1/bank/account/o%27hara%20b/deposit",
                "curl http://h/v1/bank/account/o%27hara%20b",
            ]
        );
    }

    #[test]
    fn samples_fit_their_types() {
        let mut model = model(vec![("open", vec![])]);
        let decl = |def| TypeDecl { at: Location::default(), about: None, def };
        let types = [
            ("money", TypeDef::Record(vec![field("cents", Type::U64)])),
            ("tier", TypeDef::Enum(vec!["basic".to_owned()])),
            ("marks", TypeDef::Flags(vec!["a".to_owned()])),
            ("cash", TypeDef::Alias(Type::Named("money".to_owned()))),
        ];
        model.types = types.map(|(name, def)| (name.to_owned(), decl(def))).into_iter().collect();
        let named = |name: &str| Type::Named(name.to_owned());
        let of = |ty: &Type| sample(ty, &model, 0);
        assert_eq!(of(&Type::List(Box::new(named("cash")))), json!([{"cents": 10}]));
        assert_eq!(of(&named("tier")), json!("basic"));
        assert_eq!(of(&named("marks")), json!([]));
        assert_eq!(
            of(&Type::Tuple(vec![Type::Char, Type::List(Box::new(Type::U8))])),
            json!(["a", "AAE="])
        );
        assert_eq!(of(&Type::Result { ok: None, err: None }), json!({"ok": null}));
    }
}
