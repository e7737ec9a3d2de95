//! What `aether_wit::diff` calls compatible, the log must bear out: every event that was stored
//! under the old model reads under the new one, and says the same.

use aether_wit::{
    Model,
    diff::{Impact, diff},
    model::{Aggregate, Event, Field, Location, Type, TypeDef},
    testing,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AggregatePlans, Reader, write};

mod upcasts;

/// The model after edits that its team may make; `choices` says which.
fn edited(mut model: Model, choices: u64) -> Model {
    let mut choose = choices;
    let mut chosen = || {
        let yes = choose & 1 == 1;
        choose = choose.rotate_right(1);
        yes
    };
    for aggregate in model.aggregates.values_mut() {
        for event in aggregate.events.values_mut() {
            edit_fields(&mut event.fields, Renames::Yes, &mut chosen);
        }
        if chosen() {
            rename_first(aggregate);
        }
        if chosen() {
            let event = Event { at: Location::default(), about: None, was: None, fields: vec![] };
            aggregate.events.insert("zz-new-event".to_owned(), event);
        }
    }
    for declared in model.types.values_mut() {
        if !(chosen() && chosen()) {
            continue;
        }
        match &mut declared.def {
            TypeDef::Record(fields) => edit_fields(fields, Renames::No, &mut chosen),
            TypeDef::Enum(cases) => cases.push("zz-new-case".to_owned()),
            TypeDef::Alias(ty) => *ty = wider(ty),
            TypeDef::Variant(_) | TypeDef::Flags(_) => {}
        }
    }
    model
}

/// Whether fields may get another name. Not in a named type: a default of that type elsewhere in
/// the model would have to be rewritten with it.
#[derive(Clone, Copy, PartialEq)]
enum Renames {
    Yes,
    No,
}

fn edit_fields(fields: &mut Vec<Field>, renames: Renames, chosen: &mut impl FnMut() -> bool) {
    let field = |name: &str, ty, default| Field {
        at: Location::default(),
        name: name.to_owned(),
        ty,
        default,
        was: None,
        about: None,
    };
    for old in fields.iter_mut() {
        if chosen() && old.default.is_none() {
            old.ty = wider(&old.ty);
        }
        if chosen() && renames == Renames::Yes && old.was.is_none() {
            let renamed = format!("zz-{}", old.name);
            old.was = Some(std::mem::replace(&mut old.name, renamed));
        }
    }
    if chosen() {
        fields.insert(0, field("zz-maybe", Type::Option(Box::new(Type::String)), None));
    }
    if chosen() {
        fields.push(field("zz-seven", Type::U8, Some(json!(7))));
    }
}

fn rename_first(aggregate: &mut Aggregate) {
    let Some((name, mut event)) = aggregate.events.shift_remove_index(0) else { return };
    let renamed = format!("zz-{name}");
    for command in aggregate.commands.values_mut() {
        for emitted in command.emits.iter_mut().filter(|emitted| **emitted == name) {
            emitted.clone_from(&renamed);
        }
    }
    if event.was.is_none() {
        event.was = Some(name);
    }
    aggregate.events.shift_insert(0, renamed, event);
}

fn wider(ty: &Type) -> Type {
    match ty {
        Type::U8 => Type::S16,
        Type::U16 => Type::U32,
        Type::U32 => Type::U64,
        Type::S8 => Type::S64,
        Type::S32 => Type::S64,
        Type::F32 => Type::F64,
        Type::List(item) if **item != Type::U8 => Type::List(Box::new(wider(item))),
        other => other.clone(),
    }
}

/// An event of the old model as it stands in the log.
fn stored(model: &Model, event: &Event, seed: u64) -> Value {
    let fields =
        event.fields.iter().zip(seed..).map(|(field, seed)| {
            (field.name.clone(), testing::value(&field.ty, &model.types, seed))
        });
    Value::Object(fields.collect())
}

/// The same value as it is written under a plan: what two readings are compared by.
fn said(plans: &AggregatePlans, case: usize, json: &Value) -> Result<Value, TestCaseError> {
    let (name, plan) = plans.events.get(case).unwrap();
    let packed = Reader::Log
        .read(plan, json.to_string().as_bytes())
        .map_err(|error| TestCaseError::fail(format!("`{name}` {json}: {error}")))?;
    Ok(serde_json::from_str(write(plan, &packed).get()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn every_old_event_survives_every_compatible_change(
        old in testing::model(),
        choices: u64,
        seed in 0..u64::MAX / 2,
    ) {
        let new = edited(old.clone(), choices);
        prop_assume!(diff(&old, &new).iter().all(|change| change.impact == Impact::Compatible));
        for (name, before) in &old.aggregates {
            let after = &new.aggregates[name];
            let plans = [AggregatePlans::new(&old, before), AggregatePlans::new(&new, after)];
            for (case, (name, event)) in before.events.iter().enumerate() {
                let json = stored(&old, event, seed);
                let then = said(&plans[0], case, &json)?;
                let found = plans[1].events.index_of(name);
                let found = found.ok_or_else(|| TestCaseError::fail(format!("{name} is gone")))?;
                let now = said(&plans[1], found, &then)?;
                let after = after.events.get_index(found).unwrap().1;
                for field in &event.fields {
                    let kept = after.fields.iter().find(|f| {
                        f.name == field.name || f.was.as_deref() == Some(&field.name)
                    });
                    let kept = kept.map(|f| &now[&f.name]);
                    let plain = !matches!(field.ty, Type::Named(_) | Type::List(_) | Type::F32);
                    if plain && !has_names(&field.ty) {
                        prop_assert_eq!(kept, Some(&then[&field.name]), "{}", field.name);
                    }
                }
            }
        }
    }
}

/// Whether a named type stands in `ty`: its own fields may have been renamed.
fn has_names(ty: &Type) -> bool {
    match ty {
        Type::Named(_) | Type::F32 => true,
        Type::List(inner) | Type::Option(inner) => has_names(inner),
        Type::Tuple(items) => items.iter().any(has_names),
        Type::Result { ok, err } => [ok, err].into_iter().flatten().any(|inner| has_names(inner)),
        _ => false,
    }
}
