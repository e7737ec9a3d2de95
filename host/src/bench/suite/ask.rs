//! One client that sends one command after the other.

use anyhow::Result;

use super::streams::{deposits, publishes};
use crate::{
    address::Address,
    bench::{
        ground::Ground,
        hosts::{DEPOSIT, HttpFace, account, accounts, address},
        http::{Connections, Echo},
        measure::{Thing, in_turn, looped},
        nats::Requests,
        report::{Figure, Results},
        sqlite::Bare,
    },
    gateway::nats as face,
};

/// What this is.
pub const SAYS: &str = "One client sends one command after the other to an actor that is awake, in \
    process, over NATS and over HTTP, beside one plain publish with its acknowledgement and one \
    HTTP request that is only echoed; client, host and server share the machine, so no network.";

/// Measures all ways in turn.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let streams = ground.on_streams(4).await?;
    let nats = ground.nats().await?;
    let host = &streams.bench.host;
    let limits = host.config().limits.clone();
    let service = std::sync::Arc::new(host.clone());
    let over_nats = face::start(&nats.config, &streams.prefix, limits, service).await?;
    let (over_http, echo) = (HttpFace::start(host).await?, Echo::start().await?);
    let things = [
        publishes(&streams.raw, 1, 1),
        deposits(host, &streams.actors, 1, 1),
        requests(Requests::open(nats, &streams.prefix).await?, address("account", &account(1))?),
        posts(Connections::open(over_http.at, 1).await?, address("account", &account(2))?),
        echoes(Connections::open(echo.at, 1).await?),
    ];
    let [raw, ours, nats, http, echoed] = in_turn(ground.scale.rounds, things).await?;
    let name = |variant: &str| format!("ask-latency/{variant}");
    let publish = name("raw-publish-and-ack");
    for (variant, series) in [("in-process", &ours), ("over-nats", &nats), ("over-http", &http)] {
        let ratio = series.latency_ratio(&raw, 0.5);
        results.insert(name(variant), Figure::latency(series).beside(&publish, ratio));
    }
    results.insert(publish, Figure::latency(&raw));
    results.insert(name("bare-http-echo"), Figure::latency(&echoed));
    over_nats.drain().await;
    over_http.end();
    streams.bench.end().await;
    on_disk(ground, results).await
}

/// Apart from the rest: an fsync also waits for what others have just written.
async fn on_disk(ground: &Ground, results: &mut Results) -> Result<()> {
    let (embedded, beside) = ground.embedded_pair().await?;
    let record = embedded.typical_record().await?;
    let bare = Bare::open(&beside, accounts(1)?, record)?.thing(1);
    let ours = deposits(&embedded.host, &accounts(1)?, 1, 1);
    let [bare, ours] = in_turn(ground.scale.rounds, [bare, ours]).await?;
    let name = "ask-latency/bare-commit-embedded";
    let figure = Figure::latency(&ours).beside(name, ours.latency_ratio(&bare, 0.5));
    results.insert("ask-latency/in-process-embedded".to_owned(), figure);
    results.insert(name.to_owned(), Figure::latency(&bare));
    embedded.end().await;
    Ok(())
}

fn requests(requests: Requests, to: Address) -> Thing {
    looped(1, 1, move |_, _| {
        let (requests, to) = (requests.clone(), to.clone());
        async move { requests.deposit(&to).await }
    })
}

fn posts(connections: Connections, to: Address) -> Thing {
    looped(1, 1, move |client, _| {
        let (connections, to) = (connections.clone(), to.clone());
        async move { connections.deposit(client, &to).await }
    })
}

/// Requests that are only echoed, by as many clients as there are connections.
pub fn echoes(connections: Connections) -> Thing {
    let clients = connections.count();
    looped(clients, 1, move |client, _| {
        let connections = connections.clone();
        async move { connections.post(client, "/echo", DEPOSIT).await.map(drop) }
    })
}
