//! A host that cannot serve what the others go over to.

use std::{fs, thread};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::NatsServer,
    workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    kit::{SOON, aether, deploy, deploy_file, rollouts},
    versions::{FILE, Version},
};

/// The largest component that the small host takes: more than any of the bank's.
const LIMIT: &str = "1MiB";

/// By how much a fat component is more than that.
const FAT: usize = 2 << 20;

#[test]
fn a_host_that_cannot_serve_a_deployment_says_so_and_heals_with_the_next() {
    let server = NatsServer::start().unwrap();
    let options = || HostOptions::new().unwrap().nats(server.url());
    let models = [workspace::bank_model().unwrap(), workspace::hostile_model().unwrap()];
    let large = models.into_iter().fold(options(), HostOptions::model).start().unwrap();
    let small = options().args(["--max-component-bytes", LIMIT]).start().unwrap();
    let open = |host: &HostProcess, id: &str| {
        let account = format!("bank/account/{id}");
        let reply = host.client().command(&account, "open", &json!({"owner": "O"})).unwrap();
        (reply.status, reply.json().unwrap())
    };
    let seen = rollouts(&large);
    let seen = seen["hosts"].as_array().unwrap().iter().filter(|it| it["serves"]["bank"] == 1);
    assert_eq!(seen.count(), 2, "a host that is ready is seen to serve");
    assert_eq!(open(&small, "before").0, 200);

    let fat = fat();
    let file = fat.path().join(FILE);
    deploy_file(&large, &file, &[]).expect(0, &["deployment #2 of context bank", "cannot serve"]);
    aether(&large, &["deployments"]).expect(0, &["NOT bank: ", "max-component-bytes"]);
    let (status, said) = open(&small, "refused");
    assert_eq!((status, &said["code"]), (503, &json!("unavailable")), "{said}");
    let why = said["detail"].as_str().unwrap_or_default();
    assert!(why.contains("deployment 2") && why.contains("ask another host"), "{why}");
    assert_eq!(small.client().get("/readyz").unwrap().status, 503);
    assert_eq!(small.client().get("/healthz").unwrap().status, 200);
    assert_eq!(open(&large, "served").0, 200);
    let counted = small.client().command("hostile/counter/one", "add", &json!({"amount": 1}));
    let counted = counted.unwrap();
    assert_eq!(counted.status, 200, "another context goes on: {}", counted.text());

    deploy(&large, Version::Fee, &[]).expect(0, &["deployment #3", "is active"]);
    await_served(&small, 3);
    assert_eq!(small.client().get("/readyz").unwrap().status, 200);
    assert_eq!(open(&small, "healed").0, 200);
    assert_eq!(open(&small, "refused").0, 200, "nothing was stored when it was refused");
    aether(&small, &["audit"]).expect(0, &[]);
}

/// The bank with a component that is much larger, by a section that means nothing.
fn fat() -> TempDir {
    let model = Version::Fee.model();
    let folder = TempDir::with_prefix("aether-fat-").unwrap();
    fs::copy(&model, folder.path().join(FILE)).unwrap();
    let mut component = fs::read(model.with_file_name("bank.wasm")).unwrap();
    let content = [[1, b'x'].as_slice(), &vec![0; FAT]].concat();
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
    fs::write(folder.path().join("bank.wasm"), component).unwrap();
    folder
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn await_served(host: &HostProcess, number: u64) {
    let own = format!("process {} ", host.pid());
    let until = clock::now() + SOON;
    let mut told = Value::Null;
    while clock::now() < until {
        told = rollouts(host);
        let mut hosts = told["hosts"].as_array().into_iter().flatten();
        let here = hosts.find(|it| it["place"].as_str().is_some_and(|place| place.contains(&own)));
        if here.is_some_and(|it| it["serves"]["bank"] == number && it["unable"] == json!({})) {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it does not serve #{number}: {told}");
}
