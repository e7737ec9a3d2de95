//! Whoever dies at whatever moment of a deploy: afterwards either the old or the new one is active
//! everywhere, nothing that was acknowledged is lost, and the next order goes through.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aether::{clock, record::Record};
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::{NatsServer, Settings},
    steps,
};
use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use serde_json::json;

use super::{
    kit::{Ended, SOON, Stage, active, aether, amount, deploy},
    versions::Version,
};
use crate::crash_points::place::{Kind, Place};

pub(super) const ALICE: &str = "bank/account/alice";

/// Hosts that are killed at once.
const AT_ONCE: usize = 3;

/// The signal that a host dies of at its step.
pub(super) const SIGKILL: i32 = 9;

/// Latest moment of a deploy at which something is killed.
const LATEST: Duration = Duration::from_millis(1500);

/// Pause before something is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Steps of deployments that only a store with several hosts passes.
const SHARED: &[&str] = &[
    "order.others",
    "order.alive",
    "rollout.take-part",
    "rollout.wait",
    "rollout.contexts",
    "rollout.deployments",
    "rollout.closing",
    "rollout.list-hosts",
    "rollout.announce",
];

/// Steps that are passed only if somebody goes away or falls behind: `deaths_apart`.
pub(super) const APART: &[&str] = &[
    "order.listener",
    "order.reopened",
    "rollout.newest",
    "rollout.alive",
    "rollout.reopen",
    "news.adopted",
];

/// A death: the step, and which side of it.
#[derive(Debug, Clone)]
struct Death {
    step: String,
    side: &'static str,
}

#[test]
fn a_host_on_the_embedded_store_may_die_at_any_step_of_a_deploy() {
    die_everywhere(Kind::Embedded, &deaths(|step| !SHARED.contains(&step)));
}

#[test]
fn a_host_on_jetstream_may_die_at_any_step_of_a_deploy() {
    let server = NatsServer::start().unwrap();
    let here = |step: &str| SHARED.contains(&step) || amount(step == "order.activate", true);
    die_everywhere(Kind::JetStream(&server), &deaths(here));
}

/// One side of each step, or both in the long run.
fn deaths(taken: impl Fn(&str) -> bool) -> Vec<Death> {
    let steps = steps::all().unwrap().into_iter().map(|step| step.name);
    let ours = ["order.", "rollout.", "tally.", "deploy.put-blob"];
    let steps = steps.filter(|step| !APART.contains(&step.as_str()));
    let steps = steps.filter(|step| ours.iter().any(|it| step.starts_with(it)) && taken(step));
    let sides = steps.enumerate().flat_map(|(n, step)| {
        let both = ["before", "after"];
        let some = amount(&both[n % 2..][..1], &both);
        some.iter().map(|side| Death { step: step.clone(), side }).collect::<Vec<_>>()
    });
    sides.collect()
}

fn die_everywhere(kind: Kind<'_>, deaths: &[Death]) {
    assert!(!deaths.is_empty(), "there are steps");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, death)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    deaths.get(number).map(|death| (number, death))
                } {
                    if let Err(error) = die(kind, number, death) {
                        let mut all = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push(format!("{death:?}: {error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    eprintln!("{} deaths at steps of a deploy, {kind}; {} failures", deaths.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Lets a host die that deploys, goes back where a closing is needed, and is asked about it.
fn die(kind: Kind<'_>, number: usize, death: &Death) -> Result<()> {
    let place = Place::new(kind, format!("d{number}"))?;
    let steps = place.options.folder().join("steps");
    let plan = format!("{}:{}:1", death.step, death.side);
    let armed = place.options.clone().env("AETHER_CRASH", &plan);
    let mut host = armed.env("AETHER_STEPS_FILE", &steps.to_string_lossy()).launch()?;
    let (mut version, mut known) = (0, 1);
    if host.wait_until_ready().is_ok() {
        version = open(&host);
        let orders: [&dyn Fn() -> Ended; 4] = [
            &|| deploy(&host, Version::V2, &[]),
            // The first version cannot read what the second may write: that is closed before.
            &|| aether(&host, &["rollback"]),
            &|| aether(&host, &["deployments"]),
            &|| deploy(&host, Version::Fee, &[]),
        ];
        for (n, order) in orders.iter().enumerate() {
            let ended = order();
            known += u64::from(ended.said.contains("is active\n"));
            // What the second version writes would stand in the way back.
            if n > 0 {
                version = deposit(&host).unwrap_or(version);
            }
        }
    }
    let status = host.wait(SOON).with_context(|| format!("{plan} was not passed"))?;
    let last = fs::read_to_string(&steps).unwrap_or_default();
    let last = last.lines().next_back().unwrap_or_default();
    ensure!(
        status.signal() == Some(SIGKILL) && last == plan,
        "it ended with {status} at {last}:\n{}",
        host.output()
    );
    drop(host);
    let again = place.options.clone().without_models();
    let again = if version == 0 { place.options.clone() } else { again };
    let stage = Stage { hosts: vec![again.start()?], place };
    whole(stage, version, known)
}

/// Opens the account; 0 if the host is gone.
pub(super) fn open(host: &HostProcess) -> u64 {
    let reply = host.client().command(ALICE, "open", &json!({"owner": "Alice"}));
    u64::from(reply.is_ok_and(|reply| reply.status == 200))
}

/// One event more; none if the host is gone or says that it cannot now.
pub(super) fn deposit(host: &HostProcess) -> Option<u64> {
    let reply = host.client().command(ALICE, "deposit", &json!({"amount": 1})).ok()?;
    reply.json().ok()?["version"].as_u64()
}

/// What was acknowledged up to `version` is there, the hosts agree on a deployment that is not
/// older than `known`, and the next order goes through.
pub(super) fn whole(mut stage: Stage<'_>, version: u64, known: u64) -> Result<()> {
    let deadline = clock::now() + SOON;
    let number = stage.await_agreement();
    ensure!(number >= known, "#{known} was told to be active and now it is #{number}");
    loop {
        let ended = deploy(&stage.hosts[0], Version::V3, &[]);
        if ended.status == 0 {
            break;
        }
        // A closing ends when the host that ordered it does not seem to live any more.
        ensure!(ended.status == 3 && clock::now() < deadline, "the next order: {ended:?}");
        thread::sleep(PAUSE);
    }
    let next = stage.await_agreement();
    ensure!(next > number, "#{next} follows #{number}");
    // What the first version could not read is tried again with this one, which takes a moment.
    for host in &stage.hosts {
        while version > 0 && deposit(host).is_none() {
            ensure!(clock::now() < deadline, "{ALICE} takes no commands");
            thread::sleep(PAUSE);
        }
    }
    let ended = aether(&stage.hosts[0], &["audit"]);
    ensure!(ended.status == 0, "{ended:?}");
    for host in &mut stage.hosts {
        host.kill()?;
    }
    let records = stage.place.records(&ALICE.parse()?)?;
    let stored = records.last().map_or(0, Record::last);
    ensure!(stored >= version, "{version} was acknowledged, and there are {stored}");
    ensure!(records.is_sorted_by_key(|record| record.deployment), "an older one decided later");
    Ok(())
}

#[test]
fn hosts_may_be_killed_at_any_moment_of_a_deploy() {
    for _ in 0..amount(2, 30) {
        kill_at_random(Kind::Embedded).unwrap();
    }
    for _ in 0..amount(1, 30) {
        let server = NatsServer::start().unwrap();
        kill_at_random(Kind::JetStream(&server)).unwrap();
    }
}

/// Kills the host that has the order, and starts it again.
fn kill_at_random(kind: Kind<'_>) -> Result<()> {
    let mut stage = Stage::start(kind, "kills");
    ensure!(open(&stage.hosts[0]) == 1, "the account is opened");
    let moment = rand::rng().random_range(Duration::ZERO..LATEST);
    let url = stage.hosts[0].url();
    let folder = stage.hosts[0].options().folder().to_owned();
    let model = Version::Fee.model();
    let (known, version) = thread::scope(|scope| {
        let order = scope.spawn(|| -> Result<Ended> {
            let arguments = ["deploy".as_ref(), model.as_os_str(), "--url".as_ref(), url.as_ref()];
            Ok(aether_tests::host_process::run_cli(&folder, arguments)?.into())
        });
        let mut version = 1;
        let until = clock::now() + moment;
        while clock::now() < until {
            version = deposit(&stage.hosts[0]).unwrap_or(version);
        }
        stage.hosts[0].kill()?;
        let ended = order.join().map_err(|_| anyhow::anyhow!("the order panicked"))??;
        anyhow::Ok((1 + u64::from(ended.said.contains("is active\n")), version))
    })?;
    stage.hosts[0].restart()?;
    whole(stage, version, known).with_context(|| format!("killed after {moment:?}"))
}

#[test]
fn nats_may_be_killed_at_any_moment_of_a_deploy() {
    for _ in 0..amount(2, 20) {
        let mut server = NatsServer::start_with(Settings::default()).unwrap();
        let place = Place::new(Kind::JetStream(&server), "nats".to_owned()).unwrap();
        let options: HostOptions = place.options.clone();
        let mut host = options.start().unwrap();
        assert_eq!(open(&host), 1);
        let moment = rand::rng().random_range(Duration::ZERO..LATEST);
        let ended = thread::scope(|scope| {
            let order = scope.spawn(|| deploy(&host, Version::Fee, &[]));
            thread::sleep(moment);
            server.restart().unwrap();
            order.join().unwrap()
        });
        assert!([0, 3].contains(&ended.status), "killed after {moment:?}: {ended:?}");
        host.wait_until_ready().unwrap();
        let known = 1 + u64::from(ended.status == 0);
        assert!(active(&host) >= known, "{ended:?}");
        let place = Place::new(Kind::JetStream(&server), "nats".to_owned()).unwrap();
        let stage = Stage { place, hosts: vec![host] };
        whole(stage, 1, known).with_context(|| format!("nats killed after {moment:?}")).unwrap();
    }
}
