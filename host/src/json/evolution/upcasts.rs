//! What `aether_wit::upcast` says of stored events, the log must bear out: what an upcast covers
//! reads after it, what is read as it stands reads, and a model that may go back to another can
//! read what was stored meanwhile.

use aether_wit::{
    model::{How, Rules, Upcast},
    upcast::{Reading, reading, unreadable},
};
use indexmap::IndexMap;

use super::*;

/// The model after edits that only upcasts can make up for, with those upcasts; some of them are
/// forgotten.
fn upcast(mut model: Model, choices: u64) -> Model {
    let mut choose = choices;
    let mut chosen = || {
        choose = choose.rotate_right(1);
        choose & 1 == 1
    };
    let record = field("zz-deep", Type::U16);
    let deep = TypeDef::Record(vec![record, field("zz-const", Type::String)]);
    let decl = aether_wit::model::TypeDecl { at: Location::default(), about: None, def: deep };
    model.types.insert("zz-record".to_owned(), decl);
    for aggregate in model.aggregates.values_mut() {
        let names: Vec<String> = aggregate.events.keys().cloned().collect();
        for name in names {
            let mut rules = Rules::default();
            let event = aggregate.events.get_mut(&name).unwrap();
            change_fields(&mut event.fields, &mut rules, &mut chosen);
            if chosen() && chosen() {
                let heir = format!("zz-{name}");
                rules.to = Some(heir.clone());
                let event = aggregate.events.shift_remove(&name).unwrap();
                aggregate.events.insert(heir, event);
            }
            if chosen() || chosen() || chosen() {
                let how = How::Rules(Box::new(rules));
                aggregate.upcasts.insert(name, Upcast { at: Location::default(), how });
            }
        }
    }
    model
}

fn change_fields(fields: &mut Vec<Field>, rules: &mut Rules, chosen: &mut impl FnMut() -> bool) {
    for now in std::mem::take(fields) {
        let name = now.name.clone();
        match (chosen(), chosen(), chosen()) {
            (true, true, true) => rules.drop.push(name),
            (true, true, false) => {
                let renamed = format!("zz-{name}");
                rules.rename.insert(name, renamed.clone());
                fields.push(Field { name: renamed, was: None, ..now });
            }
            (true, false, true) => {
                rules.set.insert(name, json!({"zz-deep": 7, "zz-const": "x"}));
                fields.push(Field {
                    ty: Type::Named("zz-record".to_owned()),
                    default: None,
                    ..now
                });
            }
            (true, false, false) if matches!(now.ty, Type::U8 | Type::U16) => {
                rules.rename.insert(name.clone(), "zz-deep".to_owned());
                rules.default.insert("zz-const".to_owned(), json!("y"));
                let parts = ["zz-deep", "zz-const"].map(str::to_owned).to_vec();
                rules.into.insert(name, parts);
                fields.push(Field {
                    ty: Type::Named("zz-record".to_owned()),
                    default: None,
                    ..now
                });
            }
            _ => fields.push(now),
        }
        if rules.into.len() == 1 {
            break;
        }
    }
    if chosen() {
        rules.default.insert("zz-new".to_owned(), json!([1, "two"]));
        fields.push(field("zz-new", Type::Tuple(vec![Type::U8, Type::String])));
    }
}

fn field(name: &str, ty: Type) -> Field {
    let (at, name) = (Location::default(), name.to_owned());
    Field { at, name, ty, default: None, was: None, about: None }
}

/// The model without upcasts: those of random models are for events that nobody stored.
fn without(mut model: Model) -> Model {
    model.aggregates.values_mut().for_each(|aggregate| aggregate.upcasts = IndexMap::new());
    model
}

/// Reads what `old` stored of an event as `new` says that it can; none if it says that it cannot.
fn read(
    (old, new): (&Model, &Model),
    aggregate: &str,
    (name, event): (&String, &Event),
    seed: u64,
) -> Result<Option<Value>, TestCaseError> {
    let plans = [(old, aggregate), (new, aggregate)]
        .map(|(model, name)| AggregatePlans::new(model, &model.aggregates[name]));
    let case = plans[0].events.index_of(name).unwrap();
    let written = said(&plans[0], case, &stored(old, event, seed))?;
    let (target, data) = match reading(new, old, aggregate, name) {
        Reading::AsStored(target) => (target, written),
        Reading::Mapped(mapping) => {
            let data = mapping.apply(&written.to_string());
            let data = data.map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
            (mapping.event().to_owned(), serde_json::from_str(&data).unwrap())
        }
        Reading::Component => return Err(TestCaseError::fail("no component was asked for")),
        Reading::Unreadable(_) => return Ok(None),
    };
    let case = plans[1].events.index_of(&target);
    let case = case.ok_or_else(|| TestCaseError::fail(format!("{target} is gone")))?;
    said(&plans[1], case, &data).map(Some)
}

proptest! {
    #[test]
    fn what_an_upcast_covers_reads(
        old in testing::model(),
        choices: u64,
        seed in 0..u64::MAX / 2,
    ) {
        let old = without(old);
        let new = upcast(old.clone(), choices);
        let mut unread = 0;
        for (aggregate, before) in &old.aggregates {
            for event in &before.events {
                unread += usize::from(read((&old, &new), aggregate, event, seed)?.is_none());
            }
            for event in &new.aggregates[aggregate].events {
                let own = reading(&new, &new, aggregate, event.0);
                prop_assert_eq!(own, Reading::AsStored(event.0.clone()));
            }
        }
        // The two ways to ask say the same.
        let changes = diff(&old, &new);
        let needed = changes.iter().filter(|it| it.impact == Impact::NeedsUpcast).count();
        prop_assert_eq!(needed > 0, unread > 0, "{:#?}", changes);
    }

    #[test]
    fn a_model_that_may_go_back_reads_what_was_stored_meanwhile(
        old in testing::model(),
        choices: u64,
        seed in 0..u64::MAX / 2,
    ) {
        let old = without(old);
        let new = edited(old.clone(), choices);
        let unreadable = unreadable(&old, &new);
        for (name, aggregate) in &new.aggregates {
            let emits: Vec<_> = aggregate.commands.values().flat_map(|it| &it.emits).collect();
            for event in aggregate.events.iter().filter(|(event, _)| emits.contains(event)) {
                let listed = unreadable.contains(&(name.clone(), event.0.clone()));
                let read = read((&new, &old), name, event, seed)?;
                prop_assert_eq!(read.is_none(), listed, "{}", event.0);
            }
        }
        for (name, _) in &unreadable {
            prop_assert!(new.aggregates.contains_key(name));
        }
    }
}

/// Not all random edits are forgotten, and not all are made up for.
#[test]
fn the_random_edits_are_of_every_kind() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let (mut as_stored, mut mapped, mut unread) = (0, 0, 0);
    for choices in 0..64_u64 {
        let old = without(testing::model().new_tree(&mut runner).unwrap().current());
        let new = upcast(old.clone(), choices.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (name, aggregate) in &old.aggregates {
            for event in aggregate.events.keys() {
                match reading(&new, &old, name, event) {
                    Reading::AsStored(_) => as_stored += 1,
                    Reading::Mapped(_) => mapped += 1,
                    Reading::Unreadable(_) => unread += 1,
                    Reading::Component => {}
                }
            }
        }
    }
    assert!(as_stored > 5 && mapped > 20 && unread > 5, "{as_stored} {mapped} {unread}");
}
