//! What the README shows is done, word by word, and does what the README says.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use aether_tests::{
    host_process::{HostOptions, HostProcess, aether, run_cli},
    http::Client,
    workspace,
};
use serde_json::json;
use tempfile::TempDir;

/// Longest wait for a host to say that it listens.
const START_LIMIT: Duration = Duration::from_secs(60);

fn readme() -> String {
    fs::read_to_string(workspace::root().join("README.md")).unwrap()
}

/// The blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The lines to be typed into a shell, without comments.
fn commands() -> Vec<String> {
    let lines = blocks("sh").concat();
    let lines = lines.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// The words of a line, as a shell would give them to a program.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(mark), c) if c == mark => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '?' | '*' | '$' | '&' | ';' | '|' | '<' | '>' | '`' | '~' | '#' | '!') => {
                panic!("`{c}` means something to a shell and is not quoted in: {line}")
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is left open in: {line}");
    words.extend(word);
    words
}

#[test]
fn every_command_is_of_a_kind_that_is_tried() {
    let mut seen = [0; 3];
    for line in commands() {
        let kind = ["make ", "curl ", "aether "].iter().position(|kind| line.starts_with(kind));
        seen[kind.unwrap_or_else(|| panic!("no test tries `{line}`"))] += 1;
    }
    assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
}

#[test]
fn make_has_the_targets() {
    let makefile = fs::read_to_string(workspace::root().join("Makefile")).unwrap();
    for line in commands().iter().filter(|line| line.starts_with("make ")) {
        let target = &words(line)[1];
        let found = makefile.lines().any(|rule| rule.starts_with(&format!("{target}:")));
        assert!(found, "the Makefile has no target `{target}`");
    }
}

/// Status and body of what a `curl` line asks of `host`: by curl where there is one, else by the
/// client of the tests.
fn curl(host: &HostProcess, line: &str) -> (u16, String) {
    let words = words(line);
    let place = host.url();
    let at = |word: &str| word.replacen("localhost:4280", place.trim_start_matches("http://"), 1);
    let arguments: Vec<String> = words[1..].iter().map(|word| at(word)).collect();
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"])
        .args(&arguments)
        .output();
    if let Ok(output) = curl {
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').expect("curl tells the status");
        return (status.parse().unwrap(), body.to_owned());
    }
    let (mut method, mut data, mut url) = ("GET", "", "");
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-X" => method = rest.next().unwrap(),
            "-d" => data = rest.next().unwrap(),
            word => url = word,
        }
    }
    let path = url.trim_start_matches(place.trim_start_matches("http://"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = Client::new(&place).send(method, path, &form, data.as_bytes()).unwrap();
    (reply.status, reply.text())
}

#[test]
fn the_story_told_with_curl_happens() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let lines = commands();
    let lines = lines.iter().filter(|line| line.starts_with("curl "));
    let told: Vec<_> = lines.map(|line| curl(&host, line)).collect();
    let statuses: Vec<u16> = told.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 422, 200, 200, 200], "{told:?}");

    let shown = r#""rejection":{"insufficient-funds":{"balance":50}}"#;
    assert!(readme().contains(shown), "the README does not tell what is refused");
    assert!(told[2].1.contains(shown), "{}", told[2].1);
    let json = |n: usize| serde_json::from_str::<serde_json::Value>(&told[n].1).unwrap();
    assert_eq!((&json(0)["version"], &json(1)["version"]), (&json!(1), &json!(2)));
    assert_eq!(json(3)["state"]["balance"], 50);
    assert_eq!((&json(4)["version"], &json(4)["state"]["balance"]), (&json!(1), &json!(0)));
    assert_eq!(json(5)["events"].as_array().map(Vec::len), Some(2));
}

/// A folder in which the README's paths lead where they lead in a clone.
fn clone() -> TempDir {
    workspace::guests().unwrap();
    let folder = TempDir::with_prefix("aether-readme-").unwrap();
    let examples = workspace::root().join("examples-guests");
    symlink(examples, folder.path().join("examples-guests")).unwrap();
    folder
}

#[test]
fn what_is_typed_into_aether_works() {
    let folder = clone();
    for line in commands().iter().filter(|line| line.starts_with("aether ")) {
        let words = words(line);
        if words[1] == "run" {
            listens(folder.path(), &words[1..]);
            continue;
        }
        let output = run_cli(folder.path(), &words[1..]).unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert!(folder.path().join("data").is_dir(), "the records are not where the README says");
}

/// Starts a host on a free port and waits until it says that it listens.
fn listens(folder: &Path, arguments: &[String]) {
    let mut host = aether(folder)
        .unwrap()
        .args(arguments)
        .args(["--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(host.stdout.take().unwrap());
    let (lines, said) = mpsc::channel();
    thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // Nobody listens any more once the first line was seen.
            lines.send(line).ok();
        }
    });
    let first = said.recv_timeout(START_LIMIT);
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(first.as_ref().is_ok_and(|line| line.contains("listens")), "{arguments:?}: {first:?}");
}

#[test]
fn the_counter_is_a_component_that_passes_its_scenario() {
    let folder = TempDir::with_prefix("aether-counter-").unwrap();
    let at = |name: &str| folder.path().join(name);
    let only = |language: &str| {
        let [block] = <[String; 1]>::try_from(blocks(language)).expect("one block of a kind");
        block
    };
    let sdk = workspace::root().join("guest-sdk").display().to_string();
    let manifest = only("toml");
    assert!(manifest.contains("../aether/guest-sdk"), "{manifest}");
    // A workspace of its own, whatever is above the folder; the versions are those of the
    // workspace, so that nothing has to be fetched.
    let manifest = manifest.replace("../aether/guest-sdk", &sdk) + "\n[workspace]\n";
    fs::write(at("Cargo.toml"), manifest).unwrap();
    fs::copy(workspace::root().join("Cargo.lock"), at("Cargo.lock")).unwrap();
    fs::write(at("counter.storm.yaml"), only("yaml")).unwrap();
    fs::create_dir(at("src")).unwrap();
    fs::write(at("src/lib.rs"), only("rust")).unwrap();

    assert!(readme().contains("`cargo build --target wasm32-wasip2`"));
    let target = workspace::root().join("target/readme");
    let built = workspace::cargo_command()
        .args(["build", "--target", "wasm32-wasip2"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::copy(target.join("wasm32-wasip2/debug/counter.wasm"), at("counter.wasm")).unwrap();
    let output = run_cli(folder.path(), ["test", "counter.storm.yaml"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_pages_that_are_linked_exist() {
    for text in readme().split("](").skip(1) {
        let page = text.split(')').next().unwrap();
        if !page.contains("://") {
            assert!(workspace::root().join(page).exists(), "{page} does not exist");
        }
    }
}
