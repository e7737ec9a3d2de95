//! The turn against a store that loses answers, and two hosts on one log.
//!
//! Invariant: whatever the store answers or fails to answer, a command's events are in the log
//! once or not at all, and the caller is told which, or that it is not known.

mod groups;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aether::{
    clock,
    command::{Consistency, Outcome, Query, Reply},
    failure::{Code, Failure},
    host::Host,
    record::Position,
    store::{
        Append, EventStore, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore, Tuning},
    },
};
use aether_tests::{
    crash_vfs::TraceVfs,
    faulty_store::{AppendFault, FaultyStore},
    in_process::{PATIENCE, command, event_names, faulty_store, rejection, send, start, state},
    workspace,
};
use aether_wit::Digest;
use anyhow::Result;
use serde_json::json;
use tokio::task::JoinHandle;

const ALICE: &str = "bank/account/alice";

async fn bank() -> Result<(Arc<FaultyStore>, Host)> {
    let store = faulty_store().await?;
    let host = start(store.clone(), &workspace::bank_model()?).await?;
    send(&host, ALICE, "open", json!({"owner": "Alice"})).await?;
    Ok((store, host))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unresolved_and_the_same_id_finds_what_was_stored() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::AnswerLost]);
    let mut deposit = command(ALICE, "deposit", &json!({"amount": 50}))?;
    deposit.id = Some("d-1".to_owned());
    let lost = host.send(deposit.clone()).await.unwrap_err();
    assert_eq!((lost.code, lost.command.as_deref()), (Code::Unresolved, Some("d-1")));
    let reply = host.send(deposit).await?;
    assert_eq!((reply.version, event_names(&reply)), (2, vec!["deposited"]));
    assert_eq!(state(&host, ALICE).await?.1["balance"], 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_is_unresolved_and_the_same_id_does_it_once() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::RequestLost]);
    let mut deposit = command(ALICE, "deposit", &json!({"amount": 50}))?;
    deposit.id = Some("d-1".to_owned());
    assert_eq!(host.send(deposit.clone()).await.unwrap_err().code, Code::Unresolved);
    assert_eq!(host.send(deposit.clone()).await?.version, 2);
    assert_eq!(host.send(deposit).await?.version, 2);
    assert_eq!(state(&host, ALICE).await?, (2, state(&host, ALICE).await?.1));
    assert_eq!(state(&host, ALICE).await?.1["balance"], 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_answer_the_next_command_is_decided_on_what_was_stored() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::AnswerLost]);
    let deposit = send(&host, ALICE, "deposit", json!({"amount": 50})).await;
    assert_eq!(deposit.unwrap_err().code, Code::Unresolved);
    let withdraw = send(&host, ALICE, "withdraw", json!({"amount": 50})).await?;
    assert_eq!((withdraw.version, event_names(&withdraw)), (3, vec!["withdrawn"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_an_earlier_try_was_stored_is_seen_as_the_commit_it_is() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::RefusedAfterStored]);
    let reply = send(&host, ALICE, "deposit", json!({"amount": 50})).await?;
    assert_eq!((reply.version, event_names(&reply)), (2, vec!["deposited"]));
    assert_eq!(state(&host, ALICE).await?.1["balance"], 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definite_refusal_is_unavailable_and_moves_nothing() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::Refused]);
    let deposit = send(&host, ALICE, "deposit", json!({"amount": 50})).await;
    assert_eq!(deposit.unwrap_err().code, Code::Unavailable);
    assert_eq!(state(&host, ALICE).await?.0, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_with_other_fields_is_invalid() -> Result<()> {
    let (_store, host) = bank().await?;
    let mut deposit = command(ALICE, "deposit", &json!({"amount": 50}))?;
    deposit.id = Some("d-1".to_owned());
    host.send(deposit.clone()).await?;
    let mut other = command(ALICE, "deposit", &json!({"amount": 51}))?;
    other.id = Some("d-1".to_owned());
    assert_eq!(host.send(other).await.unwrap_err().code, Code::Invalid);
    let mut another = command(ALICE, "withdraw", &json!({"amount": 50}))?;
    another.id = Some("d-1".to_owned());
    assert_eq!(host.send(another).await.unwrap_err().code, Code::Invalid);
    assert_eq!(state(&host, ALICE).await?.0, 2);
    Ok(())
}

/// Two ids whose digests begin with the same three bytes, which is all that a ledger keeps of them.
fn alike() -> (String, String) {
    let mut known = std::collections::HashMap::new();
    (0..)
        .map(|n| format!("c{n}"))
        .find_map(|id| {
            let [a, b, c, ..] = *Digest::of(&id).as_bytes();
            Some((known.insert([a, b, c], id.clone())?, id))
        })
        .expect("there are more numbers than fingerprints")
}

/// Once an id has left the ledger, the embedded store still knows it, also while the ledger holds
/// another id that looks the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_id_is_found_behind_a_newer_one_that_looks_the_same() -> Result<()> {
    let (_store, host) = bank().await?;
    let (old, newer) = alike();
    let deposit = |id: &str| {
        let mut deposit = command(ALICE, "deposit", &json!({"amount": 1}))?;
        deposit.id = Some(id.to_owned());
        anyhow::Ok(deposit)
    };
    let first = host.send(deposit(&old)?).await?;
    for n in 0..64 {
        host.send(deposit(&format!("other-{n}"))?).await?;
    }
    host.send(deposit(&newer)?).await?;
    let again = host.send(deposit(&old)?).await?;
    assert_eq!((first.version, again.version), (2, 2));
    assert_eq!(state(&host, ALICE).await?.0, 67);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_write_one_log_without_losing_or_doubling() -> Result<()> {
    let store = faulty_store().await?;
    let model = workspace::bank_model()?;
    let hosts = [start(store.clone(), &model).await?, start(store.clone(), &model).await?];
    send(&hosts[0], ALICE, "open", json!({"owner": "Alice"})).await?;
    let clients = (0..16).map(|client| {
        let host = hosts[client % 2].clone();
        tokio::spawn(async move {
            let mut versions = Vec::new();
            while versions.len() < 25 {
                match send(&host, ALICE, "deposit", json!({"amount": 1})).await {
                    Ok(reply) => versions.push(reply.version),
                    Err(failure) => assert_eq!(failure.code, Code::Contended, "{failure}"),
                }
            }
            versions
        })
    });
    let mut versions = BTreeSet::new();
    for client in futures::future::join_all(clients).await {
        for version in client? {
            assert!(versions.insert(version), "version {version} was told twice");
        }
    }
    assert_eq!(versions, (2..=401).collect());
    for host in &hosts {
        let (version, state) = state(host, ALICE).await?;
        assert_eq!((version, &state["balance"]), (401, &json!(400)));
    }
    let metrics = hosts.iter().map(|host| host.metrics().render()).collect::<String>();
    assert!(metrics.contains("conflict"), "the race must have been seen:\n{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_not_seen_the_newest_event_answers_from_it_all_the_same() -> Result<()> {
    let store = faulty_store().await?;
    let model = workspace::bank_model()?;
    let (ours, theirs) = (start(store.clone(), &model).await?, start(store.clone(), &model).await?);
    send(&ours, ALICE, "open", json!({"owner": "Alice"})).await?;
    assert_eq!(state(&theirs, ALICE).await?.0, 1);
    send(&ours, ALICE, "deposit", json!({"amount": 50})).await?;
    // In the memory of `theirs` there is no money; the log says otherwise.
    let withdraw = send(&theirs, ALICE, "withdraw", json!({"amount": 50})).await?;
    assert_eq!(event_names(&withdraw), ["withdrawn"]);
    assert_eq!(state(&ours, ALICE).await?.0, 3);
    let refused = send(&ours, ALICE, "withdraw", json!({"amount": 1})).await?;
    assert_eq!((refused.version, rejection(&refused)), (3, Some("insufficient-funds")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_version_is_checked_against_the_log_and_not_against_memory() -> Result<()> {
    let store = faulty_store().await?;
    let model = workspace::bank_model()?;
    let (ours, theirs) = (start(store.clone(), &model).await?, start(store.clone(), &model).await?);
    send(&ours, ALICE, "open", json!({"owner": "Alice"})).await?;
    assert_eq!(state(&theirs, ALICE).await?.0, 1);
    send(&ours, ALICE, "deposit", json!({"amount": 1})).await?;
    let mut at_two = command(ALICE, "deposit", &json!({"amount": 1}))?;
    at_two.expected_version = Some(2);
    assert_eq!(theirs.send(at_two.clone()).await?.version, 3);
    let conflict = theirs.send(at_two).await.unwrap_err();
    assert_eq!((conflict.code, conflict.version), (Code::Conflict, Some(3)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_cancels_nothing() -> Result<()> {
    let (store, host) = bank().await?;
    store.hold_appends();
    let before = store.appends();
    let deposit = command(ALICE, "deposit", &json!({"amount": 50}))?;
    let caller = tokio::spawn({
        let host = host.clone();
        async move { host.send(deposit).await }
    });
    while store.appends() == before {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    store.release_appends();
    assert_eq!(state(&host, ALICE).await?.1["balance"], 50);
    Ok(())
}

/// A deposit of 1 for Alice, on its way.
fn deposit(host: &Host) -> JoinHandle<Result<Reply, Failure>> {
    let host = host.clone();
    tokio::spawn(async move { send(&host, ALICE, "deposit", json!({"amount": 1})).await })
}

/// Such a deposit, which the store does not let pass.
async fn held(store: &FaultyStore, host: &Host) -> JoinHandle<Result<Reply, Failure>> {
    store.hold_appends();
    let before = store.appends();
    let first = deposit(host);
    while store.appends() == before {
        tokio::task::yield_now().await;
    }
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_refuses_at_once_and_the_others_are_served() -> Result<()> {
    let (store, host) = bank().await?;
    let first = held(&store, &host).await;
    let caller = |_| deposit(&host);
    let callers: Vec<_> = (1..300).map(caller).collect();
    while callers.iter().filter(|caller| caller.is_finished()).count() < 43 {
        tokio::task::yield_now().await;
    }
    store.release_appends();
    first.await??;
    let mut accepted = 1;
    for caller in callers {
        match caller.await? {
            Ok(_) => accepted += 1,
            Err(failure) => assert_eq!(failure.code, Code::Overloaded, "{failure}"),
        }
    }
    // One is being done and 256 wait: `mailbox` of the model.
    assert_eq!(accepted, 257);
    assert_eq!(state(&host, ALICE).await?.1["balance"], 257);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_many_commands_share_a_record_no_more_than_these_take_their_places() -> Result<()> {
    // At most so many share a record (ADR 13), and so many may wait: `mailbox` of the model.
    const TOGETHER: usize = 32;
    const WAITING: usize = 256;
    let (store, host) = bank().await?;
    let before = store.appends();
    let first = held(&store, &host).await;
    let caller = |_| deposit(&host);
    let mut callers: Vec<_> = (0..WAITING + 1).map(caller).collect();
    let refused =
        |callers: &[JoinHandle<_>]| callers.iter().filter(|caller| caller.is_finished()).count();
    let end = clock::now() + PATIENCE;
    while refused(&callers) == 0 {
        assert!(clock::now() < end, "the mailbox is not full");
        tokio::task::yield_now().await;
    }
    store.release_one_append();
    first.await??;
    while store.appends() < before + 2 {
        tokio::task::yield_now().await;
    }
    callers.extend((0..TOGETHER + 1).map(caller));
    while refused(&callers) < 2 {
        assert!(clock::now() < end, "the mailbox is not full again");
        tokio::task::yield_now().await;
    }
    store.release_appends();
    let told = futures::future::join_all(callers).await;
    let accepted = told.iter().filter(|told| matches!(told, Ok(Ok(_)))).count();
    assert_eq!((told.len(), accepted), (WAITING + TOGETHER + 2, WAITING + TOGETHER));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_tail_quarantines_the_actor_that_stood_on_it() -> Result<()> {
    let (store, host) = bank().await?;
    send(&host, ALICE, "deposit", json!({"amount": 50})).await?;
    send(&host, "bank/account/bob", "open", json!({"owner": "Bob"})).await?;
    store.forget_from(Position(2));
    let failure = send(&host, ALICE, "withdraw", json!({"amount": 80})).await.unwrap_err();
    assert_eq!(failure.code, Code::Quarantined, "{failure}");
    assert!(failure.detail.contains("log-behind"), "{failure}");
    let again = state(&host, ALICE).await.unwrap_err();
    assert_eq!(again.code, Code::Quarantined);
    assert_eq!(store.quarantines("bank").await?.len(), 1);
    // A host that starts later knows it from the store.
    let later = start(store.clone(), &workspace::bank_model()?).await?;
    assert_eq!(state(&later, ALICE).await.unwrap_err().code, Code::Quarantined);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sleep_and_wake_change_nothing_but_the_time_it_takes() -> Result<()> {
    let (_store, host) = bank().await?;
    for _ in 0..150 {
        send(&host, ALICE, "deposit", json!({"amount": 1})).await?;
    }
    let before = state(&host, ALICE).await?;
    let deadline = clock::now() + PATIENCE;
    assert!(host.sleep(&ALICE.parse()?, deadline).await?);
    assert!(host.awake(10).is_empty());
    assert_eq!(state(&host, ALICE).await?, before);
    assert_eq!(host.awake(10).len(), 1);
    let reply = send(&host, ALICE, "deposit", json!({"amount": 1})).await?;
    assert!(matches!(&reply.outcome, Outcome::Accepted(events) if events[0].version == 152));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_looks_like_the_last_conflict_is_still_seen() -> Result<()> {
    let (store, host) = bank().await?;
    let retries = aether::config::Limits::default().conflict_retries as usize;
    store.next_appends(&vec![AppendFault::Contended; retries]);
    store.next_appends(&[AppendFault::RefusedAfterStored]);
    let reply = send(&host, ALICE, "deposit", json!({"amount": 50})).await?;
    assert_eq!((reply.version, event_names(&reply)), (2, vec!["deposited"]));
    store.next_appends(&vec![AppendFault::Contended; retries + 1]);
    // Nobody wrote: a leader that lost the last record refuses for ever. Another one may be about to
    // store it.
    let refused = send(&host, ALICE, "deposit", json!({"amount": 50})).await.unwrap_err();
    assert_eq!(refused.code, Code::Unresolved, "{refused}");
    assert!(refused.detail.contains("old or damaged"), "{refused}");
    assert_eq!(state(&host, ALICE).await?.1["balance"], 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_wakes_although_no_page_holds_two_of_its_records() -> Result<()> {
    let store = faulty_store().await?;
    let model = workspace::bank_model()?;
    let ours = start(store.clone(), &model).await?;
    send(&ours, ALICE, "open", json!({"owner": "Alice"})).await?;
    let deadline = clock::now() + PATIENCE;
    for amount in [1, 2, 3] {
        let mut deposit = command(ALICE, "deposit", &json!({"amount": amount}))?;
        deposit.correlation = Some("x".repeat(700 << 10));
        ours.send(deposit).await?;
        if amount == 1 {
            assert!(ours.sleep(&ALICE.parse()?, deadline).await?, "a snapshot is written");
        }
    }
    let theirs = start(store.clone(), &model).await?;
    assert_eq!(state(&theirs, ALICE).await?.1["balance"], 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_deployment_is_waited_for_and_not_taken_for_damage() -> Result<()> {
    let (store, host) = bank().await?;
    let actor = ALICE.parse()?;
    let first = store.read(&actor, Position(1), Freshness::Leader).await?.records.remove(0);
    let mut newer = aether::record::parse(&first)?;
    newer.deployment = 2;
    newer.first = 2;
    newer.prev = Some(Digest::of(&first.bytes));
    newer.turns[0].events[0].name = "blessed".to_owned();
    store
        .append(Append {
            actor: actor.clone(),
            expected: first.position,
            first: 2,
            events: 1,
            command_ids: Vec::new(),
            bytes: newer.encode()?,
            deadline: clock::now() + PATIENCE,
        })
        .await?;
    // Until the deadline it is hoped that the store shows that deployment, which never was there.
    let mut deposit = command(ALICE, "deposit", &json!({"amount": 1}))?;
    deposit.deadline = clock::now() + Duration::from_millis(500);
    let refused = host.send(deposit.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unresolved, "its own try may be behind what it cannot read");
    let waking = start(store.clone(), &workspace::bank_model()?).await?;
    deposit.deadline = clock::now() + Duration::from_millis(500);
    let refused = waking.send(deposit).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
    assert!(refused.detail.contains("deployment 2"), "{refused}");
    assert_eq!(store.quarantines("bank").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_behind_an_unsettled_append_waits_until_the_disk_has_said_what_became_of_it()
-> Result<()> {
    let (folder, vfs) = (tempfile::tempdir()?, TraceVfs::register()?);
    let tuning = Tuning { vfs: Some(vfs.name().to_owned()), ..Tuning::default() };
    let options = EmbeddedOptions { tuning, ..EmbeddedOptions::default() };
    let store = Arc::new(EmbeddedStore::open(folder.path(), options).await?);
    let host = start(store.clone(), &workspace::bank_model()?).await?;
    send(&host, ALICE, "open", json!({"owner": "Alice"})).await?;

    vfs.hold_syncs(true);
    let mut deposit = command(ALICE, "deposit", &json!({"amount": 50}))?;
    deposit.deadline = clock::now() + Duration::from_millis(500);
    assert_eq!(host.send(deposit).await.unwrap_err().code, Code::Unresolved);
    let actor = ALICE.parse()?;
    assert_eq!(store.head(&actor).await?, Position(1), "the commit is not through");
    let mut read = tokio::spawn({
        let host = host.clone();
        async move { state(&host, ALICE).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut read).await;
    assert!(early.is_err(), "answered while the outcome is not known: {early:?}");
    vfs.hold_syncs(false);
    let (version, state) = read.await??;
    assert_eq!((version, &state["balance"]), (2, &json!(50)));
    Ok(())
}

/// On a store that is not shared, nothing but the word of the actor ends the wait.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_version_is_told_whenever_it_comes() -> Result<()> {
    let store = Arc::new(EmbeddedStore::in_memory().await?);
    let host = start(store, &workspace::bank_model()?).await?;
    send(&host, ALICE, "open", json!({"owner": "Alice"})).await?;
    for version in 2..=600 {
        let query = Query {
            actor: ALICE.parse()?,
            version: None,
            min_version: Some(version),
            consistency: Consistency::Linearizable,
            deadline: clock::now() + PATIENCE,
        };
        let waiter = tokio::spawn({
            let host = host.clone();
            async move { host.state(query).await }
        });
        // So that some waiters come before the command and some beside it.
        for _ in 0..version % 16 {
            tokio::task::yield_now().await;
        }
        send(&host, ALICE, "deposit", json!({"amount": 1})).await?;
        let told = tokio::time::timeout(PATIENCE / 2, waiter).await;
        assert_eq!(told.expect("the waiter is told at once")??.version, version);
    }
    Ok(())
}
