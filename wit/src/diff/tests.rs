use Impact::{Breaking, Compatible, NeedsUpcast};
use proptest::prelude::*;

use super::*;
use crate::{
    model::{Case, Field, Type, TypeDecl, TypeDef},
    wit::samples::{aggregate, bank, field, list, named, option, shop},
};

/// The changes from `old` to the same model after `edit`, as `(impact, element)`.
fn after(old: &Model, edit: impl FnOnce(&mut Model)) -> Vec<(Impact, String)> {
    let mut new = old.clone();
    edit(&mut new);
    diff(old, &new).into_iter().map(|change| (change.impact, change.element)).collect()
}

/// The impact of giving the event field `account.events.deposited.amount` another type.
fn event_field(old: Type, new: Type) -> Option<Impact> {
    let mut before = bank();
    before.aggregates["account"].events["deposited"].fields[0].ty = old;
    let changes = after(&before, |model| event_fields(model)[0].ty = new);
    changes.into_iter().map(|(impact, _)| impact).max()
}

fn event_fields(model: &mut Model) -> &mut Vec<Field> {
    &mut model.aggregates["account"].events["deposited"].fields
}

fn one(impact: Impact, element: &str) -> Vec<(Impact, String)> {
    vec![(impact, element.into())]
}

#[test]
fn a_model_does_not_differ_from_itself() {
    for model in [bank(), shop()] {
        assert_eq!(diff(&model, &model.clone()), []);
    }
}

#[test]
fn numbers_may_get_wider_and_never_narrower() {
    let [s, u] =
        [[Type::S8, Type::S16, Type::S32, Type::S64], [Type::U8, Type::U16, Type::U32, Type::U64]];
    for (i, (s_old, u_old)) in s.iter().zip(&u).enumerate() {
        for (j, (s_new, u_new)) in s.iter().zip(&u).enumerate() {
            let wider = |is: bool| Some(if is { Compatible } else { NeedsUpcast });
            let same_sign = if i == j { None } else { wider(i < j) };
            assert_eq!(event_field(s_old.clone(), s_new.clone()), same_sign);
            assert_eq!(event_field(u_old.clone(), u_new.clone()), same_sign);
            assert_eq!(event_field(u_old.clone(), s_new.clone()), wider(i < j));
            assert_eq!(event_field(s_old.clone(), u_new.clone()), Some(NeedsUpcast));
        }
    }
    assert_eq!(event_field(Type::F32, Type::F64), Some(Compatible));
    assert_eq!(event_field(Type::F64, Type::F32), Some(NeedsUpcast));
    assert_eq!(event_field(Type::U32, Type::F64), Some(NeedsUpcast));
    assert_eq!(event_field(Type::Char, Type::String), Some(NeedsUpcast));
}

#[test]
fn widening_reaches_into_other_types_where_values_are_written_alike() {
    let (narrow, wide) = (Type::U32, Type::U64);
    assert_eq!(event_field(list(narrow.clone()), list(wide.clone())), Some(Compatible));
    assert_eq!(event_field(option(narrow.clone()), option(wide.clone())), Some(Compatible));
    let pair = |ty: &Type| Type::Tuple(vec![Type::Bool, ty.clone()]);
    assert_eq!(event_field(pair(&narrow), pair(&wide)), Some(Compatible));
    assert_eq!(event_field(pair(&wide), pair(&narrow)), Some(NeedsUpcast));
    assert_eq!(event_field(Type::Tuple(vec![Type::Bool]), pair(&wide)), Some(NeedsUpcast));
    let result = |ok: Option<&Type>| Type::Result { ok: ok.cloned().map(Box::new), err: None };
    assert_eq!(event_field(result(Some(&narrow)), result(Some(&wide))), Some(Compatible));
    assert_eq!(event_field(result(None), result(Some(&wide))), Some(NeedsUpcast));
}

#[test]
fn bytes_and_nested_options_are_written_in_another_way() {
    assert_eq!(event_field(list(Type::U8), list(Type::U16)), Some(NeedsUpcast));
    assert_eq!(event_field(list(Type::U8), Type::String), Some(NeedsUpcast));
    let (flat, nested) = (option(Type::Bool), option(option(Type::Bool)));
    assert_eq!(event_field(flat.clone(), nested.clone()), Some(NeedsUpcast));
    assert_eq!(event_field(nested, flat), Some(NeedsUpcast));

    // The same through an alias: the alias itself only gets wider.
    let mut old = bank().with_type("byte", TypeDef::Alias(Type::U8));
    event_fields(&mut old)[0].ty = list(named("byte"));
    let changes = after(&old, |model| model.types["byte"].def = TypeDef::Alias(Type::U16));
    assert!(
        changes.contains(&(NeedsUpcast, "account.events.deposited.amount".into())),
        "{changes:?}"
    );
}

#[test]
fn a_new_event_field_is_optional_and_a_removed_one_is_missed() {
    let place = "account.events.deposited.note";
    let new = |field: Field| after(&bank(), |model| event_fields(model).push(field));
    assert_eq!(new(field("note", Type::String)), one(NeedsUpcast, place));
    assert_eq!(new(field("note", option(Type::String))), one(Compatible, place));
    let with_default = Field { default: Some("".into()), ..field("note", Type::String) };
    assert_eq!(new(with_default), one(Compatible, place));
    let changes = after(&bank(), |model| event_fields(model).clear());
    assert_eq!(changes, one(NeedsUpcast, "account.events.deposited.amount"));
    assert_eq!(event_field(Type::U64, option(Type::U64)), Some(NeedsUpcast));
    assert_eq!(event_field(option(Type::U64), Type::U64), Some(NeedsUpcast));
}

#[test]
fn removals_point_into_the_old_text_and_come_last() {
    let mut old = bank();
    let mut new = bank();
    old.aggregates["account"].events["deposited"].fields[0].at = Location { line: 2, column: 3 };
    let at = Location { line: 9, column: 1 };
    *event_fields(&mut new) = vec![Field { at, ..field("sum", option(Type::U64)) }];
    let changes = diff(&old, &new);
    let places: Vec<_> = changes.iter().map(|it| (it.side, it.at.line)).collect();
    assert_eq!(places, [(Side::New, 9), (Side::Old, 2)]);
    assert_eq!(
        changes[1].to_string(),
        "needs upcast: account.events.deposited.amount: the field was removed: stored events have it"
    );
}

#[test]
fn a_rename_says_what_it_was_and_goes_on_saying_it() {
    let place = "account.events.withdrawn.amount";
    let mut old = bank();
    let fields = |model: &mut Model, name: &str, was: Option<&str>| {
        let field = &mut model.aggregates["account"].events["withdrawn"].fields[0];
        (field.name, field.was) = (name.into(), was.map(Into::into));
    };
    fields(&mut old, "sum", None);
    let to = |old: &Model, name: &str, was: Option<&str>| after(old, |it| fields(it, name, was));
    assert_eq!(to(&old, "amount", Some("sum")), one(Compatible, place));
    assert_eq!(to(&old, "amount", None)[0], (NeedsUpcast, place.into()));
    // The bank's `amount` was `sum`: events of both names are stored.
    assert_eq!(to(&bank(), "amount", None), one(NeedsUpcast, place));
    assert_eq!(to(&bank(), "amount", Some("total")), one(NeedsUpcast, place));
    let again = to(&bank(), "total", Some("amount"));
    assert!(again.contains(&(NeedsUpcast, "account.events.withdrawn.total".into())), "{again:?}");
    assert_eq!(to(&bank(), "sum", Some("amount")).iter().map(|it| it.0).max(), Some(Compatible));
}

#[test]
fn defaults_of_event_fields_stay_what_they_were() {
    let place = "account.events.deposited.amount";
    let to = |old: Option<u64>, new: Option<u64>, ty: Type| {
        let mut before = bank();
        let set = |model: &mut Model, default: Option<u64>| {
            let field = &mut event_fields(model)[0];
            (field.default, field.ty) = (default.map(Into::into), ty.clone());
        };
        set(&mut before, old);
        after(&before, |model| set(model, new))
    };
    assert_eq!(to(Some(1), Some(1), Type::U64), []);
    assert_eq!(to(None, Some(1), Type::U64), one(Compatible, place));
    assert_eq!(to(Some(1), Some(2), Type::U64), one(NeedsUpcast, place));
    assert_eq!(to(Some(1), None, Type::U64), one(NeedsUpcast, place));
    assert_eq!(to(Some(1), None, option(Type::U64)), one(NeedsUpcast, place));
    assert_eq!(to(None, Some(1), option(Type::U64)), one(NeedsUpcast, place));
}

#[test]
fn events_commands_and_rejections_come_and_go() {
    let edit = |edit: fn(&mut Aggregate)| after(&bank(), |it| edit(&mut it.aggregates["account"]));
    assert_eq!(
        edit(|it| drop(it.events.shift_remove("deposited"))),
        one(NeedsUpcast, "account.events.deposited")
    );
    assert_eq!(
        edit(|it| drop(it.commands.shift_remove("open"))),
        one(Breaking, "account.commands.open")
    );
    assert_eq!(
        edit(|it| drop(it.rejections.shift_remove("not-open"))),
        one(Breaking, "account.rejections.not-open")
    );
    assert_eq!(
        edit(|it| *it = it.clone().event("closed", vec![field("why", Type::String)])),
        one(Compatible, "account.events.closed")
    );
    assert_eq!(
        edit(|it| *it = it.clone().command("close", vec![field("why", Type::String)], &[], &[])),
        one(Compatible, "account.commands.close")
    );
    assert_eq!(
        edit(|it| *it = it.clone().rejection("closed", vec![field("why", Type::String)])),
        one(Compatible, "account.rejections.closed")
    );
}

#[test]
fn events_and_rejections_are_renamed_by_was() {
    let changes = after(&bank(), |model| {
        let account = &mut model.aggregates["account"];
        let mut event = account.events.shift_remove("deposited").unwrap();
        event.was = Some("deposited".into());
        account.events.insert("paid-in".into(), event);
        let mut rejection = account.rejections.shift_remove("not-open").unwrap();
        rejection.was = Some("not-open".into());
        account.rejections.insert("closed".into(), rejection);
    });
    let expected =
        [(Compatible, "account.events.paid-in"), (Compatible, "account.rejections.closed")];
    assert_eq!(changes, expected.map(|(impact, element)| (impact, element.to_owned())));
}

#[test]
fn callers_commands_stay_welcome() {
    let place = "account.commands.deposit.amount";
    let to = |ty: Type| {
        after(&bank(), |it| it.aggregates["account"].commands["deposit"].fields[0].ty = ty)
    };
    assert_eq!(to(Type::U32), one(Breaking, place));
    assert_eq!(to(Type::String), one(Breaking, place));
    assert_eq!(to(option(Type::U64)), one(Compatible, place));
    assert_eq!(to(option(option(Type::U64))), one(Breaking, place));
    let push = |field: Field| {
        after(&bank(), |it| it.aggregates["account"].commands["deposit"].fields.push(field))
    };
    assert_eq!(push(field("note", Type::Bool))[0].0, Breaking);
    assert_eq!(push(field("note", option(Type::Bool)))[0].0, Compatible);
    let with_default = Field { default: Some(true.into()), ..field("note", Type::Bool) };
    assert_eq!(push(with_default)[0].0, Compatible);
}

#[test]
fn callers_read_rejections() {
    let edit = |edit: fn(&mut Vec<Field>)| {
        after(&bank(), |model| {
            edit(&mut model.aggregates["account"].rejections["insufficient-funds"].fields);
        })
    };
    let place = "account.rejections.insufficient-funds";
    assert_eq!(edit(Vec::clear), one(Breaking, &format!("{place}.balance")));
    assert_eq!(edit(|it| it[0].ty = Type::U32), one(Breaking, &format!("{place}.balance")));
    assert_eq!(
        edit(|it| it.push(field("limit", Type::U64))),
        one(Compatible, &format!("{place}.limit"))
    );
}

#[test]
fn what_is_not_kept_or_not_promised_is_compatible_and_listed() {
    let changes = after(&bank(), |model| {
        model.version = semver::Version::new(2, 0, 0);
        model.about = None;
        model.components.push("account.wasm".into());
        let account = &mut model.aggregates["account"];
        account.state = vec![field("owner", Type::Bool), field("limit", Type::U8)];
        account.runtime.mailbox = 7;
        account.commands["open"].emits.push("deposited".into());
        account.events["deposited"].about = None;
    });
    let expected = [
        "version",
        "about",
        "components",
        "account.state.owner",
        "account.state.limit",
        "account.commands.open.emits",
        "account.events.deposited",
        "account.runtime.mailbox",
        "account.state.balance",
        "account.state.open",
    ];
    assert_eq!(changes, expected.map(|element| (Compatible, element.to_owned())));
}

#[test]
fn scenarios_are_listed_even_if_two_have_one_name() {
    let scenario = |id: &str, name: &str| Scenario {
        at: Location::default(),
        name: name.into(),
        aggregate: "account".into(),
        id: id.into(),
        given: Vec::new(),
        steps: Vec::new(),
    };
    let mut old = bank();
    old.scenarios = vec![scenario("a", "twin"), scenario("b", "twin"), scenario("a", "gone")];
    assert_eq!(diff(&old, &old), []);
    let changes =
        after(&old, |it| it.scenarios = vec![scenario("a", "twin"), scenario("a", "new")]);
    let listed = ["scenarios.new", "scenarios.twin", "scenarios.gone"];
    assert_eq!(changes, listed.map(|element| (Compatible, element.to_owned())));
    let changes = after(&old, |it| it.scenarios[1].at.line = 9);
    assert_eq!(changes, []);
    let changes = after(&old, |it| it.scenarios[1].id = "c".into());
    assert_eq!(changes, one(Compatible, "scenarios.twin"));
}

#[test]
fn context_and_aggregates() {
    assert_eq!(after(&bank(), |it| it.context = "shop".into()), one(Breaking, "context"));
    let gone = after(&bank(), |it| drop(it.aggregates.shift_remove("account")));
    assert_eq!(gone, one(Breaking, "account"));
    let new = aggregate("transfer", vec![field("done", Type::Bool)]);
    let changes = after(&bank(), |it| *it = it.clone().with(new));
    assert_eq!(changes, one(Compatible, "transfer"));
}

/// The bank whose `deposited.amount` and `owner` of the state are of type `money`.
fn with_money() -> Model {
    let mut model = bank();
    event_fields(&mut model)[0].ty = list(named("money"));
    let account = &mut model.aggregates["account"];
    account.events["opened"].fields.push(field("price", named("money")));
    account.state[0].ty = named("money");
    model
}

fn rename_type(model: &mut Model, from: &str, to: &str) {
    let decl = model.types.shift_remove(from).unwrap();
    model.types.insert(to.into(), decl);
    event_fields(model)[0].ty = list(named(to));
    let account = &mut model.aggregates["account"];
    account.events["opened"].fields[1].ty = named(to);
    account.state[0].ty = named(to);
}

#[test]
fn a_new_name_alone_changes_nothing_for_a_type() {
    let changes = after(&with_money(), |model| rename_type(model, "money", "price"));
    assert_eq!(changes, one(Compatible, "types.price"));
    let changes = after(&with_money(), |model| {
        rename_type(model, "money", "price");
        model.types["price"].def = TypeDef::Record(vec![field("cents", Type::U64)]);
    });
    let expected = [(Compatible, "types.price"), (NeedsUpcast, "types.price.currency")];
    assert_eq!(changes, expected.map(|(impact, element)| (impact, element.to_owned())));
    // Another type that is known already, of the same structure.
    let twin = with_money().types["money"].def.clone();
    let old = with_money().with_type("twin", twin);
    assert_eq!(after(&old, |model| event_fields(model)[0].ty = list(named("twin"))), []);
    // An alias of it.
    let changes = after(&with_money(), |model| {
        *model = model.clone().with_type("cash", TypeDef::Alias(named("money")));
        event_fields(model)[0].ty = list(named("cash"));
    });
    assert_eq!(changes, one(Compatible, "types.cash"));
    // Another type of another structure is told where it is used.
    let changes = after(&with_money(), |model| event_fields(model)[0].ty = list(named("tier")));
    assert_eq!(changes, one(NeedsUpcast, "account.events.deposited.amount"));
}

#[test]
fn a_type_is_judged_once_by_the_strictest_place_that_reaches_it() {
    let edit = |old: &Model, edit: fn(&mut Vec<Field>)| {
        after(old, |model| {
            let TypeDecl { def: TypeDef::Record(fields), .. } = &mut model.types["money"] else {
                panic!("money is a record");
            };
            edit(fields);
        })
    };
    let add: fn(&mut Vec<Field>) = |fields| fields.push(field("note", Type::String));
    assert_eq!(edit(&with_money(), add), one(NeedsUpcast, "types.money.note"));
    assert_eq!(
        edit(&with_money(), |it| it.push(field("note", option(Type::String)))),
        one(Compatible, "types.money.note")
    );
    assert_eq!(
        edit(&with_money(), |it| it[0].ty = Type::U32),
        one(NeedsUpcast, "types.money.cents")
    );
    // Only the state reaches it, or nothing does.
    let mut old = bank();
    assert_eq!(edit(&old, add), one(Compatible, "types.money.note"));
    old.aggregates["account"].state[0].ty = named("money");
    assert_eq!(edit(&old, add), one(Compatible, "types.money.note"));
}

#[test]
fn cases_and_flags_are_only_added() {
    let cases = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let variant = |payload: Option<Type>| {
        let case =
            |name: &str, payload| Case { at: Location::default(), name: name.into(), payload };
        TypeDef::Variant(vec![case("a", None), case("b", payload)])
    };
    let to = |old: TypeDef, new: TypeDef| {
        let mut before = bank().with_type("kind", old);
        event_fields(&mut before)[0].ty = option(named("kind"));
        after(&before, |model| model.types["kind"].def = new)
    };
    let place = "types.kind.b";
    for make in [TypeDef::Enum, TypeDef::Flags] {
        let (one_case, two) = (make(cases(&["a"])), make(cases(&["a", "b"])));
        assert_eq!(to(one_case.clone(), two.clone()), one(Compatible, place));
        assert_eq!(to(two, one_case), one(NeedsUpcast, place));
    }
    let two = TypeDef::Enum(cases(&["a", "b"]));
    assert_eq!(to(two.clone(), variant(None)), []);
    assert_eq!(to(two.clone(), variant(Some(Type::Bool))), one(NeedsUpcast, place));
    assert_eq!(to(variant(Some(Type::Bool)), two.clone()), one(NeedsUpcast, place));
    let (narrow, wide) = (variant(Some(Type::U8)), variant(Some(Type::U16)));
    assert_eq!(to(narrow.clone(), wide.clone()), one(Compatible, place));
    assert_eq!(to(wide, narrow), one(NeedsUpcast, place));
    assert_eq!(to(two.clone(), TypeDef::Flags(cases(&["a", "b"]))), one(NeedsUpcast, "types.kind"));
    assert_eq!(to(two, TypeDef::Alias(Type::String)), one(NeedsUpcast, "types.kind"));
}

#[test]
fn aliases_are_judged_where_they_are_declared() {
    let mut old = bank().with_type("cents", TypeDef::Alias(Type::U32));
    event_fields(&mut old)[0].ty = named("cents");
    let to = |ty: Type| after(&old, |model| model.types["cents"].def = TypeDef::Alias(ty));
    assert_eq!(to(Type::U64), one(Compatible, "types.cents"));
    assert_eq!(to(Type::String), one(NeedsUpcast, "types.cents"));
    let direct = after(&old, |model| event_fields(model)[0].ty = Type::U32);
    assert_eq!(direct, []);
    let record = TypeDef::Record(vec![field("value", Type::U32)]);
    let changes = after(&old, |model| model.types["cents"].def = record);
    assert_eq!(changes, one(NeedsUpcast, "types.cents"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_differs_from_itself_and_what_was_removed_differs(
        model in crate::testing::model(),
        pick in any::<prop::sample::Index>(),
    ) {
        prop_assert_eq!(diff(&model, &model), []);

        let mut smaller = model.clone();
        let aggregates = smaller.aggregates.len();
        let aggregate = &mut smaller.aggregates[pick.index(aggregates)];
        let (index, count) = (pick.index(aggregate.events.len()), aggregate.events.len());
        let (event, _) = aggregate.events.shift_remove_index(index).unwrap();
        let element = format!("{}.events.{event}", aggregate.name);
        prop_assert!(count > 0);
        let breaking = diff(&model, &smaller);
        prop_assert!(breaking.iter().any(|it| it.impact == NeedsUpcast && it.element == element));
        let back = diff(&smaller, &model);
        prop_assert!(back.iter().all(|it| it.impact == Compatible), "{back:?}");
    }

    #[test]
    fn any_two_models_can_be_compared(old in crate::testing::model(), new in crate::testing::model()) {
        let changes = diff(&old, &new);
        for (n, change) in changes.iter().enumerate() {
            let again = |it: &&Change| it.element == change.element && it.what == change.what;
            prop_assert_eq!(changes[n + 1..].iter().find(again), None);
            prop_assert!(!change.to_string().contains('\n') || change.what.contains('`'));
        }
    }
}
