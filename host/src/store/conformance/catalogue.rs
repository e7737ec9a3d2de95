//! What a store keeps beside the logs: deployments, blobs, quarantine marks, hosts.

use std::{collections::BTreeMap, sync::Arc};

use aether_wit::Digest;
use bytes::Bytes;
use futures::future::join_all;

use super::{
    Subject,
    kit::{self, account},
};
use crate::{
    clock,
    record::Position,
    store::{ActivateError, Deployment, Presence, Quarantine},
};

pub(super) async fn deployments_are_numbered_without_gaps(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    assert!(store.contexts().await.unwrap().is_empty());
    assert!(store.deployments("bank").await.unwrap().is_empty());
    let all: Vec<Deployment> = (1..=3).map(|number| deployment("bank", number, "x")).collect();
    for next in &all {
        let skipped = store.activate(&deployment("bank", next.number + 1, "x")).await;
        assert!(matches!(skipped, Err(ActivateError::Taken)), "{skipped:?}");
        store.activate(next).await.unwrap();
        let again = store.activate(&deployment("bank", next.number, "y")).await;
        assert!(matches!(again, Err(ActivateError::Taken)), "{again:?}");
    }
    let shop = deployment("a-shop", 1, "x");
    store.activate(&shop).await.unwrap();
    store.close().await;
    let store = kit::open(&subject).await;
    assert_eq!(store.deployments("bank").await.unwrap(), all);
    assert_eq!(store.deployments("a-shop").await.unwrap(), [shop]);
    assert_eq!(store.contexts().await.unwrap(), ["a-shop", "bank"]);
}

pub(super) async fn one_of_many_takes_a_number(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    for number in 1..=5 {
        let tries: Vec<_> = (0..8).map(|n| deployment("bank", number, &n.to_string())).collect();
        let answers = join_all(tries.iter().map(|next| store.activate(next))).await;
        let won: Vec<_> = tries.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
        assert_eq!(won.len(), 1, "number {number}");
        let lost = answers.iter().filter(|a| matches!(a, Err(ActivateError::Taken))).count();
        assert_eq!(lost, 7, "number {number}");
        let last = store.deployments("bank").await.unwrap().pop();
        assert_eq!(last.as_ref(), won.first().map(|(next, _)| *next));
    }
}

pub(super) async fn blobs_come_back_by_digest(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let large: Vec<u8> = (0..=250_u8).cycle().take(5_000_000).collect();
    for bytes in [Bytes::new(), Bytes::from_static(b"small"), Bytes::from(large)] {
        let digest = store.put_blob(bytes.clone()).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(store.put_blob(bytes.clone()).await.unwrap(), digest, "a second time");
        assert_eq!(store.blob(&digest).await.unwrap(), Some(bytes));
    }
    assert_eq!(store.blob(&Digest::of("never stored")).await.unwrap(), None);
}

pub(super) async fn the_first_quarantine_mark_stays(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mark = |reason: &str| Quarantine {
        position: Position(7),
        kind: "gap".to_owned(),
        reason: reason.to_owned(),
        digest: (reason == "other").then(|| Digest::of("lost")),
        at: 1_700_000_000_000,
    };
    let (alice, odd) = (account("alice"), account("a.*>/ 😀"));
    assert!(store.quarantines("bank").await.unwrap().is_empty());
    store.quarantine(&alice, &mark("first")).await.unwrap();
    store.quarantine(&alice, &mark("second")).await.unwrap();
    store.quarantine(&odd, &mark("other")).await.unwrap();
    store.close().await;
    let store = kit::open(&subject).await;
    assert_eq!(store.quarantined(&alice).await.unwrap(), Some(mark("first")));
    assert_eq!(store.quarantined(&account("bob")).await.unwrap(), None);
    let mut expected = vec![(alice, mark("first")), (odd, mark("other"))];
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(store.quarantines("bank").await.unwrap(), expected);
    assert!(store.quarantines("shop").await.unwrap().is_empty());
}

pub(super) async fn a_mark_of_a_later_loss_takes_the_place_of_the_first(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mark = |position: u64, digest: Option<&str>| Quarantine {
        position: Position(position),
        kind: "damage".to_owned(),
        reason: "why".to_owned(),
        digest: digest.map(Digest::of),
        at: clock::unix_ms(),
    };
    let alice = account("alice");
    let steps = [
        (mark(4, None), true),
        (mark(9, None), false),
        (mark(8, Some("x")), true),
        (mark(10, Some("y")), true),
        (mark(9, Some("z")), false),
        (mark(11, None), false),
    ];
    let mut stands = None;
    for (made, counts) in steps {
        store.quarantine(&alice, &made).await.unwrap();
        if counts {
            stands = Some(made);
        }
        assert_eq!(store.quarantined(&alice).await.unwrap(), stands);
    }
}

pub(super) async fn a_mark_is_taken_back_by_who_knows_it(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mark = |reason: &str| Quarantine {
        position: Position(7),
        kind: "gap".to_owned(),
        reason: reason.to_owned(),
        digest: None,
        at: 1,
    };
    let (alice, bob) = (account("alice"), account("bob"));
    store.release(&alice, &mark("never made")).await.unwrap();
    store.quarantine(&alice, &mark("first")).await.unwrap();
    store.quarantine(&bob, &mark("other")).await.unwrap();
    store.release(&alice, &mark("not this one")).await.unwrap();
    assert_eq!(store.quarantined(&alice).await.unwrap(), Some(mark("first")));
    store.release(&alice, &mark("first")).await.unwrap();
    assert_eq!(store.quarantined(&alice).await.unwrap(), None);
    assert_eq!(store.quarantines("bank").await.unwrap(), [(bob.clone(), mark("other"))]);
    // What another host found before and could not tell in time; only a lost tail is news.
    store.quarantine(&alice, &mark("before")).await.unwrap();
    let late = store.quarantined(&alice).await.unwrap();
    if store.is_shared() {
        assert_eq!(late, None);
    } else {
        store.release(&alice, &mark("before")).await.unwrap();
    }
    let lost = Quarantine { digest: Some(Digest::of("lost")), ..mark("lost") };
    store.quarantine(&alice, &lost).await.unwrap();
    assert_eq!(store.quarantined(&alice).await.unwrap(), Some(lost.clone()));
    store.release(&alice, &lost).await.unwrap();
    // What is found later is a new mark.
    let now = clock::unix_ms() + 1000;
    let mark = |reason: &str| Quarantine { at: now, ..mark(reason) };
    store.quarantine(&alice, &mark("again")).await.unwrap();
    store.quarantine(&alice, &mark("too late")).await.unwrap();
    store.close().await;
    let store = kit::open(&subject).await;
    let other = Quarantine { at: 1, ..mark("other") };
    let marks = [(alice.clone(), mark("again")), (bob, other)];
    assert_eq!(store.quarantines("bank").await.unwrap(), marks);
    assert_eq!(store.quarantined(&alice).await.unwrap(), Some(mark("again")));
}

pub(super) async fn hosts_see_each_other_where_they_can(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let presence = |host: &str| Presence {
        host: host.to_owned(),
        place: "here".to_owned(),
        serves: BTreeMap::from([("bank".to_owned(), 3)]),
        unable: BTreeMap::new(),
        closed: BTreeMap::new(),
    };
    let seen = store.announce(&presence("one")).await.unwrap();
    assert!(seen.iter().all(|host| *host == presence("one")), "{seen:?}");
    if store.is_shared() {
        let second = kit::open(&subject).await;
        let seen = second.announce(&presence("two")).await.unwrap();
        assert!(seen.contains(&presence("one")), "{seen:?}");
        let seen = store.announce(&presence("one")).await.unwrap();
        assert!(seen.contains(&presence("two")), "{seen:?}");
    }
}

fn deployment(context: &str, number: u64, by: &str) -> Deployment {
    Deployment {
        number,
        context: context.to_owned(),
        model: Digest::of("model"),
        components: BTreeMap::from([("account".to_owned(), Digest::of("component"))]),
        at: 1_700_000_000_000 + number,
        by: by.to_owned(),
        because: String::new(),
        origin: String::new(),
        again: None,
        forced: std::collections::BTreeSet::new(),
        replayed: Vec::new(),
        rest: None,
    }
}
