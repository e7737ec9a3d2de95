//! What lies in the streams of a context, for the audit.

use std::{collections::HashSet, time::Instant};

use super::{
    contexts::Context,
    layout::{Names, SECOND_PLACE},
    read::Links,
};
use crate::{
    address::{Address, decode_id},
    store::{Census, MAX_STRAYS, StoreError, Stray},
};

pub(super) async fn census(
    links: &Links,
    names: &Names,
    streams: &Context,
    context: &str,
    until: Instant,
) -> Result<Census, StoreError> {
    let mut census = Census::default();
    let mut logged: HashSet<Address> = HashSet::new();
    for (partition, log) in (0_u32..).zip(&streams.log) {
        let gone = log.gone(links, until).await?;
        if gone > 0 {
            let place = format!("stream `{}`", log.stream());
            let reason =
                "nothing may be deleted there, so the server could not read them when it started; whose they were, only snapshots and later records tell".to_owned();
            census.losses.push(Stray { place, records: gone, reason });
        }
        let filter = names.log_filter(context, partition);
        for (subject, records) in log.subjects(links, &filter, until).await? {
            match belongs(names, &subject) {
                Ok(actor) => {
                    census.aggregates.insert(actor.aggregate().to_owned());
                    logged.insert(actor);
                }
                Err(reason) if census.strays.len() < MAX_STRAYS => {
                    let place = format!("subject `{subject}`");
                    census.strays.push(Stray { place, records, reason });
                }
                Err(_) => {}
            }
        }
    }
    let snapshots = names.snapshot_filter(context);
    for subject in streams.snapshots.subjects(links, &snapshots, until).await?.into_keys() {
        let actor = actor(&subject, context);
        // The place of a snapshot that was taken back is empty.
        if let Some(actor) = actor.filter(|actor| !logged.contains(actor)) {
            census.unlogged.push(actor);
        }
    }
    census.strays.sort_by(|a, b| a.place.cmp(&b.place));
    census.unlogged.sort();
    census.unlogged.dedup();
    Ok(census)
}

/// The actor whose log has this subject.
fn belongs(names: &Names, subject: &str) -> Result<Address, String> {
    let mut tokens = subject.split('.').skip(2);
    let mut token = || tokens.next().unwrap_or_default();
    let (context, partition, aggregate) = (token(), token(), token());
    let id = decode_id(token()).map_err(|error| error.to_string())?;
    let actor = Address::new(context, aggregate, &id).map_err(|error| error.to_string())?;
    if names.log(&actor) == subject {
        return Ok(actor);
    }
    let right = actor.partition(names.partitions());
    Err(format!("{actor} has its log in partition {right}, not in {partition}"))
}

/// The actor whose snapshot has this subject.
fn actor(subject: &str, context: &str) -> Option<Address> {
    let mut tokens = subject.rsplit('.');
    let id = decode_id(tokens.next()?.trim_end_matches(SECOND_PLACE)).ok()?;
    Address::new(context, tokens.next()?, &id).ok()
}
