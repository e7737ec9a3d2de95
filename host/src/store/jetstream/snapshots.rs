//! Snapshots: an actor has two places, each for the newest one of some code, with key and position
//! as headers. So the code that is tried out and the one that runs keep theirs side by side.
//!
//! They are a cache. A replica that lags, or two hosts that write at once, can only cost a longer
//! replay.

use std::{cmp::Reverse, time::Instant};

use aether_wit::Digest;
use async_nats::HeaderMap;
use bytes::Bytes;

use super::{
    append::{PublishError, publish},
    read::{Found, Links, Source},
};
use crate::{
    record::Position,
    step::step,
    store::{Snapshot, StoreError},
};

const KEY: &str = "Aether-Key";
const POSITION: &str = "Aether-Position";

/// How often a snapshot is tried again when others write snapshots of the same actor.
const TRIES: usize = 3;

/// The newest snapshot in `places`, of the code `made_by` if that is asked for.
pub(super) async fn load(
    source: &Source,
    links: &Links,
    places: &[String; 2],
    made_by: Option<&Digest>,
    until: Instant,
) -> Result<Option<Snapshot>, StoreError> {
    let there = source.newest_of(links, places, until).await?;
    let snapshots = there.iter().filter_map(decode);
    let wanted = snapshots.filter(|snapshot| made_by.is_none_or(|key| snapshot.key == *key));
    Ok(wanted.max_by_key(|snapshot| snapshot.position))
}

/// Puts messages in the snapshots' places that are none.
pub(super) async fn forget(
    source: &Source,
    links: &Links,
    places: &[String; 2],
    until: Instant,
) -> Result<(), StoreError> {
    let there = source.newest_of(links, places, until).await?;
    for found in there.iter().filter(|found| decode(found).is_some()) {
        let (writing, place) = (&links.writing, &found.subject);
        let written = publish(writing, place, None, HeaderMap::new(), Bytes::new(), until);
        step!("jetstream.forget-snapshot", written.await)?;
    }
    Ok(())
}

/// Writes a snapshot, unless a newer one of the same code is there.
pub(super) async fn save(
    source: &Source,
    links: &Links,
    places: &[String; 2],
    snapshot: Snapshot,
    until: Instant,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let there = source.newest_of(links, places, until).await?;
        let Some((place, expected)) = choose(places, &there, &snapshot) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(KEY, snapshot.key.to_string());
        headers.insert(POSITION, snapshot.position.to_string());
        let bytes = snapshot.bytes.clone();
        let saved = publish(&links.writing, place, Some(expected), headers, bytes, until);
        match step!("jetstream.save-snapshot", saved.await) {
            Ok(_) => return Ok(()),
            Err(PublishError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Somebody else's is there, made at the same time: as good as ours.
    Ok(())
}

/// The place for `snapshot` and the number of the message that it takes the place of: one of the
/// same code, else none, else the one that stands lower in the log. None if a newer one of the
/// same code is there.
fn choose<'a>(
    places: &'a [String; 2],
    there: &[Found],
    snapshot: &Snapshot,
) -> Option<(&'a str, u64)> {
    let found = |place: &String| there.iter().find(|found| found.subject == *place);
    let worth = |place: &String| match found(place).and_then(decode) {
        Some(kept) if kept.key == snapshot.key => (2, Position(0)),
        None => (1, Position(0)),
        Some(kept) => (0, kept.position),
    };
    let best = places.iter().max_by_key(|place| {
        let (kind, position) = worth(place);
        (kind, Reverse(position))
    })?;
    let former = found(best);
    let newer =
        |former: Snapshot| former.key == snapshot.key && former.position > snapshot.position;
    if former.and_then(decode).is_some_and(newer) {
        return None;
    }
    Some((best, former.map_or(0, |found| found.sequence)))
}

fn decode(found: &Found) -> Option<Snapshot> {
    let header = |name| found.headers.get(name).map(async_nats::HeaderValue::as_str);
    Some(Snapshot {
        key: header(KEY)?.parse().ok()?,
        position: Position(header(POSITION)?.parse().ok()?),
        bytes: found.payload.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(place: &str, sequence: u64, key: &Digest, position: u64) -> Found {
        let mut headers = HeaderMap::new();
        headers.insert(KEY, key.to_string());
        headers.insert(POSITION, position.to_string());
        Found { subject: place.to_owned(), sequence, headers, payload: Bytes::new() }
    }

    #[test]
    fn a_third_code_takes_the_place_of_the_one_that_stands_lower() {
        let places = ["a".to_owned(), "a=".to_owned()];
        let [one, two, three] = ["1", "2", "3"].map(Digest::of);
        let of =
            |key, position| Snapshot { key, position: Position(position), bytes: Bytes::new() };
        assert_eq!(choose(&places, &[], &of(one, 3)).unwrap().1, 0);
        let first = [kept("a", 7, &one, 3)];
        assert_eq!(choose(&places, &first, &of(one, 4)), Some(("a", 7)));
        assert_eq!(choose(&places, &first, &of(one, 2)), None, "a newer one is there");
        assert_eq!(choose(&places, &first, &of(two, 1)), Some(("a=", 0)));
        let both = [kept("a", 7, &one, 9), kept("a=", 8, &two, 5)];
        assert_eq!(choose(&places, &both, &of(three, 1)), Some(("a=", 8)));
        assert_eq!(choose(&places, &both, &of(one, 9)), Some(("a", 7)));
        let empty = Found { headers: HeaderMap::new(), ..kept("a", 9, &one, 9) };
        assert_eq!(
            choose(&places, &[empty, kept("a=", 8, &two, 5)], &of(three, 1)),
            Some(("a", 9))
        );
    }

    #[test]
    fn a_message_without_key_or_position_is_no_snapshot() {
        let key = Digest::of("code");
        let mut found = Found {
            subject: "aether.snap.bank.account.alice".to_owned(),
            sequence: 3,
            headers: HeaderMap::new(),
            payload: Bytes::from_static(b"state"),
        };
        assert_eq!(decode(&found), None);
        found.headers.insert(KEY, key.to_string());
        assert_eq!(decode(&found), None);
        found.headers.insert(POSITION, "12");
        let snapshot = decode(&found).unwrap();
        assert_eq!((snapshot.key, snapshot.position), (key, Position(12)));
        found.headers.insert(KEY, "sha256:zz");
        assert_eq!(decode(&found), None);
    }
}
