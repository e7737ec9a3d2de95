//! How fast a past is folded.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use serde_json::value::RawValue;

use crate::{
    bench::{
        ground::Ground,
        hosts::{COMPONENT, DEPOSIT, MODEL, address},
        measure::{Load, Thing, histogram, in_turn, nanos},
        report::{Figure, Results},
    },
    clock,
    record::EventData,
    upcast::{Readings, read_event},
    vm::{Behaviour, Budget, Sandbox, SandboxConfig},
};

/// What this is.
pub const SAYS: &str = "Events as they stand in records, from JSON to values and through `evolve`, \
    by the functions that waking uses, on one core; without reading a store, parsing records and \
    checking their chain (`wake` has all of it).";

/// Events that are folded again and again.
const EVENTS: usize = 4096;

/// What one batch may take.
const BUDGET: Duration = Duration::from_secs(10);

/// Measures batches of one and of as many as waking takes.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let config = SandboxConfig { cache_dir: Some(ground.cache()), ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config)?;
    let component = sandbox.load(COMPONENT.into()).await?;
    component.keep().await;
    let (model, _) = aether_wit::read("bench.storm.yaml", MODEL.as_bytes())?;
    let behaviour = component.behaviour(&Arc::new(model), "account")?;
    let things = [folds(&behaviour, 1)?, folds(&behaviour, 256)?];
    let [one, many] = in_turn(ground.scale.rounds, things).await?;
    results.insert("replay/batches-of-1".to_owned(), Figure::rate(&one, "events/s"));
    results.insert("replay/batches-of-256".to_owned(), Figure::rate(&many, "events/s"));
    Ok(())
}

fn folds(behaviour: &Arc<Behaviour>, batch: usize) -> Result<Thing> {
    let data = RawValue::from_string(DEPOSIT.to_owned())?;
    let event = EventData { name: "deposited".to_owned(), data };
    let events: Arc<[EventData]> = std::iter::repeat_n(event, EVENTS).collect();
    let behaviour = behaviour.clone();
    Ok(Box::new(move |time| {
        let (behaviour, events) = (behaviour.clone(), events.clone());
        let run = async move { tokio::spawn(fold(behaviour, events, batch, time)).await? };
        Box::pin(run) as BoxFuture<'static, Result<Load>>
    }))
}

async fn fold(
    behaviour: Arc<Behaviour>,
    stored: Arc<[EventData]>,
    batch: usize,
    time: Duration,
) -> Result<Load> {
    let actor = address("account", "replayed")?;
    let mut guest = behaviour.guest(&actor);
    let (readings, model) = (Readings::default(), behaviour.model().digest);
    let mut state = guest.initial(&mut Budget::new(BUDGET)).await?;
    let (begun, mut count, mut latency) = (clock::now(), 0, histogram()?);
    while begun.elapsed() < time {
        for some in stored.chunks(batch) {
            let started = clock::now();
            let mut events = Vec::with_capacity(batch);
            for event in some {
                let read = read_event(&readings, &mut guest, &model, event, BUDGET).await;
                events.push(read.ok().context("the event fits its model")?);
            }
            state = guest.evolve(&state, &events, &mut Budget::new(BUDGET)).await?;
            latency.saturating_record(nanos(started.elapsed()));
            count += events.len() as u64;
        }
    }
    Ok(Load { count, took: begun.elapsed(), latency })
}
