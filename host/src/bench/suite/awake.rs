//! What many awake actors cost.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};

use crate::{
    bench::{
        ground::Ground,
        hosts::{account, accounts},
        http::Connections,
        measure::{histogram, nanos, once_each},
        process::{Process, write_model},
        report::{Figure, Results},
    },
    clock,
};

/// What this is.
pub const SAYS: &str = "A host process of its own on an embedded store, whose actors, each with a \
    full window of 64 recent commands, are woken over HTTP by 64 clients: resident memory of that \
    process, the time to wake, a command to an actor without an instance, and the processor time \
    while nothing is asked; page tables and the page cache are not in it.";

/// Commands that an actor remembers by default.
const WINDOW: u64 = 64;

/// Clients that wake actors.
const CLIENTS: usize = 64;

/// Instances where they are few.
const FEW_INSTANCES: usize = 1000;

/// Commands to actors that have lost their instances.
const COLD: usize = 500;

/// Measures with few instances and with as many as the machine allows.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let [_, _, most] = ground.scale.awake;
    let data = ground.filled(accounts(most)?, 1, WINDOW).await?;
    let model = write_model(&ground.folder(), None)?;
    let few = FEW_INSTANCES.to_string();
    let few = ["--max-instances", few.as_str(), "--max-awake", "200000"];
    let host = start(ground, &model, &data, &few).await?;
    fill_up(ground, results, &host, "1000-instances").await?;
    cold(results, &host, most).await?;
    idle(ground, results, &host, most).await?;
    host.end().await?;
    let host = start(ground, &model, &data, &["--max-awake", "200000"]).await?;
    fill_up(ground, results, &host, "all-instances").await?;
    host.end().await?;
    Ok(std::fs::remove_dir_all(data)?)
}

async fn start(ground: &Ground, model: &Path, data: &Path, more: &[&str]) -> Result<Process> {
    Process::start(&[model.to_owned()], data, &ground.cache(), more).await
}

/// Wakes more and more actors.
async fn fill_up(
    ground: &Ground,
    results: &mut Results,
    host: &Process,
    instances: &str,
) -> Result<()> {
    let connections = Connections::open(host.at, CLIENTS).await?;
    let before = host.resident()?;
    results.insert(format!("awake/0-awake-{instances}"), Figure::of(megabytes(before), "MB"));
    let (mut woken, mut sizes) = (0, Vec::new());
    for wanted in ground.scale.awake {
        let begun = clock::now();
        wake(&connections, woken, wanted).await?;
        let (took, resident) = (begun.elapsed(), host.resident()?);
        let name = format!("{wanted}-awake-{instances}");
        results.insert(format!("awake/{name}"), Figure::of(megabytes(resident), "MB"));
        let rate = (wanted - woken) as f64 / took.as_secs_f64();
        results.insert(format!("awake/wakes-to-{name}"), Figure::of(rate, "wakes/s"));
        sizes.push((wanted, resident));
        woken = wanted;
    }
    let [.., (fewer, before), (more, after)] = sizes.as_slice() else { return Ok(()) };
    // Between the last two steps no instance is added where there are no more of them.
    if instances == "1000-instances" && *fewer > FEW_INSTANCES {
        let each = (*after as f64 - *before as f64) / (more - fewer) as f64;
        results.insert("awake/actor-without-instance".to_owned(), Figure::of(each, "B"));
    }
    Ok(())
}

/// Wakes the actors from number `from` to number `to`.
async fn wake(connections: &Connections, from: usize, to: usize) -> Result<()> {
    let connections = connections.clone();
    let step = move |number: usize| {
        let connections = connections.clone();
        async move {
            let path = format!("/v1/bench/account/{}/wake", account(from + number));
            connections.post(number % CLIENTS, &path, "").await.map(drop)
        }
    };
    once_each(CLIENTS, to - from, step).await.map(drop)
}

/// Commands to actors whose instances were taken back long ago, beside commands to one that has its.
async fn cold(results: &mut Results, host: &Process, awake: usize) -> Result<()> {
    let connections = Arc::new(Connections::open(host.at, 1).await?);
    let all = accounts(awake)?;
    let (mut cold, mut warm) = (histogram()?, histogram()?);
    let hot = all.first().context("there is an actor")?;
    connections.deposit(0, hot).await?;
    for actor in all.iter().skip(1).step_by((awake / COLD).max(1)) {
        for (to, times) in [(actor, &mut cold), (hot, &mut warm)] {
            let begun = clock::now();
            connections.deposit(0, to).await?;
            times.saturating_record(nanos(begun.elapsed()));
        }
    }
    let micros = |times: &hdrhistogram::Histogram<u64>, quantile| {
        times.value_at_quantile(quantile) as f64 / 1000.0
    };
    let figure = |times| Figure {
        p50: Some(micros(times, 0.5)),
        p99: Some(micros(times, 0.99)),
        ..Figure::of(micros(times, 0.5), "µs")
    };
    let name = "awake/command-with-instance";
    let ratio = micros(&cold, 0.5) / micros(&warm, 0.5);
    results.insert("awake/command-without-instance".to_owned(), figure(&cold).beside(name, ratio));
    results.insert(name.to_owned(), figure(&warm));
    Ok(())
}

async fn idle(ground: &Ground, results: &mut Results, host: &Process, awake: usize) -> Result<()> {
    let (begun, before) = (clock::now(), host.processor()?);
    tokio::time::sleep(ground.scale.idle).await;
    let (took, used) = (begun.elapsed(), host.processor()?.saturating_sub(before));
    let share = 100.0 * used.as_secs_f64() / took.as_secs_f64();
    let figure = Figure::of(share, "% of a core");
    results.insert(format!("awake/idle-cpu-{awake}-awake"), figure);
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
