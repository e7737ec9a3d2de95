//! Over NATS: forged headers and reply subjects, odd words, large headers, a flood.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use aether::{address::Address, clock};
use aether_tests::{host_process::HostProcess, measure::metric, nats_server::NatsServer};
use futures::StreamExt as _;
use serde_json::json;

use super::{full_or, memory_is_bounded};
use crate::two_hosts::kit::{SOON, ask, bank, connect};

/// A connection that says whatever it is told to say.
struct Raw {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Raw {
    fn new(server: &NatsServer) -> Self {
        let address = server.url().replace("nats://", "");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").unwrap();
        Self { stream, lines }
    }

    fn publish(&mut self, subject: &[u8], reply: &str, headers: &str, body: &str) {
        let head =
            if headers.is_empty() { String::new() } else { format!("NATS/1.0\r\n{headers}\r\n") };
        let (size, all) = (head.len(), head.len() + body.len());
        let sizes = if head.is_empty() { format!("{all}") } else { format!("{size} {all}") };
        let verb: &[u8] = if head.is_empty() { b"PUB " } else { b"HPUB " };
        let rest = format!(" {reply} {sizes}\r\n{head}{body}\r\n");
        self.stream.write_all(&[verb, subject, rest.as_bytes()].concat()).unwrap();
    }

    /// Waits until the server has taken all that was said; gives the errors that it said.
    fn settle(&mut self) -> Vec<String> {
        self.stream.write_all(b"PING\r\n").unwrap();
        let mut errors = vec![];
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 || line.starts_with("PONG") {
                return errors;
            }
            if line.starts_with("-ERR") {
                errors.push(line);
            }
        }
    }
}

/// The last record of each partition of the bank's log.
fn log_ends(server: &NatsServer) -> Vec<u64> {
    let end = |partition| {
        let info = server.api(&format!("STREAM.INFO.aether_LOG_bank_{partition}"), "").unwrap();
        info["state"]["last_seq"].as_u64().expect("the stream is there")
    };
    (0..8).map(end).collect()
}

fn dropped(host: &HostProcess, at: &str) -> f64 {
    metric(&host.client(), "aether_drops_total", &[&format!("at=\"{at}\"")]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_cannot_be_sent_into_the_log_nor_anywhere_else() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();
    let before = log_ends(&server);
    let victim = Address::new("bank", "account", "alice").unwrap().log_subject("aether", 8);
    let mut raw = Raw::new(&server);
    let replies = [
        &*victim,
        "aether.log.>",
        "aether.log.*.*.*.*",
        "aether.meta.deployment.bank.9",
        "aether.cmd.bank.account.alice.deposit",
        "$JS.API.STREAM.DELETE.aether_LOG_bank_0",
        "$SYS.REQ.SERVER.PING",
        "*.log.bank.0.account.alice",
        ">",
        "*",
        "_INBOX.>",
        "_INBOX.a.*",
    ];
    for reply in replies {
        raw.publish(b"aether.cmd.bank.account.alice.deposit", reply, "", r#"{"amount":1}"#);
    }
    raw.settle();
    // The host takes requests in their order: this answer comes behind all of them.
    let state = ask(&nats, "alice.withdraw", &[], &json!({"amount": 1})).await;
    assert_eq!(state.refused("rejected", 422)["version"], 1, "none of them was done");
    assert_eq!(log_ends(&server), before, "something was written");
    assert_eq!(dropped(&host, "nats-reply-subject") as usize, replies.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_and_odd_words_are_refused_or_mean_nothing() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();
    let amount = json!({"amount": 1});
    for headers in [
        &[("Aether-By", "admin")][..],
        &[("Aether-Status", "ok")],
        &[("Aether-Timeout", "-1s")],
        &[("Aether-Timeout", "99999999999999999999s")],
        &[("If-Match", "1\" OR 1")],
        &[("Idempotency-Key", "é\u{7f}")],
        &[("idempotency-key", "a"), ("Idempotency-Key", "b")],
    ] {
        ask(&nats, "alice.deposit", headers, &amount).await.refused("invalid", 400);
    }
    // What is the server's or somebody else's is none of the host's business.
    for (n, name) in ["Nats-Expected-Last-Subject-Sequence", "Nats-Rollup", "Nats-Msg-Id", "By"]
        .into_iter()
        .enumerate()
    {
        let answer = ask(&nats, "alice.deposit", &[(name, "1")], &amount).await;
        assert_eq!(answer.accepted(), n as u64 + 2, "{name}");
    }
    let long = format!("{}.open", "a".repeat(2000));
    for (word, code, status) in [
        ("=2e.open", "invalid", 400),
        ("=.open", "invalid", 400),
        ("=FF.open", "invalid", 400),
        ("al=20ice.Open", "unknown", 404),
        ("alice.=6Fpen", "unknown", 404),
        (&*long, "invalid", 400),
    ] {
        ask(&nats, word, &[], &json!({"owner": "A"})).await.refused(code, status);
    }
    ask(&nats, "alice.deposit", &[], &amount).await.accepted();
    let events = host.client().get("/v1/bank/account/alice/events").unwrap().json().unwrap();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(6), "{events}");
}

/// Most memory that they may take: all of them at once.
const MAX_HEAVY_BYTES: u64 = 1200 << 20;

/// The client library ends a connection on which it cannot read a subject, and makes a new one:
/// what was on its way is lost, as at any end of a connection, and the host serves on.
#[tokio::test(flavor = "multi_thread")]
async fn subjects_that_are_no_text_cost_a_connection_and_no_more() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();
    let mut raw = Raw::new(&server);
    raw.publish(b"aether.cmd.bank.account.\xff\xfe.open", "_INBOX.raw.1", "", "{}");
    raw.publish(b"aether.cmd.bank.account.a.\xc3", "_INBOX.raw.1", "", "{}");
    raw.settle();
    let end = clock::now() + SOON;
    let subject = "aether.cmd.bank.account.alice.withdraw";
    while let Err(error) = tokio::time::timeout(
        Duration::from_secs(2),
        nats.request(subject, r#"{"amount":1}"#.into()),
    )
    .await
    .map_err(anyhow::Error::new)
    .and_then(|answered| answered.map_err(anyhow::Error::new))
    {
        assert!(clock::now() < end, "the host does not serve on: {error:#}");
        tokio::task::yield_now().await;
    }
    let alice = host.client().get("/v1/bank/account/alice").unwrap().json().unwrap();
    assert_eq!(alice["version"], 1);
}

/// Requests with as many headers as fit.
const HEAVY: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_costs_the_host_little() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();
    // As many small headers as fit: as a map they take the most memory.
    let headers: String = (0..75_000).map(|n| format!("h{n}: {}\r\n", n % 10)).collect();
    assert!(headers.len() > 750_000 && headers.len() < (1 << 20), "{}", headers.len());
    let mut answers = nats.subscribe("_INBOX.heavy.>").await.unwrap();
    nats.flush().await.unwrap();
    let sent = tokio::task::spawn_blocking({
        let mut raw = Raw::new(&server);
        move || {
            for n in 0..HEAVY {
                let reply = format!("_INBOX.heavy.{n}");
                let subject = b"aether.cmd.bank.account.alice.deposit";
                raw.publish(subject, &reply, &headers, r#"{"amount":1}"#);
            }
            raw.settle()
        }
    });
    for _ in 0..HEAVY {
        tokio::time::timeout(SOON, answers.next()).await.expect("each is answered").unwrap();
    }
    assert_eq!(sent.await.unwrap(), Vec::<String>::new());
    ask(&nats, "alice.deposit", &[], &json!({"amount": 1})).await.accepted();
    // As maps they take twenty times their size, and a few come before one is looked at.
    let peak = host.peak_bytes().unwrap();
    assert!(peak < MAX_HEAVY_BYTES, "the host had {peak} bytes of memory");
}

/// After so long without an answer no more will come.
const QUIET: Duration = Duration::from_secs(5);

/// Requests of the flood. Not in full they are less than the 65,536 that wait in a host's connection
/// when it gets no processor: beyond, its client library drops whatever comes, the others' too.
fn flood_size() -> usize {
    full_or(100_000, 60_000)
}

/// Requests of the other client, at least.
const OTHERS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_caller_is_bounded_and_the_others_are_served() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "other.open", &[], &json!({"owner": "O"})).await.accepted();
    let listener = connect(&server.url()).await;
    let mut answers = listener.subscribe("_INBOX.flood.>").await.unwrap();
    listener.flush().await.unwrap();
    let counted = tokio::spawn(async move {
        let mut counted = BTreeMap::<String, usize>::new();
        for _ in 0..flood_size() {
            let next = tokio::time::timeout(QUIET, answers.next()).await;
            let Ok(Some(answer)) = next else { break };
            let headers = answer.headers.expect("an answer has headers");
            let status = headers.get("Aether-Status").expect("a status").to_string();
            *counted.entry(status).or_default() += 1;
        }
        counted
    });
    let raw = Raw::new(&server);
    let flood = tokio::task::spawn_blocking(move || flood(raw));
    let (mut slowest, mut served) = (Duration::ZERO, 0);
    while served < OTHERS || !flood.is_finished() {
        let begun = clock::now();
        let answer = ask(&nats, "other.deposit", &[], &json!({"amount": 1})).await;
        served += 1;
        assert_eq!(answer.accepted(), served + 1);
        slowest = slowest.max(clock::now() - begun);
    }
    let sent_in = flood.await.unwrap();
    let counted = counted.await.unwrap();
    println!(
        "{} requests in {sent_in:?}: {counted:?}; others waited at most {slowest:?}",
        flood_size()
    );
    // What comes faster than it can be looked at is dropped by the client library in the end.
    assert!(counted.values().sum::<usize>() > flood_size() / 10, "{counted:?}");
    assert!(counted.get("overloaded").is_some_and(|n| *n > 0), "{counted:?}");
    assert!(counted.keys().all(|code| code == "ok" || code == "overloaded"), "{counted:?}");
    assert!(dropped(&host, "max-caller-requests") > 0.0);
    memory_is_bounded(&host);
}

/// Sends all at once, each to an actor of its own; how long it took. Less than the server keeps for
/// a client that does not keep up, 64 MB, so that the test does not depend on its cutting the host.
fn flood(mut raw: Raw) -> Duration {
    let body = format!("{{\"owner\":\"{}\"}}", "x".repeat(300));
    let begun = clock::now();
    let mut lines = Vec::new();
    for n in 0..flood_size() {
        let head =
            format!("PUB aether.cmd.bank.account.f{n}.open _INBOX.flood.{n} {}\r\n", body.len());
        lines.extend_from_slice(head.as_bytes());
        lines.extend_from_slice(body.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    raw.stream.write_all(&lines).unwrap();
    let sent = clock::now() - begun;
    assert_eq!(raw.settle(), Vec::<String>::new());
    let mut rest = [0; 1];
    raw.stream.set_nonblocking(true).unwrap();
    assert!(raw.stream.read(&mut rest).is_err(), "the server has not closed the connection");
    sent
}
