//! What it takes to wake an actor.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture};

use crate::{
    address::Address,
    bench::{
        ground::{Ground, author},
        history::Past,
        hosts::{self, Bench, PATIENCE, address},
        measure::{Load, Series, Thing, in_turn, once_each},
        nats,
        report::{Figure, Results},
        sqlite,
        still::StillStore,
    },
    clock,
    host::Host,
    store::Append,
    vm::SandboxConfig,
};

/// What this is.
pub const SAYS: &str = "The time until a sleeping actor is awake, its first instance and the fold \
    of its events included, in a host whose memory and store are warm; beside the plain read of the \
    same records on a connection of its own. Without I/O: a new actor on a store that answers at \
    once, in a host whose 1,000 instances are all taken.";

/// Events of a short past.
const SHORT: u64 = 10;

/// Instances of the host without I/O, so that each wake takes one from another actor.
const INSTANCES: usize = 1000;

/// Actors that are woken without I/O.
const NEW: usize = 4000;

/// Records on their way while pasts are written.
const WRITERS: usize = 256;

/// What the name of a variant ends with whose actors have snapshots.
const WITH_SNAPSHOT: &str = "with-snapshot";

/// How many are woken at once.
const AT_ONCE: [usize; 2] = [1, 64];

/// Reads an actor's records around the host.
#[derive(Clone)]
enum Raw {
    Embedded(sqlite::RawReads),
    JetStream(nats::RawReads),
}

impl Raw {
    async fn read(&self, actor: &Address, snapshot: bool) -> Result<usize> {
        match self {
            Self::Embedded(reads) => reads.read(actor, snapshot).await,
            Self::JetStream(reads) => reads.read(actor, snapshot).await,
        }
    }
}

/// A store with pasts.
struct Place<'a> {
    ground: &'a Ground,
    name: &'static str,
    bench: Bench,
    raw: Raw,
}

/// Measures new actors, short pasts, long ones, and those with a snapshot, on each store.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    without_io(ground, results).await?;
    let dir = ground.folder();
    let bench = Bench::embedded(&dir, &ground.cache()).await?;
    let raw = Raw::Embedded(sqlite::RawReads::open(&dir)?);
    let place = Place { ground, name: "embedded", bench, raw };
    place.measure(results).await?;
    place.bench.end().await;

    let (nats, prefix) = (ground.nats().await?, ground.name());
    let bench = Bench::jetstream(&nats.config, &prefix, &ground.cache()).await?;
    let raw = Raw::JetStream(nats::RawReads::open(nats, &prefix).await?);
    let place = Place { ground, name: "jetstream", bench, raw };
    place.measure(results).await?;
    place.bench.end().await;
    Ok(())
}

async fn without_io(ground: &Ground, results: &mut Results) -> Result<()> {
    let mut config = hosts::config(&ground.cache(), "aether");
    config.sandbox = SandboxConfig { max_instances: Some(INSTANCES), ..config.sandbox };
    let store = StillStore::new().await?;
    let host = Box::pin(Host::start_on(store, config, vec![hosts::bundle()])).await?;
    let few = if ground.options.quick { 10 } else { NEW };
    let mut rounds = Vec::new();
    for round in 0..=ground.scale.rounds.count {
        let host = host.clone();
        let step = move |number| {
            let host = host.clone();
            async move {
                let actor = address("account", &format!("new-{round}-{number}"))?;
                hosts::wake(&host, &actor).await.map(drop)
            }
        };
        rounds.push(once_each(1, few, step).await?);
    }
    // The first round has taken the instances.
    let series = Series::new(rounds.split_off(1));
    results.insert("wake/new-without-io".to_owned(), Figure::latency(&series));
    host.drain().await;
    Ok(())
}

impl Place<'_> {
    async fn measure(&self, results: &mut Results) -> Result<()> {
        let scale = &self.ground.scale;
        let (short, long) =
            (actors("short", scale.short_pasts)?, actors("long", scale.long_pasts)?);
        self.write(&short, SHORT).await?;
        self.write(&long, scale.long).await?;
        for at_once in AT_ONCE {
            let new = actors("new", scale.short_pasts)?;
            self.woken(results, "new", &new, 0, at_once).await?;
            self.woken(results, "10-events", &short, SHORT, at_once).await?;
            self.woken(results, &format!("{}-events", scale.long), &long, scale.long, at_once)
                .await?;
        }
        self.keep_snapshots(&long).await?;
        for at_once in AT_ONCE {
            let variant = format!("{}-events-{WITH_SNAPSHOT}", scale.long);
            self.woken(results, &variant, &long, scale.long, at_once).await?;
        }
        Ok(())
    }

    /// Writes `events` records of one event each for all of `actors`, in turn, as they would stand
    /// if all had been at work.
    async fn write(&self, actors: &Arc<[Address]>, events: u64) -> Result<()> {
        let author = author(&self.bench)?;
        let mut pasts: Vec<_> = actors.iter().map(|actor| (actor, Past::of(actor))).collect();
        for _ in 0..events {
            let all = futures::stream::iter(pasts.iter_mut()).map(anyhow::Ok);
            all.try_for_each_concurrent(WRITERS, |(actor, past)| {
                let (store, author) = (self.bench.store.clone(), author.clone());
                async move {
                    let next = past.next(&author, 1)?;
                    let append = Append {
                        actor: actor.clone(),
                        expected: next.expected,
                        first: next.first,
                        events: next.events,
                        command_ids: Vec::new(),
                        bytes: next.bytes.clone(),
                        deadline: clock::now() + PATIENCE,
                    };
                    past.stored(&next, store.append(append).await?);
                    Ok(())
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Lets `actors` wake and fall asleep once, which keeps snapshots of them.
    async fn keep_snapshots(&self, actors: &Arc<[Address]>) -> Result<()> {
        for actor in actors.iter() {
            hosts::wake(&self.bench.host, actor).await?;
        }
        put_to_sleep(&self.bench.host, actors).await
    }

    async fn woken(
        &self,
        results: &mut Results,
        variant: &str,
        actors: &Arc<[Address]>,
        events: u64,
        at_once: usize,
    ) -> Result<()> {
        let snapshots = variant.ends_with(WITH_SNAPSHOT);
        let raw = self.raw_reads(actors, events, at_once, snapshots);
        let wakes = self.wakes(actors, events, at_once, snapshots);
        let [raw, wakes] = in_turn(self.ground.scale.rounds, [raw, wakes]).await?;
        let name = format!("wake/raw-read-{}-{variant}-{at_once}-at-once", self.name);
        let ratio = wakes.latency_ratio(&raw, 0.5);
        let figure = Figure::latency(&wakes).beside(&name, ratio);
        results.insert(format!("wake/{}-{variant}-{at_once}-at-once", self.name), figure);
        results.insert(name, Figure::latency(&raw));
        Ok(())
    }

    fn raw_reads(
        &self,
        actors: &Arc<[Address]>,
        events: u64,
        at_once: usize,
        snapshots: bool,
    ) -> Thing {
        let (raw, actors) = (self.raw.clone(), actors.clone());
        let expected = if snapshots { 1 } else { events };
        each_once(actors, at_once, move |actor| {
            let raw = raw.clone();
            Box::pin(async move {
                let found = raw.read(&actor, snapshots).await?;
                ensure!(found as u64 == expected, "{actor} has {found} records");
                Ok(())
            })
        })
    }

    fn wakes(
        &self,
        actors: &Arc<[Address]>,
        events: u64,
        at_once: usize,
        snapshots: bool,
    ) -> Thing {
        let (bench, actors) = (self.bench.clone(), actors.clone());
        Box::new(move |time| {
            let (bench, actors) = (bench.clone(), actors.clone());
            Box::pin(async move {
                // A host keeps one of a long past as soon as it has folded it, and of each other
                // one that falls asleep.
                for actor in actors.iter().filter(|_| !snapshots) {
                    bench.store.forget_snapshot(actor).await?;
                }
                let host = bench.host.clone();
                let mut wakes = each_once(actors.clone(), at_once, move |actor| {
                    let host = host.clone();
                    Box::pin(async move {
                        let version = hosts::wake(&host, &actor).await?;
                        ensure!(version == events, "{actor} is at version {version}");
                        Ok(())
                    })
                });
                let load = wakes(time).await?;
                put_to_sleep(&bench.host, &actors).await?;
                Ok(load)
            })
        })
    }
}

/// Lets all of `actors` fall asleep.
async fn put_to_sleep(host: &Host, actors: &Arc<[Address]>) -> Result<()> {
    let all = futures::stream::iter(actors.iter()).map(anyhow::Ok);
    all.try_for_each_concurrent(WRITERS, |actor| async move {
        let asleep = host.sleep(actor, clock::now() + PATIENCE).await;
        asleep.map(drop).map_err(|failure| anyhow::anyhow!("{actor}: {failure:?}"))
    })
    .await
}

/// Something that is done once with each of `actors`, however long it takes.
fn each_once(
    actors: Arc<[Address]>,
    at_once: usize,
    step: impl Fn(Address) -> BoxFuture<'static, Result<()>> + Clone + Send + Sync + 'static,
) -> Thing {
    Box::new(move |_| {
        let (actors, step) = (actors.clone(), step.clone());
        let run = once_each(at_once, actors.len(), move |number| {
            let (actor, step) = (actors.get(number).cloned(), step.clone());
            async move { step(actor.context("the actor is one of these")?).await }
        });
        Box::pin(run) as BoxFuture<'static, Result<Load>>
    })
}

fn actors(kind: &str, count: usize) -> Result<Arc<[Address]>> {
    (0..count).map(|number| address("account", &format!("{kind}-{number:06}"))).collect()
}
