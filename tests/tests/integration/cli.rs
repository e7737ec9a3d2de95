//! The command line as people and scripts use it: the real binary against a running host.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Output, Stdio},
};

use aether::config::settings::SETTINGS;
use aether_tests::{
    host_process::{self, HostOptions, HostProcess, run_cli},
    nats_server::NatsServer,
    workspace,
};
use serde_json::{Value, json};

const ALICE: &str = "bank/account/alice";

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It ended with `status`, said nothing on stdout, and `code: …` on stderr.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.starts_with(&format!("{code}: ")), "{self:?}");
        assert_eq!(self.out, "");
        self.err
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// `aether ARGUMENTS` with variables, in `folder`.
fn aether(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = host_process::aether(folder).unwrap();
    command.envs(variables.iter().copied()).args(arguments).output().unwrap().into()
}

/// `aether ARGUMENTS` against a host.
pub(crate) fn at(host: &HostProcess, arguments: &[&str]) -> Ended {
    aether(host.options().folder(), &[("AETHER_URL", &host.url())], arguments)
}

#[test]
fn commands_and_what_they_left_are_shown_to_people() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let sent = at(&host, &["send", ALICE, "open", "owner=Alice", "--id", "first"]).ok();
    let expected =
        format!("{ALICE} at version 1\n  1  opened  {{\"owner\":\"Alice\"}}\ncommand first\n");
    assert_eq!(sent, expected);
    at(&host, &["send", ALICE, "deposit", "{\"amount\": 50}"]).ok();

    let state = at(&host, &["state", ALICE]).ok();
    assert!(state.starts_with(&format!("{ALICE} at version 2\n  owner")), "{state}");
    assert!(state.contains("\n  balance         50\n") && state.contains("\ncomponent sha256:"));
    let then = at(&host, &["state", ALICE, "--version", "1"]).ok();
    assert!(then.contains("at version 1") && then.contains("\n  balance         0\n"), "{then}");

    let events = at(&host, &["events", ALICE, "--limit", "1"]).ok();
    assert!(events.starts_with("1  ") && events.contains("opened  first  {\"owner\""), "{events}");
    assert!(events.ends_with("more with --from 2\n"), "{events}");
    let rest = at(&host, &["events", ALICE, "--from", "2"]).ok();
    assert!(rest.starts_with("2  ") && rest.lines().count() == 1, "{rest}");

    let awake = format!("{ALICE}  awake at version 2\n");
    assert_eq!(at(&host, &["actors"]).ok(), awake);
    assert_eq!(at(&host, &["actors", "bank/account"]).ok(), awake);
    assert_eq!(at(&host, &["sleep", ALICE]).ok(), format!("{ALICE} is asleep\n"));
    assert_eq!(at(&host, &["sleep", ALICE]).ok(), format!("{ALICE} is asleep already\n"));
    assert_eq!(at(&host, &["actors", "--awake"]).ok(), "");
    assert_eq!(at(&host, &["actors", "bank/account"]).ok(), format!("{ALICE}\n"));
    assert_eq!(at(&host, &["wake", ALICE]).ok(), format!("{ALICE} is awake at version 2\n"));

    let deployed = at(&host, &["deployments"]).ok();
    assert!(deployed.starts_with("* bank  #1  model "), "{deployed}");
    assert!(deployed.contains("by aether run"), "{deployed}");
}

#[test]
fn commands_and_what_they_left_are_printed_as_json() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let sent = at(&host, &["send", ALICE, "open", "owner=Alice", "--json"]).json();
    assert_eq!((&sent["actor"], &sent["version"]), (&json!(ALICE), &json!(1)));
    assert_eq!(sent["events"][0]["data"], json!({"owner": "Alice"}));
    assert!(sent["command"].as_str().is_some_and(|id| id.len() == 36), "{sent}");

    let refused = at(&host, &["send", ALICE, "withdraw", "amount=1", "--json"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    let refused: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(refused["rejection"], json!({"insufficient-funds": {"balance": 0}}));

    let state = at(&host, &["state", ALICE, "--json"]).json();
    assert_eq!((&state["version"], &state["state"]["owner"]), (&json!(1), &json!("Alice")));
    let events = at(&host, &["events", ALICE, "--json"]).json();
    assert_eq!((&events["events"][0]["type"], &events["next"]), (&json!("opened"), &Value::Null));
    let actors = at(&host, &["actors", "bank/account", "--json"]).json();
    assert_eq!(actors["actors"][0]["actor"], ALICE);
    assert_eq!(at(&host, &["wake", ALICE, "--json"]).json()["version"], 1);
    assert_eq!(at(&host, &["sleep", ALICE, "--json"]).json()["was-awake"], true);
    let deployed = at(&host, &["deployments", "--json"]).json();
    assert_eq!(deployed["deployments"][0]["number"], 1);

    // The id of the actor goes to the host as it was typed.
    let awkward = "bank/account/a b/é?#%.";
    let sent = at(&host, &["send", awkward, "open", "owner=Z", "--json"]).json();
    assert_eq!(sent["actor"], awkward);
}

#[test]
fn watch_follows_and_goes_on_after_a_cursor() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    at(&host, &["send", ALICE, "open", "owner=Alice"]).ok();
    let watch = |after: &[&str], lines: usize, meanwhile: &dyn Fn()| -> Vec<Value> {
        let mut child = host_process::aether(host.options().folder())
            .unwrap()
            .args(["watch", "bank", "--url", &host.url()])
            .args(after)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = Vec::new();
        while seen.len() < lines {
            seen.push(serde_json::from_str(&out.next().unwrap().unwrap()).unwrap());
            if seen.len() == 1 {
                meanwhile();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        seen
    };
    let seen = watch(&[], 2, &|| {
        at(&host, &["send", ALICE, "deposit", "amount=5"]).ok();
    });
    assert_eq!((&seen[0]["type"], &seen[1]["type"]), (&json!("opened"), &json!("deposited")));
    let cursor = seen[0]["cursor"].as_str().expect("a line has a cursor").to_owned();
    assert_eq!(watch(&["--after", &cursor], 1, &|| ())[0], seen[1]);
}

#[test]
fn exit_statuses_tell_what_to_do() {
    let hostile = workspace::hostile_model().unwrap();
    let options = HostOptions::bank().unwrap().model(hostile);
    let host = options.args(["--body-bytes", "64KiB"]).start().unwrap();
    at(&host, &["send", ALICE, "open", "owner=Alice", "--id", "a"]).ok();

    let said = at(&host, &["send", ALICE, "withdraw", "amount=80"]).failed(1, "rejected");
    assert!(said.contains("insufficient-funds"), "{said}");
    at(&host, &["send", ALICE, "deposit", "amount=1", "--if-match", "7"]).failed(1, "conflict");
    at(&host, &["send", ALICE, "deposit", "amount=many"]).failed(2, "invalid");
    at(&host, &["send", ALICE, "open", "owner=Bob", "--id", "a"]).failed(2, "invalid");
    at(&host, &["send", ALICE, "deposti", "amount=1"]).failed(2, "unknown");
    at(&host, &["state", "shop/cart/a"]).failed(2, "unknown");
    at(&host, &["state", ALICE, "--version", "9"]).failed(2, "unknown");
    at(&host, &["watch", "shop"]).failed(2, "unknown");
    let late = ["state", ALICE, "--min-version", "9", "--timeout", "200ms"];
    at(&host, &late).failed(3, "unresolved");
    let trap = ["send", "hostile/saboteur/x", "panic", "place=decide"];
    at(&host, &trap).failed(4, "component-fault");
    let large = format!("owner={}", "x".repeat(70_000));
    at(&host, &["send", "bank/account/b", "open", &large]).failed(2, "too-large");

    // What is wrong before anybody is asked.
    for wrong in [&["send", "alice", "open"][..], &["state"], &["sned"], &["actors", "bank"]] {
        let ended = at(&host, wrong);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.out.is_empty() && ended.err.starts_with("error: "), "{ended:?}");
    }
    let nobody = HostOptions::new().unwrap();
    let away = ["send", ALICE, "deposit", "amount=1", "--url", "http://127.0.0.1:1"];
    let ended = aether(nobody.folder(), &[], &away);
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.err.contains("add --id "), "how to ask again is told: {ended:?}");
}

#[test]
fn a_host_without_its_store_is_to_be_tried_again() {
    let mut server = NatsServer::start().unwrap();
    let host = HostOptions::bank().unwrap().nats(server.url()).start().unwrap();
    at(&host, &["send", ALICE, "open", "owner=Alice", "--timeout", "20s"]).ok();
    let doctor = at(&host, &["doctor", "--nats", &server.url()]).ok();
    for told in ["jetstream", "replicas 1, storage file", "not known", "sync_interval"] {
        assert!(doctor.contains(told), "`{told}` is not in\n{doctor}");
    }
    let three = at(&host, &["doctor", "--nats", &server.url(), "--replicas", "3"]);
    assert!(three.status == 1 && three.out.contains("stands alone"), "{three:?}");
    server.kill();
    let ended = at(&host, &["send", ALICE, "deposit", "amount=1", "--timeout", "500ms"]);
    assert_eq!(ended.status, 3, "{ended:?}");
    let honest = ["unavailable: ", "unresolved: "].iter().any(|code| ended.err.starts_with(code));
    assert!(honest, "{ended:?}");
    let doctor = at(&host, &["doctor", "--nats", &server.url(), "--json"]);
    assert_eq!(doctor.status, 1, "{doctor:?}");
    let found: Value = serde_json::from_str(&doctor.out).unwrap();
    let of_nats = |one: &&Value| one["what"] == "nats";
    let nats = found["findings"].as_array().unwrap().iter().find(of_nats).expect("it is told");
    assert_eq!(nats["level"], "fail");
    let secret = server.url().replace("nats://", "nats://user:not-to-be-shown@");
    let doctor = at(&host, &["doctor", "--nats", &secret]);
    assert!(!format!("{doctor:?}").contains("not-to-be-shown"), "{doctor:?}");
}

#[test]
fn callers_are_known_by_their_tokens() {
    const TOKEN: &str = "0123456789abcdef0123";
    let options = HostOptions::new().unwrap().model(workspace::hostile_model().unwrap());
    let file = options.folder().join("tokens");
    fs::write(&file, format!("# who may call\nalice {TOKEN}\n")).unwrap();
    let options = options.args(["--token-file".as_ref(), file.as_os_str()]);
    let mut host = options.start().unwrap();
    let url = host.url();
    let ask = |token: &[(&str, &str)], arguments: &[&str]| {
        let variables = [&[("AETHER_URL", url.as_str())], token].concat();
        aether(options.folder(), &variables, arguments)
    };
    let report = ["send", "hostile/saboteur/x", "report", "--json"];
    let told = ask(&[("AETHER_TOKEN", TOKEN)], &report).json();
    assert_eq!(told["events"][0]["data"]["by"], "alice");
    ask(&[], &report).failed(2, "unauthenticated");
    let wrong = ask(&[("AETHER_TOKEN", "fedcba9876543210fedc")], &["state", "hostile/counter/c"]);
    assert!(!wrong.failed(2, "unauthenticated").contains("fedcba"), "a token is shown");

    assert!(host.terminate().unwrap().success());
    assert!(!host.output().contains(TOKEN), "a token is shown:\n{}", host.output());
    let data = options.data_folder().unwrap();
    let stored = fs::read_dir(data).unwrap().any(|file| {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        bytes.windows(12).any(|part| part == br#""by":"alice""#)
    });
    assert!(stored, "who asked does not stand in the record");
}

#[test]
fn an_open_door_needs_tokens() {
    let folder = HostOptions::new().unwrap();
    let run = ["run", "--data", ":memory:", "--http", "0.0.0.0:0"];
    let ended = aether(folder.folder(), &[], &run);
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.err.contains("--token-file") && ended.err.contains("--insecure"), "{ended:?}");
    let file = folder.folder().join("tokens");
    fs::write(&file, "alice short\n").unwrap();
    let ended = aether(folder.folder(), &[("AETHER_TOKEN_FILE", "tokens")], &run);
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.err.contains("tokens:1: the token has less than 16 bytes"), "{ended:?}");
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let options = HostOptions::new().unwrap();
    let folder = options.folder();
    let data = |variables: &[(&str, &str)], flags: &[&str]| {
        let found = aether(folder, variables, &[&["doctor", "--json"], flags].concat()).json();
        let of_data = |one: &&Value| one["what"] == "data folder";
        let found = found["findings"].as_array().unwrap().iter().find(of_data).cloned();
        found.expect("the folder is told")["found"].as_str().unwrap().to_owned()
    };
    assert!(data(&[], &[]).starts_with("./data: "));
    fs::write(folder.join("aether.toml"), "data = \"of-the-file\"\nmax-awake = 7\n").unwrap();
    assert!(data(&[], &[]).starts_with("of-the-file: "));
    let variable = [("AETHER_DATA", "of-the-variable")];
    assert!(data(&variable, &[]).starts_with("of-the-variable: "));
    assert!(data(&variable, &["--data", "of-the-flag"]).starts_with("of-the-flag: "));
    fs::write(folder.join("other.toml"), "data = \"of-another-file\"\n").unwrap();
    assert!(data(&[], &["--config", "other.toml"]).starts_with("of-another-file: "));

    fs::write(folder.join("aether.toml"), "max-awak = 7\n").unwrap();
    let run = ["run", "--data", ":memory:", "--http", "127.0.0.1:0"];
    for (variables, wrong, hint) in [
        (&[][..], "aether.toml: the key `max-awak` is unknown", "did you mean `max-awake`?"),
        (&[("AETHER_HTPP", "x")], "`AETHER_HTPP` is unknown", "did you mean `AETHER_HTTP`?"),
    ] {
        let ended = aether(folder, variables, &run);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.err.contains(wrong) && ended.err.contains(hint), "{ended:?}");
    }
    fs::remove_file(folder.join("aether.toml")).unwrap();
    let ended = aether(folder, &[("AETHER_DRAIN", "30")], &run);
    assert!(ended.err.contains("`drain` of the environment"), "{ended:?}");
    assert_eq!(aether(folder, &[], &["run", "--max-awak", "7"]).status, 2);
}

#[test]
fn the_help_of_run_tells_every_limit() {
    let folder = HostOptions::new().unwrap();
    let help = aether(folder.folder(), &[], &["run", "--help"]).ok();
    let words: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in ["TIME is a whole number with its unit", "SIZE likewise", "AETHER_LOG"] {
        assert!(words.contains(told), "`{told}` is not in\n{help}");
    }
    for setting in SETTINGS {
        let told = format!("--{}", setting.name);
        assert!(words.contains(&told), "{told} is missing in:\n{help}");
        assert!(words.contains(&setting.variable()), "{} is missing", setting.variable());
        let default = format!("[default: {}]", setting.default);
        assert!(setting.default.is_empty() || words.contains(&default), "{told} {default}");
    }
}

#[test]
fn completions_name_the_commands() {
    let folder = HostOptions::new().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = aether(folder.folder(), &[], &["completions", shell]).ok();
        for word in ["send", "deployments", "completions", "max-awake"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(aether(folder.folder(), &[], &["completions", "dos"]).status, 2);
}

#[test]
fn models_are_checked_and_turned_into_what_others_need() {
    let bank = workspace::bank_model().unwrap();
    let bank = bank.to_str().unwrap();
    let options = HostOptions::new().unwrap();
    let run = |arguments: &[&str]| aether(options.folder(), &[], arguments);
    let check = run(&["model", "check", bank]).ok();
    assert!(check.contains("ok: context bank 0.1.0, 2 aggregates"), "{check}");
    assert_eq!(run(&["model", "check", bank, "--json"]).json()["problems"], json!([]));
    assert!(run(&["model", "wit", bank]).ok().contains("interface %account"));
    assert!(run(&["model", "board", bank]).ok().starts_with("<svg"));
    let openapi = run(&["model", "openapi", bank]).json();
    assert!(openapi["paths"]["/v1/bank/account/{id}/deposit"].is_object());
    assert!(run(&["model", "schema"]).json()["properties"]["aggregates"].is_object());

    let text = fs::read_to_string(bank).unwrap();
    let broken = text.replacen("emits: [deposited]", "emits: [deposted]", 1);
    let file = options.folder().join("broken.storm.yaml");
    fs::write(&file, broken).unwrap();
    for what in ["check", "wit", "openapi", "board"] {
        let ended = run(&["model", what, "broken.storm.yaml"]);
        assert_eq!(ended.status, 2, "{ended:?}");
        let first = ended.err.lines().next().unwrap();
        assert!(first.starts_with("broken.storm.yaml:"), "{first}");
        assert!(first.contains(": error: ") && first.contains("`deposted`"), "{first}");
        assert!(ended.err.contains("did you mean `deposited`?"), "{ended:?}");
    }
    let (less, _) = text.split_once("\nscenarios:").expect("the bank has scenarios");
    let less = less.replacen("opened: { owner: string }", "opened: { owner: u64 }", 1);
    fs::write(&file, less).unwrap();
    let ended = run(&["model", "diff", bank, "broken.storm.yaml"]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.out.contains("needs upcast") && ended.out.contains("opened"), "{ended:?}");
    assert_eq!(run(&["model", "diff", bank, bank]).ok(), "nothing changed\n");
}

#[test]
fn a_model_that_is_not_there_is_named_by_every_command() {
    let options = HostOptions::new().unwrap();
    for arguments in [
        &["run", "no.storm.yaml"][..],
        &["test", "no.storm.yaml"],
        &["model", "check", "no.storm.yaml"],
    ] {
        let ended = Ended::from(run_cli(options.folder(), arguments).unwrap());
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.err.contains("no.storm.yaml"), "{ended:?}");
    }
}
