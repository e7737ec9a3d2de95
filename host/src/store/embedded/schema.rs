//! The SQLite file: its tables, its format number, and how connections to it are set up.
//!
//! `synchronous` and its like belong to a connection, not to the file: one that forgets them
//! loses acknowledged records. So every setting is read back on every connection.

use std::{path::PathBuf, sync::OnceLock};

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, types::Value};

use super::{Synchronous, Tuning};
use crate::{step::step, store::StoreError};

/// Marks a SQLite file as a store of aether: "aeth".
const APPLICATION_ID: i64 = 0x6165_7468;

/// Number of the schema below.
const SCHEMA_VERSION: i64 = 2;

/// What makes a store of version 1 one of version 2: an actor had one snapshot, of any code.
const FROM_1: &str = "
    ALTER TABLE snapshots RENAME TO snapshots_1;
    CREATE TABLE snapshots(
        actor INTEGER NOT NULL, key BLOB NOT NULL,
        position INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE(actor, key)) STRICT;
    INSERT INTO snapshots SELECT actor, key, position, bytes FROM snapshots_1;
    DROP TABLE snapshots_1;
";

/// `records` first of all: its key is the position, which `AUTOINCREMENT` counts so that none is
/// given twice; an index over it by `actor` is one by (actor, position), since a SQLite index ends
/// with the key. `bytes` stand last, so the other columns of a large record are read without them. A record
/// without events is a repair.
///
/// `commands` holds 8-byte fingerprints, which may collide: all are kept, and whoever finds one
/// looks into the record.
const SCHEMA: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES('epoch', 0);
    CREATE TABLE actors(
        id INTEGER PRIMARY KEY,
        context TEXT NOT NULL, aggregate TEXT NOT NULL, token TEXT NOT NULL,
        UNIQUE(context, aggregate, token)) STRICT;
    CREATE TABLE records(
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        actor INTEGER NOT NULL, first INTEGER NOT NULL, events INTEGER NOT NULL,
        bytes BLOB NOT NULL) STRICT;
    CREATE INDEX records_actor ON records(actor);
    CREATE INDEX records_repairs ON records(actor) WHERE events = 0;
    CREATE TABLE commands(
        actor INTEGER NOT NULL, fingerprint INTEGER NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY(actor, fingerprint, position)) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshots(
        actor INTEGER NOT NULL, key BLOB NOT NULL,
        position INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE(actor, key)) STRICT;
    CREATE TABLE deployments(
        context TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY(context, number)) STRICT, WITHOUT ROWID;
    CREATE TABLE blobs(digest BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE quarantines(actor INTEGER PRIMARY KEY, mark TEXT NOT NULL) STRICT;
";

/// The name of the database.
const DATABASE: &str = "store.db";

/// The name of its write-ahead log, which is there as long as the database is open.
pub(super) const LOG: &str = "store.db-wal";

/// Why a store takes nothing more.
pub(super) const MOVED: &str = "`store.db` or its log was removed or replaced while the host has it open: nothing more is stored, for nobody would find it again; put both back where they were, and the host goes on; if there is no other copy, save those that it holds open (/proc/PID/fd) before it ends";

/// What the file `STORE` says, for people.
const MARK: &str =
    "This folder holds a store of aether: the records of all actors are in store.db.\n";

/// A folder that holds a store, and how it is used.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// Whether the folder goes with the store.
    pub(super) temporary: bool,
    pub(super) tuning: Tuning,
    /// Which file `store.db` was when it was first opened. Another one of that name is another store.
    pub(super) file: OnceLock<FileIdentity>,
}

/// What tells a file from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl Place {
    /// A folder that nobody has opened yet.
    pub(super) fn new(dir: PathBuf, temporary: bool, tuning: Tuning) -> Self {
        Self { dir, temporary, tuning, file: OnceLock::new() }
    }

    /// Opens the writing connection, makes the store if the folder has none, and makes sure that
    /// what this connection sees is what every later one will see ([`settle_log`]).
    ///
    /// A store that is there leaves the file `STORE` beside it. An empty `store.db` with that file
    /// is no new store: it was cut, or lost.
    pub(super) fn open_writer(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.open(flags).and_then(|db| self.prepare_writer(&db).map(|()| db)).map_err(|error| {
            let advice = advice(error.downcast_ref());
            let dir = self.dir.display();
            StoreError(format!("cannot open the store in {dir}: {error:#}{advice}"))
        })
    }

    /// Opens a connection that reads.
    pub(super) fn open_reader(&self) -> anyhow::Result<Connection> {
        let db = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        set_all(&db, &[("query_only", 1), ("cache_size", -8192)])?;
        set_all(&db, COMMON)?;
        expect_wal(&db, "PRAGMA journal_mode")?;
        Ok(db)
    }

    /// Which file is called so now. None: it is not there, or it is not one of the machine's own.
    pub(super) fn identify(&self, name: &str) -> Option<FileIdentity> {
        use std::os::unix::fs::MetadataExt as _;
        let is_the_machines = self.tuning.vfs.is_none();
        let found = is_the_machines.then(|| std::fs::metadata(self.dir.join(name)).ok());
        found.flatten().map(|found| FileIdentity { device: found.dev(), inode: found.ino() })
    }

    /// Whether the file that was opened first is still the one of its name.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.get().copied() == self.identify(DATABASE)
    }

    fn open(&self, flags: OpenFlags) -> anyhow::Result<Connection> {
        let path = self.dir.join(DATABASE);
        let db = match &self.tuning.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
            None => step!("embedded.open-file", Connection::open_with_flags(path, flags))?,
        };
        if let Some(found) = self.identify(DATABASE) {
            let known = *self.file.get_or_init(|| found);
            anyhow::ensure!(known == found, "{MOVED}");
        }
        Ok(db)
    }

    fn prepare_writer(&self, db: &Connection) -> anyhow::Result<()> {
        let synchronous = match self.tuning.synchronous {
            Synchronous::Off => 0,
            Synchronous::Normal => 1,
            Synchronous::Full => 2,
        };
        set_all(
            db,
            &[
                ("synchronous", synchronous),
                // macOS: without these a sync only reaches the drive's cache. No effect elsewhere.
                ("fullfsync", 1),
                ("checkpoint_fullfsync", 1),
                ("cache_size", -65536),
            ],
        )?;
        set_all(db, COMMON)?;
        let (found, mark) = (found(db)?, self.dir.join("STORE"));
        anyhow::ensure!(
            found.is_some() || !mark.exists(),
            "store.db is empty or missing, and {} says that a store was here; restore a backup, or \
             remove that file to begin anew with nothing",
            mark.display()
        );
        if found.is_none() {
            // Before the file becomes a WAL file, which fixes it.
            set_all(db, &[("page_size", 4096)])?;
        }
        step!("embedded.set-wal", expect_wal(db, "PRAGMA journal_mode=WAL"))?;
        set_all(
            db,
            &[
                ("wal_autocheckpoint", i64::from(self.tuning.checkpoint_pages)),
                ("journal_size_limit", 64 << 20),
            ],
        )?;
        let change = match found {
            None => Some(format!("{SCHEMA} PRAGMA application_id={APPLICATION_ID};")),
            Some(1) => Some(FROM_1.to_owned()),
            Some(_) => None,
        };
        if let Some(change) = change {
            let make =
                format!("BEGIN IMMEDIATE; {change} PRAGMA user_version={SCHEMA_VERSION}; COMMIT");
            step!("embedded.make-tables", db.execute_batch(&make))?;
        }
        db.set_prepared_statement_cache_capacity(64);
        settle_log(db)?;
        if !mark.exists() {
            std::fs::write(&mark, MARK)
                .with_context(|| format!("cannot write {}", mark.display()))?;
        }
        Ok(())
    }
}

/// What to do about an error of SQLite, as the end of a sentence; empty if it says so itself.
pub(super) fn advice(error: Option<&rusqlite::Error>) -> &'static str {
    match error.and_then(rusqlite::Error::sqlite_error_code) {
        Some(ErrorCode::DiskFull) => "; make room on the disk",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the file is damaged: stop the host, look with `aether audit --data`, restore a backup"
        }
        _ => "",
    }
}

/// Settings that all connections share.
const COMMON: &[(&str, i64)] = &[
    ("busy_timeout", 5000),
    ("temp_store", 2),
    ("trusted_schema", 0),
    ("cell_size_check", 1),
    // A failing disk would end the process by a signal instead of giving an error.
    ("mmap_size", 0),
];

/// Makes frames of the WAL that no reader sees now invisible for ever.
///
/// After a failed sync, the WAL may hold a whole transaction, commit mark included, that every
/// connection takes for absent, and that the next recovery brings back. A checkpoint that resets
/// the WAL, or any commit, which overwrites those frames, ends that. Both are done, and both must
/// succeed before the end of the log may be believed.
pub(super) fn settle_log(db: &Connection) -> anyhow::Result<()> {
    fold_log(db)?;
    let fence = "UPDATE meta SET value = value + 1 WHERE key = 'epoch'";
    step!("embedded.fence", db.execute(fence, []))?;
    Ok(())
}

/// Moves everything from the WAL into the file and empties the WAL.
pub(super) fn fold_log(db: &Connection) -> anyhow::Result<()> {
    let fold = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = step!("embedded.checkpoint", db.query_row(fold, [], |row| row.get(0)))?;
    anyhow::ensure!(
        busy == 0,
        "the write-ahead log cannot be emptied because another program reads the store; end it"
    );
    Ok(())
}

/// The version of the store in the file; none if it has no content yet.
///
/// # Errors
/// If it is no store, or one of a newer build.
fn found(db: &Connection) -> anyhow::Result<Option<i64>> {
    let number = |pragma: &str| db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0));
    let application: i64 = number("application_id")?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && tables == 0 {
        return Ok(None);
    }
    anyhow::ensure!(
        application == APPLICATION_ID,
        "store.db is a SQLite file of another program (application id {application:#x}, expected \
         {APPLICATION_ID:#x}); choose another folder"
    );
    let version: i64 = number("user_version")?;
    anyhow::ensure!(
        (1..=SCHEMA_VERSION).contains(&version),
        "the store has schema version {version}; this build knows {SCHEMA_VERSION}; use the aether \
         that wrote it, or a newer one"
    );
    Ok(Some(version))
}

fn expect_wal(db: &Connection, pragma: &str) -> anyhow::Result<()> {
    let mode: String = db.query_row(pragma, [], |row| row.get(0))?;
    anyhow::ensure!(
        mode == "wal",
        "SQLite keeps journal mode `{mode}`, expected `wal`; the file system may not support it"
    );
    Ok(())
}

/// Sets each pragma and reads it back.
fn set_all(db: &Connection, settings: &[(&str, i64)]) -> anyhow::Result<()> {
    for &(name, value) in settings {
        // Some pragmas answer when they are set, some do not.
        db.prepare(&format!("PRAGMA {name}={value}"))?.query([])?.next()?;
        let found: Value = db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
        anyhow::ensure!(
            found == Value::Integer(value),
            "SQLite has {name}={found:?} after it was set to {value}"
        );
    }
    Ok(())
}
