//! Every answer that `docs/operations.md` shows has the form that a running host gives it.

use std::{collections::BTreeMap, fs};

use aether_tests::{
    host_process::{HostOptions, HostProcess},
    workspace,
};
use rusqlite::Connection;
use serde_json::{Value, json};

/// The lines of JSON behind each request that the page shows.
fn shown() -> BTreeMap<String, Vec<Value>> {
    let page = fs::read_to_string(workspace::root().join("docs/operations.md")).unwrap();
    let (_, page) = page.split_once("## Over HTTP").unwrap();
    let mut shown = BTreeMap::new();
    let mut fences = page.split("```");
    while let (Some(text), Some(block)) = (fences.next(), fences.next()) {
        let request = text.rsplit("\n\n`").find_map(|part| Some(part.split_once('`')?.0));
        let lines = block.strip_prefix("json\n").unwrap().lines();
        let lines = lines.map(|line| serde_json::from_str(line).unwrap());
        shown.insert(request.unwrap().to_owned(), lines.collect());
    }
    shown
}

/// Keys and kinds of values; of arrays that of the elements, which have one.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, it)| (key.clone(), form(it))).collect(),
        Value::Array(items) => {
            let first = items.first().map(form).expect("there is one to compare");
            assert!(items.iter().all(|item| form(item) == first), "{value}");
            json!([first])
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("yes or no"),
        Value::Null => Value::Null,
    }
}

/// A host with the awake account `bob` and the account `alice`, which is damaged.
fn damaged() -> HostProcess {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let open = |host: &HostProcess, id: &str| {
        let fields = json!({ "owner": id });
        host.client().command(&format!("bank/account/{id}"), "open", &fields).unwrap()
    };
    assert_eq!(open(&host, "alice").status, 200);
    host.terminate().unwrap();
    let file = host.options().data_folder().unwrap().join("store.db");
    let db = Connection::open(file).unwrap();
    assert_eq!(db.execute("UPDATE records SET bytes = x'00'", []).unwrap(), 1);
    db.execute("DELETE FROM snapshots", []).unwrap();
    drop(db);
    host.restart().unwrap();
    assert_eq!(open(&host, "alice").code().unwrap(), "quarantined");
    assert_eq!(open(&host, "bob").status, 200);
    host
}

#[test]
fn the_answers_have_the_forms_that_the_page_shows() {
    let shown = shown();
    let host = damaged();
    let client = host.client();
    let is_shown = |request: &str, told: &Value| {
        assert_eq!(form(told), form(&shown[request][0]), "{request}: {told}");
    };
    let get = |path: &str| client.get(path).unwrap().json().unwrap();
    let marks = get("/admin/quarantined?context=bank");
    is_shown("GET /admin/quarantined", &marks);
    is_shown("GET /admin/deployments", &get("/admin/deployments"));
    let awake = get("/admin/awake?limit=100");
    let bob = awake["actors"].as_array().unwrap().iter();
    let bob: Vec<_> = bob.filter(|entry| entry["actor"] == "bank/account/bob").collect();
    is_shown("GET /admin/awake", &json!({ "actors": bob }));

    let lines = |path: &str| {
        let text = client.get(path).unwrap().text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let audit = &shown["GET /admin/audit"];
    let key = |line: &Value| line.as_object().unwrap().keys().next().unwrap().clone();
    let known: BTreeMap<_, _> = audit.iter().map(|line| (key(line), form(line))).collect();
    assert_eq!(known["progress"]["progress"], known["summary"]["summary"]);
    let has_form = |lines: &[Value], kinds: &[&str]| {
        let told: Vec<_> = lines.iter().map(key).filter(|key| key != "progress").collect();
        assert_eq!(told, kinds, "{lines:?}");
        lines.iter().for_each(|line| assert_eq!(form(line), known[&key(line)], "{line}"));
    };
    has_form(&lines("/admin/audit?actor=bank/account/alice"), &["finding", "summary"]);
    has_form(&lines("/admin/audit?actor=bank%2Faccount%2Falice"), &["finding", "summary"]);

    let order = json!({"actor": "bank/account/alice", "skip": [1], "because": "a flipped bit"});
    let release = |order: &Value| {
        let reply = client.send("POST", "/admin/release", &[], order.to_string().as_bytes());
        reply.unwrap().json().unwrap()
    };
    let refused = release(&json!({"actor": "bank/account/alice"}));
    assert_eq!(refused["code"], "quarantined");
    is_shown("POST /admin/release", &release(&order));
    has_form(&lines("/admin/audit"), &["note", "summary"]);
    let again = release(&json!({"actor": "bank/account/bob"}));
    let is = json!({"actor": "bank/account/bob", "version": 1, "was-quarantined": false, "repair": null});
    assert_eq!(again, is);
    assert_eq!(shown.len(), 5, "a request is shown that is not tried here");
}
