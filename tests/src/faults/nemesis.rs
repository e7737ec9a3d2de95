//! What goes wrong: each nemesis breaks one thing while clients work, and mends it.

use std::{fmt, process::Child, thread, time::Duration};

use aether::clock;
use anyhow::{Context as _, Result, bail, ensure};
use rand::{RngExt as _, rngs::StdRng};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use super::{
    caller::Shared,
    cluster::{Cluster, StoreKind},
    proxy::{Direction, Mode, Proxy, Trap},
};

/// Longest wait for a command to be under way before a fault strikes.
const BUSY: Duration = Duration::from_secs(5);

/// Most traps in one strike.
const TRAPS: u32 = 6;

/// Longest wait for a trap to spring.
const SPRING: Duration = Duration::from_secs(4);

/// Latest moment of a deploy at which something else happens, in ms.
const DEPLOY_MS: u64 = 1_500;

/// Longest wait until something can be deployed: longer than a host that is gone seems to live.
const DEPLOYED: Duration = Duration::from_secs(40);

/// Pause before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Longest election of a raft leader, so that a leader that was away for longer has been replaced.
const ELECTION_MS: u64 = 9_000;

/// A way in which something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nemesis {
    /// SIGKILL for a host; it starts again.
    KillHost,
    /// SIGKILL for a nats-server, with three any but the leader; it starts again.
    KillServer,
    /// SIGKILL for the server that leads a log in use; it starts again.
    KillLeader,
    /// SIGSTOP for a host, then SIGCONT.
    PauseHost,
    /// SIGSTOP for the server that leads a log in use, then SIGCONT.
    PauseServer,
    /// A host and all nats-servers do not reach each other; connections are reset.
    PartitionBoth,
    /// What a host sends to nats-servers does not arrive, until it arrives late.
    PartitionUp,
    /// What nats-servers send to a host does not arrive, until it arrives late.
    PartitionDown,
    /// The server that leads a log in use does not reach the others; hosts reach it.
    IsolateLeader,
    /// One server and one host are on one side, all others on the other.
    SplitCluster,
    /// A connection of a host is reset in the middle of the record that it sends.
    ResetAppend,
    /// A connection of a host is reset in the middle of the acknowledgement of a record.
    ResetAck,
    /// Connections of callers are reset in the middle of a command or of an answer.
    ResetCaller,
    /// One direction of connections ends; the other goes on.
    HalfClose,
    /// Everything between a host and its neighbours takes longer, by changing times.
    Delay,
    /// The disk of the store is full; with three servers that of one.
    DiskFull,
    /// A host, or one of three servers, is killed and finds its folder read-only when it starts
    /// again.
    ReadOnly,
    /// No file of a host can be written: every write fails.
    Unwritable,
    /// A host's clock jumps an hour forward, and back.
    ClockForward,
    /// A host's clock jumps an hour back, and forward.
    ClockBack,
    /// A model that means the same is deployed twice, while a host or a server is killed, a host is
    /// stopped or cut off from its store, or nothing else happens.
    Deploy,
    /// Everything that was not synced is lost: in this process, see [`super::power_cut`].
    PowerCut,
}

/// A fault that struck and was mended.
#[derive(Clone, Debug)]
pub struct Strike {
    /// What happened, for people.
    pub what: String,
    /// When it struck, since the round began.
    pub at: Duration,
    /// When everything was mended.
    pub mended: Duration,
    /// How many commands were under way at whatever it struck.
    pub in_flight: usize,
}

/// What a nemesis works on.
pub struct Stage<'a> {
    /// The processes.
    pub cluster: &'a mut Cluster,
    /// What the clients share.
    pub shared: &'a Shared,
    /// What it decides with.
    pub rng: &'a mut StdRng,
    /// An actor in use: its log's leader is the leader to hit.
    pub actor: &'a str,
    /// How long a fault lasts at most.
    pub longest: Duration,
}

impl Nemesis {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::KillHost,
        Self::KillServer,
        Self::KillLeader,
        Self::PauseHost,
        Self::PauseServer,
        Self::PartitionBoth,
        Self::PartitionUp,
        Self::PartitionDown,
        Self::IsolateLeader,
        Self::SplitCluster,
        Self::ResetAppend,
        Self::ResetAck,
        Self::ResetCaller,
        Self::HalfClose,
        Self::Delay,
        Self::DiskFull,
        Self::ReadOnly,
        Self::Unwritable,
        Self::ClockForward,
        Self::ClockBack,
        Self::Deploy,
        Self::PowerCut,
    ];

    /// Whether it can strike on `kind`.
    #[must_use]
    pub const fn fits(self, kind: StoreKind) -> bool {
        match self {
            Self::KillHost
            | Self::PauseHost
            | Self::ResetCaller
            | Self::HalfClose
            | Self::Delay
            | Self::DiskFull
            | Self::ClockForward
            | Self::ClockBack
            | Self::Deploy => true,
            Self::Unwritable | Self::PowerCut => matches!(kind, StoreKind::Embedded),
            Self::ReadOnly => !matches!(kind, StoreKind::R1),
            Self::KillLeader | Self::IsolateLeader | Self::SplitCluster => {
                matches!(kind, StoreKind::R3)
            }
            Self::KillServer
            | Self::PauseServer
            | Self::PartitionBoth
            | Self::PartitionUp
            | Self::PartitionDown
            | Self::ResetAppend
            | Self::ResetAck => matches!(kind, StoreKind::R1 | StoreKind::R3),
        }
    }

    /// Whether it needs a disk of its own, which only root can mount.
    #[must_use]
    pub const fn needs_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::ReadOnly)
    }

    /// Whether it lasts so long that once a round is enough.
    #[must_use]
    pub const fn is_long(self) -> bool {
        matches!(
            self,
            Self::PauseHost | Self::PauseServer | Self::IsolateLeader | Self::SplitCluster
        )
    }

    /// Strikes while clients work, and mends what it broke.
    ///
    /// # Errors
    /// If it could not strike, or what it broke cannot be mended.
    pub fn strike(self, mut stage: Stage<'_>) -> Result<Strike> {
        let host = stage.rng.random_range(0..stage.cluster.hosts().max(1));
        let (what, hit) = match self {
            Self::KillHost => stage.kill_host(host)?,
            Self::KillServer | Self::KillLeader => stage.kill_server(self)?,
            Self::PauseHost => stage.pause_host(host)?,
            Self::PauseServer => stage.pause_server()?,
            Self::PartitionBoth => {
                let mode = Mode { refuse: true, ..Mode::default() };
                stage.partition(host, mode, "cut off from its store")?
            }
            Self::PartitionUp => {
                let mode = Mode { stall_up: true, ..Mode::default() };
                stage.partition(host, mode, "no longer heard by its store")?
            }
            Self::PartitionDown => {
                let mode = Mode { stall_down: true, ..Mode::default() };
                stage.partition(host, mode, "no longer told by its store")?
            }
            Self::IsolateLeader => stage.isolate_leader()?,
            Self::SplitCluster => stage.split(host)?,
            Self::ResetAppend => stage.reset(host, Direction::Up, b".log.", 2..1_500)?,
            Self::ResetAck => stage.reset(host, Direction::Down, b"\"stream\":", 1..60)?,
            Self::ResetCaller => stage.reset_callers(host)?,
            Self::HalfClose => stage.half_close(host)?,
            Self::Delay => stage.delay(host)?,
            Self::DiskFull => stage.fill_disk()?,
            Self::ReadOnly if stage.cluster.servers() > 0 => stage.read_only_server()?,
            Self::ReadOnly => stage.read_only(host)?,
            Self::Unwritable => stage.unwritable(host)?,
            Self::ClockForward => stage.shift_clock(host, "1h")?,
            Self::ClockBack => stage.shift_clock(host, "-1h")?,
            Self::Deploy => stage.deploy(host)?,
            Self::PowerCut => bail!("no process survives a power cut to tell of it"),
        };
        let (at, in_flight) = hit;
        Ok(Strike { what, at, mended: stage.shared.now(), in_flight })
    }
}

impl fmt::Display for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillHost => "kill-host",
            Self::KillServer => "kill-server",
            Self::KillLeader => "kill-leader",
            Self::PauseHost => "pause-host",
            Self::PauseServer => "pause-server",
            Self::PartitionBoth => "partition",
            Self::PartitionUp => "partition-up",
            Self::PartitionDown => "partition-down",
            Self::IsolateLeader => "isolate-leader",
            Self::SplitCluster => "split-cluster",
            Self::ResetAppend => "reset-append",
            Self::ResetAck => "reset-ack",
            Self::ResetCaller => "reset-caller",
            Self::HalfClose => "half-close",
            Self::Delay => "delay",
            Self::DiskFull => "disk-full",
            Self::ReadOnly => "read-only",
            Self::Unwritable => "unwritable",
            Self::ClockForward => "clock-forward",
            Self::ClockBack => "clock-back",
            Self::Deploy => "deploy",
            Self::PowerCut => "power-cut",
        })
    }
}

/// The exit status of a deploy: done, or to be tried again. None: nobody was there to say.
fn ended(order: Child) -> Result<Option<i32>> {
    let ended = order.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&ended.stdout) + &text(&ended.stderr);
    ensure!(!said.contains("REFUSED"), "a model that means the same was refused: {said}");
    Ok(ended.status.code())
}

/// When a fault struck, and how many commands were under way there.
type Hit = (Duration, usize);

impl Stage<'_> {
    /// Waits until commands are under way at a host, or at all; the moment to strike.
    fn busy(&self, host: Option<usize>) -> Result<Hit> {
        let until = clock::now() + BUSY;
        loop {
            let in_flight = self.shared.in_flight(host);
            if in_flight > 0 {
                return Ok((self.shared.now(), in_flight));
            }
            ensure!(clock::now() < until, "no command was under way for {BUSY:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A time between these, in ms, cut at the longest that is allowed.
    fn time(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..=most)).min(self.longest)
    }

    fn kill_host(&mut self, host: usize) -> Result<(String, Hit)> {
        let down = self.time(0, 1_500);
        let hit = self.busy(Some(host))?;
        self.cluster.kill_host(host)?;
        thread::sleep(down);
        self.cluster.start_host(host, &[])?;
        Ok((format!("host {host} killed, started again after {down:?}"), hit))
    }

    fn kill_server(&mut self, nemesis: Nemesis) -> Result<(String, Hit)> {
        let down = self.time(0, 3_000);
        let leader = self.leader()?;
        let server = match nemesis {
            Nemesis::KillLeader => leader,
            _ => (leader + 1) % self.cluster.servers().max(1),
        };
        let hit = self.busy(None)?;
        self.cluster.server(server)?.kill();
        thread::sleep(down);
        self.cluster.server(server)?.restart()?;
        Ok((format!("nats-server {server} killed, started again after {down:?}"), hit))
    }

    fn pause_host(&mut self, host: usize) -> Result<(String, Hit)> {
        let pause = self.time(1_000, 20_000);
        let hit = self.busy(Some(host))?;
        self.cluster.signal_host(host, Signal::STOP)?;
        thread::sleep(pause);
        self.cluster.signal_host(host, Signal::CONT)?;
        Ok((format!("host {host} stopped for {pause:?}"), hit))
    }

    fn pause_server(&mut self) -> Result<(String, Hit)> {
        let pause = self.time(1_000, 20_000);
        let server = self.leader()?;
        let hit = self.busy(None)?;
        self.cluster.server(server)?.pause()?;
        thread::sleep(pause);
        self.cluster.server(server)?.resume()?;
        Ok((format!("nats-server {server} stopped for {pause:?}"), hit))
    }

    fn partition(&mut self, host: usize, mode: Mode, what: &str) -> Result<(String, Hit)> {
        let lasts = self.time(500, 8_000);
        let hit = self.busy(Some(host))?;
        let links: Vec<&Proxy> = self.cluster.links(host)?.iter().collect();
        Cluster::sever(&links, mode);
        thread::sleep(lasts);
        self.cluster.heal();
        Ok((format!("host {host} {what} for {lasts:?}"), hit))
    }

    fn isolate_leader(&mut self) -> Result<(String, Hit)> {
        let lasts = self.time(1_000, ELECTION_MS + 3_000);
        let leader = self.leader()?;
        let mode = self.severing();
        let hit = self.busy(None)?;
        Cluster::sever(&self.cluster.routes(|from, to| from == leader || to == leader), mode);
        thread::sleep(lasts);
        self.cluster.heal();
        Ok((format!("nats-server {leader}, a leader, apart from the others for {lasts:?}"), hit))
    }

    fn split(&mut self, host: usize) -> Result<(String, Hit)> {
        let lasts = self.time(1_000, ELECTION_MS + 3_000);
        let server = self.rng.random_range(0..self.cluster.servers().max(1));
        let mode = self.severing();
        let hit = self.busy(None)?;
        let mut crossing = self.cluster.routes(|from, to| (from == server) != (to == server));
        for other in 0..self.cluster.hosts() {
            for (link, proxy) in self.cluster.links(other)?.iter().enumerate() {
                if (other == host) != (link == server) {
                    crossing.push(proxy);
                }
            }
        }
        Cluster::sever(&crossing, mode);
        thread::sleep(lasts);
        self.cluster.heal();
        let what = format!("host {host} and nats-server {server} apart from all others");
        Ok((format!("{what} for {lasts:?}"), hit))
    }

    /// A partition by resets, or by silence.
    fn severing(&mut self) -> Mode {
        if self.rng.random_bool(0.5) {
            Mode { refuse: true, ..Mode::default() }
        } else {
            Mode::stalled()
        }
    }

    fn reset(
        &mut self,
        host: usize,
        direction: Direction,
        pattern: &[u8],
        after: std::ops::Range<usize>,
    ) -> Result<(String, Hit)> {
        let hit = self.busy(Some(host))?;
        let traps = self.rng.random_range(1..=TRAPS);
        let mut sprung = 0;
        for _ in 0..traps {
            let after = self.rng.random_range(after.clone());
            let links = self.cluster.links(host)?;
            let trap = Trap { direction, pattern: pattern.to_vec(), after };
            sprung += spring(&links.iter().collect::<Vec<_>>(), &trap);
        }
        ensure!(sprung > 0, "no connection was reset: nothing like that passed");
        let what = if direction == Direction::Up { "a record" } else { "an acknowledgement" };
        Ok((format!("{sprung} connections of host {host} reset in the middle of {what}"), hit))
    }

    fn reset_callers(&mut self, host: usize) -> Result<(String, Hit)> {
        let hit = self.busy(Some(host))?;
        let traps = self.rng.random_range(TRAPS..=3 * TRAPS);
        let mut sprung = 0;
        for _ in 0..traps {
            let up = self.rng.random_bool(0.5);
            let direction = if up { Direction::Up } else { Direction::Down };
            let after = self.rng.random_range(1..400);
            let trap = Trap { direction, pattern: Vec::new(), after };
            sprung += spring(&[self.cluster.front(host)?], &trap);
        }
        ensure!(sprung > 0, "no connection was reset: nobody called");
        Ok((format!("{sprung} callers of host {host} reset in the middle"), hit))
    }

    /// Somebody dies or hangs at some moment of a deploy; the one after it meets nothing.
    fn deploy(&mut self, host: usize) -> Result<(String, Hit)> {
        let context = self.actor.split('/').next().unwrap_or_default().to_owned();
        let model = self.cluster.another_model(&context, self.rng.random())?;
        let moment = self.time(0, DEPLOY_MS);
        let victim = self.rng.random_range(0..self.cluster.hosts().max(1));
        let among = if self.cluster.servers() > 0 { 5 } else { 3 };
        let which = self.rng.random_range(0..among);
        let hit = self.busy(None)?;
        let order = self.cluster.order(host, &model)?;
        thread::sleep(moment);
        let (what, _) = match which {
            0 => ("nothing else".to_owned(), hit),
            1 => self.kill_host(victim)?,
            2 => {
                let pause = self.time(200, 2_000);
                self.cluster.signal_host(victim, Signal::STOP)?;
                thread::sleep(pause);
                self.cluster.signal_host(victim, Signal::CONT)?;
                (format!("host {victim} stopped for {pause:?}"), hit)
            }
            3 => self.kill_server(Nemesis::KillServer)?,
            _ => {
                let mode = Mode { refuse: true, ..Mode::default() };
                self.partition(victim, mode, "cut off from its store")?
            }
        };
        let ended = ended(order)?;
        let again = self.cluster.another_model(&context, self.rng.random())?;
        let until = clock::now() + DEPLOYED;
        while self::ended(self.cluster.order(host, &again)?)? != Some(0) {
            ensure!(clock::now() < until, "nothing can be deployed any more");
            thread::sleep(AGAIN);
        }
        Ok((
            format!("a deploy at host {host}, after {moment:?} {what}; it ended with {ended:?}"),
            hit,
        ))
    }

    fn half_close(&mut self, host: usize) -> Result<(String, Hit)> {
        let times = self.rng.random_range(1..=3);
        let hit = self.busy(Some(host))?;
        for _ in 0..times {
            let up = self.rng.random_bool(0.5);
            let direction = if up { Direction::Up } else { Direction::Down };
            self.cluster.front(host)?.half_close(direction);
            self.cluster.links(host)?.iter().for_each(|link| link.half_close(direction));
            let apart = self.time(200, 800);
            thread::sleep(apart);
        }
        Ok((format!("connections of host {host} half closed, {times} times"), hit))
    }

    fn delay(&mut self, host: usize) -> Result<(String, Hit)> {
        let lasts = self.time(2_000, 5_000);
        let least = Duration::from_millis(self.rng.random_range(1..40));
        let most = least * self.rng.random_range(2..8);
        let mode = Mode { delay: Some((least, most)), ..Mode::default() };
        let hit = self.busy(Some(host))?;
        let between = self.cluster.routes(|_, _| true);
        let links = self.cluster.links(host)?.iter().chain([self.cluster.front(host)?]);
        Cluster::sever(&links.chain(between).collect::<Vec<_>>(), mode);
        thread::sleep(lasts);
        self.cluster.heal();
        Ok((format!("host {host} slower by {least:?} to {most:?} for {lasts:?}"), hit))
    }

    fn fill_disk(&mut self) -> Result<(String, Hit)> {
        let lasts = self.time(500, 3_000);
        let disk = self.cluster.disk().context("there is no disk to fill")?;
        let hit = self.busy(None)?;
        disk.fill()?;
        thread::sleep(lasts);
        disk.empty()?;
        if self.cluster.servers() > 0 {
            // It turns JetStream off when a write fails, until it is started again.
            self.cluster.server(0)?.restart()?;
        }
        let of = if self.cluster.servers() > 1 { " of nats-server 0" } else { "" };
        Ok((format!("the disk{of} full for {lasts:?}"), hit))
    }

    fn read_only_server(&mut self) -> Result<(String, Hit)> {
        let hit = self.busy(None)?;
        self.cluster.server(0)?.kill();
        self.write_protect(true)?;
        let refused = self.cluster.server(0)?.start_in_vain();
        self.write_protect(false)?;
        refused.context("a nats-server was started on a read-only folder")?;
        self.cluster.server(0)?.restart()?;
        Ok(("nats-server 0 killed, refused to start on a read-only folder".to_owned(), hit))
    }

    fn write_protect(&self, read_only: bool) -> Result<()> {
        let disk = self.cluster.disk().context("there is no disk to write-protect")?;
        disk.set_read_only(read_only)
    }

    fn read_only(&mut self, host: usize) -> Result<(String, Hit)> {
        let hit = self.busy(Some(host))?;
        self.cluster.kill_host(host)?;
        self.write_protect(true)?;
        let refused = self.cluster.start_host_in_vain(host);
        self.write_protect(false)?;
        refused.context("a host was started on a read-only folder")?;
        self.cluster.start_host(host, &[])?;
        Ok((format!("host {host} killed, refused to start on a read-only folder"), hit))
    }

    fn unwritable(&mut self, host: usize) -> Result<(String, Hit)> {
        let lasts = self.time(500, 3_000);
        let pid = i32::try_from(self.cluster.host_pid(host)?).ok().and_then(Pid::from_raw);
        let unlimited = getrlimit(Resource::Fsize);
        let nothing = Rlimit { current: Some(0), ..unlimited };
        let hit = self.busy(Some(host))?;
        prlimit(pid, Resource::Fsize, nothing).context("the host cannot be limited")?;
        thread::sleep(lasts);
        prlimit(pid, Resource::Fsize, unlimited).context("the limit cannot be lifted")?;
        Ok((format!("no file of host {host} writable for {lasts:?}"), hit))
    }

    fn shift_clock(&mut self, host: usize, by: &str) -> Result<(String, Hit)> {
        let lasts = self.time(1_000, 3_000);
        let hit = self.busy(Some(host))?;
        self.cluster.kill_host(host)?;
        self.cluster.start_host(host, &[&format!("--clock-offset={by}")])?;
        thread::sleep(lasts);
        self.cluster.kill_host(host)?;
        self.cluster.start_host(host, &[])?;
        Ok((format!("the clock of host {host} off by {by} for {lasts:?}"), hit))
    }

    fn leader(&self) -> Result<usize> {
        if self.cluster.servers() == 1 {
            return Ok(0);
        }
        self.cluster.leader(self.actor)
    }
}

/// Sets the trap on all of `proxies` until it springs on one, then takes it back; how many sprang.
fn spring(proxies: &[&Proxy], trap: &Trap) -> u64 {
    let sprung = || proxies.iter().map(|proxy| proxy.sprung()).sum::<u64>();
    let before = sprung();
    proxies.iter().for_each(|proxy| proxy.arm(trap.clone()));
    let until = clock::now() + SPRING;
    while sprung() == before && clock::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    proxies.iter().for_each(|proxy| proxy.disarm());
    sprung() - before
}
