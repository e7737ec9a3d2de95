//! Actors that no replay covered before a deployment became active: each is checked before its
//! first command, on every host and after every restart.

use std::{path::PathBuf, thread, time::Duration};

use aether::{
    clock,
    deploy::replay::sample::{Rest, place},
};
use aether_tests::{
    host_process::{HostProcess, run_cli},
    nats_server::NatsServer,
};
use serde_json::{Value, json};

use super::kit::{Ended, SOON, aether, deploy_file, rollouts};
use crate::{
    crash_points::place::{Kind, Place},
    replay::kit,
};

/// Actors that are covered whatever the budget: those with the longest pasts and the newest ones.
const COVERED: usize = 40;

/// A budget in which hardly anything else is: nobody whose place is as high as those below.
const NOTHING: [&str; 2] = ["--budget", "1ms"];

/// What the second version of the till cannot take.
const POISON: &str = "shop/till/poison";

/// What it takes to another state.
const LOUD: &str = "shop/till/loud-98";

/// What the narrow model cannot read.
const WIDE: &str = "shop/till/wide";

/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);

fn sell(host: &HostProcess, till: &str, item: &str, count: u32) -> (u16, Value) {
    let reply = host.client().command(till, "sell", &json!({"item": item, "count": count}));
    let reply = reply.unwrap();
    (reply.status, reply.json().unwrap())
}

/// Sells what the first version of the till takes, and others do not.
fn fill(host: &HostProcess) {
    for (till, item, count) in [(POISON, "poison", 1), (LOUD, "loud", 1), (WIDE, "tea", 300)] {
        assert_eq!(sell(host, till, item, count).0, 200);
    }
    for n in 0..COVERED {
        for _ in 0..2 {
            assert_eq!(sell(host, &format!("shop/till/{n}"), "tea", 1).0, 200);
        }
    }
    // The one at the first place stands for all that sold something.
    let first = (0..COVERED).map(|n| place(&format!("shop/till/{n}").parse().unwrap())).min();
    for till in [POISON, LOUD, WIDE] {
        assert!(Some(place(&till.parse().unwrap())) > first, "{till} would be covered");
    }
}

/// The first version on as many hosts as `kind` bears.
fn hosts(kind: Kind<'_>, prefix: &str) -> Vec<HostProcess> {
    let options = || Place::new(kind, prefix.to_owned()).unwrap().options.without_models();
    let first = options().model(kit::first()).start().unwrap();
    let mut hosts = vec![first];
    if matches!(kind, Kind::JetStream(_)) {
        hosts.push(options().start().unwrap());
    }
    hosts
}

fn deployed(host: &HostProcess, model: PathBuf, more: &[&str]) {
    let more = [NOTHING.as_slice(), more].concat();
    deploy_file(host, &model, &more).expect(0, &["deployment #2 of context shop", "is active"]);
}

fn await_served(host: &HostProcess, number: u64) {
    let own = format!("process {} ", host.pid());
    let until = clock::now() + SOON;
    loop {
        let told = rollouts(host);
        let mut hosts = told["hosts"].as_array().into_iter().flatten();
        let here = hosts.find(|it| it["place"].as_str().is_some_and(|place| place.contains(&own)));
        if here.is_some_and(|it| it["serves"]["shop"] == number) {
            return;
        }
        assert!(clock::now() < until, "it does not serve #{number}: {told}");
        thread::sleep(PAUSE);
    }
}

/// `till` is refused, for a reason that says what to do, and nobody is quarantined for it.
fn refuses(host: &HostProcess, till: &str, why: &str) {
    let (status, said) = sell(host, till, "tea", 1);
    assert_eq!((status, &said["code"]), (500, &json!("component-fault")), "{said}");
    let detail = said["detail"].as_str().unwrap_or_default();
    for word in ["is not served by deployment 2", why, "its log is whole", "aether rollback"] {
        assert!(detail.contains(word), "`{word}` is not said: {detail}");
    }
    for path in [format!("/v1/{till}"), format!("/v1/{till}?version=1")] {
        let state = host.client().get(&path).unwrap();
        assert_eq!(state.status, 500, "{path}: {}", state.text());
    }
    let listed = host.client().get("/v1/shop/till").unwrap();
    let listed = listed.json().unwrap();
    let mut actors = listed["actors"].as_array().unwrap().iter();
    assert!(actors.all(|actor| actor["quarantined"].is_null()), "{listed}");
    aether(host, &["deployments"]).expect(0, &["shop #2: ", &format!("not served: {till} ")]);
}

fn checked_everywhere(kind: Kind<'_>) {
    let mut hosts = hosts(kind, "rest");
    fill(&hosts[0]);
    deployed(&hosts[0], kit::second(), &[]);
    let told = rollouts(&hosts[0]);
    let rest = told["deployments"][0]["rest"].as_str().expect("what was left out is recorded");
    let rest: Rest = rest.parse().unwrap();
    assert!([POISON, LOUD, WIDE].iter().all(|till| rest.holds(&till.parse().unwrap())), "{rest}");
    for host in &hosts {
        await_served(host, 2);
        refuses(host, POISON, "at its version 1 where the code before did not: trap: ");
    }
    uncovered_are(&audited(aether(&hosts[0], &["audit", "--json"])), &[POISON]);
    for host in &mut hosts {
        host.kill().unwrap();
        host.restart().unwrap();
    }
    for host in &hosts {
        refuses(host, POISON, "at its version 1 where the code before did not: trap: ");
        let shown = host.client().get(&format!("/v1/{LOUD}")).unwrap();
        assert_eq!(shown.json().unwrap()["state"]["last"], "LOUD", "{}", shown.text());
        let told =
            ["1 fail and are not served, 1 have another state", "another state: shop/till/loud-98"];
        aether(host, &["deployments"]).expect(0, &told);
    }
    assert_eq!(sell(&hosts[0], LOUD, "tea", 1).0, 200);
    assert_eq!(sell(&hosts[0], "shop/till/0", "tea", 1).0, 200);
    // The code before it takes what it took.
    let back = ["rollback", "--accept-state-changes"];
    aether(&hosts[0], &back).expect(0, &["deployment #3", "#1 again", "is active"]);
    for (n, host) in hosts.iter().enumerate() {
        await_served(host, 3);
        let (status, said) = sell(host, POISON, "tea", 1);
        assert_eq!((status, &said["version"]), (200, &json!(n + 2)), "{said}");
    }
    aether(&hosts[0], &["audit"]).expect(0, &[]);
}

#[test]
fn an_actor_that_no_replay_covered_is_checked_on_the_embedded_store() {
    checked_everywhere(Kind::Embedded);
}

#[test]
fn an_actor_that_no_replay_covered_is_checked_on_every_host() {
    let server = NatsServer::start().unwrap();
    checked_everywhere(Kind::JetStream(&server));
}

/// What the new model cannot read is no damage: the actor is refused, not quarantined.
#[test]
fn an_uncovered_actor_that_cannot_be_read_is_not_quarantined() {
    let mut hosts = hosts(Kind::Embedded, "narrow");
    fill(&hosts[0]);
    deployed(&hosts[0], kit::narrow(), &["--force", "diff,replay"]);
    refuses(&hosts[0], WIDE, "where the code before did not: undecodable: ");
    hosts[0].kill().unwrap();
    hosts[0].restart().unwrap();
    refuses(&hosts[0], WIDE, "where the code before did not: undecodable: ");
    // The log is not to blame, whoever reads it.
    uncovered_are(&audited(aether(&hosts[0], &["audit", "--json"])), &[POISON, WIDE]);
    hosts[0].terminate().unwrap();
    let options = hosts[0].options();
    let data = options.data_folder().unwrap();
    let arguments = ["audit", "--json", "--data", data.to_str().unwrap()];
    let stopped = run_cli(options.folder(), arguments).unwrap();
    uncovered_are(&audited(stopped.into()), &[POISON, WIDE]);
}

/// What an audit found.
#[track_caller]
fn audited(ended: Ended) -> Vec<Value> {
    ended.expect(1, &[]);
    let lines = ended.said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line.get("finding").cloned()).collect()
}

/// The findings are these actors, whom new code cannot take.
#[track_caller]
fn uncovered_are(findings: &[Value], actors: &[&str]) {
    let mut found: Vec<_> = findings.iter().map(|it| it["actor"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, actors, "{findings:#?}");
    for finding in findings {
        assert_eq!(finding["kind"], "uncovered", "{finding}");
        assert!(finding["reason"].as_str().unwrap().contains("its log is whole"), "{finding}");
    }
}

/// Who is awake need not wait for its check at its next command.
#[test]
fn those_that_are_awake_are_checked_when_the_deployment_becomes_active() {
    let hosts = hosts(Kind::Embedded, "awake");
    fill(&hosts[0]);
    deployed(&hosts[0], kit::second(), &[]);
    let until = clock::now() + SOON;
    loop {
        let told = rollouts(&hosts[0])["uncovered"]["shop"].clone();
        // Nobody was asked anything: the tills of `fill` are awake.
        if told["checked"].as_u64() >= Some(3) && told["failed"] == 1 {
            assert_eq!(told["differ"], json!([LOUD]), "{told}");
            break;
        }
        assert!(clock::now() < until, "they are not checked: {told}");
        thread::sleep(PAUSE);
    }
    refuses(&hosts[0], POISON, "at its version 1 where the code before did not: trap: ");
}

/// A deployment that changes nothing for it does not make an actor covered: it was compared with
/// code that never took it.
#[test]
fn what_was_left_out_stays_so_under_the_next_deployment() {
    let hosts = hosts(Kind::Embedded, "again");
    fill(&hosts[0]);
    deployed(&hosts[0], kit::second(), &[]);
    let (second, again) = (kit::second(), kit::second().with_file_name("again.storm.yaml"));
    std::fs::write(&again, std::fs::read_to_string(second).unwrap() + "# again\n").unwrap();
    let done = deploy_file(&hosts[0], &again, &["--all"]);
    done.expect(0, &["deployment #3 of context shop", "is active"]);
    let told = rollouts(&hosts[0]);
    assert_eq!(told["deployments"][0]["rest"], told["deployments"][1]["rest"], "{told}");
    let (status, said) = sell(&hosts[0], POISON, "tea", 1);
    assert_eq!((status, &said["reason"]), (500, &json!("uncovered")), "{said}");
}
