//! Over HTTP: connections that send nothing, send slowly, send too much or never read.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    http::Client,
    measure::metric,
};
use serde_json::json;

use super::{full_or, memory_is_bounded};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(30);

fn open(host: &HostProcess) -> TcpStream {
    let stream = TcpStream::connect(host.url().replace("http://", "")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn is_served(client: &Client, account: &str) {
    let reply = client.command(account, "deposit", &json!({"amount": 1})).unwrap();
    assert_eq!(reply.status, 200, "{account}: {}", reply.text());
}

fn bank(arguments: &[&str]) -> HostProcess {
    let host = HostOptions::bank().unwrap().args(arguments.iter().copied()).start().unwrap();
    let opened = host.client().command("bank/account/n", "open", &json!({"owner": "N"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    host
}

fn connections(client: &Client) -> f64 {
    metric(client, "aether_http_connections", &[]).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = clock::now() + SOON;
    while !done() {
        assert!(clock::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn connections_that_send_nothing_or_slowly_are_ended() {
    let host = bank(&["--header-timeout", "2s"]);
    let client = host.client();
    let silent: Vec<TcpStream> = (0..full_or(9000, 1000)).map(|_| open(&host)).collect();
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = open(&host);
            // As much of a head as is taken, without its end.
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").unwrap();
            stream.write_all(&[b'a'; 60_000]).unwrap();
            stream
        })
        .collect();
    is_served(&client, "bank/account/n");
    for mut stream in silent.into_iter().chain(slow) {
        let mut rest = Vec::new();
        // An end or a reset; a host that waits for ever would be a timeout.
        let read = stream.read_to_end(&mut rest);
        let waits = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waits && !rest.starts_with(b"HTTP/1.1 200"), "a connection is still open");
    }
    is_served(&client, "bank/account/n");
    memory_is_bounded(&host);
}

/// Four connections that want nearly all the room for bodies each, and never send the last bytes.
fn slow_bodies(host: &HostProcess) -> Vec<TcpStream> {
    let one = |n| {
        let mut stream = open(host);
        let head = format!(
            "POST /v1/bank/account/s{n}/open HTTP/1.1\r\nhost: h\r\naether-timeout: 5m\r\ncontent-length: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b' '; 900_000]).unwrap();
        stream
    };
    (0..4).map(one).collect()
}

#[test]
fn large_bodies_that_come_slowly_hold_up_no_small_ones() {
    // All four must have come, and another be tried, before the first is given up.
    let host = bank(&["--max-request-bytes", "1MiB", "--header-timeout", "15s"]);
    let client = host.client();
    let refused = || metric(&client, "aether_drops_total", &["at=\"max-request-bytes\""]).unwrap();
    let large = json!({"owner": "x".repeat(900_000)});
    let mut slow = Vec::new();
    until("a large one is overloaded", || {
        let before = refused();
        slow = slow_bodies(&host);
        until("three of four are refused", || refused() >= before + 3.0);
        // The fourth has the room, or is about to: if this one takes it first, they begin anew.
        let reply = client.command("bank/account/large", "open", &large).unwrap();
        reply.status == 429 && reply.code().unwrap() == "overloaded"
    });
    is_served(&client, "bank/account/n");
    for stream in slow {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(
            line.starts_with("HTTP/1.1 408 "),
            "it had five minutes to wait, not to send: {line}"
        );
    }
}

#[test]
fn large_heads_are_refused() {
    let host = bank(&[]);
    let long = "a".repeat(1 << 20);
    let many: String = (0..70_000).map(|n| format!("h{n}: {}\r\n", n % 10)).collect();
    for head in [
        format!("GET /healthz HTTP/1.1\r\nhost: h\r\nx: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: h\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: h\r\n\r\n"),
        format!("GET /healthz?{long} HTTP/1.1\r\nhost: h\r\n\r\n"),
    ] {
        for _ in 0..20 {
            let mut stream = open(&host);
            // The host may have closed before all is sent.
            let _ = stream.write_all(head.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    is_served(&host.client(), "bank/account/n");
    memory_is_bounded(&host);
}

#[test]
fn a_hundred_thousand_requests_at_once_wait_their_turn() {
    let host = bank(&[]);
    let client = host.client();
    let requests = full_or(100_000, 10_000);
    let stream = open(&host);
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let all = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n".repeat(requests);
        writer.write_all(&all).unwrap();
    });
    let mut lines = BufReader::new(stream).lines();
    let mut answered = 0;
    while answered < requests {
        let line = lines.next().expect("each is answered").unwrap();
        // It follows the body before it on its line.
        let is_answer = line.contains("HTTP/1.1 200");
        answered += usize::from(is_answer);
        if is_answer && answered % 2000 == 1 {
            is_served(&client, "bank/account/n");
        }
    }
    writing.join().unwrap();
    memory_is_bounded(&host);
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_never_reads_is_ended() {
    let host = bank(&["--write-timeout", "1s"]);
    let client = host.client();
    let mut stream = open(&host);
    until("the connection is counted", || connections(&client) >= 2.0);
    stream.set_nonblocking(true).unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n".repeat(100);
    // Until neither side's kernel takes more: then the host waits for this client.
    while stream.write(&request).is_ok() {}
    // What is left then is the connection that asks; those of the start of the host may go too.
    until("the connection is ended", || {
        let ended = stream.write(b"G").is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
        ended || connections(&client) <= 1.0
    });
    is_served(&client, "bank/account/n");
}
