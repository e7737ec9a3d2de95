//! Where the records of one host are, and what is found there without a host.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use aether::{
    address::Address,
    clock,
    config::NatsConfig,
    record::{Chain, Position, Record},
    snapshot,
    store::{
        DEFAULT_RECORD_LIMIT, EventStore, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
};
use aether_tests::{
    host_process::HostOptions,
    nats_server::{NatsCluster, NatsServer},
};
use aether_wit::Digest;
use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;

/// Streams per context: enough to be more than one, few enough to be made quickly.
const PARTITIONS: u32 = 2;

/// Longest time from the fork of a child to its becoming a program of its own.
const FORK: Duration = Duration::from_secs(5);

/// How often a held store is tried again.
const LOOK: Duration = Duration::from_millis(10);

/// A kind of store.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    Embedded,
    JetStream(&'a NatsServer),
    /// Three servers with three replicas of everything.
    Replicated(&'a NatsCluster),
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded store",
            Self::JetStream(_) => "JetStream",
            Self::Replicated(_) => "JetStream, three replicas",
        })
    }
}

/// The records of one host.
#[derive(Debug)]
pub struct Place<'a> {
    kind: Kind<'a>,
    prefix: String,
    /// How to start a host on them.
    pub options: HostOptions,
}

impl Kind<'_> {
    /// Whether a step of this name is one of this store.
    pub fn has(self, step: &str) -> bool {
        match (step, step.split('.').next()) {
            (_, Some("embedded")) => matches!(self, Self::Embedded),
            // Where a log ends the only server says, or a replica that has a fence.
            ("jetstream.head", _) => matches!(self, Self::JetStream(_)),
            ("jetstream.fence", _) => matches!(self, Self::Replicated(_)),
            // Only a store that others write to is asked where a log ends.
            (_, Some("jetstream" | "nats")) | ("wake.head", _) => !matches!(self, Self::Embedded),
            _ => true,
        }
    }

    /// Where the servers are, one of them, and how many replicas there are.
    fn servers(&self) -> Option<(String, &NatsServer, usize)> {
        match self {
            Self::Embedded => None,
            Self::JetStream(server) => Some((server.url(), *server, 1)),
            Self::Replicated(cluster) => Some((cluster.url(), &cluster.nodes[0], 3)),
        }
    }
}

impl<'a> Place<'a> {
    /// A new place; `prefix` is used once per server.
    pub fn new(kind: Kind<'a>, prefix: String) -> Result<Self> {
        let options = HostOptions::bank()?;
        let options = match kind.servers() {
            None => options,
            Some((url, _, replicas)) => options.nats(url).args([
                "--prefix",
                prefix.as_str(),
                "--partitions",
                &PARTITIONS.to_string(),
                "--replicas",
                &replicas.to_string(),
            ]),
        };
        Ok(Self { kind, prefix, options })
    }

    /// Does to the log of `actor` what no host would; nobody may have it open.
    pub fn damage(&self, actor: &Address) -> Result<()> {
        match self.kind.servers() {
            None => {
                let folder = self.options.data_folder().context("it has a folder")?;
                let db = Connection::open(folder.join("store.db"))?;
                let actor = "(SELECT id FROM actors WHERE token = ?1)";
                let spoil = format!("UPDATE records SET bytes = x'00' WHERE actor = {actor}");
                ensure!(db.execute(&spoil, ["hurt"])? == 1, "there is one record to spoil");
            }
            Some((_, server, _)) => {
                server.publish(&actor.log_subject(&self.prefix, PARTITIONS), "", "a stranger's")?;
            }
        }
        Ok(())
    }

    /// Reads the whole log of `actors` from the store itself, which no host may have open: each
    /// chain must be whole and end at the version that is given, and the snapshot be on it.
    pub fn verify(&self, actors: &[(Address, u64)]) -> Result<()> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let store = self.open().await?;
            for (actor, version) in actors {
                verify(&*store, actor, *version).await.with_context(|| actor.to_string())?;
            }
            store.close().await;
            Ok::<_, anyhow::Error>(())
        })?;
        if let (Kind::Embedded, Some(folder)) = (self.kind, self.options.data_folder()) {
            let db = Connection::open(folder.join("store.db"))?;
            let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            ensure!(verdict == "ok", "{verdict}");
        }
        Ok(())
    }

    /// All records of `actor`, whose chain must be whole; no host may have the store open.
    pub fn records(&self, actor: &Address) -> Result<Vec<Record>> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let store = self.open().await?;
            let read = read(&*store, actor).await.with_context(|| actor.to_string());
            store.close().await;
            Ok(read?.1.into_iter().map(|(_, _, _, record)| record).collect())
        })
    }

    async fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(match self.kind.servers() {
            None => {
                let folder = self.options.data_folder().context("it has a folder")?;
                Arc::new(open_embedded(&folder).await?)
            }
            Some((url, _, replicas)) => {
                let config = NatsConfig {
                    url,
                    credentials: None,
                    tls_ca: None,
                    tls_cert: None,
                    tls_key: None,
                    replicas,
                    partitions: PARTITIONS,
                };
                let open = JetStreamStore::open(&config, &self.prefix, DEFAULT_RECORD_LIMIT);
                Arc::new(open.await?)
            }
        })
    }
}

/// A record, and where its chain stands behind it.
type Read = (u64, Position, Option<Digest>, Record);

async fn read(store: &dyn EventStore, actor: &Address) -> Result<(Chain, Vec<Read>)> {
    let mut chain = Chain::start(actor);
    let mut records = Vec::new();
    loop {
        let from = Position(chain.position.0 + 1);
        let page = store.read(actor, from, Freshness::Leader).await?;
        for stored in &page.records {
            let record = chain.accept(stored)?.context("a repair skips it")?;
            records.push((record.last(), chain.position, chain.digest, record));
        }
        if !page.more {
            return Ok((chain, records));
        }
    }
}

async fn verify(store: &dyn EventStore, actor: &Address, version: u64) -> Result<()> {
    let (chain, records) = read(store, actor).await?;
    ensure!(chain.version == version, "the log ends at {}, not at {version}", chain.version);
    let Some((_, position, _, newest)) = records.last() else { return Ok(()) };
    ensure!(store.head(actor).await? == *position, "the head is not the last record");
    ensure!(store.quarantined(actor).await?.is_none(), "it is quarantined");
    let key = snapshot::key(&newest.model, &newest.component);
    if let Some(kept) = store.snapshot(actor, &key).await? {
        let end = snapshot::end(actor, &kept).context("the snapshot cannot be read")?;
        let on_the_chain = records.iter().any(|(version, position, digest, _)| {
            (end.version, end.position, end.digest) == (*version, *position, *digest)
        });
        ensure!(on_the_chain, "the snapshot stands on no record: {end:?}");
    }
    Ok(())
}

/// A store that this process may itself have held a moment ago: a child that another test starts in
/// that moment has its lock until it becomes a program of its own.
async fn open_embedded(folder: &Path) -> Result<EmbeddedStore> {
    let until = clock::now() + FORK;
    loop {
        match EmbeddedStore::open(folder, EmbeddedOptions::default()).await {
            Err(error) if error.to_string().contains("is in use") && clock::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            opened => return Ok(opened?),
        }
    }
}
