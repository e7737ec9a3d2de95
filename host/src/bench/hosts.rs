//! Hosts to be measured: the same that users run, by their public handle and through their faces.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    address::Address,
    clock,
    command::{Command, Outcome},
    config::{Config, Faces, Limits, NatsConfig, StoreConfig},
    gateway::{
        admission::Bodies,
        http::{self, Face, feed::HEARTBEAT},
    },
    host::{Bundle, Host},
    record::Position,
    store::{
        EventStore, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
    vm::SandboxConfig,
};

/// The model of what is measured.
pub const MODEL: &str = include_str!("../../bench/bench.storm.yaml");

/// Its component. It is in the binary, so that whoever has the binary can measure; and it is kept
/// as bytes beside its source, because building it needs a compiler for another target, which
/// building the host must not need.
pub const COMPONENT: &[u8] = include_bytes!("../../bench/bench.wasm");

/// How long a command may take: far longer than any does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The body of the command that is measured.
pub const DEPOSIT: &str = r#"{"amount":7}"#;

/// A host and the store that it stands on.
#[derive(Clone)]
pub struct Bench {
    /// The host.
    pub host: Host,
    /// Its store.
    pub store: Arc<dyn EventStore>,
}

impl Bench {
    /// A host on `store`, with compiled code kept in `cache`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn on(store: Arc<dyn EventStore>, cache: &Path, prefix: &str) -> Result<Self> {
        let config = config(cache, prefix);
        let host = Box::pin(Host::start_on(store.clone(), config, vec![bundle()])).await?;
        Ok(Self { host, store })
    }

    /// A host on an embedded store in `dir` that syncs as it does for users.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn embedded(dir: &Path, cache: &Path) -> Result<Self> {
        let store = EmbeddedStore::open(dir, EmbeddedOptions::default()).await?;
        Self::on(Arc::new(store), cache, "aether").await
    }

    /// A host on the streams below `prefix`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn jetstream(server: &NatsConfig, prefix: &str, cache: &Path) -> Result<Self> {
        let limit = crate::store::DEFAULT_RECORD_LIMIT;
        let store = JetStreamStore::open(server, prefix, limit).await?;
        Self::on(Arc::new(store), cache, prefix).await
    }

    /// The bytes of a record as this host writes them.
    ///
    /// # Errors
    /// If a command fails.
    pub async fn typical_record(&self) -> Result<Bytes> {
        let actor = address("account", "typical")?;
        for _ in 0..2 {
            deposit(&self.host, &actor).await?;
        }
        let page = self.store.read(&actor, Position(0), Freshness::Leader).await?;
        let last = page.records.last().context("the record that was just acknowledged")?;
        Ok(last.bytes.clone())
    }

    /// Closes the store and lets go of the host as it is: draining would keep a snapshot of each
    /// actor that is awake.
    pub async fn end(self) {
        self.store.close().await;
    }
}

/// Model and component.
#[must_use]
pub fn bundle() -> Bundle {
    Bundle {
        file: "bench.storm.yaml".to_owned(),
        model: Bytes::from_static(MODEL.as_bytes()),
        components: vec![("bench.wasm".to_owned(), Bytes::from_static(COMPONENT))],
    }
}

/// The settings that users have by default, but that more actors may be awake.
#[must_use]
pub fn config(cache: &Path, prefix: &str) -> Config {
    Config {
        // It is given when the host starts.
        store: StoreConfig::Memory,
        sandbox: SandboxConfig { cache_dir: Some(cache.to_owned()), ..SandboxConfig::default() },
        limits: Limits { max_awake: 200_000, ..Limits::default() },
        prefix: prefix.to_owned(),
        faces: Faces { http: None, nats: false, token_file: None, insecure: false },
        accept_state_changes: false,
    }
}

/// An actor of the model.
///
/// # Errors
/// None: the names are sound.
pub fn address(aggregate: &str, id: &str) -> Result<Address> {
    Ok(Address::new("bench", aggregate, id)?)
}

/// `count` accounts.
///
/// # Errors
/// None: the names are sound.
pub fn accounts(count: usize) -> Result<Arc<[Address]>> {
    (0..count).map(|number| address("account", &account(number))).collect()
}

/// The id of an account by its number.
#[must_use]
pub fn account(number: usize) -> String {
    format!("a{number:06}")
}

/// A command with these fields.
///
/// # Errors
/// If the fields are no JSON.
pub fn command(to: &Address, name: &str, fields: &str) -> Result<Command> {
    Ok(Command::new(
        to.clone(),
        name,
        RawValue::from_string(fields.to_owned())?,
        clock::now() + PATIENCE,
    ))
}

/// Sends a command that must give events.
///
/// # Errors
/// If it does not.
pub async fn send(host: &Host, to: &Address, name: &str, fields: &str) -> Result<()> {
    let reply = host.send(command(to, name, fields)?).await;
    match reply.map_err(|failure| anyhow::anyhow!("{to}: {failure:?}"))?.outcome {
        Outcome::Accepted(events) => {
            ensure!(!events.is_empty(), "{to} gave no events");
            Ok(())
        }
        Outcome::Rejected { name, .. } => bail!("{to} refused with `{name}`"),
    }
}

/// The command that is measured.
///
/// # Errors
/// If it fails.
pub async fn deposit(host: &Host, to: &Address) -> Result<()> {
    send(host, to, "deposit", DEPOSIT).await
}

/// Wakes an actor.
///
/// # Errors
/// If it does not wake.
pub async fn wake(host: &Host, actor: &Address) -> Result<u64> {
    let woken = host.wake(actor, clock::now() + PATIENCE).await;
    woken.map_err(|failure| anyhow::anyhow!("{actor}: {failure:?}"))
}

/// The account that client number `client` of `clients` takes for its command number `n`: no two
/// clients ever use the same one.
#[must_use]
pub const fn own(client: usize, n: u64, clients: usize, accounts: usize) -> usize {
    let each = accounts / clients;
    let turn = if each == 0 { 0 } else { (n % each as u64) as usize };
    client + turn * clients
}

/// A host that listens for HTTP.
pub struct HttpFace {
    /// Where.
    pub at: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl HttpFace {
    /// Listens on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(host: &Host) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let stop = CancellationToken::new();
        let limits = host.config().limits.clone();
        let face = Face {
            service: Arc::new(host.clone()),
            tokens: None,
            bodies: Bodies::new(limits.max_request_bytes),
            limits,
            heartbeat: HEARTBEAT,
            stop: stop.clone(),
        };
        let served = tokio::spawn(http::serve(listener, Arc::new(face)));
        Ok(Self { at, stop, served })
    }

    /// Takes no more connections. Those that are open end with their clients.
    pub fn end(self) {
        self.stop.cancel();
        self.served.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_clients_use_one_account() {
        for (clients, accounts) in [(3, 10), (4, 4), (64, 1000)] {
            let of = |client| (0..40).map(move |n| own(client, n, clients, accounts));
            let all: Vec<HashSet<usize>> =
                (0..clients).map(|client| of(client).collect()).collect();
            for (client, mine) in all.iter().enumerate() {
                assert!(mine.iter().all(|it| *it < accounts));
                assert!(all[client + 1..].iter().all(|other| mine.is_disjoint(other)));
            }
        }
    }

    #[test]
    fn the_model_in_the_binary_is_sound() {
        aether_wit::read("bench.storm.yaml", MODEL.as_bytes()).unwrap();
    }
}
