use aether_wit::{
    Digest,
    model::{Event, Location, Runtime, TypeDecl},
};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::*;

/// A model with nothing but these types.
pub(crate) fn model(types: impl IntoIterator<Item = (&'static str, TypeDef)>) -> Model {
    let decl = |def| TypeDecl { at: Location::default(), about: None, def };
    Model {
        digest: Digest::of("test"),
        source: "test".into(),
        places: model::Places::default(),
        context: "test".to_owned(),
        version: "0.1.0".parse().unwrap(),
        about: None,
        components: Vec::new(),
        types: types.into_iter().map(|(name, def)| (name.to_owned(), decl(def))).collect(),
        aggregates: IndexMap::new(),
        scenarios: Vec::new(),
    }
}

/// A field without default or former name.
pub(crate) fn field(name: &str, ty: Type) -> model::Field {
    let at = Location::default();
    model::Field { at, name: name.to_owned(), ty, default: None, was: None, about: None }
}

/// A field that may be left out.
pub(crate) fn defaulted(name: &str, ty: Type, default: Value) -> model::Field {
    model::Field { default: Some(default), ..field(name, ty) }
}

fn named(name: &str) -> Type {
    Type::Named(name.to_owned())
}

#[test]
fn names_are_resolved_and_aliases_followed() {
    let model = model([
        ("octet", TypeDef::Alias(Type::U8)),
        ("small", TypeDef::Alias(named("octet"))),
        ("blob", TypeDef::Alias(Type::List(Box::new(named("small"))))),
        ("maybe", TypeDef::Alias(Type::Option(Box::new(named("blob"))))),
    ]);
    assert!(matches!(Plan::of(&model, &named("small")), Plan::U8));
    assert!(matches!(Plan::of(&model, &named("blob")), Plan::Bytes));
    let Plan::Option(some) = Plan::of(&model, &named("maybe")) else { panic!("not an option") };
    assert!(matches!(*some, Plan::Bytes));
}

/// Each type holds the one before it twice: resolved by copying, this would be 2^200 fields.
#[test]
fn a_type_that_is_used_often_is_planned_once() {
    let names: Vec<&'static str> = (0..200).map(|n| &*format!("t{n}").leak()).collect();
    let types = names.iter().enumerate().map(|(n, name)| {
        let inner = if n == 0 { Type::U8 } else { named(names[n - 1]) };
        (*name, TypeDef::Record(vec![field("a", inner.clone()), field("b", inner)]))
    });
    let model = model(types);
    assert!(matches!(Plan::of(&model, &named("t199")), Plan::Record(fields) if fields.len() == 2));
}

#[test]
fn defaults_become_bytes() {
    let plan = Plan::record(
        &model([]),
        &[
            defaulted("n", Type::U64, json!(u64::MAX)),
            defaulted("none", Type::Option(Box::new(Type::Bool)), Value::Null),
        ],
    );
    let Plan::Record(fields) = plan else { panic!("not a record") };
    assert_eq!(
        fields[0].default,
        Some(Reader::Caller.read(&Plan::U64, b"18446744073709551615").unwrap())
    );
    assert_eq!(fields[1].default, Some(Packed([0].into())));
}

#[test]
fn events_are_known_by_their_former_names_too() {
    let event = |was: Option<&str>, fields| Event {
        at: Location::default(),
        about: None,
        was: was.map(str::to_owned),
        fields,
    };
    let counted = vec![defaulted("times", Type::U64, json!(1))];
    let aggregate = Aggregate {
        at: Location::default(),
        name: "account".to_owned(),
        about: None,
        state: vec![field("open", Type::Bool)],
        commands: IndexMap::new(),
        events: [
            ("paid-in", event(Some("deposited"), Vec::new())),
            ("opened", event(None, counted)),
        ]
        .map(|(name, event)| (name.to_owned(), event))
        .into(),
        rejections: IndexMap::new(),
        upcasts: IndexMap::new(),
        runtime: Runtime::default(),
    };
    let plans = AggregatePlans::new(&model([]), &aggregate);
    assert_eq!(plans.events.index_of("paid-in"), Some(0));
    assert_eq!(plans.events.index_of("deposited"), Some(0));
    assert_eq!(plans.events.index_of("opened"), Some(1));
    assert_eq!(plans.events.index_of("closed"), None);
    assert_eq!(plans.events.get(1).map(|(name, _)| &**name), Some("opened"));
    assert!(plans.events.get(2).is_none());
    assert!(!plans.events.has_defaults(0) && plans.events.has_defaults(1));
    assert!(matches!(plans.state, Plan::Record(_)));
}
