//! `aether run --dev`: what is edited is deployed, and what has mistakes changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aether_tests::{host_process::HostOptions, workspace};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// A copy of the example that may be edited.
fn copy(folder: &Path) -> PathBuf {
    let model = workspace::bank_model().unwrap();
    for name in ["bank.storm.yaml", "bank.wasm"] {
        fs::copy(model.with_file_name(name), folder.join(name)).unwrap();
    }
    folder.join("bank.storm.yaml")
}

#[test]
fn an_edit_is_deployed_and_a_mistake_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy(folder.path());
    let text = fs::read_to_string(&model).unwrap();
    let options = HostOptions::new().unwrap().model(&model).args(["--dev"]);
    let host = options.start().unwrap();
    host.wait_for_line("watching the models", PATIENCE).unwrap();
    let client = host.client();
    let opened = client.command("bank/account/a", "open", &json!({"owner": "A"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());

    fs::write(&model, format!("{text}\n# edited\n")).unwrap();
    host.wait_for_line("deployment #2 of context bank", PATIENCE).unwrap();
    fs::write(&model, format!("{text}\nno-such-section: 1\n")).unwrap();
    host.wait_for_line("not deployed", PATIENCE).unwrap();
    let component = folder.path().join("bank.wasm");
    let code = fs::read(&component).unwrap();
    fs::write(&model, format!("{text}\n# edited again\n")).unwrap();
    fs::write(&component, b"no component").unwrap();
    host.wait_for_line("exports    REFUSED", PATIENCE).unwrap();
    let state = client.get("/v1/bank/account/a").unwrap();
    assert_eq!(state.json().unwrap()["version"], 1, "{}", state.text());
    fs::write(&component, code).unwrap();
    host.wait_for_line("deployment #3 of context bank", PATIENCE).unwrap();
    let closed = client.command("bank/account/a", "deposit", &json!({"amount": 1})).unwrap();
    assert_eq!(closed.status, 200, "{}", closed.text());
}

#[test]
fn without_a_model_there_is_nothing_to_watch() {
    let options = HostOptions::new().unwrap().without_models().args(["--dev"]);
    let (status, said) = options.start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("MODELS"), "{said}");
}
