//! Commands on the embedded store, beside SQLite alone.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};

use super::streams::deposits;
use crate::{
    address::Address,
    bench::{
        ground::Ground,
        hosts::{Bench, accounts, wake},
        measure::{Series, in_turn, once_each},
        report::{Figure, Results},
        sqlite::Bare,
    },
};

/// What this is.
pub const SAYS: &str = "Commands given to the host in process, each acknowledged after an fsync, \
    beside a bare loop that commits as many rows at once into the same tables with the same checks; \
    no gateway and no waking, and in the bare loop no queue, no threads and nobody who waits.";

/// How many records wait where a store is large.
const AT_ONCE: usize = 256;

/// Measures on empty stores and on large ones.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let [few, _] = ground.scale.actors;
    for &clients in ground.scale.in_flight {
        let (bench, beside) = ground.embedded_pair().await?;
        let record = bench.typical_record().await?;
        let actors = accounts(few.max(clients))?;
        let bare = Bare::open(&beside, actors.clone(), record)?.thing(clients);
        wake_all(&bench, &actors).await?;
        let turns = deposits(&bench.host, &actors, clients, actors.len());
        let [bare, turns] = in_turn(ground.scale.rounds, [bare, turns]).await?;
        keep(results, clients, "empty", &bare, &turns);
        bench.end().await;
    }
    large(ground, results).await
}

async fn large(ground: &Ground, results: &mut Results) -> Result<()> {
    let [_, many] = ground.scale.actors;
    let dir = ground.large().await?;
    let beside = ground.folder();
    copy(&dir, &beside)?;
    let bench = Bench::embedded(&dir, &ground.cache()).await?;
    let record = bench.typical_record().await?;
    let actors = accounts(many)?;
    let bare = Bare::open(&beside, actors.clone(), record)?.thing(AT_ONCE);
    wake_all(&bench, &actors).await?;
    let turns = deposits(&bench.host, &actors, AT_ONCE, many);
    let [bare, turns] = in_turn(ground.scale.rounds, [bare, turns]).await?;
    keep(results, AT_ONCE, "large", &bare, &turns);
    bench.end().await;
    Ok(fs::remove_dir_all(beside)?)
}

/// Waking is another benchmark.
async fn wake_all(bench: &Bench, actors: &Arc<[Address]>) -> Result<()> {
    let (host, all) = (bench.host.clone(), actors.clone());
    let step = move |number: usize| {
        let (host, all) = (host.clone(), all.clone());
        async move { wake(&host, all.get(number).context("it is one of these")?).await.map(drop) }
    };
    once_each(AT_ONCE, actors.len(), step).await.map(drop)
}

fn keep(results: &mut Results, clients: usize, size: &str, bare: &Series, turns: &Series) {
    let name = format!("turn-embedded/bare-{clients}-at-once-{size}");
    let figure = Figure::rate(turns, "commands/s").beside(&name, turns.rate_ratio(bare));
    results.insert(name, Figure::rate(bare, "commits/s"));
    results.insert(format!("turn-embedded/{clients}-in-flight-{size}"), figure);
}

/// Copies a store that nobody has open.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
