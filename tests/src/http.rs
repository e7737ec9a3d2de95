//! A client that sends whatever it is told to and reports whatever comes back.

use std::{
    io::{BufRead as _, BufReader},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::{Agent, http};

/// Longer than any caller's deadline in the tests: a host that does not answer fails the test.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// A client of one host. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    headers: Vec<(String, String)>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Client {
    /// A client of the host at `url`, e.g. `http://127.0.0.1:4280`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Self { agent: Agent::new_with_config(config), url, headers: Vec::new() }
    }

    /// The same client with one more header on every request.
    #[must_use]
    pub fn with(mut self, header: &str, value: &str) -> Self {
        self.headers.push((header.into(), value.into()));
        self
    }

    /// Sends a command: `POST /v1/ADDRESS/NAME`. The address is `CONTEXT/AGGREGATE/ID` and goes
    /// out as it is: a test that wants it percent-encoded does so.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn command(&self, address: &str, name: &str, fields: &Value) -> Result<Reply> {
        self.send("POST", &format!("/v1/{address}/{name}"), &[], fields.to_string().as_bytes())
    }

    /// Reads `path`, which begins with `/`.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], &[])
    }

    /// Opens a feed at `path` and gives its lines as they come, without the empty ones.
    ///
    /// # Errors
    /// If the answer is not 200. A line is an error if the feed breaks off.
    pub fn lines(&self, path: &str) -> Result<impl Iterator<Item = Result<String>> + use<>> {
        let url = self.url.clone() + path;
        let request = http::Request::builder().uri(&url).body(())?;
        let answer = self.agent.run(request).with_context(|| format!("GET {url}"))?;
        ensure!(answer.status() == 200, "GET {url}: status {}", answer.status());
        let lines = BufReader::new(answer.into_body().into_reader()).lines();
        let lines = lines.filter(|line| !line.as_ref().is_ok_and(String::is_empty));
        Ok(lines.map(move |line| line.with_context(|| format!("the feed at {url} broke off"))))
    }

    /// Sends any request. An empty body is no body; any other is declared to be JSON unless
    /// `headers` say otherwise.
    ///
    /// # Errors
    /// If it is no HTTP request, or there is no answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply> {
        let mut request = http::Request::builder().method(method).uri(self.url.clone() + path);
        let always = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut typed = body.is_empty();
        for (name, value) in always.chain(headers.iter().copied()) {
            typed |= name.eq_ignore_ascii_case("content-type");
            request = request.header(name, value);
        }
        if !typed {
            request = request.header("content-type", "application/json");
        }
        let context = || format!("{method} {}{path}", self.url);
        let answer = if body.is_empty() {
            self.agent.run(request.body(()).with_context(context)?)
        } else {
            self.agent.run(request.body(body).with_context(context)?)
        };
        let (parts, mut body) = answer.with_context(context)?.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec().with_context(context)?;
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not JSON; the message shows it.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, body is no JSON: {}", self.status, self.text()))
    }

    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; none if it is missing or is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The member `code` of a problem body.
    ///
    /// # Errors
    /// If the body is no problem.
    pub fn code(&self) -> Result<String> {
        let code = self.json()?.get("code").and_then(Value::as_str).map(str::to_owned);
        code.with_context(|| format!("status {}, no code in {}", self.status, self.text()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use serde_json::json;

    use super::Client;

    /// A server that answers one request with `answer`; gives its URL and what it was sent.
    fn server(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !request.ends_with(b"}") {
                let length = stream.read(&mut chunk).unwrap();
                assert_ne!(length, 0, "the request ended early: {request:?}");
                request.extend_from_slice(&chunk[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, served)
    }

    #[test]
    fn a_problem_is_an_answer() {
        let (url, served) = server(
            "HTTP/1.1 422 Unprocessable Entity\r\nETag: \"3\"\r\nContent-Length: 19\r\n\r\n\
             {\"code\":\"rejected\"}",
        );
        let client = Client::new(&url).with("authorization", "Bearer t");
        let reply = client.command("bank/account/a%2Fb", "open", &json!({"owner": "A"})).unwrap();
        assert_eq!(reply.status, 422);
        assert_eq!(reply.header("etag"), Some("\"3\""));
        assert_eq!(reply.code().unwrap(), "rejected");

        let request = served.join().unwrap();
        assert!(request.starts_with("POST /v1/bank/account/a%2Fb/open HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("\r\nauthorization: bearer t\r\n"), "{request}");
        assert!(request.to_lowercase().contains("content-type: application/json"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"owner\":\"A\"}"), "{request}");
    }
}
