//! Who calls: bearer tokens from a file.
//!
//! The file holds a line `NAME TOKEN` per caller; empty lines and lines that begin with `#` are
//! skipped. NAME becomes the command's `by`. Tokens are compared by their SHA-256 in constant
//! time, all of them at every request, so that the time of an answer tells nothing about them.

use std::{fmt, path::Path, sync::Arc};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::failure::{Code, Failure};

/// Shortest token that is taken, in bytes: below it, guessing is cheap.
pub const MIN_TOKEN_BYTES: usize = 16;

/// Longest name, in bytes: it stands in every record as `by`.
const MAX_NAME_BYTES: usize = 128;

/// The callers that are known.
pub struct Tokens(Vec<(Arc<str>, [u8; 32])>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Why a token file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenFileError(pub String);

impl Tokens {
    /// The tokens in `file`.
    ///
    /// # Errors
    /// If it cannot be read, or is not a list of tokens.
    pub fn load(file: &Path) -> Result<Self, TokenFileError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| TokenFileError(format!("the token file {name}: {error}")))?;
        Self::parse(&name, &text)
    }

    /// The tokens in `text`; `file` is its name in messages, which never show a token.
    ///
    /// # Errors
    /// If a line is not `NAME TOKEN`, a token is short or there twice, or there is none.
    pub fn parse(file: &str, text: &str) -> Result<Self, TokenFileError> {
        let mut tokens: Vec<(Arc<str>, [u8; 32])> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| TokenFileError(format!("{file}:{number}: {what}"));
            let mut words = line.split_whitespace();
            let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("expected two words, NAME and TOKEN"));
            };
            if name.len() > MAX_NAME_BYTES {
                return Err(wrong("the name has more than 128 bytes"));
            }
            if token.len() < MIN_TOKEN_BYTES {
                return Err(wrong(
                    "the token has less than 16 bytes: make one with `openssl rand -hex 32`",
                ));
            }
            let digest = Sha256::digest(token).into();
            if tokens.iter().any(|(_, known)| *known == digest) {
                return Err(wrong("this token stands in the file twice"));
            }
            tokens.push((name.into(), digest));
        }
        if tokens.is_empty() {
            return Err(TokenFileError(format!(
                "{file} holds no token: expected lines `NAME TOKEN`"
            )));
        }
        Ok(Self(tokens))
    }

    /// The caller whose `Authorization` header this is.
    ///
    /// # Errors
    /// `unauthenticated` if there is none, or it is not a known token.
    pub fn caller(&self, authorization: Option<&[u8]>) -> Result<Arc<str>, Failure> {
        let refused = |detail: &str| Failure::new(Code::Unauthenticated, detail);
        let header = authorization.ok_or_else(|| {
            refused("no token: expected the header `Authorization: Bearer TOKEN`")
        })?;
        let (scheme, token) = header.split_at_checked(7).unwrap_or((header, b""));
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(refused(
                "the header `Authorization` is not a bearer token: expected `Bearer TOKEN`",
            ));
        }
        let digest: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        let mut found = None;
        for (name, known) in &self.0 {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(name);
            }
        }
        found.cloned().ok_or_else(|| refused("the token is not known to this host"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# callers\nalice 0123456789abcdef\n\n  bob\tfedcba9876543210-long  \n";

    #[test]
    fn a_token_names_its_caller() {
        let tokens = Tokens::parse("t", FILE).unwrap();
        let caller = |header: &str| tokens.caller(Some(header.as_bytes()));
        assert_eq!(&*caller("Bearer 0123456789abcdef").unwrap(), "alice");
        assert_eq!(&*caller("bearer fedcba9876543210-long").unwrap(), "bob");
        for bad in
            ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdeX", "é"]
        {
            assert_eq!(caller(bad).unwrap_err().code, Code::Unauthenticated, "{bad}");
        }
        assert!(tokens.caller(None).unwrap_err().detail.contains("Authorization: Bearer"));
        assert!(!format!("{tokens:?}").contains("0123"));
    }

    #[test]
    fn mistakes_in_the_file_name_the_line_and_not_the_token() {
        for (text, said) in [
            ("alice\n", "t:1: expected two words"),
            ("# x\nalice secret-of-16-byte more\n", "t:2: expected two words"),
            ("alice short-secret\n", "t:1: the token has less than 16"),
            ("a 0123456789abcdef\nb 0123456789abcdef", "t:2: this token stands in the file twice"),
            ("\n", "t holds no token"),
        ] {
            let found = Tokens::parse("t", text).unwrap_err().0;
            assert!(found.starts_with(said), "{found}");
            assert!(!found.contains("secret") && !found.contains("0123"), "{found}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let said = Tokens::load(Path::new("/nowhere/tokens")).unwrap_err().0;
        assert!(said.contains("/nowhere/tokens"), "{said}");
    }
}
