//! The parameters after the `?` of a path.

use percent_encoding::percent_decode_str;

use crate::{
    command::Consistency, config::sources::nearest, failure::Failure, gateway::request::invalid,
};

/// The parameters of a request: each known to its route, each there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads what follows the `?`; `known` are the names that the route takes.
    ///
    /// # Errors
    /// `invalid`, naming the parameter that is unknown, there twice, or not UTF-8.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Failure> {
        let mut read = Vec::<(String, String)>::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(invalid(unknown(&name, known)));
            }
            if read.iter().any(|(seen, _)| *seen == name) {
                return Err(invalid(format!(
                    "the parameter `{name}` is there twice: expected it once"
                )));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a whole number.
    ///
    /// # Errors
    /// `invalid`, if it is there and is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let read = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or_else(|| {
                invalid(format!("the parameter `{name}` is `{text}`: expected a whole number"))
            })
        };
        self.get(name).map(read).transpose()
    }

    /// `limit`: how many at most; `default` if it is not there, cut at `most`.
    ///
    /// # Errors
    /// `invalid`, if it is not a whole number of at least 1.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, Failure> {
        match self.number("limit")? {
            None => Ok(default),
            Some(0) => Err(invalid("the parameter `limit` is `0`: expected at least 1")),
            Some(n) => Ok(usize::try_from(n).unwrap_or(most).min(most)),
        }
    }

    /// `consistency`: how fresh an answer must be.
    ///
    /// # Errors
    /// `invalid`, if it is neither `local` nor `linearizable`.
    pub fn consistency(&self) -> Result<Consistency, Failure> {
        match self.get("consistency") {
            None | Some("linearizable") => Ok(Consistency::Linearizable),
            Some("local") => Ok(Consistency::Local),
            Some(other) => Err(invalid(format!(
                "the parameter `consistency` is `{other}`: expected `linearizable` or `local`"
            ))),
        }
    }
}

fn decode(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| invalid(format!("the parameter `{text}` is not UTF-8")))
}

fn unknown(name: &str, known: &[&str]) -> String {
    let shown: String = name.chars().take(80).collect();
    let hint = match nearest(name, known.iter().map(|name| (*name).to_owned())) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "expected none here".to_owned(),
        None => format!("expected one of {}", known.join(", ")),
    };
    format!("the parameter `{shown}` is unknown: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_by_name() {
        let known = ["after", "limit", "consistency"];
        let read = Parameters::read(Some("after=a%2Fb+c&limit=5000"), &known).unwrap();
        assert_eq!(read.get("after"), Some("a/b c"));
        assert_eq!(read.limit(100, 1000).unwrap(), 1000);
        assert_eq!(read.consistency().unwrap(), Consistency::Linearizable);
        let none = Parameters::read(None, &known).unwrap();
        assert_eq!(none.limit(100, 1000).unwrap(), 100);
        let local = Parameters::read(Some("consistency=local"), &known).unwrap();
        assert_eq!(local.consistency().unwrap(), Consistency::Local);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let known = ["version", "min-version", "consistency"];
        let read = |query: &str| Parameters::read(Some(query), &known);
        for (query, said) in [
            ("versoin=3", "`versoin` is unknown: did you mean `version`?"),
            ("zzz", "`zzz` is unknown: expected one of version"),
            ("version=1&version=2", "`version` is there twice"),
            ("version=%FF", "not UTF-8"),
        ] {
            let detail = read(query).unwrap_err().detail;
            assert!(detail.contains(said), "{detail}");
        }
        for bad in ["version=", "version=-1", "version=x", "version=99999999999999999999"] {
            assert!(read(bad).unwrap().number("version").is_err(), "{bad}");
        }
        assert!(read("consistency=fast").unwrap().consistency().is_err());
        assert!(Parameters::read(Some("limit=0"), &["limit"]).unwrap().limit(1, 2).is_err());
        assert!(Parameters::read(Some("a=1"), &[]).unwrap_err().detail.contains("expected none"));
    }
}
