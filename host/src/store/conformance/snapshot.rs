//! Snapshots are a cache: never of other code, never older than what was there of the same code;
//! two codes keep theirs side by side.

use std::sync::Arc;

use aether_wit::Digest;
use bytes::Bytes;

use super::{
    Subject,
    kit::{self, account},
};
use crate::{
    record::Position,
    store::{Page, Snapshot},
};

pub(super) async fn a_snapshot_comes_back(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (alice, bob) = (account("alice"), account("bob.*>"));
    let (first, second) = (of("code", 3, "one"), of("code", 3, "two"));
    assert_eq!(store.snapshot(&alice, &first.key).await.unwrap(), None);
    store.save_snapshot(&alice, first.clone()).await.unwrap();
    store.save_snapshot(&bob, second.clone()).await.unwrap();
    assert_eq!(store.snapshot(&alice, &first.key).await.unwrap(), Some(first.clone()));
    assert_eq!(store.snapshot(&bob, &first.key).await.unwrap(), Some(second));
    store.close().await;
    let store = kit::open(&subject).await;
    assert_eq!(store.snapshot(&alice, &first.key).await.unwrap(), Some(first));
}

pub(super) async fn a_wake_begins_with_the_record_of_its_snapshot(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (actor, key) = (account("alice"), Digest::of("code"));
    let (none, page) = store.beginning(&actor, &key).await.unwrap();
    assert!(none.is_none() && page.records.is_empty() && !page.more);
    let mut positions = Vec::new();
    for first in 1..=3 {
        let last = positions.last().copied().unwrap_or(Position(0));
        positions.push(store.append(kit::plain(&actor, last, first, b"{}")).await.unwrap());
    }
    let found = |page: Page| page.records.iter().map(|it| it.position).collect::<Vec<_>>();
    let (none, page) = store.beginning(&actor, &key).await.unwrap();
    assert!(none.is_none() && found(page) == positions);
    let behind: Vec<_> = positions.iter().copied().skip(1).collect();
    let position = behind.first().copied().expect("there are three");
    let kept = Snapshot { position, ..of("code", 0, "state") };
    store.save_snapshot(&actor, kept.clone()).await.unwrap();
    let (snapshot, page) = store.beginning(&actor, &key).await.unwrap();
    assert_eq!((snapshot, found(page)), (Some(kept), behind));
    let (none, page) = store.beginning(&actor, &Digest::of("other code")).await.unwrap();
    assert!(none.is_none() && found(page) == positions);
}

pub(super) async fn a_snapshot_of_other_code_is_ignored(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    store.save_snapshot(&actor, of("old code", 3, "state")).await.unwrap();
    assert_eq!(store.snapshot(&actor, &Digest::of("new code")).await.unwrap(), None);
}

pub(super) async fn an_older_snapshot_does_not_replace_a_newer_one(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    let (older, newer) = (of("code", 3, "older"), of("code", 9, "newer"));
    store.save_snapshot(&actor, older.clone()).await.unwrap();
    store.save_snapshot(&actor, newer.clone()).await.unwrap();
    store.save_snapshot(&actor, older).await.unwrap();
    assert_eq!(store.snapshot(&actor, &newer.key).await.unwrap(), Some(newer));
}

pub(super) async fn other_code_replaces_a_newer_snapshot(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    let (old, new) = (of("old code", 9, "old"), of("new code", 3, "new"));
    store.save_snapshot(&actor, old).await.unwrap();
    store.save_snapshot(&actor, new.clone()).await.unwrap();
    assert_eq!(store.snapshot(&actor, &new.key).await.unwrap(), Some(new));
}

pub(super) async fn two_codes_keep_their_snapshots(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (actor, other) = (account("alice.*"), account("alice"));
    let old = of("old code", 3, "old");
    store.save_snapshot(&actor, old.clone()).await.unwrap();
    assert_eq!(store.newest_snapshot(&other).await.unwrap(), None);
    let new = of("new code", 4, "new");
    store.save_snapshot(&actor, new.clone()).await.unwrap();
    // Both go on, each for itself.
    let (later, older) = (of("old code", 9, "later"), of("new code", 2, "older"));
    store.save_snapshot(&actor, later.clone()).await.unwrap();
    store.save_snapshot(&actor, older).await.unwrap();
    assert_eq!(store.snapshot(&actor, &later.key).await.unwrap(), Some(later.clone()));
    assert_eq!(store.snapshot(&actor, &new.key).await.unwrap(), Some(new));
    assert_eq!(store.newest_snapshot(&actor).await.unwrap(), Some(later));
    store.forget_snapshot(&actor).await.unwrap();
    assert_eq!(store.newest_snapshot(&actor).await.unwrap(), None);
    assert_eq!(store.snapshot(&actor, &old.key).await.unwrap(), None);
}

pub(super) async fn a_third_code_pushes_out_what_stands_lower(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    let (low, high) = (of("first", 5, "low"), of("second", 8, "high"));
    store.save_snapshot(&actor, low.clone()).await.unwrap();
    store.save_snapshot(&actor, high.clone()).await.unwrap();
    let third = of("third", 1, "third");
    store.save_snapshot(&actor, third.clone()).await.unwrap();
    assert_eq!(store.snapshot(&actor, &low.key).await.unwrap(), None);
    assert_eq!(store.snapshot(&actor, &high.key).await.unwrap(), Some(high.clone()));
    assert_eq!(store.snapshot(&actor, &third.key).await.unwrap(), Some(third.clone()));
    store.save_snapshot(&actor, of("first", 5, "again")).await.unwrap();
    assert_eq!(store.snapshot(&actor, &third.key).await.unwrap(), None);
    assert_eq!(store.newest_snapshot(&actor).await.unwrap(), Some(high));
}

pub(super) async fn a_too_large_snapshot_is_refused(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    let mut large = of("code", 3, "");
    large.bytes = vec![0; store.record_limit() + 1].into();
    assert!(store.save_snapshot(&actor, large.clone()).await.is_err());
    assert_eq!(store.snapshot(&actor, &large.key).await.unwrap(), None);
}

pub(super) async fn a_forgotten_snapshot_gives_way_to_any(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (actor, newer, older) = (account("a.*>/ 😀"), of("code", 9, "new"), of("code", 3, "old"));
    store.forget_snapshot(&actor).await.unwrap();
    store.save_snapshot(&actor, newer.clone()).await.unwrap();
    assert_eq!(store.newest_snapshot(&actor).await.unwrap(), Some(newer));
    store.forget_snapshot(&actor).await.unwrap();
    assert_eq!(store.newest_snapshot(&actor).await.unwrap(), None);
    store.save_snapshot(&actor, older.clone()).await.unwrap();
    assert_eq!(store.snapshot(&actor, &older.key).await.unwrap(), Some(older));
}

fn of(code: &str, position: u64, state: &str) -> Snapshot {
    Snapshot {
        key: Digest::of(code),
        position: Position(position),
        bytes: Bytes::copy_from_slice(state.as_bytes()),
    }
}
