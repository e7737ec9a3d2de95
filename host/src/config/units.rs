//! Times and sizes as people write them: `100ms`, `5m`, `64MiB`.

use std::time::Duration;

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// A time from a whole number and a unit: `100ms`, `10s`, `5m`, `1h`.
///
/// # Errors
/// What was expected, for a person.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wanted = "expected a time such as 100ms, 10s, 5m or 1h";
    scaled(text, &TIMES).map(Duration::from_millis).ok_or(format!("`{text}`: {wanted}"))
}

/// A time that may be negative, in milliseconds: `1h`, `-1h`.
///
/// # Errors
/// What was expected, for a person.
#[cfg(feature = "faults")]
pub fn offset(text: &str) -> Result<i64, String> {
    let size = duration(text.strip_prefix('-').unwrap_or(text))?;
    let ms = i64::try_from(size.as_millis()).map_err(|error| format!("`{text}`: {error}"))?;
    Ok(if text.starts_with('-') { -ms } else { ms })
}

/// A number of bytes from a whole number and a unit: `64MiB`, `768KiB`, `1MB`, `100B`.
///
/// # Errors
/// What was expected, for a person.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wanted = "expected a size such as 64MiB, 768KiB or 512B";
    scaled(text, &SIZES)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(format!("`{text}`: {wanted}"))
}

/// A whole number of at least 1.
///
/// # Errors
/// What was expected, for a person.
pub fn count<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|n| *n != T::default())
        .ok_or(format!("`{text}`: expected a whole number of at least 1"))
}

/// `true` or `false`.
///
/// # Errors
/// What was expected, for a person.
pub fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}`: expected true or false"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok().filter(|n| *n > 0)?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "faults")]
    #[test]
    fn an_offset_may_be_negative() {
        assert_eq!((offset("1h"), offset("-1h")), (Ok(3_600_000), Ok(-3_600_000)));
        assert!(offset("--1h").is_err() && offset("-1").is_err());
    }

    #[test]
    fn times_and_sizes_need_a_unit() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("512B"), Ok(512));
        assert_eq!(count::<u32>("8"), Ok(8));
        for bad in ["", "5", "m", "-5m", "5 m", "1.5s", "0s", "99999999999999999999s", "5d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["64", "64mib", "0MiB", "18446744073709551615GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(count::<u32>("0").is_err() && count::<u32>("-1").is_err());
    }
}
