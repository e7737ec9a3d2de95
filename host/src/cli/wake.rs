//! `aether wake`: wakes an actor.

use std::process::ExitCode;

use serde::Deserialize;

use super::{
    client::{Connection, path},
    print,
};
use crate::address::Address;

/// Wakes an actor.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Told {
    actor: String,
    version: u64,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = format!("{}/wake", path(&args.address));
    args.connection.client().post(&path, &[], String::new())?.print(args.json, |told: &Told| {
        format!(
            "{}\n",
            print::plain(&format!("{} is awake at version {}", told.actor, told.version))
        )
    })
}
