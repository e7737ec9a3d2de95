//! Where benchmarks run: folders, servers, sizes. Everything is made when it is first needed, and
//! gone at the end.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;

use super::{
    Options,
    history::Author,
    hosts::{self, Bench},
    measure::Rounds,
    nats::{self, Nats, Raw},
    sqlite,
    still::StillStore,
};
use crate::address::Address;

/// What a benchmark needs is not here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skipped(pub String);

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Scale {
    /// How long.
    pub rounds: Rounds,
    /// Clients at once.
    pub in_flight: &'static [usize],
    /// Actors of a small and of a large set.
    pub actors: [usize; 2],
    /// Records of each actor of the large set in a store that is not empty.
    pub records: usize,
    /// Actors of ten events that are woken.
    pub short_pasts: usize,
    /// Actors of many events that are woken.
    pub long_pasts: usize,
    /// How many events those have.
    pub long: u64,
    /// How many actors are awake, in steps.
    pub awake: [usize; 3],
    /// How long an idle host is watched.
    pub idle: Duration,
    /// How often a host is started.
    pub starts: usize,
}

const FULL: Scale = Scale {
    rounds: Rounds { count: 5, time: Duration::from_secs(1) },
    in_flight: &[1, 64, 256, 1024],
    actors: [1000, 100_000],
    records: 10,
    short_pasts: 1024,
    long_pasts: 64,
    long: 1000,
    awake: [1000, 10_000, 100_000],
    idle: Duration::from_secs(10),
    starts: 5,
};

const QUICK: Scale = Scale {
    rounds: Rounds { count: 1, time: Duration::from_millis(20) },
    in_flight: &[1, 256],
    actors: [1000, 1100],
    records: 1,
    short_pasts: 64,
    long_pasts: 64,
    long: 20,
    awake: [10, 20, 40],
    idle: Duration::from_millis(100),
    starts: 1,
};

/// Where benchmarks run.
pub struct Ground {
    /// How much is measured.
    pub scale: Scale,
    /// Where stores and servers keep their files.
    pub work: PathBuf,
    /// What was asked for.
    pub options: Options,
    nats: OnceCell<Nats>,
    large: OnceCell<PathBuf>,
    names: AtomicUsize,
}

/// A host on JetStream, and plain publishes on the same server.
pub struct OnStreams {
    /// The host.
    pub bench: Bench,
    /// The plain publishes.
    pub raw: Raw,
    /// The actors of both.
    pub actors: Arc<[Address]>,
    /// What the host's streams and subjects begin with.
    pub prefix: String,
}

impl Ground {
    /// Makes the folder for results and the one for work below it.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn new(options: Options) -> Result<Self> {
        let work = options.out.join(format!("work-{}", std::process::id()));
        std::fs::create_dir_all(&work)
            .with_context(|| format!("{} cannot be made", work.display()))?;
        // A server and a host in processes of their own must find it too.
        let work = std::fs::canonicalize(work)?;
        let scale = if options.quick { QUICK } else { FULL };
        Ok(Self {
            scale,
            work,
            options,
            nats: OnceCell::new(),
            large: OnceCell::new(),
            names: AtomicUsize::new(0),
        })
    }

    /// Removes the streams that were made. Files go with this value.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn end(&mut self) -> Result<()> {
        match self.nats.take() {
            Some(nats) => nats.clean(&own_prefix()).await,
            None => Ok(()),
        }
    }

    /// A name that was not given before.
    pub fn name(&self) -> String {
        format!("{}x{}", own_prefix(), self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A folder that is not there yet.
    pub fn folder(&self) -> PathBuf {
        self.work.join(self.name())
    }

    /// Where compiled code is kept.
    pub fn cache(&self) -> PathBuf {
        self.work.join("cache")
    }

    /// The NATS to measure on.
    ///
    /// # Errors
    /// [`Skipped`] if there is none, or it does not start.
    pub async fn nats(&self) -> Result<&Nats> {
        let start = Box::pin(async {
            match &self.options.nats {
                Some(url) => Nats::of_user(url).await,
                None => Nats::start(&self.nats_server()?, &self.work.join("nats")).await,
            }
        });
        self.nats.get_or_try_init(|| start).await
    }

    /// The program to start servers of our own with.
    ///
    /// # Errors
    /// [`Skipped`] if there is none.
    pub fn nats_server(&self) -> Result<PathBuf> {
        let found = nats::binary(self.options.nats_server.clone());
        let missing = "there is no nats-server: name one with `--nats-server FILE`, or a running \
                       one with `--nats URL`";
        found.ok_or_else(|| Skipped(missing.to_owned()).into())
    }

    /// The NATS that is used, for people.
    pub fn nats_about(&self) -> String {
        self.nats.get().map_or_else(|| "no nats-server used".to_owned(), |nats| nats.about.clone())
    }

    /// A host on JetStream and plain publishes beside it, with `count` accounts.
    ///
    /// # Errors
    /// [`Skipped`] if there is no NATS; or if it does not start.
    pub async fn on_streams(&self, count: usize) -> Result<OnStreams> {
        let nats = self.nats().await?;
        let (prefix, beside) = (self.name(), self.name());
        let bench = Bench::jetstream(&nats.config, &prefix, &self.cache()).await?;
        let record = bench.typical_record().await?;
        let actors = hosts::accounts(count)?;
        let raw = Raw::make(nats, &prefix, &beside, &actors, record).await?;
        Ok(OnStreams { bench, raw, actors, prefix })
    }

    /// A host on a store without I/O.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn still(&self) -> Result<Bench> {
        Bench::on(StillStore::new().await?, &self.cache(), "aether").await
    }

    /// A host on an empty embedded store, and the folder of another one that nobody has open.
    ///
    /// # Errors
    /// If they cannot be made.
    pub async fn embedded_pair(&self) -> Result<(Bench, PathBuf)> {
        let beside = self.folder();
        Bench::embedded(&beside, &self.cache()).await?.end().await;
        Ok((Bench::embedded(&self.folder(), &self.cache()).await?, beside))
    }

    /// A closed embedded store with `records` records for each of `actors`, each of `turns` turns.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn filled(
        &self,
        actors: Arc<[Address]>,
        records: usize,
        turns: u64,
    ) -> Result<PathBuf> {
        let dir = self.folder();
        let bench = Bench::embedded(&dir, &self.cache()).await?;
        let author = author(&bench)?;
        bench.end().await;
        let place = dir.clone();
        let filled = move || sqlite::fill(&place, &author, &actors, records, turns);
        tokio::task::spawn_blocking(filled).await??;
        Ok(dir)
    }

    /// The embedded store that is not empty, closed; all benchmarks of a run share it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn large(&self) -> Result<PathBuf> {
        let [_, many] = self.scale.actors;
        let fill = async { self.filled(hosts::accounts(many)?, self.scale.records, 1).await };
        self.large.get_or_try_init(|| fill).await.cloned()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // The servers first: they write as long as they live.
        drop(self.nats.take());
        if let Err(error) = std::fs::remove_dir_all(&self.work) {
            tracing::warn!(%error, "{} cannot be removed", self.work.display());
        }
    }
}

/// Who wrote the records of this host's accounts.
///
/// # Errors
/// If it serves none.
pub fn author(bench: &Bench) -> Result<Author> {
    let deployments = bench.host.deployments();
    Author::of(deployments.first().context("the model is deployed")?)
}

/// What every name of this run begins with.
fn own_prefix() -> String {
    format!("bench{}", std::process::id())
}
