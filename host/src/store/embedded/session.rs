//! What the writer does inside a transaction.

use aether_wit::Digest;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};
use sha2::{Digest as _, Sha256};

use super::heads::{Head, Heads};
use crate::{
    address::Address,
    record::Position,
    step::step,
    store::{Append, AppendError, Quarantine, Snapshot, StoreError},
};

/// Positions that are counted as given at once. SQLite counts them in a table of its own, and each
/// change of it is one page more for a commit to write and sync; after a crash, those of a stretch
/// that were not used are left out.
const STRETCH: i64 = 1000;

/// A change that is no append. Each may be made twice without harm.
#[derive(Debug)]
pub(super) enum Change {
    /// Keeps a snapshot, unless there is a newer one of the same code; a third code's goes.
    Snapshot { actor: Address, snapshot: Snapshot },
    /// Keeps a blob.
    Blob { digest: Digest, bytes: Bytes },
    /// Adds a deployment, if its number is the next one of its context.
    Activate { context: String, number: u64, body: String },
    /// Removes an actor's snapshots.
    ForgetSnapshot { actor: Address },
    /// Marks an actor, unless its mark tells as much. The text is the mark as it is written.
    Quarantine { actor: Address, mark: Quarantine, text: String },
    /// Takes a mark back, if it is this one.
    Release { actor: Address, mark: Quarantine },
    /// Only shows that the writer lives.
    Nothing,
}

impl Change {
    /// How much it adds to a transaction, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Snapshot { snapshot, .. } => snapshot.bytes.len(),
            Self::Blob { bytes, .. } => bytes.len(),
            Self::Activate { body, .. } => body.len(),
            Self::Quarantine { text, .. } => text.len(),
            Self::ForgetSnapshot { .. } | Self::Release { .. } | Self::Nothing => 0,
        }
    }
}

/// The writing connection, and what it remembers of actors. What is remembered includes the
/// transaction under way: it must be forgotten when that fails.
pub(super) struct Session {
    db: Connection,
    heads: Heads,
    positions: Positions,
    /// As they were before the transaction under way.
    positions_before: Positions,
}

/// Which positions are given, and up to where the file counts them as given: `AUTOINCREMENT` never
/// gives one of those again.
#[derive(Clone, Copy)]
struct Positions {
    given: i64,
    counted: i64,
}

impl Session {
    pub(super) fn new(db: Connection) -> Result<Self> {
        // The second is less, unless somebody has filled the tables by hand.
        let given = "SELECT max(
            coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0),
            coalesce((SELECT max(position) FROM records), 0))";
        let given: i64 = db.query_row(given, [], |row| row.get(0))?;
        let positions = Positions { given, counted: given };
        Ok(Self { db, heads: Heads::new(), positions, positions_before: positions })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        self.positions_before = self.positions;
        step!("embedded.begin", self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])).map(drop)
    }

    pub(super) fn commit(&self) -> Result<()> {
        step!("embedded.commit", self.db.prepare_cached("COMMIT")?.execute([])).map(drop)
    }

    /// Forgets the transaction under way. Some errors have rolled it back already.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        self.heads.clear();
        self.positions = self.positions_before;
        if self.db.is_autocommit() {
            return Ok(());
        }
        step!("embedded.roll-back", self.db.execute_batch("ROLLBACK"))
    }

    /// Counts no position as given that was not: nothing is written any more.
    pub(super) fn give_back_positions(&mut self) -> Result<()> {
        self.count_positions(self.positions.given)
    }

    fn count_positions(&mut self, counted: i64) -> Result<()> {
        if counted != self.positions.counted {
            step!("embedded.count-positions", {
                let update = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'records'";
                if self.db.prepare_cached(update)?.execute([counted])? == 0 {
                    let insert = "INSERT INTO sqlite_sequence(name, seq) VALUES('records', ?1)";
                    self.db.execute(insert, [counted])?;
                }
            });
            self.positions.counted = counted;
        }
        Ok(())
    }

    /// A position that was never given before.
    fn next_position(&mut self) -> Result<i64> {
        let Positions { given, counted } = self.positions;
        if given == counted {
            self.count_positions(counted.saturating_add(STRETCH))?;
        }
        self.positions.given = given.saturating_add(1);
        Ok(self.positions.given)
    }

    /// Writes a record, if it is the actor's next one.
    pub(super) fn append(&mut self, append: &Append) -> Result<Result<Position, AppendError>> {
        let actor = self.actor(&append.actor)?;
        let last = actor.map_or(Position(0), |actor| actor.position);
        let next = actor.map_or(0, |actor| actor.version) + 1;
        // What a repair skips need not have had the versions that were stored for it.
        let follows = append.first == next || append.events == 0;
        if append.expected != last || !follows {
            return Ok(Err(AppendError::Conflict { last: Some(last) }));
        }
        let version = append.first.checked_add(append.events).map(|after| after - 1);
        let Some(version) = version.filter(|&v| append.first > 0 && i64::try_from(v).is_ok())
        else {
            return Ok(Err(AppendError::Unavailable(StoreError(format!(
                "a record of {} events from version {} on cannot be kept",
                append.events, append.first
            )))));
        };
        let id = match actor {
            Some(actor) => actor.id,
            None => self.enter(&append.actor)?,
        };
        let position = self.next_position()?;
        let mut insert = self.db.prepare_cached(
            "INSERT INTO records(position, actor, first, events, bytes) VALUES(?1, ?2, ?3, ?4, ?5)",
        )?;
        let (first, events) = (number(append.first), number(append.events));
        let row = params![position, id, first, events, &*append.bytes];
        step!("embedded.insert-record", insert.execute(row))?;
        if !append.command_ids.is_empty() {
            let mut insert =
                self.db.prepare_cached("INSERT OR IGNORE INTO commands VALUES(?1, ?2, ?3)")?;
            for command in &append.command_ids {
                let row = params![id, fingerprint(command), position];
                step!("embedded.insert-command", insert.execute(row))?;
            }
        }
        let position = Position(position.unsigned_abs());
        self.heads.put(&append.actor, Head { id, position, version });
        Ok(Ok(position))
    }

    /// Makes a change; the answer is whether it was made.
    pub(super) fn change(&mut self, change: &Change) -> Result<bool> {
        match change {
            Change::Snapshot { actor, snapshot } => self.keep_snapshot(actor, snapshot),
            Change::Blob { digest, bytes } => {
                let mut insert =
                    self.db.prepare_cached("INSERT OR IGNORE INTO blobs VALUES(?1, ?2)")?;
                let row = params![digest.as_bytes(), &**bytes];
                step!("embedded.insert-blob", insert.execute(row))?;
                Ok(true)
            }
            Change::Activate { context, number: next, body } => {
                let mut insert = self.db.prepare_cached(
                    "INSERT INTO deployments SELECT ?1, ?2, ?3 WHERE ?2 = 1 +
                     (SELECT coalesce(max(number), 0) FROM deployments WHERE context = ?1)",
                )?;
                let row = params![context, number(*next), body];
                Ok(step!("embedded.insert-deployment", insert.execute(row))? == 1)
            }
            Change::Quarantine { actor, mark, text } => {
                let id = self.known(actor)?;
                let mut find =
                    self.db.prepare_cached("SELECT mark FROM quarantines WHERE actor = ?1")?;
                let found: Option<String> = find.query_row([id], |row| row.get(0)).optional()?;
                let adds = |found: &String| {
                    serde_json::from_str(found).is_ok_and(|found| mark.adds_to(&found))
                };
                if found.is_some_and(|found| !adds(&found)) {
                    return Ok(false);
                }
                let mut insert =
                    self.db.prepare_cached("INSERT OR REPLACE INTO quarantines VALUES(?1, ?2)")?;
                Ok(step!("embedded.insert-quarantine", insert.execute(params![id, text]))? == 1)
            }
            Change::ForgetSnapshot { actor } => {
                let Some(actor) = self.actor(actor)? else { return Ok(false) };
                let mut delete =
                    self.db.prepare_cached("DELETE FROM snapshots WHERE actor = ?1")?;
                Ok(step!("embedded.delete-snapshot", delete.execute([actor.id]))? > 0)
            }
            Change::Release { actor, mark } => {
                let Some(actor) = self.actor(actor)? else { return Ok(false) };
                let mut find =
                    self.db.prepare_cached("SELECT mark FROM quarantines WHERE actor = ?1")?;
                let found: Option<String> =
                    find.query_row([actor.id], |row| row.get(0)).optional()?;
                let is = |text: &String| serde_json::from_str(text).ok().as_ref() == Some(mark);
                if !found.as_ref().is_some_and(is) {
                    return Ok(false);
                }
                let mut delete =
                    self.db.prepare_cached("DELETE FROM quarantines WHERE actor = ?1")?;
                Ok(step!("embedded.delete-quarantine", delete.execute([actor.id]))? == 1)
            }
            Change::Nothing => Ok(true),
        }
    }

    fn keep_snapshot(&mut self, actor: &Address, snapshot: &Snapshot) -> Result<bool> {
        let id = self.known(actor)?;
        let mut upsert = self.db.prepare_cached(
            "INSERT INTO snapshots VALUES(?1, ?2, ?3, ?4) ON CONFLICT(actor, key) DO UPDATE
             SET position = excluded.position, bytes = excluded.bytes
             WHERE position <= excluded.position",
        )?;
        let (position, key) = (number(snapshot.position.0), snapshot.key);
        let row = params![id, key.as_bytes(), position, &*snapshot.bytes];
        step!("embedded.upsert-snapshot", upsert.execute(row))?;
        let mut others = self.db.prepare_cached(
            "DELETE FROM snapshots WHERE actor = ?1 AND key != ?2 AND key !=
             (SELECT key FROM snapshots WHERE actor = ?1 AND key != ?2
              ORDER BY position DESC LIMIT 1)",
        )?;
        step!("embedded.prune-snapshots", others.execute(params![id, key.as_bytes()]))?;
        Ok(true)
    }

    /// Position of `append` if it is stored: the record behind the expected one, with the same
    /// bytes.
    pub(super) fn find(&self, append: &Append) -> Result<Option<Position>> {
        let mut next = self.db.prepare_cached(
            "SELECT r.position, r.bytes FROM records r JOIN actors a ON a.id = r.actor
             WHERE a.context = ?1 AND a.aggregate = ?2 AND a.token = ?3 AND r.position > ?4
             ORDER BY r.position LIMIT 1",
        )?;
        let actor = &append.actor;
        let key = params![
            actor.context(),
            actor.aggregate(),
            actor.id_token(),
            number(append.expected.0)
        ];
        let row = |row: &rusqlite::Row<'_>| {
            let position = Position(row.get::<_, i64>(0)?.unsigned_abs());
            Ok((row.get_ref(1)?.as_bytes()? == append.bytes).then_some(position))
        };
        next.query_row(key, row).optional().map(Option::flatten)
    }

    /// The last position of all.
    pub(super) fn last_position(&self) -> Result<Position> {
        let last = "SELECT coalesce(max(position), 0) FROM records";
        let last: i64 = self.db.query_row(last, [], |row| row.get(0))?;
        Ok(Position(last.unsigned_abs()))
    }

    /// What is known of an actor, if the store has ever heard of it.
    fn actor(&mut self, address: &Address) -> Result<Option<Head>> {
        if let Some(head) = self.heads.get(address) {
            return Ok(Some(head));
        }
        let mut id = self.db.prepare_cached(
            "SELECT id FROM actors WHERE context = ?1 AND aggregate = ?2 AND token = ?3",
        )?;
        let key = params![address.context(), address.aggregate(), address.id_token()];
        let Some(id) = id.query_row(key, |row| row.get(0)).optional()? else { return Ok(None) };
        let mut last = self.db.prepare_cached(
            "SELECT position, first + events - 1 FROM records WHERE actor = ?1
             ORDER BY position DESC LIMIT 1",
        )?;
        let last = last
            .query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let (position, version) = last.unwrap_or((0, 0));
        let (position, version) = (Position(position.unsigned_abs()), version.unsigned_abs());
        let head = Head { id, position, version };
        self.heads.put(address, head);
        Ok(Some(head))
    }

    /// The number of an actor, which gets one if it has none.
    fn known(&mut self, address: &Address) -> Result<i64> {
        match self.actor(address)? {
            Some(actor) => Ok(actor.id),
            None => self.enter(address),
        }
    }

    fn enter(&mut self, address: &Address) -> Result<i64> {
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO actors(context, aggregate, token) VALUES(?1, ?2, ?3)")?;
        let row = params![address.context(), address.aggregate(), address.id_token()];
        step!("embedded.insert-actor", insert.execute(row))?;
        let id = self.db.last_insert_rowid();
        self.heads.put(address, Head { id, position: Position(0), version: 0 });
        Ok(id)
    }
}

/// The first 8 bytes, big-endian, of the SHA-256 of a command's id, as SQLite's signed integer.
pub(super) fn fingerprint(id: &str) -> i64 {
    let hash = Sha256::digest(id);
    hash.iter().take(8).fold(0, |n: i64, byte| (n << 8) | i64::from(*byte))
}

/// A number as SQLite has it. None of those that are kept comes near the limit.
pub(super) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
