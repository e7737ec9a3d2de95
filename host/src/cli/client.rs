//! What the commands that talk to a host have in common.

use std::{fmt, process::ExitCode, time::Duration};

use anyhow::bail;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use ureq::{
    Agent, Body,
    http::{Request, Response},
};

use super::print;
use crate::{address::Address, config::units, failure::Code, gateway::problem};

/// How much longer than the host's own deadline the client waits for its answer.
const SLACK: Duration = Duration::from_secs(5);

/// How long the host waits for what the caller asks, if the caller does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes: a page of 1,000 events of the largest size is below it.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// Where the host is.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Where the host is; a token is read from AETHER_TOKEN.
    #[arg(long, env = "AETHER_URL", default_value = "http://127.0.0.1:4280")]
    pub url: String,
    /// How long to wait for the answer, e.g. 500ms, 10s, 2m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
}

/// What a host said.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A way to a host.
pub struct Client<'a> {
    connection: &'a Connection,
    token: Option<String>,
    agent: Agent,
}

/// A failure told by the host, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Told {
    code: String,
    detail: String,
}

impl Connection {
    /// A client for the host.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        let token = std::env::var("AETHER_TOKEN").ok().filter(|token| !token.is_empty());
        let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        Client { connection: self, token, agent: agent.new_agent() }
    }
}

impl Client<'_> {
    /// Asks with GET.
    ///
    /// # Errors
    /// If the host cannot be reached.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, &[], String::new())
    }

    /// Asks with POST.
    ///
    /// # Errors
    /// If the host cannot be reached.
    pub fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> anyhow::Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    /// Asks with GET for a body that does not end.
    ///
    /// # Errors
    /// If the host cannot be reached.
    pub fn open(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let url = format!("{}{path}", self.connection.url.trim_end_matches('/'));
        let mut request = Request::get(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(())?;
        self.agent.run(request).or_else(|error| self.unreachable(&error))
    }

    /// Asks with POST and a body of any kind, for an answer that comes line by line and may take
    /// as long as it takes.
    ///
    /// # Errors
    /// If the host cannot be reached.
    pub fn post_open(
        &self,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Response<Body>> {
        let url = format!("{}{path}", self.connection.url.trim_end_matches('/'));
        let mut request = Request::post(&url).header("content-type", content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body)?;
        self.agent.run(request).or_else(|error| self.unreachable(&error))
    }

    /// Asks with GET for an answer that is worked with.
    ///
    /// # Errors
    /// [`Unreachable`], [`Refused`], or an answer that is not what is expected.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(serde_json::from_str(&self.get(path)?.accepted()?.body)?)
    }

    /// Asks with GET for bytes.
    ///
    /// # Errors
    /// [`Unreachable`] or [`Refused`].
    pub fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut response = self.follow(path)?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        body.or_else(|error| self.unreachable(&error))
    }

    /// Asks with GET for a body that does not end, and looks whether it is one.
    ///
    /// # Errors
    /// [`Unreachable`] or [`Refused`].
    pub fn follow(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let mut response = self.open(path)?;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.body_mut().read_to_string().unwrap_or_default();
            return Err(Refused::from_answer(status, &body).into());
        }
        Ok(response)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.connection.url.trim_end_matches('/'));
        let wait = self.connection.timeout.unwrap_or(TIMEOUT);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("aether-timeout", format!("{}ms", wait.as_millis()));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let limit = Some(wait + SLACK);
        let answered = if method == "GET" {
            let request = self.agent.configure_request(request.body(())?);
            self.agent.run(request.timeout_global(limit).build())
        } else {
            let request = self.agent.configure_request(request.body(body)?);
            self.agent.run(request.timeout_global(limit).build())
        };
        let mut response = answered.or_else(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        Ok(Answer { status, body: read.or_else(|error| self.unreachable(&error))? })
    }

    fn unreachable<T>(&self, error: &ureq::Error) -> anyhow::Result<T> {
        let url = &self.connection.url;
        bail!(Unreachable(format!("no answer from {url}: {error}; is a host running there?")))
    }
}

/// The host did not answer: it may have done what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// What a host, or the past that it holds, says no to.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Refused {
    /// The code and its explanation.
    pub said: String,
    /// The status to exit with.
    pub status: u8,
}

impl Refused {
    /// The failure that an answer tells.
    #[must_use]
    pub fn from_answer(status: u16, body: &str) -> Self {
        let (said, status) = explain(status, body);
        Self { said, status }
    }

    /// A failure that is noticed here.
    #[must_use]
    pub fn new(code: Code, detail: impl fmt::Display) -> Self {
        let code = code.as_str();
        Self { said: format!("{code}: {detail}"), status: problem::exit_status(code) }
    }
}

impl Answer {
    /// The answer, if it is a success.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn accepted(self) -> Result<Self, Refused> {
        if (200..300).contains(&self.status) {
            Ok(self)
        } else {
            Err(Refused::from_answer(self.status, &self.body))
        }
    }

    /// Prints the answer: as the host gave it with `json`, else by `shown`. Gives the status to exit
    /// with.
    ///
    /// # Errors
    /// [`Refused`], or if the host's answer is not what `shown` expects, as from a host of another
    /// version.
    pub fn print<T: DeserializeOwned>(
        self,
        json: bool,
        shown: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<ExitCode> {
        let accepted = self.accepted()?;
        if json {
            print::line(&accepted.body);
        } else {
            print::text(&shown(&serde_json::from_str(&accepted.body)?));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What to print of a failure, and the status to exit with.
#[must_use]
pub fn explain(status: u16, body: &str) -> (String, u8) {
    match serde_json::from_str::<Told>(body) {
        Ok(told) => (format!("{}: {}", told.code, told.detail), problem::exit_status(&told.code)),
        Err(_) => {
            let start: String = body.chars().take(200).collect();
            (
                format!("the answer is not from a host of aether: HTTP {status} {start}"),
                super::INVALID,
            )
        }
    }
}

/// The same for a line of an answer that comes line by line, if it says that the answer broke off.
#[must_use]
pub fn broken_off(line: &str) -> Option<(String, u8)> {
    let problem = line.strip_prefix("{\"problem\":")?;
    Some(explain(200, problem.strip_suffix('}').unwrap_or(problem)))
}

/// The path of an actor, with its id percent-encoded. Dots are encoded too: many clients would
/// normalise `.` and `..` away.
#[must_use]
pub fn path(actor: &Address) -> String {
    format!("/v1/{}", encoded(actor))
}

/// The path of an actor below another root.
#[must_use]
pub fn encoded(actor: &Address) -> String {
    format!("{}/{}/{}", actor.context(), actor.aggregate(), encode(actor.id()))
}

/// `text` as a part of a path or the value of a parameter.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEEP).to_string()
}

/// The query of the parameters that have a value.
#[must_use]
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awkward_ids_survive_the_url() {
        let actor = Address::new("bank", "account", "../a b/é?#%").unwrap();
        assert_eq!(path(&actor), "/v1/bank/account/%2E%2E%2Fa%20b%2F%C3%A9%3F%23%25");
        let given = [("after", Some("a+b".to_owned())), ("limit", None)];
        assert_eq!(query(&given), "?after=a%2Bb");
        assert_eq!(query(&[("limit", None)]), "");
    }

    #[test]
    fn failures_are_told_by_code_and_exit_by_the_table() {
        let body = r#"{"code":"conflict","detail":"it is at 3","status":412}"#;
        assert_eq!(explain(412, body), ("conflict: it is at 3".to_owned(), 1));
        let rejected = r#"{"code":"rejected","detail":"d"}"#;
        assert_eq!(explain(422, rejected).1, 1);
        let (said, status) = explain(502, "<html>");
        assert!(said.contains("502 <html>") && status == 2);
    }

    #[test]
    fn a_host_that_is_not_there_is_named() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connection = Connection { url: format!("http://{closed}"), timeout: None };
        let error = connection.client().get("/healthz").unwrap_err();
        assert!(error.is::<Unreachable>());
        assert!(error.to_string().contains(&closed.to_string()), "{error}");
    }
}
