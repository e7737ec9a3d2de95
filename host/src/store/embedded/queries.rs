//! What is read, one short statement each.

use aether_wit::Digest;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::session::number;
use crate::{
    address::{Address, decode_id},
    record::{Position, Stored},
    store::{Deployment, Page, Quarantine, Scanned, Snapshot},
};

/// Most records of a page.
const PAGE_RECORDS: usize = 1000;

/// Bytes that a page does not exceed, unless one record does.
const PAGE_BYTES: usize = 1 << 20;

/// Positions that one statement of the feed looks at: contexts share the table.
const FEED_WINDOW: u64 = 5000;

/// Number of the actor with the address `?1/?2/?3`.
macro_rules! actor_id {
    () => {
        "(SELECT id FROM actors WHERE context = ?1 AND aggregate = ?2 AND token = ?3)"
    };
}

pub(super) fn page(db: &Connection, actor: &Address, from: Position) -> Result<Page> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT position, bytes FROM records WHERE actor = ",
        actor_id!(),
        " AND position >= ?4 ORDER BY position"
    ))?;
    let (context, aggregate, token) = key(actor);
    let mut rows = statement.query(params![context, aggregate, token, number(from.0)])?;
    let mut room = Room::default();
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        if !room.admits(row.get_ref(1)?.as_bytes()?.len()) {
            page.more = true;
            break;
        }
        page.records.push(stored(row)?);
    }
    Ok(page)
}

pub(super) fn head(db: &Connection, actor: &Address) -> Result<Position> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT coalesce(max(position), 0) FROM records WHERE actor = ",
        actor_id!()
    ))?;
    Ok(statement.query_row(key(actor), |row| position(row, 0))?)
}

/// The newest snapshot, of the code `made_by` if that is asked for.
pub(super) fn snapshot(
    db: &Connection,
    actor: &Address,
    made_by: Option<Digest>,
) -> Result<Option<Snapshot>> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT position, bytes, key FROM snapshots WHERE actor = ",
        actor_id!(),
        " AND (?4 IS NULL OR key = ?4) ORDER BY position DESC LIMIT 1"
    ))?;
    let (context, aggregate, token) = key(actor);
    let made_by = made_by.map(|digest| digest.as_bytes().to_vec());
    let found = statement
        .query_row(params![context, aggregate, token, made_by], |row| {
            Ok((stored(row)?, row.get::<_, Vec<u8>>(2)?))
        })
        .optional()?;
    // A key that is no digest is no code's.
    Ok(found.and_then(|(stored, key)| {
        let key = Digest::from_bytes(key.try_into().ok()?);
        Some(Snapshot { key, position: stored.position, bytes: stored.bytes })
    }))
}

pub(super) fn commands(
    db: &Connection,
    actor: &Address,
    fingerprint: i64,
) -> Result<Vec<Position>> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT position FROM commands WHERE actor = ",
        actor_id!(),
        " AND fingerprint = ?4 ORDER BY position"
    ))?;
    let (context, aggregate, token) = key(actor);
    let found = statement
        .query_map(params![context, aggregate, token, fingerprint], |row| position(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Actors with a token greater than `after`. Actors that have only a snapshot or a mark are left
/// out, and rows that no actor can have.
pub(super) fn actors(
    db: &Connection,
    context: &str,
    aggregate: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT context, aggregate, token FROM actors a
         WHERE context = ?1 AND aggregate = ?2 AND token > ?3
         AND EXISTS (SELECT 1 FROM records WHERE actor = a.id) ORDER BY token LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![context, aggregate, after, limit])?;
    let mut actors = Vec::new();
    while let Some(row) = rows.next()? {
        actors.extend(address(row, 0)?);
    }
    Ok(actors)
}

/// Records of a context behind `after` up to `until`, and how far they reach: all of the context's
/// records up to there are among them.
pub(super) fn scan(
    db: &Connection,
    context: &str,
    after: Position,
    until: Position,
) -> Result<(Vec<Scanned>, Position)> {
    let until = until.0.min(after.0.saturating_add(FEED_WINDOW));
    let mut statement = db.prepare_cached(
        "SELECT r.position, r.bytes, a.context, a.aggregate, a.token
         FROM records r CROSS JOIN actors a ON a.id = r.actor
         WHERE r.position > ?1 AND r.position <= ?2 AND a.context = ?3 ORDER BY r.position",
    )?;
    let mut rows = statement.query(params![number(after.0), number(until), context])?;
    let mut room = Room::default();
    let mut records: Vec<Scanned> = Vec::new();
    while let Some(row) = rows.next()? {
        if !room.admits(row.get_ref(1)?.as_bytes()?.len()) {
            let through = records.last().map_or(after, |last| last.stored.position);
            return Ok((records, through));
        }
        let stored = stored(row)?;
        match address(row, 2)? {
            Some(actor) => records.push(Scanned { partition: 0, actor, stored }),
            None => tracing::warn!(position = %stored.position, "not the record of an actor"),
        }
    }
    Ok((records, Position(until)))
}

pub(super) fn blob(db: &Connection, digest: Digest) -> Result<Option<Bytes>> {
    let mut statement = db.prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1")?;
    let found = statement
        .query_row([digest.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .map(Bytes::from);
    if let Some(bytes) = &found {
        let now = Digest::of(bytes);
        ensure!(now == digest, "the stored bytes of {digest} are damaged: they now have {now}");
    }
    Ok(found)
}

pub(super) fn deployments(db: &Connection, context: &str) -> Result<Vec<Deployment>> {
    let mut statement =
        db.prepare_cached("SELECT body FROM deployments WHERE context = ?1 ORDER BY number")?;
    let bodies = statement.query_map([context], |row| row.get::<_, String>(0))?;
    let read = |body: rusqlite::Result<String>| {
        serde_json::from_str(&body?).context("a stored deployment cannot be read")
    };
    bodies.map(read).collect()
}

pub(super) fn contexts(db: &Connection) -> Result<Vec<String>> {
    let mut statement =
        db.prepare_cached("SELECT DISTINCT context FROM deployments ORDER BY context")?;
    let contexts = statement.query_map([], |row| row.get(0))?;
    Ok(contexts.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn quarantined(db: &Connection, actor: &Address) -> Result<Option<Quarantine>> {
    let mut statement =
        db.prepare_cached(concat!("SELECT mark FROM quarantines WHERE actor = ", actor_id!()))?;
    let mark = statement.query_row(key(actor), |row| row.get::<_, String>(0)).optional()?;
    mark.map(|mark| read_mark(&mark)).transpose()
}

pub(super) fn quarantines(db: &Connection, context: &str) -> Result<Vec<(Address, Quarantine)>> {
    let mut statement = db.prepare_cached(
        "SELECT q.mark, a.context, a.aggregate, a.token FROM quarantines q
         JOIN actors a ON a.id = q.actor WHERE a.context = ?1",
    )?;
    let mut rows = statement.query([context])?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(actor) = address(row, 1)? {
            marks.push((actor, read_mark(&row.get::<_, String>(0)?)?));
        }
    }
    // Addresses are ordered by the id itself, not by its token.
    marks.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(marks)
}

pub(super) fn repaired(db: &Connection, context: &str) -> Result<Vec<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT a.context, a.aggregate, a.token FROM actors a WHERE a.context = ?1
         AND a.id IN (SELECT actor FROM records WHERE events = 0) ORDER BY 2, 3",
    )?;
    let mut rows = statement.query([context])?;
    let mut actors = Vec::new();
    while let Some(row) = rows.next()? {
        actors.extend(address(row, 0)?);
    }
    Ok(actors)
}

pub(super) fn check(db: &Connection) -> Result<()> {
    db.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |_| Ok(()))?;
    Ok(())
}

/// What is left of a page.
#[derive(Default)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    /// Whether a record of `bytes` still fits; the first always does.
    fn admits(&mut self, bytes: usize) -> bool {
        let fits = self.records < PAGE_RECORDS && self.bytes + bytes <= PAGE_BYTES;
        let admitted = self.records == 0 || fits;
        if admitted {
            self.records += 1;
            self.bytes += bytes;
        }
        admitted
    }
}

fn key(actor: &Address) -> (&str, &str, String) {
    (actor.context(), actor.aggregate(), actor.id_token())
}

fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<Position> {
    row.get::<_, i64>(column).map(|n| Position(n.unsigned_abs()))
}

/// A row that begins with position and bytes.
fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored { position: position(row, 0)?, bytes: row.get::<_, Vec<u8>>(1)?.into() })
}

/// Three columns from `column` on: context, aggregate, token; none if no actor can have them.
pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Address>> {
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let (context, aggregate, token) = (text(column)?, text(column + 1)?, text(column + 2)?);
    let id = decode_id(token).ok();
    Ok(id.and_then(|id| Address::new(context, aggregate, &id).ok()))
}

fn read_mark(mark: &str) -> Result<Quarantine> {
    serde_json::from_str(mark).context("a stored quarantine mark cannot be read")
}
