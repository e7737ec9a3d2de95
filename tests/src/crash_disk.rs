//! What a crash leaves on the disk, computed from a trace of file operations.

use std::{collections::BTreeMap, fs, io, path::Path};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use crate::crash_vfs::Op;

/// Bytes that a disk writes as one: what is torn is torn between two of these.
const SECTOR_BYTES: usize = 512;

/// What happens to what was written but not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Unsynced,
    /// A random half of its sectors is lost: torn and reordered writes. The number is the seed.
    Sectors(u64),
    /// None of it is lost: the process was killed, the machine lives.
    Nothing,
}

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A disk and the memory of the machine in front of it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// What every program sees.
    seen: Files,
    /// What is on the disk for certain.
    durable: Files,
    /// What may be on the disk, in the order of writing.
    pending: BTreeMap<String, Vec<Op>>,
}

impl Disk {
    /// Takes the next operation of a trace.
    pub fn step(&mut self, op: &Op) {
        match op {
            Op::Open(file) => {
                self.seen.entry(file.clone()).or_default();
                self.pending.entry(file.clone()).or_default();
            }
            Op::Write(file, ..) | Op::Truncate(file, _) => {
                apply(self.seen.entry(file.clone()).or_default(), op);
                self.pending.entry(file.clone()).or_default().push(op.clone());
            }
            Op::Sync(file) => {
                let durable = self.durable.entry(file.clone()).or_default();
                for op in self.pending.remove(file).unwrap_or_default() {
                    apply(durable, &op);
                }
            }
            // A kernel reports a failed write-back once, and then takes the pages for clean.
            Op::SyncFailed(file) => {
                self.pending.remove(file);
            }
            Op::Delete(file) => {
                self.seen.remove(file);
                self.durable.remove(file);
                self.pending.remove(file);
            }
            Op::Note(_) => {}
        }
    }

    /// The files after a crash now.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> Files {
        let seed = match loss {
            Loss::Nothing => return self.seen.clone(),
            Loss::Unsynced => return self.durable.clone(),
            Loss::Sectors(seed) => seed,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let mut files = self.durable.clone();
        for (name, ops) in &self.pending {
            let file = files.entry(name.clone()).or_default();
            for op in ops {
                tear(file, op, &mut random);
            }
        }
        files
    }
}

/// Writes `files` into the folder `dir`, which is emptied first. SQLite's shared memory is left
/// out: no crash of a machine leaves it.
///
/// # Errors
/// If the folder cannot be written.
pub fn lay_out(files: &Files, dir: &Path) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir(dir)?;
    for (name, bytes) in files {
        if !name.ends_with("-shm") {
            fs::write(dir.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Applies a random half of the operation's sectors.
fn tear(file: &mut Vec<u8>, op: &Op, random: &mut impl Rng) {
    let Op::Write(name, offset, bytes) = op else {
        if random.random() {
            apply(file, op);
        }
        return;
    };
    let mut offset = *offset;
    for sector in bytes.chunks(SECTOR_BYTES) {
        if random.random() {
            apply(file, &Op::Write(name.clone(), offset, sector.to_vec()));
        }
        offset += sector.len() as u64;
    }
}

fn apply(file: &mut Vec<u8>, op: &Op) {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    match op {
        Op::Write(_, offset, bytes) => {
            let (start, end) = (at(*offset), at(*offset) + bytes.len());
            if file.len() < end {
                file.resize(end, 0);
            }
            if let Some(target) = file.get_mut(start..end) {
                target.copy_from_slice(bytes);
            }
        }
        Op::Truncate(_, size) => file.resize(at(*size), 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, bytes: &[u8]) -> Op {
        Op::Write("f".to_owned(), offset, bytes.to_vec())
    }

    #[test]
    fn only_what_was_synced_survives_the_loss_of_power() {
        let mut disk = Disk::default();
        let name = || "f".to_owned();
        for op in [Op::Open(name()), write(0, b"abc"), Op::Sync(name()), write(1, b"XY")] {
            disk.step(&op);
        }
        assert_eq!(disk.crash(Loss::Unsynced)["f"], b"abc");
        assert_eq!(disk.crash(Loss::Nothing)["f"], b"aXY");
        disk.step(&Op::SyncFailed(name()));
        disk.step(&Op::Sync(name()));
        assert_eq!(disk.crash(Loss::Unsynced)["f"], b"abc", "a failed sync is not made good");
        assert_eq!(disk.crash(Loss::Nothing)["f"], b"aXY");
        disk.step(&Op::Truncate(name(), 1));
        disk.step(&Op::Sync(name()));
        assert_eq!(disk.crash(Loss::Unsynced)["f"], b"a");
        disk.step(&Op::Delete(name()));
        assert!(disk.crash(Loss::Nothing).is_empty());
    }

    #[test]
    fn sectors_are_lost_one_by_one() {
        let mut disk = Disk::default();
        disk.step(&write(0, &[1; 64 * SECTOR_BYTES]));
        let file = &disk.crash(Loss::Sectors(1))["f"];
        let kept = file.chunks(SECTOR_BYTES).filter(|sector| sector.iter().all(|&b| b == 1));
        assert!((10..55).contains(&kept.count()));
    }
}
