//! Commands on JetStream, beside plain publishes of records of the same size.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::{
    address::Address,
    bench::{
        ground::{Ground, OnStreams},
        hosts::{deposit, own},
        measure::{Thing, in_turn, looped, once_each},
        nats::Raw,
        report::{Figure, Results},
    },
    host::Host,
};

/// What `raw-jetstream` is.
pub const RAW: &str = "async-nats publishes with the expected last sequence of the subject, the \
    bytes of one of our records, into streams with the host's own settings, and waits for the \
    acknowledgement: no host, one connection.";

/// What `turn-jetstream` is.
pub const TURN: &str = "Commands given to the host in process, each client with actors of its own \
    that are awake: check, decide, evolve, record, append, reply; no gateway and no waking.";

/// Clients that make all actors known before anything is measured.
const WARMERS: usize = 256;

/// Measures raw publishes and, with `host`, the host's commands in turn with them.
pub async fn run(ground: &Ground, results: &mut Results, host: bool) -> Result<()> {
    for count in ground.scale.actors {
        let room = count.max(ground.scale.in_flight.iter().copied().max().unwrap_or(1));
        let streams = ground.on_streams(room).await?;
        warm(&streams, host).await?;
        for &clients in ground.scale.in_flight {
            measure(ground, results, &streams, (count, clients), host).await?;
        }
        streams.bench.end().await;
    }
    Ok(())
}

/// Every actor is used once, so that none of them is woken, and no subject made, in a round.
async fn warm(streams: &OnStreams, host: bool) -> Result<()> {
    let raw = streams.raw.clone();
    let step = move |number| {
        let raw = raw.clone();
        async move { raw.publish(number).await }
    };
    once_each(WARMERS, streams.actors.len(), step).await?;
    if host {
        let (host, actors) = (streams.bench.host.clone(), streams.actors.clone());
        let step = move |number| one_deposit(host.clone(), actors.clone(), number);
        once_each(WARMERS, streams.actors.len(), step).await?;
    }
    Ok(())
}

async fn measure(
    ground: &Ground,
    results: &mut Results,
    streams: &OnStreams,
    (count, clients): (usize, usize),
    host: bool,
) -> Result<()> {
    let raw_name = format!("raw-jetstream/{clients}-in-flight-{count}-subjects");
    let room = count.max(clients);
    let raw = publishes(&streams.raw, clients, room);
    if host {
        let turns = deposits(&streams.bench.host, &streams.actors, clients, room);
        let [raw, turns] = in_turn(ground.scale.rounds, [raw, turns]).await?;
        let figure = Figure::rate(&turns, "commands/s").beside(&raw_name, turns.rate_ratio(&raw));
        results.insert(format!("turn-jetstream/{clients}-in-flight-{count}-actors"), figure);
        results.insert(raw_name, Figure::rate(&raw, "commits/s"));
    } else {
        let [raw] = in_turn(ground.scale.rounds, [raw]).await?;
        results.insert(raw_name, Figure::rate(&raw, "commits/s"));
    }
    Ok(())
}

/// Plain publishes by `clients`, each with subjects of its own among the first `room`.
pub fn publishes(raw: &Raw, clients: usize, room: usize) -> Thing {
    let raw = raw.clone();
    looped(clients, 1, move |client, n| {
        let raw = raw.clone();
        async move { raw.publish(own(client, n, clients, room)).await }
    })
}

/// Commands in process by `clients`, each with actors of its own among the first `room`.
pub fn deposits(host: &Host, actors: &Arc<[Address]>, clients: usize, room: usize) -> Thing {
    let (host, actors) = (host.clone(), actors.clone());
    looped(clients, 1, move |client, n| {
        one_deposit(host.clone(), actors.clone(), own(client, n, clients, room))
    })
}

/// One command to one of `actors`.
pub async fn one_deposit(host: Host, actors: Arc<[Address]>, number: usize) -> Result<()> {
    deposit(&host, actors.get(number).context("the actor is one of these")?).await
}
