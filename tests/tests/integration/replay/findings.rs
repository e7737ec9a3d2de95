//! What is found.

use std::sync::Arc;

use aether::{
    address::Address,
    clock,
    deploy::replay::{
        self, Options,
        difference::Change,
        findings::{Failed, Verdict},
        report::{Outcome, Report},
    },
    history,
    json::Packed,
    ledger::Ledger,
    record::{Chain, Damage, Position},
    served::Realm,
    snapshot,
    store::{DEFAULT_RECORD_LIMIT, Freshness, Reach, jetstream::JetStreamStore},
};
use aether_tests::{in_process, nats_server::NatsServer};
use aether_wit::Digest;
use tokio_util::sync::CancellationToken;

use super::kit::{self, Ground, Log, fill, options, till};
use crate::jetstream::kit::config;

/// Number of tills in [`fill`].
const TILLS: u64 = 45;

fn failed(report: &Report) -> Vec<&Failed> {
    report.findings.failures.first.iter().collect()
}

/// What [`fill`]'s past must give when it is taken from the first code to the second.
fn assert_second(report: &Report) {
    assert_eq!(report.outcome(), Outcome::Refused, "{}", report.human());
    assert_eq!((report.actors, report.findings.covered), (TILLS, TILLS));
    let [poison] = failed(report)[..] else { panic!("{}", report.human()) };
    assert_eq!((poison.actor.as_str(), poison.version), ("shop/till/poison", 7));
    assert_eq!((poison.kind, poison.event.as_deref()), ("trap", Some("sold")));
    assert!(poison.detail.contains("evolve"), "{}", poison.detail);
    assert_eq!((report.findings.failures.count(), report.findings.shared.count()), (1, 0));
    assert_eq!((report.findings.differing, report.findings.differences.len()), (2, 1));
    let (kind, differing) = report.findings.differences.first_key_value().unwrap();
    assert_eq!((kind.place.as_str(), kind.change), ("last", Change::Changed));
    let examples: Vec<_> = differing
        .examples
        .iter()
        .map(|it| {
            (&*it.actor, it.version, it.difference.old.as_deref(), it.difference.new.as_deref())
        })
        .collect();
    let (old, new) = (Some("\"loud\""), Some("\"LOUD\""));
    assert_eq!(examples, [("shop/till/loud", 8, old, new), ("shop/till/louder", 8, old, new)]);
    let (pair, events) = report.pairs.first_key_value().unwrap();
    assert_eq!((report.pairs.len(), pair.event.as_str()), (1, "sold"));
    let sales: u64 = (0..40).map(|n| 3 + n).sum::<u64>() + 600 + 4 * 8;
    assert_eq!(events.count, sales);
    assert_eq!((report.rest, report.readings), (None, 1));
    // Only the long till has as many sales as a snapshot needs.
    assert_eq!((report.kept.written, report.kept.failed), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_and_other_states_are_found_with_actor_and_version() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let mut told = 0;
    let cancel = CancellationToken::new();
    let all = options();
    let report = replay::run(&ground.env, &old, &new, &all, cancel, |_| told += 1).await.unwrap();
    assert_second(&report);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["outcome"], "refused");
    assert_eq!(json["failures"]["first"][0]["version"], 7);
    assert_eq!(json["differences"][0]["examples"][0]["new"], "\"LOUD\"");
    let human = report.human();
    for words in ["shop/till/poison at version 7", "last changed in 2 actors", "- \"loud\""] {
        assert!(human.contains(words), "{words}: {human}");
    }
    // The snapshot is what the new code takes up, and the old code's is not pushed out by it.
    let key = new.realms["till"].snapshot_key;
    let kept = ground.env.store.snapshot(&till("long"), &key).await.unwrap().unwrap();
    let plan = &new.realms["till"].plans().state;
    let read = snapshot::decode(&till("long"), plan, &kept).unwrap();
    assert_eq!(read.chain.version, 600);
    assert_eq!(ground.env.store.head(&till("long")).await.unwrap(), kept.position);
    assert_eq!(ground.env.store.snapshot(&till("poison"), &key).await.unwrap(), None);
    // The same code is nothing to look at.
    let same = ground.replay(&old, &old, &options()).await;
    assert_eq!((same.outcome(), same.findings.covered), (Outcome::Passed, 0));
    assert_eq!(same.unchanged, ["till"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_found_and_what_both_fail_at_is_apart() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::second(), 1).await, ground.served(kit::narrow(), 2).await);
    fill(&ground, old.model.digest).await;
    let report = ground.replay(&old, &new, &options()).await;
    let [many] = failed(&report)[..] else { panic!("{}", report.human()) };
    assert_eq!((many.actor.as_str(), many.version), ("shop/till/many", 4));
    assert_eq!((many.kind, many.event.as_deref()), ("undecodable", Some("sold")));
    assert!(many.detail.contains("count"), "{}", many.detail);
    let shared: Vec<_> = report.findings.shared.first.iter().collect();
    assert_eq!((shared.len(), &*shared[0].actor, shared[0].version), (1, "shop/till/poison", 7));
    let kinds: Vec<_> = report
        .findings
        .differences
        .iter()
        .map(|(kind, it)| (kind.place.as_str(), kind.change, it.actors, it.examples.len()))
        .collect();
    let others = TILLS - 2;
    assert_eq!(kinds, [("kinds", Change::Added, others, 5), ("last", Change::Removed, others, 5)]);
    // Backwards, what only the served code fails at is healed.
    let back = ground.served(kit::first(), 2).await;
    let report = ground.replay(&old, &back, &options()).await;
    assert_eq!((report.findings.healed, report.outcome()), (1, Outcome::StateChanges));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_quarantined_actors_are_left_out_and_named() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let mut damaged = Log::new(&ground, &till("damaged"), old.model.digest);
    damaged.sell("tea", 1).await;
    damaged.append("no record".into(), 2, 1).await;
    let mut marked = Log::new(&ground, &till("marked"), old.model.digest);
    let position = marked.sell("poison", 1).await;
    ground.env.quarantine(&till("marked"), &Damage::Missing { position }).await;
    let report = ground.replay(&old, &new, &options()).await;
    let skipped: Vec<_> =
        report.findings.first_skipped.iter().map(|it| (&*it.actor, &*it.kind)).collect();
    assert_eq!(skipped, [("shop/till/damaged", "unreadable"), ("shop/till/marked", "quarantined")]);
    assert_eq!((report.findings.skipped, report.findings.covered), (2, TILLS));
    assert_eq!(report.findings.failures.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_since_is_looked_at_alone() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let before = ground.replay(&old, &new, &options()).await;
    for (id, item) in [("new", "tea"), ("late", "poison")] {
        let mut log = Log::new(&ground, &till(id), old.model.digest);
        log.sell("tea", 1).await;
        log.sell(item, 1).await;
    }
    let since = async |reached: &Reach| {
        let cancel = CancellationToken::new();
        let all = options();
        replay::since(&ground.env, &old, &new, reached, &all, cancel, |_| {}).await.unwrap()
    };
    let report = since(&before.reached).await;
    assert_eq!((report.findings.covered, report.findings.failures.count()), (2, 1));
    assert_eq!((&*failed(&report)[0].actor, failed(&report)[0].version), ("shop/till/late", 2));
    let nothing = since(&report.reached).await;
    assert_eq!((nothing.findings.covered, nothing.outcome()), (0, Outcome::Passed));
    // One by one they are judged the same.
    let one = async |id: &str| {
        let cancel = CancellationToken::new();
        replay::one(&ground.env, &old, &new, &till(id), cancel).await.unwrap()
    };
    assert_eq!(one("new").await, Verdict::Same);
    assert_eq!(one("never used").await, Verdict::Same);
    assert!(matches!(one("late").await, Verdict::Fails(failed) if failed.version == 2));
    assert!(matches!(one("loud").await, Verdict::Differs(8, _)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_since_goes_on_behind_snapshots_that_the_log_holds() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let before = ground.replay(&old, &new, &options()).await;
    // The new code's snapshot of the long till stands at version 600; the old code's lower.
    let (long, loud) = (till("long"), till("loud"));
    let realm = &old.realms["till"];
    let chain = chain_at(&ground, &long, 300).await;
    let until = clock::now() + in_process::PATIENCE;
    let view = history::state_at(&ground.env, realm, &long, 300, until).await.unwrap();
    keep(&ground, realm, &chain, &long, &view.state).await;
    let mut log = Log::go_on(&ground, &long, old.model.digest).await;
    log.sell("tea", 1).await;
    log.sell("poison", 1).await;
    // Snapshots that stand on nothing are passed over.
    let end = chain_at(&ground, &loud, 4).await;
    let nothing = Chain::at(&loud, 4, end.position, Digest::of("another log"));
    for served in [&old, &new] {
        keep(&ground, &served.realms["till"], &nothing, &loud, &view.state).await;
    }
    Log::go_on(&ground, &loud, old.model.digest).await.sell("loud", 1).await;
    let (cancel, all) = (CancellationToken::new(), options());
    let reached = &before.reached;
    let report =
        replay::since(&ground.env, &old, &new, reached, &all, cancel, |_| {}).await.unwrap();
    assert_eq!((report.findings.covered, report.findings.differing), (2, 1));
    let [failed] = failed(&report)[..] else { panic!("{}", report.human()) };
    assert_eq!((failed.actor.as_str(), failed.version), ("shop/till/long", 602));
    let differing = report.findings.differences.values().next().unwrap();
    assert_eq!(differing.examples.first().unwrap().version, 9);
}

/// The end of an actor's log when it had this version.
async fn chain_at(ground: &Ground, actor: &Address, version: u64) -> Chain {
    let page = ground.env.store.read(actor, Position(1), Freshness::Leader).await.unwrap();
    let mut chain = Chain::start(actor);
    let mut records = page.records.iter();
    while chain.version < version {
        chain.accept(records.next().unwrap()).unwrap();
    }
    chain
}

/// Keeps a snapshot of the code of `realm`.
async fn keep(ground: &Ground, realm: &Realm, chain: &Chain, actor: &Address, state: &Packed) {
    let (key, plan) = (realm.snapshot_key, &realm.plans().state);
    let kept = snapshot::encode(actor, key, plan, chain, state, &Ledger::default()).unwrap();
    ground.env.store.save_snapshot(actor, kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_nobody_wants_it() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let all = options();
    let cancelled = replay::run(&ground.env, &old, &new, &all, cancel, |_| {}).await;
    assert!(cancelled.unwrap_err().detail.contains("cancelled"));
    assert_eq!(ground.env.store.newest_snapshot(&till("long")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_gives_the_same() {
    let server = NatsServer::start().unwrap();
    let config = config(&server.url());
    let store = JetStreamStore::open(&config, "replayed", DEFAULT_RECORD_LIMIT).await.unwrap();
    let ground = Ground::on(Arc::new(store));
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let begun = clock::now();
    let report = ground.replay(&old, &new, &options()).await;
    assert_second(&report);
    assert!(begun.elapsed() >= report.took);
    let tiny = Options { memory: 4096, ..options() };
    let again = ground.replay(&old, &new, &tiny).await;
    assert!(again.readings > 1);
    assert_eq!((again.findings, again.pairs), (report.findings, report.pairs));
    ground.env.store.close().await;
}
