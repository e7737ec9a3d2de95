//! One server that is killed, frozen or away: nothing acknowledged is lost, nothing is stored
//! twice, and what is told as "not stored" never is.

use std::{sync::Arc, time::Duration};

use aether::{
    record::Position,
    store::{AppendError, EventStore},
};
use aether_tests::nats_server::NatsServer;
use futures::{StreamExt, future::join_all};

use super::kit::{self, account, append, assert_log, open, read_all, write_all};

/// A wait that is over soon; nothing depends on how much happens within it.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_server_under_load_loses_nothing() {
    const ACTORS: usize = 8;
    const EACH: usize = 600;
    let mut server = NatsServer::start().unwrap();
    let store = open(&kit::config(&server.url()), "aether").await.unwrap();
    let mut feed = store.feed("bank", None).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < ACTORS * EACH {
            let record = tokio::time::timeout(LONG, feed.next()).await.expect("the feed goes on");
            let record = record.unwrap().unwrap();
            seen.push((record.actor, record.stored.position));
        }
        seen
    });
    let writers: Vec<_> = (0..ACTORS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let actor = account(&n.to_string());
                (actor.clone(), write_all(&store, &actor, "w", EACH).await)
            })
        })
        .collect();
    // Each kill falls into the load: the next one waits until more was written.
    let watched = account("0");
    for round in 1..=3 {
        let due = round * EACH / 4;
        while read_all(&store, &watched).await.len() < due {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart().map(|()| server)
        })
        .await
        .unwrap()
        .unwrap();
    }
    let mut expected = Vec::new();
    for writer in join_all(writers).await {
        let (actor, written) = writer.unwrap();
        assert_log(&store, &actor, std::slice::from_ref(&written)).await;
        expected.extend(written.iter().map(|stored| (actor.clone(), stored.position)));
    }
    let mut seen = reader.await.unwrap();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "the feed gave every record once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_frozen_server_is_unresolved_and_settles_later() {
    let server = NatsServer::start().unwrap();
    let store = open(&kit::config(&server.url()), "aether").await.unwrap();
    let actor = account("a");
    let first = store.append(append(&actor, Position(0), "1".to_owned(), LONG)).await.unwrap();
    server.pause().unwrap();
    let second = append(&actor, first, "2".to_owned(), SHORT);
    let answer = store.append(second.clone()).await;
    assert!(matches!(answer, Err(AppendError::Unresolved(_))), "{answer:?}");
    assert!(store.check().await.is_err(), "a frozen server does not answer");
    server.resume().unwrap();

    // The same record again: it is stored exactly once, whichever of the two it was.
    let again = append(&actor, first, "2".to_owned(), LONG);
    let answer = store.append(again).await;
    let log = read_all(&store, &actor).await;
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(log[1].bytes, second.bytes);
    match answer {
        Ok(position) => assert_eq!(position, log[1].position),
        Err(AppendError::Conflict { last }) => assert_eq!(last, Some(log[1].position)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_unavailable_and_stores_nothing() {
    let mut server = NatsServer::start().unwrap();
    let store = open(&kit::config(&server.url()), "aether").await.unwrap();
    let actor = account("a");
    let first = store.append(append(&actor, Position(0), "1".to_owned(), LONG)).await.unwrap();
    server.kill();
    // The client may not have noticed yet: until it has, a try is in doubt.
    let mut in_doubt = Vec::new();
    let mut refused = 0;
    for n in 0..20 {
        let bytes = format!("away {n}");
        match store.append(append(&actor, first, bytes.clone(), SHORT / 4)).await {
            Err(AppendError::Unavailable(_)) => refused += 1,
            Err(AppendError::Unresolved(_)) if refused == 0 => in_doubt.push(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 18, "{refused} of 20 were told as not stored");

    // A request that waits within its deadline goes through once the server is back.
    let waiting = {
        let (store, actor) = (store.clone(), actor.clone());
        tokio::spawn(
            async move { store.append(append(&actor, first, "back".to_owned(), LONG)).await },
        )
    };
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await;
    let _server = server.unwrap().unwrap();
    let answer = waiting.await.unwrap();
    let log = read_all(&store, &actor).await;
    let bytes: Vec<&[u8]> = log.iter().map(|stored| &stored.bytes[..]).collect();
    in_doubt.push("back".to_owned());
    let [b"1", second] = bytes.as_slice() else { panic!("{log:?}") };
    assert!(in_doubt.iter().any(|bytes| bytes.as_bytes() == *second), "it was refused: {log:?}");
    match answer {
        Ok(position) => assert_eq!((position, *second), (log[1].position, &b"back"[..])),
        // An earlier one came first after all, or the answer to the first try was lost.
        Err(AppendError::Conflict { last }) => assert_eq!(last, Some(log[1].position)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_write_one_actor_without_losing_a_record() {
    let server = NatsServer::start().unwrap();
    let config = kit::config(&server.url());
    let stores = [open(&config, "aether").await.unwrap(), open(&config, "aether").await.unwrap()];
    let actor = account("shared");
    let writers = stores.iter().enumerate().map(|(n, store)| {
        let (store, actor): (Arc<_>, _) = (store.clone(), actor.clone());
        tokio::spawn(async move { write_all(&store, &actor, &format!("host {n}"), 100).await })
    });
    let written: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
    for store in &stores {
        assert_log(store, &actor, &written).await;
    }
}
