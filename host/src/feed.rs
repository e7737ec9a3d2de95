//! A context's feed: every event of every actor, each exactly once per cursor.
//!
//! The store gives records; callers see events. A cursor is therefore the store's cursor of the
//! last whole record, empty before the first, and for each record of which only a part was given
//! `~K~DIGEST`: the first K events of the record with this digest lie before the cursor. After a
//! resume the store may give records of other partitions first; what is pending stays in their
//! cursors until its record comes.
//!
//! A feed obeys the repairs that were there when it was opened, and looks again when it meets
//! damage: what a repair skips gives no events.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use aether_wit::Digest;
use futures::{StreamExt as _, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use crate::{
    address::Address,
    clock,
    command::FeedEvent,
    env::Env,
    failure::{Code, Failure},
    record::{Damage, Record, Repairs, parse},
    store::{FeedError, FeedRecord, StoreError},
    turn::shown,
    wake::repairs,
};

/// Longest time to look for the repairs of one damaged log.
const LOOK: Duration = Duration::from_secs(30);

/// Opens the feed of `context` after `cursor`; it ends when `stop` is cancelled.
///
/// # Errors
/// `invalid` if no feed gave this cursor, `unavailable` if the store cannot answer.
pub async fn open(
    env: &Arc<Env>,
    context: &str,
    cursor: Option<&str>,
    deadline: Instant,
    stop: CancellationToken,
) -> Result<BoxStream<'static, Result<FeedEvent, Failure>>, Failure> {
    let (last, begun) = split(cursor.unwrap_or_default()).ok_or_else(|| {
        let shown: String = cursor.unwrap_or_default().chars().take(80).collect();
        foreign(&format!("`{shown}` is not a cursor of a feed"))
    })?;
    let after = (!last.is_empty()).then_some(last.as_str());
    let open = async {
        match env.store.feed(context, after).await {
            Ok(records) => Ok(Ok(records)),
            Err(FeedError::Cursor(why)) => Ok(Err(foreign(&why))),
            Err(FeedError::Store(error)) => Err(error),
        }
    };
    let records = env.ask("feed", deadline, open).await??;
    let repaired = env.ask("repaired", deadline, env.store.repaired(context)).await?;
    let mut known = HashMap::new();
    for actor in repaired {
        let repairs = repairs(env, &actor, deadline).await?;
        known.insert(actor, repairs);
    }
    let env = env.clone();
    let state = Feed { env, records, last, begun, ready: VecDeque::new(), repairs: known };
    let events = stream::unfold(state, |mut feed| async move {
        let next = feed.next().await?;
        Some((next, feed))
    });
    Ok(events.take_until(async move { stop.cancelled().await }).boxed())
}

struct Feed {
    env: Arc<Env>,
    records: BoxStream<'static, Result<FeedRecord, StoreError>>,
    /// Cursor of the last record whose events were all given.
    last: String,
    /// Records of which only the first events were given: how many, and which record.
    begun: Vec<(usize, String)>,
    ready: VecDeque<FeedEvent>,
    /// The repairs of the actors that are known to have some.
    repairs: HashMap<Address, Repairs>,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<FeedEvent, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            match self.records.next().await? {
                Ok(record) => {
                    if let Err(failure) = self.take_in(&record).await {
                        self.records = stream::empty().boxed();
                        return Some(Err(failure));
                    }
                }
                Err(error) => {
                    return Some(Err(Failure::new(
                        Code::Unavailable,
                        format!("the feed broke off: {error}; go on after the last cursor"),
                    )));
                }
            }
        }
    }

    /// Makes the events of a record ready to be given, unless a repair skips it.
    async fn take_in(&mut self, record: &FeedRecord) -> Result<(), Failure> {
        let place = (&record.stored).into();
        let mut skipped = self.repairs.get(&record.actor).is_some_and(|known| known.skip(place));
        let read = if skipped { None } else { Some(read(record)) };
        if let Some(Err(damage)) = &read {
            let deadline = clock::now() + LOOK;
            let known = repairs(&self.env, &record.actor, deadline).await?;
            skipped = known.skip(place);
            self.repairs.insert(record.actor.clone(), known);
            if !skipped {
                return Err(damaged(record, damage));
            }
        }
        match read {
            Some(Ok(read)) if !skipped => self.unpack(record, &read),
            _ => {
                // Nobody waits for the rest of it any more.
                let mark = mark(record);
                self.begun.retain(|(_, begun)| *begun != mark);
                self.last.clone_from(&record.cursor);
            }
        }
        Ok(())
    }

    fn unpack(&mut self, record: &FeedRecord, read: &Record) {
        let mark = mark(record);
        let begun = self.begun.iter().position(|(_, begun)| *begun == mark);
        let skip = begun.map_or(0, |index| self.begun.swap_remove(index).0);
        let events: Vec<_> = read.events().map(shown).collect();
        let count = events.len();
        for (index, event) in events.into_iter().enumerate().skip(skip) {
            let given = index + 1;
            let pending = self.begun.iter().map(|(given, mark)| format!("~{given}~{mark}"));
            let mut cursor = if given == count { &record.cursor } else { &self.last }.clone();
            cursor.extend(pending);
            if given < count {
                cursor.push_str(&format!("~{given}~{mark}"));
            }
            self.ready.push_back(FeedEvent { cursor, actor: record.actor.clone(), event });
        }
        self.last.clone_from(&record.cursor);
    }
}

/// The record, if it is one of its actor.
fn read(record: &FeedRecord) -> Result<Record, Damage> {
    let read = parse(&record.stored)?;
    if !record.actor.is_written(&read.actor) {
        let position = record.stored.position;
        return Err(Damage::Foreign { position, found: read.actor });
    }
    Ok(read)
}

/// What tells a record from the others that may come before it: the start of its digest.
fn mark(record: &FeedRecord) -> String {
    Digest::of(&record.stored.bytes).short()
}

fn damaged(record: &FeedRecord, damage: &Damage) -> Failure {
    let detail = format!(
        "{}: {damage}; an operator must look at it; to go on without this record, continue after cursor {}",
        record.actor, record.cursor
    );
    Failure::new(Code::Quarantined, detail).for_actor(&record.actor)
}

fn foreign(why: &str) -> Failure {
    Failure::new(Code::Invalid, format!("{why}: expected a cursor that this feed gave"))
}

/// A cursor as the store's cursor and the records that were begun.
fn split(cursor: &str) -> Option<(String, Vec<(usize, String)>)> {
    let mut parts = cursor.split('~');
    let last = parts.next()?.to_owned();
    let mut begun = Vec::new();
    while let Some(given) = parts.next() {
        begun.push((given.parse().ok()?, parts.next()?.to_owned()));
    }
    Some((last, begun))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        config::Limits,
        record::{Position, Repair, Skip, Skipped, Stored},
        store::embedded::EmbeddedStore,
    };

    fn record(cursor: &str, actor: &str, events: usize) -> FeedRecord {
        let event = r#"{"type":"opened","data":{}}"#;
        let digest = Digest::of("");
        let json = format!(
            r#"{{"format":1,"kind":"turns","actor":"{actor}","first":1,"prev":null,"deployment":1,"model":"{digest}","component":"{digest}","turns":[{{"command":{{"id":"c","name":"open","digest":"{digest}","at":0,"by":null,"correlation":"c","causation":null,"seed":"0"}},"events":[{}]}}]}}"#,
            vec![event; events].join(",")
        );
        let stored = Stored { position: Position(1), bytes: Bytes::from(json) };
        FeedRecord { cursor: cursor.to_owned(), actor: actor.parse().unwrap(), stored }
    }

    async fn read(cursor: &str, records: &[FeedRecord]) -> Vec<(String, String, u64)> {
        let (last, begun) = split(cursor).unwrap();
        let records = stream::iter(records.to_vec()).map(Ok).boxed();
        let store = Arc::new(EmbeddedStore::in_memory().await.unwrap());
        let env = Arc::new(Env::new(store, Arc::default(), Limits::default()));
        let (ready, repairs) = (VecDeque::new(), HashMap::new());
        let mut feed = Feed { env, records, last, begun, ready, repairs };
        let mut given = Vec::new();
        while let Some(event) = feed.next().await {
            let event = event.unwrap();
            given.push((event.cursor, event.actor.to_string(), event.event.version));
        }
        given
    }

    /// Two partitions, `a` with a record of three events and `b` with one of two: a reader that
    /// stops anywhere and goes on while the store gives the partitions in another order sees each
    /// event once.
    #[tokio::test]
    async fn a_cursor_inside_a_record_survives_another_order_of_partitions() {
        let (a, b) = (("bank/account/a", 3), ("bank/account/b", 2));
        let all = read("", &[record("1.0", a.0, a.1), record("1.1", b.0, b.1)]).await;
        assert_eq!(all.len(), 5);
        // After the second event of `a`, `b` comes first.
        let stop = &all[1].0;
        let rest = read(stop, &[record("0.1", b.0, b.1), record("1.1", a.0, a.1)]).await;
        let seen: Vec<_> =
            rest.iter().map(|(_, actor, version)| (actor.as_str(), *version)).collect();
        assert_eq!(seen, [(b.0, 1), (b.0, 2), (a.0, 3)]);
        // And it stops again, inside of `b`, with both begun.
        let again = read(&rest[0].0, &[record("1.0", a.0, a.1), record("1.1", b.0, b.1)]).await;
        let seen: Vec<_> =
            again.iter().map(|(_, actor, version)| (actor.as_str(), *version)).collect();
        assert_eq!(seen, [(a.0, 3), (b.0, 2)]);
    }

    /// A record that a reader had begun before it was skipped leaves the cursor.
    #[tokio::test]
    async fn nobody_waits_for_the_rest_of_a_skipped_record() {
        let (a, b) = (record("1.0", "bank/account/a", 3), record("1.1", "bank/account/b", 2));
        let all = read("", std::slice::from_ref(&a)).await;
        let (last, begun) = split(&all[0].0).unwrap();
        assert_eq!(begun.len(), 1);
        let digest = Some(Digest::of(&a.stored.bytes));
        let skipped = vec![Skipped { position: Some(a.stored.position), digest }];
        let skips = vec![Skip { after: None, skipped, resumes: None }];
        let repair = Repair { skips, reason: "a test".to_owned(), by: None, at: 0 };
        let repairs = [(a.actor.clone(), Repairs::default().with(repair))].into();
        let records = stream::iter([a, b].map(Ok)).boxed();
        let store = Arc::new(EmbeddedStore::in_memory().await.unwrap());
        let env = Arc::new(Env::new(store, Arc::default(), Limits::default()));
        let mut feed = Feed { env, records, last, begun, ready: VecDeque::new(), repairs };
        let mut cursors = Vec::new();
        while let Some(event) = feed.next().await {
            cursors.push(event.unwrap().cursor);
        }
        assert_eq!((cursors.len(), cursors[1].as_str()), (2, "1.1"));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for bad in ["1~", "1~x~abc", "1~1", "~-1~a"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
