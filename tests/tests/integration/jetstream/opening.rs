//! Opening a store: hosts agree on what can never change, what differs is named, and nothing that
//! exists is changed.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    time::Duration,
};

use aether::{
    config::NatsConfig,
    record::Position,
    store::{AppendError, DEFAULT_RECORD_LIMIT, EventStore, jetstream::OpenError},
};
use aether_tests::nats_server::{NatsServer, Settings};
use futures::future::join_all;
use serde_json::{Value, json};

use super::kit::{self, account, append, open};

const WAIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_at_once_agree() {
    let server = NatsServer::start().unwrap();
    let config = kit::config(&server.url());
    let stores = join_all((0..8).map(|_| open(&config, "aether"))).await;
    let stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
    let actors: Vec<_> = (0..8).map(|n| account(&n.to_string())).collect();
    let appends = stores
        .iter()
        .zip(&actors)
        .map(|(store, actor)| store.append(append(actor, Position(0), "first".to_owned(), WAIT)));
    for (answer, actor) in join_all(appends).await.into_iter().zip(&actors) {
        assert_eq!(stores[0].head(actor).await.unwrap(), answer.unwrap());
    }
    let said = stores[0].describe();
    assert!(said.contains("replicas 1") && said.contains("sync_interval"), "{said}");
    assert!(!said.contains('\n'), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_other_settings_is_refused_by_name() {
    let server = NatsServer::start().unwrap();
    let config = kit::config(&server.url());
    open(&config, "aether").await.unwrap();
    let other = NatsConfig { partitions: 5, ..config.clone() };
    match open(&other, "aether").await {
        Err(OpenError::Manifest { prefix, differences }) => {
            assert_eq!(prefix, "aether");
            assert_eq!(differences, ["`partitions` is 3 there and 5 here"]);
        }
        other => panic!("{other:?}"),
    }
    open(&other, "another").await.expect("another prefix is another store");
    for (partitions, replicas, prefix) in [(0, 1, "a"), (1000, 1, "a"), (1, 2, "a"), (1, 1, "a.b")]
    {
        let wrong = NatsConfig { partitions, replicas, ..config.clone() };
        let refused = open(&wrong, prefix).await;
        assert!(matches!(refused, Err(OpenError::Setting(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_other_settings_is_named_and_left_alone() {
    let server = NatsServer::start().unwrap();
    let config = kit::config(&server.url());
    let foreign = json!({
        "name": "aether_LOG_bank_1", "subjects": ["aether.log.bank.1.*.*"], "max_age": 60_000_000_000_u64
    });
    let made = server.api("STREAM.CREATE.aether_LOG_bank_1", &foreign.to_string()).unwrap();
    let store = open(&config, "aether").await.unwrap();
    let refused = store.append(append(&account("a"), Position(0), "x".to_owned(), WAIT)).await;
    let Err(AppendError::Unavailable(error)) = refused else { panic!("{refused:?}") };
    for named in ["aether_LOG_bank_1", "`max_age` is 60000000000", "`deny_delete` is false"] {
        assert!(error.to_string().contains(named), "{named} is missing in: {error}");
    }
    let now = server.api("STREAM.INFO.aether_LOG_bank_1", "").unwrap();
    assert_eq!(now["config"], made["config"], "it was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_context_is_checked_at_start() {
    let server = NatsServer::start().unwrap();
    let config = kit::config(&server.url());
    let store = open(&config, "aether").await.unwrap();
    store.append(append(&account("a"), Position(0), "x".to_owned(), WAIT)).await.unwrap();
    store.close().await;

    let stream = "aether_LOG_bank_2";
    let mut changed = server.api(&format!("STREAM.INFO.{stream}"), "").unwrap()["config"].take();
    let wanted = changed.clone();
    changed["max_msgs"] = json!(1000);
    update(&server, stream, &changed);
    let refused = open(&config, "aether").await.unwrap_err().to_string();
    let named = "`max_msgs` is 1000, expected \"unlimited\"";
    assert!(refused.contains(stream) && refused.contains(named), "{refused}");
    update(&server, stream, &wanted);
    open(&config, "aether").await.expect("all is as it was");

    // A log that is gone must not begin anew as if nothing had ever happened.
    server.api(&format!("STREAM.DELETE.{stream}"), "").unwrap();
    let refused = open(&config, "aether").await.unwrap_err().to_string();
    assert!(refused.contains(stream) && refused.contains("missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_server_is_refused_with_what_to_do() {
    let extra = "max_payload: 512KB".to_owned();
    let small = NatsServer::start_with(Settings { extra, ..Settings::default() }).unwrap();
    match open(&kit::config(&small.url()), "aether").await {
        Err(OpenError::Payload { found, limit, needed, .. }) => {
            assert_eq!((found, limit), (512 << 10, DEFAULT_RECORD_LIMIT));
            assert_eq!(needed, DEFAULT_RECORD_LIMIT + (64 << 10));
        }
        other => panic!("{other:?}"),
    }
    let plain = NatsServer::start_with(Settings { jetstream: false, ..Settings::default() });
    let plain = plain.unwrap();
    let refused = open(&kit::config(&plain.url()), "aether").await;
    assert!(matches!(refused, Err(OpenError::NoJetStream { .. })), "{refused:?}");

    let refused = open(&kit::config(&old_server()), "aether").await.unwrap_err();
    assert!(matches!(refused, OpenError::Version { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("2.10.29") && said.contains("2.12.0"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_start_is_awaited_and_then_named() {
    let mut server = NatsServer::idle(Settings::default()).unwrap();
    let config = kit::config(&server.url());
    let refused = open(&config, "aether").await;
    let Err(OpenError::Connect { places, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(format!("nats://{places}"), server.url());

    let opening = tokio::spawn(async move { open(&config, "aether").await });
    let started = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await;
    let _server = started.unwrap().unwrap();
    opening.await.unwrap().expect("the server came while the host waited");
}

fn update(server: &NatsServer, stream: &str, config: &Value) {
    let updated = server.api(&format!("STREAM.UPDATE.{stream}"), &config.to_string()).unwrap();
    assert!(updated["error"].is_null(), "{updated}");
}

/// Greets as an old server does; knows nothing else.
fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let info = json!({
                "server_id": "old", "server_name": "old", "version": "2.10.29", "go": "go1.20",
                "host": "127.0.0.1", "port": port, "headers": true, "max_payload": 1_048_576,
                "proto": 1, "client_id": 1
            });
            write!(stream, "INFO {info}\r\n").unwrap();
            std::thread::spawn(move || {
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    if line.is_ok_and(|line| line.starts_with("PING")) {
                        let _ = stream.write_all(b"PONG\r\n");
                    }
                }
            });
        }
    });
    format!("nats://127.0.0.1:{port}")
}
