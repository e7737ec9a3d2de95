//! One account in five languages: the same scenarios, one log, no difference.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use aether::{
    clock,
    deploy::replay::{Options, report::Outcome},
    json::{self, Cases, PackedCase, Reader},
    vm::{Behaviour, Budget, Context, Decision},
};
use aether_tests::{
    host_process::{HostOptions, aether},
    languages::{self, Language},
    workspace,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    hot_loading::{kit::active, load::Load},
    replay::kit::{Ground, Log},
};

/// Environment variable with the number of random histories.
const HISTORIES_VARIABLE: &str = "AETHER_TEST_HISTORIES";

/// How many there are by default.
const HISTORIES: usize = 200;

/// Clients of the host whose component changes its language.
const CLIENTS: usize = 4;

/// Answers between two deploys.
pub const SOME: usize = 50;

/// The account that every language works on.
const POLYGLOT: &str = "bank/account/polyglot";

/// Events that one call folds, as when an actor wakes.
const BATCH: usize = 256;

/// Events that one instance folds. In Go it was full after 1.1 million, when its collector came to no
/// end between two calls.
const MANY: usize = 1 << 23;

/// How long it folds at most.
const ENOUGH: Duration = Duration::from_secs(4);

/// Longest that a call may take.
const LONG: Duration = Duration::from_secs(30);

/// Compiles the accounts of all languages that are there.
fn accounts() -> Vec<Language> {
    let there = Language::there().unwrap();
    let components: Vec<_> = there.iter().map(|language| language.account().unwrap()).collect();
    languages::compile(&components).unwrap();
    there
}

#[test]
fn every_language_passes_the_very_same_scenarios() {
    let model = workspace::bank_model().unwrap();
    for language in accounts() {
        let mut command = aether(workspace::root()).unwrap();
        command.arg("test").arg(&model).arg(language.account().unwrap()).arg("--json");
        command.env("AETHER_CACHE_DIR", languages::cache().unwrap());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let results: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{language}: {error}: {said}"));
        assert_eq!(results["failed"], 0, "{language}: {results:#}");
        assert_eq!(results["untouched"], json!([]), "{language}");
        let tested = results["components"][0]["file"].as_str().unwrap();
        assert_eq!(tested, language.account().unwrap().display().to_string());
    }
}

#[test]
fn a_log_is_continued_in_any_language() {
    let there = accounts();
    let cache = languages::cache().unwrap();
    let options = HostOptions::bank().unwrap().env("AETHER_CACHE_DIR", cache.to_str().unwrap());
    let host = options.start().unwrap();
    let accepted = |name: &str, fields: Value| {
        let reply = host.client().command(POLYGLOT, name, &fields).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json().unwrap()
    };
    accepted("open", json!({ "owner": "Alice" }));
    let load = Load::start(&[host.client()], CLIENTS);
    load.await_answers(SOME);
    let begun = clock::now();
    let mut written = BTreeMap::new();
    for (number, &language) in (1..).zip(&there) {
        if language != Language::Rust {
            deploy(&host.url(), language);
        }
        assert_eq!(active(&host), number, "{language}");
        accepted("deposit", json!({ "amount": 100 }));
        accepted("set-limits", json!({ "overdraft": number * 10, "per-withdrawal": 110 }));
        // All of the overdraft, which grew by 10: the next language has to pay it back first.
        let told = accepted("withdraw", json!({ "amount": 110 }));
        written.insert(language.name(), told["version"].as_u64().unwrap());
        let refused = host.client().command(POLYGLOT, "withdraw", &json!({ "amount": 1 })).unwrap();
        assert_eq!(refused.status, 422, "{language}: {}", refused.text());
        load.await_answers(SOME);
    }
    let ended = clock::now();
    load.finish().report("an account in five languages", begun, ended);
    let state = host.client().get(&format!("/v1/{POLYGLOT}")).unwrap().json().unwrap();
    let last = there.len() as u64 * 10;
    assert_eq!(state["state"]["overdrawn"], last, "{state}");
    assert_eq!(state["state"]["balance"], 0, "{state}");
    assert_eq!(state["version"], 1 + 3 * there.len() as u64, "{written:?}");
    let audit = run(&["audit"], &host.url());
    assert!(audit.0, "{}", audit.1);
}

/// `aether ARGUMENTS` against a host: whether it succeeded, and what it said.
fn run(arguments: &[&str], url: &str) -> (bool, String) {
    let mut command = aether(workspace::root()).unwrap();
    let output = command.args(arguments).args(["--url", url]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Deploys the bank with the account in this language.
pub fn deploy(url: &str, language: Language) {
    let model = language.bank().unwrap();
    let (done, said) = run(&["deploy", model.to_str().unwrap()], url);
    assert!(done, "{language}: {said}");
    assert!(said.contains("nothing differs"), "{language}: {said}");
}

/// A random number, often one at which sums overflow.
fn amount(random: &mut StdRng) -> u64 {
    match random.random_range(0..8) {
        0 => u64::MAX - random.random_range(0..3),
        1 => (1 << 53) - 1 + random.random_range(0..3),
        2 => (1 << 63) - 1 + random.random_range(0..3),
        3 => random.random_range(0..3),
        _ => random.random_range(0..1000),
    }
}

fn limit(random: &mut StdRng) -> Option<u64> {
    random.random_bool(0.5).then(|| amount(random))
}

fn owner(random: &mut StdRng) -> &'static str {
    ["Alice", "", "\u{1f469}\u{200d}\u{1f467}", "B\0b"][random.random_range(0..4)]
}

/// Something that may have happened, whether a decision would give it or not.
fn event(random: &mut StdRng) -> (&'static str, Value) {
    match random.random_range(0..10) {
        0 => ("opened", json!({ "owner": owner(random) })),
        1..=4 => ("deposited", json!({ "amount": amount(random) })),
        5..=7 => ("withdrawn", json!({ "amount": amount(random) })),
        8 => {
            let (overdraft, most) = (amount(random), limit(random));
            ("limits-set", json!({ "overdraft": overdraft, "per-withdrawal": most }))
        }
        _ => ("closed", json!({})),
    }
}

fn history(random: &mut StdRng) -> Vec<(&'static str, Value)> {
    let length = random.random_range(1..20);
    // Most accounts are opened first.
    let opened = random.random_bool(0.8).then(|| ("opened", json!({ "owner": owner(random) })));
    opened.into_iter().chain((0..length).map(|_| event(random))).collect()
}

/// Whether this is `make languages`.
pub fn asked_for_all() -> bool {
    std::env::var_os(HISTORIES_VARIABLE).is_some()
}

fn histories() -> usize {
    let asked = std::env::var(HISTORIES_VARIABLE).ok();
    asked.map_or(HISTORIES, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_languages_differ_in_the_state_of_any_history() {
    let there = tokio::task::spawn_blocking(accounts).await.unwrap();
    let ground = Ground { sandbox: languages::sandbox().unwrap(), ..Ground::in_memory().await };
    let mut all = Vec::new();
    for (number, &language) in (1..).zip(&there) {
        let model = tokio::task::spawn_blocking(move || language.bank().unwrap()).await.unwrap();
        all.push((language, ground.served(model, number).await));
    }
    let mut random = StdRng::seed_from_u64(5);
    let count = histories();
    for n in 0..count {
        let actor = format!("bank/account/random-{n}").parse().unwrap();
        let mut log = Log::new(&ground, &actor, all[0].1.model.digest);
        for events in history(&mut random).chunks(3) {
            log.write(events).await;
        }
    }
    let options = Options { workers: 2, snapshots: false, ..Options::default() };
    for (one, old) in &all {
        for (other, new) in all.iter().filter(|(other, _)| other != one) {
            let report = ground.replay(old, new, &options).await;
            assert_eq!(report.outcome(), Outcome::Passed, "{one}, {other}: {}", report.human());
            assert_eq!(report.findings.covered, count as u64, "{one}, {other}");
        }
    }
}

/// A command with its fields.
fn command(random: &mut StdRng) -> (&'static str, Value) {
    match random.random_range(0..10) {
        0 => ("open", json!({ "owner": owner(random) })),
        1..=3 => ("deposit", json!({ "amount": amount(random) })),
        4..=6 => ("withdraw", json!({ "amount": amount(random) })),
        7 | 8 => {
            let (overdraft, most) = (amount(random), limit(random));
            ("set-limits", json!({ "overdraft": overdraft, "per-withdrawal": most }))
        }
        _ => ("close", json!({})),
    }
}

/// A command, event or rejection with its fields, as calls take it.
fn case(cases: &Cases, name: &str, fields: &Value) -> PackedCase {
    let case = cases.index_of(name).unwrap();
    let (_, plan) = cases.get(case).unwrap();
    let fields = Reader::Caller.read(plan, fields.to_string().as_bytes()).unwrap();
    PackedCase { case, fields }
}

/// What a command does at the end of a history in one language.
async fn decided(
    behaviour: &Arc<Behaviour>,
    history: &[(&str, Value)],
    (name, fields): &(&str, Value),
) -> Decision {
    let plans = behaviour.plans();
    let events = history.iter().map(|(name, fields)| case(&plans.events, name, fields));
    let events: Vec<_> = events.collect();
    let command = case(&plans.commands, name, fields);
    let mut guest = behaviour.guest(&POLYGLOT.parse().unwrap());
    let mut budget = Budget::new(LONG);
    let initial = guest.initial(&mut budget).await.unwrap();
    let state = guest.evolve(&initial, &events, &mut budget).await.unwrap();
    let context = Context {
        version: events.len() as u64,
        command_id: "c".to_owned(),
        correlation_id: "c".to_owned(),
        at: 0,
        by: None,
        seed: 0,
    };
    guest.decide(&context, &state, &command, &mut budget).await.unwrap()
}

/// The account in every language that is there.
async fn behaviours() -> Vec<(Language, Arc<Behaviour>)> {
    let there = tokio::task::spawn_blocking(accounts).await.unwrap();
    let sandbox = languages::sandbox().unwrap();
    let text = fs::read(workspace::bank_model().unwrap()).unwrap();
    let (model, _) = aether_wit::read("bank.storm.yaml", &text).unwrap();
    let model = Arc::new(model);
    let mut all = Vec::new();
    for language in there {
        let bytes = fs::read(language.account().unwrap()).unwrap();
        let component = sandbox.load(bytes.into()).await.unwrap();
        all.push((language, component.behaviour(&model, "account").unwrap()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_languages_decide_otherwise() {
    let all = behaviours().await;
    let mut random = StdRng::seed_from_u64(6);
    for _ in 0..histories() {
        let (history, command) = (history(&mut random), command(&mut random));
        let (_, rust) = &all[0];
        let wanted = decided(rust, &history, &command).await;
        for (language, behaviour) in &all[1..] {
            let got = decided(behaviour, &history, &command).await;
            assert_eq!(got, wanted, "{language}: {command:?} after {history:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folding_without_a_pause_fills_no_instance() {
    for (language, behaviour) in behaviours().await {
        let plans = behaviour.plans();
        let mut guest = behaviour.guest(&POLYGLOT.parse().unwrap());
        let opened = case(&plans.events, "opened", &json!({ "owner": "Alice" }));
        let batch = vec![case(&plans.events, "deposited", &json!({ "amount": 1 })); BATCH];
        let mut budget = Budget::new(LONG);
        let initial = guest.initial(&mut budget).await.unwrap();
        let mut state = guest.evolve(&initial, &[opened], &mut budget).await.unwrap();
        let begun = clock::now();
        let mut folded = 0;
        // Some of them are slow, and what fills an instance does so per event.
        while folded < MANY && clock::now() - begun < ENOUGH {
            let mut budget = Budget::new(LONG);
            let after = guest.evolve(&state, &batch, &mut budget).await;
            state = after.unwrap_or_else(|fault| panic!("{language}, event {folded}: {fault:?}"));
            folded += BATCH;
        }
        let state: Value = serde_json::from_str(json::write(&plans.state, &state).get()).unwrap();
        assert_eq!(state["balance"].as_u64().unwrap(), folded as u64, "{language}");
    }
}
