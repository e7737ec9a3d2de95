//! The real host in a process of its own: started, killed, told to stop, started again.
//!
//! A host counts as started when it has printed where it listens and `/readyz` answers 200. It
//! gets a free port, a data folder of its own unless the test gives one, and none of the
//! settings of the developer's environment. Dropped, it is killed; in a test that fails, its
//! output is shown first. If the test process itself is killed, a [`Watchdog`] kills the host.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aether::clock;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    http::Client,
    watchdog::{Folder, Watchdog},
    workspace,
};

/// How long a host may take to be ready: it compiles the components first, unoptimised builds of
/// the compiler included.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a host may take to stop when it is told to; more than the drain that it is given.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// How often a condition is looked at that nothing reports.
const POLL: Duration = Duration::from_millis(10);

/// How to start a host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    models: Vec<PathBuf>,
    store: Store,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    folder: Arc<Folder>,
}

#[derive(Clone, Debug)]
enum Store {
    /// In the folder `data` of the host's own folder.
    Own,
    Embedded(PathBuf),
    Nats(String),
}

impl HostOptions {
    /// A host without models, on an embedded store of its own.
    ///
    /// # Errors
    /// If there is no place for its folder.
    pub fn new() -> Result<Self> {
        let folder = Folder::new("aether-host-").context("cannot make a folder")?;
        Ok(Self {
            models: Vec::new(),
            store: Store::Own,
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: Arc::new(folder),
        })
    }

    /// A host with the example bank, on an embedded store of its own.
    ///
    /// # Errors
    /// If the guests do not build.
    pub fn bank() -> Result<Self> {
        Ok(Self::new()?.model(workspace::bank_model()?))
    }

    /// Runs one more model.
    #[must_use]
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.models.push(path.into());
        self
    }

    /// Runs what is stored, without a model.
    #[must_use]
    pub fn without_models(mut self) -> Self {
        self.models.clear();
        self
    }

    /// Keeps the records in `folder`.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = Store::Embedded(folder.into());
        self
    }

    /// Keeps the records in the JetStream of the server at `url`.
    #[must_use]
    pub fn nats(mut self, url: impl Into<String>) -> Self {
        self.store = Store::Nats(url.into());
        self
    }

    /// Adds arguments to `aether run`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The folder that the host runs in; gone with the last of the options and hosts of it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the embedded store is; none with NATS.
    #[must_use]
    pub fn data_folder(&self) -> Option<PathBuf> {
        match &self.store {
            Store::Own => Some(self.folder().join("data")),
            Store::Embedded(folder) => Some(folder.clone()),
            Store::Nats(_) => None,
        }
    }

    /// Starts the host and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come up; the message holds its output.
    pub fn start(&self) -> Result<HostProcess> {
        let mut host = self.launch()?;
        host.wait_until_ready().with_context(|| format!("the host said:\n{}", host.output()))?;
        Ok(host)
    }

    /// Starts the host and waits for nothing.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&self) -> Result<HostProcess> {
        let running = Running::start(self.command()?, self.folder())?;
        Ok(HostProcess { options: self.clone(), running })
    }

    /// Starts a host that is expected to refuse, and waits until it has stopped by itself.
    ///
    /// # Errors
    /// If it is still running after as long as a start may take.
    pub fn start_refused(&self) -> Result<(ExitStatus, String)> {
        let refused = self.start_refused_at_cost()?;
        Ok((refused.status, refused.output))
    }

    /// The same, and what the attempt took.
    ///
    /// # Errors
    /// If it is still running after as long as a start may take.
    pub fn start_refused_at_cost(&self) -> Result<Refused> {
        let begun = clock::now();
        let mut running = Running::start(self.command()?, self.folder())?;
        let status = running.wait(START_LIMIT)?;
        let took = clock::now() - begun;
        Ok(Refused { status, output: running.output.all(), took, peak_bytes: running.peak_bytes })
    }

    fn command(&self) -> Result<Command> {
        let mut command = aether(self.folder())?;
        command.arg("run").args(&self.models).args(["--http", "127.0.0.1:0"]);
        match (&self.store, self.data_folder()) {
            (Store::Nats(url), _) => command.args(["--nats", url]),
            (_, Some(folder)) => command.arg("--data").arg(folder),
            (_, None) => &mut command,
        };
        command.args(&self.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// A host that refused to start.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed.
    pub output: String,
    /// From its start to its end.
    pub took: Duration,
    /// Most memory that it had in RAM, in bytes, as far as it was seen: looked at each 10 ms.
    pub peak_bytes: u64,
}

/// Runs `aether ARGUMENTS` to its end, in `folder`, without the developer's settings.
///
/// # Errors
/// If it cannot be built or started.
pub fn run_cli<A: AsRef<OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Output> {
    aether(folder)?.args(arguments).output().context("cannot start aether")
}

/// A command for the binary that is under test, to be run in `folder`, free of the developer's
/// `AETHER_*`.
///
/// # Errors
/// If the binary does not build.
pub fn aether(folder: &Path) -> Result<Command> {
    let mut command = Command::new(workspace::binary()?);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AETHER_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// A host that is up, or was until it was killed.
pub struct HostProcess {
    options: HostOptions,
    running: Running,
}

impl HostProcess {
    /// Where it listens, e.g. `http://127.0.0.1:35211`. After a restart it is elsewhere.
    #[must_use]
    pub fn url(&self) -> String {
        self.running.output.url().unwrap_or_default()
    }

    /// A client of it. After a restart a new one is needed.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// How it was started.
    #[must_use]
    pub const fn options(&self) -> &HostOptions {
        &self.options
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Its memory that is in RAM, in bytes.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resident_bytes(&self) -> Result<u64> {
        memory(self.pid(), "status", "VmRSS:")
    }

    /// Its share of the memory that is in RAM, in bytes: a page that it has mapped a hundred times, as
    /// the first memory of its instances, counts once.
    ///
    /// # Errors
    /// If it is not running.
    pub fn proportional_bytes(&self) -> Result<u64> {
        memory(self.pid(), "smaps_rollup", "Pss:")
    }

    /// The most memory that it had in RAM since it was started, in bytes.
    ///
    /// # Errors
    /// If it is not running.
    pub fn peak_bytes(&self) -> Result<u64> {
        memory(self.pid(), "status", "VmHWM:")
    }

    /// All that it has printed since it was last started, stdout and stderr as they came.
    #[must_use]
    pub fn output(&self) -> String {
        self.running.output.all()
    }

    /// Waits until it has printed a line with `text`, and gives the line.
    ///
    /// # Errors
    /// If there is none within `limit`.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> Result<String> {
        let line = self
            .running
            .output
            .wait_for(limit, |line| line.contains(text).then(|| line.to_owned()));
        line.with_context(|| {
            format!("no line with `{text}` in {limit:?}; the host said:\n{}", self.output())
        })
    }

    /// Kills it as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    /// Tells it to stop (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// If it does not stop in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(STOP_LIMIT)
    }

    /// Waits until it has stopped by itself.
    ///
    /// # Errors
    /// If it is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.running.wait(limit)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the host has no process id")?, signal)
            .with_context(|| format!("cannot send {signal:?} to the host"))
    }

    /// Starts it again as it was started, on the same data; kills it first if it is running.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.running = Running::start(self.options.command()?, self.options.folder())?;
        self.wait_until_ready().with_context(|| format!("the host said:\n{}", self.output()))
    }

    /// Waits until it is ready to be asked.
    ///
    /// # Errors
    /// If it stops before that, or takes too long.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = clock::now() + START_LIMIT;
        let mut last = "it has not said where it listens".to_owned();
        while clock::now() < deadline {
            if let Some(status) = self.running.child.try_wait()? {
                self.running.output.wait_for_end();
                bail!("the host stopped while it started: {status}");
            }
            if let Some(url) = self.running.output.url() {
                last = match readiness(&url) {
                    Ok(200) => return Ok(()),
                    Ok(status) => format!("/readyz answers {status}"),
                    Err(error) => format!("/readyz does not answer: {error:#}"),
                };
            }
            thread::sleep(POLL);
        }
        bail!("the host is not ready after {START_LIMIT:?}: {last}")
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the host at {} said:\n{}---", self.url(), self.output());
        }
    }
}

/// A line about memory of `/proc/PID/FILE`, in bytes.
fn memory(pid: u32, file: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("the process has no memory")?.parse()?;
    Ok(kib * 1024)
}

fn readiness(url: &str) -> Result<u16> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    TcpStream::connect(address).context("cannot connect")?;
    Ok(Client::new(url).get("/readyz")?.status)
}

/// A child process and what it prints; killed when it is dropped.
struct Running {
    /// Goes first: it must not outlive the process id that it watches.
    watchdog: Option<Watchdog>,
    child: Child,
    output: Arc<Printed>,
    peak_bytes: u64,
}

impl Running {
    fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = Arc::new(Printed::default());
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        Printed::collect(&output, stdout);
        Printed::collect(&output, stderr);
        let watchdog = Some(Watchdog::over(child.id(), folder)?);
        Ok(Self { watchdog, child, output, peak_bytes: 0 })
    }

    fn kill(&mut self) -> Result<()> {
        self.watchdog = None;
        self.child.kill().context("cannot kill the host")?;
        self.child.wait().context("cannot wait for the host")?;
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline: Instant = clock::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.output.wait_for_end();
                return Ok(status);
            }
            // One that is just ending has none any more.
            self.peak_bytes =
                memory(self.child.id(), "status", "VmHWM:").unwrap_or(self.peak_bytes);
            ensure!(
                clock::now() < deadline,
                "still running after {limit:?}; it said:\n{}",
                self.output.all()
            );
            thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("a host may be left over: {error:#}");
        }
    }
}

/// The lines that a process printed.
#[derive(Default)]
struct Printed {
    state: Mutex<PrintedState>,
    changed: Condvar,
}

#[derive(Default)]
struct PrintedState {
    lines: Vec<String>,
    open_pipes: usize,
}

impl Printed {
    /// Reads `pipe` to its end, in a thread of its own.
    fn collect(this: &Arc<Self>, pipe: impl Read + Send + 'static) {
        this.lock().open_pipes += 1;
        let this = Arc::clone(this);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                this.lock().lines.push(text);
                this.changed.notify_all();
                line.clear();
            }
            this.lock().open_pipes -= 1;
            this.changed.notify_all();
        });
    }

    fn all(&self) -> String {
        self.lock().lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// The first address that was printed.
    fn url(&self) -> Option<String> {
        self.lock().lines.iter().find_map(|line| url_in(line))
    }

    /// The first line of which `wanted` makes something, within `limit`.
    fn wait_for<T>(&self, limit: Duration, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = clock::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(found) = state.lines.iter().find_map(|line| wanted(line)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() || state.open_pipes == 0 {
                return None;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing more can come; for a process that is gone.
    fn wait_for_end(&self) {
        let mut state = self.lock();
        while state.open_pipes > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, PrintedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `http://ADDRESS:PORT` in a line, without what follows it.
fn url_in(line: &str) -> Option<String> {
    let start = line.find("http://")?;
    let (scheme, rest) = line.get(start..)?.split_at("http://".len());
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)));
    let authority = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches(['.', ':']);
    let (_, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port > 0)?;
    Some(format!("{scheme}{authority}"))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command, time::Duration};

    use super::{Running, url_in};

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start(command, Path::new("")).unwrap()
    }

    #[test]
    fn the_address_is_found_in_whatever_stands_around_it() {
        let found = |line| url_in(line).unwrap_or_default();
        assert_eq!(found("listening on http://127.0.0.1:4280"), "http://127.0.0.1:4280");
        assert_eq!(found("at http://[::1]:80/v1/bank."), "http://[::1]:80");
        assert_eq!(found(r#"{"url":"http://127.0.0.1:1","x":1}"#), "http://127.0.0.1:1");
        assert_eq!(found("see http://localhost:99."), "http://localhost:99");
        assert_eq!(found("see http://example.org/ for more"), "");
        assert_eq!(found("port http://127.0.0.1:0 is not one"), "");
    }

    #[test]
    fn all_output_is_there_when_the_process_is_gone() {
        let mut running = shell("echo out; echo err >&2; echo last; exit 3");
        assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(3));
        let output = running.output.all();
        assert!(["out\n", "err\n", "last\n"].iter().all(|line| output.contains(line)), "{output}");
    }

    #[test]
    fn a_line_is_waited_for_and_missed_when_it_cannot_come_any_more() {
        let running = shell("read never < /dev/null; echo hello world; exec sleep 60");
        let line = |text: &'static str| move |line: &str| line.contains(text).then_some(());
        assert!(running.output.wait_for(Duration::from_secs(20), line("world")).is_some());
        assert!(running.output.wait_for(Duration::from_millis(1), line("absent")).is_none());

        let mut ended = shell("echo hello");
        ended.wait(Duration::from_secs(20)).unwrap();
        assert!(ended.output.wait_for(Duration::from_secs(600), line("absent")).is_none());
    }

    #[test]
    fn a_process_that_does_not_end_is_an_error_and_gone_when_dropped() {
        let mut running = shell("exec sleep 600");
        let pid = running.child.id();
        assert!(running.wait(Duration::from_millis(20)).is_err());
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
