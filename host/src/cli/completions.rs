//! `aether completions`: completions for a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints completions, e.g. `aether completions bash > ~/.local/share/bash-completion/completions/aether`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// None.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "aether",
        &mut std::io::stdout(),
    );
    Ok(ExitCode::SUCCESS)
}
