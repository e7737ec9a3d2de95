//! Real nats-servers for tests: own port, own storage, gone when the value is dropped.
//!
//! The binary is `$NATS_SERVER` or what `make tools` installs. A server that was stopped or killed
//! starts again on the same port with the same storage. If the test process itself is killed, a
//! [`Watchdog`] kills the server and removes its storage.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aether::clock;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use crate::{
    http::Client,
    watchdog::{Folder, Watchdog},
};

/// Longest time from spawning a server until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Longest time for a server that was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for one answer of a server.
const ANSWER: Duration = Duration::from_secs(2);

/// Ports of servers: below those that Linux gives to connections (32,768 and above). One of these
/// could be taken while a server is away that is to come back on it.
const PORTS: Range<u16> = 10_000..32_000;

/// Most that a server stores, in bytes. Without a figure it is three quarters of what is free on the
/// disk when the server starts: of a small disk less from each start to the next, until there is none.
const MAX_FILE_STORE: u64 = 1 << 40;

/// What differs from a plain server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether JetStream is on.
    pub jetstream: bool,
    /// More text for the configuration file, e.g. `max_payload: 8MB`.
    pub extra: String,
    /// Where the streams are; `None` = in the server's own folder.
    pub storage: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { jetstream: true, extra: String::new(), storage: None }
    }
}

/// One nats-server, running or not.
#[derive(Debug)]
pub struct NatsServer {
    running: Option<Running>,
    binary: PathBuf,
    settings: Settings,
    port: u16,
    /// Port where it tells over HTTP how it is.
    monitor: u16,
    dir: Folder,
}

#[derive(Debug)]
struct Running {
    /// Goes first: it must not outlive the process id that it watches.
    watchdog: Watchdog,
    server: Child,
}

impl NatsServer {
    /// Starts a server with JetStream and waits until it answers.
    ///
    /// # Errors
    /// If the binary is missing or the server does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(Settings::default())
    }

    /// Starts a server with other settings and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(settings: Settings) -> Result<Self> {
        let mut server = Self::idle(settings)?;
        server.spawn()?;
        server.await_ready()?;
        Ok(server)
    }

    /// A server that was never started, on a port that is free now.
    ///
    /// # Errors
    /// If the binary is missing or there is no place for its files.
    pub fn idle(settings: Settings) -> Result<Self> {
        let binary = binary()?;
        let dir = Folder::new("aether-nats-")?;
        let (port, _free_until_now) = free_port()?;
        let (monitor, _free_until_now) = free_port()?;
        Ok(Self { running: None, binary, settings, port, monitor, dir })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node-{}", self.port)
    }

    /// Whether it was started and neither stopped nor killed since.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        // A server that was never started has none.
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// The folder that holds the server's configuration, log and storage.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.id())
    }

    /// Ends the server as an operator does, with SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    /// If it is not running or does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        if let Some(running) = &mut self.running {
            wait(&mut running.server, STOP_LIMIT, "stop")?;
        }
        self.end();
        Ok(())
    }

    /// Ends the server as a crash does, with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.end();
    }

    /// Starts the server again on its port and storage, and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.end();
        self.spawn()?;
        self.await_ready()
    }

    /// Tries to start a server again that was killed, which must refuse; gives all that it logged.
    ///
    /// # Errors
    /// If it runs, or ends as if nothing were wrong.
    pub fn start_in_vain(&mut self) -> Result<String> {
        self.end();
        self.spawn()?;
        let running = self.running.as_mut().context("it was started")?;
        let status = wait(&mut running.server, START_LIMIT, "refuse to start");
        self.end();
        let status = status?;
        ensure!(!status.success(), "nats-server ended with {status}");
        Ok(self.log())
    }

    /// Freezes the server: connections stay, nothing answers.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The signal reaches a running process only after a while.
        let running = self.running.as_ref().context("the nats-server is not running")?;
        waitid(WaitId::Pid(Pid::from_child(&running.server)), WaitIdOptions::STOPPED)?;
        Ok(())
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Calls the server's API (`$JS.API.` is put before `call`) and gives the answer.
    ///
    /// # Errors
    /// If there is no answer, or it is not JSON.
    pub fn api(&self, call: &str, body: &str) -> Result<Value> {
        let answer = request(self.port, &format!("$JS.API.{call}"), "", body)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Whether the server has all that it is to have of its streams. What a stream tells of its
    /// replicas is no measure: one that has lost its storage counts as current there as soon as it
    /// follows the leader, while it still copies the messages of before.
    ///
    /// # Errors
    /// If it has not, or does not answer.
    pub fn health(&self) -> Result<()> {
        let reply = Client::new(&format!("http://127.0.0.1:{}", self.monitor)).get("/healthz")?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    }

    /// Publishes a message into whatever stream takes it. `headers` are lines `Name: value`, each
    /// ended by `\r\n`.
    ///
    /// # Errors
    /// If the stream refuses it or there is none.
    pub fn publish(&self, subject: &str, headers: &str, payload: &str) -> Result<u64> {
        let answer: Value = serde_json::from_str(&request(self.port, subject, headers, payload)?)?;
        let sequence = answer.get("seq").and_then(Value::as_u64).filter(|sequence| *sequence > 0);
        sequence.with_context(|| format!("`{subject}` was refused: {answer}"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let running = self.running.as_ref().context("the nats-server is not running")?;
        kill_process(Pid::from_child(&running.server), signal)?;
        Ok(())
    }

    fn spawn(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let config = dir.join("server.conf");
        fs::write(&config, self.config())?;
        let log = fs::File::options().create(true).append(true).open(dir.join("server.log"))?;
        let server = Command::new(&self.binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let watchdog = Watchdog::over(server.id(), dir)?;
        self.running = Some(Running { watchdog, server });
        Ok(())
    }

    fn config(&self) -> String {
        let port = self.port;
        let storage = self.settings.storage.clone();
        let storage = storage.unwrap_or_else(|| self.dir.path().join("store"));
        let jetstream = if self.settings.jetstream {
            let storage = storage.display();
            format!("jetstream {{ store_dir: \"{storage}\", max_file_store: {MAX_FILE_STORE} }}\n")
        } else {
            String::new()
        };
        format!(
            "server_name: \"{}\"\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{}\"\n\
             {jetstream}{}\n",
            self.name(),
            self.monitor,
            self.settings.extra
        )
    }

    /// Waits until the server takes requests, and JetStream too if it is on.
    fn await_ready(&mut self) -> Result<()> {
        let call = if self.settings.jetstream { "$JS.API.INFO" } else { "" };
        self.until("answer", |server| {
            let answer = request(server.port, call, "", "")?;
            ensure!(!answer.contains("\"error\""), "{answer}");
            Ok(())
        })
    }

    /// Tries until it works, the server is gone, or the time is over.
    fn until(&mut self, what: &str, attempt: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let until = clock::now() + START_LIMIT;
        loop {
            let Err(error) = attempt(self) else { return Ok(()) };
            let exited = match &mut self.running {
                Some(running) => running.server.try_wait()?.is_some(),
                None => true,
            };
            if exited || clock::now() > until {
                let log = self.log();
                let state = if exited { "is gone" } else { "runs" };
                bail!("nats-server does not {what}: {error:#}; it {state} and said:\n{log}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Kills what runs; SIGKILL ends a frozen process too.
    fn end(&mut self) {
        if let Some(Running { watchdog, mut server }) = self.running.take() {
            drop(watchdog);
            // Errors mean that the process is gone already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until a server is gone.
fn wait(server: &mut Child, limit: Duration, what: &str) -> Result<ExitStatus> {
    let until = clock::now() + limit;
    loop {
        if let Some(status) = server.try_wait()? {
            return Ok(status);
        }
        ensure!(clock::now() < until, "nats-server did not {what} within {limit:?}");
        thread::sleep(LOOK);
    }
}

/// Three servers whose streams can have three replicas.
#[derive(Debug)]
pub struct NatsCluster {
    /// The nodes.
    pub nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three servers and waits until they take a stream with three replicas.
    ///
    /// # Errors
    /// If the binary is missing or the servers do not find each other.
    pub fn start() -> Result<Self> {
        Self::start_linked(None, |_, _, at| Ok(at))
    }

    /// Starts three servers of which each reaches each other one where `link` says: it is given who
    /// connects to whom, by index, and where the other listens for its peers. The first one keeps
    /// its streams in `storage`, if there is one.
    ///
    /// # Errors
    /// As [`Self::start`], or if `link` fails.
    pub fn start_linked(
        mut storage: Option<PathBuf>,
        mut link: impl FnMut(usize, usize, SocketAddr) -> Result<SocketAddr>,
    ) -> Result<Self> {
        let mut ports = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            let (port, listener) = free_port()?;
            ports.push(port);
            held.push(listener);
        }
        let mut nodes = Vec::new();
        for (me, port) in ports.iter().enumerate() {
            let mut routes = Vec::new();
            for (other, at) in ports.iter().enumerate().filter(|(other, _)| *other != me) {
                let at = link(me, other, (Ipv4Addr::LOCALHOST, *at).into())?;
                routes.push(format!("\"nats://{at}\""));
            }
            // What a server would tell others about its peers leads past the links.
            let extra = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{port}\", no_advertise: true, \
                 routes: [{}] }}",
                routes.join(", ")
            );
            let settings = Settings { extra, storage: storage.take(), ..Settings::default() };
            nodes.push(NatsServer::idle(settings)?);
        }
        drop(held);
        for node in &mut nodes {
            node.spawn()?;
        }
        let cluster = Self { nodes };
        cluster.await_ready()
    }

    /// The addresses of all nodes, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Index of the node that leads `stream`, if it has a leader.
    #[must_use]
    pub fn leader(&self, stream: &str) -> Option<usize> {
        Self::leader_among(&self.nodes, stream)
    }

    /// Index of that of `nodes` that leads `stream`, if it has a leader that answers.
    #[must_use]
    pub fn leader_among(nodes: &[NatsServer], stream: &str) -> Option<usize> {
        let running = nodes.iter().filter(|node| node.is_running());
        let info = running.filter_map(|node| node.api(&format!("STREAM.INFO.{stream}"), "").ok());
        let names: Vec<String> = info
            .filter_map(|info| Some(info.get("cluster")?.get("leader")?.as_str()?.to_owned()))
            .collect();
        nodes.iter().position(|node| names.contains(&node.name()))
    }

    /// [`NatsServer::health`] of every node.
    ///
    /// # Errors
    /// That of the first node that has one.
    pub fn health(&self) -> Result<()> {
        self.nodes.iter().try_for_each(NatsServer::health)
    }

    fn await_ready(mut self) -> Result<Self> {
        let probe = r#"{"name":"READY","subjects":["ready"],"num_replicas":3,"storage":"memory"}"#;
        for node in &mut self.nodes {
            node.until("form a cluster", |node| {
                let made = node.api("STREAM.CREATE.READY", probe)?;
                ensure!(made.get("error").is_none(), "{made}");
                let gone = node.api("STREAM.DELETE.READY", "")?;
                ensure!(gone.get("error").is_none(), "{gone}");
                Ok(())
            })?;
        }
        Ok(self)
    }
}

/// The nats-server to run.
///
/// # Errors
/// If there is none; the text says what to do.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let path = root.join(".tools/venv/bin/nats-server");
    ensure!(
        path.exists(),
        "these tests need a nats-server: run `make tools` or set NATS_SERVER to one"
    );
    Ok(path)
}

/// A port that is free now, with what holds it.
fn free_port() -> Result<(u16, TcpListener)> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random_range(0..PORTS.end)));
    for _ in PORTS {
        let offset = next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, PORTS.start + offset)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            listener => return Ok((PORTS.start + offset, listener?)),
        }
    }
    bail!("no port of {PORTS:?} is free")
}

/// One request on a connection of its own; with no subject only the greeting is awaited.
fn request(port: u16, subject: &str, headers: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line.starts_with("INFO "), "expected the greeting of a nats-server, found `{line}`");
    if subject.is_empty() {
        return Ok(String::new());
    }
    let hello = r#"CONNECT {"verbose":false,"headers":true,"no_responders":true}"#;
    let headers = format!("NATS/1.0\r\n{headers}\r\n");
    let (head, total) = (headers.len(), headers.len() + body.len());
    write!(
        stream,
        "{hello}\r\nSUB answer 1\r\nHPUB {subject} answer {head} {total}\r\n{headers}{body}\r\n"
    )?;
    let until = clock::now() + ANSWER;
    loop {
        line.clear();
        read_until(&mut lines, &mut line, until)?;
        let mut words = line.split_whitespace();
        match words.next() {
            Some("MSG") => {
                let size: usize = words.next_back().context("a message without a size")?.parse()?;
                let mut payload = vec![0; size];
                std::io::Read::read_exact(&mut lines, &mut payload)?;
                return Ok(String::from_utf8(payload)?);
            }
            Some("HMSG") => bail!("nobody serves `{subject}`"),
            Some("-ERR") => bail!("nats-server said: {line}"),
            Some("PING") => write!(stream, "PONG\r\n")?,
            _ => {}
        }
    }
}

fn read_until(lines: &mut impl BufRead, line: &mut String, until: Instant) -> Result<()> {
    match lines.read_line(line) {
        Ok(0) => bail!("nats-server closed the connection"),
        Ok(_) if clock::now() < until => Ok(()),
        Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(error.into())
        }
        _ => bail!("no answer from nats-server within {ANSWER:?}"),
    }
}
