//! Which stored events a model cannot read, and how many there are of each.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use aether_wit::{
    Digest, Model,
    upcast::{self, Reading, reading},
};
use futures::StreamExt as _;

use crate::{
    record::parse,
    step::step,
    store::{EventStore, Reach, StoreError},
};

/// The stored events of one name that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// How many.
    pub count: u64,
    /// An actor that has one.
    pub actor: String,
}

/// The stored events that a model cannot read, by aggregate and by the name in the log.
pub type Tally = BTreeMap<(String, String), Stored>;

/// Counts what `target` cannot read of what the store holds; `writers` are the models under which
/// events may be stored. Reads the log only if one of them may have written such events.
///
/// # Errors
/// If the store cannot answer.
pub async fn tally(
    store: &dyn EventStore,
    target: &Model,
    writers: &[Arc<Model>],
) -> Result<Tally, StoreError> {
    let mut tally = Tally::new();
    if writers.iter().all(|writer| upcast::unreadable(target, writer).is_empty()) {
        return Ok(tally);
    }
    let by_digest: HashMap<Digest, &Model> =
        writers.iter().map(|writer| (writer.digest, &**writer)).collect();
    let mut known: HashMap<(Digest, String, String), bool> = HashMap::new();
    let all = Reach::default();
    let opened = step!("tally.scan", store.scan(&target.context, &all).await);
    let mut scan = opened.map_err(|error| StoreError(error.to_string()))?;
    while let Some(page) = step!("tally.page", scan.pages.next().await) {
        for scanned in page? {
            // What is damaged is no event that a model reads.
            let Ok(record) = parse(&scanned.stored) else { continue };
            let Some(writer) = by_digest.get(&record.model) else { continue };
            let aggregate = scanned.actor.aggregate();
            for (_, _, event) in record.events() {
                let key = (record.model, aggregate.to_owned(), event.name.clone());
                let unreadable = *known.entry(key).or_insert_with(|| {
                    let read = reading(target, writer, aggregate, &event.name);
                    matches!(read, Reading::Unreadable(_))
                });
                if unreadable {
                    let key = (aggregate.to_owned(), event.name.clone());
                    let actor = || Stored { count: 0, actor: scanned.actor.to_string() };
                    tally.entry(key).or_insert_with(actor).count += 1;
                }
            }
        }
    }
    Ok(tally)
}
