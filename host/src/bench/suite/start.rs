//! How long a host takes to start.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::bench::{
    ground::Ground,
    measure::median,
    process::{Process, write_model},
    report::{Figure, Results},
};

/// What this is.
pub const SAYS: &str = "From the start of the process until it says that it listens: with ten \
    components on an empty store, whose compiled code is not cached and is, and with one on a \
    store of many records; the gates of the first deployment (scenarios included) are in those on \
    an empty store, and waking actors is in none.";

/// Components, each with a model of its own.
const COMPONENTS: usize = 10;

/// Measures starts one after the other.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let models = ground.folder();
    let ten: Vec<PathBuf> = (0..COMPONENTS)
        .map(|number| write_model(&models.join(number.to_string()), Some(number)))
        .collect::<Result<_>>()?;
    let one = [write_model(&models, None)?];
    let large = ground.large().await?;
    let (kept, large_cache) = (ground.folder(), ground.cache());
    time(&ten, &ground.folder(), &kept).await?;
    time(&one, &large, &large_cache).await?;
    let (mut new, mut cached, mut full) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ground.scale.starts {
        new.push(time(&ten, &ground.folder(), &ground.folder()).await?);
        cached.push(time(&ten, &ground.folder(), &kept).await?);
        full.push(time(&one, &large, &large_cache).await?);
    }
    for (name, times) in [
        ("ten-components-not-cached", new),
        ("ten-components-cached", cached),
        ("large-store", full),
    ] {
        results.insert(format!("start/{name}"), figure(&times));
    }
    Ok(())
}

async fn time(models: &[PathBuf], data: &Path, cache: &Path) -> Result<Duration> {
    let host = Process::start(models, data, cache, &[]).await?;
    let took = host.took;
    host.end().await?;
    Ok(took)
}

fn figure(times: &[Duration]) -> Figure {
    let all = || times.iter().map(|time| time.as_secs_f64() * 1000.0);
    Figure {
        min: Some(all().fold(f64::INFINITY, f64::min)),
        max: Some(all().fold(0.0, f64::max)),
        rounds: Some(times.len()),
        ..Figure::of(median(all()), "ms")
    }
}
