//! `aether sleep`: puts an actor to sleep.

use std::process::ExitCode;

use serde::Deserialize;

use super::{
    client::{Connection, path},
    print,
};
use crate::address::Address;

/// Puts an actor to sleep.
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
    was_awake: bool,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = format!("{}/sleep", path(&args.address));
    args.connection.client().post(&path, &[], String::new())?.print(args.json, |told: &Told| {
        let before = if told.was_awake { "" } else { " already" };
        format!("{}\n", print::plain(&format!("{} is asleep{before}", told.actor)))
    })
}
