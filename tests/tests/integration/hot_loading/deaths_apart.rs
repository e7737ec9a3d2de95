//! The steps of a deploy that a host passes only if somebody goes away or falls behind: whoever
//! dies there, the closing ends, nothing is lost, and the next order goes through.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use aether::clock;
use aether_tests::{
    host_process::{self, HostOptions, HostProcess},
    nats_server::NatsServer,
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::{
    deaths::{APART, PAUSE, SIGKILL, deposit, open, whole},
    kit::{SOON, Stage, aether, deploy},
    versions::Version,
};
use crate::{
    crash_points::place::{Kind, Place},
    replay::kit,
};

/// What a host says when it has stopped writing some events.
const CLOSED: &str = "closed: a deployment that cannot read these events";

/// Sides of a step.
const SIDES: [&str; 2] = ["before", "after"];

/// A host that dies at `step`, and the file in which it notes what it has passed.
fn armed(options: HostOptions, step: &str, side: &str) -> (HostOptions, PathBuf) {
    let file = options.folder().join("steps");
    let options = options.env("AETHER_CRASH", &format!("{step}:{side}:1"));
    (options.env("AETHER_STEPS_FILE", &file.to_string_lossy()), file)
}

/// It dies where it is to die.
fn dies(mut host: HostProcess, file: &Path, plan: &str) -> Result<()> {
    let status = host.wait(SOON).with_context(|| format!("{plan} was not passed"))?;
    let last = fs::read_to_string(file)?;
    let last = last.lines().next_back().unwrap_or_default();
    ensure!(
        status.signal() == Some(SIGKILL) && last.starts_with(plan),
        "it ended with {status} at {last}:\n{}",
        host.output()
    );
    Ok(())
}

fn ordered(host: &HostProcess, arguments: &[&str]) -> Result<Child> {
    let mut command: Command = host_process::aether(host.options().folder())?;
    command.args(arguments).args(["--url", host.url().as_str()]);
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Two hosts with the second version, which the first cannot read all of; one of them is armed.
fn two<'a>(
    kind: Kind<'a>,
    prefix: &str,
    step: &str,
    side: &str,
) -> Result<(Place<'a>, HostProcess, HostProcess, PathBuf)> {
    let place = Place::new(kind, prefix.to_owned())?;
    let other = place.options.start()?;
    let dying = Place::new(kind, prefix.to_owned())?.options.without_models();
    let (dying, file) = armed(dying, step, side);
    let dying = dying.start()?;
    ensure!(open(&other) == 1, "the account is opened");
    deploy(&other, Version::V2, &[]).expect(0, &["deployment #2"]);
    Ok((place, other, dying, file))
}

/// What was acknowledged is there on `survivor` and on a host that is started anew.
fn goes_on(place: Place<'_>, kind: Kind<'_>, prefix: &str, survivor: HostProcess) -> Result<()> {
    let deadline = clock::now() + SOON;
    let version = loop {
        match deposit(&survivor) {
            Some(version) => break version,
            None => ensure!(clock::now() < deadline, "the closing does not end"),
        }
        thread::sleep(PAUSE);
    };
    let again = Place::new(kind, prefix.to_owned())?.options.without_models();
    let hosts = vec![survivor, again.start()?];
    whole(Stage { place, hosts }, version, 2)
}

/// Whoever ordered goes away behind the closing, and the host dies as it ends the closing.
fn die_as_the_closing_ends(kind: Kind<'_>, step: &str, side: &str) -> Result<()> {
    let prefix = format!("e-{}-{side}", step.replace('.', "-"));
    let (place, other, dying, file) = two(kind, &prefix, step, side)?;
    other.signal(Signal::STOP)?;
    let mut order = ordered(&dying, &["rollback"])?;
    dying.wait_for_line(CLOSED, SOON)?;
    order.kill()?;
    order.wait()?;
    let died = dies(dying, &file, &format!("{step}:{side}"));
    other.signal(Signal::CONT)?;
    died?;
    goes_on(place, kind, &prefix, other)
}

/// The host that ordered dies behind the closing, and another one as it finds that out.
fn die_as_the_closer_is_missed(kind: Kind<'_>, step: &str, side: &str) -> Result<()> {
    let prefix = format!("m-{}-{side}", step.replace('.', "-"));
    let (place, other, dying, file) = two(kind, &prefix, step, side)?;
    let third = Place::new(kind, prefix.clone())?.options.without_models();
    let mut third = third.env("AETHER_CRASH", "order.others:before:1").start()?;
    drop(other);
    aether(&third, &["rollback"]);
    third.wait(SOON)?;
    dies(dying, &file, &format!("{step}:{side}"))?;
    let survivor = Place::new(kind, prefix.clone())?.options.without_models().start()?;
    goes_on(place, kind, &prefix, survivor)
}

/// A host that is slower than another one to go over dies as it waits for itself.
fn die_behind_the_others(kind: Kind<'_>, step: &str, side: &str) -> Result<()> {
    let prefix = format!("n-{}-{side}", step.replace('.', "-"));
    let place = Place::new(kind, prefix.clone())?;
    let quick = place.options.start()?;
    let slow = Place::new(kind, prefix.clone())?.options.without_models();
    let (slow, file) = armed(slow, step, side);
    // It has to compile what the other one has compiled already.
    let cache = slow.folder().join("cache");
    let slow = slow.env("AETHER_CACHE_DIR", &cache.to_string_lossy()).start()?;
    ensure!(open(&quick) == 1 && deposit(&slow).is_some(), "both take commands");
    let mut order = ordered(&quick, &["deploy", &Version::Fee.model().to_string_lossy()])?;
    let deadline = clock::now() + SOON;
    let passed =
        || fs::read_to_string(&file).is_ok_and(|text| text.contains(&format!("{step}:{side}:1")));
    while !passed() {
        ensure!(clock::now() < deadline, "{step} was not passed");
        // The one commits under the new deployment, the other one meets that.
        deposit(&quick);
        let _ = slow.client().command("bank/account/alice", "deposit", &json!({"amount": 1}));
    }
    order.wait()?;
    dies(slow, &file, &format!("{step}:{side}"))?;
    goes_on(place, kind, &prefix, quick)
}

/// Whoever asked goes away while histories are replayed.
fn die_as_nobody_listens(step: &str) -> Result<()> {
    let options = HostOptions::new()?;
    let first = options.clone().model(kit::first());
    let (armed, file) = armed(first, step, "after");
    let host = armed.start()?;
    for _ in 0..3 {
        let sold = json!({"item": "slow", "count": 1});
        ensure!(host.client().command("shop/till/one", "sell", &sold)?.status == 200, "it sells");
    }
    let slow = kit::slow();
    let mut asked = ordered(&host, &["what-if", &slow.to_string_lossy()])?;
    let deadline = clock::now() + SOON;
    let begun = || fs::read_to_string(&file).is_ok_and(|it| it.contains(&format!("{step}:before")));
    while !begun() {
        ensure!(clock::now() < deadline, "no replay begins");
        thread::sleep(PAUSE);
    }
    asked.kill()?;
    asked.wait()?;
    dies(host, &file, &format!("{step}:after"))?;
    let host = options.start()?;
    let state = host.client().get("/v1/shop/till/one")?.json()?;
    ensure!(state["version"] == 3, "{state}");
    Ok(())
}

#[test]
fn hosts_may_die_where_somebody_goes_away_or_falls_behind() {
    let server = NatsServer::start().unwrap();
    let kind = Kind::JetStream(&server);
    let failures: Vec<_> = thread::scope(|scope| {
        let deaths = APART.iter().enumerate().flat_map(|(n, step)| {
            // Both sides in the long run.
            let sides = super::kit::amount(&SIDES[n % 2..][..1], &SIDES);
            sides.iter().map(move |side| (*step, *side))
        });
        let deaths = deaths.map(|(step, side)| {
            scope.spawn(move || {
                let died = match step {
                    "order.listener" => die_as_nobody_listens(step),
                    "news.adopted" => die_behind_the_others(kind, step, side),
                    "rollout.alive" => die_as_the_closer_is_missed(kind, step, side),
                    _ => die_as_the_closing_ends(kind, step, side),
                };
                died.with_context(|| format!("{step}:{side}")).err()
            })
        });
        let deaths: Vec<_> = deaths.collect();
        deaths.into_iter().filter_map(|death| death.join().unwrap()).collect()
    });
    let failures: Vec<_> = failures.iter().map(|failure| format!("{failure:#}")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The end of a closing is written, and nobody has heard of it.
#[test]
fn a_missed_closer_is_replaced_by_a_host_that_may_die_too() {
    let server = NatsServer::start().unwrap();
    die_as_the_closer_is_missed(Kind::JetStream(&server), "rollout.reopen", "after").unwrap();
}
