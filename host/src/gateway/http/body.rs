//! The bytes of a request, as they come.
//!
//! A body may have 128 MiB, and whoever reads it is a thread that serves. So it lies in pieces: one
//! growing room would be copied again and again, all of it at a time, and commands would wait
//! meanwhile.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use crate::{failure::Failure, gateway::request};

/// How much of a body over the limit is read and thrown away, so that a client that sends first
/// and reads later still sees why it was refused.
pub const MAX_DISCARDED_BYTES: usize = 16 << 20;

/// Most bytes of a piece: about a tenth of a millisecond to fill.
const PIECE: usize = 256 << 10;

/// From how many bytes on a body comes no faster than a piece per [`PAUSE`]. Only components are so
/// large: taking in 50 MB at once keeps a processor from commands for up to 4 ms at a time.
const PACED_FROM: usize = 1 << 20;

/// Between two pieces of a large body: the shortest that tokio has, some 150 MB/s.
const PAUSE: Duration = Duration::from_millis(1);

/// How large a body may be.
#[derive(Clone, Copy)]
pub struct BodyLimit {
    /// The most it may have.
    pub bytes: usize,
    /// The setting.
    pub name: &'static str,
}

impl BodyLimit {
    /// What is said of one that is larger.
    pub fn exceeded(self) -> Failure {
        request::too_large(self.bytes, self.name)
    }
}

/// A body in pieces.
#[derive(Debug, Default)]
pub struct Pieces {
    full: Vec<Bytes>,
    last: BytesMut,
}

impl Pieces {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if !self.full.is_empty() && self.last.capacity() == 0 {
                self.last.reserve(PIECE);
            }
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - self.last.len()));
            self.last.extend_from_slice(fits);
            if self.last.len() == PIECE {
                self.full.push(std::mem::take(&mut self.last).freeze());
            }
            bytes = rest;
        }
    }

    /// All of it in one place. Only for a small one: otherwise it takes its time.
    pub fn whole(mut self) -> Bytes {
        if self.full.is_empty() {
            return self.last.freeze();
        }
        self.full.push(self.last.freeze());
        self.full.concat().into()
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<Bytes>, std::option::IntoIter<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        let last = (!self.last.is_empty()).then(|| self.last.freeze());
        self.full.into_iter().chain(last)
    }
}

/// Reads a body; `hold` makes room for so many bytes before they are kept.
///
/// # Errors
/// If it has more than `most`, breaks off, or there is no room for it. Even then it is read on for a
/// while, so that the client comes to read the answer.
pub async fn collect(
    body: Body,
    most: BodyLimit,
    mut hold: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Pieces, Failure> {
    let (mut chunks, limit) = (body.into_data_stream(), most.bytes);
    let (mut read, mut seen, mut refused) = (Pieces::default(), 0_usize, None);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            request::invalid(format!("the body broke off after {seen} bytes: {error}"))
        })?;
        if seen / PIECE < seen.saturating_add(chunk.len()) / PIECE {
            // Others have their turn, however fast it comes.
            if seen < PACED_FROM {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        seen = seen.saturating_add(chunk.len());
        if seen <= limit && refused.is_none() {
            match hold(chunk.len()) {
                Ok(()) => read.add(&chunk),
                Err(failure) => (read, refused) = (Pieces::default(), Some(failure)),
            }
        } else if seen > limit.saturating_add(MAX_DISCARDED_BYTES) {
            break;
        }
    }
    match refused {
        _ if seen > limit => Err(most.exceeded()),
        Some(failure) => Err(failure),
        None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_body() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            for chunk in [1000, PIECE, 2 * PIECE + 5] {
                let added = || {
                    let mut pieces = Pieces::default();
                    body.chunks(chunk).for_each(|chunk| pieces.add(chunk));
                    pieces
                };
                assert_eq!(added().whole(), body, "{length} in chunks of {chunk}");
                let pieces: Vec<Bytes> = added().into_iter().collect();
                assert!(pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
                assert_eq!(pieces.concat(), body, "{length} in chunks of {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn a_large_body_comes_no_faster_than_a_piece_per_pause() {
        let sent: Vec<u8> = (0..3 << 20).map(|n| (n % 251) as u8).collect();
        let chunks: Vec<_> = sent.chunks(64 << 10).map(Bytes::copy_from_slice).collect();
        let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures::stream::iter(chunks));
        let most = BodyLimit { bytes: sent.len(), name: "deploy-bytes" };
        let begun = crate::clock::now();
        let read = collect(body, most, |_| Ok(())).await.unwrap();
        let paced = u32::try_from((sent.len() - PACED_FROM) / PIECE).unwrap();
        assert!(crate::clock::now() - begun >= PAUSE * paced, "it came at once");
        assert_eq!(read.whole(), sent);
    }
}
