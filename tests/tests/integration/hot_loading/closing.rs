//! Back past an event that the running code may still write: every host stops writing it first.

use std::{collections::BTreeSet, thread, time::Duration};

use aether::{
    clock,
    deploy::order::{Order, What, Word},
    failure::Failure,
    host::Host,
};
use aether_tests::{
    faulty_store::{
        Call::{Activate, Announce, CloseEvents, Deployments},
        CallFault::{AnswerLost, RequestLost},
    },
    host_process::{self, HostProcess},
    in_process::{self, bundle, faulty_store, send},
    nats_server::{NatsServer, Settings},
};
use rustix::process::Signal;
use serde_json::json;

use super::{
    kit::{SOON, Stage, active, aether, deploy, rollouts},
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

/// An order as an operator would give it who says nothing more.
fn order(what: What) -> Order {
    Order {
        what,
        dry_run: false,
        what_if: false,
        actor: None,
        sample: None,
        force: BTreeSet::new(),
        accept_state_changes: false,
        budget: SOON,
        all: false,
        by: "a test".to_owned(),
        because: String::new(),
    }
}

/// The last word of an order.
async fn carried_out(host: &Host, what: What) -> Result<Option<Word>, Failure> {
    let (mut words, mut last) = (host.deploy(order(what)), None);
    while let Some(word) = words.recv().await {
        match word? {
            // Behind the activation.
            Word::Host { .. } => {}
            word => last = Some(word),
        }
    }
    Ok(last)
}

/// Whatever the store does to an order behind its closing, the closing ends: with the deployment
/// that it was for, if that was stored after all, or with what was active.
#[tokio::test(flavor = "multi_thread")]
async fn a_closing_ends_whatever_fails_behind_it() {
    let away = [(Announce, RequestLost); 3];
    let long = [
        [(Activate, RequestLost); 4].as_slice(),
        &[(Deployments, RequestLost); 3],
        &[(Activate, AnswerLost)],
    ];
    let cases = [
        ("the store is away while others are waited for", away.to_vec(), false),
        ("the activation is lost", vec![(Activate, RequestLost)], false),
        ("the answer to the activation is lost", vec![(Activate, AnswerLost)], true),
        ("the end of the closing is lost as well, and often", long.concat(), false),
        ("the answer to the closing is lost", vec![(CloseEvents, AnswerLost)], false),
    ];
    for (what, faults, goes_through) in cases {
        let store = faulty_store().await.unwrap();
        let host = in_process::start(store.clone(), &Version::V1.model()).await.unwrap();
        send(&host, ALICE, "open", json!({"owner": "Alice"})).await.unwrap();
        let second = What::Bundle(bundle(&Version::V2.model()).unwrap());
        let done = carried_out(&host, second).await.unwrap();
        assert!(matches!(&done, Some(Word::Deployed(d)) if d.number == 2), "{what}: {done:?}");
        store.fail_from_closing(&faults);
        let back = What::Again { context: "bank".to_owned(), to: None };
        let done = carried_out(&host, back).await;
        assert_eq!(matches!(done, Ok(Some(Word::Deployed(_)))), goes_through, "{what}: {done:?}");
        let until = clock::now() + SOON;
        while let Err(failure) = send(&host, ALICE, "deposit", json!({"amount": 1})).await {
            assert_eq!(failure.code.as_str(), "unavailable", "{what}: {failure}");
            assert!(clock::now() < until, "{what}: the closing does not end");
            tokio::time::sleep(PAUSE).await;
        }
        let told = loop {
            match host.rollouts().await {
                Ok(told) => break told.deployments,
                Err(failure) => assert!(clock::now() < until, "{what}: {failure}"),
            }
        };
        let again = if goes_through { 1 } else { 2 };
        assert_eq!((told[0].number, told[0].again), (3, Some(again)), "{what}");
        assert_eq!(store.calls_to_fail(), 0, "{what}: not all of it happened");
    }
}

/// The server goes away while a closing waits for a host that hangs. When it is back, commands
/// are taken again, though whoever closed lives all the time.
#[test]
fn a_closing_ends_if_the_server_goes_away_behind_it() {
    let mut server = NatsServer::start_with(Settings::default()).unwrap();
    let place = |name: &str| Place::new(Kind::JetStream(&server), name.to_owned()).unwrap();
    let first = place("away").options.start().unwrap();
    let second = place("away").options.without_models().start().unwrap();
    opened(&first);
    deploy(&first, Version::V2, &[]).expect(0, &["deployment #2"]);
    let hosts = vec![first, second];
    let stage = Stage { place: place("away"), hosts };
    assert_eq!(stage.await_agreement(), 2);
    let Stage { hosts, .. } = stage;
    hosts[1].signal(Signal::STOP).unwrap();
    let folder = hosts[0].options().folder().to_owned();
    let url = hosts[0].url();
    thread::scope(|scope| {
        let ordered = scope
            .spawn(|| host_process::run_cli(&folder, ["rollback", "--url", url.as_str()]).unwrap());
        hosts[0].wait_for_line(CLOSED, SOON).unwrap();
        server.kill();
        let ended = ordered.join().unwrap();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    });
    server.restart().unwrap();
    hosts[1].signal(Signal::CONT).unwrap();
    let until = clock::now() + SOON;
    for host in &hosts {
        while deposit(host) != "ok" {
            assert!(clock::now() < until, "the closing does not end");
            thread::sleep(PAUSE);
        }
    }
    let told = rollouts(&hosts[0]);
    assert_eq!(told["deployments"][0]["number"], 3, "{told}");
    assert_eq!(told["deployments"][0]["again"], 2, "{told}");
    let stage =
        Stage { place: Place::new(Kind::JetStream(&server), "away".to_owned()).unwrap(), hosts };
    assert_eq!(stage.await_agreement(), 3);
    stage.audit();
}
