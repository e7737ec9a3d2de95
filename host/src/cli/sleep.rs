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
    let body = match args.connection.client().post(&path, &[], String::new())?.success() {
        Ok(body) => body,
        Err(status) => return Ok(status),
    };
    if args.json {
        print::line(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let told: Told = serde_json::from_str(&body)?;
    let before = if told.was_awake { "" } else { " already" };
    print::line(&print::plain(&format!("{} is asleep{before}", told.actor)));
    Ok(ExitCode::SUCCESS)
}
