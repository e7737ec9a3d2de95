//! A small disk of its own for a store, which can be full or read-only.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::watchdog::Watchdog;

/// Size of the disk, in bytes: three times what the rounds of a long run leave on one store. It
/// takes memory for what is on it and for no more.
const SIZE: u64 = 1 << 30;

/// What is left of a disk that is about to be full, in bytes: what a store may write until then.
const SLACK: u64 = 1 << 20;

/// The file that fills it.
const FILLER: &str = "filler";

/// A file system in memory, mounted in a folder of its own; gone when it is dropped. Only root can
/// have one.
#[derive(Debug)]
pub struct Disk {
    /// Goes first: it must not outlive the mount.
    _watchdog: Watchdog,
    folder: TempDir,
}

impl Disk {
    /// Mounts a disk; none if this process may not.
    ///
    /// # Errors
    /// If there is no place for the folder.
    pub fn mount() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = TempDir::with_prefix("aether-disk-").context("cannot make a folder")?;
        let watchdog = Watchdog::over_mount(folder.path())?;
        let size = format!("size={SIZE}");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "aether"], folder.path());
        Ok(mounted.is_ok().then_some(Self { _watchdog: watchdog, folder }))
    }

    /// Where the store's own folder is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Leaves no byte of room.
    ///
    /// # Errors
    /// If the disk fails otherwise than by being full.
    pub fn fill(&self) -> Result<()> {
        // Made small first, or what fills it would take as much memory as the disk is large.
        let disk = statvfs(self.folder.path())?;
        let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
        self.resize(used + SLACK)?;
        let mut filler = File::create(self.folder.path().join(FILLER))?;
        // Smaller and smaller pieces, until not even a page fits.
        for size in [1 << 20, 4 << 10, 1] {
            let piece = vec![0; size];
            loop {
                match filler.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("the disk cannot be filled: {error}"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// If it was not filled.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.folder.path().join(FILLER)).context("the disk was not full")?;
        self.resize(SIZE)
    }

    /// Gives it another size, in bytes; refused below what is on it.
    fn resize(&self, size: u64) -> Result<()> {
        run("mount", &["-o", &format!("remount,size={size}")], self.folder.path())
    }

    /// Makes it read-only or writable again. Nobody may have a file open for writing.
    ///
    /// # Errors
    /// If somebody has.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        run("mount", &["-o", how], self.folder.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &["-l"], self.folder.path()) {
            eprintln!("a disk may be left over: {error:#}");
        }
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new(program).args(arguments).arg(folder).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind};

    use super::{Disk, SLACK};

    #[test]
    fn a_disk_can_be_full_and_read_only_and_is_gone_in_the_end() {
        let Some(disk) = Disk::mount().unwrap() else {
            eprintln!("only root can mount a disk: nothing to see");
            return;
        };
        let data = disk.data();
        fs::create_dir(&data).unwrap();
        disk.fill().unwrap();
        let full = fs::write(data.join("a"), "more").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.empty().unwrap();
        fs::write(data.join("a"), vec![0; 2 * usize::try_from(SLACK).unwrap()]).unwrap();
        disk.set_read_only(true).unwrap();
        let refused = fs::write(data.join("a"), "less").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        disk.set_read_only(false).unwrap();
        fs::write(data.join("a"), "less").unwrap();
        drop(disk);
        assert!(!data.exists());
    }
}
