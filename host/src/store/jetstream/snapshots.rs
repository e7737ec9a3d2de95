//! Snapshots: the newest message of an actor's subject, with key and position as headers.
//!
//! They are a cache. A replica that lags, or two hosts that write at once, can only cost a longer
//! replay.

use std::time::Instant;

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

/// The snapshot on `subject`.
pub(super) async fn load(
    source: &Source,
    links: &Links,
    subject: &str,
    until: Instant,
) -> Result<Option<Snapshot>, StoreError> {
    let newest = source.newest(links, subject, 0, until).await?.pop();
    Ok(newest.as_ref().and_then(decode))
}

/// Puts a message in the snapshot's place that is none.
pub(super) async fn forget(links: &Links, subject: &str, until: Instant) -> Result<(), StoreError> {
    let written = publish(&links.writing, subject, None, HeaderMap::new(), Bytes::new(), until);
    step!("jetstream.forget-snapshot", written.await)?;
    Ok(())
}

/// Writes a snapshot, unless a newer one of the same code is there.
pub(super) async fn save(
    source: &Source,
    links: &Links,
    subject: &str,
    snapshot: Snapshot,
    until: Instant,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let former = source.newest(links, subject, 0, until).await?.pop();
        let newer =
            |former: Snapshot| former.key == snapshot.key && former.position > snapshot.position;
        if former.as_ref().and_then(decode).is_some_and(newer) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(KEY, snapshot.key.to_string());
        headers.insert(POSITION, snapshot.position.to_string());
        let expected = former.map_or(0, |found| found.sequence);
        let bytes = snapshot.bytes.clone();
        let saved = publish(&links.writing, subject, Some(expected), headers, bytes, until);
        match step!("jetstream.save-snapshot", saved.await) {
            Ok(_) => return Ok(()),
            Err(PublishError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Somebody else's is there, made at the same time: as good as ours.
    Ok(())
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
    use aether_wit::Digest;

    use super::*;

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
