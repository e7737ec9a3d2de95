//! Addresses of actors, and the one grammar by which they become subjects.
//!
//! An address is `CONTEXT/AGGREGATE/ID`. Context and aggregate are names of a model; the id is any
//! text of 1 to 256 bytes. In subjects the id is written so that no two ids share a token and no
//! id can reach another subject: `[A-Za-z0-9_-]` as they are, every other byte as `=XX`.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

/// Longest id of an actor, in bytes of UTF-8: three times this, encoded, fits a NATS subject.
pub const MAX_ID_BYTES: usize = 256;

/// Longest name of a context or an aggregate, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The address of one actor. Cheap to clone.
#[derive(Clone)]
pub struct Address(Arc<Written>);

/// An address as it is written, and where its parts end: an awake actor pays for it.
struct Written {
    text: Box<str>,
    context: u8,
    aggregate: u8,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not three parts.
    #[error("`{0}` is not an address: expected CONTEXT/AGGREGATE/ID, e.g. bank/account/alice")]
    Form(String),
    /// The context or the aggregate cannot be a name of a model.
    #[error(
        "`{0}` cannot be the name of a context or an aggregate: expected lower-case words of letters and digits joined by `-`, at most {MAX_NAME_BYTES} bytes"
    )]
    Name(String),
    /// The id is empty.
    #[error("the id of an actor is empty: expected 1 to {MAX_ID_BYTES} bytes of UTF-8")]
    EmptyId,
    /// The id is too long.
    #[error("the id of the actor has {0} bytes: expected at most {MAX_ID_BYTES}")]
    LongId(usize),
    /// The token is not one that [`Address::id_token`] writes.
    #[error(
        "`{0}` is not the token of an id: expected [A-Za-z0-9_-] as they are and every other byte as =XX in upper-case hex"
    )]
    Token(String),
}

impl Address {
    /// The address of actor `id`.
    ///
    /// # Errors
    /// If a name is not kebab-case or the id is empty or longer than [`MAX_ID_BYTES`].
    pub fn new(context: &str, aggregate: &str, id: &str) -> Result<Self, AddressError> {
        for name in [context, aggregate] {
            if !is_name(name) {
                return Err(AddressError::Name(name.chars().take(80).collect()));
            }
        }
        match id.len() {
            0 => return Err(AddressError::EmptyId),
            n if n > MAX_ID_BYTES => return Err(AddressError::LongId(n)),
            _ => {}
        }
        let written = |text: String| {
            let (context, aggregate) = (context.len(), aggregate.len());
            let end = |length| u8::try_from(length).unwrap_or(u8::MAX);
            Written { text: text.into(), context: end(context), aggregate: end(aggregate) }
        };
        Ok(Self(Arc::new(written([context, aggregate, id].join("/")))))
    }

    /// The bounded context, e.g. `bank`.
    #[must_use]
    pub fn context(&self) -> &str {
        self.parts().0
    }

    /// The aggregate, e.g. `account`.
    #[must_use]
    pub fn aggregate(&self) -> &str {
        self.parts().1
    }

    /// The bare id, e.g. `alice`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parts().2
    }

    /// The address as it is written: `CONTEXT/AGGREGATE/ID`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    fn parts(&self) -> (&str, &str, &str) {
        let Written { text, context, aggregate } = &*self.0;
        let (context, aggregate) = (usize::from(*context), usize::from(*aggregate));
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        let id = context + aggregate + 2;
        (part(0, context), part(context + 1, id - 1), part(id, text.len()))
    }

    /// Whether `text` is this address as it is written.
    #[must_use]
    pub fn is_written(&self, text: &str) -> bool {
        self.as_str() == text
    }

    /// The id as one token of a subject.
    #[must_use]
    pub fn id_token(&self) -> String {
        encode_id(self.id())
    }

    /// The partition of this actor's log among `partitions`: the first 8 bytes, big-endian, of
    /// the SHA-256 of the address, modulo `partitions`.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> u32 {
        let hash = Sha256::digest(self.as_str());
        let first = hash.iter().take(8).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
        u32::try_from(first % u64::from(partitions.max(1))).unwrap_or(0)
    }

    /// The subject of this actor's log: `PREFIX.log.CONTEXT.P.AGGREGATE.ID`.
    #[must_use]
    pub fn log_subject(&self, prefix: &str, partitions: u32) -> String {
        format!(
            "{prefix}.log.{}.{}.{}.{}",
            self.context(),
            self.partition(partitions),
            self.aggregate(),
            self.id_token()
        )
    }
}

// Names hold no `/`, so no two addresses are written alike.
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// By context, then aggregate, then id: as they are written `-` would come before `/`.
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(context), Some(aggregate), Some(id)) => Self::new(context, aggregate, id),
            _ => Err(AddressError::Form(text.chars().take(80).collect())),
        }
    }
}

/// Whether `text` can be the name of an element of a model: kebab-case as WIT has it, in lower case.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.split('-').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

/// `id` as one token of a subject.
#[must_use]
pub fn encode_id(id: &str) -> String {
    let mut token = String::with_capacity(id.len());
    for byte in id.bytes() {
        if is_plain(byte) {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// Whether a byte of an id stands for itself in a token.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The id that [`encode_id`] wrote as `token`.
///
/// # Errors
/// If no id gives this token: each id has exactly one.
pub fn decode_id(token: &str) -> Result<String, AddressError> {
    let refused = || AddressError::Token(token.chars().take(80).collect());
    // Most ids are their own tokens.
    if token.bytes().all(is_plain) && (1..=MAX_ID_BYTES).contains(&token.len()) {
        return Ok(token.to_owned());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let value = high.zip(low).map(|(high, low)| high * 16 + low);
        bytes.push(value.and_then(|v| u8::try_from(v).ok()).ok_or_else(refused)?);
    }
    let id = String::from_utf8(bytes).map_err(|_| refused())?;
    match id.len() {
        0 => Err(AddressError::EmptyId),
        n if n > MAX_ID_BYTES => Err(AddressError::LongId(n)),
        _ if encode_id(&id) != token => Err(refused()),
        _ => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_three_parts_and_the_id_may_hold_slashes() {
        let address: Address = "bank/account/a/b c".parse().unwrap();
        assert_eq!(
            (address.context(), address.aggregate(), address.id()),
            ("bank", "account", "a/b c")
        );
        assert_eq!(address.to_string(), "bank/account/a/b c");
        assert!(address.is_written("bank/account/a/b c"));
        assert!(
            !address.is_written("bank/accounta/b c") && !address.is_written("bank/account/a/b")
        );
        for bad in [
            "",
            "bank",
            "bank/account",
            "bank/account/",
            "Bank/account/x",
            "b--k/a/x",
            "-/a/x",
            "bank/a.b/x",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        assert_eq!(
            Address::new("bank", "account", &"x".repeat(257)),
            Err(AddressError::LongId(257))
        );
    }

    /// Stored data depends on these: they must never change.
    #[test]
    fn partitions_and_subjects_are_fixed() {
        let address: Address = "bank/account/alice".parse().unwrap();
        let hash = Sha256::digest("bank/account/alice");
        let first = u64::from_be_bytes(hash[..8].try_into().unwrap());
        assert_eq!(u64::from(address.partition(8)), first % 8);
        let odd: Address = "bank/account/a.b*>é ".parse().unwrap();
        assert_eq!(odd.id_token(), "a=2Eb=2A=3E=C3=A9=20");
        let subject = address.log_subject("aether", 8);
        assert_eq!(subject, format!("aether.log.bank.{}.account.alice", first % 8));
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for bad in ["", "a.b", "=2e", "=41", "=", "=4", "=C3", "a b", "é", "=2Ea="] {
            assert!(decode_id(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_ordered_and_equal_as_their_parts(
            parts in prop::collection::vec(("a|a-b|b|b0", "a|a-b|b", "[-/a]{1,2}"), 2)
        ) {
            let all = parts.iter().map(|(c, a, i)| Address::new(c, a, i).unwrap());
            let [one, two] = all.collect::<Vec<_>>().try_into().unwrap();
            prop_assert_eq!(one.cmp(&two), parts[0].cmp(&parts[1]));
            prop_assert_eq!(one == two, parts[0] == parts[1]);
            prop_assert_eq!((one.context(), one.aggregate(), one.id()), {
                let (context, aggregate, id) = &parts[0];
                (context.as_str(), aggregate.as_str(), id.as_str())
            });
        }

        #[test]
        fn every_id_has_one_token_and_comes_back(id in "\\PC{1,40}|[ -~]{1,60}|.{1,30}") {
            let token = encode_id(&id);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(&b)));
            prop_assert_eq!(decode_id(&token).unwrap(), id);
        }

        #[test]
        fn no_token_stands_for_two_ids(token in "[a-zA-Z0-9=_-]{1,20}") {
            if let Ok(id) = decode_id(&token) {
                prop_assert_eq!(encode_id(&id), token);
            }
        }
    }
}
