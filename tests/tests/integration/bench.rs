//! Every benchmark works, and says what it found in the shape that others read. What it found is
//! not looked at: the machine that runs tests is busy, and its builds are slow.

use std::{fs, path::Path, process::Output};

use aether_tests::{
    host_process::{aether, run_cli},
    nats_server, workspace,
};
use serde_json::Value;
use tempfile::TempDir;

/// How many goals there are.
const GOALS: usize = 14;

/// Runs some benchmarks as small as they can be, and gives their `summary.json`.
fn quick(folder: &Path, names: &[&str]) -> Value {
    let mut command = aether(folder).unwrap();
    command.args(["bench", "--quick", "--out", "out", "--nats-server"]);
    let output = command.arg(nats_server::binary().unwrap()).args(names).output().unwrap();
    let told = told(&output);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for name in names {
        assert!(told.contains(&format!("## {name}\n")), "{told}");
    }
    let left: Vec<_> = fs::read_dir(folder.join("out")).unwrap().map(|it| it.unwrap()).collect();
    assert!(
        left.iter().all(|it| it.file_type().unwrap().is_file()),
        "its stores are gone: {left:?}"
    );
    serde_json::from_str(&fs::read_to_string(folder.join("out/summary.json")).unwrap()).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs them, and checks that each of `figures` is there and every goal is told.
fn check(names: &[&str], figures: &[&str], met: usize) {
    let folder = TempDir::new().unwrap();
    let summary = quick(folder.path(), names);
    let results = summary["results"].as_object().unwrap();
    for (name, figure) in results {
        assert!(figure["value"].as_f64().unwrap().is_finite(), "{name}: {figure}");
        assert!(!figure["unit"].as_str().unwrap().is_empty(), "{name}: {figure}");
        for part in ["ratio", "p50", "p99"] {
            assert!(figure.get(part).is_none_or(Value::is_f64), "{name}: {figure}");
        }
    }
    for figure in figures {
        let found = &results.get(*figure).unwrap_or_else(|| panic!("{figure} is in {summary:#}"));
        assert!(found["value"].as_f64().unwrap() > 0.0, "{figure}: {found}");
    }
    let goals = summary["goals"].as_array().unwrap();
    assert_eq!(goals.len(), GOALS);
    for goal in goals {
        for part in ["goal", "must", "aim", "unit"] {
            assert!(!goal[part].as_str().unwrap().is_empty(), "{goal}");
        }
        let skipped = goal["met"] == "skipped";
        assert_eq!(goal["measured"].is_null(), skipped, "{goal}");
        assert!(!skipped || goal["why"] != "", "{goal}");
        assert!(["aim", "must", "no", "skipped"].iter().any(|met| goal["met"] == *met), "{goal}");
    }
    let judged = goals.iter().filter(|goal| goal["met"] != "skipped").count();
    assert_eq!(judged, met, "{goals:#?}");
    let report = fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert!(names.iter().all(|name| report.contains(&format!("### {name}\n"))), "{report}");
    assert!(report.contains("| kernel |") && report.contains("Load average"), "{report}");
}

#[test]
fn streams_are_measured_beside_plain_publishes() {
    let figures = [
        "raw-jetstream/256-in-flight-1000-subjects",
        "turn-jetstream/256-in-flight-1000-actors",
        "ask-latency/in-process",
        "ask-latency/over-nats",
        "ask-latency/over-http",
        "ask-latency/bare-http-echo",
        "gateway/nats-64-clients",
        "gateway/http-256-clients",
    ];
    check(&["raw-jetstream", "turn-jetstream", "ask-latency", "gateway"], &figures, 3);
}

#[test]
fn the_embedded_store_is_measured_beside_bare_commits() {
    let figures = [
        "turn-embedded/256-in-flight-empty",
        "turn-embedded/256-in-flight-large",
        "turn-embedded/bare-256-at-once-large",
        "replay/batches-of-256",
        "state-size/1-MB",
        "isolation/turn-64-clients",
        "isolation/slow-thread",
        "start/ten-components-not-cached",
        "start/large-store",
    ];
    check(&["turn-embedded", "replay", "state-size", "isolation", "start"], &figures, 2);
}

#[test]
fn actors_are_measured_hot_read_woken_and_awake() {
    let figures = [
        "hot-actor/jetstream-256-clients",
        "hot-actor/others-beside-it",
        "reads/local",
        "reads/confirmed-jetstream-r1",
        "reads/confirmed-jetstream-r3",
        "wake/new-without-io",
        "wake/embedded-10-events-1-at-once",
        "wake/jetstream-10-events-64-at-once",
        "wake/jetstream-20-events-with-snapshot-1-at-once",
        "awake/40-awake-1000-instances",
        "awake/command-without-instance",
    ];
    check(&["hot-actor", "reads", "wake", "awake"], &figures, 5);
}

#[test]
fn what_is_missing_is_told_and_a_document_gets_the_last_run() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let summary = quick(path, &["beside-restate"]);
    assert!(summary["results"].as_object().unwrap().is_empty());
    let goals = summary["goals"].as_array().unwrap();
    assert!(goals.iter().any(|goal| goal["why"].as_str().unwrap().contains("--restate")));

    fs::write(path.join("doc.md"), "# A\n<!-- bench: begin --><!-- bench: end -->\n").unwrap();
    let into = run_cli(path, ["bench", "--out", "out", "--into", "doc.md"]).unwrap();
    assert!(into.status.success(), "{into:?}");
    let text = fs::read_to_string(path.join("doc.md")).unwrap();
    assert!(text.starts_with("# A\n") && text.contains("### beside-restate"), "{text}");

    let unknown = run_cli(path, ["bench", "nonsense"]).unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("no benchmark `nonsense`") && said.contains("raw-jetstream"), "{said}");
}

#[test]
fn the_component_in_the_binary_keeps_its_model() {
    let model = workspace::root().join("host/bench/bench.storm.yaml");
    let folder = TempDir::new().unwrap();
    let tested = run_cli(folder.path(), ["test".as_ref(), model.as_os_str()]).unwrap();
    assert!(tested.status.success(), "`make bench-guest` builds it anew: {}", told(&tested));
}

#[test]
fn the_document_has_its_marks() {
    let text = fs::read_to_string(workspace::root().join("docs/benchmarks.md")).unwrap();
    let (_, rest) = text.split_once("<!-- bench: begin -->").unwrap();
    assert!(rest.contains("<!-- bench: end -->"));
    for (name, _) in aether::bench::all() {
        assert!(text.contains(&format!("`{name}`")), "{name} is in docs/benchmarks.md");
    }
}
