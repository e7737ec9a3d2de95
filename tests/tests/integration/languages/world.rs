//! What a language's runtime sees of the world: nothing that could make two runs differ.

use std::{fs, path::PathBuf, time::Duration};

use aether_tests::{
    host_process::{HostOptions, HostProcess, aether},
    languages::{self, Language},
    workspace,
};
use serde_json::{Value, json};

/// What `look` sleeps is more than this.
const SLEPT: Duration = Duration::from_secs(50);

const ACTOR: &str = "conformance/probe/one";

/// Asks twice in one instance.
const COUNTED_TWICE: &str = "
scenarios:
  - name: it counts
    actor: probe/one
    steps:
      - when: { count: {} }
        then: { state: { looked: 0 } }
      - when: { count: {} }
        then: { state: { looked: 0 } }
";

/// Looks twice in one instance.
const LOOKED_TWICE: &str = "
scenarios:
  - name: it looks
    actor: probe/one
    steps:
      - when: { look: {} }
        then: { state: { looked: 1, clock: 0 } }
      - when: { look: {} }
        then: { state: { looked: 2, clock: 0 } }
";

/// The conformance model with the component of a language, in a folder `name` of its own, used by
/// one test only; `edit` makes another model of it.
fn model(language: Language, name: &str, edit: impl Fn(String) -> String) -> PathBuf {
    let component = language.conformance().unwrap();
    languages::compile(std::slice::from_ref(&component)).unwrap();
    let text = fs::read_to_string(workspace::conformance_model().unwrap()).unwrap();
    let folder = workspace::target_folder().unwrap().join("languages");
    let folder = folder.join(format!("conformance-{language}-{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(component, folder.join("conformance.wasm")).unwrap();
    let path = folder.join("conformance.storm.yaml");
    fs::write(&path, edit(text)).unwrap();
    path
}

/// A host with that model.
fn host(model: PathBuf) -> HostProcess {
    let cache = languages::cache().unwrap();
    let options = HostOptions::new().unwrap().model(model);
    options.env("AETHER_CACHE_DIR", cache.to_str().unwrap()).start().unwrap()
}

/// The only event of a command.
fn event(host: &HostProcess, command: &str) -> Value {
    let reply = host.client().command(ACTOR, command, &json!({})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()["events"][0]["data"].clone()
}

/// `aether test`, with its exit status.
fn test(model: PathBuf) -> (Option<i32>, String) {
    let mut command = aether(workspace::root()).unwrap();
    command.arg("test").arg(model).env("AETHER_CACHE_DIR", languages::cache().unwrap());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// How opening a file and a connection is refused; `None` where the language has no way to try.
const fn refusals(language: Language) -> (Option<&'static str>, Option<&'static str>) {
    const NO_FILE: Option<&str> = Some("No such file or directory");
    match language {
        Language::Rust => (NO_FILE, Some("Permission denied")),
        Language::Python => (NO_FILE, Some("gaierror")),
        Language::Go => (Some("Bad file number"), Some("Connection refused")),
        Language::TypeScript => (None, None),
        Language::C => (NO_FILE, None),
    }
}

#[test]
fn a_component_sees_the_commands_time_constant_chance_and_nothing_else() {
    for language in Language::there().unwrap() {
        let host = host(model(language, "world", |text| text));
        let begun = aether::clock::now();
        let (first, second) = (event(&host, "look"), event(&host, "look"));
        assert!(begun.elapsed() < SLEPT, "{language} slept");

        let url = format!("/v1/{ACTOR}/events");
        let stored = host.client().get(&url).unwrap().json().unwrap();
        for (n, looked) in [&first, &second].into_iter().enumerate() {
            assert_eq!(looked["clock"], stored["events"][n]["at"], "{language}: {looked}");
            assert_eq!(looked["environment"], json!([]), "{language}: {looked}");
            assert_eq!(looked["arguments"], json!([]), "{language}: {looked}");
        }
        for chance in ["random", "secure"] {
            assert_eq!(first[chance], second[chance], "{language}: {chance}");
        }
        let (file, socket) = refusals(language);
        for (what, told) in [("file", file), ("socket", socket)] {
            let said = first[what].as_str();
            let as_told = match (said, told) {
                (Some(said), Some(told)) => said.contains(told),
                (said, told) => said == told,
            };
            assert!(as_told, "{language}: {what}: {said:?}");
        }
        let state = host.client().get(&format!("/v1/{ACTOR}")).unwrap().json().unwrap();
        assert_eq!(state["state"], json!({ "looked": 2, "clock": 0, "calls": 0 }), "{language}");

        // Whatever is printed is in the log, with the actor.
        let time = format!("it is {}", first["clock"]);
        let said = host.output();
        // The other programs give up before they ask the host for a socket.
        let asked = (language == Language::Rust).then_some("asked for a tcp socket: refused");
        let printed = [time.as_str(), "and all is well"].into_iter();
        for words in printed.chain(file).chain(socket).chain(asked) {
            let mut lines = said.lines();
            let told = lines.any(|line| line.contains(words) && line.contains(ACTOR));
            assert!(told, "{language}: `{words}` is not in the log:\n{said}");
        }
    }
}

#[test]
fn a_global_variable_lasts_no_longer_than_an_instance() {
    for language in Language::there().unwrap() {
        let host = host(model(language, "turn", |text| text));
        for _ in 0..3 {
            assert_eq!(event(&host, "count")["calls"], 1, "{language}, each turn");
        }
        drop(host);
        let kept =
            model(language, "actor", |text| text.replace("isolation: turn", "isolation: actor"));
        let host = self::host(kept);
        for calls in 1..=3 {
            assert_eq!(event(&host, "count")["calls"], calls, "{language}, kept");
        }
    }
}

#[test]
fn a_global_variable_is_found_by_the_purity_check() {
    let kept = |text: String| text.replace("isolation: turn", "isolation: actor") + COUNTED_TWICE;
    for language in Language::there().unwrap() {
        let (status, said) = test(model(language, "counts", kept));
        assert_eq!(status, Some(1), "{language}: {said}");
        assert!(said.contains("not pure") && said.contains("calls"), "{language}: {said}");
        // No instance sees a second command: it does no harm.
        let (status, said) = test(model(language, "turns", |text| text + COUNTED_TWICE));
        assert_eq!(status, Some(0), "{language}: {said}");
    }
}

/// In an instance that is kept, generators that a language seeds once go on where they stopped. The
/// purity check finds what such a number does.
#[test]
fn chance_that_goes_on_is_found_by_the_purity_check() {
    let kept = |text: String| text.replace("isolation: turn", "isolation: actor") + LOOKED_TWICE;
    for language in Language::there().unwrap() {
        let (status, said) = test(model(language, "looks", kept));
        if language == Language::TypeScript {
            // It has no generator of its own: `Math.random` asks the host each time.
            assert_eq!(status, Some(0), "{said}");
        } else {
            assert_eq!(status, Some(1), "{language}: {said}");
            assert!(said.contains("not pure") && said.contains("looked."), "{language}: {said}");
        }
        let (status, said) = test(model(language, "looks-anew", |text| text + LOOKED_TWICE));
        assert_eq!(status, Some(0), "{language}: {said}");
    }
}
