//! Models and components: bytes by their digest, in parts that fit a message.
//!
//! Part n of a blob is the newest message of `PREFIX.blob.HEX.n`; `PREFIX.blob.HEX.end` is written
//! last and tells how many there are. A part written twice is the same bytes, so any number of
//! hosts may store the same blob at once. What is read is hashed again.

use std::{collections::BTreeMap, time::Instant};

use aether_wit::Digest;
use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{
    append::publish,
    connection::Pauses,
    layout::Names,
    read::{Links, Source},
};
use crate::{
    step::step,
    store::{Freshness, StoreError},
};

/// Largest part, in bytes; less if records are.
const PART: usize = 512 << 10;

/// Parts on their way at once.
const IN_FLIGHT: usize = 4;

/// The last message of a blob.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    parts: usize,
    bytes: usize,
}

/// Where blobs are kept.
#[derive(Debug)]
pub(super) struct Blobs {
    pub(super) source: Source,
    pub(super) names: Names,
    /// Largest message that the server is known to take, in bytes.
    pub(super) limit: usize,
}

impl Blobs {
    pub(super) async fn put(
        &self,
        links: &Links,
        bytes: &Bytes,
        until: Instant,
    ) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let hex = hex(&digest);
        if self.end(links, &hex, until).await?.is_some() {
            return Ok(digest);
        }
        let size = PART.min(self.limit).max(1);
        let parts = bytes.len().div_ceil(size);
        stream::iter(0..parts)
            .map(|n| {
                let subject = self.names.blob(&hex, &n.to_string());
                let part = bytes.slice(n * size..bytes.len().min((n + 1) * size));
                write(links, subject, part, until)
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        let end = serde_json::to_vec(&End { parts, bytes: bytes.len() })
            .map_err(|error| StoreError(error.to_string()))?;
        write(links, self.names.blob(&hex, "end"), end.into(), until).await?;
        Ok(digest)
    }

    pub(super) async fn get(
        &self,
        links: &Links,
        digest: &Digest,
        until: Instant,
    ) -> Result<Option<Bytes>, StoreError> {
        let hex = hex(digest);
        let Some(end) = self.end(links, &hex, until).await? else { return Ok(None) };
        let mut parts = BTreeMap::new();
        let mut from = 1;
        let mut pauses = Pauses::until(until);
        while parts.len() < end.parts {
            let filter = self.names.blob(&hex, "*");
            let page = self.source.page(links, &filter, from, Freshness::Any, until).await?;
            for found in page.messages {
                from = found.sequence + 1;
                let part = found.subject.rsplit('.').next().and_then(|n| n.parse::<usize>().ok());
                if let Some(part) = part {
                    parts.insert(part, found.payload);
                }
            }
            if page.pending == 0 && parts.len() < end.parts {
                // The replica lags, or a part was just written anew and stands behind us.
                if !pauses.wait().await {
                    let missing = end.parts - parts.len();
                    return Err(StoreError(format!("{missing} parts of {digest} are missing")));
                }
                from = 1;
            }
        }
        let mut bytes = BytesMut::with_capacity(end.bytes);
        parts.into_values().take(end.parts).for_each(|part| bytes.extend_from_slice(&part));
        let bytes = bytes.freeze();
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(StoreError(format!("the bytes stored as {digest} are damaged: they are {found}")))
        }
    }

    async fn end(
        &self,
        links: &Links,
        hex: &str,
        until: Instant,
    ) -> Result<Option<End>, StoreError> {
        let found = self.source.last(links, &self.names.blob(hex, "end"), until).await?;
        let read = |payload: &[u8]| {
            serde_json::from_slice(payload)
                .map_err(|error| StoreError(format!("the end of blob {hex} is damaged: {error}")))
        };
        found.map(|found| read(&found.payload)).transpose()
    }
}

async fn write(
    links: &Links,
    subject: String,
    payload: Bytes,
    until: Instant,
) -> Result<(), StoreError> {
    let headers = HeaderMap::new();
    step!(
        "jetstream.put-blob",
        publish(&links.writing, &subject, None, headers, payload, until).await
    )?;
    Ok(())
}

fn hex(digest: &Digest) -> String {
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_a_blob_is_its_digest() {
        let digest = Digest::of("x");
        assert_eq!(format!("sha256:{}", hex(&digest)), digest.to_string());
    }
}
