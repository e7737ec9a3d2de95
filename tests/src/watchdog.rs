//! What ends a server when the test process itself is killed.
//!
//! A shell waits for the end of a pipe that only the test process holds. It takes no signal that a
//! terminal or a runner sends to the whole group, so a test run that is interrupted leaves neither
//! processes nor folders behind.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// Watches over one process and its folder until it is dropped.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Kills `process` and removes `folder` when this process is gone.
    ///
    /// # Errors
    /// If no shell can be started.
    pub fn over(process: u32, folder: &Path) -> io::Result<Self> {
        Self::shell("kill -9 \"$0\"; rm -rf \"$1\"", &process.to_string(), folder)
    }

    /// Removes `folder` when this process is gone.
    ///
    /// # Errors
    /// If no shell can be started.
    pub fn over_folder(folder: &Path) -> io::Result<Self> {
        Self::shell("rm -rf \"$1\"", "rm", folder)
    }

    /// Unmounts `folder` and removes it when this process is gone. Whoever still has files there is
    /// watched by another one.
    ///
    /// # Errors
    /// If no shell can be started.
    pub fn over_mount(folder: &Path) -> io::Result<Self> {
        Self::shell("umount -l \"$1\"; rm -rf \"$1\"", "umount", folder)
    }

    fn shell(then: &str, first: &str, folder: &Path) -> io::Result<Self> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' INT HUP TERM; read -r _; {then}"))
            .arg(first)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

/// Where folders lie in memory, if the machine has such a place; if not, where all temporary ones do.
/// For what has nothing to do with this disk, which may be slow, and stand still at times.
#[must_use]
pub fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A folder of this process alone: gone when it is dropped, or when the process is.
#[derive(Debug)]
pub struct Folder {
    /// Goes first: there is nothing to watch any more.
    _watchdog: Watchdog,
    dir: TempDir,
}

impl Folder {
    /// Makes one whose name begins with `prefix`.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn new(prefix: &str) -> io::Result<Self> {
        Self::within(prefix, &std::env::temp_dir())
    }

    /// Makes one in [`memory`].
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn in_memory(prefix: &str) -> io::Result<Self> {
        Self::within(prefix, &memory())
    }

    fn within(prefix: &str, base: &Path) -> io::Result<Self> {
        let dir = TempDir::with_prefix_in(prefix, base)?;
        Ok(Self { _watchdog: Watchdog::over_folder(dir.path())?, dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::Watchdog;

    #[test]
    fn what_it_watches_ends_with_the_pipe() {
        let folder = TempDir::new().unwrap().keep();
        let mut server = Command::new("sleep").arg("600").spawn().unwrap();
        let mut watchdog = Watchdog::over(server.id(), &folder).unwrap();
        // The end of this process would close the pipe.
        drop(watchdog.0.stdin.take());
        assert!(!server.wait().unwrap().success(), "the server ended by itself");
        watchdog.0.wait().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_watchdog_that_is_dropped_does_nothing() {
        let folder = TempDir::new().unwrap();
        let mut server = Command::new("sleep").arg("600").spawn().unwrap();
        drop(Watchdog::over(server.id(), folder.path()).unwrap());
        assert!(server.try_wait().unwrap().is_none());
        assert!(folder.path().exists());
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
