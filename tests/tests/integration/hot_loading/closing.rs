//! Back past an event that the running code may still write: every host stops writing it first.

use std::{thread, time::Duration};

use aether::clock;
use aether_tests::{host_process::HostProcess, nats_server::NatsServer};
use serde_json::json;

use super::{
    kit::{SOON, Stage, active, aether, deploy},
    versions::Version,
};
use crate::crash_points::place::{Kind, Place};

const ALICE: &str = "bank/account/alice";

/// What a host says when it has stopped.
const CLOSED: &str = "closed: a deployment that cannot read these events";

/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// The code of a deposit's answer; `ok` if it was accepted.
fn deposit(host: &HostProcess) -> String {
    let reply = host.client().command(ALICE, "deposit", &json!({"amount": 1})).unwrap();
    if reply.status == 200 { "ok".to_owned() } else { reply.code().unwrap() }
}

fn opened(host: &HostProcess) {
    let reply = host.client().command(ALICE, "open", &json!({"owner": "Alice"})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn every_host_confirms_before_a_way_back_past_new_events() {
    let server = NatsServer::start().unwrap();
    let stage = Stage::start(Kind::JetStream(&server), "closing");
    let [first, second] = stage.hosts.as_slice() else { panic!("two hosts") };
    opened(first);
    deploy(first, Version::V2, &[]).expect(0, &["deployment #2"]);
    assert_eq!(stage.await_agreement(), 2);
    aether(second, &["rollback"]).expect(0, &["deployment #3", "#1 again"]);
    assert_eq!(stage.await_agreement(), 3);
    for host in &stage.hosts {
        host.wait_for_line(CLOSED, SOON).unwrap();
        assert_eq!(deposit(host), "ok", "the closing is over, and the first version reads all");
    }
    stage.audit();
}

#[test]
fn a_closing_ends_if_the_host_that_ordered_it_dies() {
    let server = NatsServer::start().unwrap();
    let kind = Kind::JetStream(&server);
    let stage = Stage::start(kind, "closed");
    let dying = Place::new(kind, "closed".to_owned()).unwrap().options.without_models();
    // Behind the closing, before it is seen that others confirm it.
    let mut dying = dying.env("AETHER_CRASH", "order.others:before:1").start().unwrap();
    let survivor = &stage.hosts[1];
    opened(survivor);
    deploy(survivor, Version::V2, &[]).expect(0, &["deployment #2"]);
    aether(&dying, &["rollback"]);
    dying.wait(SOON).unwrap();
    survivor.wait_for_line(CLOSED, SOON).unwrap();
    let until = clock::now() + SOON;
    loop {
        match deposit(survivor).as_str() {
            "ok" => break,
            "unavailable" => assert!(clock::now() < until, "the closing does not end"),
            other => panic!("a command met {other}"),
        }
        thread::sleep(PAUSE);
    }
    assert_eq!(active(survivor), 3, "the number of the closing is taken");
    aether(survivor, &["deployments"]).expect(0, &["#2 again", "is gone"]);
    assert_eq!(stage.await_agreement(), 3);
    for host in &stage.hosts {
        assert_eq!(deposit(host), "ok");
    }
    stage.audit();
}
