//! Releases and audits inside the test's process: logs that have lost their tail while several
//! witnesses remember it, others who write meanwhile, and hosts that are too old.

use std::{sync::Arc, time::Duration};

use aether::{
    address::Address,
    audit::{Item, Scope, release::Order},
    clock,
    failure::Code,
    host::Host,
    record::{Position, Stored, parse},
    store::{Append, EventStore, Freshness, Quarantine, Snapshot},
};
use aether_tests::{
    faulty_store::FaultyStore,
    in_process::{PATIENCE, command, faulty_store, send, start, state},
    workspace,
};
use aether_wit::Digest;
use anyhow::Result;
use serde_json::{Value, json};

use super::kit::AMOUNTS;

const ALICE: &str = "bank/account/alice";

fn alice() -> Address {
    ALICE.parse().unwrap()
}

/// The five records of an account, and its snapshot behind the last.
async fn past() -> Result<(Vec<Stored>, Snapshot)> {
    let store = faulty_store().await?;
    let host = start(store.clone(), &workspace::bank_model()?).await?;
    send(&host, ALICE, "open", json!({"owner": "Alice"})).await?;
    for amount in AMOUNTS {
        send(&host, ALICE, "deposit", json!({ "amount": amount })).await?;
    }
    host.sleep(&alice(), clock::now() + PATIENCE).await?;
    let page = store.read(&alice(), Position(1), Freshness::Proof).await?;
    let snapshot = store.newest_snapshot(&alice()).await?.unwrap();
    assert_eq!((page.records.len(), snapshot.position), (5, Position(5)));
    Ok((page.records, snapshot))
}

/// What appends `bytes` behind `expected`.
fn append(expected: u64, bytes: &[u8]) -> Append {
    let record = parse(&Stored { position: Position(1), bytes: bytes.to_vec().into() });
    let (first, events) =
        record.map_or((expected + 1, 1), |record| (record.first, record.event_count()));
    Append {
        actor: alice(),
        expected: Position(expected),
        first,
        events,
        command_ids: Vec::new(),
        bytes: bytes.to_vec().into(),
        deadline: clock::now() + PATIENCE,
    }
}

/// A host on a store that holds these records and nothing else; their numbers begin with 1.
async fn host_on(records: &[Stored]) -> Result<(Arc<FaultyStore>, Host)> {
    let store = faulty_store().await?;
    for (expected, record) in (0..).zip(records) {
        let position = store.append(append(expected, &record.bytes)).await?;
        assert_eq!(position, Position(expected + 1));
    }
    let host = start(store.clone(), &workspace::bank_model()?).await?;
    Ok((store, host))
}

fn order(skip: &[u64]) -> Order {
    Order {
        actor: alice(),
        skip: skip.iter().copied().map(Position).collect(),
        because: if skip.is_empty() { String::new() } else { "the test lost it".to_owned() },
        by: None,
        deadline: clock::now() + PATIENCE,
    }
}

/// Kinds of the findings, and how many notes there are.
async fn audit(host: &Host) -> (Vec<String>, usize) {
    let mut items = host.audit(Scope::default());
    let (mut kinds, mut notes) = (Vec::new(), 0);
    while let Some(item) = items.recv().await {
        match item.unwrap() {
            Item::Finding(finding) => kinds.push(finding.kind),
            Item::Note(_) => notes += 1,
            Item::Progress(_) | Item::Summary(_) => {}
        }
    }
    (kinds, notes)
}

async fn balance(host: &Host) -> Result<(u64, Value)> {
    let (version, state) = state(host, ALICE).await?;
    Ok((version, state["balance"].clone()))
}

fn log_behind(record: &Stored) -> Quarantine {
    Quarantine {
        position: record.position,
        kind: "log-behind".to_owned(),
        reason: "a VM stood on it".to_owned(),
        digest: Some(Digest::of(&record.bytes)),
        at: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_with_two_witnesses_is_released() -> Result<()> {
    for (skip, position) in [(&[4, 5][..], 4), (&[5], 4)] {
        let (records, snapshot) = past().await?;
        let (store, host) = host_on(&records[..3]).await?;
        store.save_snapshot(&alice(), snapshot).await?;
        store.quarantine(&alice(), &log_behind(&records[3])).await?;
        let refused = host.release(order(&[])).await.unwrap_err();
        assert_eq!(refused.code, Code::Quarantined);
        assert!(refused.detail.contains("--skip 5 --skip 4 "), "{}", refused.detail);
        let too_little = host.release(order(&[4])).await.unwrap_err();
        assert_eq!(too_little.code, Code::Quarantined, "{}", too_little.detail);
        let released = host.release(order(skip)).await?;
        assert_eq!(released.repair, Some(Position(position)));
        // The snapshot was at version 5: what was told as 4 and 5 is not told with other events.
        assert_eq!(balance(&host).await?, (5, json!(3)));
        let mut stale = command(ALICE, "deposit", &json!({"amount": 1}))?;
        stale.expected_version = Some(4);
        assert!(host.send(stale).await.is_err());
        assert_eq!(send(&host, ALICE, "deposit", json!({"amount": 1})).await?.version, 6);
        assert_eq!(audit(&host).await, (Vec::new(), 1));
    }
    Ok(())
}

/// The store has lost its tail and given the numbers away again, to commands that were
/// acknowledged: they count.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_place_of_a_lost_tail_is_kept() -> Result<()> {
    for more in [0, 1] {
        let (records, snapshot) = past().await?;
        let (store, before) = host_on(&records[..3]).await?;
        let mut last = command(ALICE, "deposit", &json!({"amount": 32}))?;
        last.id = Some("in-place".to_owned());
        send(&before, ALICE, "deposit", json!({"amount": 16})).await?;
        assert_eq!(before.send(last.clone()).await?.version, 5);
        for _ in 0..more {
            send(&before, ALICE, "deposit", json!({"amount": 64})).await?;
        }
        drop(before);
        store.save_snapshot(&alice(), snapshot).await?;
        let host = start(store.clone(), &workspace::bank_model()?).await?;
        let refused = send(&host, ALICE, "deposit", json!({"amount": 1})).await.unwrap_err();
        assert_eq!(refused.code, Code::Quarantined);
        let refused = host.release(order(&[])).await.unwrap_err();
        assert!(refused.detail.contains("' --skip 5 --because"), "{}", refused.detail);
        host.release(order(&[5])).await?;
        assert_eq!(balance(&host).await?, (5 + more, json!(51 + 64 * more)));
        assert_eq!(host.send(last).await?.version, 5);
        assert_eq!(audit(&host).await, (Vec::new(), 1));
    }
    Ok(())
}

/// What others write while a log is read is not taken for damage, and nobody is quarantined.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_at_work_is_not_taken_for_damaged() -> Result<()> {
    let (records, _) = past().await?;
    let late = || vec![None, Some(append(4, &records[4].bytes))];
    let (store, host) = host_on(&records[..4]).await?;
    store.append_behind_reads(late());
    assert_eq!(audit(&host).await, (Vec::new(), 0));
    assert_eq!(balance(&host).await?, (5, json!(15)));

    let (store, host) = host_on(&records[..4]).await?;
    store.append_behind_reads(late());
    let refused = host.release(order(&[5])).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid, "{}", refused.detail);
    assert_eq!(host.quarantines(None).await?, []);
    assert_eq!(balance(&host).await?, (5, json!(15)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_comes_while_a_log_is_read_is_obeyed() -> Result<()> {
    let (records, snapshot) = past().await?;
    let (store, host) = host_on(&records[..3]).await?;
    store.save_snapshot(&alice(), snapshot.clone()).await?;
    host.release(order(&[5])).await?;
    let repair = store.read(&alice(), Position(4), Freshness::Proof).await?.records.remove(0);

    let (store, host) = host_on(&records[..3]).await?;
    store.save_snapshot(&alice(), snapshot).await?;
    store.append_behind_reads(vec![Some(append(3, &repair.bytes))]);
    assert_eq!(audit(&host).await.0, Vec::<String>::new());
    assert_eq!(balance(&host).await?, (5, json!(3)));
    Ok(())
}

/// A host that does not know the newest code or format judges nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_newer_hosts_wrote_is_not_damage() -> Result<()> {
    let (records, _) = past().await?;
    let mut newer: Value = serde_json::from_slice(&records[4].bytes)?;
    newer["deployment"] = json!(2);
    newer["turns"][0]["events"][0]["type"] = json!("blessed");
    let newer = newer.to_string();
    for (bytes, kinds) in [
        (newer.as_bytes(), &["deployment", "model"][..]),
        (br#"{"format":2,"entries":[]}"#, &["format"]),
    ] {
        let (store, host) = host_on(&records[..4]).await?;
        store.append(append(4, bytes)).await?;
        assert_eq!(audit(&host).await.0, kinds);
        for skip in [&[][..], &[5]] {
            let refused = host.release(order(skip)).await.unwrap_err();
            assert_eq!(refused.code, Code::Unavailable, "{}", refused.detail);
        }
        assert_eq!(
            (store.head(&alice()).await?, host.quarantines(None).await?),
            (Position(5), vec![])
        );
    }
    // An altered number is damage: the next record does not follow it.
    let (store, host) = host_on(&records[..3]).await?;
    let altered =
        String::from_utf8(records[3].bytes.to_vec())?.replacen("\"format\":1", "\"format\":3", 1);
    store.append(append(3, altered.as_bytes())).await?;
    store.append(append(4, &records[4].bytes)).await?;
    host.release(order(&[4])).await?;
    assert_eq!(balance(&host).await?, (5, json!(11)));

    let mut deployment = host.deployments().remove(0);
    deployment.number += 1;
    store.activate(&deployment).await?;
    let refused = host.release(order(&[])).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable, "{}", refused.detail);
    Ok(())
}

/// The operator's patience ends before the log does: the work is done all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_on_when_its_caller_is_gone() -> Result<()> {
    let (records, snapshot) = past().await?;
    let (store, host) = host_on(&records[..3]).await?;
    store.save_snapshot(&alice(), snapshot).await?;
    let refused = send(&host, ALICE, "deposit", json!({"amount": 1})).await.unwrap_err();
    assert_eq!(refused.code, Code::Quarantined);
    let mut hasty = order(&[5]);
    hasty.deadline = clock::now();
    let unknown = host.release(hasty).await.unwrap_err();
    assert_eq!(unknown.code, Code::Unresolved, "{}", unknown.detail);
    let until = clock::now() + PATIENCE;
    while store.quarantined(&alice()).await?.is_some() {
        assert!(clock::now() < until, "it was never released");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The mark here falls with the one in the store, or a moment later.
    while balance(&host).await.is_err() {
        assert!(clock::now() < until, "it was never released");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(balance(&host).await?, (5, json!(3)));
    Ok(())
}
