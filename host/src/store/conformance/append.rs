//! Appends, the version check, and reading back.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::future::join_all;

use super::{
    Subject,
    kit::{self, Log, account, plain, read_all},
};
use crate::{
    address::{Address, MAX_ID_BYTES},
    clock,
    record::{Position, Stored},
    store::{AppendError, EventStore, Freshness},
};

pub(super) async fn an_actor_without_records_is_empty(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("nobody");
    assert!(!store.describe().is_empty());
    store.check().await.expect("it answers");
    assert_eq!(store.head(&actor).await.unwrap(), Position(0));
    for freshness in [Freshness::Any, Freshness::Leader] {
        let page = store.read(&actor, Position(0), freshness).await.unwrap();
        assert!(page.records.is_empty() && !page.more);
    }
    assert!(store.find_command(&actor, "c").await.unwrap().is_empty());
    assert_eq!(store.quarantined(&actor).await.unwrap(), None);
}

pub(super) async fn what_was_appended_is_read_back(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (mut alice, mut bob) =
        (Log::new(&store, account("alice")), Log::new(&store, account("bob")));
    let mut written = Vec::new();
    for n in 0..5 {
        written.push(alice.write(&format!("a{n}")).await);
        bob.write(&format!("b{n}")).await;
        assert_eq!(store.head(&alice.actor).await.unwrap(), alice.chain.position);
    }
    assert!(written.is_sorted_by_key(|stored| stored.position));
    assert_eq!(read_all(&store, &alice.actor, Position(0)).await, written);
    let others = read_all(&store, &bob.actor, Position(0)).await;
    assert!(others.len() == 5 && others.iter().all(|stored| !written.contains(stored)));
}

pub(super) async fn a_record_may_hold_many_events(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("many"));
    let append = log.record(1000, "first");
    log.append(append).await;
    assert_eq!(log.chain.version, 1000);
    log.write("after").await;
    let mut chain = crate::record::Chain::start(&log.actor);
    for stored in read_all(&store, &log.actor, Position(0)).await {
        chain.accept(&stored).unwrap();
    }
    assert_eq!(chain.version, 1001);
}

pub(super) async fn a_tail_is_read_from_a_position(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (mut log, mut other) =
        (Log::new(&store, account("tail")), Log::new(&store, account("other")));
    let mut written = Vec::new();
    for n in 0..6 {
        written.push(log.write(&n.to_string()).await);
        other.write("between").await;
    }
    for (n, stored) in written.iter().enumerate() {
        let at = read_all(&store, &log.actor, stored.position).await;
        assert_eq!(Some(at.as_slice()), written.get(n..), "inclusive");
        let behind = read_all(&store, &log.actor, Position(stored.position.0 + 1)).await;
        assert_eq!(Some(behind.as_slice()), written.get(n + 1..));
    }
}

pub(super) async fn pages_join_to_the_whole_log(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("long"));
    let large = "x".repeat(store.record_limit() / 2);
    let mut written = Vec::new();
    for n in 0..40 {
        let note = if n % 8 == 0 { large.clone() } else { n.to_string() };
        written.push(log.write(&note).await);
    }
    assert_eq!(read_all(&store, &log.actor, Position(0)).await, written);
    let page = store.read(&log.actor, Position(0), Freshness::Any).await.unwrap();
    assert!(!page.records.is_empty(), "a page holds at least one record");
}

pub(super) async fn another_expectation_is_a_conflict(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("alice"));
    let first = log.write("1").await.position;
    let last = log.write("2").await.position;
    Log::new(&store, account("bob")).write("elsewhere").await;
    let far = Position(last.0 + 1000);
    for (expected, version) in [(Position(0), 1), (first, 2), (far, 3)] {
        let refused = store.append(plain(&log.actor, expected, version, b"other")).await;
        let Err(AppendError::Conflict { last: named }) = refused else {
            panic!("expected a conflict at {expected}, got {refused:?}");
        };
        assert!(named.is_none_or(|named| named == last), "it names {named:?}, not {last}");
    }
    let unborn = store.append(plain(&account("carol"), first, 2, b"other")).await;
    assert!(matches!(unborn, Err(AppendError::Conflict { .. })), "{unborn:?}");
    assert_eq!(read_all(&store, &log.actor, Position(0)).await.len(), 2);
    log.write("3").await;
}

pub(super) async fn one_of_32_writers_wins_each_round(subject: Arc<dyn Subject>) {
    const WRITERS: usize = 32;
    const ROUNDS: u64 = 10;
    let store = kit::open(&subject).await;
    let actor = account("contended");
    let mut winners: Vec<Stored> = Vec::new();
    for round in 1..=ROUNDS {
        let expected = winners.last().map_or(Position(0), |stored| stored.position);
        let tries = (0..WRITERS).map(|writer| {
            let append = plain(&actor, expected, round, format!("{round}/{writer}").as_bytes());
            let (store, bytes) = (store.clone(), append.bytes.clone());
            tokio::spawn(async move { (store.append(append).await, bytes) })
        });
        let mut won = Vec::new();
        for answer in join_all(tries).await {
            match answer.unwrap() {
                (Ok(position), bytes) => won.push(Stored { position, bytes }),
                (Err(AppendError::Conflict { .. }), _) => {}
                (Err(other), _) => panic!("round {round}: {other}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        winners.append(&mut won);
    }
    assert_eq!(read_all(&store, &actor, Position(0)).await, winners);
    assert!(winners.is_sorted_by_key(|stored| stored.position));
}

pub(super) async fn the_largest_record_fits_and_one_byte_more_does_not(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("large");
    let limit = store.record_limit();
    let bytes = vec![b'x'; limit + 1];
    let position = store.append(plain(&actor, Position(0), 1, bytes.split_at(limit).0)).await;
    let position = position.expect("a record of exactly the limit fits");
    let refused = store.append(plain(&actor, position, 2, &bytes)).await;
    let Err(AppendError::TooLarge { bytes: found, limit: named }) = refused else {
        panic!("one byte more is not refused: {refused:?}");
    };
    assert_eq!((found, named), (limit + 1, limit));
    assert_eq!(store.head(&actor).await.unwrap(), position);
    let back = read_all(&store, &actor, Position(0)).await;
    assert!(back.len() == 1 && back.iter().all(|stored| stored.bytes.len() == limit));
}

pub(super) async fn a_past_deadline_is_never_acknowledged(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("late");
    let mut append = plain(&actor, Position(0), 1, b"late");
    append.deadline = clock::now();
    let answer = tokio::time::timeout(Duration::from_secs(10), store.append(append)).await;
    match answer.expect("an answer soon after the deadline") {
        Err(AppendError::Unavailable(_)) => {
            assert_eq!(store.head(&actor).await.unwrap(), Position(0), "it said: nothing stored");
        }
        Err(AppendError::Unresolved(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// The turn goes on without its caller, but a host that stops may drop any future.
pub(super) async fn a_caller_that_goes_away_breaks_nothing(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    for n in 0..20 {
        let actor = account(&format!("gone-{n}"));
        let first = plain(&actor, Position(0), 1, b"first");
        {
            let mut call = std::pin::pin!(store.append(first.clone()));
            for _ in 0..n % 4 {
                if futures::poll!(&mut call).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        match store.append(first).await {
            Ok(_) | Err(AppendError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let records = read_all(&store, &actor, Position(0)).await;
        assert_eq!(records.len(), 1, "stored once");
    }
}

pub(super) async fn command_ids_are_found_again(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let (actor, other) = (account("alice"), account("bob"));
    let mut first = plain(&actor, Position(0), 1, b"1");
    first.command_ids = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
    let first = store.append(first).await.unwrap();
    let mut second = plain(&actor, first, 2, b"2");
    second.command_ids = vec!["é/* \u{1F600}".to_owned(), "a".to_owned()];
    let second = store.append(second).await.unwrap();
    let mut elsewhere = plain(&other, Position(0), 1, b"3");
    elsewhere.command_ids = vec!["a".to_owned()];
    let elsewhere = store.append(elsewhere).await.unwrap();

    let expected = [
        (&actor, "a", vec![first, second]),
        (&actor, "b", vec![first]),
        (&actor, "é/* \u{1F600}", vec![second]),
        (&other, "a", vec![elsewhere]),
        (&other, "b", vec![]),
        (&actor, "never", vec![]),
    ];
    for (of, id, positions) in expected {
        let found = store.find_command(of, id).await.unwrap();
        if subject.keeps_command_ids() {
            assert_eq!(found, positions, "{id} of {of}");
        } else {
            assert!(found.iter().all(|at| positions.contains(at)), "{id} of {of}: {found:?}");
        }
    }
}

pub(super) async fn every_legal_id_keeps_its_own_log(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut ids: Vec<String> = (0..=255_u8).map(|byte| char::from(byte).to_string()).collect();
    for id in
        ["a.b", "a.*", "*", ">", "a>b", "..", "a/b", "/", "a b", " a", "=", "=41", "A", "a=20b"]
    {
        ids.push(id.to_owned());
    }
    ids.extend(
        ["😀", "é", "e\u{301}", "\u{202E}x", "日本", "\u{FEFF}", "\u{10FFFF}"].map(str::to_owned),
    );
    ids.extend([".", "x", "/"].map(|text| text.repeat(MAX_ID_BYTES)));
    ids.push("😀".repeat(MAX_ID_BYTES / 4));
    let ids: Vec<String> = ids.into_iter().collect::<HashSet<_>>().into_iter().collect();

    let appends =
        ids.iter().map(|id| store.append(plain(&account(id), Position(0), 1, id.as_bytes())));
    for (id, answer) in ids.iter().zip(join_all(appends).await) {
        answer.unwrap_or_else(|error| panic!("{id:?}: {error}"));
    }
    for id in &ids {
        let records = read_all(&store, &account(id), Position(0)).await;
        assert!(
            records.len() == 1 && records.iter().all(|stored| stored.bytes == id.as_bytes()),
            "{id:?} has the log of another: {records:?}"
        );
    }
    let listed: Vec<Address> = store.actors("bank", "account", None, 10_000).await.unwrap();
    let listed: HashSet<&str> = listed.iter().map(Address::id).collect();
    assert_eq!(listed, ids.iter().map(String::as_str).collect());
}

pub(super) async fn reopening_keeps_everything(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("alice"));
    let mut written = vec![log.write("1").await, log.write("2").await];
    store.close().await;
    for round in 0..3 {
        log.store = kit::open(&subject).await;
        assert_eq!(log.store.head(&log.actor).await.unwrap(), log.chain.position);
        assert_eq!(read_all(&log.store, &log.actor, Position(0)).await, written);
        written.push(log.write(&format!("after {round}")).await);
        log.store.close().await;
    }
}

pub(super) async fn two_handles_are_shared_or_refused(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let mut log = Log::new(&store, account("alice"));
    log.write("1").await;
    let second = subject.open().await;
    if !store.is_shared() {
        let error = second.expect_err("a second open of an unshared store").to_string();
        let holder = std::process::id().to_string();
        assert!(error.contains(&holder), "`{error}` does not name the holder, process {holder}");
        log.write("2").await;
        store.close().await;
        log.store = kit::open(&subject).await;
        log.write("3").await;
        return;
    }
    let second = second.expect("a second handle of a shared store");
    assert_eq!(second.head(&log.actor).await.unwrap(), log.chain.position);
    let (mine, theirs) = (log.record(1, "mine"), log.record(1, "theirs"));
    let (one, two) = tokio::join!(store.append(mine), second.append(theirs));
    assert!(one.is_ok() != two.is_ok(), "one of two wins: {one:?}, {two:?}");
    let last = one.or(two).unwrap();
    for handle in [&store, &second] {
        assert_eq!(handle.head(&log.actor).await.unwrap(), last);
        assert_eq!(read_all(handle, &log.actor, Position(0)).await.len(), 2);
    }
    second.close().await;
    store.check().await.expect("the other handle lives on");
    store.append(plain(&log.actor, last, 3, b"3")).await.expect("the other handle lives on");
}

pub(super) async fn a_closed_store_refuses(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let actor = account("alice");
    let position = store.append(plain(&actor, Position(0), 1, b"1")).await.unwrap();
    store.close().await;
    store.close().await;
    let refused = store.append(plain(&actor, position, 2, b"2")).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(store.read(&actor, Position(0), Freshness::Leader).await.is_err());
    assert!(store.head(&actor).await.is_err());
    assert!(store.check().await.is_err());
    assert!(store.feed("bank", None).await.is_err());
    assert!(store.put_blob(bytes::Bytes::from_static(b"x")).await.is_err());
    let reopened: Arc<dyn EventStore> = kit::open(&subject).await;
    assert_eq!(reopened.head(&actor).await.unwrap(), position);
}
