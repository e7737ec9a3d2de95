//! What an acknowledgement over HTTP is worth: the host is killed and stopped under load, and its
//! histories, feeds and lists tell all that it had said yes to, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{self, Sender},
    thread,
};

use aether_tests::{
    host_process::HostOptions,
    http::{Client, Reply},
    measure::metric,
};
use serde_json::{Value, json};

/// Clients that write at once.
const CLIENTS: u64 = 16;

/// Accounts that they share, so that several of them wait for one actor.
const ACCOUNTS: u64 = 4;

/// Acknowledgements after which the host is killed or stopped.
const ENOUGH: usize = 400;

/// How often the host is killed, each time on what the last one left.
const KILLS: u64 = 3;

/// A deposit that the host said yes to. Every amount is used once, so it names the deposit.
#[derive(Debug)]
struct Acknowledged {
    account: String,
    amount: u64,
    version: u64,
    command: String,
}

#[track_caller]
fn accepted(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

fn open(client: &Client, account: &str) {
    accepted(&client.command(account, "open", &json!({"owner": "Alice"})).unwrap());
}

fn account(number: u64) -> String {
    format!("bank/account/a{number}")
}

/// Deposits ever new amounts until the host does not say yes any more.
fn deposit_until_refused(client: &Client, round: u64, number: u64, told: &Sender<Acknowledged>) {
    let account = account(number % ACCOUNTS);
    for count in 1.. {
        let amount = (round * CLIENTS + number) * 1_000_000 + count;
        match client.command(&account, "deposit", &json!({"amount": amount})) {
            Ok(reply) if reply.status == 200 => {
                let body = reply.json().unwrap();
                let version = body["version"].as_u64().unwrap();
                let command = body["command"].as_str().unwrap().to_owned();
                let account = account.clone();
                told.send(Acknowledged { account, amount, version, command }).unwrap();
            }
            // A host that is stopping says so; one that is gone says nothing.
            Ok(reply) => {
                assert_eq!(reply.code().unwrap(), "unavailable", "{}", reply.text());
                return;
            }
            Err(_) => return,
        }
    }
}

/// Runs the clients until the host has acknowledged [`ENOUGH`] deposits and `end` has ended it.
fn under_load(client: &Client, round: u64, end: impl FnOnce()) -> Vec<Acknowledged> {
    thread::scope(|scope| {
        let (told, acknowledged) = mpsc::channel();
        for number in 0..CLIENTS {
            let (client, told) = (client.clone(), told.clone());
            scope.spawn(move || deposit_until_refused(&client, round, number, &told));
        }
        drop(told);
        let mut all: Vec<_> = acknowledged.iter().take(ENOUGH).collect();
        assert_eq!(all.len(), ENOUGH, "the clients gave up before the host was told to end");
        end();
        all.extend(acknowledged);
        all
    })
}

/// All events of an actor, page by page.
fn history(client: &Client, actor: &str) -> Vec<Value> {
    let (mut events, mut from) = (Vec::new(), 1);
    loop {
        let path = format!("/v1/{actor}/events?from={from}&limit=1000");
        let page = accepted(&client.get(&path).unwrap());
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => return events,
        }
    }
}

/// Every acknowledged deposit is in the log at the version that its caller was told, no deposit is
/// there twice, versions are dense, and at most one deposit per client is there that nobody was
/// told of.
fn check_histories(client: &Client, acknowledged: &[Acknowledged], rounds: u64) {
    let mut stored = 0;
    for number in 0..ACCOUNTS {
        let account = account(number);
        let events = history(client, &account);
        let versions: Vec<_> = events.iter().map(|event| event["version"].as_u64()).collect();
        let dense: Vec<_> = (1..=events.len() as u64).map(Some).collect();
        assert_eq!(versions, dense, "{account}");

        let amounts: Vec<_> =
            events.iter().filter_map(|event| event["data"]["amount"].as_u64()).collect();
        let once: BTreeSet<_> = amounts.iter().collect();
        assert_eq!(once.len(), amounts.len(), "a deposit to {account} was stored twice");
        stored += amounts.len();

        for deposit in acknowledged.iter().filter(|deposit| deposit.account == account) {
            let event = &events[deposit.version as usize - 1];
            assert_eq!(event["data"]["amount"], deposit.amount, "{deposit:?}");
            assert_eq!(event["command"], *deposit.command, "{deposit:?}");
        }
        let state = accepted(&client.get(&format!("/v1/{account}")).unwrap());
        assert_eq!(state["version"], events.len());
        assert_eq!(state["state"]["balance"], amounts.iter().sum::<u64>());
    }
    let unknown = stored - acknowledged.len();
    assert!(unknown as u64 <= rounds * CLIENTS, "{unknown} deposits that nobody was told of");
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_once_at_its_version() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    (0..ACCOUNTS).for_each(|number| open(&host.client(), &account(number)));
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        acknowledged.extend(under_load(&host.client(), round, || host.kill().unwrap()));
        host.restart().unwrap();
        check_histories(&host.client(), &acknowledged, round + 1);
    }
    println!("{} deposits acknowledged, {KILLS} kills", acknowledged.len());
}

#[test]
fn a_host_that_is_told_to_stop_answers_what_it_has_begun() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    (0..ACCOUNTS).for_each(|number| open(&host.client(), &account(number)));
    let client = host.client();
    let mut status = None;
    let acknowledged = under_load(&client, 0, || status = Some(host.terminate().unwrap()));
    let status = status.unwrap();
    assert!(status.success(), "{status}\n{}", host.output());
    host.restart().unwrap();
    check_histories(&host.client(), &acknowledged, 1);
    let metric = |name, label| metric(&host.client(), name, &[label]).unwrap();
    let from_snapshot = metric("aether_wakes_total", "from=\"snapshot\"");
    assert_eq!(from_snapshot, ACCOUNTS as f64, "the last thing it did was to write snapshots");
}

#[test]
fn an_idempotency_key_is_good_after_a_kill() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let send = |client: &Client, amount: u64| {
        let (path, key) = ("/v1/bank/account/alice/deposit", [("idempotency-key", "pay-day")]);
        let body = json!({"amount": amount}).to_string();
        client.send("POST", path, &key, body.as_bytes()).unwrap()
    };
    open(&host.client(), "bank/account/alice");
    let first = accepted(&send(&host.client(), 50));
    host.kill().unwrap();
    host.restart().unwrap();
    let client = host.client();
    assert_eq!(accepted(&send(&client, 50)), first);
    let other = send(&client, 51);
    assert_eq!((other.status, other.code().unwrap().as_str()), (400, "invalid"));
    let detail = other.json().unwrap()["detail"].to_string();
    assert!(detail.contains("`pay-day`") && detail.contains("`deposit`"), "{detail}");
    assert_eq!(history(&client, "bank/account/alice").len(), 2);
}

#[test]
fn versions_are_told_and_asked_for() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let unused = client.get("/v1/bank/account/alice").unwrap();
    assert_eq!(accepted(&unused)["version"], 0);
    assert_eq!(unused.header("etag"), Some("\"0\""));
    open(&client, "bank/account/alice");
    let path = "/v1/bank/account/alice/deposit";
    let current = client.send("POST", path, &[("if-match", "\"1\"")], br#"{"amount": 5}"#).unwrap();
    assert_eq!(accepted(&current)["version"], 2);
    assert_eq!(current.header("etag"), Some("\"2\""));
    let old = client.send("POST", path, &[("if-match", "\"1\"")], br#"{"amount": 5}"#).unwrap();
    assert_eq!((old.status, old.json().unwrap()["version"].as_u64()), (412, Some(2)));

    let future = client.get("/v1/bank/account/alice?version=3").unwrap();
    assert_eq!((future.status, future.code().unwrap().as_str()), (404, "unknown"));
    let waits = [("aether-timeout", "50ms")];
    let late = client.send("GET", "/v1/bank/account/alice?min-version=3", &waits, &[]).unwrap();
    assert_eq!((late.status, late.code().unwrap().as_str()), (504, "unresolved"));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| client.get("/v1/bank/account/alice?min-version=3").unwrap());
        accepted(&client.command("bank/account/alice", "deposit", &json!({"amount": 5})).unwrap());
        assert_eq!(accepted(&waiter.join().unwrap())["version"], 3);
    });
}

#[test]
fn histories_and_lists_come_in_pages() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    let ids = ["ann", "bob", "cyd", "dan", "eve"];
    ids.iter().for_each(|id| open(&client, &format!("bank/account/{id}")));
    for amount in 1..=4 {
        let fields = json!({"amount": amount});
        accepted(&client.command("bank/account/ann", "deposit", &fields).unwrap());
    }

    let page = |from: u64| {
        accepted(&client.get(&format!("/v1/bank/account/ann/events?from={from}&limit=2")).unwrap())
    };
    let first = page(1);
    assert_eq!(first["actor"], "bank/account/ann");
    assert_eq!(first["events"][0]["type"], "opened");
    assert!(first["events"][0]["at"].as_u64().is_some_and(|at| at > 0), "{first}");
    assert_eq!((first["events"].as_array().unwrap().len(), &first["next"]), (2, &json!(3)));
    let last = page(5);
    assert_eq!((&last["events"][0]["data"], &last["next"]), (&json!({"amount": 4}), &Value::Null));
    assert_eq!(page(6)["events"], json!([]));

    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/bank/account?limit=2&after={after}");
        let page = accepted(&client.get(&path).unwrap());
        let actors = page["actors"].as_array().unwrap();
        assert!(actors.len() <= 2, "{page}");
        listed.extend(actors.iter().map(|entry| entry["actor"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(listed, ids.map(|id| format!("bank/account/{id}")));
    assert_eq!(accepted(&client.get("/v1/bank/transfer").unwrap())["actors"], json!([]));
}

#[test]
fn a_feed_goes_on_after_any_of_its_cursors_even_after_a_kill() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    open(&client, "bank/account/ann");
    open(&client, "bank/account/bob");
    for amount in 1..=3 {
        let fields = json!({"amount": amount});
        accepted(&client.command("bank/account/ann", "deposit", &fields).unwrap());
    }
    // One record of two events: a cursor may stand between them.
    accepted(&client.command("bank/account/ann", "close", &json!({})).unwrap());
    let told = |client: &Client, after: &str, count: usize| -> Vec<Value> {
        let lines = client.lines(&format!("/v1/bank/events?after={after}")).unwrap();
        lines.take(count).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    };
    let all = told(&client, "", 7);
    let names: Vec<_> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let deposited = ["deposited"; 3];
    assert_eq!(names, [&["opened"; 2], deposited.as_slice(), &["withdrawn", "closed"]].concat());
    assert_eq!(all[1]["actor"], "bank/account/bob");
    assert_eq!(all[6]["version"], 6);

    host.kill().unwrap();
    host.restart().unwrap();
    let client = host.client();
    for (index, event) in all.iter().enumerate().take(6) {
        let cursor = event["cursor"].as_str().unwrap();
        assert_eq!(told(&client, cursor, 6 - index), all[index + 1..], "after {cursor}");
    }

    // It is live: what is written after the feed caught up comes by itself.
    let last = all[6]["cursor"].as_str().unwrap();
    let mut live = client.lines(&format!("/v1/bank/events?after={last}")).unwrap();
    accepted(&client.command("bank/account/bob", "deposit", &json!({"amount": 9})).unwrap());
    let event: Value = serde_json::from_str(&live.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&event["actor"], &event["data"]),
        (&json!("bank/account/bob"), &json!({"amount": 9}))
    );
}

#[test]
fn turns_are_counted_by_their_outcome() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let client = host.client();
    open(&client, "bank/account/alice");
    let overdrawn = client.command("bank/account/alice", "withdraw", &json!({"amount": 80}));
    assert_eq!(overdrawn.unwrap().status, 422);
    let count = |name: &str, labels: &[&str]| metric(&client, name, labels).unwrap();
    let outcomes: BTreeMap<_, _> = ["accepted", "rejected", "invalid"]
        .map(|outcome| {
            let label = format!("outcome=\"{outcome}\"");
            (outcome, count("aether_turns_total", &["aggregate=\"account\"", &label]))
        })
        .into();
    assert_eq!(outcomes, [("accepted", 1.0), ("rejected", 1.0), ("invalid", 0.0)].into());
    assert_eq!(count("aether_turn_seconds_count", &["aggregate=\"account\""]), 2.0);
    assert_eq!(count("aether_wakes_total", &["from=\"start\""]), 1.0);
    assert_eq!(count("aether_awake_actors", &[]), 1.0);
    let calls = |operation: &str| {
        let label = format!("operation=\"{operation}\"");
        count("aether_store_calls_total", &[&label, "result=\"ok\""])
    };
    // One question wakes an actor: its records come with its snapshot.
    assert_eq!(["snapshot", "read", "append"].map(calls), [1.0, 0.0, 1.0]);
}
