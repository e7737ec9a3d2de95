//! The HTTP face over a real socket, in front of the fake service.

use std::{net::SocketAddr, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    task::JoinHandle,
};

use super::*;
use crate::gateway::{fake::Fake, problem::CODES};

const TOKEN: &str = "0123456789abcdef";

/// A running face and what is needed to stop it.
struct Running {
    at: SocketAddr,
    fake: Arc<Fake>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

async fn run() -> Running {
    run_with(Limits::default(), None).await
}

async fn run_with(limits: Limits, tokens: Option<Tokens>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let service = Arc::clone(&fake) as Arc<dyn Service>;
    let heartbeat = Duration::from_millis(50);
    let bodies = Bodies::new(limits.max_request_bytes);
    let face = Arc::new(Face { service, tokens, limits, heartbeat, bodies, stop: stop.clone() });
    Running { at, fake, stop, served: tokio::spawn(serve(listener, face)) }
}

/// An answer as it came over the wire.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        self.head.lines().find(line).map(|line| line.split_once(": ").unwrap().1)
    }

    /// Status and code, after checking that it is a problem body that agrees with its status.
    fn problem(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["status"], json!(self.status), "{body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert!(!body["detail"].as_str().unwrap().is_empty() && body["title"].is_string());
        (self.status, body["code"].as_str().unwrap().to_owned())
    }
}

impl Running {
    async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        let read = String::from_utf8(read).unwrap();
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], body.as_bytes()).await
    }

    /// A feed that has been asked for; its head is read.
    async fn follow(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        while line(&mut reader).await != "\r\n" {}
        reader
    }

    async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap();
    }
}

async fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    line
}

/// The next line of a feed that begins with `start`: chunk sizes and heartbeats are skipped.
async fn line_with(reader: &mut BufReader<TcpStream>, start: &str) -> String {
    loop {
        let line = line(reader).await;
        assert!(!line.is_empty(), "the feed ended before `{start}`");
        if line.starts_with(start) {
            return line.trim_end().to_owned();
        }
    }
}

#[tokio::test]
async fn a_command_is_answered_with_its_events() {
    let running = run().await;
    let answer = running.post("/v1/bank/account/alice/open", r#"{"owner":"Alice"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let expected = r#"{"actor":"bank/account/alice","version":1,"command":"made-0","events":[{"version":1,"type":"open","data":{"owner":"Alice"}}]}"#;
    assert_eq!(answer.body, expected);
    let state = running.get("/v1/bank/account/alice").await;
    assert_eq!(state.header("etag"), Some("\"1\""));
    assert_eq!(state.json()["version"], 1);
    assert!(state.json()["component"].as_str().unwrap().starts_with("sha256:"));
    let old = running.get("/v1/bank/account/alice?version=0&consistency=local").await;
    assert_eq!(old.json()["version"], 0);
    assert_eq!(old.json()["state"]["consistency"], "Local");
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_domain_is_422_with_its_rejection() {
    let running = run().await;
    let answer = running.post("/v1/bank/account/alice/refuse", "").await;
    assert_eq!(answer.problem(), (422, "rejected".to_owned()));
    assert!(answer.body.contains(r#""rejection":{"insufficient-funds":{"balance":50}}"#));
    assert_eq!(answer.json()["version"], 0);
    assert_eq!(answer.json()["command"], "made-0");
    let bare = running.post("/v1/bank/account/alice/refuse-bare", "").await;
    assert_eq!(bare.json()["rejection"], "not-open");
    running.stop().await;
}

#[tokio::test]
async fn every_code_has_its_status_and_body() {
    let running = run().await;
    for code in CODES {
        let path = format!("/v1/bank/account/alice/fail-{}", code.as_str());
        let answer = running.post(&path, "").await;
        assert_eq!(answer.problem(), (code.http_status(), code.as_str().to_owned()));
        let retry = matches!(code, Code::Overloaded | Code::Unavailable).then_some("1");
        assert_eq!(answer.header("retry-after"), retry);
        assert_eq!(answer.json()["actor"], "bank/account/alice");
    }
    running.stop().await;
}

#[tokio::test]
async fn wrong_requests_each_get_their_own_answer_and_reach_nobody() {
    let running = run().await;
    let open = "/v1/bank/account/a/open";
    let long = format!("/v1/bank/account/{}/open", "x".repeat(300));
    let key = "k".repeat(257);
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let cases: &[Case<'_>] = &[
        ("POST", open, &[], b"{", 400, "not JSON"),
        ("POST", open, &[], b"{\"a\":\xff}", 400, "not UTF-8"),
        ("POST", open, &[], b"[]", 400, "not a JSON object"),
        ("POST", &long, &[], b"", 400, "300 bytes"),
        ("POST", "/v1/bank/account/%FF/open", &[], b"", 400, "not UTF-8"),
        ("POST", "/v1/bank/account//open", &[], b"", 400, "empty"),
        ("POST", "/v1/Bank/account/a/open", &[], b"", 404, "Bank"),
        ("GET", "/nowhere", &[], b"", 404, "/nowhere"),
        ("GET", open, &[], b"", 405, "POST"),
        ("DELETE", "/v1/bank/account/a", &[], b"", 405, "GET"),
        ("POST", open, &[("if-match", "*")], b"", 400, "if-match"),
        ("POST", open, &[("idempotency-key", &key)], b"", 400, "257 bytes"),
        ("POST", open, &[("aether-timeout", "10")], b"", 400, "aether-timeout"),
        ("POST", open, &[("aether-timout", "1s")], b"", 400, "did you mean"),
        ("POST", &format!("{open}?x=1"), &[], b"", 400, "`x` is unknown"),
        ("GET", "/v1/bank/account/a?versoin=1", &[], b"", 400, "`version`"),
        ("GET", "/v1/bank/account/a?version=x", &[], b"", 400, "whole number"),
        ("GET", "/v1/bank/account/a/events?limit=0", &[], b"", 400, "at least 1"),
    ];
    for (method, path, headers, body, status, said) in cases {
        let answer = running.ask(method, path, headers, body).await;
        assert_eq!(answer.problem().0, *status, "{method} {path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{method} {path}: {detail}");
        assert_eq!(answer.header("allow").is_some(), *status == 405);
    }
    assert!(running.fake.seen().is_empty());
    let unknown = running.post("/v1/shop/cart/a/open", "").await;
    assert_eq!(unknown.problem(), (404, "unknown".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_off_and_refused() {
    let running = run().await;
    let body = vec![b' '; 10 << 20];
    let answer = running.ask("POST", "/v1/bank/account/a/open", &[], &body).await;
    assert_eq!(answer.problem(), (413, "too-large".to_owned()));
    let head = "POST /v1/bank/account/a/open HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n";
    assert_eq!(running.raw(head.as_bytes()).await.status, 413);
    assert!(running.fake.seen().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn awkward_ids_arrive_to_the_letter() {
    let running = run().await;
    for (path, id) in [
        ("a.b", "a.b"),
        ("*", "*"),
        ("%3E", ">"),
        ("a%2Fb", "a/b"),
        ("a%20b", "a b"),
        ("%F0%9F%A6%8A", "🦊"),
        ("..", ".."),
    ] {
        let answer = running.post(&format!("/v1/bank/account/{path}/open"), "").await;
        assert_eq!(answer.json()["actor"], format!("bank/account/{id}"));
        assert_eq!(running.fake.seen().last().unwrap().to.id(), id);
    }
    running.stop().await;
}

#[tokio::test]
async fn headers_reach_the_command() {
    let running = run().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("Idempotency-Key", "order-7"),
        ("If-Match", "\"0\""),
        ("traceparent", trace),
        ("Aether-Correlation-Id", "work-1"),
        ("Aether-Timeout", "2m"),
    ];
    let path = "/v1/bank/account/alice/open";
    let first = running.ask("POST", path, &headers, b"").await;
    assert_eq!(first.json()["command"], "order-7");
    let seen = running.fake.seen().remove(0);
    assert_eq!((seen.id.as_deref(), seen.expected_version), (Some("order-7"), Some(0)));
    assert_eq!(seen.causation.as_deref(), Some(trace));
    assert_eq!(seen.correlation.as_deref(), Some("work-1"));
    let left = seen.deadline - clock::now();
    assert!(left > Duration::from_secs(60) && left <= Duration::from_secs(120));
    assert!(seen.by.is_none() && seen.at > 0);
    let again = running.ask("POST", path, &headers[..1], b"").await;
    assert_eq!(again.body, first.body);
    let stale = running.ask("POST", path, &[("If-Match", "0")], b"").await;
    assert_eq!(stale.problem(), (412, "conflict".to_owned()));
    assert_eq!(stale.json()["version"], 1);
    running.stop().await;
}

#[tokio::test]
async fn pages_are_cut_and_go_on() {
    let running = run().await;
    for id in ["a", "b", "c"] {
        running.post(&format!("/v1/bank/account/{id}/open"), "").await;
    }
    running.post("/v1/bank/account/a/deposit", "").await;
    let events = running.get("/v1/bank/account/a/events?limit=1").await.json();
    let expected = json!({"actor": "bank/account/a", "next": 2, "events": [
        {"version": 1, "type": "open", "data": {}, "at": 1000, "command": "made-0"}]});
    assert_eq!(events, expected);
    let rest = running.get("/v1/bank/account/a/events?from=2&limit=99999").await.json();
    assert_eq!((&rest["events"][0]["type"], &rest["next"]), (&json!("deposit"), &Value::Null));
    let actors = running.get("/v1/bank/account?limit=2").await.json();
    assert_eq!(actors["next"], "b");
    let entry = json!({"actor": "bank/account/a", "awake": 1, "quarantined": null});
    assert_eq!(actors["actors"][0], entry);
    let rest = running.get("/v1/bank/account?after=b").await.json();
    assert_eq!(rest["actors"][0]["actor"], "bank/account/c");
    let awake = running.get("/admin/awake?limit=2").await.json();
    assert_eq!(awake["actors"].as_array().unwrap().len(), 2);
    let deployments = running.get("/admin/deployments").await.json();
    assert_eq!(deployments["deployments"][0]["context"], "bank");
    let woken = running.post("/v1/bank/account/a/wake", "").await.json();
    assert_eq!(woken, json!({"actor": "bank/account/a", "version": 2}));
    let asleep = running.post("/v1/bank/account/a/sleep", "").await.json();
    assert_eq!(asleep, json!({"actor": "bank/account/a", "was-awake": true}));
    running.stop().await;
}

#[tokio::test]
async fn damage_is_listed_released_and_audited() {
    let running = run().await;
    let listed = running.get("/admin/quarantined?context=bank").await.json();
    let line = json!({"actor": "bank/account/a", "position": 7, "kind": "gap", "reason": "a gap", "at": 1000});
    assert_eq!(listed, json!({"quarantined": [line]}));
    assert_eq!(running.get("/admin/quarantined?context=shop").await.status, 404);

    let order = r#"{"actor":"bank/account/a/b","skip":[3,9],"because":"why"}"#;
    let released = running.post("/admin/release", order).await.json();
    let expected =
        json!({"actor": "bank/account/a/b", "version": 3, "was-quarantined": true, "repair": 9});
    assert_eq!(released, expected);
    for wrong in ["", "{}", r#"{"actor":"a"}"#, r#"{"actor":"a/b/c","skips":[1]}"#] {
        let refused = running.post("/admin/release", wrong).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid")), "{wrong}");
    }

    let told = running.get("/admin/audit?context=bank&actor=bank%2Faccount%2Fa").await;
    let lines = told.body.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let finding =
        json!({"actor": "bank/account/a", "position": 7, "kind": "gap", "reason": "bank"});
    assert_eq!(lines[0], json!({"finding": finding}));
    assert_eq!(lines[1]["problem"]["code"], "unavailable");
    assert_eq!(running.get("/admin/audit?actor=alice").await.status, 400);
    running.stop().await;
}

#[tokio::test]
async fn the_operators_paths_answer() {
    let running = run().await;
    assert_eq!(running.get("/healthz").await.status, 200);
    assert_eq!(running.get("/readyz").await.status, 200);
    assert_eq!(running.get("/openapi.json").await.json()["openapi"], "3.1.0");
    let metrics = running.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some(metrics::CONTENT_TYPE));
    assert!(metrics.body.contains("aether_http_connections 1\n"));
    assert_eq!(running.ask("HEAD", "/healthz", &[], b"").await.body, "");
    running.post("/v1/bank/account/not-ready/open", "").await;
    assert_eq!(running.get("/readyz").await.problem(), (503, "unavailable".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn tokens_name_the_caller_and_leave_health_open() {
    let tokens = Tokens::parse("t", &format!("alice {TOKEN}")).unwrap();
    let running = run_with(Limits::default(), Some(tokens)).await;
    let path = "/v1/bank/account/a/open";
    let none = running.post(path, "").await;
    assert_eq!(none.problem(), (401, "unauthenticated".to_owned()));
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    let wrong = [("authorization", "Bearer 0123456789abcdeX")];
    assert_eq!(running.ask("POST", path, &wrong, b"").await.status, 401);
    assert_eq!(running.get("/metrics").await.status, 401);
    assert!(running.fake.seen().is_empty());
    let bearer = format!("Bearer {TOKEN}");
    let right = [("authorization", bearer.as_str())];
    assert_eq!(running.ask("POST", path, &right, b"").await.status, 200);
    assert_eq!(running.fake.seen()[0].by.as_deref(), Some("alice"));
    assert_eq!(running.get("/healthz").await.status, 200);
    assert_eq!(running.get("/readyz").await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn records_and_blobs_are_given_to_the_letter() {
    let running = run().await;
    let told = running.get("/admin/records/bank/account/a?until=9").await;
    assert_eq!(told.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<_> = told.body.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(
        lines,
        [
            r#"{"record":{"position":4,"stored":{"n": 4}}}"#,
            r#"{"record":{"position":7,"stored":{"n": 7}}}"#,
            r#"{"anew":{}}"#,
            r#"{"end":{"version":9}}"#,
        ]
    );
    let broken = running.get("/admin/records/bank/account/a").await;
    assert!(broken.body.contains("{\"problem\":{") && broken.body.contains("\"quarantined\""));
    assert_eq!(running.get("/admin/records/shop/till/a").await.problem().0, 404);
    assert_eq!(running.get("/admin/records/bank/account/a?until=x").await.problem().0, 400);

    let model = running.get(&format!("/admin/blobs/{}", aether_wit::Digest::of("model"))).await;
    assert_eq!((model.status, model.body.as_str()), (200, "model"));
    assert_eq!(model.header("content-type"), Some("application/octet-stream"));
    let other = running.get(&format!("/admin/blobs/{}", aether_wit::Digest::of("other"))).await;
    assert_eq!(other.problem().0, 404);
    running.stop().await;
}

#[tokio::test]
async fn a_feed_catches_up_goes_on_live_and_ends_at_drain() {
    let running = run().await;
    running.post("/v1/bank/account/a/open", "").await;
    let mut feed = running.follow("/v1/bank/events", "").await;
    let past: Value = serde_json::from_str(&line_with(&mut feed, "{").await).unwrap();
    let expected = json!({"cursor": "a.1", "actor": "bank/account/a", "version": 1,
        "type": "open", "data": {}, "at": 1000, "command": "made-0"});
    assert_eq!(past, expected);
    running.post("/v1/bank/account/a/deposit", "").await;
    let live: Value = serde_json::from_str(&line_with(&mut feed, "{").await).unwrap();
    assert_eq!(live["cursor"], "a.2");
    // A heartbeat is an empty line in a chunk of one byte.
    assert_eq!(line_with(&mut feed, "1\r").await, "1");
    running.stop().await;
    assert_eq!(line_with(&mut feed, "0\r").await, "0");
}

#[tokio::test]
async fn a_feed_of_server_sent_events_goes_on_after_the_last_id() {
    let running = run().await;
    running.post("/v1/bank/account/a/open", "").await;
    running.post("/v1/bank/account/a/deposit", "").await;
    let headers = "accept: text/event-stream\r\nlast-event-id: a.1\r\n";
    let mut feed = running.follow("/v1/bank/events", headers).await;
    assert_eq!(line_with(&mut feed, "id:").await, "id: a.2");
    let data = line_with(&mut feed, "data:").await;
    assert!(data.starts_with(r#"data: {"cursor":"a.2","actor":"bank/account/a""#), "{data}");
    assert_eq!(line_with(&mut feed, ":").await, ": heartbeat");
    running.post("/v1/bank/account/a/break-feed", "").await;
    assert_eq!(line_with(&mut feed, "event:").await, "event: problem");
    assert!(line_with(&mut feed, "data:").await.contains("\"code\":\"unavailable\""));
    assert_eq!(line_with(&mut feed, "0\r").await, "0");
    assert_eq!(running.get("/v1/bank/events?after=x").await.status, 400);
    assert_eq!(running.get("/v1/shop/events").await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let running = run_with(limits, None).await;
    let mut first = running.follow("/v1/bank/events", "").await;
    let second = running.raw(b"").await;
    assert_eq!(second.problem(), (503, "unavailable".to_owned()));
    running.stop.cancel();
    assert_eq!(line_with(&mut first, "0\r").await, "0");
    running.stop().await;
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let running = run_with(limits, None).await;
    let mut stream = TcpStream::connect(running.at).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert!(!read.starts_with(b"HTTP/1.1 200"));
    let head = "POST /v1/bank/account/a/open HTTP/1.1\r\nhost: h\r\naether-timeout: 50ms\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{";
    let answer = running.raw(head.as_bytes()).await;
    assert_eq!(answer.problem(), (StatusCode::REQUEST_TIMEOUT.as_u16(), "invalid".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_the_host_drains() {
    let running = run().await;
    let mut stream = TcpStream::connect(running.at).await.unwrap();
    let head = "POST /v1/bank/account/a/hang HTTP/1.1\r\nhost: h\r\naether-timeout: 200ms\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    while running.fake.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert!(read.starts_with("HTTP/1.1 504"), "{read}");
}
