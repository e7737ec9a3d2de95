//! States of awake actors.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::streams::deposits;
use crate::{
    address::Address,
    bench::{
        ground::{Ground, Skipped},
        hosts::{Bench, PATIENCE, accounts},
        machine,
        measure::{Thing, in_turn, looped},
        nats::Nats,
        report::{Figure, Results},
    },
    clock,
    command::{Consistency, Query},
    host::Host,
};

/// What this is.
pub const SAYS: &str = "States of awake actors as JSON, in process: `local` from memory by as many \
    clients as there are cores, and confirmed with the store by 64 clients, on the embedded store, \
    on one nats-server (R1) and on three of one machine (R3); no gateway.";

/// Clients whose reads are confirmed with the store.
const CLIENTS: usize = 64;

/// One of this many local reads is timed: reading the clock takes part of what they take.
const TIMED: u64 = 16;

/// Measures what can be read here.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let [few, _] = ground.scale.actors;
    let actors = accounts(few)?;
    let embedded = Bench::embedded(&ground.folder(), &ground.cache()).await?;
    write(&embedded.host, &actors).await?;
    let things = [
        read(&embedded.host, &actors, machine::cores(), Consistency::Local),
        read(&embedded.host, &actors, CLIENTS, Consistency::Linearizable),
    ];
    let [local, confirmed] = in_turn(ground.scale.rounds, things).await?;
    results.insert("reads/local".to_owned(), Figure::rate(&local, "reads/s"));
    let figure = Figure::rate(&confirmed, "reads/s");
    results.insert("reads/confirmed-embedded".to_owned(), figure);
    embedded.end().await;

    on_nats(ground, results, ground.nats().await?, "reads/confirmed-jetstream-r1").await?;
    if let Some(url) = &ground.options.nats {
        tracing::info!(%url, "R3 is measured only on servers of our own");
        return Ok(());
    }
    match ground.nats_server() {
        Ok(server) => {
            let three = Nats::start_three(&server, &ground.work.join("nats-r3")).await?;
            on_nats(ground, results, &three, "reads/confirmed-jetstream-r3").await
        }
        Err(error) if error.is::<Skipped>() => Ok(()),
        Err(error) => Err(error),
    }
}

async fn on_nats(ground: &Ground, results: &mut Results, nats: &Nats, name: &str) -> Result<()> {
    let [few, _] = ground.scale.actors;
    let actors = accounts(few)?;
    let bench = Bench::jetstream(&nats.config, &ground.name(), &ground.cache()).await?;
    write(&bench.host, &actors).await?;
    let things = [read(&bench.host, &actors, CLIENTS, Consistency::Linearizable)];
    let [confirmed] = in_turn(ground.scale.rounds, things).await?;
    results.insert(name.to_owned(), Figure::rate(&confirmed, "reads/s"));
    bench.end().await;
    Ok(())
}

/// One event for each actor.
async fn write(host: &Host, actors: &Arc<[Address]>) -> Result<()> {
    let mut deposits = deposits(host, actors, actors.len(), actors.len());
    deposits(std::time::Duration::ZERO).await.map(drop)
}

fn read(host: &Host, actors: &Arc<[Address]>, clients: usize, consistency: Consistency) -> Thing {
    let (host, actors) = (host.clone(), actors.clone());
    let keep = if consistency == Consistency::Local { TIMED } else { 1 };
    looped(clients, keep, move |client, n| {
        let (host, actors) = (host.clone(), actors.clone());
        async move {
            let number = (client * 7 + usize::try_from(n)?) % actors.len();
            let query = Query {
                actor: actors.get(number).context("the actor is one of these")?.clone(),
                version: None,
                min_version: None,
                consistency,
                deadline: clock::now() + PATIENCE,
            };
            let view = host.state(query).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
            anyhow::ensure!(view.version > 0, "{} has no events", view.actor);
            Ok(())
        }
    })
}
