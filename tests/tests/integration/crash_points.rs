//! A host may die at any step of its work with a store: nothing that it had acknowledged is lost,
//! doubled or out of order, and what was left open is settled by asking again.
//!
//! The steps are read from the source. A survey runs a host through all that a host does and tells
//! which steps it passes, and when. Then, for each step and each side of it, a host is killed
//! exactly there with clients at work, started again, asked again, and its log is read from the
//! store. A step that the survey does not pass fails the test: write what passes it into the load,
//! or say in [`ELSEWHERE`] which test passes it.
//!
//! `AETHER_TEST_CRASH_POINTS=turn.append,embedded.commit` takes these steps only, `all` all;
//! `AETHER_TEST_CRASH_ROUNDS=3` takes each three times, at other passages.

mod load;
pub mod place;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aether::address::Address;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    http::Client,
    nats_server::{NatsCluster, NatsServer},
    steps,
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::{
    load::{ACCOUNTS, Sent, Told, account, send, version},
    place::{Kind, Place},
};

/// Which steps are taken, and how often; see the top.
const STEPS_VARIABLE: &str = "AETHER_TEST_CRASH_POINTS";
const ROUNDS_VARIABLE: &str = "AETHER_TEST_CRASH_ROUNDS";

/// Hosts that are killed at once.
const AT_ONCE: usize = 3;

/// Acknowledgements in the survey, and before a host is told to stop: more than an actor's ledger
/// holds, so that all ways of finding a command again are gone.
const ENOUGH: usize = 500;

/// Commands that are sent once more in the end: fewer than an actor's ledger holds.
const AGAIN: usize = 20;

/// Longest time that a host at work takes to come to a step that it is known to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// The signal that a host dies of at its step.
const SIGKILL: i32 = 9;

/// The actor whose log is damaged before the second host starts.
const HURT: &str = "bank/account/hurt";

/// Steps that no host passes here, and what does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("embedded.roll-back", "a write that failed: `crash::a_write_that_fails…`"),
    ("embedded.reopen", "a sync that failed: `crash::a_commit_whose_sync_failed…`"),
    ("embedded.find", "a sync that failed: `crash::a_commit_whose_sync_failed…`"),
    ("embedded.delete-snapshot", "a release: `damage::embedded::*`"),
    ("embedded.delete-quarantine", "a release: `damage::embedded::*`"),
    ("wake.has-lost", "a record that the server cannot read: `damage::jetstream::flipped…`"),
    ("jetstream.ask-index", "a record that the server cannot read: `damage::jetstream::flipped…`"),
    ("jetstream.append-repair", "its repair: `damage::jetstream::flipped…`"),
    ("jetstream.forget-snapshot", "a release: `damage::jetstream::*`"),
    ("jetstream.note-repaired", "a release: `damage::jetstream::*`"),
    ("jetstream.release", "a release: `damage::jetstream::*`"),
    ("jetstream.ask-gone", "an audit: `damage::jetstream::*`"),
    ("jetstream.scan", "a scan: `jetstream::conformance::*`"),
    ("jetstream.scan-page", "a scan: `jetstream::conformance::*`"),
    ("mailbox.newer", "a record of a newer deployment: `hot_loading::*`"),
    ("mailbox.anew", "a check that another deployment overtakes: `hot_loading::rests`"),
    ("mailbox.pass", "a closing: `hot_loading::*`"),
    ("jetstream.close", "a closing: `hot_loading::*`"),
    ("wake.read-ahead", "a deploy: `hot_loading::*`"),
    ("ahead.fold", "a deploy: `hot_loading::*`"),
    ("deploy.since", "a start with a new model: `hot_loading::at_start`"),
    ("replay.one", "a what-if: `hot_loading::story`"),
    ("rests.check", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.former", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.look", "an audit of such an actor: `hot_loading::uncovered`"),
    ("rests.head", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.one", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.read", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.retire", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("rests.turn", "an actor that no replay covered: `hot_loading::uncovered`"),
    ("replay.actors", "a what-if: `hot_loading::story`"),
    ("replay.some", "a what-if: `hot_loading::story`"),
    ("replay.await-crew", "a shadow replay: `replay::*`"),
    ("replay.await-snapshot", "a shadow replay: `replay::*`"),
    ("replay.await-worker", "a shadow replay: `replay::*`"),
    ("replay.give", "a shadow replay: `replay::*`"),
    ("replay.page", "a shadow replay: `replay::*`"),
    ("replay.quarantines", "a shadow replay: `replay::*`"),
    ("replay.read", "a shadow replay: `replay::*`"),
    ("replay.repaired", "a shadow replay: `replay::*`"),
    ("replay.save-snapshot", "a shadow replay: `replay::*`"),
    ("replay.scan", "a shadow replay: `replay::*`"),
    ("replay.tail-page", "a shadow replay: `replay::*`"),
    ("replay.snapshot", "a shadow replay: `replay::*`"),
    ("replay.take", "a shadow replay: `replay::*`"),
];

/// Places whose steps a host passes while it is given new code: `hot_loading::deaths` kills there.
const DEPLOYS: [&str; 4] = ["order.", "rollout.", "news.", "tally."];

/// Steps at which a host on three replicas dies in a short run.
const REPLICATED: [&str; 3] = ["turn.append", "jetstream.append", "jetstream.fence"];

/// What a host does at the moment of its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The first one starts on an empty store, and deploys.
    Start,
    /// It works.
    Work,
    /// It was told to stop.
    Stop,
    /// The second one starts with what is stored, one actor damaged.
    SecondStart,
    /// It works.
    SecondWork,
}

/// What a death met with.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    /// Commands acknowledged before it.
    acknowledged: usize,
    /// Commands whose outcome it left open.
    open: usize,
}

/// A death.
#[derive(Debug, Clone)]
struct Death {
    step: String,
    side: &'static str,
    nth: u64,
    stage: Stage,
}

/// How often steps were passed, by `STEP:SIDE`, at the end of each stage; rounded down to a power
/// of two, and counted anew by each host.
type Survey = BTreeMap<Stage, BTreeMap<String, u64>>;

#[test]
fn a_host_on_the_embedded_store_may_die_at_any_step() {
    die_everywhere(Kind::Embedded);
}

#[test]
fn a_host_on_jetstream_may_die_at_any_step() {
    let server = NatsServer::start().unwrap();
    die_everywhere(Kind::JetStream(&server));
}

/// With three replicas only what differs from one is taken, unless all is asked for: the append,
/// around which leaders change, and what a fresh read waits for. `make faults-long` takes all.
#[test]
fn a_host_on_three_replicas_may_die_at_any_append() {
    let cluster = NatsCluster::start().unwrap();
    let steps = asked().unwrap_or_else(|| REPLICATED.map(str::to_owned).into());
    die_at(Kind::Replicated(&cluster), &steps);
}

fn die_everywhere(kind: Kind<'_>) {
    die_at(kind, &asked().unwrap_or_default());
}

/// The steps that [`STEPS_VARIABLE`] names, `all` for each.
fn asked() -> Option<Vec<String>> {
    let asked = std::env::var(STEPS_VARIABLE).ok()?;
    let names = asked.split(',').filter(|name| !["", "all"].contains(name));
    Some(names.map(str::to_owned).collect())
}

/// Dies at these steps; at all of them if none is named.
fn die_at(kind: Kind<'_>, steps: &[String]) {
    let survey = survey(kind).unwrap();
    let deaths = deaths(kind, &survey, steps);
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, death)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    deaths.get(number).map(|death| (number, death))
                } {
                    let end = die(kind, number, death);
                    let end = end.with_context(|| format!("{death:?}"));
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push((death, end));
                }
            });
        }
    });
    report(ended.into_inner().unwrap_or_else(PoisonError::into_inner));
}

/// Shows what the deaths met with, and fails if one of them did harm.
fn report(ended: Vec<(&Death, Result<Met>)>) {
    let (all, mut failures) = (ended.len(), Vec::new());
    let (mut sum, mut at_work, mut in_flight) = (Met::default(), 0, 0);
    for (death, end) in ended {
        match end {
            Ok(met) => {
                sum.acknowledged += met.acknowledged;
                sum.open += met.open;
                at_work += usize::from(death.stage == Stage::Work);
                in_flight += usize::from(death.stage == Stage::Work && met.open > 0);
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    println!(
        "{all} deaths, {at_work} of them at work and {in_flight} with commands in flight; {} \
         commands acknowledged, {} left open and settled; {} failures",
        sum.acknowledged,
        sum.open,
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    // All clients may just be reading or putting actors to sleep, which they do between commands:
    // of a few deaths one may find that, of many a tenth.
    let spared = at_work - in_flight;
    assert!(spared <= (at_work / 10).max(1), "too few of the deaths met commands in flight");
}

/// The deaths to die: each step that is asked for, at both sides, in each round.
fn deaths(kind: Kind<'_>, survey: &Survey, asked: &[String]) -> Vec<Death> {
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(1, |text| text.parse().expect("a number"));
    let passed: BTreeSet<&str> = survey
        .values()
        .flat_map(BTreeMap::keys)
        .filter_map(|side| Some(side.split_once(':')?.0))
        .collect();
    let steps = steps::all().unwrap().into_iter().map(|step| step.name);
    let elsewhere = |step: &str| DEPLOYS.iter().any(|place| step.starts_with(place));
    let steps: Vec<String> = steps.filter(|step| kind.has(step) && !elsewhere(step)).collect();
    let (mut deaths, mut never) = (Vec::new(), Vec::new());
    for step in &steps {
        if let Some((_, test)) = ELSEWHERE.iter().find(|(name, _)| name == step) {
            assert!(!passed.contains(step.as_str()), "{step} is passed here, not only by {test}");
            continue;
        }
        if !passed.contains(step.as_str()) {
            never.push(step);
        }
        if asked.is_empty() || asked.contains(step) {
            let sides = |round| ["before", "after"].map(|side| death(step, side, round, survey));
            deaths.extend((0..rounds).flat_map(sides));
        }
    }
    assert!(never.is_empty(), "no host passed {never:?}; see the top of this file");
    deaths
}

/// When a host is to die at `step`: in the midst of its work if it passes it there, else when it
/// comes to it. Each round takes another passage.
fn death(step: &str, side: &'static str, round: u64, survey: &Survey) -> Death {
    let passed = |stage| {
        let counts = survey.get(&stage)?;
        counts.get(&format!("{step}:{side}")).copied()
    };
    let at = |stage, nth| Death { step: step.to_owned(), side, nth, stage };
    // Far apart for rounds that follow each other, and the same in every run.
    let among =
        |from: u64, to: u64| from + (round * 7_919 + u64::from(side == "after")) % (to - from + 1);
    let (start, work) = (passed(Stage::Start).unwrap_or(0), passed(Stage::Work).unwrap_or(0));
    if work >= 4 * start.max(1) {
        // While it starts it comes to it fewer than twice as often as was counted.
        let from = (2 * start).max(work / 4).max(1);
        return at(Stage::Work, among(from, from.max(work / 2)));
    }
    if start > 0 {
        return at(Stage::Start, among(1, start));
    }
    let later = [Stage::Work, Stage::Stop, Stage::SecondStart, Stage::SecondWork];
    let stage = later.into_iter().find(|stage| passed(*stage).is_some());
    at(stage.unwrap_or(Stage::Work), 1)
}

/// Runs hosts through all that hosts do, and tells which steps they passed.
fn survey(kind: Kind<'_>) -> Result<Survey> {
    let place = Place::new(kind, "survey".to_owned())?;
    let (told, mut survey) = (Told::default(), Survey::new());
    let file = |name: &str| place.options.folder().join(name);
    let noting = |options: &HostOptions, file: &Path| {
        options.clone().env("AETHER_STEPS_FILE", &file.to_string_lossy())
    };
    let first = file("first");
    let mut host = noting(&place.options, &first).start()?;
    survey.insert(Stage::Start, counts(&first)?);
    ensure!(told.open_accounts(&host.client()), "the accounts are opened");
    told.under_load(&host.client(), "one", || {
        let (enough, passed) = (told.await_accepted(ENOUGH), counts(&first));
        end(&mut host)?;
        survey.insert(Stage::Work, passed?);
        enough
    })?;
    survey.insert(Stage::Stop, counts(&first)?);

    place.damage(&HURT.parse()?)?;
    let second = file("second");
    let mut host = noting(&place.options.clone().without_models(), &second).start()?;
    survey.insert(Stage::SecondStart, counts(&second)?);
    told.settle(&host.client())?;
    told.under_load(&host.client(), "two", || {
        let (refused, enough) = (refused(&host.client()), told.await_accepted(ENOUGH));
        let passed = counts(&second);
        end(&mut host)?;
        survey.insert(Stage::SecondWork, passed?);
        refused.and(enough)
    })?;
    examine(&place, &told, true)?;
    see_what_is_wrong(&place, &told)?;
    Ok(survey)
}

/// The last count of each `STEP:SIDE` in a file of passed steps.
fn counts(file: &Path) -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(file)?;
    let count = |line: &str| {
        let (side, nth) = line.rsplit_once(':')?;
        Some((side.to_owned(), nth.parse().ok()?))
    };
    text.lines().map(|line| count(line).with_context(|| line.to_owned())).collect()
}

fn end(host: &mut HostProcess) -> Result<()> {
    let status = host.terminate();
    if status.is_err() {
        host.kill()?;
    }
    ensure!(status?.success(), "it did not stop cleanly:\n{}", host.output());
    Ok(())
}

/// Lets a host die, starts another on what it left, and compares.
fn die(kind: Kind<'_>, number: usize, death: &Death) -> Result<Met> {
    let place = Place::new(kind, format!("c{number}"))?;
    let told = Told::default();
    let file = place.options.folder().join("steps");
    let armed = |options: &HostOptions| {
        let Death { step, side, nth, .. } = death;
        let options = options.clone().env("AETHER_CRASH", &format!("{step}:{side}:{nth}"));
        options.env("AETHER_STEPS_FILE", &file.to_string_lossy())
    };
    let hurt = death.stage >= Stage::SecondStart;
    let mut host = if hurt {
        let mut first = place.options.start()?;
        ensure!(told.open_accounts(&first.client()), "the accounts are opened");
        told.under_load(&first.client(), "one", || {
            let enough = told.await_accepted(ACCOUNTS);
            end(&mut first).and(enough)
        })?;
        place.damage(&HURT.parse()?)?;
        armed(&place.options.clone().without_models()).launch()?
    } else {
        armed(&place.options).launch()?
    };
    live(&mut host, &told, death)?;
    let status = host.wait(PATIENCE)?;
    let last = fs::read_to_string(&file).unwrap_or_default();
    let last = last.lines().next_back().unwrap_or_default();
    let wanted = format!("{}:{}:{}", death.step, death.side, death.nth);
    ensure!(
        status.signal() == Some(SIGKILL) && last == wanted,
        "it ended with {status} at {last}; it said:\n{}",
        host.output()
    );
    let met = Met { acknowledged: told.accepted()?, open: told.open() };
    examine(&place, &told, hurt)?;
    Ok(met)
}

/// What turns a true story into another.
type Lie<'a> = &'a dyn Fn(&mut Vec<Sent>);

/// Shows that [`examine`] notices what it is there for: each of these stories is not what happened.
fn see_what_is_wrong(place: &Place<'_>, told: &Told) -> Result<()> {
    let sent = told.sent();
    // One that is not sent again, or the host itself would notice.
    let older = &sent[..sent.len() - 2 * AGAIN];
    let newest = older.iter().rposition(|sent| sent.actor == account(0)).context("a deposit")?;
    let never = |sent: &mut Vec<Sent>| {
        let mut lost = sent[newest].clone();
        lost.version = lost.version.map(|version| version + 1);
        lost.id = "never-sent".to_owned();
        sent.insert(0, lost);
    };
    let unknown = |sent: &mut Vec<Sent>| drop(sent.remove(newest));
    let other = |sent: &mut Vec<Sent>| sent[newest].fields = json!({"amount": 1_000_000});
    let earlier = |sent: &mut Vec<Sent>| sent[newest].version = Some(2);
    let stories: [(&str, Lie<'_>); 4] = [
        ("a command was acknowledged that is not there", &never),
        ("an event is there that nobody asked for", &unknown),
        ("an event is another than was asked for", &other),
        ("a command was acknowledged at another version", &earlier),
    ];
    for (story, plant) in stories {
        let mut sent = sent.clone();
        plant(&mut sent);
        ensure!(
            examine(place, &Told::with(sent), true).is_err(),
            "it was not noticed that {story}"
        );
    }
    Ok(())
}

/// Starts a host and gives it work until it dies.
fn live(host: &mut HostProcess, told: &Told, death: &Death) -> Result<()> {
    if host.wait_until_ready().is_err() {
        // Whether it died as it should is looked at by who called.
        return Ok(());
    }
    let client = host.client();
    let alive = match death.stage {
        Stage::SecondStart | Stage::SecondWork => told.settle(&client).is_ok(),
        _ => told.open_accounts(&client),
    };
    if !alive {
        return Ok(());
    }
    let before = told.accepted()?;
    told.under_load(&client, "dying", || {
        let come = match death.stage {
            Stage::Stop => told.await_accepted(ENOUGH).and_then(|()| host.signal(Signal::TERM)),
            // The answer may be the death that is wanted.
            Stage::SecondWork => refused(&client).or(Ok(())),
            _ => Ok(()),
        };
        let ended = come.and_then(|()| host.wait(PATIENCE));
        if ended.is_err() {
            host.kill()?;
        }
        let accepted = told.accepted()? - before;
        ended.with_context(|| format!("{accepted} commands were acknowledged meanwhile")).map(drop)
    })
}

/// The actor whose log is damaged takes no commands.
fn refused(client: &Client) -> Result<()> {
    let reply = client.command(HURT, "deposit", &json!({"amount": 1}))?;
    ensure!(reply.code()? == "quarantined", "{}", reply.text());
    Ok(())
}

/// Starts a host, asks for everything again that was left open, and compares what it tells and
/// what the store holds with what clients were told.
fn examine(place: &Place<'_>, told: &Told, hurt: bool) -> Result<()> {
    let mut host = place.options.start()?;
    let client = host.client();
    if hurt {
        refused(&client)?;
    }
    told.accepted()?;
    told.settle(&client)?;
    let mut sent = told.sent();
    sent.retain(|sent| sent.actor != HURT);
    for sent in sent.iter().rev().take(AGAIN) {
        let said = version(&send(&client, sent)?).with_context(|| format!("{sent:?}"))?;
        ensure!(sent.version == Some(said), "{sent:?} is now {said}");
    }
    let mut ends = Vec::new();
    for number in 0..ACCOUNTS {
        let actor = account(number);
        let sent: Vec<&Sent> = sent.iter().filter(|sent| sent.actor == actor).collect();
        compare(&client, &actor, &sent).with_context(|| actor.clone())?;
        ends.push((actor.parse::<Address>()?, sent.len() as u64));
    }
    if !hurt {
        feed(&client, &ends)?;
    }
    host.kill()?;
    place.verify(&ends)
}

/// Each command is in the history of its actor once, at the version that was told, and nothing
/// else is.
fn compare(client: &Client, actor: &str, sent: &[&Sent]) -> Result<()> {
    let (mut events, mut from) = (Vec::<Value>::new(), Some(1));
    while let Some(next) = from {
        let page = client.get(&format!("/v1/{actor}/events?from={next}&limit=1000"))?;
        ensure!(page.status == 200, "{}", page.text());
        let mut page = page.json()?;
        events.extend(page["events"].as_array_mut().into_iter().flat_map(std::mem::take));
        from = page["next"].as_u64();
    }
    ensure!(events.len() == sent.len(), "{} events of {} commands", events.len(), sent.len());
    let mut balance = 0;
    for (event, expected) in events.iter().zip(1_u64..) {
        ensure!(event["version"] == expected, "{event} is not version {expected}");
    }
    for sent in sent {
        let version = sent.version.context("every command is settled by now")?;
        let event = version.checked_sub(1).and_then(|at| events.get(at as usize));
        let event = event.with_context(|| format!("acknowledged and lost: {sent:?}"))?;
        let same = event["command"] == sent.id.as_str() && event["data"] == sent.fields;
        ensure!(same, "{sent:?} was acknowledged and there is {event}");
        balance += sent.fields["amount"].as_u64().unwrap_or(0);
    }
    let state = client.get(&format!("/v1/{actor}"))?.json()?;
    ensure!(state["version"] == sent.len(), "{} events and {state}", sent.len());
    ensure!(state["state"]["balance"] == balance, "{balance} were deposited: {state}");
    Ok(())
}

/// The feed holds every event of every actor in order, once.
fn feed(client: &Client, ends: &[(Address, u64)]) -> Result<()> {
    let hurt: Address = HURT.parse()?;
    let all: u64 = ends.iter().map(|(_, version)| version).sum();
    if all == 0 {
        return Ok(());
    }
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut given = 0;
    for line in client.lines("/v1/bank/events")? {
        let event: Value = serde_json::from_str(&line?)?;
        let actor = event["actor"].as_str().unwrap_or_default();
        if actor == hurt.to_string() {
            continue;
        }
        let version = seen.entry(actor.to_owned()).or_default();
        *version += 1;
        ensure!(event["version"] == *version, "{event} came as version {version}");
        given += 1;
        if given == all {
            break;
        }
    }
    for (actor, version) in ends.iter().filter(|(_, version)| *version > 0) {
        let found = seen.get(&actor.to_string());
        ensure!(found == Some(version), "the feed gave {found:?} of {version} events of {actor}");
    }
    ensure!(given == all, "the feed gave {given} of {all} events");
    Ok(())
}
