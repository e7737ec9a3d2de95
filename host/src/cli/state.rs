//! `aether state`: an actor's state, now or at any version.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Connection, path, query},
    print,
};
use crate::address::Address;

/// Shows an actor's state.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The state as it was at this version.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Wait until the actor has reached this version.
    #[arg(long, value_name = "N")]
    min_version: Option<u64>,
    /// Take the answer from the host's memory, which may be behind the log.
    #[arg(long)]
    local: bool,
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    actor: String,
    version: u64,
    state: Box<RawValue>,
    component: String,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let query = query(&[
        ("version", args.version.map(|n| n.to_string())),
        ("min-version", args.min_version.map(|n| n.to_string())),
        ("consistency", args.local.then(|| "local".to_owned())),
    ]);
    let path = format!("{}{query}", path(&args.address));
    args.connection.client().get(&path)?.print(args.json, shown)
}

fn shown(told: &Told) -> String {
    let head = print::plain(&format!("{} at version {}", told.actor, told.version));
    let state = print::fields(&told.state);
    format!("{head}\n{state}component {}\n", print::plain(&told.component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_shown_field_by_field() {
        let told = r#"{"actor":"bank/account/a","version":2,"state":{"owner":"A","balance":5},"component":"sha256:1"}"#;
        let expected =
            "bank/account/a at version 2\n  owner    \"A\"\n  balance  5\ncomponent sha256:1\n";
        assert_eq!(shown(&serde_json::from_str(told).unwrap()), expected);
    }
}
