//! One actor that everybody wants, and what its neighbours feel of it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::streams::{one_deposit, publishes};
use crate::{
    address::Address,
    bench::{
        ground::Ground,
        hosts::{accounts, address, deposit},
        measure::{Load, Thing, histogram, in_turn, looped, nanos},
        report::{Figure, Results},
        sqlite::Bare,
    },
    clock,
    host::Host,
};

/// What this is.
pub const SAYS: &str = "256 clients send commands to one actor, in process, beside one client's \
    plain publishes to one subject, one after the other; and 1,000 other actors that get 1,000 \
    commands a second between them, without such an actor and with it.";

/// Clients of the hot actor.
const CLIENTS: usize = 256;

/// Commands per second to all others, evenly spread: far from what the host can bear.
const OTHERS_RATE: u64 = 1000;

/// Commands of the others that may be under way before the pacer waits for one.
const OTHERS_AT_ONCE: usize = 4096;

/// Measures the hot actor, then its neighbours.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let [few, _] = ground.scale.actors;
    let streams = ground.on_streams(few).await?;
    let host = &streams.bench.host;
    let things = [publishes(&streams.raw, 1, 1), wanted(host)?];
    let [raw, hot] = in_turn(ground.scale.rounds, things).await?;
    // 1 / round trip is what one client gets that sends one after the other.
    let name = "hot-actor/raw-one-after-the-other";
    let figure = Figure::rate(&hot, "commands/s").beside(name, hot.rate_ratio(&raw));
    results.insert("hot-actor/jetstream-256-clients".to_owned(), figure);
    results.insert(name.to_owned(), Figure::rate(&raw, "commits/s"));

    let things = [others(host, &streams.actors, false)?, others(host, &streams.actors, true)?];
    let [without, with] = in_turn(ground.scale.rounds, things).await?;
    let name = "hot-actor/others-without-it";
    let (p99, ratio) = (with.micros(0.99), with.latency_ratio(&without, 0.99));
    let figure = Figure { value: p99, ..Figure::latency(&with) }.beside(name, ratio);
    results.insert("hot-actor/others-beside-it".to_owned(), figure);
    let figure = Figure { value: without.micros(0.99), ..Figure::latency(&without) };
    results.insert(name.to_owned(), figure);
    streams.bench.end().await;
    on_disk(ground, results).await
}

/// Apart from the rest: an fsync also waits for what others have just written.
async fn on_disk(ground: &Ground, results: &mut Results) -> Result<()> {
    let (embedded, beside) = ground.embedded_pair().await?;
    let record = embedded.typical_record().await?;
    let bare = Bare::open(&beside, accounts(1)?, record)?.thing(1);
    let [bare, hot] = in_turn(ground.scale.rounds, [bare, wanted(&embedded.host)?]).await?;
    let name = "hot-actor/bare-commits-embedded";
    let figure = Figure::rate(&hot, "commands/s").beside(name, hot.rate_ratio(&bare));
    results.insert("hot-actor/embedded-256-clients".to_owned(), figure);
    results.insert(name.to_owned(), Figure::rate(&bare, "commits/s"));
    embedded.end().await;
    Ok(())
}

fn wanted(host: &Host) -> Result<Thing> {
    let (host, hot) = (host.clone(), address("account", "hot")?);
    Ok(looped(CLIENTS, 1, move |_, _| {
        let (host, hot) = (host.clone(), hot.clone());
        async move { deposit(&host, &hot).await }
    }))
}

/// Commands at a fixed pace to all of `actors`, whoever else is served; with `hot`, beside clients
/// of one other actor that never pause.
fn others(host: &Host, actors: &Arc<[Address]>, hot: bool) -> Result<Thing> {
    let (host, actors, wanted) = (host.clone(), actors.clone(), address("account", "hot")?);
    Ok(Box::new(move |time| {
        let (host, actors, wanted) = (host.clone(), actors.clone(), wanted.clone());
        let run = async move {
            let stop = CancellationToken::new();
            let mut crowd = JoinSet::new();
            for _ in 0..if hot { CLIENTS } else { 0 } {
                let (host, wanted, stop) = (host.clone(), wanted.clone(), stop.clone());
                crowd.spawn(async move {
                    while !stop.is_cancelled() {
                        deposit(&host, &wanted).await?;
                    }
                    anyhow::Ok(())
                });
            }
            let load = paced(host, actors, time).await;
            stop.cancel();
            while let Some(ended) = crowd.join_next().await {
                ended.context("a client broke")??;
            }
            load
        };
        Box::pin(run) as BoxFuture<'static, Result<Load>>
    }))
}

/// Sends at its pace without waiting for answers: what takes long delays nothing that comes after.
async fn paced(host: Host, actors: Arc<[Address]>, time: Duration) -> Result<Load> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(OTHERS_RATE)?);
    let places = Arc::new(Semaphore::new(OTHERS_AT_ONCE));
    let (begun, mut sent, mut latency) = (clock::now(), JoinSet::new(), histogram()?);
    let mut count = 0;
    while begun.elapsed() < time || count == 0 {
        ticks.tick().await;
        let place = places.clone().acquire_owned().await?;
        let (host, actors, number) = (host.clone(), actors.clone(), count % actors.len());
        sent.spawn(async move {
            let begun = clock::now();
            one_deposit(host, actors, number).await?;
            drop(place);
            anyhow::Ok(begun.elapsed())
        });
        count += 1;
    }
    while let Some(answered) = sent.join_next().await {
        latency.saturating_record(nanos(answered.context("a command broke")??));
    }
    Ok(Load { count: count as u64, took: begun.elapsed(), latency })
}
