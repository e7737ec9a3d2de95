//! `aether doctor`: looks for what this machine lacks, and says what to do about it.

mod server;

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::ExitCode,
};

use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};
use serde_json::json;

use super::{flags::Flags, print};
use crate::config::{Config, StoreConfig};

/// Memory maps that one component instance takes at most, as measured.
const MAPS_PER_INSTANCE: u64 = 4;

/// The default of common distributions; below it, fewer instances fit than a small host wants.
const USUAL_MAPS: u64 = 65_530;

/// Open files that a host with the default limit of connections needs, with room for its store.
const WANTED_FILES: u64 = 16_384;

/// Free bytes of the data folder's disk below which it will soon be full: a few times what the
/// write-ahead log of the store grows to.
const WANTED_ROOM: u64 = 512 << 20;

/// Looks for what this machine lacks. Exit status 1 if something fails.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// How a finding is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    what: &'static str,
    found: String,
}

const fn finding(level: Level, what: &'static str, found: String) -> Finding {
    Finding { level, what, found }
}

/// Runs the command.
///
/// # Errors
/// If the settings cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.flags.resolve()?;
    let mut found = machine(&config);
    match &config.store {
        StoreConfig::Embedded { dir } => found.push(folder(dir)),
        StoreConfig::Memory => {}
        StoreConfig::JetStream(server) => found.extend(server::findings(server, &config).await),
    }
    if args.json {
        print::line(&as_json(&found).to_string());
    } else {
        let row = |f: &Finding| vec![f.level.word().to_owned(), f.what.to_owned(), f.found.clone()];
        print::text(&print::table(&found.iter().map(row).collect::<Vec<_>>()));
    }
    let failed = found.iter().any(|finding| finding.level == Level::Fail);
    Ok(ExitCode::from(u8::from(failed)))
}

fn as_json(found: &[Finding]) -> serde_json::Value {
    let one = |f: &Finding| json!({"level": f.level.word(), "what": f.what, "found": f.found});
    json!({ "findings": found.iter().map(one).collect::<Vec<_>>() })
}

fn machine(config: &Config) -> Vec<Finding> {
    let proc = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    vec![
        kernel(proc("kernel/osrelease").trim()),
        maps(proc("vm/max_map_count").trim().parse().ok(), config.sandbox.max_instances),
        space(getrlimit(Resource::As).current, proc("vm/overcommit_memory").trim()),
        files(getrlimit(Resource::Nofile).current),
    ]
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u64>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    match version {
        None => {
            finding(Level::Warn, "kernel", format!("`{release}` is not a Linux release: untested"))
        }
        Some(version) if version < (6, 7) => finding(
            Level::Warn,
            "kernel",
            format!("{release}: before 6.7 instances are reset more slowly; a newer kernel helps"),
        ),
        Some(_) => finding(Level::Ok, "kernel", release.to_owned()),
    }
}

fn maps(count: Option<u64>, instances: Option<usize>) -> Finding {
    let what = "memory maps";
    let Some(count) = count else {
        return finding(Level::Warn, what, "vm.max_map_count cannot be read".to_owned());
    };
    // A fifth is left to everything else that the process maps.
    let room = count / 5 * 4 / MAPS_PER_INSTANCE;
    let told = format!("vm.max_map_count {count}: room for {room} component instances");
    let wanted = instances.and_then(|n| u64::try_from(n).ok());
    match wanted {
        Some(wanted) if wanted > room => {
            let need = wanted * MAPS_PER_INSTANCE / 4 * 5;
            let todo =
                format!("{told}, `max-instances` asks {wanted}: sysctl -w vm.max_map_count={need}");
            finding(Level::Fail, what, todo)
        }
        _ if count < USUAL_MAPS => {
            let todo = format!("{told}: sysctl -w vm.max_map_count={USUAL_MAPS} is usual");
            finding(Level::Warn, what, todo)
        }
        _ => finding(Level::Ok, what, told),
    }
}

fn space(limit: Option<u64>, overcommit: &str) -> Finding {
    let what = "address space";
    match (limit, overcommit) {
        (Some(bytes), _) => finding(
            Level::Fail,
            what,
            format!(
                "limited to {bytes} bytes: memory of instances is reserved, not used; `ulimit -v unlimited`"
            ),
        ),
        (None, "2") => finding(
            Level::Fail,
            what,
            "vm.overcommit_memory 2 forbids reserving: sysctl -w vm.overcommit_memory=0".to_owned(),
        ),
        (None, _) => finding(Level::Ok, what, "not limited".to_owned()),
    }
}

fn files(limit: Option<u64>) -> Finding {
    match limit {
        Some(files) if files < WANTED_FILES => finding(
            Level::Warn,
            "open files",
            format!("{files}: `max-connections` may not be reached; `ulimit -n {WANTED_FILES}`"),
        ),
        Some(files) => finding(Level::Ok, "open files", files.to_string()),
        None => finding(Level::Ok, "open files", "not limited".to_owned()),
    }
}

/// Writes, syncs and removes a file where records would be kept.
fn folder(dir: &Path) -> Finding {
    let name = dir.display();
    let made = !dir.exists();
    let tried = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!(".doctor-{}", std::process::id()));
        let mut file = File::create_new(&path)?;
        let written = file.write_all(b"aether").and_then(|()| file.sync_all());
        fs::remove_file(&path)?;
        File::open(dir)?.sync_all()?;
        written
    };
    let found = match tried() {
        Ok(()) => room(dir, &format!("{name}: written and synced")),
        Err(error) => finding(
            Level::Fail,
            "data folder",
            format!("{name}: {error}: give a folder that can be written with `--data DIR`"),
        ),
    };
    if made {
        // It was only made to be tried; what others have put there meanwhile stays.
        let _ = fs::remove_dir(dir);
    }
    found
}

/// Tells how much the file system of `dir` still takes.
fn room(dir: &Path, tried: &str) -> Finding {
    match statvfs(dir) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let told = format!("{tried}, {} MiB free", free >> 20);
            match free < WANTED_ROOM {
                true => finding(
                    Level::Warn,
                    "data folder",
                    format!("{told}: a full disk refuses every command; make room"),
                ),
                false => finding(Level::Ok, "data folder", told),
            }
        }
        Err(error) => finding(
            Level::Warn,
            "data folder",
            format!("{tried}; how much room there is cannot be read: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged() {
        assert_eq!(kernel("6.18.0-arch1").level, Level::Ok);
        assert_eq!(kernel("5.15.0-91-generic").level, Level::Warn);
        assert_eq!(kernel("Darwin").level, Level::Warn);
        let found = maps(Some(65_530), None);
        assert_eq!((found.level, found.found.contains("room for 13106")), (Level::Ok, true));
        let short = maps(Some(65_530), Some(20_000));
        assert!(short.level == Level::Fail && short.found.contains("vm.max_map_count=100000"));
        assert_eq!(maps(Some(1000), None).level, Level::Warn);
        assert_eq!(space(None, "0").level, Level::Ok);
        assert_eq!(space(None, "2").level, Level::Fail);
        assert_eq!(space(Some(1 << 30), "0").level, Level::Fail);
        assert_eq!(files(Some(1024)).level, Level::Warn);
        assert_eq!(files(Some(65_536)).level, Level::Ok);
    }

    #[test]
    fn a_folder_is_written_to_and_left_clean() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("data");
        assert_eq!(folder(&dir).level, Level::Ok);
        assert!(!dir.exists());
        assert_eq!(folder(base.path()).level, Level::Ok);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(folder(&file).level, Level::Fail);
    }
}
