//! `aether what-if`: what other code would make of the real past.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::{bundle::bundle_with, client::Connection, deploy::order};
use crate::{
    address::Address, config::units, deploy::replay::pick::MAX_SAMPLE, gateway::http::deploy::Told,
};

/// Folds what is stored through a model and its components and through what is deployed, and tells
/// what fails and what differs. Changes nothing. Exit status 1: something does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model; its components lie where it says.
    model: PathBuf,
    /// A component to use in the place of those that the model names; once for each.
    #[arg(long, value_name = "FILE")]
    component: Vec<PathBuf>,
    /// Only this actor: CONTEXT/AGGREGATE/ID.
    #[arg(long)]
    actor: Option<Address>,
    /// Only so many actors, taken at random; the seed is printed. At most 100000
    #[arg(long, value_name = "N", conflicts_with = "actor", value_parser = count)]
    sample: Option<usize>,
    /// Takes the same actors again as the sample that printed it.
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    seed: Option<u64>,
    /// How long it may take, e.g. 30s [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = units::duration, conflicts_with_all = ["actor", "sample"])]
    budget: Option<Duration>,
    /// Everything that is stored, however long it takes.
    #[arg(long, conflicts_with_all = ["budget", "actor", "sample"])]
    all: bool,
    /// Print what the host tells, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How many actors a sample has.
fn count(text: &str) -> Result<usize, String> {
    let refused = || format!("expected 1 to {MAX_SAMPLE} actors");
    text.parse().ok().filter(|count| (1..=MAX_SAMPLE).contains(count)).ok_or_else(refused)
}

/// Runs the command.
///
/// # Errors
/// If the model or a component cannot be read, or the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let bundle = bundle_with(&args.model, &args.component)?;
    let told = Told {
        what_if: true,
        actor: args.actor.map(|actor| actor.to_string()),
        sample: args.sample,
        seed: args.seed.or_else(|| args.sample.map(|_| rand::random())),
        budget: args.budget.map(|budget| format!("{}ms", budget.as_millis())),
        all: args.all,
        ..Told::default()
    };
    order(&args.connection, args.json, &told, &bundle)
}
