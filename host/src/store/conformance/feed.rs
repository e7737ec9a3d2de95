//! A context's feed: every record once, in each actor's order, from anywhere.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all};

use super::{
    Subject,
    kit::{self, Log, account, plain},
};
use crate::{
    address::Address,
    record::Position,
    store::{EventStore, FeedError, FeedRecord, RecordFeed},
};

/// How long a feed may be silent although a record is due.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) async fn the_feed_begins_at_the_beginning(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let written = interleaved(&store, 4, 5).await;
    let mut feed = store.feed("bank", None).await.unwrap();
    let fed = take(&mut feed, 20).await;
    assert_complete(&fed, &written);
    for record in &fed {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        assert!(!record.cursor.is_empty() && record.cursor.bytes().all(legal), "{}", record.cursor);
    }
}

pub(super) async fn the_feed_goes_on_after_any_cursor(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let written = interleaved(&store, 3, 4).await;
    let whole = take(&mut store.feed("bank", None).await.unwrap(), 12).await;
    for cut in 1..12 {
        let cursor = whole.get(cut - 1).map(|record| record.cursor.clone()).unwrap();
        let mut feed = store.feed("bank", Some(&cursor)).await.unwrap();
        let mut joined: Vec<FeedRecord> = whole.iter().take(cut).cloned().collect();
        joined.extend(take(&mut feed, 12 - cut).await);
        assert_complete(&joined, &written);
    }
}

pub(super) async fn the_feed_catches_up_and_then_is_live(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("alice"));
    log.write("before").await;
    let mut feed = store.feed("bank", None).await.unwrap();
    take(&mut feed, 1).await;
    for n in 0..5 {
        let stored = log.write(&n.to_string()).await;
        let fed = take(&mut feed, 1).await;
        assert!(fed.iter().all(|record| record.actor == log.actor && record.stored == stored));
    }
    let idle = tokio::time::timeout(Duration::from_millis(50), feed.next()).await;
    assert!(idle.is_err(), "nothing is due, but the feed gives {idle:?}");
}

pub(super) async fn the_feed_holds_only_its_context(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let shop = Address::new("shop", "cart", "1").unwrap();
    for n in 1..=3 {
        let expected = store.head(&shop).await.unwrap();
        store.append(plain(&shop, expected, n, b"shop")).await.unwrap();
        store.append(plain(&account(&n.to_string()), Position(0), 1, b"bank")).await.unwrap();
    }
    for (context, bytes) in [("bank", b"bank"), ("shop", b"shop")] {
        let fed = take(&mut store.feed(context, None).await.unwrap(), 3).await;
        assert!(fed.iter().all(|record| record.stored.bytes == bytes.as_slice()), "{fed:?}");
    }
}

pub(super) async fn no_record_is_left_out_under_concurrent_appends(subject: Arc<dyn Subject>) {
    const ACTORS: usize = 16;
    const EACH: usize = 25;
    let store = kit::open(&subject).await;
    let mut early = store.feed("bank", None).await.unwrap();
    let reader = tokio::spawn(async move { take(&mut early, ACTORS * EACH).await });
    let written = interleaved(&store, ACTORS, EACH).await;
    assert_complete(&reader.await.unwrap(), &written);
    let mut late = store.feed("bank", None).await.unwrap();
    assert_complete(&take(&mut late, ACTORS * EACH).await, &written);
}

pub(super) async fn the_feed_ends_when_the_store_closes(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    interleaved(&store, 1, 1).await;
    let mut feed = store.feed("bank", None).await.unwrap();
    take(&mut feed, 1).await;
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = feed.next().await {} });
    store.close().await;
    tokio::time::timeout(SILENCE, reader).await.expect("the feed ends").unwrap();
}

pub(super) async fn a_foreign_cursor_is_refused(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    interleaved(&store, 1, 1).await;
    for foreign in ["", "x", "-1", "no-cursor", "1.2.3.4.5.x"] {
        let feed = store.feed("bank", Some(foreign)).await;
        let refused = matches!(feed, Err(FeedError::Cursor(_)));
        assert!(refused, "`{foreign}` is taken for a cursor");
    }
}

/// Writes `each` records to each of `actors` actors, all actors at once.
pub(super) async fn interleaved(
    store: &Arc<dyn EventStore>,
    actors: usize,
    each: usize,
) -> HashMap<Address, Vec<Position>> {
    let writers = (0..actors).map(|n| {
        let mut log = Log::new(store, account(&format!("fed.{n}")));
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for n in 0..each {
                positions.push(log.write(&n.to_string()).await.position);
            }
            (log.actor, positions)
        })
    });
    join_all(writers).await.into_iter().map(|written| written.expect("a writer")).collect()
}

/// The next `count` records of a feed.
async fn take(feed: &mut RecordFeed, count: usize) -> Vec<FeedRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let next = tokio::time::timeout(SILENCE, feed.next()).await;
        let next = next.unwrap_or_else(|_| panic!("silent after {} of {count}", records.len()));
        records.push(next.expect("the feed goes on").expect("a record"));
    }
    records
}

/// Every record of every actor is there once, in its actor's order.
fn assert_complete(fed: &[FeedRecord], written: &HashMap<Address, Vec<Position>>) {
    let mut by_actor: HashMap<Address, Vec<Position>> = HashMap::new();
    for record in fed {
        by_actor.entry(record.actor.clone()).or_default().push(record.stored.position);
    }
    assert_eq!(&by_actor, written);
}
