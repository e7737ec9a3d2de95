//! Hosts that start while others are alive.

use std::fs;

use aether_tests::{host_process::HostOptions, nats_server::NatsServer, workspace};
use serde_json::json;

use super::kit::{bank, options};

/// The bank with another text: a new deployment that breaks nothing.
fn newer_bank(options: &HostOptions) -> std::path::PathBuf {
    let old = workspace::bank_model().unwrap();
    let text = fs::read_to_string(&old).unwrap();
    let new = text.replacen("version: 0.1.0", "version: 0.2.0", 1);
    assert_ne!(new, text);
    let file = options.folder().join("bank.storm.yaml");
    fs::write(&file, new).unwrap();
    fs::copy(old.with_file_name("bank.wasm"), file.with_file_name("bank.wasm")).unwrap();
    file
}

#[test]
fn a_host_with_a_new_model_waits_until_the_others_are_gone() {
    let server = NatsServer::start().unwrap();
    let mut first = bank(&server);
    let reply = first.client().command("bank/account/a", "open", &json!({"owner": "A"})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());

    let options = options(&server);
    let newer = options.clone().model(newer_bank(&options));
    let (status, said) = newer.start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("another host") && said.contains("is alive"), "{said}");

    // Without a model it serves what is stored; with the same model too.
    for mut second in [options.start().unwrap(), bank(&server)] {
        let told = second.client().get("/admin/deployments").unwrap().json().unwrap();
        assert_eq!(told["deployments"][0]["number"], 1, "{told}");
        let reply =
            second.client().command("bank/account/a", "deposit", &json!({"amount": 1})).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(second.terminate().unwrap().success());
    }
    assert!(first.terminate().unwrap().success());

    let mut second = newer.start().unwrap();
    let told = second.client().get("/admin/deployments").unwrap().json().unwrap();
    assert_eq!(told["deployments"][0]["number"], 2, "{told}");
    let account = second.client().get("/v1/bank/account/a").unwrap().json().unwrap();
    assert_eq!(account["version"], 3);
    assert!(second.terminate().unwrap().success());

    // The former deployment is not activated again: the newest is served instead.
    let third = bank(&server);
    let told = third.client().get("/admin/deployments").unwrap().json().unwrap();
    assert_eq!(told["deployments"][0]["number"], 2, "{told}");
    assert!(third.output().contains("is active and is served instead"), "{}", third.output());
}
