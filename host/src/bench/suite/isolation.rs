//! What sandboxes cost: a new one for each command, and the way to another thread.

use anyhow::Result;
use futures::future::BoxFuture;

use crate::{
    address::Address,
    bench::{
        ground::Ground,
        hosts::{Bench, address, deposit, send},
        measure::{Load, Thing, histogram, in_turn, looped, nanos},
        report::{Figure, Results},
    },
    clock,
    host::Host,
};

/// What this is.
pub const SAYS: &str = "Commands on a store without I/O: an instance that is kept against a new one \
    for each command (`isolation: turn`), and a small command that runs inline against the same one \
    on the slow thread of its component, where it is after a call that overran; no gateway.";

/// Rounds of arithmetic that take longer than an inline slice of 2 ms on any machine.
const LONG: &str = r#"{"rounds":20000000}"#;

/// Rounds of a small command.
const SHORT: &str = r#"{"rounds":0}"#;

/// Small commands that stay on the slow thread after an overrun: one less than it takes to come back.
const SLOW: u64 = 15;

/// Clients at once, each with an actor of its own.
const CLIENTS: usize = 64;

/// Measures kept and new instances, and both threads.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let bench = ground.still().await?;
    let things = [
        deposits(&bench, "account", 1),
        deposits(&bench, "till", 1),
        deposits(&bench, "account", CLIENTS),
        deposits(&bench, "till", CLIENTS),
    ];
    let [kept, new, kept_many, new_many] = in_turn(ground.scale.rounds, things).await?;
    for (clients, kept, new) in [(1, kept, new), (CLIENTS, kept_many, new_many)] {
        let name = format!("isolation/actor-{clients}-clients");
        let figure = Figure::rate(&new, "commands/s").beside(&name, new.rate_ratio(&kept));
        results.insert(format!("isolation/turn-{clients}-clients"), figure);
        results.insert(name, Figure::rate(&kept, "commands/s"));
    }
    let (quick, slow) = (address("runner", "inline")?, address("runner", "slow")?);
    let host = bench.host.clone();
    let inline = looped(1, 1, move |_, _| {
        let (host, quick) = (host.clone(), quick.clone());
        async move { send(&host, &quick, "run", SHORT).await }
    });
    // The inline ones first: what overran is of the component, not of the actor.
    let [inline] = in_turn(ground.scale.rounds, [inline]).await?;
    let [hopped] = in_turn(ground.scale.rounds, [on_slow_thread(&bench.host, &slow)]).await?;
    let name = "isolation/inline";
    let figure = Figure::latency(&hopped).beside(name, hopped.latency_ratio(&inline, 0.5));
    results.insert("isolation/slow-thread".to_owned(), figure);
    results.insert(name.to_owned(), Figure::latency(&inline));
    bench.end().await;
    Ok(())
}

fn deposits(bench: &Bench, aggregate: &'static str, clients: usize) -> Thing {
    let host = bench.host.clone();
    looped(clients, 1, move |client, _| {
        let host = host.clone();
        async move { deposit(&host, &address(aggregate, &format!("c{client}"))?).await }
    })
}

/// After each call that overruns, the small ones that follow on the slow thread; only those count.
fn on_slow_thread(host: &Host, actor: &Address) -> Thing {
    let (host, actor) = (host.clone(), actor.clone());
    Box::new(move |time| {
        let (host, actor) = (host.clone(), actor.clone());
        let run = async move {
            let (begun, mut count, mut latency) = (clock::now(), 0, histogram()?);
            while begun.elapsed() < time || count == 0 {
                send(&host, &actor, "run", LONG).await?;
                for _ in 0..SLOW {
                    let started = clock::now();
                    send(&host, &actor, "run", SHORT).await?;
                    latency.saturating_record(nanos(started.elapsed()));
                    count += 1;
                }
            }
            Ok(Load { count, took: begun.elapsed(), latency })
        };
        Box::pin(async move { tokio::spawn(run).await? }) as BoxFuture<'static, Result<Load>>
    })
}
