//! How fast it is: `aether deploy --all` of a model with a word more, on a host that serves a past
//! of many events. `AETHER_TEST_REPLAY_EVENTS=1000000` takes a million, which must take less than a
//! minute on a machine that does nothing else; fewer by default, however long they take.
//!
//! `AETHER_TEST_REPLAY_STORES=FOLDER` keeps the stores there and takes what it finds, so that
//! builds can be compared on one past.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use aether::{
    clock,
    config::NatsConfig,
    store::{
        DEFAULT_RECORD_LIMIT, EventStore,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
};
use aether_tests::{
    host_process::{HostOptions, run_cli},
    nats_server::{NatsServer, Settings},
    watchdog::Folder,
    workspace,
};
use aether_wit::Digest;
use futures::future::join_all;
use serde_json::json;

use super::kit::{Ground, Log};
use crate::jetstream::kit::config;

const EVENTS_VARIABLE: &str = "AETHER_TEST_REPLAY_EVENTS";
const STORES_VARIABLE: &str = "AETHER_TEST_REPLAY_STORES";

/// Accounts, and how many are written at once.
const ACCOUNTS: u64 = 10_000;
const AT_ONCE: u64 = 256;

/// The longest that a million events may take.
const PER_MILLION: Duration = Duration::from_secs(60);

/// How many events are asked for.
fn asked() -> Option<u64> {
    std::env::var(EVENTS_VARIABLE).ok().map(|text| text.parse().expect("a number"))
}

/// How many there are, and of how many accounts.
fn size() -> (u64, u64) {
    let events = asked().unwrap_or(20_000);
    (events, ACCOUNTS.min(events / 10))
}

/// The bank with a word more in its model, a new one each time: another model, so all of the past
/// is replayed.
fn other_bank(folder: &Folder) -> PathBuf {
    let model = workspace::bank_model().unwrap();
    let text = fs::read_to_string(&model).unwrap();
    let other = folder.path().join("bank.storm.yaml");
    fs::write(&other, format!("{text}\n# as it would be at {}\n", clock::unix_ms())).unwrap();
    fs::copy(model.with_file_name("bank.wasm"), folder.path().join("bank.wasm")).unwrap();
    other
}

/// Writes the past of the accounts, which are used in turn: none has its records together.
async fn write(store: Arc<dyn EventStore>) {
    let ground = Ground::on(store);
    let (events, accounts) = size();
    let model = Digest::of(fs::read(workspace::bank_model().unwrap()).unwrap());
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
            for n in 1..events / accounts {
                for log in &mut own {
                    log.write(&[("deposited", json!({ "amount": n }))]).await;
                }
            }
        })
    });
    join_all(writers).await.into_iter().for_each(|written| written.unwrap());
    ground.env.store.close().await;
}

/// Ticks per second of the times in `/proc`, on every Linux.
const TICKS: u64 = 100;

/// Processor time that the process has had.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let ticks = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum::<u64>();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Deploys on a host with the past, whose server is the process `server`.
fn measure(options: &HostOptions, name: &str, server: Option<u32>) {
    let host = options.start().unwrap();
    let folder = Folder::new("aether-rate-").unwrap();
    let (model, url) = (other_bank(&folder), host.url());
    let spent = || (processor_time(host.pid()), server.map(processor_time));
    let (before, begun) = (spent(), clock::now());
    let arguments = ["deploy", model.to_str().unwrap(), "--all", "--url", &url];
    let deployed = run_cli(folder.path(), arguments).unwrap();
    let (took, after) = (begun.elapsed(), spent());
    let said = String::from_utf8_lossy(&deployed.stdout).into_owned();
    assert!(deployed.status.success(), "{said}{}", String::from_utf8_lossy(&deployed.stderr));
    let (events, accounts) = size();
    let all = format!("{accounts} of {accounts} actors, {events} events in ");
    let line = said.lines().find_map(|line| line.split_once(&all));
    let (_, replayed) = line.unwrap_or_else(|| panic!("`{all}` is not said: {said}"));
    println!(
        "{name}: {events} events of {accounts} accounts replayed in {replayed}; the deploy took {took:.1?} and {:.1?} of processor, the server's {:.1?}; most memory {} MiB",
        after.0 - before.0,
        after.1.zip(before.1).map_or(Duration::ZERO, |(after, before)| after - before),
        host.peak_bytes().unwrap() >> 20,
    );
    if asked().is_some() {
        let most = PER_MILLION.mul_f64(events as f64 / 1e6);
        assert!(took < most, "it took {took:?}");
    }
}

/// Where the store `name` is, and whether it is written.
fn place(name: &str, own: &Folder) -> (PathBuf, bool) {
    let Some(stores) = std::env::var_os(STORES_VARIABLE) else {
        return (own.path().join(name), false);
    };
    let folder = PathBuf::from(stores).join(format!("{name}-{}", size().0));
    let written = folder.is_dir();
    fs::create_dir_all(&folder).unwrap();
    (folder, written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_take_less_than_a_minute_on_the_embedded_store() {
    let own = Folder::new("aether-rate-").unwrap();
    let (folder, written) = place("embedded", &own);
    if !written {
        let store = EmbeddedStore::open(&folder, EmbeddedOptions::default()).await.unwrap();
        write(Arc::new(store)).await;
    }
    measure(&HostOptions::bank().unwrap().data(folder), "embedded", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_take_less_than_a_minute_on_jetstream() {
    let own = Folder::new("aether-rate-").unwrap();
    let (folder, written) = place("jetstream", &own);
    let settings = Settings { storage: Some(folder), ..Settings::default() };
    let server = NatsServer::start_with(settings).unwrap();
    if !written {
        let config = NatsConfig { partitions: 8, ..config(&server.url()) };
        let store = JetStreamStore::open(&config, "aether", DEFAULT_RECORD_LIMIT).await.unwrap();
        write(Arc::new(store)).await;
    }
    measure(&HostOptions::bank().unwrap().nats(server.url()), "jetstream", server.pid());
}
