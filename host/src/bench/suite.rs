//! The benchmarks. Each is a file that makes its ground, measures, and names its figures.

mod ask;
mod awake;
mod embedded;
mod gateway;
mod hot;
mod isolation;
mod reads;
mod replay;
mod restate;
mod start;
mod states;
mod streams;
mod wake;

use anyhow::Result;

use super::{ground::Ground, report::Results};

/// Every benchmark, in the order in which they run, with what it includes and leaves out.
pub const ALL: &[(&str, &str)] = &[
    ("raw-jetstream", streams::RAW),
    ("turn-jetstream", streams::TURN),
    ("turn-embedded", embedded::SAYS),
    ("ask-latency", ask::SAYS),
    ("gateway", gateway::SAYS),
    ("hot-actor", hot::SAYS),
    ("reads", reads::SAYS),
    ("wake", wake::SAYS),
    ("replay", replay::SAYS),
    ("awake", awake::SAYS),
    ("state-size", states::SAYS),
    ("isolation", isolation::SAYS),
    ("start", start::SAYS),
    ("beside-restate", restate::SAYS),
];

/// Runs one benchmark; `wanted` are all that are run.
///
/// # Errors
/// [`super::ground::Skipped`] if it cannot be run here; or whatever failed.
pub async fn run(
    name: &str,
    ground: &Ground,
    wanted: &[&str],
    results: &mut Results,
) -> Result<()> {
    match name {
        // Both are measured in turn where both are wanted.
        "raw-jetstream" => {
            let beside = wanted.contains(&"turn-jetstream");
            Box::pin(streams::run(ground, results, beside)).await
        }
        "turn-jetstream" if results.keys().any(|key| key.starts_with("turn-jetstream/")) => Ok(()),
        "turn-jetstream" => Box::pin(streams::run(ground, results, true)).await,
        "turn-embedded" => Box::pin(embedded::run(ground, results)).await,
        "ask-latency" => Box::pin(ask::run(ground, results)).await,
        "gateway" => Box::pin(gateway::run(ground, results)).await,
        "hot-actor" => Box::pin(hot::run(ground, results)).await,
        "reads" => Box::pin(reads::run(ground, results)).await,
        "wake" => Box::pin(wake::run(ground, results)).await,
        "replay" => Box::pin(replay::run(ground, results)).await,
        "awake" => Box::pin(awake::run(ground, results)).await,
        "state-size" => Box::pin(states::run(ground, results)).await,
        "isolation" => Box::pin(isolation::run(ground, results)).await,
        "start" => Box::pin(start::run(ground, results)).await,
        "beside-restate" => Box::pin(restate::run(ground, results)).await,
        other => {
            anyhow::bail!("`{other}` is in the list and nowhere else: this is a bug in aether")
        }
    }
}
