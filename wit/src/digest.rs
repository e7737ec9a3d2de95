//! SHA-256 digests: how models, components and records are named.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// What a digest's text begins with.
const PREFIX: &str = "sha256:";

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    /// The digest's 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Writes the digest behind `text`, as [`Display`](fmt::Display) does for less.
    pub fn push_to(&self, text: &mut String) {
        text.push_str(PREFIX);
        let digits = self.digits();
        // Hex digits are ASCII.
        text.push_str(std::str::from_utf8(digits.as_flattened()).unwrap_or_default());
    }

    /// All digits are written at once: records hold four digests each.
    fn digits(&self) -> [[u8; 2]; 32] {
        self.0.map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
    }

    /// The first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().skip(PREFIX.len()).take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(self.digits().as_flattened()).map_err(|_| fmt::Error)?)
    }
}

/// The hex digit of a number below 16.
const fn digit(number: u8) -> u8 {
    if number < 10 { b'0' + number } else { b'a' + (number - 10) }
}

/// The number that a lower-case hex digit stands for; any number for what is none.
const fn number(digit: u8) -> u8 {
    (digit & 0xf) + 9 * (digit >> 6)
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: expected `sha256:` and 64 lower-case hex digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let refused = || NotADigest(text.chars().take(80).collect());
        let hex = text.strip_prefix(PREFIX).ok_or_else(refused)?.as_bytes();
        let (pairs, rest) = hex.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(refused());
        }
        // Without a branch for each digit: they are random, and the processor would guess in vain.
        let (mut bytes, mut lower_case) = ([0; 32], true);
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| number(digit) & 0xf);
            *byte = high << 4 | low;
            lower_case &= *pair == [digit(high), digit(low)];
        }
        if !lower_case {
            return Err(refused());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl de::Visitor<'_> for Text {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_and_read_back() {
        let digest = Digest::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let mut pushed = "behind ".to_owned();
        digest.push_to(&mut pushed);
        assert_eq!(pushed, format!("behind {text}"));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{text}\"")).unwrap(), digest);
        assert_eq!(digest.short(), "ba7816bf8f01");
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = Digest::of("abc").to_string();
        for bad in
            ["", "sha256:", &good[7..], &good.to_uppercase(), &good[..70], &format!("{good}0")]
        {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        for neighbour in "/:@`gGZ\0é".chars() {
            let bad = format!("{}{neighbour}", &good[..71 - neighbour.len_utf8()]);
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
