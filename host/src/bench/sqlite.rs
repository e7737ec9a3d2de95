//! What is measured beside the embedded store: SQLite alone, on a file that the store has made.
//!
//! The bare loop does what the store's writer does, with the same tables, settings and checks, and
//! nothing else: no queue, no second thread, nobody who waits for an answer. No line of it goes
//! through the store.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use lru::LruCache;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use tokio::sync::oneshot;

use super::{
    history::{Author, Past},
    measure::{Load, Thing, histogram, nanos},
};
use crate::{address::Address, clock, record::Position};

/// Actors that the loop remembers, as many as the store's writer does.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// Rows of a transaction that fills a store.
const FILL_ROWS: usize = 20_000;

/// What is known of an actor.
#[derive(Clone, Copy)]
struct Known {
    id: i64,
    position: i64,
    version: i64,
}

/// The bare loop.
pub struct Bare {
    db: Connection,
    known: LruCache<usize, Known>,
    actors: Arc<[Address]>,
    payload: Bytes,
    random: StdRng,
}

impl Bare {
    /// Opens the file of a store that nobody has open.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(dir: &Path, actors: Arc<[Address]>, payload: Bytes) -> Result<Self> {
        let db = open(dir, 2)?;
        let random = StdRng::seed_from_u64(1);
        Ok(Self { db, known: LruCache::new(REMEMBERED), actors, payload, random })
    }

    /// A thing to be measured: transactions of `batch` records each, of actors at random.
    #[must_use]
    pub fn thing(self, batch: usize) -> Thing {
        let bare = Arc::new(Mutex::new(self));
        Box::new(move |time| {
            let bare = bare.clone();
            let run = tokio::task::spawn_blocking(move || {
                bare.lock().unwrap_or_else(PoisonError::into_inner).run(batch, time)
            });
            let ran = async move { run.await.context("the bare loop broke")? };
            Box::pin(ran) as BoxFuture<'static, Result<Load>>
        })
    }

    fn run(&mut self, batch: usize, time: Duration) -> Result<Load> {
        let (begun, mut count, mut latency) = (clock::now(), 0, histogram()?);
        while begun.elapsed() < time {
            let started = clock::now();
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for _ in 0..batch {
                let actor = self.random.random_range(0..self.actors.len());
                self.append(actor)?;
            }
            self.db.prepare_cached("COMMIT")?.execute([])?;
            latency.saturating_record_n(nanos(started.elapsed()), batch as u64);
            count += batch as u64;
        }
        Ok(Load { count, took: begun.elapsed(), latency })
    }

    /// One record, if it is the actor's next one.
    fn append(&mut self, number: usize) -> Result<()> {
        let actor = self.actors.get(number).context("the actor is one of these")?;
        let found = match self.known.get(&number) {
            Some(known) => Some(*known),
            None => look_up(&self.db, actor)?,
        };
        let Known { id, position, version } = match found {
            Some(known) => known,
            None => enter(&self.db, actor)?,
        };
        // What the writer compares: here the one who writes is the one who knows.
        ensure!(position >= 0 && version >= 0, "{actor} has no next record");
        let first = version + 1;
        self.db
            .prepare_cached(
                "INSERT INTO records(actor, first, events, bytes) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, first, 1, &*self.payload])?;
        let position = self.db.last_insert_rowid();
        self.known.put(number, Known { id, position, version: first });
        Ok(())
    }
}

fn look_up(db: &Connection, actor: &Address) -> Result<Option<Known>> {
    let id = db
        .prepare_cached(
            "SELECT id FROM actors WHERE context = ?1 AND aggregate = ?2 AND token = ?3",
        )?
        .query_row(params![actor.context(), actor.aggregate(), actor.id_token()], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(None) };
    let last = db
        .prepare_cached(
            "SELECT position, first + events - 1 FROM records WHERE actor = ?1
             ORDER BY position DESC LIMIT 1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (position, version) = last.unwrap_or((0, 0));
    Ok(Some(Known { id, position, version }))
}

fn enter(db: &Connection, actor: &Address) -> Result<Known> {
    db.prepare_cached("INSERT INTO actors(context, aggregate, token) VALUES(?1, ?2, ?3)")?
        .execute(params![actor.context(), actor.aggregate(), actor.id_token()])?;
    Ok(Known { id: db.last_insert_rowid(), position: 0, version: 0 })
}

/// A writing connection with the settings of the store's; `synchronous` 2 = full, 0 = off.
fn open(dir: &Path, synchronous: i64) -> Result<Connection> {
    let path = dir.join("store.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&path, flags)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    let settings = [
        ("synchronous", synchronous),
        ("cache_size", -65536),
        ("busy_timeout", 5000),
        ("temp_store", 2),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("mmap_size", 0),
        ("wal_autocheckpoint", 16_000),
        ("journal_size_limit", 64 << 20),
    ];
    for (name, value) in settings {
        db.prepare(&format!("PRAGMA {name}={value}"))?.query([])?.next()?;
    }
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    ensure!(mode == "wal", "{} is no store of aether", path.display());
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Fills the store in `dir`, which nobody has open, with `records` records for each of `actors`,
/// each of `turns` turns. They stand as they would if the actors had taken turns.
///
/// # Errors
/// If it cannot be written.
pub fn fill(
    dir: &Path,
    author: &Author,
    actors: &[Address],
    records: usize,
    turns: u64,
) -> Result<()> {
    let db = open(dir, 0)?;
    db.execute_batch("BEGIN")?;
    let mut pasts = Vec::with_capacity(actors.len());
    for actor in actors {
        pasts.push((enter(&db, actor)?.id, Past::of(actor)));
    }
    let mut written = 0;
    for _ in 0..records {
        for (id, past) in &mut pasts {
            let next = past.next(author, turns)?;
            db.prepare_cached(
                "INSERT INTO records(actor, first, events, bytes) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                *id,
                i64::try_from(next.first)?,
                i64::try_from(next.events)?,
                &*next.bytes
            ])?;
            past.stored(&next, Position(db.last_insert_rowid().unsigned_abs()));
            written += 1;
            if written % FILL_ROWS == 0 {
                db.execute_batch("COMMIT; BEGIN")?;
            }
        }
    }
    db.execute_batch("COMMIT")?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
    db.execute_batch("PRAGMA synchronous=2")?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(())
}

/// The version of SQLite.
#[must_use]
pub fn version() -> &'static str {
    rusqlite::version()
}

/// Plain reads of an actor's records, on two threads with a connection each, as a program that must
/// not block its own threads does them.
#[derive(Clone)]
pub struct RawReads(mpsc::Sender<Asked>);

/// An actor, whether from its snapshot on, and who waits for the number of its records.
type Asked = (Address, bool, oneshot::Sender<Result<usize>>);

impl RawReads {
    /// Reads of the store in `dir`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(dir: &Path) -> Result<Self> {
        let (ask, asked) = mpsc::channel::<Asked>();
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..2 {
            let db = Connection::open_with_flags(
                dir.join("store.db"),
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            db.pragma_update(None, "cache_size", -8192)?;
            let asked = asked.clone();
            thread::Builder::new().name("bench-read".to_owned()).spawn(move || {
                let next = || asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((actor, snapshot, answer)) = next() {
                    let from = if snapshot { snapshot_position(&db, &actor) } else { Ok(0) };
                    let _ = answer.send(from.and_then(|from| read(&db, &actor, from)));
                }
            })?;
        }
        Ok(Self(ask))
    }

    /// Reads the records of `actor`; how many there are. With `snapshot`, reads that and only the
    /// records from the one on that it stands on.
    ///
    /// # Errors
    /// If SQLite cannot.
    pub async fn read(&self, actor: &Address, snapshot: bool) -> Result<usize> {
        let (answer, answered) = oneshot::channel();
        self.0.send((actor.clone(), snapshot, answer)).ok().context("the readers have ended")?;
        answered.await.context("the readers have ended")?
    }
}

/// Reads an actor's snapshot; the position that it stands on.
fn snapshot_position(db: &Connection, actor: &Address) -> Result<i64> {
    let mut statement = db.prepare_cached(
        "SELECT position, bytes, key FROM snapshots WHERE actor =
         (SELECT id FROM actors WHERE context = ?1 AND aggregate = ?2 AND token = ?3)
         ORDER BY position DESC LIMIT 1",
    )?;
    let key = params![actor.context(), actor.aggregate(), actor.id_token()];
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?))
    };
    Ok(statement.query_row(key, row)?.0)
}

fn read(db: &Connection, actor: &Address, from: i64) -> Result<usize> {
    let mut statement = db.prepare_cached(
        "SELECT position, bytes FROM records WHERE actor =
         (SELECT id FROM actors WHERE context = ?1 AND aggregate = ?2 AND token = ?3)
         AND position >= ?4 ORDER BY position",
    )?;
    let key = params![actor.context(), actor.aggregate(), actor.id_token(), from];
    let mut rows = statement.query(key)?;
    let mut records: Vec<(i64, Bytes)> = Vec::new();
    while let Some(row) = rows.next()? {
        records.push((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into()));
    }
    Ok(records.len())
}
