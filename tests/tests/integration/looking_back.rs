//! Looking at an actor's past: the real binary against a running host, which none of it changes.

pub mod fork;
mod pages;
mod replay;

use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::NatsServer,
    workspace,
};
use serde_json::{Value, json};

use crate::{
    cli::at,
    evolution::{second, with_old_sales},
};

pub(crate) const ALICE: &str = "bank/account/alice";

/// A host on which `actor`, an account, was opened (1), got 50 (2), has paid 20 (3), and was closed,
/// which pays out the rest (4) and closes it (5) in one turn.
pub(crate) fn closed_account(actor: &str) -> HostProcess {
    let host = HostOptions::bank().unwrap().start().unwrap();
    spend(&host, actor);
    host
}

fn spend(host: &HostProcess, actor: &str) {
    for (id, words) in [
        ("c1", &["open", "owner=Alice"][..]),
        ("c2", &["deposit", "amount=50"]),
        ("c3", &["withdraw", "amount=20"]),
        ("c4", &["close"]),
    ] {
        at(host, &[&["send", actor, "--id", id], words].concat()).ok();
    }
}

/// What the host has of `actor`, to see that nothing was changed.
pub(crate) fn all_of(host: &HostProcess, actor: &str) -> (Value, Value) {
    let state = at(host, &["state", actor, "--json"]).json();
    (state, at(host, &["events", actor, "--json", "--limit", "100000"]).json())
}

#[test]
fn the_state_at_any_version_and_what_changed_between_two() {
    let host = closed_account(ALICE);
    let balances = [0, 0, 50, 30, 0, 0];
    for (version, balance) in balances.iter().enumerate() {
        let version = version.to_string();
        let state = at(&host, &["state", ALICE, "--version", &version, "--json"]).json();
        assert_eq!(state["state"]["balance"], json!(balance), "{state}");
    }

    let diff = at(&host, &["diff", ALICE, "1", "3"]).ok();
    assert_eq!(diff, format!("{ALICE} from version 1 to version 3\n  balance  0  -> 30\n"));
    let back = at(&host, &["diff", ALICE, "3", "1"]).ok();
    assert!(back.ends_with("  balance  30  -> 0\n"), "{back}");
    let to_the_newest = at(&host, &["diff", ALICE, "3", "--json"]).json();
    let expected = json!({"actor": ALICE, "from": 3, "to": 5, "changes": [
        {"path": "balance", "before": 30, "after": 0},
        {"path": "open", "before": true, "after": false},
        {"path": "closed", "before": false, "after": true},
    ]});
    assert_eq!(to_the_newest, expected);
    let same = at(&host, &["diff", ALICE, "0", "0"]).ok();
    assert_eq!(same, format!("{ALICE} has the same state at version 0 and at version 0\n"));

    let said = at(&host, &["diff", ALICE, "1", "9"]).failed(2, "unknown");
    assert!(said.contains("has 5 events: version 9 is not reached"), "{said}");
    at(&host, &["diff", "bank/acount/alice", "0", "1"]).failed(2, "unknown");
}

#[test]
fn blame_names_the_event_that_gave_a_field_its_value() {
    let host = closed_account(ALICE);
    let blamed = at(&host, &["blame", ALICE, "balance", "--version", "3"]).ok();
    let head =
        format!("balance of {ALICE} at version 3 is 30 since version 3; before, it was 50\n3  ");
    assert!(blamed.starts_with(&head), "{blamed}");
    assert!(blamed.ends_with("  withdrawn  c3  {\"amount\":20}\n"), "{blamed}");

    let owner = at(&host, &["blame", ALICE, "owner", "--json"]).json();
    assert_eq!((&owner["version"], &owner["value"]), (&json!(5), &json!("Alice")));
    assert_eq!(owner["before"], json!(""));
    let event = &owner["event"];
    assert_eq!((&event["version"], &event["command"]), (&json!(1), &json!("c1")));
    assert_eq!((&event["type"], &event["data"]), (&json!("opened"), &json!({"owner": "Alice"})));
    assert!(event["at"].as_u64().is_some_and(|at| at > 1_600_000_000_000), "{event}");
    // The second event of a turn.
    let closed = at(&host, &["blame", ALICE, "closed", "--json"]).json();
    assert_eq!(
        (&closed["event"]["version"], &closed["event"]["type"]),
        (&json!(5), &json!("closed"))
    );

    let untouched = at(&host, &["blame", ALICE, "overdraft"]).ok();
    assert!(untouched.ends_with("is 0, as it was in the beginning: no event has changed it\n"));
    let untouched = at(&host, &["blame", ALICE, "overdraft", "--json"]).json();
    assert_eq!((&untouched["event"], untouched.get("before")), (&Value::Null, None));

    let said = at(&host, &["blame", ALICE, "balanse"]).failed(2, "unknown");
    assert!(said.contains("the state has no `balanse`; did you mean `balance`?"), "{said}");
    let said = at(&host, &["blame", ALICE, "owner.name"]).failed(2, "unknown");
    assert!(said.contains("`owner` is \"Alice\": it has no `name`"), "{said}");
    at(&host, &["blame", ALICE, "balance", "--version", "6"]).failed(2, "unknown");
    let ended = at(&host, &["blame", ALICE, "lines[*]"]);
    assert!(ended.status == 2 && ended.err.contains("expected e.g. lines[2].price"), "{ended:?}");
}

#[test]
fn blame_follows_a_path_into_lists() {
    let options = HostOptions::new().unwrap().model(workspace::journal_model().unwrap());
    let host = options.start().unwrap();
    let actor = "faults/journal/j";
    for (client, counter) in [(7, 1), (9, 1), (7, 2), (3, 1)] {
        let fields = format!("{{\"client\":{client},\"counter\":{counter}}}");
        at(&host, &["send", actor, "append", &fields]).ok();
    }
    // The clients stand in the order of their numbers: 3 came before the others at the end.
    for (path, value, since) in [
        ("clients[0].client", 3, 4),
        ("clients[1].counter", 2, 4),
        ("clients[2].counter", 1, 4),
        ("total", 4, 4),
    ] {
        let blamed = at(&host, &["blame", actor, path, "--json"]).json();
        assert_eq!((&blamed["value"], &blamed["event"]["version"]), (&json!(value), &json!(since)));
    }
    let then =
        at(&host, &["blame", actor, "clients[0].counter", "--version", "3", "--json"]).json();
    assert_eq!((&then["value"], &then["before"]), (&json!(2), &json!(1)));
    assert_eq!(then["event"]["version"], 3);
    let came = at(&host, &["blame", actor, "clients[2].counter"]).ok();
    assert!(came.contains("since version 4; before, it was not there"), "{came}");
    let said = at(&host, &["blame", actor, "clients[3].counter"]).failed(2, "unknown");
    assert!(said.contains("`clients` has no item [3]: it has 3, [0] to [2]"), "{said}");
}

#[test]
fn an_actor_without_events_has_a_past_of_nothing() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let nobody = "bank/account/nobody";
    assert_eq!(at(&host, &["events", nobody, "--to", "5"]).ok(), "");
    let state = at(&host, &["state", nobody, "--version", "0", "--json"]).json();
    assert_eq!((&state["version"], &state["state"]["open"]), (&json!(0), &json!(false)));
    assert!(at(&host, &["diff", nobody, "0"]).ok().contains("has the same state"));
    let blamed = at(&host, &["blame", nobody, "owner"]).ok();
    assert!(blamed.ends_with("is \"\", as it was in the beginning: no event has changed it\n"));
    let replayed = at(&host, &["replay", nobody]).ok();
    assert!(replayed.starts_with(&format!("{nobody} at version 0\n  owner")), "{replayed}");
    at(&host, &["replay", nobody, "--until", "1"]).failed(2, "unknown");
    assert_eq!(at(&host, &["actors", "bank/account"]).ok(), "");
}

#[test]
fn ids_may_hold_anything() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    for odd in ["bank/account/a b/é?#%.", "bank/account/x@7", "bank/account/..", "bank/account/*>"]
    {
        spend(&host, odd);
        let diff = at(&host, &["diff", odd, "1", "2", "--json"]).json();
        assert_eq!(
            diff["changes"],
            json!([{"path": "balance", "before": 0, "after": 50}]),
            "{odd}"
        );
        let blamed = at(&host, &["blame", odd, "owner", "--json"]).json();
        assert_eq!((&blamed["actor"], &blamed["event"]["version"]), (&json!(odd), &json!(1)));
        let replayed = at(&host, &["replay", odd]).ok();
        assert!(replayed.contains(&format!("\n{odd} at version 5\n")), "{replayed}");
        let events = at(&host, &["events", odd, "--from", "2", "--to", "3", "--json"]).json();
        assert_eq!(events["events"].as_array().unwrap().len(), 2, "{odd}");
    }
}

#[test]
fn the_past_in_nats_is_the_same() {
    let server = NatsServer::start().unwrap();
    let host = HostOptions::bank().unwrap().nats(server.url()).start().unwrap();
    spend(&host, ALICE);
    let before = all_of(&host, ALICE);
    assert!(at(&host, &["diff", ALICE, "1", "3"]).ok().ends_with("  balance  0  -> 30\n"));
    let blamed = at(&host, &["blame", ALICE, "balance", "--json"]).json();
    assert_eq!(blamed["event"]["version"], 4);
    assert!(at(&host, &["replay", ALICE]).ok().contains(&format!("\n{ALICE} at version 5\n")));
    assert_eq!(all_of(&host, ALICE), before);
}

#[test]
fn events_of_an_older_model_are_shown_as_they_were_stored_and_folded_as_they_are_read_now() {
    let options = HostOptions::new().unwrap();
    let old = with_old_sales(&options);
    let host = options.model(second().unwrap()).start().unwrap();
    let till = "shop/till/one";
    at(&host, &["send", till, "sell", "item=tea", "count=1"]).ok();

    let events = at(&host, &["events", till, "--json"]).json();
    assert_eq!(events["events"].as_array().unwrap()[..2], old.as_array().unwrap()[..]);
    let types = |name: &str| at(&host, &["events", till]).ok().matches(name).count();
    assert_eq!((types("  sold  "), types("  sale  ")), (2, 1));
    let blamed = at(&host, &["blame", till, "last", "--version", "2"]).ok();
    assert!(
        blamed.contains(" is \"milk\" since version 2;") && blamed.contains("  sold  "),
        "{blamed}"
    );
    let replayed = at(&host, &["replay", till]).ok();
    assert!(replayed.contains("  channel  \"\"  -> \"counter\"\n"), "{replayed}");
    assert!(replayed.contains("\"counter\"   -> \"web\"\n"), "{replayed}");
}

#[test]
fn models_and_components_are_given_by_digest_and_nothing_else_is() {
    let host = closed_account(ALICE);
    let client = host.client();
    let deployed = client.get("/admin/deployments").unwrap().json().unwrap();
    let deployed = &deployed["deployments"][0];
    let model =
        client.get(&format!("/admin/blobs/{}", deployed["model"].as_str().unwrap())).unwrap();
    let file = std::fs::read_to_string(workspace::bank_model().unwrap()).unwrap();
    assert_eq!((model.status, model.text()), (200, file));
    let component = deployed["components"]["account"].as_str().unwrap();
    assert_eq!(client.get(&format!("/admin/blobs/{component}")).unwrap().status, 200);
    let other = aether_wit::Digest::of("other");
    let refused = client.get(&format!("/admin/blobs/{other}")).unwrap();
    assert_eq!((refused.status, refused.code().unwrap().as_str()), (404, "unknown"));

    // Records as they are stored, and where they end.
    let lines: Vec<Value> = client
        .lines("/admin/records/bank/account/alice?until=2")
        .unwrap()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert!(last["end"]["version"].as_u64().is_some_and(|version| version >= 2), "{last}");
    let stored = &lines[1]["record"]["stored"];
    assert_eq!((&stored["model"], &stored["deployment"]), (&deployed["model"], &json!(1)));
    assert_eq!((&stored["first"], &stored["turns"][0]["command"]["id"]), (&json!(2), &json!("c2")));
}

/// Every command of the document works as it stands, in its order.
#[test]
fn the_document_is_done_line_by_line() {
    let options = HostOptions::bank().unwrap();
    let host = options.start().unwrap();
    let text = std::fs::read_to_string(workspace::root().join("docs/looking-back.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut done = 0;
    for line in blocks.flat_map(str::lines) {
        let line = line.split(" # ").next().unwrap().trim();
        let words: Vec<_> = line.strip_prefix("aether ").expect(line).split(' ').collect();
        let model = workspace::bank_model().unwrap();
        let here = "examples-guests/bank/bank.storm.yaml";
        let words: Vec<_> = words
            .into_iter()
            .map(|it| if it == here { model.to_str().unwrap() } else { it })
            .collect();
        at(&host, &words).ok();
        done += 1;
    }
    assert!(done > 10, "{done} commands were found");
    let blamed = at(&host, &["blame", ALICE, "balance"]).ok();
    let shown = text.lines().find(|line| line.starts_with("balance of ")).unwrap();
    assert_eq!(blamed.lines().next(), Some(shown));
}
