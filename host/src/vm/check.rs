//! Whether a component's exports are what a model says, type by type.
//!
//! Types are compared by structure, not by name, and the first difference is told with the path
//! of the element and both types in WIT: what the author has to change, not what the host cannot
//! do.

use wasmtime::component::types::{
    Case as TypeCase, ComponentFunc, ComponentInstance, ComponentItem,
};
use wasmtime::{Engine, component::Type};

use super::context::{ContextField, FIELDS};
use crate::json::{AggregatePlans, Cases, Field, Plan};

/// What the check learned: the fields of the context that the component wants.
pub(super) type ContextFields = Vec<(String, ContextField)>;

/// Compares the exports of interface `aggregate` with the model.
///
/// # Errors
/// The first difference, as text.
pub(super) fn aggregate(
    engine: &Engine,
    interface: &ComponentInstance,
    aggregate: &str,
    plans: &AggregatePlans,
) -> Result<ContextFields, String> {
    let function = |name: &str| match interface.get_export(engine, name).map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(function)) => Ok(function),
        Some(_) => Err(format!("`{aggregate}.{name}` is not a function")),
        None => Err(format!("it exports no function `{aggregate}.{name}`")),
    };
    let initial = function("initial")?;
    let decide = function("decide")?;
    let evolve = function("evolve")?;
    let at = |element: &str| format!("{aggregate}.{element}");

    let [id] = parameters(&initial, &at("initial"), "id: string")?;
    if !matches!(id, Type::String) {
        return Err(differs(&at("initial"), "id", &wit(&id), "string"));
    }
    same(&at("state"), &result(&initial, &at("initial"), "state")?, &plans.state)?;

    let expected = "context: context, state: state, command: command";
    let [context, state, command] = parameters(&decide, &at("decide"), expected)?;
    let context = context_fields(&at("context"), &context)?;
    same(&at("state"), &state, &plans.state)?;
    same_cases(&at("command"), &command, &plans.commands)?;
    decision(&at(""), &result(&decide, &at("decide"), "result<list<event>, rejection>")?, plans)?;

    let expected = "state: state, events: list<event>";
    let [state, events] = parameters(&evolve, &at("evolve"), expected)?;
    same(&at("state"), &state, &plans.state)?;
    event_list(&at("event"), &events, plans)?;
    same(&at("state"), &result(&evolve, &at("evolve"), "state")?, &plans.state)?;
    Ok(context)
}

/// Compares the exports of interface `name`, in which the component upcasts events, with the model.
///
/// # Errors
/// The first difference, as text.
pub(super) fn upcasts(
    engine: &Engine,
    interface: &ComponentInstance,
    name: &str,
    plans: &AggregatePlans,
) -> Result<(), String> {
    let path = format!("{name}.upcast");
    let upcast = match interface.get_export(engine, "upcast").map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(function)) => function,
        _ => return Err(format!("it exports no function `{path}`")),
    };
    let expected = "model: string, event-type: string, data: string";
    let taken: [Type; 3] = parameters(&upcast, &path, expected)?;
    if let Some(other) = taken.iter().find(|ty| !matches!(ty, Type::String)) {
        return Err(differs(&path, "a parameter", &wit(other), "string"));
    }
    let result = result(&upcast, &path, "result<event, string>")?;
    let mismatch = || differs(&path, "its result", &short(&wit(&result)), "result<event, string>");
    let Type::Result(parts) = &result else { return Err(mismatch()) };
    if !matches!(parts.err(), Some(Type::String)) {
        return Err(mismatch());
    }
    same_cases(&format!("{name}.event"), &parts.ok().ok_or_else(mismatch)?, &plans.events)
}

fn parameters<const N: usize>(
    function: &ComponentFunc,
    path: &str,
    expected: &str,
) -> Result<[Type; N], String> {
    if function.async_() {
        return Err(format!("`{path}` is an async function, the model says a plain one"));
    }
    let types: Vec<Type> = function.params().map(|(_, ty)| ty).collect();
    let found = types.len();
    types.try_into().map_err(|_| {
        format!("`{path}` takes {found} parameters, the model says {N}: `func({expected})`")
    })
}

fn result(function: &ComponentFunc, path: &str, expected: &str) -> Result<Type, String> {
    let mut results = function.results();
    match (results.next(), results.next()) {
        (Some(ty), None) => Ok(ty),
        _ => Err(format!("`{path}` gives nothing, the model says `{expected}`")),
    }
}

fn decision(prefix: &str, ty: &Type, plans: &AggregatePlans) -> Result<(), String> {
    let expected = if plans.rejections.cases.is_empty() {
        "result<list<event>>"
    } else {
        "result<list<event>, rejection>"
    };
    let mismatch = || {
        let path = format!("{prefix}decide");
        differs(&path, "its result", &short(&wit(ty)), expected)
    };
    let Type::Result(result) = ty else { return Err(mismatch()) };
    event_list(&format!("{prefix}event"), &result.ok().ok_or_else(mismatch)?, plans)?;
    match (result.err(), plans.rejections.cases.is_empty()) {
        (None, true) => Ok(()),
        (Some(ty), false) => same_cases(&format!("{prefix}rejection"), &ty, &plans.rejections),
        _ => Err(mismatch()),
    }
}

fn event_list(path: &str, ty: &Type, plans: &AggregatePlans) -> Result<(), String> {
    match ty {
        Type::List(list) => same_cases(path, &list.ty(), &plans.events),
        ty => Err(format!("`{path}` comes as `{}`, the model says `list<event>`", short(&wit(ty)))),
    }
}

fn context_fields(path: &str, ty: &Type) -> Result<ContextFields, String> {
    let Type::Record(record) = ty else {
        return Err(format!("`{path}` is `{}`, expected a record", short(&wit(ty))));
    };
    let mut fields = vec![];
    for field in record.fields() {
        let Some((known, expected)) = ContextField::find(field.name) else {
            let known = FIELDS.map(|(name, ty, _)| format!("`{name}: {ty}`")).join(", ");
            return Err(format!(
                "`{path}` has the field `{}`, which this host does not know: it has {known}",
                field.name
            ));
        };
        if !known.fits(&field.ty) {
            let path = format!("{path}.{}", field.name);
            let found = wit(&field.ty);
            return Err(format!("`{path}` is `{found}`, this host gives `{expected}`"));
        }
        fields.push((field.name.to_owned(), known));
    }
    Ok(fields)
}

/// Compares a variant of commands, events or rejections: the same names, in any order, for they
/// travel by name.
fn same_cases(path: &str, ty: &Type, cases: &Cases) -> Result<(), String> {
    let Type::Variant(variant) = ty else {
        return Err(format!("`{path}` is `{}`, the model says a variant", short(&wit(ty))));
    };
    let expected = cases.cases.iter().map(|(name, plan)| {
        let payload = match plan {
            Plan::Record(fields) if fields.is_empty() => None,
            plan => Some(plan),
        };
        (&**name, payload)
    });
    variant_cases(path, variant.cases().collect(), expected.collect())
}

fn variant_cases(
    path: &str,
    found: Vec<TypeCase<'_>>,
    expected: Vec<(&str, Option<&Plan>)>,
) -> Result<(), String> {
    for case in &found {
        if !expected.iter().any(|(name, _)| *name == case.name) {
            return Err(format!(
                "`{path}` has the case `{}`, which the model does not have",
                case.name
            ));
        }
    }
    for (name, payload) in expected {
        let Some(case) = found.iter().find(|case| case.name == name) else {
            return Err(format!("`{path}` has no case `{name}`, the model has"));
        };
        let path = format!("{path}.{name}");
        match (&case.ty, payload) {
            (None, None) => {}
            (Some(ty), Some(plan)) => same(&path, ty, plan)?,
            (None, Some(plan)) => {
                return Err(format!(
                    "`{path}` carries nothing, the model says `{}`",
                    short(&plan_wit(plan))
                ));
            }
            (Some(ty), None) => {
                return Err(format!(
                    "`{path}` carries `{}`, the model says nothing",
                    short(&wit(ty))
                ));
            }
        }
    }
    Ok(())
}

/// Compares one type, and names the innermost element that differs.
fn same(path: &str, ty: &Type, plan: &Plan) -> Result<(), String> {
    match (ty, plan) {
        (Type::Record(record), Plan::Record(fields)) => {
            same_fields(path, &record.fields().collect::<Vec<_>>(), fields)
        }
        (Type::Variant(variant), Plan::Variant(cases)) => {
            let expected = cases.iter().map(|case| (&*case.name, case.payload.as_ref()));
            variant_cases(path, variant.cases().collect(), expected.collect())
        }
        (Type::List(list), Plan::List(item)) => match (list.ty(), &**item) {
            (ty @ (Type::Record(_) | Type::Variant(_)), plan) => {
                same(&format!("{path}[]"), &ty, plan)
            }
            _ => same_text(path, ty, plan),
        },
        (Type::Option(option), Plan::Option(some)) => match (option.ty(), &**some) {
            (ty @ (Type::Record(_) | Type::Variant(_)), plan) => same(path, &ty, plan),
            _ => same_text(path, ty, plan),
        },
        _ => same_text(path, ty, plan),
    }
}

fn same_fields(
    path: &str,
    found: &[wasmtime::component::types::Field<'_>],
    expected: &[Field],
) -> Result<(), String> {
    for field in found {
        if !expected.iter().any(|known| *known.name == *field.name) {
            return Err(format!(
                "`{path}` has the field `{}: {}`, which the model does not have",
                field.name,
                short(&wit(&field.ty))
            ));
        }
    }
    for (at, field) in expected.iter().enumerate() {
        match found.iter().find(|known| *known.name == *field.name) {
            None => {
                return Err(format!(
                    "`{path}` has no field `{}`, the model says `{}: {}`",
                    field.name,
                    field.name,
                    short(&plan_wit(&field.plan))
                ));
            }
            Some(known) => same(&format!("{path}.{}", field.name), &known.ty, &field.plan)?,
        }
        if found.get(at).is_none_or(|known| *known.name != *field.name) {
            return Err(format!(
                "`{path}` has its fields in another order than the model, where `{}` is number {}",
                field.name,
                at + 1
            ));
        }
    }
    Ok(())
}

fn same_text(path: &str, ty: &Type, plan: &Plan) -> Result<(), String> {
    let (found, expected) = (wit(ty), plan_wit(plan));
    if found == expected {
        return Ok(());
    }
    Err(format!("`{path}` is `{}`, the model says `{}`", short(&found), short(&expected)))
}

fn differs(path: &str, part: &str, found: &str, expected: &str) -> String {
    format!("`{path}`: {part} is `{found}`, the model says `{expected}`")
}

/// Longest type that a message shows, in characters.
const MAX_SHOWN: usize = 120;

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A type as WIT, with named types spelt out: equal text means equal structure.
fn wit(ty: &Type) -> String {
    let payload = |ty: Option<Type>| ty.map(|ty| wit(&ty));
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::S16 => "s16".into(),
        Type::S32 => "s32".into(),
        Type::S64 => "s64".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(list) => format!("list<{}>", wit(&list.ty())),
        Type::Option(option) => format!("option<{}>", wit(&option.ty())),
        Type::Tuple(tuple) => format!("tuple<{}>", joined(tuple.types().map(|ty| wit(&ty)))),
        Type::Result(result) => result_wit(payload(result.ok()), payload(result.err())),
        Type::Record(record) => {
            let fields = record.fields().map(|field| format!("{}: {}", field.name, wit(&field.ty)));
            format!("record {{ {} }}", joined(fields))
        }
        Type::Variant(variant) => {
            let cases = variant.cases().map(|case| case_wit(case.name, payload(case.ty)));
            format!("variant {{ {} }}", joined(cases))
        }
        Type::Enum(names) => format!("enum {{ {} }}", joined(names.names().map(str::to_owned))),
        Type::Flags(names) => format!("flags {{ {} }}", joined(names.names().map(str::to_owned))),
        Type::Own(_) | Type::Borrow(_) => "resource".into(),
        Type::Map(_) => "map".into(),
        Type::Future(_) => "future".into(),
        Type::Stream(_) => "stream".into(),
        Type::ErrorContext => "error-context".into(),
        Type::FixedLengthList(list) => format!("list<{}, {}>", wit(&list.ty()), list.len()),
    }
}

fn plan_wit(plan: &Plan) -> String {
    let payload =
        |plan: &Option<_>| plan.as_ref().map(|plan: &std::sync::Arc<Plan>| plan_wit(plan));
    match plan {
        Plan::Bool => "bool".into(),
        Plan::S8 => "s8".into(),
        Plan::S16 => "s16".into(),
        Plan::S32 => "s32".into(),
        Plan::S64 => "s64".into(),
        Plan::U8 => "u8".into(),
        Plan::U16 => "u16".into(),
        Plan::U32 => "u32".into(),
        Plan::U64 => "u64".into(),
        Plan::F32 => "f32".into(),
        Plan::F64 => "f64".into(),
        Plan::Char => "char".into(),
        Plan::String => "string".into(),
        Plan::Bytes => "list<u8>".into(),
        Plan::List(item) => format!("list<{}>", plan_wit(item)),
        Plan::Option(some) => format!("option<{}>", plan_wit(some)),
        Plan::Tuple(parts) => format!("tuple<{}>", joined(parts.iter().map(plan_wit))),
        Plan::Result { ok, err } => result_wit(payload(ok), payload(err)),
        Plan::Record(fields) => {
            let fields =
                fields.iter().map(|field| format!("{}: {}", field.name, plan_wit(&field.plan)));
            format!("record {{ {} }}", joined(fields))
        }
        Plan::Variant(cases) => {
            let cases =
                cases.iter().map(|case| case_wit(&case.name, case.payload.as_ref().map(plan_wit)));
            format!("variant {{ {} }}", joined(cases))
        }
        Plan::Enum(names) => format!("enum {{ {} }}", joined(names.iter().map(|n| n.to_string()))),
        Plan::Flags(names) => {
            format!("flags {{ {} }}", joined(names.iter().map(|n| n.to_string())))
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn case_wit(name: &str, payload: Option<String>) -> String {
    payload.map_or_else(|| name.to_owned(), |payload| format!("{name}({payload})"))
}

fn result_wit(ok: Option<String>, err: Option<String>) -> String {
    match (ok, err) {
        (None, None) => "result".into(),
        (Some(ok), None) => format!("result<{ok}>"),
        (None, Some(err)) => format!("result<_, {err}>"),
        (Some(ok), Some(err)) => format!("result<{ok}, {err}>"),
    }
}
