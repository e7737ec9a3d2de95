//! Numbers by their text.

use super::super::{Plan, Writer};

/// Why a JSON text is not a number of a type: what was expected.
type Refusal = Option<&'static str>;

/// The range of the whole numbers of `plan`; none if they are not whole.
fn range(plan: &Plan) -> Option<(i128, i128)> {
    Some(match plan {
        Plan::S8 => (i8::MIN.into(), i8::MAX.into()),
        Plan::S16 => (i16::MIN.into(), i16::MAX.into()),
        Plan::S32 => (i32::MIN.into(), i32::MAX.into()),
        Plan::S64 => (i64::MIN.into(), i64::MAX.into()),
        Plan::U8 => (0, u8::MAX.into()),
        Plan::U16 => (0, u16::MAX.into()),
        Plan::U32 => (0, u32::MAX.into()),
        Plan::U64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

/// Writes the number that `json`, one JSON value, stands for.
///
/// # Errors
/// What was expected, where the type's name is not enough.
pub(super) fn write(plan: &Plan, json: &str, writer: &mut Writer) -> Result<(), Refusal> {
    match plan {
        Plan::F32 => writer.f32(float(json, f32::is_infinite)?),
        Plan::F64 => writer.f64(float(json, f64::is_infinite)?),
        _ => {
            let (least, most) = range(plan).ok_or(None)?;
            let value = integer(json)?;
            if !(least..=most).contains(&value) {
                return Err(None);
            }
            match plan {
                Plan::U8 | Plan::S8 => writer.byte((value & 0xff) as u8),
                Plan::S16 | Plan::S32 | Plan::S64 => {
                    writer.signed(i64::try_from(value).map_err(|_| None)?);
                }
                _ => writer.unsigned(u64::try_from(value).map_err(|_| None)?),
            }
        }
    }
    Ok(())
}

/// A whole number, as a JSON number or in a string.
fn integer(json: &str) -> Result<i128, Refusal> {
    if !json.starts_with('"') {
        return decimal(json).ok_or_else(|| {
            let number = json.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            let other_form = number && json.contains(['.', 'e', 'E']);
            other_form.then_some("a whole number without point or exponent")
        });
    }
    let form = "a whole number; in a string only its decimal digits";
    let text = unquote(json).ok_or(Some(form))?;
    decimal(&text).ok_or(Some(form))
}

/// `0` or digits that do not begin with it, after a `-` if it is less than 0.
fn decimal(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    // Up to 18 digits always fit, and are much faster; more than i128 holds are out of range of
    // every type all the same.
    if text.len() <= 18 {
        return text.parse::<i64>().ok().map(i128::from);
    }
    Some(text.parse().unwrap_or(i128::MAX))
}

/// A float: a JSON number rounded to nearest, or one of the three names.
fn float<F>(json: &str, is_infinite: fn(F) -> bool) -> Result<F, Refusal>
where
    F: std::str::FromStr + Copy,
{
    let text = match unquote(json).as_deref() {
        None => json,
        Some("NaN") => "NaN",
        Some("Infinity") => "inf",
        Some("-Infinity") => "-inf",
        Some(_) => return Err(Some("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")),
    };
    let value: F = text.parse().map_err(|_| None)?;
    if is_infinite(value) && !text.ends_with("inf") {
        return Err(Some("a number that the type can hold"));
    }
    Ok(value)
}

/// The text of a JSON string; none if it is none.
fn unquote(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(json).ok().map(Into::into);
    }
    Some(inner.into())
}
