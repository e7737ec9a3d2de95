//! From an empty folder to a served command, in each language, as a newcomer types it.
//!
//! What a language needs comes from `.tools/` of the repository, and is installed there if it is
//! missing. A machine that cannot install it has no such language: the test says so and passes,
//! unless `CI` is `true`.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use aether::clock;
use aether_tests::{host_process::run_cli, http::Client, workspace};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tempfile::TempDir;

/// Longest wait for a host that compiles 18 MB of Python first, with an unoptimised compiler.
const COMPILE_LIMIT: Duration = Duration::from_secs(300);

/// How often what a program said is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What components were compiled to, for all languages and runs.
fn cache() -> PathBuf {
    workspace::root().join("target/new-project/cache")
}

/// Each build takes all cores: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// `make TARGET` in the new project, with everything that is shared.
fn command(project: &Path, target: &str, aether: &Path) -> Command {
    let mut command = Command::new("make");
    let target_folder = workspace::root().join("target/new-project/cargo");
    command
        .args([target, &format!("AETHER={}", aether.display())])
        .arg(format!("TOOLS={}", workspace::root().join(".tools").display()))
        .current_dir(project)
        .env("AETHER_CACHE_DIR", cache())
        .env("CARGO_TARGET_DIR", target_folder);
    // What the make and the cargo above this test tell theirs is not for this one.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

fn make(project: &Path, target: &str) -> Output {
    command(project, target, workspace::binary().unwrap()).output().expect("make is installed")
}

/// `make run`, which ends with this value.
struct Run {
    make: Child,
    log: PathBuf,
}

impl Run {
    /// Starts it on a free port, and waits until it is ready.
    fn start(project: &Path) -> (Self, Client) {
        let log = project.join("build.log");
        let out = File::create(&log).unwrap();
        let mut command = command(project, "run", workspace::binary().unwrap());
        command.stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        command.env("AETHER_HTTP", "127.0.0.1:0");
        let mut run = Self { make: command.spawn().unwrap(), log };
        let line = run.wait_for("listens at ");
        let (_, url) = line.split_once("listens at ").unwrap();
        let client = Client::new(url.trim());
        assert_eq!(client.get("/readyz").unwrap().status, 200);
        (run, client)
    }

    /// The first line with `words`.
    fn wait_for(&mut self, words: &str) -> String {
        let until = clock::now() + COMPILE_LIMIT;
        loop {
            let text = fs::read_to_string(&self.log).unwrap();
            let mut whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.find(|line| line.contains(words)) {
                return line.to_owned();
            }
            let ended = self.make.try_wait().unwrap();
            assert!(ended.is_none() && clock::now() < until, "no `{words}`, {ended:?}:\n{text}");
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let group = i32::try_from(self.make.id()).ok().and_then(Pid::from_raw);
        group.map(|group| kill_process_group(group, Signal::TERM));
        drop(self.make.wait());
    }
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
    let limit = limit_apart(&project, name);
    let rules = project.join(rules(name));
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, told_and_broken(name, &text)).unwrap();
    let built = make(&project, "all");
    assert!(built.status.success(), "make:\n{}", said(&built));
    let component = project.join(component(name));
    let written = || fs::metadata(&component).unwrap().modified().unwrap();
    let first = written();
    // Nothing in the bindings changes with what is said of a counter.
    let model = project.join("shop-cart.storm.yaml");
    let told = fs::read_to_string(&model).unwrap();
    fs::write(&model, told.replacen("# The board", "# A board", 1)).unwrap();
    let again = make(&project, "all");
    assert!(again.status.success(), "{}", said(&again));
    // Cargo looks at the model itself.
    let is_as_it_was = written() == first || name == "rust";
    assert!(is_as_it_was, "nothing was to be built:\n{}", said(&again));
    let tested = make(&project, "test");
    assert!(tested.status.success(), "make test:\n{}", said(&tested));
    assert!(said(&tested).contains("4 passed"), "{}", said(&tested));

    misses_the_tool(&project);
    serves_a_command(&project);
    an_edit_counts(&project, name, &limit);
    let status = Command::new("git").args(["init", "-q"]).current_dir(&project).status();
    if status.is_ok_and(|status| status.success()) {
        nothing_built_is_tracked(&project);
    }
}

/// The file with the rules.
fn rules(language: &str) -> &'static str {
    match language {
        "rust" => "src/lib.rs",
        "ts" => "src/counter.ts",
        "python" => "counter.py",
        "go" => "counter.go",
        _ => "counter.c",
    }
}

/// The rules with two lines that a newcomer writes: one that prints, and one that breaks.
fn told_and_broken(language: &str, text: &str) -> String {
    let (before, lines) = match language {
        "rust" => (
            "let room = LIMIT",
            r#"if amount == 13 { println!("thirteen"); } assert!(amount != 14, "fourteen"); "#,
        ),
        "ts" => (
            "if (amount > room)",
            r#"if (amount === 13) console.log("thirteen");
            if (amount === 14) throw new Error("fourteen");
            "#,
        ),
        "python" => (
            "room = max(",
            "if add.amount == 13:
                    print('thirteen')
                if add.amount == 14:
                    raise ValueError('fourteen')
                ",
        ),
        "go" => (
            "room := limit",
            r#"if amount == 13 { println("thirteen") }; if amount == 14 { panic("fourteen") }; "#,
        ),
        _ => (
            "uint32_t room = ",
            r#"if (amount == 13) { puts("thirteen"); fflush(stdout); } if (amount == 14) { abort(); } "#,
        ),
    };
    assert_eq!(text.matches(before).count(), 1, "`{before}` is not once in:\n{text}");
    text.replace(before, &format!("{lines}{before}"))
        .replace("#include <stdlib.h>", "#include <stdio.h>\n#include <stdlib.h>")
}

/// `make run` serves it, on the port that the README says how to choose.
fn serves_a_command(project: &Path) {
    let (mut run, client) = Run::start(project);
    let add = |amount: u32| {
        client.command("shop-cart/counter/door", "add", &json!({ "amount": amount })).unwrap()
    };
    let added = add(3);
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(added.json().unwrap()["events"][0]["data"], json!({ "amount": 3 }));
    let refused = add(98);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json().unwrap()["rejection"], json!({ "too-many": { "room": 97 } }));

    let broken = add(14);
    assert_eq!(broken.status, 500, "{}", broken.text());
    assert_eq!(broken.json().unwrap()["code"], "component-fault", "{}", broken.text());
    let told = add(13);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json().unwrap()["version"], 2, "what broke left nothing: {}", told.text());
    let line = run.wait_for("thirteen");
    assert!(line.contains("shop-cart/counter/door"), "{line}");
}

/// Where the component is built to.
fn component(language: &str) -> &'static str {
    match language {
        "rust" => "target/wasm32-wasip2/release/counter.wasm",
        _ => "counter.wasm",
    }
}

/// Moves the limit of the counter into a file of its own, as somebody does whose rules grow: that file,
/// which says 100 once.
fn limit_apart(project: &Path, language: &str) -> PathBuf {
    let (path, text, replaced, by) = match language {
        "rust" => (
            "src/limit.rs",
            "/// What a counter holds at most.\npub const LIMIT: u32 = 100;\n",
            "/// What a counter holds at most.\nconst LIMIT: u32 = 100;",
            "mod limit;\nuse limit::LIMIT;",
        ),
        "ts" => (
            "src/rules/limit.ts",
            "export const LIMIT = 100;\n",
            "/** What a counter holds at most. */\nconst LIMIT = 100;",
            "import { LIMIT } from \"./rules/limit.js\";",
        ),
        "python" => {
            ("rules/limit.py", "LIMIT = 100\n", "LIMIT = 100", "from rules.limit import LIMIT")
        }
        "go" => (
            "rules/limit.go",
            "// Package rules holds them.\npackage rules\n\n// Limit is what a counter holds.\nconst Limit = 100\n",
            "const limit = 100",
            "const limit = rules.Limit",
        ),
        _ => (
            "limit.h",
            "static const uint32_t LIMIT = 100;\n",
            "static const uint32_t LIMIT = 100;",
            "#include \"limit.h\"",
        ),
    };
    let (file, rules) = (project.join(path), project.join(rules(language)));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let before = fs::read_to_string(&rules).unwrap();
    assert_eq!(before.matches(replaced).count(), 1, "`{replaced}` is not once in:\n{before}");
    let imports = "\t\"math\"\n";
    let with_import = format!("{imports}\n\t\"example.com/shop-cart/rules\"\n");
    fs::write(&rules, before.replace(replaced, by).replace(imports, &with_import)).unwrap();
    file
}

/// What is edited is built, and what breaks a scenario is told.
fn an_edit_counts(project: &Path, language: &str, limit: &Path) {
    let built = project.join(component(language));
    let before = fs::read(&built).unwrap();
    let text = fs::read_to_string(limit).unwrap();
    fs::write(limit, text.replace("100", "5")).unwrap();
    let made = make(project, "all");
    assert!(made.status.success(), "{}", said(&made));
    assert_ne!(fs::read(&built).unwrap(), before, "the edit is not in the component");
    // Compiling those with a runtime takes too long for a second look.
    if matches!(language, "rust" | "go" | "c") {
        let tested = make(project, "test");
        let told = said(&tested);
        let is_told = told.to_lowercase().contains("hundred");
        assert!(!tested.status.success() && is_told, "a limit of five passes:\n{told}");
    }
}

/// Without `aether` every target that needs it says so.
fn misses_the_tool(project: &Path) {
    for target in ["run", "test"] {
        let output = command(project, target, Path::new("/nowhere/aether")).output().unwrap();
        assert!(!output.status.success());
        let wanted = "/nowhere/aether is missing: put aether on the PATH, or say where it is";
        assert!(said(&output).contains(wanted), "{target}: {}", said(&output));
    }
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
        ("Cart", "c", "say e.g. `aether new cart --lang c`"),
        ("cart", "cobol", "possible values: rust, ts, python, go, c"),
        ("aether-guest", "rust", "`aether-guest` is a crate of the SDK"),
    ] {
        let output = run_cli(folder.path(), ["new", name, "--lang", lang]).unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let there: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(there.len(), 1, "{there:?}");
}
