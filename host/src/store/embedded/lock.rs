//! The lock of a store's folder: one host at a time.
//!
//! SQLite alone would let two hosts take turns, each with a stale idea of the heads. The file
//! `LOCK` is locked for as long as the store is open; the kernel frees it however the process
//! ends. Its text says who holds it. It is not one of SQLite's files, so opening it is harmless.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::Path,
};

use crate::store::StoreError;

/// The held lock; freed when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the folder if it is missing, readable by this user only, and locks it.
pub(super) fn acquire(dir: &Path) -> Result<Lock, StoreError> {
    make_folder(dir).map_err(|error| {
        StoreError(format!(
            "cannot make the data folder {}: {error}; expected a place that this user may write",
            dir.display()
        ))
    })?;
    let path = dir.join("LOCK");
    let failed = |error: io::Error| {
        StoreError(format!(
            "cannot lock the data folder {}: {error}; expected a folder that this user may write",
            dir.display()
        ))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(dir, &mut file)),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", place()).map_err(failed)?;
    Ok(Lock { _file: file })
}

fn held(dir: &Path, file: &mut File) -> StoreError {
    let mut holder = String::new();
    // The holder may be about to write it; its absence only makes the message poorer.
    let _ = file.take(1024).read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => "another process",
        named => named,
    };
    StoreError(format!(
        "the data folder {} is in use by {holder}; stop that host first, or start this one with \
         another --data folder",
        dir.display()
    ))
}

/// This process and machine, for people.
fn place() -> String {
    let pid = std::process::id();
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let program = program.as_deref().unwrap_or("unknown program");
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match machine.trim() {
        "" => format!("process {pid} ({program})"),
        machine => format!("process {pid} ({program}) on {machine}"),
    }
}

/// Makes `dir` and what is missing above it, durably.
fn make_folder(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&dir)?;
    #[cfg(unix)]
    for parent in missing.iter().filter_map(|path| path.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let first = acquire(&folder).unwrap();
        let refused = acquire(&folder).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("--data"), "{refused}");
        drop(first);
        acquire(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        let _lock = acquire(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let refused = acquire(&file).unwrap_err().to_string();
        assert!(refused.contains("file"), "{refused}");
    }
}
