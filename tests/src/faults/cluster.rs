//! The processes of a run: hosts, the store that they share, and a proxy between every two.
//!
//! Nobody knows a way past the proxies: callers reach a host through its *front*, a host reaches
//! each nats-server through a *link* of its own, and nats-servers reach each other through *routes*,
//! one for each direction in which they connect.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use aether::{address::Address, clock};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tokio::runtime::Handle;

use super::{
    disk::Disk,
    proxy::{Mode, Proxy},
};
use crate::{
    host_process::{self, HostOptions, HostProcess, run_cli},
    measure,
    nats_server::{NatsCluster, NatsServer, Settings},
    workspace,
};

/// Partitions of each context on JetStream: enough that leaders are on different servers, few
/// enough that three servers on a small machine carry them.
const PARTITIONS: u32 = 3;

/// Commands that an actor remembers. An actor does fewer than 250 a second here, and none is under
/// way for longer than 30 s: a client stops repeating itself after 8 s, a frozen server may hold a
/// try for 20 s.
const HORIZON: u32 = 8_192;

/// Where the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKind {
    /// In the host's own folder, with one host.
    Embedded,
    /// On one nats-server, with three hosts.
    R1,
    /// On a cluster of three nats-servers, with two hosts.
    R3,
}

impl StoreKind {
    /// All of them, the quickest to start first.
    pub const ALL: [Self; 3] = [Self::Embedded, Self::R1, Self::R3];

    /// How long after the last fault every host must answer again.
    #[must_use]
    pub const fn liveness(self) -> Duration {
        match self {
            Self::Embedded | Self::R1 => Duration::from_secs(10),
            Self::R3 => Duration::from_secs(30),
        }
    }

    const fn hosts(self) -> usize {
        match self {
            Self::Embedded => 1,
            Self::R1 => 3,
            Self::R3 => 2,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Embedded => "embedded",
            Self::R1 => "R1",
            Self::R3 => "R3",
        })
    }
}

/// Everything that runs; gone when it is dropped.
pub struct Cluster {
    kind: StoreKind,
    hosts: Vec<Host>,
    servers: Vec<NatsServer>,
    routes: BTreeMap<(usize, usize), Proxy>,
    /// Below the embedded store, or below that of the first nats-server; last to go.
    disk: Option<Disk>,
}

/// One host and its ways.
struct Host {
    process: HostProcess,
    options: HostOptions,
    front: Proxy,
    links: Vec<Proxy>,
    /// What it printed before it was last started.
    printed: String,
    /// The conflicts that it had counted when it was killed.
    conflicts: u64,
}

impl Host {
    /// The conflicts that it has counted since it was started; 0 if it does not tell.
    fn counted_conflicts(&self) -> u64 {
        let counted = measure::metric(&self.process.client(), "aether_conflicts_total", &[]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let counted = counted.unwrap_or_default() as u64;
        counted
    }
}

impl Cluster {
    /// Starts all processes and waits until the hosts are ready.
    ///
    /// # Errors
    /// If something does not start.
    pub fn start(kind: StoreKind, runtime: &Handle) -> Result<Self> {
        let disk = Disk::mount()?;
        let storage = || disk.as_ref().map(Disk::data);
        let mut routes = BTreeMap::new();
        let servers = match kind {
            StoreKind::Embedded => Vec::new(),
            StoreKind::R1 => {
                let settings = Settings { storage: storage(), ..Settings::default() };
                vec![NatsServer::start_with(settings)?]
            }
            StoreKind::R3 => {
                let link = |from, to, at| {
                    let proxy = Proxy::start(runtime, Some(at))?;
                    let at = proxy.at();
                    routes.insert((from, to), proxy);
                    Ok(at)
                };
                NatsCluster::start_linked(storage(), link)?.nodes
            }
        };
        let mut cluster = Self { kind, hosts: Vec::new(), servers, routes, disk };
        for _ in 0..kind.hosts() {
            let host = cluster.host(runtime)?;
            cluster.hosts.push(host);
        }
        Ok(cluster)
    }

    fn host(&self, runtime: &Handle) -> Result<Host> {
        let links = self.servers.iter().map(|server| Proxy::start(runtime, Some(server.at())));
        let links = links.collect::<Result<Vec<_>>>()?;
        let mut options = HostOptions::new()?;
        for (model, aggregate) in
            [(workspace::bank_model()?, "account"), (workspace::journal_model()?, "journal")]
        {
            let copy = with_horizon(&model, aggregate, options.folder())?;
            options = options.model(copy);
        }
        if let (Some(disk), StoreKind::Embedded) = (&self.disk, self.kind) {
            options = options.data(disk.data());
        }
        if !links.is_empty() {
            let urls: Vec<String> =
                links.iter().map(|link| format!("nats://{}", link.at())).collect();
            let replicas = self.servers.len().to_string();
            options = options.nats(urls.join(",")).args(["--replicas", &replicas]);
            options = options.args(["--partitions", &PARTITIONS.to_string()]);
        }
        let process = options.start()?;
        let front = Proxy::start(runtime, Some(address(&process)?))?;
        Ok(Host { process, options, front, links, printed: String::new(), conflicts: 0 })
    }

    /// Where the records are.
    #[must_use]
    pub const fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Where callers reach each host.
    #[must_use]
    pub fn fronts(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| host.front.at()).collect()
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How many nats-servers there are.
    #[must_use]
    pub const fn servers(&self) -> usize {
        self.servers.len()
    }

    /// A way to a host that leads past its front, for the harness's own questions.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn client(&self, host: usize) -> Result<crate::http::Client> {
        Ok(self.at(host)?.process.client())
    }

    /// The proxy between callers and a host.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn front(&self, host: usize) -> Result<&Proxy> {
        Ok(&self.at(host)?.front)
    }

    /// The proxies between a host and each nats-server.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn links(&self, host: usize) -> Result<&[Proxy]> {
        Ok(&self.at(host)?.links)
    }

    /// The model of `context` as the hosts have it but for a comment that says `n`: another one by
    /// its digest, and the same by all it does.
    ///
    /// # Errors
    /// If there is none.
    pub fn another_model(&self, context: &str, n: u64) -> Result<PathBuf> {
        let folder = self.at(0)?.options.folder();
        let name = if context == "bank" { "bank" } else { "journal" };
        let text = fs::read_to_string(folder.join(format!("{name}.storm.yaml")))?;
        let model = folder.join(format!("another-{name}.storm.yaml"));
        fs::write(&model, format!("{text}\n# {n}\n"))?;
        Ok(model)
    }

    /// Orders a host to deploy a model; past its front, as an operator does.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn order(&self, host: usize, model: &Path) -> Result<Child> {
        let host = &self.at(host)?.process;
        let mut command = host_process::aether(host.options().folder())?;
        command.arg("deploy").arg(model).args(["--budget", "1s", "--url", host.url().as_str()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("cannot start aether")
    }

    /// Kills a host.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_host(&mut self, host: usize) -> Result<()> {
        let host = self.at_mut(host)?;
        host.conflicts += host.counted_conflicts();
        host.process.kill()
    }

    /// How often hosts found records of others, as they count it, also before they were killed.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.hosts.iter().map(|host| host.conflicts + host.counted_conflicts()).sum()
    }

    /// Starts a host again that was killed, with more arguments than the usual ones.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_host(&mut self, host: usize, more: &[&str]) -> Result<()> {
        let host = self.at_mut(host)?;
        host.printed.push_str(&host.process.output());
        host.printed.push_str("--- started again ---\n");
        host.process = host.options.clone().args(more.iter().copied()).start()?;
        host.front.lead_to(address(&host.process)?);
        Ok(())
    }

    /// Tries to start a killed host, which must refuse.
    ///
    /// # Errors
    /// If it runs, or does not say why it does not.
    pub fn start_host_in_vain(&mut self, host: usize) -> Result<String> {
        let host = self.at_mut(host)?;
        let (status, said) = host.options.start_refused()?;
        ensure!(
            !status.success() && !said.trim().is_empty(),
            "it stopped without a word: {status}"
        );
        ensure!(!said.contains("panicked"), "it panicked:\n{said}");
        let _ = write!(host.printed, "--- started in vain ---\n{said}");
        Ok(said)
    }

    /// Sends a host a signal.
    ///
    /// # Errors
    /// If it is not running.
    pub fn signal_host(&self, host: usize, signal: Signal) -> Result<()> {
        self.at(host)?.process.signal(signal)
    }

    /// A host's process id.
    ///
    /// # Errors
    /// If there is none.
    pub fn host_pid(&self, host: usize) -> Result<u32> {
        Ok(self.at(host)?.process.pid())
    }

    /// A nats-server.
    ///
    /// # Errors
    /// If there is no such server.
    pub fn server(&mut self, server: usize) -> Result<&mut NatsServer> {
        self.servers.get_mut(server).with_context(|| format!("there is no server {server}"))
    }

    /// The nats-servers.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The stream with the log of an actor.
    ///
    /// # Errors
    /// If it is no address.
    pub fn log_of(&self, actor: &str) -> Result<String> {
        let actor: Address = actor.parse()?;
        Ok(format!("aether_LOG_{}_{}", actor.context(), actor.partition(PARTITIONS)))
    }

    /// The server that leads the log of an actor; waits for an election to end.
    ///
    /// # Errors
    /// If there is none after a while.
    pub fn leader(&self, actor: &str) -> Result<usize> {
        let stream = self.log_of(actor)?;
        let until = clock::now() + self.kind.liveness();
        while clock::now() < until {
            if let Some(leader) = NatsCluster::leader_among(&self.servers, &stream) {
                return Ok(leader);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{stream} has no leader")
    }

    /// The ways between nats-servers of which `crossing` holds: who connects to whom.
    pub fn routes(&self, crossing: impl Fn(usize, usize) -> bool) -> Vec<&Proxy> {
        let crossing = self.routes.iter().filter(|((from, to), _)| crossing(*from, *to));
        crossing.map(|(_, proxy)| proxy).collect()
    }

    /// Where callers reach the nats-servers, past all proxies.
    #[must_use]
    pub fn nats_urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// The disk below the embedded store or the first nats-server, if this process may mount one.
    #[must_use]
    pub const fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Lets `aether audit` read everything that is stored of an actor.
    ///
    /// # Errors
    /// If it finds something, or cannot read.
    pub fn audit(&self, actor: &str) -> Result<()> {
        let host = self.at(0)?;
        let url = host.process.url();
        let output = run_cli(host.options.folder(), ["audit", "--url", &url, "--actor", actor])?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "the audit: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    /// Everything passes again, everything goes on that was frozen.
    pub fn heal(&self) {
        for host in &self.hosts {
            host.front.heal();
            host.links.iter().for_each(Proxy::heal);
            // Errors mean that it is not running.
            let _ = host.process.signal(Signal::CONT);
        }
        self.routes.values().for_each(Proxy::heal);
        for server in &self.servers {
            let _ = server.resume();
        }
    }

    /// Cuts what must not pass and refuses what comes, or stalls it.
    pub fn sever(proxies: &[&Proxy], mode: Mode) {
        for proxy in proxies {
            proxy.set(mode);
            if mode.refuse {
                proxy.cut();
            }
        }
    }

    /// Writes what all processes have printed to files in `folder`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep_logs(&self, folder: &Path) -> Result<()> {
        for (index, host) in self.hosts.iter().enumerate() {
            let text = host.printed.clone() + &host.process.output();
            fs::write(folder.join(format!("host-{index}.log")), text)?;
        }
        for (index, server) in self.servers.iter().enumerate() {
            fs::write(folder.join(format!("nats-server-{index}.log")), server.log())?;
        }
        Ok(())
    }

    fn at(&self, host: usize) -> Result<&Host> {
        self.hosts.get(host).with_context(|| format!("there is no host {host}"))
    }

    fn at_mut(&mut self, host: usize) -> Result<&mut Host> {
        self.hosts.get_mut(host).with_context(|| format!("there is no host {host}"))
    }
}

/// Copies a model and its component into `folder`; an actor of `aggregate` remembers so many
/// commands there that none is repeated beyond the horizon.
fn with_horizon(model: &Path, aggregate: &str, folder: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(model).with_context(|| format!("{}", model.display()))?;
    let known = text.lines().find(|line| line.trim_start().starts_with("dedupe:"));
    let head = format!("  {aggregate}:");
    let text = match known {
        Some(line) => text.replacen(line, &format!("      dedupe: {HORIZON}"), 1),
        None => {
            let runtime = format!("{head}\n    runtime: {{ dedupe: {HORIZON} }}");
            text.replacen(&head, &runtime, 1)
        }
    };
    ensure!(text.contains(&HORIZON.to_string()), "{} has no {aggregate}", model.display());
    let name = model.file_name().context("a model has a name")?;
    let copy = folder.join(name);
    fs::write(&copy, text)?;
    let beside = model.parent().context("a model is in a folder")?;
    for entry in fs::read_dir(beside)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "wasm") {
            fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(copy)
}

/// Where a host listens.
fn address(process: &HostProcess) -> Result<SocketAddr> {
    let url = process.url();
    let at = url.strip_prefix("http://").unwrap_or(&url);
    at.parse().with_context(|| format!("the host listens at `{url}`"))
}
