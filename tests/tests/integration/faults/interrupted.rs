//! A run that is told to end in the middle of a round leaves no process, folder, mount or port
//! behind: not those that are frozen at that moment either.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use aether_tests::{
    faults::{
        cluster::StoreKind,
        disk::Disk,
        nemesis::Nemesis,
        schedule::{Length, schedule},
    },
    workspace,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// Whatever it is, the schedule has every nemesis on every store that it fits.
const SEED: u64 = 4;

/// Longest wait until the fault strikes: the processes start first.
const STRUCK: Duration = Duration::from_secs(120);

/// Longest wait until everything is gone.
const GONE: Duration = Duration::from_secs(30);

/// Environment variable by which all processes of a run are known; they inherit it.
const MARK: &str = "FAULTS_RUN";

/// A run with one round, and how to find all that belongs to it.
struct Run {
    child: Child,
    mark: String,
    /// For all of its temporary files.
    folder: TempDir,
}

/// A process of a run.
#[derive(Debug)]
struct Process {
    name: String,
    frozen: bool,
    /// Inodes of its sockets.
    sockets: BTreeSet<u64>,
}

impl Run {
    /// Plays the round of `nemesis` on `store`.
    fn start(nemesis: Nemesis, store: StoreKind) -> Self {
        let disk = Disk::mount().unwrap().is_some();
        let rounds = schedule(SEED, Length::Once, disk);
        let round = rounds.iter().find(|it| (it.nemesis, it.store) == (nemesis, store)).unwrap();
        let folder = TempDir::new().unwrap();
        let mark = folder.path().to_str().unwrap().to_owned();
        // What a script starts in the background ignores an interrupt, and so would the run.
        let child = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_faults")])
            .args(["--seed", &SEED.to_string(), "--rounds", &round.number.to_string()])
            .args(["--out", &format!("{mark}/out")])
            .env("AETHER_TEST_BINARY", workspace::binary().unwrap())
            .env("TMPDIR", folder.path())
            .env(MARK, &mark)
            .env_remove("SEED")
            .env_remove("ROUNDS")
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, mark, folder }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// All that run now.
    fn processes(&self) -> Vec<Process> {
        let mark = format!("{MARK}={}", self.mark);
        let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        all.filter_map(|path| Process::marked(&path, &mark)).collect()
    }

    /// Waits until the fault has struck a process.
    fn await_frozen(&mut self) -> Vec<Process> {
        super::wait_for("a process is frozen", STRUCK, || {
            assert!(self.child.try_wait().unwrap().is_none(), "the run is over");
            let all = self.processes();
            all.iter().any(|process| process.frozen).then_some(all)
        })
    }

    /// How it ended; all that it had must go.
    fn ends(mut self, before: &[Process]) -> Option<i32> {
        let status = self.child.wait().unwrap();
        let held: BTreeSet<u64> = before.iter().flat_map(|it| it.sockets.clone()).collect();
        // One that ends gives back its memory, and with it the mark, before its sockets.
        super::wait_for("its processes and ports are gone", GONE, || {
            let gone = self.processes().is_empty() && held.is_disjoint(&listening());
            gone.then_some(())
        });
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&self.mark), "{mounts}");
        let left: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|it| it.unwrap()).collect();
        let left: Vec<_> = left.iter().map(|it| it.file_name()).filter(|it| it != "out").collect();
        assert!(left.is_empty(), "{left:?} are left");
        status.signal()
    }
}

impl Process {
    /// The process of the folder `proc`, if it has this variable.
    fn marked(proc: &Path, mark: &str) -> Option<Self> {
        let environment = fs::read(proc.join("environ")).ok()?;
        environment.split(|byte| *byte == 0).find(|it| *it == mark.as_bytes())?;
        let status = fs::read_to_string(proc.join("status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let state = line("State:")?.trim();
        // One that ended, and that nobody has asked for, has nothing any more.
        if state.starts_with('Z') {
            return None;
        }
        let name = line("Name:")?.trim().to_owned();
        let files = fs::read_dir(proc.join("fd")).ok()?.filter_map(Result::ok);
        let sockets = files.filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        });
        Some(Self { name, frozen: state.starts_with('T'), sockets: sockets.collect() })
    }
}

/// Inodes of the sockets of this machine that listen.
fn listening() -> BTreeSet<u64> {
    let all = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = all.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // `0A` is LISTEN.
        (fields.get(3) == Some(&"0A")).then(|| fields.get(9)?.parse().ok())?
    });
    listening.collect()
}

/// `names` are among the processes, and some of them listen.
#[track_caller]
fn are_at_work(all: &[Process], names: &[(&str, usize)]) {
    for (name, count) in names {
        let found = all.iter().filter(|process| process.name == *name).count();
        assert_eq!(found, *count, "{name} in {all:?}");
    }
    let listening = listening();
    let listen = |process: &&Process| !process.sockets.is_disjoint(&listening);
    assert!(all.iter().filter(listen).count() > 1, "nobody listens: {all:?}");
}

#[test]
fn a_run_that_is_terminated_beside_a_frozen_host_leaves_nothing() {
    let mut run = Run::start(Nemesis::PauseHost, StoreKind::R1);
    let before = run.await_frozen();
    are_at_work(&before, &[("faults", 1), ("aether", 3), ("nats-server", 1)]);
    kill_process(run.pid(), Signal::TERM).unwrap();
    assert_eq!(run.ends(&before), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_run_that_is_interrupted_beside_a_frozen_leader_leaves_nothing() {
    let mut run = Run::start(Nemesis::PauseServer, StoreKind::R3);
    let before = run.await_frozen();
    are_at_work(&before, &[("faults", 1), ("aether", 2), ("nats-server", 3)]);
    // As a terminal does: to all of the group.
    kill_process_group(run.pid(), Signal::INT).unwrap();
    assert_eq!(run.ends(&before), Some(Signal::INT.as_raw()));
}
