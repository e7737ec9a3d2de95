//! A durable counter of Restate, beside ours.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::process::{Child, Command};

use super::gateway::posted;
use crate::{
    bench::{
        ground::{Ground, Skipped},
        hosts::{accounts, own},
        http::{Connection, Connections},
        measure::{Thing, in_turn, looped, once_each},
        nats::free_ports,
        process::{Process, write_model},
        report::{Figure, Results},
    },
    clock,
};

/// What this is.
pub const SAYS: &str = "A durable counter for each of 1,000 keys over HTTP/1.1 with kept \
    connections, each server a process of its own with its defaults on the same disk, which both \
    sync before they answer: ours is a component inside the host, with an event for each command; \
    Restate's is a virtual object of its Rust SDK in a third process, which its server calls over \
    HTTP/2 and whose steps it journals, so that handlers can be long and call others.";

/// Connections, each with a client of its own.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// Keys of both.
const KEYS: usize = 1000;

/// Clients that make all keys known before anything is measured.
const WARMERS: usize = 64;

/// Longest time until a server answers.
const START: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A running Restate with its counter. All of it is killed with this value.
struct Restate {
    /// Where requests go.
    ingress: SocketAddr,
    _server: Child,
    _counter: Child,
}

/// Measures both in turn.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let Some(folder) = &ground.options.restate else {
        let missing = "there is no Restate: `make bench` installs it where npm can, or name a \
                       folder with `restate-server` and `counter` with `--restate DIR`";
        return Err(Skipped(missing.to_owned()).into());
    };
    let restate = Restate::start(folder, &ground.folder()).await?;
    let model = write_model(&ground.folder(), None)?;
    let ours = Process::start(&[model], &ground.folder(), &ground.cache(), &[]).await?;
    let actors = accounts(KEYS)?;
    // Every key is used once, so that neither has to make one while it is measured.
    let warm = Connections::open(restate.ingress, WARMERS).await?;
    once_each(WARMERS, KEYS, move |key| add(warm.clone(), key % WARMERS, key)).await?;
    let mut warm = posted(Connections::open(ours.at, WARMERS).await?, actors.clone());
    warm(ground.scale.rounds.time).await?;
    for connections in CONNECTIONS {
        let things = [
            adds(Connections::open(restate.ingress, connections).await?),
            posted(Connections::open(ours.at, connections).await?, actors.clone()),
        ];
        let [theirs, ours] = in_turn(ground.scale.rounds, things).await?;
        let name = format!("beside-restate/restate-{connections}-connections");
        let figure = Figure::rate(&ours, "commands/s").beside(&name, ours.rate_ratio(&theirs));
        results.insert(format!("beside-restate/aether-{connections}-connections"), figure);
        results.insert(name, Figure::rate(&theirs, "commands/s"));
    }
    ours.end().await
}

fn adds(connections: Connections) -> Thing {
    let clients = connections.count();
    looped(clients, 1, move |client, n| {
        add(connections.clone(), client, own(client, n, clients, KEYS))
    })
}

async fn add(connections: Connections, client: usize, key: usize) -> Result<()> {
    connections.post(client, &format!("/Counter/k{key}/add"), "7").await.map(drop)
}

impl Restate {
    async fn start(programs: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let ports = free_ports(4)?;
        let at = |number: usize| {
            let port = ports.get(number).copied().context("there are four ports")?;
            anyhow::Ok(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let (ingress, admin, node, service) = (at(0)?, at(1)?, at(2)?, at(3)?);
        let counter = Command::new(program(programs, "counter")?)
            .arg(service.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let log = File::create(dir.join("server.log"))?;
        let server = Command::new(program(programs, "restate-server")?)
            .arg("--base-dir")
            .arg(dir.join("data"))
            .env("RESTATE_INGRESS__BIND_ADDRESS", ingress.to_string())
            .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
            .env("RESTATE_BIND_ADDRESS", node.to_string())
            .env("RESTATE_LISTEN_MODE", "tcp")
            .env("RESTATE_LOG_FILTER", "warn")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let restate = Self { ingress, _server: server, _counter: counter };
        restate.register(admin, service).await.with_context(|| {
            let log = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            format!("Restate does not take the counter; it said last: {}", end.join(" | "))
        })?;
        Ok(restate)
    }

    /// Tells the server of the counter, and waits until it counts.
    async fn register(&self, admin: SocketAddr, service: SocketAddr) -> Result<()> {
        let until = clock::now() + START;
        let body = json!({"uri": format!("http://{service}")}).to_string();
        loop {
            let attempt = async {
                let (status, answer) =
                    Connection::open(admin).await?.send("/deployments", &body).await?;
                if !status.is_success() {
                    bail!("{status}: {}", String::from_utf8_lossy(&answer));
                }
                Connection::open(self.ingress).await?.post("/Counter/k0/add", "7").await
            };
            match attempt.await {
                Ok(_) => return Ok(()),
                Err(error) if clock::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let missing = format!("{} is missing: `make bench` installs it where npm can", path.display());
    Err(Skipped(missing).into())
}
