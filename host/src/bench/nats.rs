//! nats-servers to measure on, and what is measured beside the host: plain publishes with a version
//! check, and plain reads. No line of it goes through the host's store.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{
    Client, Message,
    jetstream::{self, message::PublishMessage},
};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::hosts::PATIENCE;
use crate::{address::Address, clock, config::NatsConfig};

/// Longest time until a server answers, or three of them have found each other.
const START: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Partitions of a context, as users have them by default.
pub const PARTITIONS: u32 = 8;

/// Where the host and what is beside it keep records.
#[derive(Debug)]
pub struct Nats {
    /// How to reach it.
    pub config: NatsConfig,
    /// Version and settings, for people.
    pub about: String,
    /// The servers, if they are ours; they end with this value.
    _servers: Vec<Child>,
}

/// The settings of a connection.
#[must_use]
pub fn config(url: &str, replicas: usize) -> NatsConfig {
    NatsConfig {
        url: url.to_owned(),
        credentials: None,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        replicas,
        partitions: PARTITIONS,
    }
}

impl Nats {
    /// A server that somebody else runs.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn of_user(url: &str) -> Result<Self> {
        let config = config(url, 1);
        let version = version(&config).await?;
        let about = format!("{version} at {url}, R1, not started by this run");
        Ok(Self { config, about, _servers: Vec::new() })
    }

    /// A server of our own, with its defaults, that keeps its files in `dir`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(binary: &Path, dir: &Path) -> Result<Self> {
        let port = free_ports(1)?;
        let server = spawn(binary, dir, "bench-1", port.first().copied().unwrap_or(0), "")?;
        let config = config(&urls(&port), 1);
        let about = format!("{}, R1, file, sync_interval 2m (default)", ready(&config).await?);
        Ok(Self { config, about, _servers: vec![server] })
    }

    /// Three servers of our own, whose streams have three replicas.
    ///
    /// # Errors
    /// If they do not start or do not find each other.
    pub async fn start_three(binary: &Path, dir: &Path) -> Result<Self> {
        let ports = free_ports(6)?;
        let (clients, peers) = ports.split_at(3);
        let routes: Vec<_> =
            peers.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut servers = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let name = format!("bench-r3-{number}");
            let cluster = format!(
                "cluster {{ name: bench, listen: \"127.0.0.1:{peer}\", routes: [{}] }}",
                routes.join(", ")
            );
            servers.push(spawn(binary, &dir.join(&name), &name, *client, &cluster)?);
        }
        let config = config(&urls(clients), 3);
        let version = ready(&config).await?;
        let about = format!("{version}, R3 on one machine, file, sync_interval 2m (default)");
        Ok(Self { config, about, _servers: servers })
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// If there is none.
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.config).await
    }

    /// Deletes every stream whose name begins with `prefix`.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn clean(&self, prefix: &str) -> Result<()> {
        let js = jetstream::new(self.connect().await?);
        let mut names = js.stream_names();
        let mut ours = Vec::new();
        while let Some(name) = names.next().await {
            let name = name?;
            if name.starts_with(prefix) {
                ours.push(name);
            }
        }
        for name in ours {
            js.delete_stream(&name).await.with_context(|| format!("cannot delete {name}"))?;
        }
        Ok(())
    }
}

async fn connect(config: &NatsConfig) -> Result<Client> {
    let urls: Vec<&str> = config.url.split(',').collect();
    let options = async_nats::ConnectOptions::new().subscription_capacity(64 << 10);
    options.connect(urls).await.with_context(|| format!("{} cannot be reached", config.url))
}

async fn version(config: &NatsConfig) -> Result<String> {
    Ok(format!("nats-server {}", connect(config).await?.server_info().version))
}

/// Waits until the servers take a stream with all its replicas; their version.
async fn ready(config: &NatsConfig) -> Result<String> {
    let until = clock::now() + START;
    let settings = json!({
        "name": "bench_ready", "subjects": ["bench.ready"],
        "num_replicas": config.replicas, "storage": "memory",
    });
    loop {
        let attempt = async {
            let client = connect(config).await?;
            api(&client, "STREAM.CREATE.bench_ready", &settings).await?;
            api(&client, "STREAM.DELETE.bench_ready", &json!({})).await?;
            version(config).await
        };
        match attempt.await {
            Ok(version) => return Ok(version),
            Err(error) if clock::now() > until => {
                return Err(error.context(format!("nats-server does not answer within {START:?}")));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn spawn(binary: &Path, dir: &Path, name: &str, port: u16, extra: &str) -> Result<Child> {
    std::fs::create_dir_all(dir)?;
    let file = dir.join("server.conf");
    let store = dir.join("store");
    let text = format!(
        "server_name: \"{name}\"\nlisten: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: \"{}\" }}\n{extra}\n",
        store.display()
    );
    std::fs::write(&file, text)?;
    let log = std::fs::File::create(dir.join("server.log"))?;
    Command::new(binary)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", binary.display()))
}

/// Ports that are free now.
///
/// # Errors
/// If there are not so many.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    Ok(held.iter().map(|it| it.local_addr().map(|at| at.port())).collect::<std::io::Result<_>>()?)
}

fn urls(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

/// A call of the server's API.
async fn api(client: &Client, call: &str, body: &Value) -> Result<Value> {
    let body = serde_json::to_vec(body)?;
    let answer = client.request(format!("$JS.API.{call}"), body.into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    match answer.get("error") {
        Some(error) => bail!("{call}: {error}"),
        None => Ok(answer),
    }
}

/// Where the nats-server is: as it was said, `$NATS_SERVER`, or on the path.
#[must_use]
pub fn binary(said: Option<PathBuf>) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || {
        let mut found = std::env::split_paths(&paths).map(|dir| dir.join("nats-server"));
        found.find(|path| path.is_file())
    };
    said.or_else(|| std::env::var_os("NATS_SERVER").map(PathBuf::from)).or_else(on_path)
}

/// Plain publishes with the version check, into streams with the very settings of the host's.
#[derive(Clone, Debug)]
pub struct Raw(Arc<RawInner>);

#[derive(Debug)]
struct RawInner {
    js: jetstream::Context,
    subjects: Vec<String>,
    last: Vec<AtomicU64>,
    payload: Bytes,
}

impl Raw {
    /// Makes streams below `prefix` like those of the host below `host`, for these actors.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn make(
        nats: &Nats,
        host: &str,
        prefix: &str,
        actors: &[Address],
        payload: Bytes,
    ) -> Result<Self> {
        let client = nats.connect().await?;
        for partition in 0..PARTITIONS {
            let call = format!("STREAM.INFO.{host}_LOG_bench_{partition}");
            let info = api(&client, &call, &json!({})).await?;
            let mut settings = info.get("config").cloned().context("a stream has settings")?;
            let name = format!("{prefix}_LOG_bench_{partition}");
            let subject = format!("{prefix}.log.bench.{partition}.*.*");
            let fields = settings.as_object_mut().context("settings are an object")?;
            fields.insert("name".to_owned(), json!(name));
            fields.insert("subjects".to_owned(), json!([subject]));
            api(&client, &format!("STREAM.CREATE.{name}"), &settings).await?;
        }
        let subjects = actors.iter().map(|actor| actor.log_subject(prefix, PARTITIONS)).collect();
        let last = actors.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self(Arc::new(RawInner { js: jetstream::new(client), subjects, last, payload })))
    }

    /// Publishes the next record of actor number `actor` and waits for its acknowledgement.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn publish(&self, actor: usize) -> Result<()> {
        let Self(raw) = self;
        let places = raw.subjects.get(actor).zip(raw.last.get(actor));
        let (subject, last) = places.context("the actor is one of these")?;
        let message = PublishMessage::build()
            .payload(raw.payload.clone())
            .expected_last_subject_sequence(last.load(Ordering::Relaxed));
        let stored = raw.js.send_publish(subject.clone(), message).await?.await?;
        last.store(stored.sequence, Ordering::Relaxed);
        Ok(())
    }
}

/// Plain reads of an actor's records: a direct batch get.
#[derive(Clone, Debug)]
pub struct RawReads {
    client: Client,
    prefix: String,
}

impl RawReads {
    /// Reads of the records below the host's `prefix`.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn open(nats: &Nats, prefix: &str) -> Result<Self> {
        Ok(Self { client: nats.connect().await?, prefix: prefix.to_owned() })
    }

    /// Reads the records of `actor`; how many there are. With `snapshot`, reads that and only the
    /// records from the one on that it stands on.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn read(&self, actor: &Address, snapshot: bool) -> Result<usize> {
        let from = if snapshot { self.snapshot_position(actor).await? } else { 1 };
        let stream = format!("{}_LOG_bench_{}", self.prefix, actor.partition(PARTITIONS));
        let subject = actor.log_subject(&self.prefix, PARTITIONS);
        let ask = json!({"seq": from, "next_by_subj": subject, "batch": 1024});
        Ok(self.get(&stream, &ask).await?.len())
    }

    /// Reads an actor's snapshot from the two places where it may be; the position that it stands
    /// on.
    async fn snapshot_position(&self, actor: &Address) -> Result<u64> {
        let (prefix, aggregate, token) = (&self.prefix, actor.aggregate(), actor.id_token());
        let place = format!("{prefix}.snap.bench.{aggregate}.{token}");
        let ask = json!({"multi_last": [place, format!("{place}=")]});
        let found = self.get(&format!("{prefix}_SNAP_bench"), &ask).await?;
        let position = |message: &Message| {
            message.headers.as_ref()?.get("Aether-Position")?.as_str().parse().ok()
        };
        found.iter().filter_map(position).max().context("there is a snapshot")
    }

    /// What a direct get gives.
    async fn get(&self, stream: &str, ask: &Value) -> Result<Vec<Message>> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let call = format!("$JS.API.DIRECT.GET.{stream}");
        self.client.publish_with_reply(call, inbox, ask.to_string().into()).await?;
        let mut found = Vec::new();
        loop {
            let answer = tokio::time::timeout(PATIENCE, answers.next()).await?;
            let answer = answer.context("the connection ended")?;
            let Some(status) = answer.status else {
                found.push(answer);
                continue;
            };
            // 204 ends what was found, 404 says that there is nothing.
            ensure!([204, 404].contains(&status.as_u16()), "the read ended with {status}");
            return Ok(found);
        }
    }
}

/// Requests to a host's NATS face over one connection.
#[derive(Clone, Debug)]
pub struct Requests {
    client: Client,
    prefix: String,
}

impl Requests {
    /// A connection to the host's face below `prefix`.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn open(nats: &Nats, prefix: &str) -> Result<Self> {
        Ok(Self { client: nats.connect().await?, prefix: prefix.to_owned() })
    }

    /// Sends the command that is measured.
    ///
    /// # Errors
    /// If it is not done.
    pub async fn deposit(&self, to: &Address) -> Result<()> {
        let (prefix, context, aggregate) = (&self.prefix, to.context(), to.aggregate());
        let subject = format!("{prefix}.cmd.{context}.{aggregate}.{}.deposit", to.id_token());
        let body = Bytes::from_static(super::hosts::DEPOSIT.as_bytes());
        let answer = self.client.request(subject, body).await?;
        let status = answer.headers.as_ref().and_then(|it| it.get(crate::gateway::nats::STATUS));
        let is_ok = status.is_some_and(|status| status.as_str() == crate::gateway::nats::OK);
        ensure!(is_ok, "{to}: {}", String::from_utf8_lossy(&answer.payload));
        Ok(())
    }
}
