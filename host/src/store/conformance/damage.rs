//! Damage that a store cannot see itself is found by the chain of records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aether_wit::Digest;
use bytes::Bytes;

use super::{
    Subject, Tamper,
    kit::{self, Log, account, read_all},
};
use crate::{
    address::Address,
    record::{Chain, Damage, Position, Stored},
    store::{AppendError, Census, Deployment, EventStore, Freshness, Snapshot},
};

pub(super) async fn an_undamaged_log_is_accepted(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let log = written(&store).await;
    let mut chain = Chain::start(&log.actor);
    for stored in read_all(&store, &log.actor, Position(0)).await {
        chain.accept(&stored).unwrap();
    }
    assert_eq!(chain, log.chain);
}

pub(super) async fn a_repair_is_kept_and_its_actor_known(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("a.*>/ 😀"));
    log.write("1").await;
    assert!(store.repaired("bank").await.unwrap().is_empty());
    let mut repair = log.record(1, "2");
    (repair.first, repair.events) = (9, 0);
    repair.bytes = Bytes::from_static(b"a store does not look into it");
    let position = store.append(repair.clone()).await.unwrap();
    let late = store.append(repair).await;
    assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
    // Versions go on as the reader says: the store only checks the position.
    let mut next = log.record(1, "3");
    (next.expected, next.first) = (position, 9);
    store.append(next).await.unwrap();
    store.close().await;
    let store = kit::open(&subject).await;
    assert_eq!(store.repaired("bank").await.unwrap(), [log.actor.clone()]);
    assert!(store.repaired("shop").await.unwrap().is_empty());
    let all = read_all(&store, &log.actor, Position(0)).await;
    assert_eq!(all.len(), 3);
    let last = all.last().map(|stored| stored.position);
    assert_eq!(Some(store.head(&log.actor).await.unwrap()), last);
}

pub(super) async fn the_leader_shows_a_log_record_by_record(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("alice"));
    let mut written = Vec::new();
    for n in 0..300 {
        written.push(log.write(&n.to_string()).await);
        if n % 50 == 0 {
            Log::new(&store, account(&format!("neighbour {n}"))).write("x").await;
        }
    }
    let mut found: Vec<Stored> = Vec::new();
    loop {
        let from = Position(found.last().map_or(1, |stored| stored.position.0 + 1));
        let page = store.read(&log.actor, from, Freshness::Proof).await.unwrap();
        found.extend(page.records);
        if !page.more {
            break;
        }
    }
    assert_eq!(found, written);
    let behind = Position(log.chain.position.0 + 1);
    let none = store.read(&log.actor, behind, Freshness::Proof).await.unwrap();
    assert!(none.records.is_empty() && !none.more);
}

pub(super) async fn a_census_tells_what_lies_there(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    assert_eq!(store.census("bank").await.unwrap(), Census::default());
    let deployed = Deployment {
        number: 1,
        context: "bank".to_owned(),
        model: Digest::of("model"),
        components: BTreeMap::new(),
        at: 0,
        by: "test".to_owned(),
        because: String::new(),
        origin: String::new(),
        again: None,
        forced: BTreeSet::new(),
        replayed: Vec::new(),
        rest: None,
    };
    store.activate(&deployed).await.unwrap();
    let mut log = Log::new(&store, account("a.*>/ 😀"));
    log.write("1").await;
    let lost = Address::new("bank", "transfer", "lost").unwrap();
    let snapshot = Snapshot {
        key: Digest::of("code"),
        position: Position(1),
        bytes: Bytes::from_static(b"state"),
    };
    store.save_snapshot(&log.actor, snapshot.clone()).await.unwrap();
    store.save_snapshot(&lost, snapshot).await.unwrap();
    let census = Census {
        aggregates: BTreeSet::from(["account".to_owned()]),
        strays: Vec::new(),
        unlogged: vec![lost],
        losses: Vec::new(),
    };
    assert_eq!(store.census("bank").await.unwrap(), census);
}

pub(super) async fn corrupt_bytes_are_found(subject: Arc<dyn Subject>) {
    let (damage, at) = after(subject, Tamper::Corrupt).await;
    // Corrupt bytes either are no record, or one that the next does not follow.
    assert!(damage.position() >= at, "{damage}");
}

pub(super) async fn a_cut_record_is_found(subject: Arc<dyn Subject>) {
    let (damage, at) = after(subject, Tamper::Truncate).await;
    assert!(matches!(damage, Damage::Unreadable { position, .. } if position == at), "{damage}");
}

pub(super) async fn a_record_missing_in_the_middle_is_found(subject: Arc<dyn Subject>) {
    let (damage, at) = after(subject, Tamper::Remove).await;
    let named = matches!(damage, Damage::Chain { .. } | Damage::Gap { .. });
    assert!(named && damage.position() > at, "{damage}");
}

pub(super) async fn a_record_missing_at_the_end_is_found_behind_a_snapshot(
    subject: Arc<dyn Subject>,
) {
    let store = kit::open(&subject).await;
    let log = written(&store).await;
    let key = Digest::of("code");
    let snapshot =
        Snapshot { key, position: log.chain.position, bytes: Bytes::from_static(b"state") };
    store.save_snapshot(&log.actor, snapshot.clone()).await.unwrap();
    let from = read_all(&store, &log.actor, snapshot.position).await;
    assert!(from.first().is_some_and(|stored| log.chain.stands_on(stored)));
    store.close().await;

    subject.tamper(&log.actor, log.chain.position, Tamper::Remove).await;
    let store = kit::open(&subject).await;
    assert_eq!(store.snapshot(&log.actor, &key).await.unwrap(), Some(snapshot.clone()));
    let from = read_all(&store, &log.actor, snapshot.position).await;
    assert!(!from.first().is_some_and(|stored| log.chain.stands_on(stored)), "{from:?}");
    assert!(store.head(&log.actor).await.unwrap() < log.chain.position);
}

/// A log of five records.
async fn written(store: &Arc<dyn EventStore>) -> Log {
    let mut log = Log::new(store, account("victim"));
    for n in 0..5 {
        log.write(&format!("note {n}")).await;
        Log::new(store, account(&format!("neighbour-{n}"))).write("between").await;
    }
    log
}

/// The damage that the chain finds after the third of five records was tampered with, and the
/// position of that record. Neighbours stay readable.
async fn after(subject: Arc<dyn Subject>, how: Tamper) -> (Damage, Position) {
    let store = kit::open(&subject).await;
    let log = written(&store).await;
    let before = read_all(&store, &log.actor, Position(0)).await;
    store.close().await;
    let victim: &Stored = before.get(2).expect("five records");
    subject.tamper(&log.actor, victim.position, how.clone()).await;

    let store = kit::open(&subject).await;
    let neighbour = read_all(&store, &account("neighbour-2"), Position(0)).await;
    assert_eq!(neighbour.len(), 1);
    let found = read_all(&store, &log.actor, Position(0)).await;
    assert_ne!(found, before, "{how:?} did nothing");
    let mut chain = Chain::start(&log.actor);
    let damage = found.iter().find_map(|stored| chain.accept(stored).err());
    (damage.unwrap_or_else(|| panic!("{how:?} was not found")), victim.position)
}
