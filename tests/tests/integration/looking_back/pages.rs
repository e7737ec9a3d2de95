//! Long pasts: pages that follow each other without paying for the beginning each time, and every
//! look at an actor with 10,000 events.

use std::{io::Write as _, process::Stdio, sync::Arc};

use aether::{
    address::Address,
    clock,
    command::EventsPage,
    failure::{Code, Failure},
    host::Host,
    record::Position,
    store::{EventStore, Freshness},
};
use aether_tests::{
    faulty_store::FaultyStore,
    host_process::{self, HostOptions, HostProcess},
    in_process::{PATIENCE, faulty_store, send, start},
    workspace,
};
use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::at;

const JOURNAL: &str = "faults/journal/j";

/// Copies of one turn: they share a record.
const COPIES: u64 = 250;

/// A host on `store`, and a journal with so many turns.
async fn journal(turns: u64) -> Result<(Arc<FaultyStore>, Host)> {
    let store = faulty_store().await?;
    let host = start(store.clone(), &workspace::journal_model()?).await?;
    for counter in 1..=turns {
        let fields = json!({"client": 1, "counter": counter, "copies": COPIES});
        send(&host, JOURNAL, "append-many", fields).await?;
    }
    Ok((store, host))
}

async fn page(host: &Host, from: u64) -> Result<EventsPage, Failure> {
    let actor: Address = JOURNAL.parse().unwrap();
    host.events(&actor, from, 1000, clock::now() + PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_goes_on_where_the_last_one_ended() -> Result<()> {
    const TURNS: u64 = 200;
    let (store, host) = journal(TURNS).await?;
    // The whole log is more than two of the store's own pages.
    store.answer_reads(2);
    assert_eq!(page(&host, TURNS * COPIES - 1).await.unwrap_err().code, Code::Unavailable);

    let (mut next, mut seen) = (Some(1), 0);
    while let Some(from) = next {
        store.answer_reads(2);
        let page = page(&host, from).await?;
        for event in &page.events {
            seen += 1;
            assert_eq!(event.version, seen);
        }
        next = page.next;
    }
    assert_eq!(seen, TURNS * COPIES);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_ends_within_a_turn_goes_on_within_it() -> Result<()> {
    let (_, host) = journal(3).await?;
    let actor: Address = JOURNAL.parse()?;
    let (mut next, mut versions) = (Some(1), Vec::new());
    while let Some(from) = next {
        let page = host.events(&actor, from, 70, clock::now() + PATIENCE).await?;
        assert!(page.events.len() <= 70);
        versions.extend(page.events.iter().map(|event| event.version));
        next = page.next;
    }
    assert_eq!(versions, (1..=3 * COPIES).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_changed_is_read_from_the_first_record_on() -> Result<()> {
    let (store, host) = journal(8).await?;
    assert_eq!(page(&host, 1).await?.next, Some(1001));
    assert_eq!(page(&host, 1001).await?.events.len(), 1000);
    // The fourth record, at which the first page ended, is another one now.
    let actor: Address = JOURNAL.parse()?;
    let fourth = store.read(&actor, Position(4), Freshness::Leader).await?.records.remove(0);
    let text = String::from_utf8(fourth.bytes.to_vec())?;
    store.alter(fourth.position, text.replace("\"copy\":1,", "\"copy\":9,").into());
    let failure = page(&host, 1001).await.unwrap_err();
    assert_eq!(failure.code, Code::Quarantined, "{failure}");
    assert!(failure.detail.contains("position 5"), "{failure}");
    Ok(())
}

/// A host whose journal has 10,000 events in 40 records.
fn long_journal() -> HostProcess {
    let options = HostOptions::new().unwrap().model(workspace::journal_model().unwrap());
    let host = options.start().unwrap();
    let client = host.client();
    for counter in 1..=10_000 / COPIES {
        let fields = json!({"client": 1, "counter": counter, "copies": COPIES});
        let reply = client.command(JOURNAL, "append-many", &fields).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    host
}

#[test]
fn every_look_at_ten_thousand_events() {
    let host = long_journal();
    let all = at(&host, &["events", JOURNAL, "--to", "10000", "--json"]).json();
    let versions: Vec<_> =
        all["events"].as_array().unwrap().iter().map(|e| &e["version"]).collect();
    assert_eq!(versions.len(), 10_000);
    assert!(versions.iter().zip(1..).all(|(found, version)| **found == json!(version)));
    assert_eq!(all["next"], Value::Null);
    let part = at(&host, &["events", JOURNAL, "--from", "4990", "--to", "8010"]).ok();
    assert_eq!(part.lines().count(), 3021);
    assert!(part.starts_with("4990  ") && !part.contains("more with"), "{part:.200}");
    let cut = at(&host, &["events", JOURNAL, "--to", "5000", "--limit", "1500"]).ok();
    assert_eq!((cut.lines().count(), cut.lines().last()), (1501, Some("more with --from 1501")));

    let diff = at(&host, &["diff", JOURNAL, "4000", "9999", "--json"]).json();
    let changes = json!([
        {"path": "total", "before": 4000, "after": 9999},
        {"path": "clients[0].counter", "before": 16, "after": 40},
    ]);
    assert_eq!(diff["changes"], changes);
    let blamed = at(&host, &["blame", JOURNAL, "clients[0].counter", "--json"]).json();
    assert_eq!((&blamed["value"], &blamed["event"]["version"]), (&json!(40), &json!(9751)));

    let replayed = at(&host, &["replay", JOURNAL, "--json"]).ok();
    assert_eq!(replayed.lines().count(), 10_001);
    let last: Value = serde_json::from_str(replayed.lines().last().unwrap()).unwrap();
    let state = at(&host, &["state", JOURNAL, "--json"]).json();
    assert_eq!((&last["end"]["version"], &last["end"]["state"]), (&json!(10_000), &state["state"]));

    let mut fork = host_process::aether(host.options().folder()).unwrap();
    fork.env("AETHER_URL", host.url()).stdin(Stdio::piped()).stdout(Stdio::piped());
    fork.args(["fork", &format!("{JOURNAL}@9990"), "faults/journal/copy", "--sandbox"]);
    let mut fork = fork.spawn().unwrap();
    fork.stdin.take().unwrap().write_all(b"append client=2 counter=1\nstate\n").unwrap();
    let ended = fork.wait_with_output().unwrap();
    let out = String::from_utf8(ended.stdout).unwrap();
    assert!(out.contains("faults/journal/copy at version 9991\n  total    9991\n"), "{out}");
}

#[test]
fn what_is_asked_of_events_must_make_sense() {
    let host = HostOptions::bank().unwrap().start().unwrap();
    let alice = super::ALICE;
    at(&host, &["send", alice, "open", "owner=Alice"]).ok();
    for (words, said) in [
        (["--from", "7", "--to", "3"], "--from 7 is behind --to 3"),
        (["--from", "0", "--limit", "0"], "--limit is 0"),
    ] {
        let ended = at(&host, &[&["events", alice], &words[..]].concat());
        assert!(ended.status == 2 && ended.err.contains(said), "{ended:?}");
    }
    assert_eq!(at(&host, &["events", alice, "--to", "50"]).ok().lines().count(), 1);
    assert_eq!(at(&host, &["events", alice, "--from", "2", "--to", "50"]).ok(), "");
    at(&host, &["events", "bank/acount/alice"]).failed(2, "unknown");
}
