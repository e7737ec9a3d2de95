//! Packed bytes to the component's values and back.
//!
//! The types were compared when the component was loaded ([`super::check`]), so a value that does
//! not fit its plan here is a bug in aether, told as [`Corrupt`]. The cost is the component
//! model's dynamic values, which carry the name of every field: about 0.1 µs per field. So a value
//! is read into one that was read before, whose names and texts it uses again where the two have
//! the same shape.

use wasmtime::component::Val;

use crate::json::{Cases, Corrupt, Cursor, Field, Packed, PackedCase, Plan, Writer};

/// Items that a list allocates ahead of reading them.
const MAX_AHEAD: usize = 4096;

/// A value that says nothing: to be read into.
pub(super) const BLANK: Val = Val::Bool(false);

/// Reads the whole of `packed` into `into`: [`BLANK`], or what was read there with the same plan.
pub(super) fn unpack(plan: &Plan, packed: &Packed, into: &mut Val) -> Result<(), Corrupt> {
    let mut cursor = Cursor::new(packed);
    read(plan, &mut cursor, into)?;
    if cursor.is_empty() { Ok(()) } else { Err(Corrupt) }
}

/// A value as packed bytes; `writer` is empty, and is so again.
pub(super) fn pack(plan: &Plan, value: &Val, writer: &mut Writer) -> Result<Packed, Corrupt> {
    write(plan, value, writer)?;
    Ok(writer.take())
}

/// Reads a command, event or rejection as a case of the component's variant, without a payload if
/// it has no fields, into `into` as [`unpack`] does.
pub(super) fn unpack_case(
    cases: &Cases,
    packed: &PackedCase,
    into: &mut Val,
) -> Result<(), Corrupt> {
    let (name, plan) = cases.cases.get(packed.case).ok_or(Corrupt)?;
    match (plan, into) {
        (Plan::Record(fields), into) if fields.is_empty() => {
            *into = Val::Variant(name.to_string(), None);
            Ok(())
        }
        (plan, Val::Variant(known, Some(payload))) if **known == **name => {
            unpack(plan, &packed.fields, payload)
        }
        (plan, into) => {
            let mut payload = Box::new(BLANK);
            unpack(plan, &packed.fields, &mut payload)?;
            *into = Val::Variant(name.to_string(), Some(payload));
            Ok(())
        }
    }
}

/// Reads events into `into` as [`unpack`] does.
pub(super) fn unpack_cases(
    cases: &Cases,
    packed: &[PackedCase],
    into: &mut Val,
) -> Result<(), Corrupt> {
    let items = list(into);
    items.resize(packed.len(), BLANK);
    items.iter_mut().zip(packed).try_for_each(|(item, case)| unpack_case(cases, case, item))
}

/// A case of the component's variant as a command, event or rejection.
pub(super) fn pack_case(
    cases: &Cases,
    value: &Val,
    writer: &mut Writer,
) -> Result<PackedCase, Corrupt> {
    let Val::Variant(name, payload) = value else { return Err(Corrupt) };
    let case = cases.cases.iter().position(|(known, _)| **known == **name).ok_or(Corrupt)?;
    let (_, plan) = cases.cases.get(case).ok_or(Corrupt)?;
    let fields = match payload {
        None => Packed::default(),
        Some(payload) => pack(plan, payload, writer)?,
    };
    Ok(PackedCase { case, fields })
}

/// Makes `into` this text.
pub(super) fn set_text(text: &str, into: &mut Val) {
    if let Val::String(known) = into {
        known.clear();
        known.push_str(text);
    } else {
        *into = Val::String(text.to_owned());
    }
}

/// The items of `into`, made a list if it is none.
fn list(into: &mut Val) -> &mut Vec<Val> {
    if !matches!(into, Val::List(_)) {
        *into = Val::List(Vec::new());
    }
    let Val::List(items) = into else { unreachable!("it is a list now") };
    items
}

/// Reads one value into `into`. What is there may only be used again where its plan was the same:
/// under one plan that is so but for the cases of variants and results, and for lists and options,
/// which may have had nothing.
fn read(plan: &Plan, from: &mut Cursor<'_>, into: &mut Val) -> Result<(), Corrupt> {
    fn unsigned<T: TryFrom<u64>>(from: &mut Cursor<'_>) -> Result<T, Corrupt> {
        T::try_from(from.unsigned()?).map_err(|_| Corrupt)
    }
    fn signed<T: TryFrom<i64>>(from: &mut Cursor<'_>) -> Result<T, Corrupt> {
        T::try_from(from.signed()?).map_err(|_| Corrupt)
    }
    *into = match plan {
        Plan::Bool => Val::Bool(flag(from)?),
        Plan::S8 => Val::S8(from.byte()?.cast_signed()),
        Plan::S16 => Val::S16(signed(from)?),
        Plan::S32 => Val::S32(signed(from)?),
        Plan::S64 => Val::S64(signed(from)?),
        Plan::U8 => Val::U8(from.byte()?),
        Plan::U16 => Val::U16(unsigned(from)?),
        Plan::U32 => Val::U32(unsigned(from)?),
        Plan::U64 => Val::U64(unsigned(from)?),
        Plan::F32 => Val::Float32(from.f32()?),
        Plan::F64 => Val::Float64(from.f64()?),
        Plan::Char => Val::Char(char::from_u32(unsigned(from)?).ok_or(Corrupt)?),
        Plan::String => {
            set_text(from.str()?, into);
            return Ok(());
        }
        Plan::Bytes => {
            let items = list(into);
            items.clear();
            items.extend(from.bytes()?.iter().copied().map(Val::U8));
            return Ok(());
        }
        Plan::List(item) => return read_list(item, from, into),
        Plan::Option(some) => return read_option(some, from, into),
        Plan::Tuple(parts) => return read_tuple(parts, from, into),
        Plan::Result { ok, err } => {
            let failed = flag(from)?;
            let side = if failed { err } else { ok };
            let payload = read_payload(side.as_deref(), from, None)?;
            Val::Result(if failed { Err(payload) } else { Ok(payload) })
        }
        Plan::Record(fields) => return read_record(fields, from, into),
        Plan::Variant(cases) => {
            let case = cases.get(from.len()?).ok_or(Corrupt)?;
            if let Val::Variant(known, payload) = into
                && **known == *case.name
            {
                *payload = read_payload(case.payload.as_ref(), from, payload.take())?;
                return Ok(());
            }
            let payload = read_payload(case.payload.as_ref(), from, None)?;
            Val::Variant(case.name.to_string(), payload)
        }
        Plan::Enum(names) => Val::Enum(names.get(from.len()?).ok_or(Corrupt)?.to_string()),
        Plan::Flags(names) => {
            let bytes = from.take(names.len().div_ceil(8))?;
            let set = |i: usize| bytes.get(i / 8).is_some_and(|byte| byte & (1 << (i % 8)) != 0);
            let names = names.iter().enumerate().filter(|(i, _)| set(*i));
            Val::Flags(names.map(|(_, name)| name.to_string()).collect())
        }
    };
    Ok(())
}

fn read_list(plan: &Plan, from: &mut Cursor<'_>, into: &mut Val) -> Result<(), Corrupt> {
    let (count, items) = (from.len()?, list(into));
    items.truncate(count);
    for item in items.iter_mut() {
        read(plan, from, item)?;
    }
    let more = count - items.len();
    items.reserve(more.min(MAX_AHEAD));
    for _ in 0..more {
        let mut item = BLANK;
        read(plan, from, &mut item)?;
        items.push(item);
    }
    Ok(())
}

fn read_option(plan: &Plan, from: &mut Cursor<'_>, into: &mut Val) -> Result<(), Corrupt> {
    let known = match into {
        Val::Option(known) => known.take(),
        _ => None,
    };
    let plan = flag(from)?.then_some(plan);
    *into = Val::Option(read_payload(plan, from, known)?);
    Ok(())
}

fn read_tuple(plans: &[Plan], from: &mut Cursor<'_>, into: &mut Val) -> Result<(), Corrupt> {
    if !matches!(into, Val::Tuple(parts) if parts.len() == plans.len()) {
        *into = Val::Tuple(vec![BLANK; plans.len()]);
    }
    let Val::Tuple(parts) = into else { return Err(Corrupt) };
    plans.iter().zip(parts).try_for_each(|(plan, part)| read(plan, from, part))
}

fn read_record(fields: &[Field], from: &mut Cursor<'_>, into: &mut Val) -> Result<(), Corrupt> {
    if !matches!(into, Val::Record(values) if values.len() == fields.len()) {
        *into = Val::Record(fields.iter().map(|f| (f.name.to_string(), BLANK)).collect());
    }
    let Val::Record(values) = into else { return Err(Corrupt) };
    fields.iter().zip(values).try_for_each(|(field, (_, value))| read(&field.plan, from, value))
}

/// What a case, an option or a side of a result carries, read into what it carried before.
fn read_payload(
    plan: Option<&Plan>,
    from: &mut Cursor<'_>,
    known: Option<Box<Val>>,
) -> Result<Option<Box<Val>>, Corrupt> {
    let Some(plan) = plan else { return Ok(None) };
    let mut payload = known.unwrap_or_else(|| Box::new(BLANK));
    read(plan, from, &mut payload)?;
    Ok(Some(payload))
}

fn flag(from: &mut Cursor<'_>) -> Result<bool, Corrupt> {
    match from.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Corrupt),
    }
}

fn write(plan: &Plan, value: &Val, to: &mut Writer) -> Result<(), Corrupt> {
    match (plan, value) {
        (Plan::Bool, Val::Bool(value)) => to.byte(u8::from(*value)),
        (Plan::S8, Val::S8(value)) => to.byte(value.cast_unsigned()),
        (Plan::S16, Val::S16(value)) => to.signed(i64::from(*value)),
        (Plan::S32, Val::S32(value)) => to.signed(i64::from(*value)),
        (Plan::S64, Val::S64(value)) => to.signed(*value),
        (Plan::U8, Val::U8(value)) => to.byte(*value),
        (Plan::U16, Val::U16(value)) => to.unsigned(u64::from(*value)),
        (Plan::U32, Val::U32(value)) => to.unsigned(u64::from(*value)),
        (Plan::U64, Val::U64(value)) => to.unsigned(*value),
        (Plan::F32, Val::Float32(value)) => to.f32(*value),
        (Plan::F64, Val::Float64(value)) => to.f64(*value),
        (Plan::Char, Val::Char(value)) => to.unsigned(u64::from(u32::from(*value))),
        (Plan::String, Val::String(value)) => to.bytes(value.as_bytes()),
        (Plan::Bytes, Val::List(items)) => {
            to.unsigned(items.len() as u64);
            for item in items {
                let Val::U8(byte) = item else { return Err(Corrupt) };
                to.byte(*byte);
            }
        }
        (Plan::List(plan), Val::List(items)) => {
            to.unsigned(items.len() as u64);
            for item in items {
                write(plan, item, to)?;
            }
        }
        (Plan::Option(_), Val::Option(None)) => to.byte(0),
        (Plan::Option(plan), Val::Option(Some(value))) => {
            to.byte(1);
            write(plan, value, to)?;
        }
        (Plan::Tuple(plans), Val::Tuple(values)) if plans.len() == values.len() => {
            for (plan, value) in plans.iter().zip(values) {
                write(plan, value, to)?;
            }
        }
        (Plan::Result { ok, .. }, Val::Result(Ok(value))) => {
            to.byte(0);
            write_payload(ok.as_deref(), value.as_deref(), to)?;
        }
        (Plan::Result { err, .. }, Val::Result(Err(value))) => {
            to.byte(1);
            write_payload(err.as_deref(), value.as_deref(), to)?;
        }
        (Plan::Record(fields), Val::Record(values)) if fields.len() == values.len() => {
            for (field, (name, value)) in fields.iter().zip(values) {
                if *field.name != **name {
                    return Err(Corrupt);
                }
                write(&field.plan, value, to)?;
            }
        }
        (Plan::Variant(cases), Val::Variant(name, value)) => {
            let at = cases.iter().position(|case| *case.name == **name).ok_or(Corrupt)?;
            to.unsigned(at as u64);
            let payload = cases.get(at).and_then(|case| case.payload.as_ref());
            write_payload(payload, value.as_deref(), to)?;
        }
        (Plan::Enum(names), Val::Enum(name)) => {
            let at = names.iter().position(|known| **known == **name).ok_or(Corrupt)?;
            to.unsigned(at as u64);
        }
        (Plan::Flags(names), Val::Flags(set)) => {
            let mut bytes = vec![0_u8; names.len().div_ceil(8)];
            for name in set {
                let at = names.iter().position(|known| **known == **name).ok_or(Corrupt)?;
                *bytes.get_mut(at / 8).ok_or(Corrupt)? |= 1 << (at % 8);
            }
            bytes.into_iter().for_each(|byte| to.byte(byte));
        }
        _ => return Err(Corrupt),
    }
    Ok(())
}

fn write_payload(plan: Option<&Plan>, value: Option<&Val>, to: &mut Writer) -> Result<(), Corrupt> {
    match (plan, value) {
        (None, None) => Ok(()),
        (Some(plan), Some(value)) => write(plan, value, to),
        _ => Err(Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::json::Case;

    fn field(name: &str, plan: Plan) -> Field {
        Field { name: name.into(), plan, default: None, was: None }
    }

    fn everything() -> Plan {
        let names = |names: &[&str]| names.iter().map(|n| Arc::from(*n)).collect::<Arc<[_]>>();
        let flags: Vec<String> = (0..9).map(|n| format!("f{n}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let case = |name: &str, payload| Case { name: name.into(), payload };
        Plan::Record(Arc::new([
            field("a", Plan::Tuple(Arc::new([Plan::S8, Plan::S16, Plan::S32, Plan::S64]))),
            field("b", Plan::Tuple(Arc::new([Plan::U8, Plan::U16, Plan::U32, Plan::U64]))),
            field("c", Plan::Tuple(Arc::new([Plan::F32, Plan::F64, Plan::Char, Plan::Bool]))),
            field("d", Plan::List(Arc::new(Plan::Option(Arc::new(Plan::String))))),
            field("e", Plan::Bytes),
            field("f", Plan::Result { ok: Some(Arc::new(Plan::U8)), err: None }),
            field("g", Plan::Variant([case("x", None), case("y", Some(Plan::S64))].into())),
            field("h", Plan::Enum(names(&["one", "two"]))),
            field("i", Plan::Flags(names(&flags))),
        ]))
    }

    fn leaves() -> impl Strategy<Value = Val> {
        let some = |value: Option<Val>| Val::Option(value.map(Box::new));
        let signed = any::<(i8, i16, i32, i64)>().prop_map(|(a, b, c, d)| {
            Val::Tuple(vec![Val::S8(a), Val::S16(b), Val::S32(c), Val::S64(d)])
        });
        let unsigned = any::<(u8, u16, u32, u64)>().prop_map(|(a, b, c, d)| {
            Val::Tuple(vec![Val::U8(a), Val::U16(b), Val::U32(c), Val::U64(d)])
        });
        let floats = any::<(f32, f64, char, bool)>().prop_map(|(a, b, c, d)| {
            Val::Tuple(vec![Val::Float32(a), Val::Float64(b), Val::Char(c), Val::Bool(d)])
        });
        let rest = any::<(Vec<Option<String>>, Vec<u8>, Option<u8>, Option<i64>, bool, u16)>();
        (signed, unsigned, floats, rest).prop_map(move |(a, b, c, rest)| {
            let (strings, bytes, ok, case, second, set) = rest;
            let strings = strings.into_iter().map(|s| some(s.map(Val::String)));
            let result = match ok {
                Some(ok) => Ok(Some(Box::new(Val::U8(ok)))),
                None => Err(None),
            };
            let variant = match case {
                Some(n) => Val::Variant("y".into(), Some(Box::new(Val::S64(n)))),
                None => Val::Variant("x".into(), None),
            };
            let set = (0..9).filter(|n| set & (1 << n) != 0).map(|n| format!("f{n}"));
            Val::Record(vec![
                ("a".into(), a),
                ("b".into(), b),
                ("c".into(), c),
                ("d".into(), Val::List(strings.collect())),
                ("e".into(), Val::List(bytes.into_iter().map(Val::U8).collect())),
                ("f".into(), Val::Result(result)),
                ("g".into(), variant),
                ("h".into(), Val::Enum(if second { "two" } else { "one" }.into())),
                ("i".into(), Val::Flags(set.collect())),
            ])
        })
    }

    fn packed(plan: &Plan, value: &Val) -> Packed {
        pack(plan, value, &mut Writer::default()).unwrap()
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in leaves()) {
            let plan = everything();
            let packed = packed(&plan, &value);
            let mut back = BLANK;
            unpack(&plan, &packed, &mut back).unwrap();
            prop_assert_eq!(pack(&plan, &back, &mut Writer::default()), Ok(packed));
            // wasmtime compares NaNs as equal and sets without regard to order.
            prop_assert_eq!(back, value);
        }

        #[test]
        fn nothing_of_the_former_value_stays(values in prop::collection::vec(leaves(), 2..6)) {
            let (plan, mut one) = (everything(), BLANK);
            for value in values {
                unpack(&plan, &packed(&plan, &value), &mut one).unwrap();
                prop_assert_eq!(&one, &value);
            }
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let plan = everything();
            let mut value = BLANK;
            if unpack(&plan, &Packed(bytes.into()), &mut value).is_ok() {
                prop_assert!(pack(&plan, &value, &mut Writer::default()).is_ok());
            }
        }
    }

    #[test]
    fn cases_go_by_name_and_carry_nothing_if_they_have_no_fields() {
        let cases = Cases {
            cases: vec![
                ("closed".into(), Plan::Record(Arc::new([]))),
                ("paid".into(), Plan::Record(Arc::new([field("n", Plan::U8)]))),
            ],
            was: vec![None, None],
            defaults: vec![false, false],
        };
        let (mut value, mut writer) = (BLANK, Writer::default());
        let closed = PackedCase { case: 0, fields: Packed::default() };
        let paid = |n| PackedCase { case: 1, fields: Packed([n].into()) };
        // Each into what the one before has left.
        for case in [closed.clone(), paid(7), paid(8), closed.clone()] {
            unpack_case(&cases, &case, &mut value).unwrap();
            assert_eq!(pack_case(&cases, &value, &mut writer), Ok(case));
        }
        assert_eq!(value, Val::Variant("closed".into(), None));
        let mut events = BLANK;
        for some in [vec![closed.clone(), paid(1)], vec![paid(2); 3], vec![], vec![closed]] {
            unpack_cases(&cases, &some, &mut events).unwrap();
            let Val::List(items) = &events else { panic!("{events:?}") };
            let packed = items.iter().map(|item| pack_case(&cases, item, &mut writer).unwrap());
            assert_eq!(packed.collect::<Vec<_>>(), some);
        }
        assert!(pack_case(&cases, &Val::Variant("other".into(), None), &mut writer).is_err());
        let unknown = PackedCase { case: 2, fields: Packed::default() };
        assert!(unpack_case(&cases, &unknown, &mut value).is_err());
    }
}
