//! The cache of compiled code on real files, shared by real hosts: whatever happens to it, a host
//! compiles again, says so and serves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aether_tests::{
    faults::disk::Disk,
    host_process::{HostOptions, HostProcess},
};
use serde_json::json;
use tempfile::TempDir;

fn options(cache: &Path) -> HostOptions {
    HostOptions::bank().unwrap().args(["--cache-dir", cache.to_str().unwrap()])
}

fn serves(host: &HostProcess) {
    let reply = host.client().command("bank/account/a", "open", &json!({"owner": "A"})).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn says(host: &HostProcess, words: &str) {
    host.wait_for_line(words, Duration::from_secs(10)).unwrap();
}

/// The files in the cache: all of them whole, none left aside.
fn files(cache: &Path) -> Vec<PathBuf> {
    let files: Vec<_> = fs::read_dir(cache).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.iter().all(|file| file.extension().is_some_and(|it| it == "code")), "{files:?}");
    files
}

#[test]
fn two_hosts_that_write_at_once_leave_whole_files_that_a_third_takes() {
    let root = TempDir::new().unwrap();
    let cache = root.path().join("code");
    let hosts = thread::scope(|scope| {
        let start = || scope.spawn(|| options(&cache).start().unwrap());
        [start(), start()].map(|started| started.join().unwrap())
    });
    hosts.iter().for_each(serves);
    let written = files(&cache);
    assert!(!written.is_empty());
    let before: Vec<_> = written.iter().map(|file| fs::read(file).unwrap()).collect();
    let third = options(&cache).start().unwrap();
    serves(&third);
    assert!(!third.output().contains("compiling again"), "{}", third.output());
    let after: Vec<_> = files(&cache).iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after, "it took what was there");
}

#[test]
fn damaged_code_and_an_open_folder_are_told_and_compiled_again() {
    let root = TempDir::new().unwrap();
    let cache = root.path().join("code");
    serves(&options(&cache).start().unwrap());
    let path = files(&cache).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&flipped[..], &whole[..middle], b""] {
        fs::write(&path, damaged).unwrap();
        let host = options(&cache).start().unwrap();
        says(&host, "cached code is not used, compiling again");
        serves(&host);
        assert_eq!(fs::read(&path).unwrap().len(), whole.len(), "it is whole again");
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let host = options(&cache).start().unwrap();
    says(&host, "compiled code is not cached");
    serves(&host);
}

#[test]
fn a_full_disk_or_one_that_takes_nothing_is_told_and_compiled_every_time() {
    let Some(disk) = Disk::mount().unwrap() else {
        eprintln!("only root can mount a disk: nothing to see");
        return;
    };
    let cache = disk.data().join("code");
    disk.fill().unwrap();
    for _ in 0..2 {
        let host = options(&cache).start().unwrap();
        says(&host, "compiled code could not be cached");
        assert!(host.output().contains("No space left on device"), "{}", host.output());
        serves(&host);
        assert_eq!(files(&cache), [""; 0].map(PathBuf::from), "nothing is left aside");
    }
    disk.empty().unwrap();
    disk.set_read_only(true).unwrap();
    for folder in [&cache, &disk.data().join("another")] {
        let host = options(folder).start().unwrap();
        says(&host, "cached");
        assert!(host.output().contains("Read-only file system"), "{}", host.output());
        serves(&host);
    }
    disk.set_read_only(false).unwrap();
    let host = options(&cache).start().unwrap();
    serves(&host);
    assert!(!files(&cache).is_empty(), "with room it is kept");
    let again = options(&cache).start().unwrap();
    serves(&again);
    assert!(!again.output().contains("cached"), "{}", again.output());
}
