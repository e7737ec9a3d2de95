//! `aether rollback`: back to what was deployed before.

use std::process::ExitCode;

use super::deploy::How;

/// Activates an earlier deployment again, through the gates of `aether deploy`. It gets a number
/// of its own.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The context; may be left out if there is only one.
    context: Option<String>,
    /// Number of the deployment, as `aether deployments` shows it [default: the one before]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    how: How,
}

/// Runs the command. Exit status 1: a gate refused it.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.how.roll_back(args.context, args.to)
}
