//! Compiled code on its way from a file into this process.
//!
//! *Problem.* Code of 50 MB, as the runtime of Python has it, was read, hashed, and copied twice before
//! anything ran: a quarter of a second on each start. *Mechanism.* It goes piece by piece into memory
//! that looks like a file to wasmtime, which maps it without a copy, and each piece is hashed while
//! it is in the processor's cache, by several threads side by side. Then the memory is sealed:
//! whoever changes the file on disk later changes nothing here.

use std::{
    fs::File,
    io::{self, Error},
    num::NonZero,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::PathBuf,
    thread,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest as _, Sha256};

/// Bytes that are hashed as one piece.
pub(super) const PIECE: usize = 1 << 20;

/// Most threads that read one file: beyond, memory is what they wait for.
const MOST_READERS: usize = 4;

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// What compiled code is known by: `about` it, and its pieces.
pub(super) fn digest(about: &[u8], pieces: impl IntoIterator<Item = Hash>) -> Hash {
    let mut digest = Sha256::new();
    digest.update((about.len() as u64).to_le_bytes());
    digest.update(about);
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize().into()
}

/// The digest of one piece.
pub(super) fn of_piece(piece: &[u8]) -> Hash {
    Sha256::digest(piece).into()
}

/// Bytes in memory that nobody can change any more.
pub(super) struct Held(File);

impl Held {
    /// The `size` bytes of `file` from `begin` on, and the digests of their pieces.
    pub(super) fn read(file: &File, begin: u64, size: u64) -> io::Result<(Self, Vec<Hash>)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = File::from(memfd_create("aether-code", flags)?);
        memory.set_len(size)?;
        let pieces = in_pieces(size, |at, piece| {
            file.read_exact_at(piece, begin + at)?;
            memory.write_all_at(piece, at)?;
            Ok(of_piece(piece))
        })?;
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&memory, all)?;
        Ok((Self(memory), pieces))
    }

    /// A path under which this process can open it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// What `each` gives for the pieces of `size` bytes, in their order: it gets where a piece begins and
/// a buffer of its length.
fn in_pieces(
    size: u64,
    each: impl Fn(u64, &mut [u8]) -> io::Result<Hash> + Sync,
) -> io::Result<Vec<Hash>> {
    let whole = PIECE as u64;
    let count = size.div_ceil(whole);
    let readers = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_READERS);
    let share = count.div_ceil(readers as u64).max(1);
    let read = |from: u64| {
        let mut buffer = vec![0; PIECE];
        let pieces = (from..count.min(from + share)).map(|n| {
            let at = n * whole;
            let length = usize::try_from((size - at).min(whole)).unwrap_or(PIECE);
            each(at, buffer.get_mut(..length).unwrap_or_default())
        });
        pieces.collect::<io::Result<Vec<_>>>()
    };
    thread::scope(|scope| {
        let mut others = Vec::new();
        for from in (share..count).step_by(usize::try_from(share).unwrap_or(usize::MAX)) {
            let read = &read;
            others.push(thread::Builder::new().spawn_scoped(scope, move || read(from))?);
        }
        let mut pieces = read(0)?;
        for other in others {
            let broken = |_| Error::other("a thread that reads broke");
            pieces.extend(other.join().map_err(broken)??);
        }
        Ok(pieces)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_held_is_what_stands_in_the_file_and_stays_so() {
        for size in [0, 1, PIECE, PIECE + 1, 9 * PIECE - 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n / 1000) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"before").unwrap();
            file.write_all(&bytes).unwrap();
            let (held, pieces) = Held::read(&file, 6, size as u64).unwrap();
            let too_long = Held::read(&file, 6, size as u64 + 1);
            assert!(too_long.is_err(), "{size}: the file ends before");
            file.write_all_at(b"changed", 6).unwrap();
            assert_eq!(pieces, bytes.chunks(PIECE).map(of_piece).collect::<Vec<_>>(), "{size}");
            assert_eq!(std::fs::read(held.path()).unwrap(), bytes);
            let longer = held.0.set_len(size as u64 + 1);
            assert!(held.0.write_all_at(b"x", 0).is_err() && longer.is_err());
        }
    }

    #[test]
    fn a_digest_tells_apart_what_stands_elsewhere() {
        let [a, b] = [b"a", b"b"].map(|piece| of_piece(piece));
        let all =
            [digest(b"", [a, b]), digest(b"", [b, a]), digest(b"", [a]), digest(b"x", [a, b])];
        for (n, one) in all.iter().enumerate() {
            assert!(all.iter().skip(n + 1).all(|other| other != one), "{n}");
        }
    }
}
