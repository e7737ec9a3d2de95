//! Types and values for property tests, made from random bytes so that they shrink well.

use std::{fmt::Write as _, sync::Arc};

use super::{
    Packed, Plan, Reader,
    plan::{Case, Field},
};

/// Random bytes; zeros when they are used up, which stand for the simplest of all choices.
pub(crate) struct Source<'a>(std::slice::Iter<'a, u8>);

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn bits(&mut self) -> u64 {
        // Few bytes more often than many: small numbers, and the edges of every width.
        let bytes = self.below(10);
        let bits = (0..bytes).fold(0_u64, |n, _| n << 8 | u64::from(self.byte()));
        if bytes == 9 { u64::MAX >> self.below(64) } else { bits }
    }
}

/// A type, at most `depth` levels deep.
pub(crate) fn plan(source: &mut Source<'_>, depth: usize) -> Plan {
    let kinds = if depth == 0 { 16 } else { 24 };
    match source.below(kinds) {
        0 => Plan::Bool,
        1 => Plan::S8,
        2 => Plan::S16,
        3 => Plan::S32,
        4 => Plan::S64,
        5 => Plan::U8,
        6 => Plan::U16,
        7 => Plan::U32,
        8 => Plan::U64,
        9 => Plan::F32,
        10 => Plan::F64,
        11 => Plan::Char,
        12 => Plan::String,
        13 => Plan::Bytes,
        14 => Plan::Enum(labels(1 + source.below(5))),
        15 => Plan::Flags(labels(1 + source.below(20))),
        16 => match plan(source, depth - 1) {
            Plan::U8 => Plan::Bytes,
            item => Plan::List(item.into()),
        },
        17 | 18 => Plan::Option(plan(source, depth - 1).into()),
        19 => Plan::Tuple((0..1 + source.below(3)).map(|_| plan(source, depth - 1)).collect()),
        20 => {
            let mut side = || (source.below(3) > 0).then(|| plan(source, depth - 1).into());
            Plan::Result { ok: side(), err: side() }
        }
        21 => {
            let case = |name| Case {
                name,
                payload: (source.below(3) > 0).then(|| plan(source, depth - 1)),
            };
            let names = labels(3);
            Plan::Variant(names.iter().cloned().map(case).collect())
        }
        _ => {
            let names = labels(source.below(6));
            let field = |name| {
                let plan = plan(source, depth - 1);
                let default = (source.below(4) == 3).then(|| value(&plan, source));
                Field { name, plan, default, was: None }
            };
            Plan::Record(names.iter().cloned().map(field).collect())
        }
    }
}

fn labels(count: usize) -> Arc<[Arc<str>]> {
    (0..count).map(|n| format!("n{n}").into()).collect()
}

fn value(plan: &Plan, source: &mut Source<'_>) -> Packed {
    let json = json(plan, source, &mut Source::new(&[]));
    Reader::Caller.read(plan, json.as_bytes()).unwrap()
}

/// A value as JSON: what it says comes from `says`, in which of the allowed forms from `form`.
pub(crate) fn json(plan: &Plan, says: &mut Source<'_>, form: &mut Source<'_>) -> String {
    let space = ["", " ", "\n\t"][form.below(3)];
    match plan {
        Plan::Bool => (says.below(2) == 1).to_string(),
        Plan::S8 => whole(i128::from(says.bits() as i8), form),
        Plan::S16 => whole(i128::from(says.bits() as i16), form),
        Plan::S32 => whole(i128::from(says.bits() as i32), form),
        Plan::S64 => whole(i128::from(says.bits() as i64), form),
        Plan::U8 => whole(i128::from(says.bits() as u8), form),
        Plan::U16 => whole(i128::from(says.bits() as u16), form),
        Plan::U32 => whole(i128::from(says.bits() as u32), form),
        Plan::U64 => whole(i128::from(says.bits()), form),
        Plan::F32 => {
            let number = f32::from_bits(says.bits() as u32);
            if number.is_finite() { format!("{number:?}") } else { "\"NaN\"".to_owned() }
        }
        Plan::F64 => {
            let number = f64::from_bits(says.bits());
            if number.is_finite() { format!("{number:e}") } else { "\"Infinity\"".to_owned() }
        }
        Plan::Char => text(["a", "\"", "é", "\u{1}", "😀", "\u{2028}"][says.below(6)], form),
        Plan::String => {
            let parts = ["a", "\\", "\u{0}", "日本", "\"", "\n", "😀"];
            text(&(0..says.below(6)).map(|_| parts[says.below(7)]).collect::<String>(), form)
        }
        Plan::Bytes => ["\"\"", "\"AA==\"", "\"AP8=\"", "\"+/+/\""][says.below(4)].to_owned(),
        Plan::List(item) => {
            let count = if says.below(40) == 39 { 200 } else { says.below(4) };
            let items: Vec<_> = (0..count).map(|_| json(item, says, form)).collect();
            format!("[{space}{}]", items.join(","))
        }
        Plan::Tuple(items) => {
            let items: Vec<_> = items.iter().map(|item| json(item, says, form)).collect();
            format!("[{}{space}]", items.join(","))
        }
        Plan::Option(some) => match (says.below(2), &**some) {
            (0, _) => "null".to_owned(),
            (_, Plan::Option(_)) => format!("{{\"some\":{}}}", json(some, says, form)),
            _ => json(some, says, form),
        },
        Plan::Result { ok, err } => {
            let (name, plan) = if says.below(2) == 0 { ("ok", ok) } else { ("err", err) };
            let value = plan.as_ref().map_or("null".to_owned(), |plan| json(plan, says, form));
            format!("{{{space}\"{name}\":{value}}}")
        }
        Plan::Record(fields) => object(fields, says, form),
        Plan::Variant(cases) => {
            let case = &cases[says.below(cases.len())];
            match &case.payload {
                Some(plan) => format!("{{\"{}\":{space}{}}}", case.name, json(plan, says, form)),
                None => label(&case.name, form),
            }
        }
        Plan::Enum(cases) => label(&cases[says.below(cases.len())], form),
        Plan::Flags(flags) => {
            let mut set: Vec<_> =
                flags.iter().filter(|_| says.below(2) == 1).map(|flag| text(flag, form)).collect();
            let turn = form.below(set.len().max(1));
            set.rotate_left(turn);
            format!("[{}]", set.join(","))
        }
    }
}

fn object(fields: &[Field], says: &mut Source<'_>, form: &mut Source<'_>) -> String {
    let mut members = Vec::new();
    for field in fields {
        if field.default.is_some() && says.below(3) == 2 {
            continue;
        }
        let value = json(&field.plan, says, form);
        let none = value == "null" && field.default.is_none();
        if none && form.below(2) == 1 {
            continue;
        }
        members.push(format!("{}:{value}", text(&field.name, form)));
    }
    let turn = form.below(members.len().max(1));
    members.rotate_left(turn);
    if form.below(2) == 1 {
        members.reverse();
    }
    format!("{{{}}}", members.join(", "))
}

fn label(name: &str, form: &mut Source<'_>) -> String {
    match form.below(2) {
        0 => text(name, form),
        _ => format!("{{{}: null}}", text(name, form)),
    }
}

fn whole(number: i128, form: &mut Source<'_>) -> String {
    if form.below(2) == 1 { format!("\"{number}\"") } else { number.to_string() }
}

/// A string, with all of it escaped or only what must be.
fn text(text: &str, form: &mut Source<'_>) -> String {
    if form.below(4) != 3 {
        return serde_json::to_string(text).unwrap();
    }
    let mut escaped = String::new();
    for unit in text.encode_utf16() {
        write!(escaped, "\\u{unit:04X}").unwrap();
    }
    format!("\"{escaped}\"")
}

/// A plan that can still read what `old` wrote.
pub(crate) fn evolved(old: &Plan, change: &mut Source<'_>) -> Plan {
    match old {
        Plan::U8 | Plan::U16 if change.below(2) == 1 => Plan::U32,
        Plan::S8 | Plan::S16 if change.below(2) == 1 => Plan::S64,
        Plan::U32 if change.below(2) == 1 => Plan::U64,
        Plan::List(item) => Plan::List(evolved(item, change).into()),
        Plan::Option(some) if !matches!(**some, Plan::Option(_)) => {
            Plan::Option(evolved(some, change).into())
        }
        Plan::Enum(cases) => Plan::Enum(cases.iter().cloned().chain(["later".into()]).collect()),
        Plan::Variant(cases) => {
            let later = Case { name: "later".into(), payload: Some(Plan::Bool) };
            Plan::Variant([later].into_iter().chain(cases.iter().cloned()).collect())
        }
        Plan::Record(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|field| renamed(field, change)).collect();
            let added =
                |name: &str, plan, default| Field { name: name.into(), plan, default, was: None };
            if change.below(2) == 1 {
                fields.insert(0, added("maybe", Plan::Option(Plan::Char.into()), None));
            }
            if change.below(2) == 1 {
                let seven = Reader::Caller.read(&Plan::U64, b"7").unwrap();
                fields.push(added("more", Plan::U64, Some(seven)));
            }
            let turn = change.below(fields.len().max(1));
            fields.rotate_left(turn);
            Plan::Record(fields.into())
        }
        other => other.clone(),
    }
}

fn renamed(field: &Field, change: &mut Source<'_>) -> Field {
    // A default's bytes belong to the type that it was made for.
    let plan = match field.default {
        Some(_) => field.plan.clone(),
        None => evolved(&field.plan, change),
    };
    let field = Field { plan, ..field.clone() };
    match change.below(2) {
        0 => field,
        _ => Field { name: format!("new-{}", field.name).into(), was: Some(field.name), ..field },
    }
}
