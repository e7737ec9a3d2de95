//! `aether test` as its users meet it: green on the example, red on a guest with one wrong line,
//! red on a state that depends on chance, and clear when there is nothing to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use aether_tests::{guest_project::GuestProject, host_process::run_cli, languages, workspace};
use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

fn test(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let command = [&[Path::new("test")], arguments].concat();
    let Output { status, stdout, stderr } = run_cli(workspace::root(), command).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// The results of `aether test --json`, and its exit status.
fn json_of(arguments: &[&Path]) -> (Option<i32>, Value) {
    let (status, out, err) = test(&[arguments, &[Path::new("--json")]].concat());
    let results = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (status, results)
}

/// The example bank with `line` of its account replaced by `other`, as a project of its own.
fn broken_bank(name: &str, line: &str, other: &str) -> Result<PathBuf> {
    let folder = workspace::root().join("examples-guests/bank");
    let read = |file: &str| fs::read_to_string(folder.join(file));
    let account = read("src/account.rs")?;
    assert_eq!(account.matches(line).count(), 1, "`{line}` is once in the example");
    GuestProject::new(name, "bank.storm.yaml", &read("bank.storm.yaml")?)
        .source("lib.rs", &read("src/lib.rs")?)
        .source("transfer.rs", &read("src/transfer.rs")?)
        .source("account.rs", &account.replace(line, other))
        .build("bank.wasm")
}

#[test]
fn the_example_is_green_and_every_note_is_touched() {
    let model = workspace::bank_model().unwrap();
    let (status, out, err) = test(&[&model]);
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.lines().last().is_some_and(|line| line.ends_with(" passed, 0 failed")), "{out}");
    assert!(!out.contains("no scenario touches"), "{out}");

    let (status, results) = json_of(&[&model]);
    assert_eq!((status, &results["failed"]), (Some(0), &json!(0)));
    assert_eq!(results["untouched"], json!([]));
    assert_eq!(results["components"][0]["aggregates"], json!(["account", "transfer"]));
    let count = results["scenarios"].as_array().unwrap().len();
    assert_eq!(results["passed"], count);
    assert!(out.contains(&format!("{count} scenarios, {count} passed")), "{out}");
}

#[test]
fn the_journal_that_faults_are_tested_with_is_green() {
    let (status, results) = json_of(&[&workspace::journal_model().unwrap()]);
    assert_eq!((status, &results["failed"]), (Some(0), &json!(0)), "{results}");
    assert_eq!(results["untouched"], json!([]));
}

#[test]
fn what_a_component_does_not_implement_is_the_models_own() {
    let transfer = languages::transfer().unwrap();
    let (status, results) = json_of(&[&workspace::bank_model().unwrap(), &transfer]);
    assert_eq!((status, &results["failed"]), (Some(0), &json!(0)), "{results}");
    let components = &results["components"];
    assert_eq!(components[0]["file"], transfer.display().to_string());
    assert_eq!(components[0]["aggregates"], json!(["transfer"]));
    assert_eq!(components[1]["aggregates"], json!(["account"]));
}

#[test]
fn one_wrong_line_is_red_with_what_was_expected_and_what_came() {
    let model =
        broken_bank("bank-that-lies", "let balance = self.balance;", "let balance = amount;")
            .unwrap();
    let (status, out, err) = test(&[&model]);
    assert_eq!(status, Some(1), "{out}{err}");
    let failed = out.split("FAIL").nth(1).unwrap();
    let told = failed.split("pass").next().unwrap();
    for words in [
        "an account cannot be overdrawn",
        "bank.storm.yaml:126:",
        "another outcome (- expected, + got)",
        "insufficient-funds",
        "10",
        "20",
        "state before: {\"owner\":\"Alice\",\"balance\":10",
    ] {
        assert!(told.contains(words), "`{words}` is not in\n{told}");
    }
    let line = |sign: char, number: &str| {
        let mut lines = told.lines().map(str::trim_start);
        lines.any(|line| line.starts_with(sign) && line.contains(number))
    };
    assert!(line('-', "10") && line('+', "20"), "{told}");

    let (status, results) = json_of(&[&model]);
    assert_eq!(status, Some(1));
    let scenarios = results["scenarios"].as_array().unwrap();
    let failed: Vec<_> = scenarios.iter().filter(|scenario| scenario["passed"] == false).collect();
    assert_eq!(failed[0]["name"], "an account cannot be overdrawn");
    let problem = &failed[0]["problems"][0];
    assert_eq!(problem["kind"], "outcome");
    assert_eq!(problem["state"]["balance"], 10);
    assert_ne!(problem["expected"], problem["got"]);

    // The same component given on the command line to the right model, and JUnit of it.
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("results.xml");
    let component = model.with_file_name("bank.wasm");
    let right = workspace::bank_model().unwrap();
    let (status, _, err) = test(&[&right, &component, Path::new("--junit"), &report]);
    assert_eq!(status, Some(1), "{err}");
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("<testsuite name=\"bank.account\""), "{report}");
    assert!(report.contains("name=\"an account cannot be overdrawn\""), "{report}");
    let failures = report.matches("<failure ").count();
    assert_eq!(failures, failed.len(), "{report}");
}

#[test]
fn a_wrong_fold_is_red_with_the_field_of_the_state() {
    let line = "self.overdrawn = self.overdrawn.saturating_add(amount - from_balance);";
    let model = broken_bank("bank-that-forgets-debt", line, "").unwrap();
    let (status, results) = json_of(&[&model]);
    assert_eq!(status, Some(1));
    let scenarios = results["scenarios"].as_array().unwrap();
    let mut problems = scenarios.iter().flat_map(|one| one["problems"].as_array().unwrap());
    assert!(
        problems.any(|problem| problem["kind"] == "state" && problem["path"] == "overdrawn"),
        "{results:#}"
    );
}

#[test]
fn a_state_that_depends_on_chance_is_red_for_purity() {
    let (status, results) = json_of(&[&workspace::impure_model().unwrap()]);
    assert_eq!(status, Some(1));
    let problem = &results["scenarios"][0]["problems"][0];
    assert_eq!(problem["kind"], "impure", "{results:#}");
    assert!(problem["path"].as_str().unwrap().starts_with("names"), "{problem}");
    let message = problem["message"].as_str().unwrap();
    assert!(message.starts_with("not pure: the answers differ in `names"), "{message}");
}

#[test]
fn what_cannot_be_run_is_exit_2_and_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let bank = fs::read_to_string(workspace::bank_model().unwrap()).unwrap();
    let alone = write("alone.storm.yaml", &bank);
    let wrong =
        write("wrong.storm.yaml", &bank.replacen("emits: [deposited]", "emits: [deposted]", 1));
    let hostile = workspace::hostile_model().unwrap().with_file_name("hostile.wasm");
    let text = write("text.wasm", "not a component");
    let bank = workspace::bank_model().unwrap();
    for (arguments, said) in [
        (vec![&alone], ["bank.wasm is missing", "make guests"]),
        (vec![&wrong], ["wrong.storm.yaml:30:", "did you mean `deposited`?"]),
        (vec![&bank, &hostile], ["hostile.wasm", "no aggregate of the context `bank`"]),
        (vec![&bank, &text], ["text.wasm", "not a WebAssembly component"]),
    ] {
        let arguments: Vec<_> = arguments.into_iter().map(PathBuf::as_path).collect();
        let (status, out, err) = test(&arguments);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
        assert!(said.iter().all(|words| err.contains(words)), "{said:?} is not in\n{err}");
    }
}

#[test]
fn a_model_whose_scenarios_fail_is_not_deployed() {
    use aether_tests::host_process::HostOptions;
    let options = HostOptions::new().unwrap();
    let impure = options.clone().model(workspace::impure_model().unwrap());
    let (status, output) = impure.start_refused().unwrap();
    assert!(!status.success(), "{output}");
    assert!(output.contains("not pure") && output.contains("it is not deployed"), "{output}");
    let host = options.start().unwrap();
    let deployments = host.client().get("/admin/deployments").unwrap().json().unwrap();
    assert_eq!(deployments["deployments"], json!([]));
}
