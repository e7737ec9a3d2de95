//! An acknowledged record survives a crash at any moment, and a record that was refused never
//! comes back.
//!
//! Group commits run through the embedded store on a VFS that traces every file operation. Each
//! operation, from the creation of the file to its closing, is then taken as the moment of a
//! crash, with three ideas of what the disk has kept; the store is opened on what is left and
//! compared with what had been answered by then. That the test sees lost syncs is shown by
//! `synchronous=NORMAL` and `OFF`, with which it must fail.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

use std::{path::Path, pin::pin, sync::Arc, task::Poll, time::Duration};

use aether::{
    address::Address,
    clock,
    record::{Position, Stored},
    store::{
        Append, AppendError, EventStore, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore, Synchronous, Tuning},
    },
};
use aether_tests::{
    crash_disk::{Disk, Loss, lay_out},
    crash_vfs::{Failing, Fault, Op, TraceVfs},
    watchdog::memory,
};
use bytes::Bytes;
use futures::{future::join_all, poll};
use rusqlite::{Connection, ffi};
use tempfile::TempDir;

const LOSSES: [Loss; 3] = [Loss::Unsynced, Loss::Sectors(1), Loss::Nothing];

/// A store on a traced VFS, and everything that it answered.
struct Traced {
    dir: TempDir,
    vfs: TraceVfs,
    store: Arc<EmbeddedStore>,
    answers: Vec<Answer>,
}

/// An answer that the test was given; its note in the trace has its index.
struct Answer {
    actor: Address,
    bytes: Bytes,
    /// None: it was said to be not stored.
    position: Option<Position>,
}

/// What was found after the crashes.
#[derive(Debug, Default)]
struct Report {
    points: usize,
    faults: Vec<String>,
}

#[tokio::test]
async fn acknowledged_records_survive_a_crash_at_every_file_operation() {
    let (trace, answers) = workload(Synchronous::Full).await;
    let synced = trace.iter().filter(|op| matches!(op, Op::Sync(file) if file.ends_with("-wal")));
    assert!(synced.count() < answers.len(), "no commit held more than one record");
    for loss in LOSSES {
        let report = crash_everywhere(&trace, &answers, loss, usize::MAX).await;
        assert!(report.points > 200, "only {} crash points", report.points);
        assert!(report.faults.is_empty(), "{loss:?}: {:#?}", report.faults);
    }
}

#[tokio::test]
async fn without_a_sync_per_commit_the_same_crashes_lose_records() {
    for synchronous in [Synchronous::Normal, Synchronous::Off] {
        let (trace, answers) = workload(synchronous).await;
        for loss in [Loss::Unsynced, Loss::Sectors(1)] {
            let report = crash_everywhere(&trace, &answers, loss, 1).await;
            assert!(!report.faults.is_empty(), "{synchronous:?} passes {loss:?}");
        }
    }
}

#[tokio::test]
async fn a_commit_whose_sync_failed_is_settled_before_it_is_answered() {
    for with_reader in [true, false] {
        let mut traced = Traced::open(Synchronous::Full).await;
        traced.round(0..3, 1).await;
        let reader = with_reader.then(|| traced.sqlite());
        let seen = reader.as_ref().map(count);
        assert!(seen.is_none_or(|seen| seen == 3));

        traced.vfs.fail(Some(Fault {
            failing: Failing::Sync,
            code: ffi::SQLITE_IOERR_FSYNC,
            skip: 0,
            times: u64::MAX,
        }));
        let (store, append) = (traced.store.clone(), traced.next(0, 2));
        let waiting = tokio::spawn({
            let append = append.clone();
            async move { store.append(append).await }
        });
        // The commit's own sync, then one of each of two tries to come back.
        let failed = tokio::time::timeout(Duration::from_secs(30), traced.vfs.failed(3)).await;
        failed.expect("the store syncs before it comes back");
        assert!(!waiting.is_finished(), "answered while the outcome is unknown");
        let refused = traced.store.append(traced.next(1, 2)).await;
        assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
        assert!(traced.store.head(&append.actor).await.is_err(), "a read cannot be trusted now");

        traced.vfs.fail(None);
        let answer = waiting.await.unwrap();
        assert_eq!(answer.is_ok(), !with_reader, "{answer:?}");
        traced.heard(&append, answer);
        let version = if with_reader { 2 } else { 3 };
        traced.write(0, version).await;
        traced.write(1, 2).await;
        drop(reader);
        let (trace, answers) = traced.close().await;
        for loss in LOSSES {
            let report = crash_everywhere(&trace, &answers, loss, usize::MAX).await;
            assert!(report.faults.is_empty(), "reader {with_reader}, {loss:?}: {report:#?}");
        }
    }
}

/// Why the store does all that: plain SQLite says "not stored", and after a kill it is.
#[tokio::test]
async fn without_the_fence_a_refused_record_comes_back() {
    let traced = Traced::open(Synchronous::Full).await;
    traced.store.close().await;
    let open = || {
        let path = traced.dir.path().join("store.db");
        let db = Connection::open_with_flags_and_vfs(path, Default::default(), traced.vfs.name());
        let db = db.unwrap();
        db.execute_batch("PRAGMA synchronous = FULL").unwrap();
        db
    };
    let insert = "INSERT INTO records(actor, first, events, bytes) VALUES(1, 1, 1, x'00')";
    let db = open();
    db.execute(insert, []).unwrap();
    let reader = traced.sqlite();
    assert_eq!(count(&reader), 1);
    traced.vfs.fail(Some(Fault {
        failing: Failing::Sync,
        code: ffi::SQLITE_IOERR_FSYNC,
        skip: 0,
        times: 1,
    }));
    db.execute(insert, []).unwrap_err();
    drop(db);
    assert_eq!(count(&open()), 1, "SQLite says that it is not stored");

    let mut disk = Disk::default();
    traced.vfs.trace().iter().for_each(|op| disk.step(op));
    let after = tempdir();
    lay_out(&disk.crash(Loss::Nothing), &after.path().join("c")).unwrap();
    let after = Connection::open(after.path().join("c/store.db")).unwrap();
    assert_eq!(count(&after), 2, "after a kill it is there");
}

/// `times` above 1 is a disk that stays full or broken for a while.
#[tokio::test]
async fn a_write_that_fails_anywhere_in_a_commit_is_refused_for_good() {
    for (code, times) in [(ffi::SQLITE_FULL, u64::MAX), (ffi::SQLITE_IOERR_WRITE, 1)] {
        let mut traced = Traced::open(Synchronous::Full).await;
        let mut refused = 0;
        for skip in 0..14 {
            let fault = Fault { failing: Failing::Write, code, skip, times };
            traced.vfs.fail(Some(fault));
            let append = traced.next(0, traced.version(0) + 1);
            let answer = traced.store.append(append.clone()).await;
            traced.vfs.fail(None);
            if let Err(error) = &answer {
                refused += 1;
                assert!(matches!(error, AppendError::Unavailable(_)), "{error}");
            }
            traced.heard(&append, answer);
            traced.write(0, traced.version(0) + 1).await;
        }
        assert!(refused >= 4, "only {refused} of 14 writes failed");
        let (trace, answers) = traced.close().await;
        for loss in LOSSES {
            let report = crash_everywhere(&trace, &answers, loss, usize::MAX).await;
            assert!(report.faults.is_empty(), "code {code}, {loss:?}: {report:#?}");
        }
    }
}

/// Group commits of several sizes, with checkpoints among them, from creation to close.
async fn workload(synchronous: Synchronous) -> (Vec<Op>, Vec<Answer>) {
    let mut traced = Traced::open(synchronous).await;
    for version in 1..=16 {
        let actors = if version % 3 == 0 { 0..8 } else { 0..1 };
        traced.round(actors, version).await;
    }
    traced.close().await
}

impl Traced {
    async fn open(synchronous: Synchronous) -> Self {
        let (dir, vfs) = (tempdir(), TraceVfs::register().unwrap());
        let tuning = Tuning {
            vfs: Some(vfs.name().to_owned()),
            synchronous,
            checkpoint_pages: 40,
            readers: 1,
        };
        let options = EmbeddedOptions { tuning, ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(dir.path(), options).await.unwrap();
        Self { dir, vfs, store: Arc::new(store), answers: Vec::new() }
    }

    /// A connection of another program.
    fn sqlite(&self) -> Connection {
        Connection::open(self.dir.path().join("store.db")).unwrap()
    }

    /// Version of an actor by what was acknowledged.
    fn version(&self, actor: usize) -> u64 {
        let actor = address(actor);
        let stored = |answer: &&Answer| answer.actor == actor && answer.position.is_some();
        self.answers.iter().filter(stored).count() as u64
    }

    /// The record with which `actor` reaches `version`, behind its last acknowledged one.
    fn next(&self, actor: usize, version: u64) -> Append {
        let actor = address(actor);
        let last = self.answers.iter().filter(|answer| answer.actor == actor);
        let expected = last.filter_map(|answer| answer.position).max().unwrap_or_default();
        let tries = self.answers.len();
        let bytes = format!("{actor} {version} {tries} {}", "x".repeat(600)).into();
        let deadline = clock::now() + Duration::from_secs(120);
        let (first, events, command_ids) = (version, 1, vec![format!("c{tries}")]);
        Append { actor, expected, first, events, command_ids, bytes, deadline }
    }

    /// One record for each actor, all at once: the first commit is not through before all wait for
    /// the writer, so two commits take them all.
    async fn round(&mut self, actors: std::ops::Range<usize>, version: u64) {
        let appends: Vec<Append> =
            actors.map(|actor| self.next(actor, self.version(actor) + 1)).collect();
        assert!(appends.iter().all(|append| append.first <= version));
        let calls = appends.iter().enumerate().map(|(n, append)| {
            let (vfs, note) = (self.vfs.clone(), self.answers.len() + n);
            let call = self.store.append(append.clone());
            async move {
                let position = call.await.expect("an acknowledgement");
                vfs.note(note);
                position
            }
        });
        self.vfs.hold_syncs(true);
        let mut calls = pin!(join_all(calls));
        let early = poll!(&mut calls);
        self.vfs.hold_syncs(false);
        let positions = match early {
            // Without syncs nothing holds the writer.
            Poll::Ready(positions) => positions,
            Poll::Pending => calls.await,
        };
        let answers = appends.into_iter().zip(positions);
        self.answers.extend(answers.map(|(append, position)| Answer {
            actor: append.actor,
            bytes: append.bytes,
            position: Some(position),
        }));
    }

    async fn write(&mut self, actor: usize, version: u64) {
        let append = self.next(actor, version);
        let answer = self.store.append(append.clone()).await;
        assert!(answer.is_ok(), "{answer:?}");
        self.heard(&append, answer);
    }

    fn heard(&mut self, append: &Append, answer: Result<Position, AppendError>) {
        let position = match answer {
            Ok(position) => Some(position),
            Err(AppendError::Unavailable(_)) => None,
            Err(other) => panic!("{other}"),
        };
        self.vfs.note(self.answers.len());
        let (actor, bytes) = (append.actor.clone(), append.bytes.clone());
        self.answers.push(Answer { actor, bytes, position });
    }

    async fn close(self) -> (Vec<Op>, Vec<Answer>) {
        self.store.close().await;
        (self.vfs.trace(), self.answers)
    }
}

/// Crashes behind every operation of the trace, until `most` faults were found.
async fn crash_everywhere(trace: &[Op], answers: &[Answer], loss: Loss, most: usize) -> Report {
    let dir = tempdir();
    let dir = dir.path().join("crashed");
    let (mut disk, mut report, mut heard) = (Disk::default(), Report::default(), Vec::new());
    for (at, op) in trace.iter().enumerate() {
        disk.step(op);
        if let Op::Note(answer) = op {
            heard.push(&answers[*answer]);
        }
        let loss = match loss {
            Loss::Sectors(seed) => Loss::Sectors(seed + at as u64),
            other => other,
        };
        report.points += 1;
        lay_out(&disk.crash(loss), &dir).unwrap();
        if let Err(fault) = examine(&dir, &heard).await {
            report.faults.push(format!("after operation {at} ({loss:?}): {fault}"));
        }
        if report.faults.len() >= most {
            break;
        }
    }
    report
}

/// Opens what a crash left and compares it with what had been answered.
async fn examine(dir: &Path, heard: &[&Answer]) -> anyhow::Result<()> {
    let tuning = Tuning { readers: 1, ..Tuning::default() };
    let options = EmbeddedOptions { tuning, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(dir, options).await?;
    let result = compare(&store, heard).await;
    store.close().await;
    result?;
    let db = Connection::open(dir.join("store.db"))?;
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(verdict == "ok", "{verdict}");
    Ok(())
}

async fn compare(store: &EmbeddedStore, heard: &[&Answer]) -> anyhow::Result<()> {
    for number in 0..8 {
        let actor = address(number);
        let found = store.read(&actor, Position(0), Freshness::Leader).await?;
        anyhow::ensure!(!found.more);
        let records: Vec<&Stored> = found.records.iter().collect();
        for answer in heard.iter().filter(|answer| answer.actor == actor) {
            let at = records.iter().find(|stored| stored.bytes == answer.bytes);
            let at = at.map(|stored| stored.position);
            let told = answer.position;
            anyhow::ensure!(at == told, "{actor}: told {told:?}, found {at:?}");
        }
        // The log goes on from whatever it holds.
        if number == 0 {
            let append = Append {
                expected: records.last().map_or(Position(0), |last| last.position),
                first: records.len() as u64 + 1,
                events: 1,
                command_ids: Vec::new(),
                bytes: Bytes::from_static(b"after the crash"),
                deadline: clock::now() + Duration::from_secs(60),
                actor,
            };
            store.append(append).await?;
        }
    }
    Ok(())
}

fn address(number: usize) -> Address {
    Address::new("bank", "account", &number.to_string()).unwrap()
}

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM records", [], |row| row.get(0)).unwrap()
}

/// A folder in memory where the machine has one: what matters is the trace, not this disk.
fn tempdir() -> TempDir {
    tempfile::tempdir_in(memory()).unwrap()
}
