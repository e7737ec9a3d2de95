//! The command line: one file per command.
//!
//! Exit statuses are those of the codes: 0 done, 1 refused by the domain or the expected version,
//! 2 the request must change, 3 try again, 4 somebody must look.

pub mod actors;
pub mod audit;
pub mod bench;
pub mod bindings;
pub mod blame;
pub mod bundle;
pub mod client;
pub mod completions;
pub mod componentize;
pub mod deploy;
pub mod deployments;
pub mod dev;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod flags;
pub mod fork;
pub mod hints;
pub mod model;
pub mod new;
pub mod past;
pub mod print;
pub mod release;
pub mod replay;
pub mod rollback;
pub mod run;
pub mod send;
pub mod sleep;
pub mod state;
pub mod test;
pub mod wake;
pub mod watch;
pub mod what_if;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status of a request that must change.
pub const INVALID: u8 = 2;

/// Exit status of what may work when it is tried again.
pub const RETRY: u8 = 3;

#[derive(Debug, Parser)]
#[command(name = "aether", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host.
    Run(run::Args),
    /// Give a command to an actor.
    Send(send::Args),
    /// Show an actor's state, now or at any version.
    State(state::Args),
    /// Show an actor's events.
    Events(events::Args),
    /// Show what changed in an actor's state between two versions.
    Diff(diff::Args),
    /// Show the event that gave a field of an actor's state its value.
    Blame(blame::Args),
    /// Fold an actor's events again, with any component, and watch its state change.
    Replay(replay::Args),
    /// Try commands on a scratch copy of an actor, in memory only.
    Fork(fork::Args),
    /// List actors.
    Actors(actors::Args),
    /// Follow the events of a context as they come, one JSON object per line.
    Watch(watch::Args),
    /// Wake an actor.
    Wake(wake::Args),
    /// Put an actor to sleep.
    Sleep(sleep::Args),
    /// Let a quarantined actor go on.
    Release(release::Args),
    /// Read everything that is stored and name what is wrong.
    Audit(audit::Args),
    /// Deploy a model to the running hosts.
    Deploy(deploy::Args),
    /// Fold what is stored through other code, and tell what would differ.
    WhatIf(what_if::Args),
    /// Go back to what was deployed before.
    Rollback(rollback::Args),
    /// Show what was deployed, and where it is served.
    Deployments(deployments::Args),
    /// Check a model, and make from it what others need.
    Model(model::Args),
    /// Make a folder with a small model and its component.
    New(new::Args),
    /// Write what a language needs to implement a model.
    Bindings(bindings::Args),
    /// Make a component of a core module.
    Componentize(componentize::Args),
    /// Run a model's scenarios against its components.
    Test(test::Args),
    /// Look for what this machine lacks.
    Doctor(doctor::Args),
    /// Measure what the host costs on this machine.
    Bench(bench::Args),
    /// Print completions for a shell.
    Completions(completions::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(status) => status,
        Err(error) => {
            let refused = error.downcast_ref::<client::Refused>();
            match error.downcast_ref::<aether_wit::Report>() {
                // The mistakes of a model are told as the compiler tells them, all at once.
                Some(report) => eprint!("{report}"),
                None if refused.is_some() => eprintln!("{error:#}"),
                None => eprintln!("error: {error:#}"),
            }
            let away = error.downcast_ref::<client::Unreachable>().map(|_| RETRY);
            let status = refused.map(|refused| refused.status).or(away);
            ExitCode::from(status.unwrap_or(INVALID))
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let level = match cli.command {
        // The NATS client tells every connection twice; the store tells what matters of them.
        Command::Run(_) => "info,async_nats=warn",
        // It ends servers that others are still connected to.
        Command::Bench(_) => "warn,aether::store::jetstream::connection=error",
        _ => "warn",
    };
    crate::logging::start(level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(Box::pin(dispatch(cli.command)));
    // What still runs was left on purpose: waiting for it could take for ever.
    runtime.shutdown_background();
    done
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => Box::pin(run::run(args)).await,
        Command::Send(args) => send::run(args).await,
        Command::State(args) => state::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Diff(args) => diff::run(args).await,
        Command::Blame(args) => Box::pin(blame::run(args)).await,
        Command::Replay(args) => Box::pin(replay::run(args)).await,
        Command::Fork(args) => Box::pin(fork::run(args)).await,
        Command::Actors(args) => actors::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Wake(args) => wake::run(args).await,
        Command::Sleep(args) => sleep::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Audit(args) => Box::pin(audit::run(args)).await,
        Command::Deploy(args) => deploy::run(args).await,
        Command::WhatIf(args) => what_if::run(args).await,
        Command::Rollback(args) => rollback::run(args).await,
        Command::Deployments(args) => deployments::run(args).await,
        Command::Model(args) => model::run(args).await,
        Command::New(args) => new::run(args).await,
        Command::Bindings(args) => bindings::run(args).await,
        Command::Componentize(args) => componentize::run(args).await,
        Command::Test(args) => Box::pin(test::run(args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(args)).await,
        Command::Bench(args) => Box::pin(bench::run(args)).await,
        Command::Completions(args) => completions::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::settings::SETTINGS;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_run_tells_every_setting_with_default_and_variable() {
        let mut cli = Cli::command();
        let run = cli.find_subcommand_mut("run").unwrap();
        let help = run.clone().term_width(0).render_long_help().to_string();
        for setting in SETTINGS {
            assert!(help.contains(&format!("--{}", setting.name)), "{}", setting.name);
            assert!(help.contains(setting.help), "{}", setting.name);
            assert!(help.contains(&setting.variable()), "{}", setting.name);
            let default = format!("[default: {}]", setting.default);
            assert!(setting.default.is_empty() || help.contains(&default), "{}", setting.name);
        }
    }
}
