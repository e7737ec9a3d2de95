//! Packed values to JSON.
//!
//! A value has one text: fields in declared order, none as `null`, no spaces, numbers in one
//! spelling. Digests are taken over such texts, so their form can never change.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

use super::{Corrupt, Cursor, Packed, Plan, plan::Field, read};

/// The largest whole number that every reader of JSON takes exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The value as §5 JSON: one text per value, no spaces, record fields in declared order.
///
/// # Panics
/// If `value` was not made with `plan`.
#[must_use]
pub fn write(plan: &Plan, value: &Packed) -> Box<RawValue> {
    let json = text(plan, value, false);
    RawValue::from_string(json).unwrap_or_else(|error| panic!("§5 JSON is JSON: {error}"))
}

/// The canonical §5 JSON of what a caller sent: what a command's digest is taken over. `json` has
/// been read with `plan` before; none if it does not fit.
///
/// It holds what the caller said and nothing else, so that requests that mean the same have the
/// same digest, and that a new default does not change the digests of old requests: a field that
/// was left out stays out; `null` for an option without a default means the same and is left out
/// too; all else is as [`write`] has it.
#[must_use]
pub fn canonical(plan: &Plan, json: &[u8]) -> Option<String> {
    let value = read::sparse(plan, json).ok()?;
    Some(text(plan, &value, true))
}

/// The same of what was read as `value`. `defaults`: whether a field somewhere in `plan` has one; where
/// none has, the value tells already what was left out, and `json` need not be read again.
#[must_use]
pub fn canonical_of(plan: &Plan, defaults: bool, json: &[u8], value: &Packed) -> Option<String> {
    if defaults { canonical(plan, json) } else { Some(text(plan, value, true)) }
}

fn text(plan: &Plan, value: &Packed, sparse: bool) -> String {
    let mut out = Out { json: String::with_capacity(value.0.len() * 2 + 16), sparse };
    let mut cursor = Cursor::new(value);
    match out.value(plan, &mut cursor) {
        Ok(()) if cursor.is_empty() => out.json,
        Ok(()) => panic!("{Corrupt}"),
        Err(corrupt) => panic!("{corrupt}"),
    }
}

struct Out {
    json: String,
    /// Whether the bytes tell which fields were left out, see [`read::sparse`].
    sparse: bool,
}

impl Out {
    fn value(&mut self, plan: &Plan, value: &mut Cursor<'_>) -> Result<(), Corrupt> {
        match plan {
            Plan::Bool => self.json.push_str(if value.byte()? == 0 { "false" } else { "true" }),
            Plan::S8 => self.signed(value.byte()?.cast_signed().into()),
            Plan::S16 | Plan::S32 | Plan::S64 => self.signed(value.signed()?),
            Plan::U8 => self.unsigned(value.byte()?.into()),
            Plan::U16 | Plan::U32 | Plan::U64 => self.unsigned(value.unsigned()?),
            Plan::F32 => {
                let number = value.f32()?;
                self.float(number, number.is_nan(), number.is_infinite(), number > 0.0);
            }
            Plan::F64 => {
                let number = value.f64()?;
                self.float(number, number.is_nan(), number.is_infinite(), number > 0.0);
            }
            Plan::Char => {
                let code = u32::try_from(value.unsigned()?).map_err(|_| Corrupt)?;
                let char = char::from_u32(code).ok_or(Corrupt)?;
                self.string(char.encode_utf8(&mut [0; 4]));
            }
            Plan::String => self.string(value.str()?),
            Plan::Bytes => {
                self.json.push('"');
                STANDARD.encode_string(value.bytes()?, &mut self.json);
                self.json.push('"');
            }
            Plan::List(item) => {
                let count = value.len()?;
                self.array((0..count).map(|_| &**item), value)?;
            }
            Plan::Tuple(items) => self.array(items.iter(), value)?,
            Plan::Option(some) => self.option(some, value)?,
            Plan::Result { ok, err } => match value.byte()? {
                0 => self.case("ok", ok.as_deref(), true, value)?,
                _ => self.case("err", err.as_deref(), true, value)?,
            },
            Plan::Record(fields) => self.record(fields, value)?,
            Plan::Variant(cases) => {
                let case = cases.get(value.len()?).ok_or(Corrupt)?;
                self.case(&case.name, case.payload.as_ref(), false, value)?;
            }
            Plan::Enum(cases) => self.string(cases.get(value.len()?).ok_or(Corrupt)?),
            Plan::Flags(flags) => self.flags(flags, value)?,
        }
        Ok(())
    }

    fn record(&mut self, fields: &[Field], value: &mut Cursor<'_>) -> Result<(), Corrupt> {
        self.json.push('{');
        let mut first = true;
        for field in fields {
            if self.sparse && self.is_left_out(field, value)? {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.json.push(',');
            }
            self.string(&field.name);
            self.json.push(':');
            self.value(&field.plan, value)?;
        }
        self.json.push('}');
        Ok(())
    }

    /// Whether the caller said nothing of `field`; moves to its value.
    fn is_left_out(&self, field: &Field, value: &mut Cursor<'_>) -> Result<bool, Corrupt> {
        if field.default.is_some() {
            return Ok(value.byte()? == 0);
        }
        let none = matches!(field.plan, Plan::Option(_)) && value.clone().byte()? == 0;
        if none {
            value.byte()?;
        }
        Ok(none)
    }

    fn option(&mut self, some: &Plan, value: &mut Cursor<'_>) -> Result<(), Corrupt> {
        if value.byte()? == 0 {
            self.json.push_str("null");
            return Ok(());
        }
        match some {
            Plan::Option(_) => self.case("some", Some(some), true, value),
            plain => self.value(plain, value),
        }
    }

    /// A case: its name alone if it has no payload, unless `always_object`.
    fn case(
        &mut self,
        name: &str,
        payload: Option<&Plan>,
        always_object: bool,
        value: &mut Cursor<'_>,
    ) -> Result<(), Corrupt> {
        if payload.is_none() && !always_object {
            self.string(name);
            return Ok(());
        }
        self.json.push('{');
        self.string(name);
        self.json.push(':');
        match payload {
            Some(plan) => self.value(plan, value)?,
            None => self.json.push_str("null"),
        }
        self.json.push('}');
        Ok(())
    }

    fn array<'p>(
        &mut self,
        items: impl Iterator<Item = &'p Plan>,
        value: &mut Cursor<'_>,
    ) -> Result<(), Corrupt> {
        self.json.push('[');
        for (n, plan) in items.enumerate() {
            if n > 0 {
                self.json.push(',');
            }
            self.value(plan, value)?;
        }
        self.json.push(']');
        Ok(())
    }

    fn flags(
        &mut self,
        flags: &[std::sync::Arc<str>],
        value: &mut Cursor<'_>,
    ) -> Result<(), Corrupt> {
        let set = value.take(flags.len().div_ceil(8))?;
        self.json.push('[');
        let mut first = true;
        for (n, flag) in flags.iter().enumerate() {
            if set.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 == 1) {
                if !std::mem::take(&mut first) {
                    self.json.push(',');
                }
                self.string(flag);
            }
        }
        self.json.push(']');
        Ok(())
    }

    fn unsigned(&mut self, number: u64) {
        let _ = match number {
            0..=MAX_SAFE => write!(self.json, "{number}"),
            _ => write!(self.json, "\"{number}\""),
        };
    }

    fn signed(&mut self, number: i64) {
        let _ = match number.unsigned_abs() {
            0..=MAX_SAFE => write!(self.json, "{number}"),
            _ => write!(self.json, "\"{number}\""),
        };
    }

    /// The shortest decimal that is read back as the same float.
    fn float(&mut self, number: impl std::fmt::Debug, nan: bool, infinite: bool, positive: bool) {
        let _ = match (nan, infinite, positive) {
            (true, ..) => write!(self.json, "\"NaN\""),
            (_, true, true) => write!(self.json, "\"Infinity\""),
            (_, true, false) => write!(self.json, "\"-Infinity\""),
            _ => write!(self.json, "{number:?}"),
        };
    }

    fn string(&mut self, text: &str) {
        self.json.push('"');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|b| b < b' ' || b == b'"' || b == b'\\') {
            let (plain, special) = rest.split_at(at);
            self.json.push_str(plain);
            let mut chars = special.chars();
            let _ = match chars.next() {
                Some('"') => write!(self.json, "\\\""),
                Some('\\') => write!(self.json, "\\\\"),
                Some('\n') => write!(self.json, "\\n"),
                Some('\r') => write!(self.json, "\\r"),
                Some('\t') => write!(self.json, "\\t"),
                Some('\u{8}') => write!(self.json, "\\b"),
                Some('\u{c}') => write!(self.json, "\\f"),
                other => write!(self.json, "\\u{:04x}", other.map_or(0, u32::from)),
            };
            rest = chars.as_str();
        }
        self.json.push_str(rest);
        self.json.push('"');
    }
}

#[cfg(test)]
mod tests;
