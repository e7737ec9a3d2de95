//! A host that is told to stop while requests from NATS are under way.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aether_tests::nats_server::NatsServer;
use async_nats::{Client, HeaderMap, RequestErrorKind};
use serde_json::{Value, json};

use super::kit::{ask, bank, connect};

/// Callers, each with a request under way at any time.
const CALLERS: usize = 32;

/// Accounts that they share.
const ACCOUNTS: usize = 4;

/// Commands that are accepted before the host is told to stop.
const ENOUGH: usize = 300;

/// What a caller was told of its commands.
#[derive(Debug, Default)]
struct Told {
    /// Account, command id and version.
    accepted: Vec<(usize, String, u64)>,
    /// Told to be not stored: the host is stopping, or it is gone and the server says so.
    refused: Vec<String>,
    /// Not answered at all.
    silent: Vec<(usize, String)>,
}

/// Sends deposits, one after the other, until the host does not take them any more.
async fn call(nats: Client, caller: usize, accepted: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    for n in 0.. {
        let (account, id) = ((caller + n) % ACCOUNTS, format!("c{caller}-{n}"));
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", id.as_str());
        let subject = format!("aether.cmd.bank.account.a{account}.deposit");
        let asked = nats.request_with_headers(subject, headers, r#"{"amount":1}"#.into()).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                told.refused.push(id);
                return told;
            }
            Err(_) => {
                told.silent.push((account, id));
                return told;
            }
        };
        let body: Value = serde_json::from_slice(&answer.payload).unwrap();
        if body["code"].is_null() {
            told.accepted.push((account, id, body["version"].as_u64().unwrap()));
            accepted.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(body["code"], "unavailable", "{body}");
            told.refused.push(id);
            return told;
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_told_to_stop_answers_truly_what_nats_has_brought() {
    let server = NatsServer::start().unwrap();
    let mut host = bank(&server);
    let nats = connect(&server.url()).await;
    for account in 0..ACCOUNTS {
        ask(&nats, &format!("a{account}.open"), &[], &json!({"owner": "A"})).await.accepted();
    }
    let accepted = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(nats.clone(), caller, Arc::clone(&accepted))))
        .collect();
    while accepted.load(Ordering::Relaxed) < ENOUGH {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::task::spawn_blocking(move || (host.terminate().unwrap(), host));
    let (status, mut host) = stopped.await.unwrap();
    assert!(status.success(), "{status}\n{}", host.output());
    let mut told = Vec::new();
    for caller in callers {
        told.push(caller.await.unwrap());
    }
    let count = |of: fn(&Told) -> usize| told.iter().map(of).sum::<usize>();
    println!(
        "{} accepted, {} refused, {} without an answer",
        count(|t| t.accepted.len()),
        count(|t| t.refused.len()),
        count(|t| t.silent.len())
    );

    host.restart().unwrap();
    let mut stored = Vec::new();
    for account in 0..ACCOUNTS {
        let path = format!("/v1/bank/account/a{account}/events?limit=1000");
        let page = host.client().get(&path).unwrap().json().unwrap();
        assert_eq!(page["next"], Value::Null, "the test reads one page");
        stored.push(page["events"].as_array().unwrap().clone());
    }
    let ids: Vec<&str> = stored.iter().flatten().filter_map(|e| e["command"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a command is there twice");
    let unheard = told.iter().flat_map(|told| &told.silent);
    let unheard = unheard.filter(|(_, id)| ids.contains(&id.as_str()));
    assert_eq!(unheard.count(), 0, "what the host did it has answered");
    for told in &told {
        for (account, id, version) in &told.accepted {
            assert_eq!(stored[*account][*version as usize - 1]["command"], id.as_str());
        }
        for id in &told.refused {
            assert!(!ids.contains(&id.as_str()), "{id} was refused and is stored");
        }
        // What got no answer did not reach the host any more; asked again, it is done once.
        for (account, id) in &told.silent {
            let key = [("Idempotency-Key", id.as_str())];
            let to = format!("a{account}.deposit");
            let version = ask(&nats, &to, &key, &json!({"amount": 1})).await.accepted();
            let place = stored[*account].iter().position(|e| e["command"] == id.as_str());
            assert!(place.is_none_or(|at| at as u64 + 1 == version), "{id} was done twice");
        }
    }
}
