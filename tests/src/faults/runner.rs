//! Plays a schedule: starts what a store needs once, plays its rounds on it, and judges each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use aether::{clock, store::embedded::Synchronous};
use anyhow::{Context as _, Result, ensure};
use async_nats::ServerAddr;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{
    caller::Shared,
    check::{self, Violation},
    cluster::{Cluster, StoreKind},
    history::{LoggedEvent, Logs, Operation, Outcome, Request, Tally},
    nemesis::{Nemesis, Stage, Strike},
    power_cut::power_cut_round,
    report::{Played, Report},
    schedule::Round,
    workload::{CAPITAL, Running, Workload},
};
use crate::http::Client;

/// How long clients work before the first fault, between two, and after everything is well again.
const CALM: Duration = Duration::from_millis(1_000);

/// What each client asks before a power cut, and again behind it.
const REQUESTS: usize = 12;

/// Most events of one page of a log.
const PAGE: usize = 1_000;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Plays `rounds`, prints a line for each, and keeps what a failed one left in `folder`.
///
/// # Errors
/// If the machine does not allow it. A round that goes wrong is no error but a line of the report.
pub fn run(rounds: &[Round], folder: &Path) -> Result<Report> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    for store in StoreKind::ALL {
        let mut cluster: Option<Cluster> = None;
        for round in rounds.iter().filter(|round| round.store == store) {
            if round.nemesis == Nemesis::PowerCut {
                let played = cut_power(round, &runtime, folder)?;
                println!("{played}");
                report.add(played);
                continue;
            }
            let running = match cluster.take() {
                Some(running) => running,
                None => Cluster::start(store, runtime.handle())
                    .with_context(|| format!("{store} does not start"))?,
            };
            let (played, left) = play(running, round, &runtime, folder)?;
            println!("{played}");
            report.add(played);
            cluster = left;
        }
    }
    Ok(report)
}

/// Plays one round; gives the processes back unless something went wrong on them.
fn play(
    mut cluster: Cluster,
    round: &Round,
    runtime: &Runtime,
    folder: &Path,
) -> Result<(Played, Option<Cluster>)> {
    let mut evidence = Evidence::default();
    let mut played = Played::of(round);
    if let Err(error) = attempt(&mut cluster, round, runtime, &mut played, &mut evidence) {
        played.broken = Some(format!("{error:#}"));
    }
    cluster.heal();
    if played.is_good() {
        return Ok((played, Some(cluster)));
    }
    let folder = folder.join(format!("failed/round-{}", round.number));
    evidence.keep(&folder, &played)?;
    cluster.keep_logs(&folder)?;
    played.kept = Some(folder);
    Ok((played, None))
}

/// Plays a round in this process: what power loss leaves cannot be seen from outside.
fn cut_power(round: &Round, runtime: &Runtime, folder: &Path) -> Result<Played> {
    let mut played = Played::of(round);
    let mut evidence = Evidence::default();
    for strike in 0..round.strikes as u64 {
        let seed = round.seed.wrapping_add(strike);
        let cut = power_cut_round(seed, round.clients, REQUESTS, Synchronous::Full);
        let cut = match runtime.block_on(cut) {
            Ok(cut) => cut,
            Err(error) => {
                played.broken = Some(format!("{error:#}"));
                break;
            }
        };
        let (at, in_flight) = (Duration::ZERO, cut.in_flight);
        played.strikes.push(Strike { what: cut.cut, at, mended: at, in_flight });
        let violations = check::check(&cut.operations, &cut.logs);
        played.tally.add(&Tally::of(&cut.operations, &cut.logs, 0));
        played.count(&violations, &cut.operations);
        evidence = Evidence { operations: cut.operations, logs: cut.logs, violations };
        if !evidence.violations.is_empty() {
            break;
        }
    }
    if !played.is_good() {
        let folder = folder.join(format!("failed/round-{}", round.number));
        evidence.keep(&folder, &played)?;
        played.kept = Some(folder);
    }
    Ok(played)
}

/// What a failed round leaves.
#[derive(Default)]
struct Evidence {
    operations: Vec<Operation>,
    logs: Logs,
    violations: Vec<Violation>,
}

fn attempt(
    cluster: &mut Cluster,
    round: &Round,
    runtime: &Runtime,
    played: &mut Played,
    evidence: &mut Evidence,
) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(round.seed);
    let before = cluster.conflicts();
    let actors = round.workload.actors(round.number);
    let urls = cluster.nats_urls().iter().map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;
    let nats = if urls.is_empty() { None } else { Some(connect(urls, runtime)?) };
    let shared = Shared::new(cluster.fronts(), nats);
    let started = Running::start(
        round.workload,
        actors.clone(),
        round.clients,
        round.seed,
        Arc::clone(&shared),
    );
    let running = runtime.block_on(started)?;
    let mut strikes = Vec::new();
    let struck = (0..round.strikes).try_for_each(|_| {
        thread::sleep(CALM);
        let actor = actors.first().map_or("", String::as_str);
        let stage =
            Stage { cluster, shared: &shared, rng: &mut rng, actor, longest: round.longest };
        strikes.push(round.nemesis.strike(stage)?);
        anyhow::Ok(())
    });
    // Whatever went wrong, the clients' history shows what came before.
    cluster.heal();
    let served = struck.is_ok().then(|| await_service(&shared, &actors, round.store.liveness()));
    thread::sleep(CALM);
    evidence.operations = runtime.block_on(running.finish())?;
    played.strikes.clone_from(&strikes);
    struck?;
    evidence.logs = read_logs(cluster, &actors)?;
    let conflicts = cluster.conflicts().saturating_sub(before);
    played.tally = Tally::of(&evidence.operations, &evidence.logs, conflicts);
    judge(round, &strikes, evidence);
    played.count(&evidence.violations, &evidence.operations);
    actors.iter().try_for_each(|actor| cluster.audit(actor))?;
    match served {
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

fn connect(urls: Vec<ServerAddr>, runtime: &Runtime) -> Result<async_nats::Client> {
    runtime.block_on(async_nats::connect(urls)).context("no nats-server answers")
}

/// Waits until every host has answered something that was asked after the last fault, and every
/// actor has accepted something.
fn await_service(shared: &Shared, actors: &[String], limit: Duration) -> Result<()> {
    shared.expect_service();
    let until = clock::now() + limit;
    loop {
        let missing = shared.unserved(actors);
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(
            clock::now() < until,
            "not served again {limit:?} after the last fault: {missing:?}"
        );
        thread::sleep(LOOK);
    }
}

fn judge(round: &Round, strikes: &[Strike], evidence: &mut Evidence) {
    let Evidence { operations, logs, violations } = evidence;
    violations.extend(check::check(operations, logs));
    let mended = strikes.last().map(|strike| strike.mended).unwrap_or_default();
    violations.extend(check::liveness(operations, mended, round.store.liveness()));
    if round.workload == Workload::Bank {
        violations.extend(check::balances(logs, expected_sum(logs)));
    }
}

/// What all accounts must hold together: what was put in, less what had left one account and not
/// reached the other when the round ended.
fn expected_sum(logs: &Logs) -> i128 {
    let of = |suffix| {
        let events = logs.actors.values().flatten();
        let transfers = events.filter_map(move |event| {
            let transfer = event.command.strip_suffix(suffix)?;
            Some((transfer, i128::from(event.data.get("amount")?.as_u64()?)))
        });
        transfers.collect::<BTreeMap<&str, i128>>()
    };
    let arrived = of("-in");
    let under_way = of("-out").into_iter().filter(|(transfer, _)| !arrived.contains_key(transfer));
    let capital = i128::from(CAPITAL) * logs.actors.len() as i128;
    capital - under_way.map(|(_, amount)| amount).sum::<i128>()
}

/// The logs of `actors` as each host tells them. All must tell the same, but for commands of
/// unknown outcome that were done meanwhile.
fn read_logs(cluster: &Cluster, actors: &[String]) -> Result<Logs> {
    let mut logs = Logs::default();
    for host in 0..cluster.hosts() {
        let client = cluster.client(host)?;
        for actor in actors {
            let log = read_log(&client, actor).with_context(|| format!("the log of {actor}"))?;
            let known = logs.actors.entry(actor.clone()).or_default();
            let same = log.iter().zip(known.iter()).all(|(told, known)| told == known);
            ensure!(same, "host {host} tells another log of {actor} than the hosts before it");
            ensure!(
                log.len() >= known.len(),
                "host {host} tells {} events of {actor}, another one {}",
                log.len(),
                known.len()
            );
            *known = log;
        }
    }
    Ok(logs)
}

fn read_log(client: &Client, actor: &str) -> Result<Vec<LoggedEvent>> {
    let mut log = Vec::new();
    let mut from = Some(1);
    while let Some(next) = from {
        let reply = client.get(&format!("/v1/{actor}/events?from={next}&limit={PAGE}"))?;
        ensure!(reply.status == 200, "{}", reply.text());
        let page = reply.json()?;
        let events = page.get("events").and_then(Value::as_array).context("no events")?;
        for event in events {
            log.push(logged(event).with_context(|| format!("no event: {event}"))?);
        }
        from = page.get("next").and_then(Value::as_u64);
    }
    Ok(log)
}

fn logged(event: &Value) -> Option<LoggedEvent> {
    Some(LoggedEvent {
        version: event.get("version")?.as_u64()?,
        name: event.get("type")?.as_str()?.to_owned(),
        data: event.get("data")?.clone(),
        at: event.get("at")?.as_u64()?,
        command: event.get("command")?.as_str()?.to_owned(),
    })
}

impl Evidence {
    /// Writes what clients were told, what the logs hold and what is wrong.
    fn keep(&self, folder: &PathBuf, played: &Played) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let operations: Vec<Value> = self.operations.iter().map(operation).collect();
        fs::write(folder.join("history.json"), lines(&operations))?;
        let mut events = Vec::new();
        for (actor, log) in &self.logs.actors {
            events.extend(log.iter().map(|it| {
                json!({"actor": actor, "version": it.version, "type": it.name, "data": it.data,
                       "at": it.at, "command": it.command})
            }));
        }
        fs::write(folder.join("logs.json"), lines(&events))?;
        let mut text = format!("{played}\n");
        for strike in &played.strikes {
            text += &format!("{:?}–{:?} {}\n", strike.at, strike.mended, strike.what);
        }
        for violation in &self.violations {
            text += &format!("{violation}\n");
        }
        fs::write(folder.join("violations.txt"), text)?;
        Ok(())
    }
}

/// A JSON array with a line for each item.
fn lines(items: &[Value]) -> String {
    let lines: Vec<String> = items.iter().map(Value::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn operation(operation: &Operation) -> Value {
    let request = match &operation.request {
        Request::Read => json!("read"),
        Request::Command { id, name, fields, expected_version } => {
            json!({"id": id, "name": name, "fields": fields, "expected-version": expected_version})
        }
    };
    let outcome = match &operation.outcome {
        Outcome::Accepted { version, events } => {
            let events: Vec<Value> = events
                .iter()
                .map(|it| json!({"version": it.version, "type": it.name, "data": it.data}))
                .collect();
            json!({"accepted": {"version": version, "events": events}})
        }
        Outcome::Rejected { version, rejection } => {
            json!({"rejected": {"version": version, "rejection": rejection}})
        }
        Outcome::State { version, state } => {
            json!({"state": {"version": version, "state": state}})
        }
        Outcome::Refused { code } => json!({"refused": code}),
        Outcome::Unknown { why } => json!({"unknown": why}),
    };
    json!({"client": operation.client, "actor": operation.actor, "request": request,
           "begun-us": micros(operation.begun), "ended-us": micros(operation.ended),
           "outcome": outcome})
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
