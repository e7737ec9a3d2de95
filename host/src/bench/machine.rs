//! What a figure depends on that is not the host's: machine, disk, servers, versions.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use super::{ground::Ground, sqlite};

/// Every setting that a reader of the figures should know.
#[must_use]
pub fn settings(ground: &Ground) -> Vec<(String, String)> {
    let scale = &ground.scale;
    let rounds = scale.rounds;
    let length = format!(
        "{} rounds of {} ms of each thing in turn, after a warm-up",
        rounds.count,
        rounds.time.as_millis()
    );
    let own = [
        ("nats-server", ground.nats_about()),
        ("embedded store", store()),
        ("file system", file_system(&ground.work)),
        ("rounds", length),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    this_machine().into_iter().chain(own).collect()
}

/// What every figure depends on, and how busy the machine is now.
#[must_use]
pub fn this_machine() -> Vec<(String, String)> {
    let rows = [
        ("aether", format!("{}, {}", env!("CARGO_PKG_VERSION"), profile())),
        ("processor", format!("{} cores, {}", cores(), processor())),
        ("memory", memory()),
        ("kernel", kernel()),
        ("load average at the end", load()),
    ];
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The same in one line, for each table.
#[must_use]
pub fn line(ground: &Ground) -> String {
    let (nats, place) = (ground.nats_about(), file_system(&ground.work));
    format!("{}; {nats}; {}; {} cores; {}; {place}", profile(), store(), cores(), kernel())
}

/// The load average: how many threads wanted to run in the last 1, 5 and 15 minutes.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let three: Vec<&str> = text.split_whitespace().take(3).collect();
    if three.is_empty() { "unknown".to_owned() } else { three.join(" ") }
}

fn store() -> String {
    format!("SQLite {}, WAL, synchronous=FULL", sqlite::version())
}

const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug build: figures mean nothing" } else { "release build" }
}

/// How many processors this process may use.
#[must_use]
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn processor() -> String {
    line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())
}

fn memory() -> String {
    line_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned())
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim())
}

/// What stands behind the colon of the first line that begins with `key`.
fn line_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The file system that `path` is on.
fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from("/"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let around = mounts.filter(|(_, place, _)| path.starts_with(place));
    around.max_by_key(|(_, place, _)| place.len()).map_or_else(
        || "unknown file system".to_owned(),
        |(device, _, kind)| format!("{kind} on {device}"),
    )
}
