//! Orders that are not carried out: each says why and what to do, and nothing changes.

use std::{fs, path::PathBuf, thread};

use aether_tests::{
    host_process::{self, HostOptions, HostProcess},
    nats_server::NatsServer,
    workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    kit::{Ended, Stage, aether, deploy, deploy_file, rollouts},
    versions::{FILE, Version},
};
use crate::crash_points::place::Kind;

const ALICE: &str = "bank/account/alice";

/// Orders that are given at once.
const AT_ONCE: usize = 4;

/// How often it is tried to have orders meet.
const TRIES: u64 = 10;

/// A component that wants what nobody gives.
const GREEDY: &str = r#"(component
    (import "evil:world/door" (instance (export "open" (func)))))"#;

/// A model beside a component, in a folder of its own.
struct Written(TempDir);

impl Written {
    fn new(model: &str, component: &[u8]) -> Self {
        let folder = TempDir::with_prefix("aether-model-").unwrap();
        fs::write(folder.path().join(FILE), model).unwrap();
        fs::write(folder.path().join("bank.wasm"), component).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(FILE)
    }
}

/// A host with an account, and what must not change.
fn host(options: &HostOptions) -> (HostProcess, Value) {
    let host = options.start().unwrap();
    let opened = host.client().command(ALICE, "open", &json!({"owner": "Alice"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    let before = seen(&host);
    (host, before)
}

fn seen(host: &HostProcess) -> Value {
    let state = host.client().get(&format!("/v1/{ALICE}")).unwrap();
    json!([rollouts(host)["deployments"], state.json().unwrap()])
}

#[test]
fn a_bundle_that_does_not_fit_is_refused_and_changes_nothing() {
    let (host, before) = host(&HostOptions::bank().unwrap());
    let model = fs::read_to_string(Version::V1.model()).unwrap();
    let journal = workspace::journal_model().unwrap().with_file_name("journal.wasm");
    let journal = fs::read(journal).unwrap();
    let greedy = wat::parse_str(GREEDY).unwrap();
    let broken = model.replace("owner: string", "owner: strin");
    let cases: [(&str, &[u8], i32, &[&str]); 4] = [
        (&broken, b"", 2, &["bank.storm.yaml:", "strin"]),
        (&model, &journal, 1, &["exports", "REFUSED", "bank:model/account", "`components:`"]),
        (&model, &greedy, 1, &["exports", "REFUSED", "evil:world/door"]),
        (&model, b"no component", 1, &["exports", "REFUSED", "bank.wasm"]),
    ];
    for (model, component, status, words) in cases {
        let written = Written::new(model, component);
        deploy_file(&host, &written.file(), &[]).expect(status, words);
        // What cannot be called cannot be served, whoever takes that on.
        deploy_file(&host, &written.file(), &["--force", "exports"]).expect(status, words);
        assert_eq!(seen(&host), before, "{words:?}");
    }
    let wrong =
        ["REFUSED", "an account cannot be overdrawn", "gate `scenarios`", "nothing was changed"];
    deploy(&host, Version::Wrong, &[]).expect(1, &wrong);
    deploy(&host, Version::Fee, &["--dry-run"]).expect(0, &["deployment #2", "--dry-run"]);
    deploy(&host, Version::V1, &[]).expect(0, &["is active already", "nothing was changed"]);
    aether(&host, &["rollback"]).expect(2, &["is the first of context `bank`"]);
    aether(&host, &["rollback", "bank", "--to", "7"]).expect(2, &["no deployment 7"]);
    assert_eq!(seen(&host), before);
    deploy(&host, Version::Wrong, &["--force", "scenarios"])
        .expect(0, &["and forced", "is active"]);
    aether(&host, &["deployments"]).expect(0, &["forced: scenarios"]);
}

#[test]
fn an_order_that_is_too_large_is_refused() {
    let options = HostOptions::bank().unwrap().args(["--deploy-bytes", "32KiB"]);
    let (host, before) = host(&options);
    deploy(&host, Version::Fee, &[]).expect(2, &["too-large", "deploy-bytes"]);
    assert_eq!(seen(&host), before);
}

#[test]
fn only_who_has_a_token_deploys() {
    let options = HostOptions::bank().unwrap();
    let tokens = options.folder().join("tokens");
    fs::write(&tokens, "alice 0123456789abcdef0123456789abcdef\n").unwrap();
    let host = options.args(["--token-file".as_ref(), tokens.as_os_str()]).start().unwrap();
    let ask = |token: &str, arguments: &[&str]| -> Ended {
        let mut command = host_process::aether(host.options().folder()).unwrap();
        command.args(arguments).args(["--url", host.url().as_str()]);
        command.env("AETHER_TOKEN", token).output().unwrap().into()
    };
    let fee = Version::Fee.model();
    let fee = ["deploy", fee.to_str().unwrap()];
    let right = "0123456789abcdef0123456789abcdef";
    for wrong in ["fedcba9876543210fedcba9876543210", ""] {
        ask(wrong, &fee).expect(2, &["unauthenticated"]);
        ask(wrong, &["rollback", "bank"]).expect(2, &["unauthenticated"]);
    }
    let shown = ask(right, &["deployments"]);
    assert!(shown.expect(0, &["#1"]).said.lines().all(|line| !line.contains("#2")), "{shown:?}");
    ask(right, &fee).expect(0, &["deployment #2"]);
    ask(right, &["deployments"]).expect(0, &["by alice"]);
}

#[test]
fn a_host_carries_out_one_order_at_a_time() {
    let (host, before) = host(&HostOptions::bank().unwrap());
    for _ in 0..TRIES {
        let ended: Vec<Ended> = thread::scope(|scope| {
            let orders =
                (0..AT_ONCE).map(|_| scope.spawn(|| deploy(&host, Version::Fee, &["--dry-run"])));
            let orders: Vec<_> = orders.collect();
            orders.into_iter().map(|order| order.join().unwrap()).collect()
        });
        assert_eq!(seen(&host), before);
        let (passed, others): (Vec<_>, Vec<_>) = ended.iter().partition(|it| it.status == 0);
        assert!(!passed.is_empty(), "{ended:?}");
        for other in &others {
            other.expect(3, &["unavailable", "another deployment is being ordered", "try again"]);
        }
        if !others.is_empty() {
            return;
        }
    }
    panic!("the orders never met");
}

#[test]
fn of_two_hosts_with_orders_one_wins() {
    let server = NatsServer::start().unwrap();
    let stage = Stage::start(Kind::JetStream(&server), "race");
    for round in 0..TRIES {
        // Each round has something new for either.
        let versions =
            if round % 2 == 0 { [Version::Fee, Version::Trap] } else { [Version::V1, Version::V2] };
        let ended: Vec<Ended> = thread::scope(|scope| {
            let orders = stage.hosts.iter().zip(versions);
            let orders: Vec<_> = orders
                .map(|(host, version)| {
                    scope.spawn(move || deploy(host, version, &["--force", "diff"]))
                })
                .collect();
            orders.into_iter().map(|order| order.join().unwrap()).collect()
        });
        let number = stage.await_agreement();
        let won = ended.iter().filter(|it| it.status == 0).count();
        assert!(won > 0, "{ended:?}");
        let lost = ended.iter().find(|it| it.status != 0);
        if let Some(lost) = lost {
            lost.expect(3, &["another host", "order it again"]);
            let winner = ended.iter().find(|it| it.status == 0).expect("one has won");
            winner.expect(0, &[&format!("deployment #{number} of context bank"), "is active"]);
            return;
        }
    }
    panic!("the orders never met");
}
