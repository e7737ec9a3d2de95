//! Commands through the faces, many clients at once.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::{ask::echoes, streams::publishes};
use crate::{
    address::Address,
    bench::{
        ground::{Ground, OnStreams},
        hosts::{HttpFace, own},
        http::{Connections, Echo},
        measure::{Thing, in_turn, looped},
        nats::Requests,
        report::{Figure, Results},
    },
    gateway::nats as face,
};

/// What this is.
pub const SAYS: &str = "Commands over NATS (all clients on one connection, as the plain publishes \
    beside them) and over HTTP/1.1 (a connection for each client) to a host on JetStream, clients \
    included; no TLS, no tokens and no network.";

/// Clients at once.
const CLIENTS: [usize; 2] = [64, 256];

/// Measures both faces in turn with plain publishes and echoes.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let [few, _] = ground.scale.actors;
    let streams = ground.on_streams(few).await?;
    let nats = ground.nats().await?;
    let host = &streams.bench.host;
    let limits = host.config().limits.clone();
    let over_nats =
        face::start(&nats.config, &streams.prefix, limits, Arc::new(host.clone())).await?;
    let (over_http, echo) = (HttpFace::start(host).await?, Echo::start().await?);
    for clients in CLIENTS {
        measure(ground, results, &streams, (&over_http, &echo), clients).await?;
    }
    over_nats.drain().await;
    over_http.end();
    streams.bench.end().await;
    Ok(())
}

async fn measure(
    ground: &Ground,
    results: &mut Results,
    streams: &OnStreams,
    (over_http, echo): (&HttpFace, &Echo),
    clients: usize,
) -> Result<()> {
    let actors = &streams.actors;
    let requests = Requests::open(ground.nats().await?, &streams.prefix).await?;
    let things = [
        publishes(&streams.raw, clients, actors.len()),
        asked(requests, actors.clone(), clients),
        posted(Connections::open(over_http.at, clients).await?, actors.clone()),
        echoes(Connections::open(echo.at, clients).await?),
    ];
    let [raw, nats, http, echoed] = in_turn(ground.scale.rounds, things).await?;
    let raw_name = format!("gateway/raw-{clients}-in-flight");
    let echo_name = format!("gateway/bare-http-echo-{clients}-clients");
    let figure = Figure::rate(&nats, "commands/s").beside(&raw_name, nats.rate_ratio(&raw));
    results.insert(format!("gateway/nats-{clients}-clients"), figure);
    let figure = Figure::rate(&http, "commands/s").beside(&echo_name, http.rate_ratio(&echoed));
    results.insert(format!("gateway/http-{clients}-clients"), figure);
    results.insert(raw_name, Figure::rate(&raw, "commits/s"));
    results.insert(echo_name, Figure::rate(&echoed, "requests/s"));
    Ok(())
}

fn asked(requests: Requests, actors: Arc<[Address]>, clients: usize) -> Thing {
    looped(clients, 1, move |client, n| {
        let (requests, actors) = (requests.clone(), actors.clone());
        async move {
            let number = own(client, n, clients, actors.len());
            requests.deposit(actors.get(number).context("the actor is one of these")?).await
        }
    })
}

/// Commands over HTTP, by as many clients as there are connections, each with actors of its own.
pub fn posted(connections: Connections, actors: Arc<[Address]>) -> Thing {
    let clients = connections.count();
    looped(clients, 1, move |client, n| {
        let (connections, actors) = (connections.clone(), actors.clone());
        async move {
            let number = own(client, n, clients, actors.len());
            let to = actors.get(number).context("the actor is one of these")?;
            connections.deposit(client, to).await
        }
    })
}
