//! A context's feed: pages of what is there, then what comes; and a scan: the pages alone.
//!
//! There is one writer, so records become visible in the order of their positions, and a position
//! is all that a reader must remember.

use std::{collections::VecDeque, sync::Arc};

use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{queries, readers::Readers};
use crate::{
    record::Position,
    step::step,
    store::{FeedError, FeedRecord, Reach, RecordFeed, Scan, Scanned, StoreError},
};

/// A reader of the feed.
struct Reader {
    readers: Arc<Readers>,
    committed: watch::Receiver<Position>,
    context: String,
    /// Everything up to here was given or is in `page`.
    through: Position,
    page: VecDeque<Scanned>,
    failed: bool,
}

/// Begins a feed after `cursor`.
pub(super) fn start(
    readers: Arc<Readers>,
    committed: watch::Receiver<Position>,
    context: &str,
    cursor: Option<&str>,
) -> Result<RecordFeed, FeedError> {
    let last = *committed.borrow();
    let through = cursor.map_or(Ok(Position(0)), |cursor| parse(cursor, last))?;
    let reader = Reader {
        readers,
        committed,
        context: context.to_owned(),
        through,
        page: VecDeque::new(),
        failed: false,
    };
    let next = |mut reader: Reader| async move {
        if reader.failed {
            return None;
        }
        let next = reader.record().await;
        reader.failed = next.is_err();
        Some((next, reader))
    };
    Ok(stream::unfold(reader, next).boxed())
}

fn parse(cursor: &str, last: Position) -> Result<Position, FeedError> {
    let position = cursor.parse().ok().filter(|n: &u64| n.to_string() == cursor).map(Position);
    let position = position.ok_or_else(|| {
        let cursor: String = cursor.chars().take(80).collect();
        FeedError::Cursor(format!(
            "`{cursor}` is not a cursor of this store: expected a whole number"
        ))
    })?;
    known(position, last)
}

/// The position, if it is one of this store.
fn known(position: Position, last: Position) -> Result<Position, FeedError> {
    if position > last {
        return Err(FeedError::Cursor(format!(
            "the cursor {position} lies behind the last record of this store, {last}: it comes \
             from another store"
        )));
    }
    Ok(position)
}

/// Begins a scan behind `from`.
pub(super) fn scan(
    readers: Arc<Readers>,
    committed: &watch::Receiver<Position>,
    context: &str,
    from: &Reach,
) -> Result<Scan, FeedError> {
    let last = *committed.borrow();
    let through = match from.0.as_slice() {
        [] => Position(0),
        [position] => known(*position, last)?,
        more => {
            let found = more.len();
            return Err(FeedError::Cursor(format!(
                "what was read of this store is one position; {found} were given: they are another store's"
            )));
        }
    };
    let state = (readers, context.to_owned(), through);
    let pages = stream::try_unfold(state, move |(readers, context, mut through)| async move {
        while through < last {
            let (name, after) = (context.clone(), through);
            let page = move |db: &_| queries::scan(db, &name, after, last);
            let (records, reached) = readers.query(page).await?;
            through = reached;
            if !records.is_empty() {
                return Ok(Some((records, (readers, context, through))));
            }
        }
        Ok(None)
    });
    let about = last.0 - through.0;
    Ok(Scan { end: Reach(vec![last]), about, pages: pages.boxed() })
}

impl Reader {
    async fn record(&mut self) -> Result<FeedRecord, StoreError> {
        loop {
            if let Some(Scanned { actor, stored, .. }) = self.page.pop_front() {
                return Ok(FeedRecord { cursor: stored.position.to_string(), actor, stored });
            }
            let last = *self.committed.borrow_and_update();
            if last <= self.through {
                // The other end goes when the store closes.
                let moved = step!("embedded.await-commit", self.committed.changed().await);
                moved.map_err(|_| self.readers.closed())?;
                continue;
            }
            let (context, through) = (self.context.clone(), self.through);
            let page = move |db: &_| queries::scan(db, &context, through, last);
            let (records, through) = self.readers.query(page).await?;
            self.through = through;
            self.page = records.into();
        }
    }
}
