//! The conformance suite on this store, and what only this store promises.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::*;
use crate::store::conformance::{self, Subject, Tamper};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A connection beside the store; only while the store is closed, or through SQLite's locks.
    fn sqlite(&self) -> Connection {
        Connection::open(self.0.path().join("store.db")).unwrap()
    }

    async fn store(&self) -> EmbeddedStore {
        EmbeddedStore::open(self.0.path(), EmbeddedOptions::default()).await.unwrap()
    }
}

#[async_trait]
impl Subject for Folder {
    async fn open(&self) -> Result<Arc<dyn EventStore>, StoreError> {
        let store = EmbeddedStore::open(self.0.path(), EmbeddedOptions::default()).await?;
        Ok(Arc::new(store))
    }

    async fn tamper(&self, _actor: &Address, position: Position, how: Tamper) {
        let (db, position) = (self.sqlite(), session::number(position.0));
        let bytes: Vec<u8> = db
            .query_row("SELECT bytes FROM records WHERE position = ?1", [position], |r| r.get(0))
            .unwrap();
        let changed = match how {
            Tamper::Corrupt => bytes.iter().rev().copied().collect(),
            Tamper::Truncate => bytes[..bytes.len() / 2].to_vec(),
            Tamper::Remove => {
                let removed = db.execute("DELETE FROM records WHERE position = ?1", [position]);
                return assert_eq!(removed.unwrap(), 1);
            }
        };
        let update = "UPDATE records SET bytes = ?1 WHERE position = ?2";
        assert_eq!(db.execute(update, params![changed, position]).unwrap(), 1);
    }

    fn keeps_command_ids(&self) -> bool {
        true
    }
}

fn actor(id: &str) -> Address {
    Address::new("bank", "account", id).unwrap()
}

fn append(actor: &Address, expected: Position, first: u64) -> Append {
    Append {
        actor: actor.clone(),
        expected,
        first,
        events: 1,
        command_ids: Vec::new(),
        bytes: Bytes::from(format!("{actor} {first}")),
        deadline: clock::now() + Duration::from_secs(60),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_conforms() {
    conformance::run(|| Box::pin(async { Box::new(Folder::new()) as Box<dyn Subject> })).await;
}

#[tokio::test]
async fn every_connection_has_the_settings_that_the_promise_needs() {
    let folder = Folder::new();
    let place = schema::Place::new(folder.0.path().into(), false, Tuning::default());
    let number = |db: &Connection, name: &str| -> i64 {
        db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
    };
    for _ in 0..2 {
        let writer = place.open_writer().unwrap();
        assert_eq!(number(&writer, "synchronous"), 2);
        assert_eq!(number(&writer, "wal_autocheckpoint"), 16_000);
        assert_eq!(number(&writer, "page_size"), 4096);
        assert_eq!(number(&writer, "user_version"), 2);
        let reader = place.open_reader().unwrap();
        assert_eq!(number(&reader, "query_only"), 1);
        assert!(reader.execute("DELETE FROM records", []).is_err());
    }
}

#[tokio::test]
async fn files_of_others_and_of_newer_builds_are_refused_and_left_alone() {
    let foreign = Folder::new();
    foreign.sqlite().execute_batch("CREATE TABLE mine(x); INSERT INTO mine VALUES(1)").unwrap();
    let error = foreign.open().await.unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
    let kept: i64 = foreign.sqlite().query_row("SELECT x FROM mine", [], |r| r.get(0)).unwrap();
    assert_eq!(kept, 1);

    let newer = Folder::new();
    newer.store().await.close().await;
    newer.sqlite().execute_batch("PRAGMA user_version = 3").unwrap();
    let error = newer.open().await.unwrap_err().to_string();
    assert!(error.contains("version 3") && error.contains("knows 2"), "{error}");

    let garbage = Folder::new();
    std::fs::write(garbage.0.path().join("store.db"), vec![7; 8192]).unwrap();
    let error = garbage.open().await.unwrap_err().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_file_of_version_1_keeps_its_snapshots() {
    let folder = Folder::new();
    let (alice, key) = (actor("alice"), Digest::of("code"));
    let snapshot = Snapshot { key, position: Position(1), bytes: Bytes::from_static(b"state") };
    let store = folder.store().await;
    store.append(append(&alice, Position(0), 1)).await.unwrap();
    store.save_snapshot(&alice, snapshot.clone()).await.unwrap();
    store.close().await;
    let as_it_was = "
        CREATE TABLE old(
            actor INTEGER PRIMARY KEY,
            position INTEGER NOT NULL, key BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
        INSERT INTO old SELECT actor, position, key, bytes FROM snapshots;
        DROP TABLE snapshots; ALTER TABLE old RENAME TO snapshots; PRAGMA user_version = 1;
    ";
    folder.sqlite().execute_batch(as_it_was).unwrap();
    for _ in 0..2 {
        let store = folder.store().await;
        assert_eq!(store.snapshot(&alice, &key).await.unwrap(), Some(snapshot.clone()));
        let other = Snapshot { key: Digest::of("other"), ..snapshot.clone() };
        store.save_snapshot(&alice, other).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn a_position_is_never_given_twice() {
    let folder = Folder::new();
    let alice = actor("alice");
    let mut last = Position(0);
    for first in 1..=3 {
        let store = folder.store().await;
        let position = store.append(append(&alice, last, first)).await.unwrap();
        assert_eq!(position.0, last.0 + 1, "none is left out where the store was closed");
        store.close().await;
        last = position;
    }
    // Whoever removes the end of the log behind the store's back does not bring its position back.
    folder.sqlite().execute("DELETE FROM records WHERE position = 3", []).unwrap();
    let store = folder.store().await;
    let position = store.append(append(&alice, Position(2), 3)).await.unwrap();
    assert_eq!(position, Position(4));
    // As a crash leaves it: a stretch is counted, and what was given of it is not known.
    let copy = Folder::new();
    let backup = copy.0.path().join("store.db");
    folder.sqlite().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    let other = copy.store().await;
    let behind = other.append(append(&alice, position, 4)).await.unwrap();
    let next = store.append(append(&alice, position, 4)).await.unwrap();
    assert!(behind > next, "{behind} may have been given by {next}'s store");
    assert_eq!(next, Position(5));
    other.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_store_in_memory_leaves_nothing_behind() {
    let store = EmbeddedStore::in_memory().await.unwrap();
    assert!(store.describe().contains("removed when it closes"), "{}", store.describe());
    let dir = store.dir.clone();
    assert!(dir.join("store.db").exists());
    store.append(append(&actor("a"), Position(0), 1)).await.unwrap();
    store.close().await;
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_dropped_store_lets_go_of_its_folder() {
    let folder = Folder::new();
    let store = folder.store().await;
    let mut ended = store.committed.clone();
    drop(store);
    // The writer drops its end when it has ended, just before it frees the lock.
    while ended.changed().await.is_ok() {}
    let lock = std::fs::File::open(folder.0.path().join("LOCK")).unwrap();
    lock.lock().unwrap();
}

#[tokio::test]
async fn the_version_must_follow_the_stored_one_even_at_the_right_position() {
    let folder = Folder::new();
    let store = folder.store().await;
    let alice = actor("alice");
    let mut two = append(&alice, Position(0), 1);
    two.events = 2;
    let position = store.append(two).await.unwrap();
    for wrong in [0, 1, 2, 4, u64::MAX] {
        let refused = store.append(append(&alice, position, wrong)).await;
        assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{wrong}: {refused:?}");
    }
    let position = store.append(append(&alice, position, 3)).await.unwrap();
    // A repair says from which version on the log goes on.
    let mut repair = append(&alice, position, 9);
    repair.events = 0;
    let position = store.append(repair).await.unwrap();
    assert!(store.append(append(&alice, position, 4)).await.is_err());
    store.append(append(&alice, position, 9)).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_refuses_definitely_and_service_resumes_with_room() {
    let folder = Folder::new();
    folder.store().await.close().await;
    let place = schema::Place::new(folder.0.path().into(), false, Tuning::default());
    let db = place.open_writer().unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let mut session = session::Session::new(db).unwrap();
    // SQLite answers "full" at this page count just as at the end of a disk.
    session.db().execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
    let mut large = append(&actor("large"), Position(0), 1);
    large.bytes = vec![1; 100_000].into();
    session.begin().unwrap();
    let error = session.append(&large).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    session.roll_back().unwrap();
    session.db().execute_batch("PRAGMA max_page_count = 1000000").unwrap();
    session.begin().unwrap();
    session.append(&large).unwrap().unwrap();
    session.commit().unwrap();
    assert!(session.find(&large).unwrap().is_some());
}

#[tokio::test]
async fn a_foreign_transaction_makes_writes_unavailable_but_not_reads() {
    let folder = Folder::new();
    let store = folder.store().await;
    let alice = actor("alice");
    let position = store.append(append(&alice, Position(0), 1)).await.unwrap();
    let other = folder.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut late = append(&alice, position, 2);
    late.deadline = clock::now() + Duration::from_millis(100);
    let refused = store.append(late).await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable(_) | AppendError::Unresolved(_))),
        "{refused:?}"
    );
    assert_eq!(store.head(&alice).await.unwrap(), position);
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    // The late record may have been written meanwhile, as `unresolved` says.
    let head = store.head(&alice).await.unwrap();
    let first = if head == position { 2 } else { 3 };
    match store.append(append(&alice, head, first)).await {
        Ok(_) | Err(AppendError::Conflict { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    store.close().await;
}

#[tokio::test]
async fn damaged_blobs_are_not_given_out() {
    let folder = Folder::new();
    let store = folder.store().await;
    let digest = store.put_blob(Bytes::from_static(b"component")).await.unwrap();
    store.close().await;
    folder.sqlite().execute("UPDATE blobs SET bytes = x'00'", []).unwrap();
    let store = folder.store().await;
    let error = store.blob(&digest).await.unwrap_err().to_string();
    assert!(error.contains(&digest.to_string()), "{error}");
    let large = Bytes::from(vec![0; MAX_BLOB_BYTES + 1]);
    assert!(store.put_blob(large).await.is_err());
    store.close().await;
}

#[tokio::test]
async fn colliding_fingerprints_of_command_ids_are_both_kept() {
    let folder = Folder::new();
    let store = folder.store().await;
    let alice = actor("alice");
    let mut first = append(&alice, Position(0), 1);
    first.command_ids = vec!["a".to_owned()];
    let first = store.append(first).await.unwrap();
    let second = store.append(append(&alice, first, 2)).await.unwrap();
    store.close().await;
    let insert = "INSERT INTO commands SELECT actor, fingerprint, ?1 FROM commands";
    folder.sqlite().execute(insert, [session::number(second.0)]).unwrap();
    let store = folder.store().await;
    assert_eq!(store.find_command(&alice, "a").await.unwrap(), [first, second]);
    store.close().await;
}
