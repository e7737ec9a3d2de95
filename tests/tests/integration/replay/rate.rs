//! How fast it is. `AETHER_TEST_REPLAY_EVENTS=1000000` takes a million events, which must take less
//! than a minute on a machine that does nothing else; fewer by default, however long they take.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aether::{
    clock,
    deploy::replay::report::Outcome,
    store::{DEFAULT_RECORD_LIMIT, EventStore, embedded::EmbeddedStore, jetstream::JetStreamStore},
};
use aether_tests::{nats_server::NatsServer, workspace};
use futures::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::kit::{Ground, Log, options};
use crate::jetstream::kit::config;

const EVENTS_VARIABLE: &str = "AETHER_TEST_REPLAY_EVENTS";

/// Accounts, and how many are written at once.
const ACCOUNTS: u64 = 10_000;
const AT_ONCE: u64 = 256;

/// The longest that a million events may take.
const PER_MILLION: Duration = Duration::from_secs(60);

/// How many events are asked for.
fn asked() -> Option<u64> {
    std::env::var(EVENTS_VARIABLE).ok().map(|text| text.parse().expect("a number"))
}

/// Processor time that this process has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap());
    Duration::new(seconds, nanos)
}

/// The bank as it is, and with a word more in its model: another model, so all of it is replayed.
fn banks() -> [PathBuf; 2] {
    let model = workspace::bank_model().unwrap();
    let folder = workspace::target_folder().unwrap().join("replay-bank");
    std::fs::create_dir_all(&folder).unwrap();
    let text = std::fs::read_to_string(&model).unwrap();
    let other = folder.join("bank.storm.yaml");
    std::fs::write(&other, format!("{text}\n# as it would be\n")).unwrap();
    std::fs::copy(model.with_file_name("bank.wasm"), folder.join("bank.wasm")).unwrap();
    [model, other]
}

async fn measure(store: Arc<dyn EventStore>, name: &str) {
    let ground = Ground::on(store);
    let [old, new] = banks();
    let (old, new) = (ground.served(old, 1).await, ground.served(new, 2).await);
    let (events, model) = (asked().unwrap_or(20_000), old.model.digest);
    let accounts = ACCOUNTS.min(events / 10);
    let writers = (0..AT_ONCE).map(|writer| {
        let mut own: Vec<Log> = (writer..accounts)
            .step_by(usize::try_from(AT_ONCE).unwrap())
            .map(|n| format!("bank/account/account-{n}").parse().unwrap())
            .map(|actor| Log::new(&ground, &actor, model))
            .collect();
        tokio::spawn(async move {
            for log in &mut own {
                log.write(&[("opened", json!({ "owner": "Alice" }))]).await;
            }
            // All accounts are used in turn, so none has its records together.
            for n in 1..events / accounts {
                for log in &mut own {
                    log.write(&[("deposited", json!({ "amount": n }))]).await;
                }
            }
        })
    });
    let begun = clock::now();
    join_all(writers).await.into_iter().for_each(|written| written.unwrap());
    let wrote = begun.elapsed();
    let before = processor_time();
    let report = ground.replay(&old, &new, &options()).await;
    let processor = processor_time() - before;
    let events = report.findings.events;
    println!(
        "{name}: {events} events of {accounts} accounts written in {wrote:.1?}, replayed in {:.1?} ({processor:.1?} of processor): {:.0} events/s; {} snapshots",
        report.took,
        events as f64 / report.took.as_secs_f64(),
        report.kept.written,
    );
    assert_eq!((report.outcome(), report.findings.covered), (Outcome::Passed, accounts));
    assert_eq!(events, report.pairs.values().map(|events| events.count).sum::<u64>());
    if asked().is_some() {
        let most = PER_MILLION.mul_f64(events as f64 / 1e6);
        assert!(report.took < most, "it took {:?}", report.took);
    }
    ground.env.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_take_less_than_a_minute_on_the_embedded_store() {
    measure(Arc::new(EmbeddedStore::in_memory().await.unwrap()), "embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_take_less_than_a_minute_on_jetstream() {
    let server = NatsServer::start().unwrap();
    let config = aether::config::NatsConfig { partitions: 8, ..config(&server.url()) };
    let store = JetStreamStore::open(&config, "rate", DEFAULT_RECORD_LIMIT).await.unwrap();
    measure(Arc::new(store), "jetstream").await;
}
