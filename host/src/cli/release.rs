//! `aether release`: lets a quarantined actor go on.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::{client::Connection, print};
use crate::address::Address;

/// Lets a quarantined actor go on: when its log can be read again, or without what is skipped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// Let nothing count from the damage through this position; once for each damage.
    #[arg(long, value_name = "POSITION", requires = "because")]
    skip: Vec<u64>,
    /// Why; it is kept in the log.
    #[arg(long, value_name = "TEXT", requires = "skip")]
    because: Option<String>,
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
    was_quarantined: bool,
    repair: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut order = json!({ "actor": args.address.to_string() });
    if let Some(because) = args.because {
        order = json!({ "actor": args.address.to_string(), "skip": args.skip, "because": because });
    }
    let answer = args.connection.client().post("/admin/release", &[], order.to_string())?;
    answer.print(args.json, shown)
}

fn shown(told: &Told) -> String {
    let what = match (told.repair, told.was_quarantined) {
        (Some(at), _) => {
            format!("goes on at version {}; the repair is at position {at}", told.version)
        }
        (None, true) => format!("goes on at version {}", told.version),
        (None, false) => {
            format!("was not quarantined; its log is whole up to version {}", told.version)
        }
    };
    format!("{}\n", print::plain(&format!("{} {what}", told.actor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_a_sentence() {
        let told = |was_quarantined, repair| {
            shown(&Told { actor: "bank/account/a".to_owned(), version: 3, was_quarantined, repair })
        };
        assert_eq!(told(true, None), "bank/account/a goes on at version 3\n");
        assert!(told(true, Some(9)).contains("position 9"));
        assert!(told(false, None).contains("was not quarantined"));
    }
}
