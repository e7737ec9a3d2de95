//! From an empty folder to a served command, in each language, as a newcomer types it.
//!
//! What a language needs comes from `.tools/` of the repository, and is installed there if it is
//! missing. A machine that cannot install it has no such language: the test says so and passes,
//! unless `CI` is `true`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aether_tests::{
    host_process::{HostOptions, run_cli},
    workspace,
};
use serde_json::json;
use tempfile::TempDir;

/// Longest wait for a host that compiles 18 MB of Python first, with an unoptimised compiler.
const COMPILE_LIMIT: Duration = Duration::from_secs(300);

/// What components were compiled to, for all languages and runs.
fn cache() -> PathBuf {
    workspace::root().join("target/new-project/cache")
}

/// Each build takes all cores: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// `make` in the new project, with everything that is shared.
fn make(project: &Path, target: &str) -> Output {
    let mut command = Command::new("make");
    let target_folder = workspace::root().join("target/new-project/cargo");
    command
        .args([target, &format!("AETHER={}", workspace::binary().unwrap().display())])
        .arg(format!("TOOLS={}", workspace::root().join(".tools").display()))
        .current_dir(project)
        .env("AETHER_CACHE_DIR", cache())
        .env("CARGO_TARGET_DIR", target_folder);
    // What the make and the cargo above this test tell theirs is not for this one.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.output().expect("make is installed")
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Says why a language is not tested; where everything must be tested it fails.
fn skip(language: &str, why: &str) {
    let required = std::env::var("CI").as_deref() == Ok("true");
    assert!(!required, "{language} cannot be tested, and CI=true:\n{why}");
    eprintln!("skipped: {language} is not tested, for its tools cannot be installed:\n{why}");
}

fn from_an_empty_folder(name: &str) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = TempDir::with_prefix("aether-new-").unwrap();
    let made = run_cli(folder.path(), ["new", "shop-cart", "--lang", name]).unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let project = folder.path().join("shop-cart");

    let tools = make(&project, "tools");
    if !tools.status.success() {
        return skip(name, &said(&tools));
    }
    let built = make(&project, "all");
    assert!(built.status.success(), "make:\n{}", said(&built));
    let again = make(&project, "all");
    assert!(again.status.success(), "{}", said(&again));
    let tested = make(&project, "test");
    assert!(tested.status.success(), "make test:\n{}", said(&tested));
    assert!(said(&tested).contains("4 passed"), "{}", said(&tested));

    serves_a_command(&project);
    let status = Command::new("git").args(["init", "-q"]).current_dir(&project).status();
    if status.is_ok_and(|status| status.success()) {
        nothing_built_is_tracked(&project);
    }
}

fn serves_a_command(project: &Path) {
    let mut host = HostOptions::new()
        .unwrap()
        .model(project.join("shop-cart.storm.yaml"))
        .args(["--dev"])
        .env("AETHER_CACHE_DIR", &cache().display().to_string())
        .launch()
        .unwrap();
    host.wait_for_line("listens", COMPILE_LIMIT).unwrap();
    host.wait_until_ready().unwrap();
    let client = host.client();
    let add = |amount: u32| {
        client.command("shop-cart/counter/door", "add", &json!({ "amount": amount })).unwrap()
    };
    let added = add(3);
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(added.json().unwrap()["events"][0]["data"], json!({ "amount": 3 }));
    let refused = add(98);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json().unwrap()["rejection"], json!({ "too-many": { "room": 97 } }));
}

/// What a first commit holds: what `aether new` wrote, and a lock file at most.
fn nothing_built_is_tracked(project: &Path) {
    let output = Command::new("git")
        .args(["ls-files", "--others", "--exclude-standard"])
        .current_dir(project)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for built in
        ["counter.wasm", "bindings/", "build/", "target/", "node_modules", ".tools", "__pycache__"]
    {
        assert!(
            !text.lines().any(|path| path.starts_with(built)),
            "{built} is not ignored:\n{text}"
        );
    }
}

#[test]
fn rust_from_an_empty_folder() {
    from_an_empty_folder("rust");
}

#[test]
fn typescript_from_an_empty_folder() {
    from_an_empty_folder("ts");
}

#[test]
fn python_from_an_empty_folder() {
    from_an_empty_folder("python");
}

#[test]
fn go_from_an_empty_folder() {
    from_an_empty_folder("go");
}

#[test]
fn c_from_an_empty_folder() {
    from_an_empty_folder("c");
}

#[test]
fn a_name_that_is_taken_or_none_is_refused() {
    let folder = TempDir::with_prefix("aether-new-").unwrap();
    fs::create_dir(folder.path().join("cart")).unwrap();
    for (name, lang, expected) in [
        ("cart", "c", "cart is there already"),
        ("Cart", "c", "e.g. `cart`"),
        ("cart", "cobol", "possible values: rust, ts, python, go, c"),
    ] {
        let output = run_cli(folder.path(), ["new", name, "--lang", lang]).unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let there: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(there.len(), 1, "{there:?}");
}
