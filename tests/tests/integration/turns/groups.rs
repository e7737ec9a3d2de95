//! Commands that wait for one actor at once and share a record, against a store that refuses it or
//! does not say.
//!
//! Each test has one thread, so what is sent at once waits at once.

use std::sync::Arc;

use aether::{
    command::{Command, Reply},
    failure::{Code, Failure},
    host::Host,
    record::{Position, parse},
    store::{
        EventStore, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use aether_tests::{
    faulty_store::{AppendFault, FaultyStore},
    in_process::{command, send, start, state},
    workspace,
};
use anyhow::Result;
use futures::future::join_all;
use serde_json::json;

use super::{ALICE, bank};

/// Deposits of 1, 2, 3, …, each with an id.
fn deposits(count: u64) -> Result<Vec<Command>> {
    let deposit = |n: u64| {
        let mut deposit = command(ALICE, "deposit", &json!({ "amount": n }))?;
        deposit.id = Some(format!("d-{n}"));
        Ok(deposit)
    };
    (1..=count).map(deposit).collect()
}

async fn ask(host: &Host, commands: &[Command]) -> Vec<Result<Reply, Failure>> {
    join_all(commands.iter().map(|command| host.send(command.clone()))).await
}

/// How many turns each record of the log holds.
async fn log(store: &Arc<FaultyStore>) -> Result<Vec<usize>> {
    let page = store.read(&ALICE.parse()?, Position(0), Freshness::Leader).await?;
    page.records.iter().map(|stored| Ok(parse(stored)?.turns.len())).collect()
}

#[tokio::test]
async fn if_the_answer_is_lost_each_is_unresolved_and_found_by_its_id() -> Result<()> {
    for (fault, records) in [
        (AppendFault::AnswerLost, vec![1, 6]),
        // Then they go by themselves until one of them has settled the actor.
        (AppendFault::RequestLost, vec![1, 1, 5]),
    ] {
        let (store, host) = bank().await?;
        let deposits = deposits(6)?;
        store.next_appends(&[fault]);
        for (told, deposit) in ask(&host, &deposits).await.iter().zip(&deposits) {
            let failure = told.as_ref().unwrap_err();
            assert_eq!((failure.code, &failure.command), (Code::Unresolved, &deposit.id));
        }
        for (told, version) in ask(&host, &deposits).await.into_iter().zip(2..) {
            assert_eq!(told?.version, version, "{fault:?}");
        }
        assert_eq!(log(&store).await?, records, "{fault:?}");
        assert_eq!(state(&host, ALICE).await?.1["balance"], 21);
    }
    Ok(())
}

#[tokio::test]
async fn if_it_is_refused_nothing_moves() -> Result<()> {
    let (store, host) = bank().await?;
    store.next_appends(&[AppendFault::Refused]);
    for told in ask(&host, &deposits(6)?).await {
        assert_eq!(told.unwrap_err().code, Code::Unavailable);
    }
    assert_eq!(state(&host, ALICE).await?.0, 1);
    Ok(())
}

#[tokio::test]
async fn what_was_refused_for_no_reason_stays_in_doubt() -> Result<()> {
    let (store, host) = bank().await?;
    // Nobody wrote, so who refused may be a leader that others have replaced; then there is no store.
    store.next_appends(&[AppendFault::Contended, AppendFault::Refused]);
    let alone = ask(&host, &deposits(1)?).await.remove(0).unwrap_err();
    assert_eq!(alone.code, Code::Unresolved, "{alone}");
    assert!(!alone.detail.contains("nothing was stored"), "{alone}");
    store.next_appends(&[AppendFault::Contended, AppendFault::Refused, AppendFault::Refused]);
    let told = ask(&host, &deposits(3)?).await;
    let codes: Vec<_> = told.iter().map(|told| told.as_ref().err().map(|e| e.code)).collect();
    assert_eq!(codes, [Some(Code::Unresolved), Some(Code::Unresolved), None]);
    // Refused once more, without such a doubt.
    store.next_appends(&[AppendFault::Refused]);
    let sure = command(ALICE, "deposit", &json!({ "amount": 1 }))?;
    assert_eq!(host.send(sure).await.unwrap_err().code, Code::Unavailable);
    Ok(())
}

#[tokio::test]
async fn if_another_host_wrote_first_all_are_decided_anew() -> Result<()> {
    let store = aether_tests::in_process::faulty_store().await?;
    let model = workspace::bank_model()?;
    let hosts = [start(store.clone(), &model).await?, start(store.clone(), &model).await?];
    send(&hosts[0], ALICE, "open", json!({"owner": "Alice"})).await?;
    send(&hosts[1], ALICE, "deposit", json!({"amount": 5})).await?;
    // The first host does not know of that one. What it decides on an empty account is in vain.
    let mut commands = deposits(3)?;
    commands.insert(0, command(ALICE, "withdraw", &json!({"amount": 5}))?);
    let told = ask(&hosts[0], &commands).await;
    let versions: Vec<_> = told.iter().map(|told| told.as_ref().unwrap().version).collect();
    assert_eq!(versions, [3, 4, 5, 6]);
    assert_eq!(state(&hosts[1], ALICE).await?.1["balance"], 6);
    // The version check refuses a record although nobody wrote, as a store may that sent it twice.
    store.next_appends(&[AppendFault::RefusedAfterStored]);
    let again: Vec<Command> = (4..=9)
        .map(|n| command(ALICE, "deposit", &json!({ "amount": n })))
        .collect::<Result<_>>()?;
    let told = ask(&hosts[0], &again).await;
    let versions: Vec<_> = told.iter().map(|told| told.as_ref().unwrap().version).collect();
    assert_eq!(versions, [7, 8, 9, 10, 11, 12], "each was stored once, and found");
    assert_eq!(state(&hosts[1], ALICE).await?.1["balance"], 6 + 39);
    Ok(())
}

#[tokio::test]
async fn what_is_too_large_together_goes_alone() -> Result<()> {
    let options = EmbeddedOptions { record_limit: 1400, ..EmbeddedOptions::default() };
    let folder = tempfile::tempdir()?;
    let inner: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(folder.path(), options).await?);
    let store = FaultyStore::new(inner);
    let host = start(store.clone(), &workspace::bank_model()?).await?;
    send(&host, ALICE, "open", json!({"owner": "Alice"})).await?;
    for (told, version) in ask(&host, &deposits(12)?).await.into_iter().zip(2..) {
        assert_eq!(told?.version, version);
    }
    let records = log(&store).await?;
    assert!(records.iter().any(|turns| *turns > 1), "{records:?}");
    assert_eq!(records.iter().sum::<usize>(), 13);
    Ok(())
}
