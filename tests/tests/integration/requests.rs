//! Wrong requests over a real socket: each has its own clear answer and leaves nothing behind; and
//! ids that look wrong but are not, which are kept to the byte.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use aether_tests::{
    host_process::{HostOptions, HostProcess, run_cli},
    http::{Client, Reply},
};
use serde_json::{Value, json};

/// A body over any limit on bodies, and far over what a socket holds.
const HUGE: usize = 10 << 20;

fn post(client: &Client, path: &str, body: &[u8]) -> Reply {
    client.send("POST", path, &[], body).unwrap()
}

/// The answer is the problem `code`, with the status of it, and its detail says each of `said`.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str, said: &[&str]) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let body = reply.json().unwrap();
    assert_eq!(body["code"], code, "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.len() < 1000, "a detail that repeats what was sent: {detail}");
    for words in said {
        assert!(detail.contains(words), "`{words}` is not in `{detail}`");
    }
}

/// No actor of the bank has ever stored anything.
#[track_caller]
fn nothing_is_stored(client: &Client) {
    for aggregate in ["account", "transfer"] {
        let list = client.get(&format!("/v1/bank/{aggregate}")).unwrap();
        assert_eq!(list.json().unwrap(), json!({"actors": [], "next": null}), "{aggregate}");
    }
}

#[test]
fn names_that_are_not_in_the_model_are_told_the_nearest_one() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    for (path, said) in [
        ("/v1/bnak/account/alice/open", ["`bnak`", "did you mean `bank`?"]),
        ("/v1/bank/acount/alice/open", ["`acount`", "did you mean `account`?"]),
        ("/v1/bank/account/alice/depost", ["`depost`", "did you mean `deposit`?"]),
        ("/v1/bank/account/alice/fly", ["`fly`", "`open`"]),
        ("/v1/shop/account/alice/open", ["`shop`", "`bank`"]),
        ("/v1/bank/account/alice/Open", ["`Open`", "lower-case"]),
        ("/v2/bank/account/alice/open", ["/v2/bank", "/v1/CONTEXT/AGGREGATE/ID"]),
        ("/v1/bank/account/a/b/open", ["/v1/bank/account/a/b/open", "%2F"]),
    ] {
        refused(&post(&client, path, b"{}"), 404, "unknown", &said);
    }
    for path in ["/v1/bnak/account/alice", "/v1/bank/acount/alice/events", "/v1/bank/acount"] {
        refused(&client.get(path).unwrap(), 404, "unknown", &["did you mean"]);
    }
    let wrong_method = client.send("DELETE", "/v1/bank/account/alice", &[], &[]).unwrap();
    refused(&wrong_method, 405, "invalid", &["GET"]);
    assert_eq!(wrong_method.header("allow"), Some("GET, HEAD"));
    let versoin = client.get("/v1/bank/account/alice?versoin=1").unwrap();
    refused(&versoin, 400, "invalid", &["`versoin`", "did you mean `version`?"]);
    let header = [("aether-timout", "1s")];
    let timout = client.send("GET", "/v1/bank/account/alice", &header, &[]).unwrap();
    refused(&timout, 400, "invalid", &["`aether-timout`", "did you mean `aether-timeout`?"]);
    nothing_is_stored(&client);
}

#[test]
fn fields_that_do_not_fit_are_named() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let bodies: [(&str, &[u8], &[&str]); 16] = [
        ("deposit", br#"{"amount": "much"}"#, &["`deposit`", "amount", "u64", "much"]),
        ("deposit", br#"{"amount": -4}"#, &["amount", "u64", "-4"]),
        ("deposit", br#"{"amount": 1.5}"#, &["amount", "u64", "1.5"]),
        ("deposit", br#"{"amount": 18446744073709551616}"#, &["amount", "u64"]),
        ("deposit", br#"{"amount": null}"#, &["amount", "u64", "null"]),
        ("deposit", br#"{"amount": {"cents": 1}}"#, &["amount", "u64"]),
        ("deposit", b"", &["`deposit`", "amount"]),
        ("deposit", br#"{"amount": 1, "amuont": 2}"#, &["amuont"]),
        ("deposit", br#"{"amount": 1, "amount": 1}"#, &["amount", "a second time"]),
        ("open", br#"{"owner": "\ud800"}"#, &["owner"]),
        ("open", br#"{"owner": "Alice""#, &["not JSON"]),
        ("open", b"{\"owner\": \"Al\xffice\"}", &["not UTF-8", "byte 13"]),
        ("open", br#"["Alice"]"#, &["not a JSON object", "[\"Alice\"]"]),
        ("open", br#""Alice""#, &["not a JSON object"]),
        ("open", br#"{"owner": "Alice"} {"owner": "Bob"}"#, &["not JSON"]),
        ("open", b"\xef\xbb\xbf{}", &["not JSON"]),
    ];
    for (command, body, said) in bodies {
        let reply = post(&client, &format!("/v1/bank/account/alice/{command}"), body);
        refused(&reply, 400, "invalid", said);
    }
    let deep = [b"{\"owner\":".as_slice(), &[b'['; 100_000]].concat();
    refused(&post(&client, "/v1/bank/account/alice/open", &deep), 400, "invalid", &["not JSON"]);
    nothing_is_stored(&client);

    // What only looks wrong: numbers as text are how big ones are written.
    let reply = post(&client, "/v1/bank/account/alice/open", br#"{"owner": "-4"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = post(&client, "/v1/bank/account/alice/deposit", br#"{"amount": "50"}"#);
    assert_eq!(reply.json().unwrap()["events"][0]["data"], json!({"amount": 50}));
}

#[test]
fn a_body_of_10_mb_is_too_large() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let body = json!({"owner": "x".repeat(HUGE)}).to_string();
    let path = "/v1/bank/account/alice/open";
    refused(&post(&client, path, body.as_bytes()), 413, "too-large", &["1048576", "body-bytes"]);
    // Chunked, its length is not known before it is there.
    let chunked = chunked(&host, path, body.as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    // A body within the limit whose record is not.
    let body = json!({"owner": "x".repeat(800 << 10)}).to_string();
    let said = ["bank/account/alice", "the limit is 786432", "nothing was stored"];
    refused(&post(&client, path, body.as_bytes()), 413, "too-large", &said);
    nothing_is_stored(&client);
    let reply = post(&client, path, br#"{"owner": "Alice"}"#);
    assert_eq!(reply.json().unwrap()["version"], 1, "it serves on");
}

/// Sends a body in chunks over a socket of its own; the beginning of the answer.
fn chunked(host: &HostProcess, path: &str, body: &[u8]) -> String {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: aether\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n"
    )
    .into_bytes();
    for chunk in body.chunks(64 << 10) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    raw(host, &request)
}

/// Sends bytes that no client would send; gives the answer up to the end of the connection.
fn raw(host: &HostProcess, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(host.url().trim_start_matches("http://")).unwrap();
    socket.write_all(request).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn ids_that_are_none_are_refused() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let long = "x".repeat(300);
    let fox = "%F0%9F%A6%8A".repeat(65);
    for (id, said) in [
        (long.as_str(), "has 300 bytes: expected at most 256"),
        (&fox, "has 260 bytes"),
        ("", "is empty"),
        ("%", "without two hex digits"),
        ("a%4", "without two hex digits"),
        ("%zz", "without two hex digits"),
        ("%FF", "not UTF-8"),
        ("%C3", "not UTF-8"),
        ("%ED%A0%80", "not UTF-8"),
        ("%C0%AF", "not UTF-8"),
    ] {
        let reply = post(&client, &format!("/v1/bank/account/{id}/open"), br#"{"owner": "A"}"#);
        refused(&reply, 400, "invalid", &[said]);
    }
    // What is no HTTP never reaches an actor either.
    for line in [&b"POST /v1/bank/account/\xff/open"[..], b"POST /v1/bank/account/a b/open"] {
        let rest = b" HTTP/1.1\r\nhost: aether\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let answer = raw(&host, &[line, rest].concat());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    nothing_is_stored(&client);
}

/// How an id is written in a path.
fn encoded(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".*-_~=+".contains(&byte);
    id.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn listed(client: &Client) -> Vec<String> {
    let list = client.get("/v1/bank/account?limit=1000").unwrap().json().unwrap();
    let actors = list["actors"].as_array().unwrap();
    let id = |entry: &Value| {
        let actor = entry["actor"].as_str().unwrap();
        actor.strip_prefix("bank/account/").unwrap().to_owned()
    };
    actors.iter().map(id).collect()
}

#[test]
fn legal_ids_are_kept_to_the_byte() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let longest = "é".repeat(128);
    let ids = [
        ".", "..", "a.b", "*", ">", "a.>", "/", "a/b", "//", " ", " a", "a ", "a b", "🦊", "é",
        "e\u{301}", "%", "%2F", "=", "=2F", "+", "?", "#", "&", "\\", "\"", "'", "\0", "a\0b",
        "\n", "\u{7f}", "\u{feff}", "events", "open", "alice", "Alice", "ALICE", "null", "0", "-",
        "_", "$SYS", &longest,
    ];
    for (number, id) in ids.iter().enumerate() {
        let path = format!("/v1/bank/account/{}", encoded(id));
        let body = json!({"owner": number.to_string()}).to_string();
        let reply = post(&client, &format!("{path}/open"), body.as_bytes());
        assert_eq!(reply.status, 200, "{id:?}: {}", reply.text());
        let body = reply.json().unwrap();
        let told = (&body["actor"], &body["version"]);
        assert_eq!(told, (&json!(format!("bank/account/{id}")), &json!(1)));
    }
    let mut expected: Vec<_> = ids.map(str::to_owned).into();
    expected.sort();
    let mut found = listed(&client);
    found.sort();
    assert_eq!(found, expected);

    host.kill().unwrap();
    host.restart().unwrap();
    let client = host.client();
    for (number, id) in ids.iter().enumerate() {
        let state = client.get(&format!("/v1/bank/account/{}", encoded(id))).unwrap();
        let state = state.json().unwrap();
        assert_eq!(state["state"]["owner"], number.to_string(), "{id:?}");
        let after = format!("/v1/bank/account?limit=1&after={}", encoded(id).replace('+', "%2B"));
        let next = client.get(&after).unwrap().json().unwrap()["actors"].clone();
        assert_ne!(next[0]["actor"], format!("bank/account/{id}"), "a page after {id:?}");
    }
}

#[test]
fn the_command_line_sends_ids_as_they_are() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let cli = |arguments: &[&str]| {
        let url = host.url();
        let arguments = [arguments, &["--url", &url]].concat();
        let output = run_cli(host.options().folder(), arguments).unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let address = "bank/account/a/b 🦊 100%.*>";
    assert_eq!(cli(&["send", address, "open", "owner=Alice"]).0, Some(0));
    assert_eq!(listed(&host.client()), ["a/b 🦊 100%.*>"]);
    let (status, state) = cli(&["state", address, "--json"]);
    assert_eq!(status, Some(0));
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((&state["actor"], &state["state"]["owner"]), (&json!(address), &json!("Alice")));
    let long = format!("bank/account/{}", "x".repeat(300));
    assert_eq!(cli(&["send", &long, "open", "owner=Alice"]).0, Some(2));
    assert_eq!(cli(&["send", address, "withdraw", "amount=1"]).0, Some(1));
}
