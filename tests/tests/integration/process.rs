//! The host as its users meet it: a process that is asked over HTTP, killed, and asked again.

use std::{io::Write as _, net::TcpStream, process::ExitStatus, time::Duration};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, run_cli},
    http::{Client, Reply},
    workspace,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const ALICE: &str = "bank/account/alice";

/// Sends a command that must be accepted; gives the version after it.
#[track_caller]
fn accepted(client: &Client, address: &str, command: &str, fields: &Value) -> u64 {
    let reply = client.command(address, command, fields).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()["version"].as_u64().expect("a reply has a version")
}

fn send(client: &Client, headers: &[(&str, &str)], command: &str, fields: &Value) -> Reply {
    let body = fields.to_string();
    client.send("POST", &format!("/v1/{ALICE}/{command}"), headers, body.as_bytes()).unwrap()
}

fn state(client: &Client, query: &str) -> Value {
    let reply = client.get(&format!("/v1/{ALICE}{query}")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

#[test]
fn the_story_of_alice() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();

    let reply = client.command(ALICE, "open", &json!({"owner": "Alice"})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json().unwrap();
    assert_eq!(body["actor"], ALICE);
    assert_eq!(body["version"], 1);
    let event = json!([{"version": 1, "type": "opened", "data": {"owner": "Alice"}}]);
    assert_eq!(body["events"], event);

    let key = [("idempotency-key", "pay-day")];
    let first = send(&client, &key, "deposit", &json!({"amount": 50}));
    assert_eq!(first.status, 200, "{}", first.text());
    let again = send(&client, &key, "deposit", &json!({"amount": 50}));
    assert_eq!(again.json().unwrap(), first.json().unwrap());
    let other = send(&client, &key, "deposit", &json!({"amount": 51}));
    assert_eq!((other.status, other.code().unwrap().as_str()), (400, "invalid"));

    let refused = client.command(ALICE, "withdraw", &json!({"amount": 80})).unwrap();
    assert_eq!((refused.status, refused.code().unwrap().as_str()), (422, "rejected"));
    let refused = refused.json().unwrap();
    assert_eq!(refused["rejection"], json!({"insufficient-funds": {"balance": 50}}));
    assert_eq!(refused["version"], 2);

    let late = send(&client, &[("if-match", "\"1\"")], "deposit", &json!({"amount": 1}));
    assert_eq!((late.status, late.code().unwrap().as_str()), (412, "conflict"));

    let now = state(&client, "");
    assert_eq!((&now["version"], &now["state"]["balance"]), (&json!(2), &json!(50)));
    let then = state(&client, "?version=1");
    assert_eq!((&then["version"], &then["state"]["balance"]), (&json!(1), &json!(0)));

    host.kill().unwrap();
    host.restart().unwrap();
    assert_eq!(state(&host.client(), ""), now);
    assert_eq!(accepted(&host.client(), ALICE, "deposit", &json!({"amount": 1})), 3);
}

#[test]
fn closing_an_account_is_one_record_of_two_events() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    accepted(&client, ALICE, "open", &json!({"owner": "Alice"}));
    accepted(&client, ALICE, "deposit", &json!({"amount": 7}));
    assert_eq!(accepted(&client, ALICE, "close", &json!({})), 4);

    let events = client.get(&format!("/v1/{ALICE}/events?from=3")).unwrap().json().unwrap();
    let events = events["events"].as_array().expect("a list of events");
    let told: Vec<_> = events.iter().map(|event| (&event["version"], &event["type"])).collect();
    assert_eq!(told, [(&json!(3), &json!("withdrawn")), (&json!(4), &json!("closed"))]);
    assert_eq!(events[0]["command"], events[1]["command"]);
}

#[test]
fn a_host_that_is_told_to_stop_stops_cleanly_and_loses_nothing() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    accepted(&host.client(), ALICE, "open", &json!({"owner": "Alice"}));
    let status = host.terminate().unwrap();
    assert!(status.success(), "{status}\n{}", host.output());
    host.restart().unwrap();
    assert_eq!(state(&host.client(), "")["version"], 1);
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    accepted(&host.client(), ALICE, "open", &json!({"owner": "Alice"}));
    // A caller whose request never ends: the host would wait for it as long as `drain` allows.
    let mut caller = TcpStream::connect(host.url().trim_start_matches("http://")).unwrap();
    let begun =
        format!("POST /v1/{ALICE}/deposit HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\n\r\n{{");
    caller.write_all(begun.as_bytes()).unwrap();
    // Served in the order of arrival, so the host has the request when it answers this.
    state(&host.client(), "");
    host.signal(Signal::TERM).unwrap();
    host.wait_for_line("a second signal stops at once", Duration::from_secs(20)).unwrap();
    let told = clock::now();
    let status = host.terminate().unwrap();
    assert_eq!(status.code(), Some(130), "{}", host.output());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(host.output().contains("stopped at once"), "{}", host.output());
    host.restart().unwrap();
    assert_eq!(state(&host.client(), "")["version"], 1);
}

#[test]
fn a_clock_that_is_an_hour_off_changes_only_what_is_written_down() {
    const HOUR_MS: i64 = 3_600_000;
    for (offset, wrong_ms) in [("1h", HOUR_MS), ("-1h", -HOUR_MS)] {
        let options = HostOptions::bank().unwrap().args(["--clock-offset", offset]);
        let host = options.start().unwrap();
        accepted(&host.client(), ALICE, "open", &json!({"owner": "Alice"}));
        let events = host.client().get(&format!("/v1/{ALICE}/events")).unwrap().json().unwrap();
        let at = events["events"][0]["at"].as_u64().expect("an event has a time");
        let off_ms = at.cast_signed() - clock::unix_ms().cast_signed() - wrong_ms;
        assert!(off_ms.abs() < HOUR_MS / 60, "{offset}: the event is {off_ms} ms from there");
    }
}

#[test]
fn two_hosts_cannot_share_an_embedded_store() {
    let options = HostOptions::bank().unwrap();
    let host = options.start().unwrap();
    let (status, output): (ExitStatus, String) = options.start_refused().unwrap();
    assert!(!status.success(), "{output}");
    assert!(output.contains(&host.pid().to_string()), "the holder is named:\n{output}");
}

#[test]
fn the_banner_is_short_and_says_where_to_ask() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let banner = host.output();
    let lines = banner.lines().filter(|line| !line.starts_with('{')).count();
    assert!(lines < 12, "{lines} lines:\n{banner}");
    assert!(banner.contains(&host.url()), "{banner}");
}

#[test]
fn the_banks_scenarios_pass_against_its_component() {
    let model = workspace::bank_model().unwrap();
    let folder = workspace::root();
    let output = run_cli(folder, ["test".as_ref(), model.as_os_str()]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_hash_map_in_the_state_fails_for_purity() {
    let model = workspace::impure_model().unwrap();
    let folder = workspace::root();
    let output = run_cli(folder, ["test".as_ref(), model.as_os_str()]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("names"), "the field that differs is named:\n{said}");
}
