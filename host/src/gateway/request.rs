//! What a request says beside its address: headers and body, the same on every face.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::value::RawValue;

use crate::{
    address::Address,
    command::Command,
    config::{Limits, sources::nearest, units},
    failure::{Code, Failure},
};

/// Longest id of a command, in bytes: it stands in every record.
pub const MAX_COMMAND_ID_BYTES: usize = 256;

/// The headers that begin with `Aether-`; any other such header is a mistake of the caller.
pub const OWN_HEADERS: [&str; 2] = ["aether-timeout", "aether-correlation-id"];

/// What the headers of a request say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The command's id.
    pub id: Option<String>,
    /// The version that the caller expects the actor to have.
    pub expected_version: Option<u64>,
    /// What ties the commands of one piece of work together.
    pub correlation: Option<String>,
    /// A `traceparent`.
    pub causation: Option<String>,
}

impl Headers {
    /// Reads the headers of a request that came `now`. Names may be written in any case.
    ///
    /// # Errors
    /// `invalid`, if a header that is known says something that is not, or one is not known and
    /// begins with `Aether-`. Other headers are not for the host and are skipped.
    pub fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Self, Failure> {
        let mut seen = Seen::default();
        for (name, value) in headers {
            // HTTP gives names in lower case; those of NATS are as they were written.
            match name.bytes().any(|b| b.is_ascii_uppercase()) {
                true => seen.take(&name.to_ascii_lowercase(), value)?,
                false => seen.take(name, value)?,
            }
        }
        let wait = seen.timeout.unwrap_or(limits.default_timeout).min(limits.max_timeout);
        Ok(Self {
            deadline: now + wait,
            id: seen.id,
            expected_version: seen.expected_version,
            correlation: seen.correlation,
            causation: seen.causation,
        })
    }

    /// The command of a request with these headers, received `at`.
    #[must_use]
    pub fn command(
        self,
        to: Address,
        name: String,
        fields: Box<RawValue>,
        by: Option<Arc<str>>,
        at: u64,
    ) -> Command {
        Command {
            to,
            name,
            fields,
            id: self.id,
            expected_version: self.expected_version,
            correlation: self.correlation,
            causation: self.causation,
            by,
            at,
            seed: None,
            deadline: self.deadline,
        }
    }
}

#[derive(Default)]
struct Seen {
    timeout: Option<Duration>,
    id: Option<String>,
    expected_version: Option<u64>,
    correlation: Option<String>,
    causation: Option<String>,
}

impl Seen {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        match name {
            "aether-timeout" => once(name, &mut self.timeout, timeout(value)?),
            "aether-correlation-id" => once(name, &mut self.correlation, word(name, value)?),
            "idempotency-key" => once(name, &mut self.id, word(name, value)?),
            "if-match" => once(name, &mut self.expected_version, version(value)?),
            // By the W3C's rules a malformed `traceparent` is as good as none.
            "traceparent" => {
                self.causation = self.causation.take().or_else(|| traceparent(value));
                Ok(())
            }
            other if other.starts_with("aether-") => Err(invalid(unknown_header(other))),
            _ => Ok(()),
        }
    }
}

/// The fields of a command: a JSON object, to the letter. An empty body is `{}`.
///
/// # Errors
/// `too-large` over `limit` bytes; `invalid` if the body is not UTF-8, not JSON or no object.
pub fn fields(body: &[u8], limit: usize) -> Result<Box<RawValue>, Failure> {
    if body.len() > limit {
        return Err(too_large(limit, "body-bytes"));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        invalid(format!("the body is not UTF-8 at byte {at}: expected a JSON object in UTF-8"))
    })?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    let fields: Box<RawValue> = serde_json::from_str(text).map_err(|error| {
        invalid(format!(
            "the body is not JSON: {error}; expected an object with the command's fields"
        ))
    })?;
    if fields.get().starts_with('{') {
        Ok(fields)
    } else {
        let start: String = fields.get().chars().take(20).collect();
        Err(invalid(format!(
            "the body is not a JSON object but `{start}`: expected the command's fields, e.g. {{\"amount\": 50}}"
        )))
    }
}

/// A body over the limit.
#[must_use]
pub fn too_large(limit: usize, name: &str) -> Failure {
    let detail = format!("the body is larger than the limit of {limit} bytes (`{name}`)");
    Failure::new(Code::TooLarge, detail)
}

/// A request that must be changed.
pub fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(Code::Invalid, detail)
}

fn once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), Failure> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid(format!("the header `{name}` is there twice: expected it once"))),
    }
}

fn timeout(value: &[u8]) -> Result<Duration, Failure> {
    let text = String::from_utf8_lossy(value);
    units::duration(&text)
        .map_err(|wrong| invalid(format!("the header `aether-timeout` says {wrong}")))
}

fn word(name: &str, value: &[u8]) -> Result<String, Failure> {
    let printable = value.iter().all(|b| (0x20..0x7f).contains(b));
    let wrong = || {
        invalid(format!(
            "the header `{name}` has {} bytes or unprintable ones: expected 1 to {MAX_COMMAND_ID_BYTES} printable ASCII characters",
            value.len()
        ))
    };
    if !printable || !(1..=MAX_COMMAND_ID_BYTES).contains(&value.len()) {
        return Err(wrong());
    }
    String::from_utf8(value.to_vec()).map_err(|_| wrong())
}

fn version(value: &[u8]) -> Result<u64, Failure> {
    let text = String::from_utf8_lossy(value);
    let bare = text.trim();
    let bare = bare.strip_prefix('"').and_then(|b| b.strip_suffix('"')).unwrap_or(bare);
    let digits = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
    bare.parse().ok().filter(|_| digits).ok_or_else(|| {
        invalid(format!("the header `if-match` says `{text}`: expected one version, e.g. \"3\""))
    })
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, or a later version that begins so.
fn traceparent(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= 128)?;
    let hex = |part: &str, len| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut parts = text.split('-');
    let [version, trace, span, flags] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let fits = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    fits.then(|| text.to_owned())
}

fn unknown_header(name: &str) -> String {
    let hint = nearest(name, OWN_HEADERS.map(str::to_owned))
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("the header `{name}` is unknown{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(pairs: &[(&str, &str)], now: Instant) -> Result<Headers, Failure> {
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_bytes()));
        Headers::read(pairs, &Limits::default(), now)
    }

    #[test]
    fn headers_say_what_they_say() {
        let now = clock::now();
        let read = read(
            &[
                ("Aether-Timeout", "500ms"),
                ("Idempotency-Key", "order 7"),
                ("if-match", "\"3\""),
                ("traceparent", TRACE),
                ("Aether-Correlation-Id", "c"),
                ("x-other", "é"),
            ],
            now,
        );
        let expected = Headers {
            deadline: now + Duration::from_millis(500),
            id: Some("order 7".to_owned()),
            expected_version: Some(3),
            correlation: Some("c".to_owned()),
            causation: Some(TRACE.to_owned()),
        };
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn the_wait_has_a_default_and_a_limit() {
        let now = clock::now();
        let wait = |pairs: &[(&str, &str)]| read(pairs, now).unwrap().deadline - now;
        assert_eq!(wait(&[]), Duration::from_secs(10));
        assert_eq!(wait(&[("aether-timeout", "2m")]), Duration::from_secs(120));
        assert_eq!(wait(&[("aether-timeout", "24h")]), Duration::from_secs(300));
    }

    #[test]
    fn if_match_takes_one_version() {
        let now = clock::now();
        let version = |value| read(&[("if-match", value)], now).map(|h| h.expected_version);
        assert_eq!(version("3").unwrap(), Some(3));
        assert_eq!(version("0").unwrap(), Some(0));
        for bad in ["*", "W/\"3\"", "\"3", "+3", "", "\"\"", "1, 2", "99999999999999999999"] {
            assert!(version(bad).unwrap_err().detail.contains("if-match"), "{bad}");
        }
    }

    #[test]
    fn wrong_headers_are_named() {
        let now = clock::now();
        let long = "x".repeat(257);
        for (name, value, said) in [
            ("aether-timeout", "10", "expected a time"),
            ("aether-timeout", "0s", "expected a time"),
            ("idempotency-key", "", "1 to 256"),
            ("idempotency-key", &long, "has 257 bytes"),
            ("idempotency-key", "é", "printable"),
            ("aether-timout", "10s", "did you mean `aether-timeout`?"),
            ("aether-zzz", "1", "`aether-zzz` is unknown"),
        ] {
            let failure = read(&[(name, value)], now).unwrap_err();
            assert_eq!(failure.code, Code::Invalid);
            assert!(failure.detail.contains(said), "{}", failure.detail);
        }
        let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
        assert!(read(&twice, now).unwrap_err().detail.contains("twice"));
    }

    #[test]
    fn a_malformed_traceparent_is_as_good_as_none() {
        let now = clock::now();
        for bad in ["", "x", "00-zz-zz-01", &TRACE[1..]] {
            assert_eq!(read(&[("traceparent", bad)], now).unwrap().causation, None);
        }
    }

    #[test]
    fn a_body_is_an_object_to_the_letter() {
        let given = r#"{ "amount" : 50.0 }"#;
        assert_eq!(fields(given.as_bytes(), 100).unwrap().get(), given);
        assert_eq!(fields(b" \n", 100).unwrap().get(), "{}");
        for (body, said) in [
            (&b"{\"a\": \xff}"[..], "not UTF-8 at byte 6"),
            (b"{", "not JSON"),
            (b"{} {}", "not JSON"),
            (b"[1]", "not a JSON object but `[1]`"),
            (b"null", "not a JSON object"),
        ] {
            let failure = fields(body, 100).unwrap_err();
            assert_eq!(failure.code, Code::Invalid);
            assert!(failure.detail.contains(said), "{}", failure.detail);
        }
        assert_eq!(fields(&[b' '; 101], 100).unwrap_err().code, Code::TooLarge);
    }
}
