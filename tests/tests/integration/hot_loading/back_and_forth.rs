//! Twenty deploys between two versions under load: each commit is of one component and what that
//! component decides, and hosts go over at once.

use std::collections::BTreeMap;

use aether::{clock, record::Record};
use aether_tests::nats_server::NatsServer;
use serde_json::Value;

use super::{
    kit::{Stage, amount, deploy, rollouts},
    load::{Answers, Load},
    versions::Version,
};
use crate::crash_points::place::Kind;

/// Clients; each has an account of its own.
const CLIENTS: usize = 64;

/// Deploys, each to the other version.
const DEPLOYS: u64 = 20;

/// Most seconds from the activation until a host serves it, its compiling aside: on a machine
/// that does other things as well. What is measured is printed.
const BOUND: f64 = 10.0;

#[test]
fn twenty_deploys_on_the_embedded_store_mix_nothing() {
    back_and_forth(Kind::Embedded);
}

#[test]
fn twenty_deploys_on_two_hosts_mix_nothing() {
    let server = NatsServer::start().unwrap();
    back_and_forth(Kind::JetStream(&server));
}

fn back_and_forth(kind: Kind<'_>) {
    let mut stage = Stage::start(kind, "forth");
    let load = Load::start(&stage.clients(), CLIENTS);
    load.await_answers(2 * CLIENTS);
    let begun = clock::now();
    for n in 0..DEPLOYS {
        let version = if n % 2 == 0 { Version::Fee } else { Version::V1 };
        let host = &stage.hosts[(n / 2) as usize % stage.hosts.len()];
        let number = format!("deployment #{} of context bank", n + 2);
        // The rest is replayed in the background.
        deploy(host, version, &["--budget", "1s"]).expect(0, &[&number, "is active"]);
        load.await_answers(amount(CLIENTS, 20 * CLIENTS));
    }
    let ended = clock::now();
    assert_eq!(stage.await_agreement(), DEPLOYS + 1);
    let answers = load.finish();
    answers.report(&format!("{DEPLOYS} deploys, {kind}"), begun, ended);
    lags(&stage, kind);
    stage.audit();
    let deployments = components(&rollouts(&stage.hosts[0]));
    for host in &mut stage.hosts {
        assert!(host.terminate().unwrap().success(), "{}", host.output());
    }
    examine(&stage, &answers, &deployments);
}

/// The account's component of each deployment.
fn components(told: &Value) -> BTreeMap<u64, String> {
    let all = told["deployments"].as_array().expect("deployments");
    let one = |it: &Value| {
        let component = it["components"]["account"].as_str().unwrap_or_default();
        (it["number"].as_u64().unwrap_or_default(), component.to_owned())
    };
    all.iter().map(one).collect()
}

/// Every record is of the component of its deployment, no older one after a newer one, and holds
/// what that component decides of what was sent; and everything is there that was told.
fn examine(stage: &Stage<'_>, answers: &Answers, deployments: &BTreeMap<u64, String>) {
    let plain = deployments.get(&1).expect("the first deployment");
    let (mut records, mut fees) = (0, 0);
    for (actor, told) in answers.accepted() {
        let (mut version, mut deployment, mut found) = (0, 0, 0);
        for record in stage.place.records(&actor.parse().unwrap()).unwrap() {
            let Record { first, deployment: number, component, turns, .. } = record;
            assert_eq!(first, version + 1, "the versions of {actor} are not dense");
            assert!(number >= deployment, "{actor}: #{number} decided after #{deployment}");
            assert_eq!(deployments.get(&number), Some(&component.to_string()), "{actor}, {first}");
            let fee = u64::from(component.to_string() != *plain);
            for turn in turns {
                version += turn.events.len() as u64;
                let Some(told) = told.get(turn.command.id.as_str()) else { continue };
                let [event] = turn.events.as_slice() else { panic!("{actor}: {turn:?}") };
                let stored: Value = serde_json::from_str(event.data.get()).unwrap();
                assert_eq!(stored["amount"], told.amount - fee, "{actor} {version} of #{number}");
                assert_eq!((told.version, &told.events[0]["data"]), (Some(version), &stored));
                found += 1;
                fees += fee;
            }
            deployment = number;
            records += 1;
        }
        assert_eq!(found, told.len(), "{actor}: what was acknowledged is not there");
    }
    eprintln!("{records} records, {fees} of them decided with the fee");
    assert!(fees > 0 && fees < records, "only one of the versions decided");
}

/// How long after each activation each host served it, without the time to compile it.
fn lags(stage: &Stage<'_>, kind: Kind<'_>) {
    let mut activated = BTreeMap::new();
    let mut served = Vec::new();
    for host in &stage.hosts {
        let output = host.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines {
            let Some(number) = line["number"].as_u64() else { continue };
            match (line["message"].as_str(), line["compiled"].as_str().and_then(seconds)) {
                (Some("deployed"), _) => drop(activated.insert(number, moment(&line))),
                (Some("serves a new deployment"), Some(compiled)) => {
                    served.push((number, moment(&line) - compiled));
                }
                _ => {}
            }
        }
    }
    let lags = served.iter().filter_map(|(number, at)| Some(at - activated.get(number)?));
    let lags: Vec<f64> = lags.collect();
    let longest = lags.iter().copied().fold(0.0, f64::max);
    eprintln!(
        "{kind}: {} times a host went over, at the latest {longest:.3} s after the activation, without compiling",
        lags.len()
    );
    assert!(lags.len() as u64 >= DEPLOYS * stage.hosts.len() as u64, "{lags:?}");
    assert!(longest < BOUND, "a host took {longest} s");
}

/// When a line was written, in seconds of the day.
fn moment(line: &Value) -> f64 {
    let time = line["timestamp"].as_str().expect("a line has a time");
    let time = time.split_once('T').map_or(time, |(_, time)| time).trim_end_matches('Z');
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// A duration as Rust shows it.
fn seconds(shown: &str) -> Option<f64> {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    units.iter().find_map(|(unit, of)| Some(shown.strip_suffix(unit)?.parse::<f64>().ok()? * of))
}
