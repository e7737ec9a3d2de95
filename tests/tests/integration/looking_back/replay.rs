//! `aether replay`: the real history through the deployed component, through others, and through
//! what cannot fold it.

use std::path::PathBuf;

use aether_tests::{
    guest_project::GuestProject,
    host_process::{HostOptions, HostProcess},
    workspace,
};
use serde_json::{Value, json};

use super::{ALICE, all_of, closed_account};
use crate::{
    cli::{Ended, at},
    evolution::{self, edited, first, second, with_old_sales},
};

const TILL: &str = "shop/till/one";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A till that panics at a sale of 13.
fn unlucky() -> PathBuf {
    let code = evolution::FIRST_CODE.replace(
        "count: state.count + u64::from(count)",
        "count: if count == 13 { panic!(\"unlucky\") } else { state.count + u64::from(count) }",
    );
    assert!(code.contains("unlucky"));
    let project = GuestProject::new("shop-unlucky", "shop.storm.yaml", evolution::FIRST);
    project.source("lib.rs", &code).build("shop.wasm").unwrap().with_file_name("shop.wasm")
}

/// A host of the first till, with sales of these counts.
fn till(counts: &[u32]) -> HostProcess {
    let host = HostOptions::new().unwrap().model(first().unwrap()).start().unwrap();
    for count in counts {
        at(&host, &["send", TILL, "sell", "item=tea", &format!("count={count}")]).ok();
    }
    host
}

/// Replays with other code; nothing at the host is changed by it.
fn replay(host: &HostProcess, actor: &str, arguments: &[&str]) -> Ended {
    let before = all_of(host, actor);
    let ended = at(host, &[&["replay", actor], arguments].concat());
    assert_eq!(all_of(host, actor), before);
    ended
}

#[test]
fn each_event_is_shown_with_what_it_changes() {
    let host = closed_account(ALICE);
    let shown = replay(&host, ALICE, &[]).ok();
    let parts = [
        "opened  c1  {\"owner\":\"Alice\"}\n  owner  \"\"     -> \"Alice\"\n  open   false  -> true\n2  ",
        "  balance  0  -> 50\n3  ",
        "  balance  50  -> 30\n4  ",
        "  balance  30  -> 0\n5  ",
        "closed  c4  {}\n  open    true   -> false\n  closed  false  -> true\n",
        &format!("\n{ALICE} at version 5\n  owner           \"Alice\"\n"),
        "\ncomponent sha256:",
    ];
    let mut rest = shown.as_str();
    for part in parts {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("`{part}` is not in\n{rest}\nof\n{shown}"));
        rest = &rest[at..];
    }

    let told = lines(&replay(&host, ALICE, &["--json"]).ok());
    assert_eq!(told.len(), 6);
    let third = &told[2]["event"];
    assert_eq!((&third["version"], &third["type"]), (&json!(3), &json!("withdrawn")));
    let change = json!([{"path": "balance", "before": 50, "after": 30}]);
    assert_eq!((&third["changes"], &third["command"]), (&change, &json!("c3")));
    let (state, _) = all_of(&host, ALICE);
    let end = &told[5]["end"];
    assert_eq!((&end["state"], &end["component"]), (&state["state"], &state["component"]));
    assert_eq!((&end["actor"], &end["version"]), (&json!(ALICE), &json!(5)));
}

#[test]
fn it_ends_at_the_version_that_is_asked_for() {
    let host = closed_account(ALICE);
    // The turn of 4 and 5 is cut.
    for (until, balance, closed) in [(0, 0, false), (3, 30, false), (4, 0, false), (5, 0, true)] {
        let told = lines(&replay(&host, ALICE, &["--json", "--until", &until.to_string()]).ok());
        assert_eq!(told.len(), until + 1);
        let end = &told[until]["end"];
        assert_eq!((&end["version"], &end["state"]["balance"]), (&json!(until), &json!(balance)));
        assert_eq!(end["state"]["closed"], closed);
    }
    let ended = replay(&host, ALICE, &["--until", "6"]);
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("has 5 events: version 6 is not reached"), "{ended:?}");
    at(&host, &["replay", "bank/acount/alice"]).failed(2, "unknown");
    at(&host, &["replay", "shop/cart/alice"]).failed(2, "unknown");
}

#[test]
fn an_event_at_which_a_component_traps_is_shown_at_its_version() {
    let host = till(&[2, 13, 5]);
    let component = unlucky();
    let component = component.to_str().unwrap();
    let ended = replay(&host, TILL, &["--component", component]);
    assert_eq!(ended.status, 4, "{ended:?}");
    assert!(ended.out.starts_with("1  ") && ended.out.contains("  count  0   -> 2\n"), "{ended:?}");
    assert!(ended.out.lines().last().is_some_and(|line| line.starts_with("2  ")), "{ended:?}");
    let said = "trap: shop/till/one: event `sold` of version 2: ";
    assert!(ended.err.contains(said) && ended.err.contains("unlucky"), "{ended:?}");

    let ended = replay(&host, TILL, &["--component", component, "--json"]);
    assert_eq!(ended.status, 4, "{ended:?}");
    let told = lines(&ended.out);
    let fault = &told[1]["fault"];
    assert_eq!((told.len(), &fault["kind"]), (2, &json!("trap")));
    assert_eq!(
        (&fault["event"]["version"], &fault["event"]["data"]["count"]),
        (&json!(2), &json!(13))
    );
    // Before it, all is well.
    replay(&host, TILL, &["--component", component, "--until", "1"]).ok();
}

#[test]
fn another_component_gives_another_state() {
    let host = till(&[2, 3]);
    let model = second().unwrap();
    let told = lines(&replay(&host, TILL, &["--model", model.to_str().unwrap(), "--json"]).ok());
    let end = &told[2]["end"];
    let expected =
        json!({"count": 5, "last": "tea", "channel": "counter", "coupons": 0, "closed": false});
    assert_eq!(end["state"], expected);
    let deployed = all_of(&host, TILL).0;
    assert_eq!(deployed["state"], json!({"count": 5, "last": "tea"}));
    assert_ne!((&end["component"], &end["model"]), (&deployed["component"], &Value::Null));
    // The component alone was built for another model than the one that is deployed.
    let component = model.with_file_name("shop.wasm");
    let ended = replay(&host, TILL, &["--component", component.to_str().unwrap()]);
    assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{ended:?}");
    assert!(ended.err.contains("does not fit the model of deployment 1 of `shop`"), "{ended:?}");
}

#[test]
fn an_event_that_does_not_decode_is_shown_at_its_version() {
    let options = HostOptions::new().unwrap();
    with_old_sales(&options);
    let host = options.model(second().unwrap()).start().unwrap();
    // A model that has forgotten what the event was called.
    let (_folder, model) = edited("        was: sold\n", "");
    let ended = replay(&host, TILL, &["--model", model.to_str().unwrap()]);
    assert_eq!(ended.status, 4, "{ended:?}");
    assert!(ended.out.starts_with("1  ") && ended.out.contains("  sold  "), "{ended:?}");
    let said = "unreadable: shop/till/one: event `sold` of version 1: the model has no such event";
    assert!(ended.err.contains(said), "{ended:?}");
}

#[test]
fn code_of_another_context_is_refused_by_name() {
    let host = till(&[1]);
    let bank = workspace::bank_model().unwrap();
    let component = bank.with_file_name("bank.wasm");
    let ended = replay(&host, TILL, &["--component", component.to_str().unwrap()]);
    assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{ended:?}");
    for said in ["bank.wasm does not fit", "`shop:model/till`", "`bank:model/account`"] {
        assert!(ended.err.contains(said), "{said}: {ended:?}");
    }
    let ended = replay(&host, TILL, &["--model", bank.to_str().unwrap()]);
    assert_eq!((ended.status, ended.out.as_str()), (2, ""), "{ended:?}");
    let said = "is a model of the context `bank`; shop/till/one belongs to `shop`";
    assert!(ended.err.contains(said), "{ended:?}");
    let ended = replay(&host, TILL, &["--component", "no-such-file.wasm"]);
    assert!(ended.status == 2 && ended.err.contains("no-such-file.wasm is missing"), "{ended:?}");
}

#[test]
fn damage_is_told_where_it_stands_and_what_a_repair_skips_is_not_seen() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    at(&host, &["send", ALICE, "open", "owner=Alice"]).ok();
    for amount in [1, 2, 4, 8] {
        at(&host, &["send", ALICE, "deposit", &format!("amount={amount}")]).ok();
    }
    // The deposit of 2 is no record any more.
    let mut records = host.client().lines("/admin/records/bank/account/alice").unwrap();
    let third: Value = serde_json::from_str(&records.nth(2).unwrap().unwrap()).unwrap();
    let position = third["record"]["position"].as_i64().unwrap();
    host.kill().unwrap();
    let file = host.options().data_folder().unwrap().join("store.db");
    let db = rusqlite::Connection::open(file).unwrap();
    let update = "UPDATE records SET bytes = CAST('{}' AS BLOB) WHERE position = ?1";
    assert_eq!(db.execute(update, [position]).unwrap(), 1);
    drop(db);
    host.restart().unwrap();

    let ended = at(&host, &["replay", ALICE, "--json"]);
    assert_eq!((ended.status, ended.out.lines().count()), (4, 2), "{ended:?}");
    assert!(ended.err.starts_with("quarantined: ") && ended.err.contains("position"), "{ended:?}");
    at(&host, &["replay", ALICE, "--until", "2"]).ok();
    let blamed = at(&host, &["blame", ALICE, "balance", "--version", "2", "--json"]).json();
    assert_eq!(blamed["event"]["version"], 2);
    let skip = position.to_string();
    at(&host, &["release", ALICE, "--skip", &skip, "--because", "the test broke it"]).ok();
    // The repair is the last record: it ends with the version that it leaves out.
    let told = lines(&replay(&host, ALICE, &["--json"]).ok());
    let version = &all_of(&host, ALICE).0["version"];
    assert_eq!(&told.last().unwrap()["end"]["version"], version);
    at(&host, &["send", ALICE, "deposit", "amount=16"]).ok();

    let told = lines(&replay(&host, ALICE, &["--json"]).ok());
    let (state, events) = all_of(&host, ALICE);
    let versions = |list: &[Value]| list.iter().map(|e| e["version"].clone()).collect::<Vec<_>>();
    let replayed: Vec<_> = told.iter().filter_map(|line| line.get("event").cloned()).collect();
    assert_eq!(versions(&replayed), versions(events["events"].as_array().unwrap()));
    let end = &told.last().unwrap()["end"];
    assert_eq!((&end["state"], &end["version"]), (&state["state"], &state["version"]));
    assert_eq!(state["state"]["balance"], 1 + 4 + 8 + 16);
    let ended = at(&host, &["replay", ALICE, "--until", "3"]);
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.err.contains("version 3 of bank/account/alice does not count"), "{ended:?}");
    let (out, err) = super::fork::forked(&host, &[ALICE, "bank/account/copy"], "state\n");
    assert!(out.contains("balance         29\n"), "{out}");
    assert!(err.contains("a repair skips versions of the original"), "{err}");
}
