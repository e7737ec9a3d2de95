//! What lies in the tables, for the audit.

use anyhow::Result;
use rusqlite::Connection;

use super::queries::address;
use crate::{
    address::{Address, decode_id},
    store::{Census, MAX_STRAYS, Stray},
};

/// Most lines of SQLite about its own file.
const MAX_FAULTS: usize = 100;

/// What SQLite finds wrong with its own file: pages, and indexes that do not say what tables do.
pub(super) fn faults(db: &Connection) -> Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA integrity_check({MAX_FAULTS})"))?;
    let mut rows = statement.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        faults.push(row.get::<_, String>(0)?);
    }
    faults.retain(|fault| fault != "ok");
    Ok(faults)
}

pub(super) fn census(db: &Connection, context: &str) -> Result<Census> {
    let mut census = Census::default();
    strangers(db, context, &mut census)?;
    orphans(db, &mut census)?;
    let mut statement = db.prepare(
        "SELECT DISTINCT a.context, a.aggregate, a.token FROM snapshots s JOIN actors a ON a.id = s.actor
         WHERE a.context = ?1 AND NOT EXISTS (SELECT 1 FROM records WHERE actor = a.id)",
    )?;
    let mut rows = statement.query([context])?;
    while let Some(row) = rows.next()? {
        census.unlogged.extend(address(row, 0)?);
    }
    Ok(census)
}

/// Aggregates, and rows of actors whose names no actor can have.
fn strangers(db: &Connection, context: &str, census: &mut Census) -> Result<()> {
    let mut statement = db.prepare(
        "SELECT a.id, a.aggregate, a.token, (SELECT count(*) FROM records WHERE actor = a.id)
         FROM actors a WHERE a.context = ?1",
    )?;
    let mut rows = statement.query([context])?;
    while let Some(row) = rows.next()? {
        let records = row.get::<_, i64>(3)?.unsigned_abs();
        let (aggregate, token): (String, String) = (row.get(1)?, row.get(2)?);
        let actor = decode_id(&token).and_then(|id| Address::new(context, &aggregate, &id));
        match actor {
            Ok(_) if records > 0 => {
                census.aggregates.insert(aggregate);
            }
            Ok(_) => {}
            Err(error) => {
                let place = format!("row {} of the table `actors`", row.get::<_, i64>(0)?);
                stray(census, Stray { place, records, reason: error.to_string() });
            }
        }
    }
    Ok(())
}

/// Records of actors that the store has never heard of, and of contexts that never were deployed.
fn orphans(db: &Connection, census: &mut Census) -> Result<()> {
    let mut statement = db.prepare(
        "SELECT context, count(*) FROM actors a JOIN records r ON r.actor = a.id
         WHERE context NOT IN (SELECT context FROM deployments) GROUP BY context",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("context `{}` of the table `actors`", row.get::<_, String>(0)?);
        let records = row.get::<_, i64>(1)?.unsigned_abs();
        stray(census, Stray { place, records, reason: "it was never deployed".to_owned() });
    }
    let mut statement = db.prepare(
        "SELECT actor, count(*) FROM records WHERE actor NOT IN (SELECT id FROM actors)
         GROUP BY actor",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("actor number {} of the table `records`", row.get::<_, i64>(0)?);
        let records = row.get::<_, i64>(1)?.unsigned_abs();
        let reason = "the table `actors` has no such number".to_owned();
        stray(census, Stray { place, records, reason });
    }
    Ok(())
}

fn stray(census: &mut Census, stray: Stray) {
    if census.strays.len() < MAX_STRAYS {
        census.strays.push(stray);
    }
}
