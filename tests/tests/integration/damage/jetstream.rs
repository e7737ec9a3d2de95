//! Damage of JetStream's block files while the server is stopped, and strangers who write to logs.
//!
//! What the server (2.15) does by itself: every message in a block carries a hash. One that fails
//! it is left out of every answer, but the index written at a clean stop still counts it. Without
//! that index the server cuts the stream at the first message that fails, says nothing, and gives
//! the numbers away again.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::PathBuf,
};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::NatsServer,
};
use aether_wit::Digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::kit::{self, Case, address, audit, pay, state};

pub const STREAM: &str = "aether_LOG_bank_0";

const SUM: u64 = 15;

/// A host with one partition, so that one stream holds all.
fn filled(server: &NatsServer, accounts: &[&str]) -> HostProcess {
    let options = HostOptions::bank().unwrap().nats(server.url()).args(["--partitions", "1"]);
    let host = options.start().unwrap();
    kit::fill(&host, accounts);
    for id in accounts.iter().filter(|id| id.ends_with("-kept")) {
        kit::sleep(&host, id);
    }
    host
}

/// Positions and bytes of all records, by account.
pub struct Records(HashMap<String, Vec<(u64, String)>>);

impl Records {
    pub fn read(server: &NatsServer) -> Self {
        let info = server.api(&format!("STREAM.INFO.{STREAM}"), "").unwrap();
        let last = info["state"]["last_seq"].as_u64().unwrap();
        let mut all: HashMap<String, Vec<(u64, String)>> = HashMap::new();
        for position in 1..=last {
            let query = json!({ "seq": position }).to_string();
            let told = server.api(&format!("STREAM.MSG.GET.{STREAM}"), &query).unwrap();
            let message = &told["message"];
            // On replicas there are fences among the records, or were.
            let subject = message["subject"].as_str().unwrap_or_default();
            let Some((_, id)) = subject.split_once(".account.") else { continue };
            let id = id.to_owned();
            let bytes = BASE64.decode(message["data"].as_str().unwrap()).unwrap();
            all.entry(id).or_default().push((position, String::from_utf8(bytes).unwrap()));
        }
        Self(all)
    }

    /// Position and bytes of an account's record, counted from 1.
    pub fn of(&self, id: &str, record: usize) -> (u64, &str) {
        let (position, bytes) = &self.0[id][record - 1];
        (*position, bytes)
    }
}

/// The block of the stream, which is small enough to have one.
pub fn block(server: &NatsServer) -> PathBuf {
    server.dir().join(format!("store/jetstream/$G/streams/{STREAM}/msgs/1.blk"))
}

pub fn find(block: &[u8], wanted: &str) -> usize {
    let wanted = wanted.as_bytes();
    let found: Vec<_> = (0..block.len()).filter(|n| block[*n..].starts_with(wanted)).collect();
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn flipped_messages_of_a_block_are_found_told_and_skipped() {
    let mut server = NatsServer::start().unwrap();
    let accounts = ["middle", "last", "two", "neighbour", "neighbour-kept"];
    let mut host = filled(&server, &accounts);
    host.kill().unwrap();
    let records = Records::read(&server);
    server.stop().unwrap();
    let path = block(&server);
    let mut bytes = fs::read(&path).unwrap();
    let (middle, last) = (records.of("middle", 3), records.of("last", 5));
    let two = [records.of("two", 3), records.of("two", 5)];
    for (_, record) in [middle, last, two[0], two[1]] {
        let at = find(&bytes, record);
        bytes[at + record.len() / 2] ^= 0x20;
    }
    fs::write(&path, bytes).unwrap();
    server.restart().unwrap();
    host.restart().unwrap();
    let after_gap = |id: &str| records.of(id, 4).0;
    let cases = [
        Case {
            id: "middle",
            found: vec![(after_gap("middle"), "chain")],
            skip: vec![after_gap("middle") - 1],
            before: (1, 0),
            after: (5, SUM - 2),
        },
        Case {
            id: "last",
            found: vec![(last.0, "missing")],
            skip: vec![last.0],
            before: (4, 7),
            after: (4, 7),
        },
        Case {
            id: "two",
            found: vec![(after_gap("two"), "chain"), (two[1].0, "missing")],
            skip: vec![after_gap("two") - 1, two[1].0],
            before: (1, 0),
            after: (4, 5),
        },
    ];
    kit::all_are_found_and_released(&mut host, &cases, &["neighbour", "neighbour-kept"]);
}

#[test]
fn a_tail_that_the_server_cut_is_found_behind_a_snapshot() {
    let mut server = NatsServer::start().unwrap();
    let mut host = filled(&server, &["neighbour"]);
    // The last records of the stream are its own.
    kit::fill(&host, &["tail-kept"]);
    kit::sleep(&host, "tail-kept");
    host.kill().unwrap();
    let records = Records::read(&server);
    server.kill();
    let path = block(&server);
    let bytes = fs::read(&path).unwrap();
    let cut = find(&bytes, records.of("tail-kept", 4).1) + 40;
    fs::write(&path, &bytes[..cut]).unwrap();
    server.restart().unwrap();
    host.restart().unwrap();
    let at = records.of("tail-kept", 5).0;
    let case = Case {
        id: "tail-kept",
        found: vec![(at, "log-behind")],
        skip: vec![at],
        before: (3, 3),
        after: (5, 3),
    };
    kit::all_are_found_and_released(&mut host, &[case], &["neighbour"]);
}

#[test]
fn a_tail_that_vanished_is_told_by_the_audit() {
    let mut server = NatsServer::start().unwrap();
    let mut host = filled(&server, &["neighbour"]);
    kit::fill(&host, &["tail"]);
    host.kill().unwrap();
    let records = Records::read(&server);
    server.stop().unwrap();
    let path = block(&server);
    let bytes = fs::read(&path).unwrap();
    let cut = find(&bytes, records.of("tail", 5).1) + 40;
    fs::write(&path, &bytes[..cut]).unwrap();
    server.restart().unwrap();
    let place = format!("stream `{STREAM}`");
    let expected = BTreeSet::from([(place, 0, "lost".to_owned())]);
    let arguments = ["--nats", &server.url(), "--partitions", "1"];
    let found = audit(host.options(), "http://127.0.0.1:1", &arguments);
    assert_eq!((found.status, found.findings), (1, expected));
}

#[test]
fn what_strangers_write_is_found_told_and_skipped() {
    let server = NatsServer::start().unwrap();
    let accounts = ["garbage", "repeated", "foreign", "typed", "forged", "neighbour"];
    let mut host = filled(&server, &accounts);
    let records = Records::read(&server);
    let subject = |id: &str| format!("aether.log.bank.0.account.{id}");
    let next = |id: &str, change: &dyn Fn(&mut Value)| {
        let (_, last) = records.of(id, 5);
        let mut record: Value = serde_json::from_str(last).unwrap();
        record["first"] = json!(6);
        record["prev"] = json!(Digest::of(last).to_string());
        change(&mut record);
        record.to_string()
    };
    let amount = "/turns/0/events/0/data/amount";
    let typed = next("typed", &|record| *record.pointer_mut(amount).unwrap() = json!("eight"));
    let forged = next("forged", &|record| record["prev"] = json!(Digest::of("").to_string()));
    let written = [
        ("garbage", "garbage".to_owned(), "unreadable"),
        ("repeated", records.of("repeated", 5).1.to_owned(), "chain"),
        ("foreign", records.of("neighbour", 5).1.to_owned(), "foreign"),
        ("typed", typed, "unreadable"),
        ("forged", forged, "chain"),
    ];
    let cases = written.map(|(id, bytes, kind)| {
        let at = server.publish(&subject(id), "", &bytes).unwrap();
        // The forged one contradicts the record before it: neither is shown.
        let before = if kind == "chain" { (4, 7) } else { (5, SUM) };
        // A version that was told, be it by a stranger, is not told again.
        let version = if ["typed", "forged"].contains(&id) { 6 } else { 5 };
        Case { id, found: vec![(at, kind)], skip: vec![at], before, after: (version, SUM) }
    });
    kit::all_are_found_and_released(&mut host, &cases, &["neighbour"]);

    // Subjects of nobody hurt nobody, and are told.
    server.publish(&subject("=zz"), "", "x").unwrap();
    server.publish("aether.log.bank.0.Account.x", "", "x").unwrap();
    let found = audit(host.options(), &host.url(), &[]);
    let places = ["aether.log.bank.0.Account.x", "aether.log.bank.0.account.=zz"];
    let places = places.map(|place| (format!("subject `{place}`"), 0, "stranger".to_owned()));
    assert_eq!((found.status, found.findings), (1, places.into()));
    assert_eq!(pay(&host, "neighbour", 1), Ok(7));
}

/// What one host releases, the others use again; what one host repairs, the others fold.
#[test]
fn other_hosts_hear_of_a_release_and_fold_the_repair() {
    let server = NatsServer::start().unwrap();
    let first = filled(&server, &["alice"]);
    let options = HostOptions::bank().unwrap().nats(server.url()).args(["--partitions", "1"]);
    let second = options.start().unwrap();
    assert_eq!(state(&second, "alice", ""), Ok((5, SUM)));
    let at = server.publish("aether.log.bank.0.account.alice", "", "garbage").unwrap();
    assert_eq!(pay(&first, "alice", 1), Err("quarantined".to_owned()));
    assert_eq!(pay(&second, "alice", 1), Err("quarantined".to_owned()));
    let skip = at.to_string();
    let arguments = ["release", &address("alice"), "--skip", &skip, "--because", "garbage"];
    assert_eq!(kit::at(&first, &arguments).0, 0);
    assert_eq!(pay(&first, "alice", 100), Ok(6));
    // The presence period is 5 s.
    let until = clock::now() + std::time::Duration::from_secs(20);
    while state(&second, "alice", "") == Err("quarantined".to_owned()) {
        assert!(clock::now() < until, "the second host never heard of it");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(state(&second, "alice", ""), Ok((6, SUM + 100)));
    assert_eq!(pay(&second, "alice", 1), Ok(7));
    assert_eq!(state(&first, "alice", ""), Ok((7, SUM + 101)));
    assert_eq!(audit(first.options(), &first.url(), &[]).status, 0);
}
