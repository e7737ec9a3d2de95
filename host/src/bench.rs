//! `aether bench`: what the host costs, beside what the store alone costs.
//!
//! *Problem.* A figure of one machine says nothing of another, and a machine that others use says
//! two things within a minute. *Mechanism.* Each benchmark measures the host and what it stands on
//! in turn, round by round, in one process, and gives their ratio. *Limits.* Clients, host and
//! server share the machine: latencies are higher and rates lower than with each on its own.
//!
//! What is measured is what users run: the public handle ([`crate::host::Host`]), the real faces,
//! the real stores, and where memory is counted a process of its own. What stands beside it goes
//! around the host: `bench/nats.rs`, `bench/sqlite.rs`, `bench/http.rs`.

mod chart;
mod goals;
mod ground;
mod history;
pub(crate) mod hosts;
mod http;
mod machine;
mod measure;
mod nats;
mod process;
mod report;
mod sqlite;
mod still;
mod suite;

use std::path::PathBuf;

use anyhow::Result;

pub use self::{
    chart::{Frame, bars},
    goals::{Goal, Met},
    machine::this_machine,
    measure::median,
    report::{About, Figure, Report, Results, put_into, shown},
};
use self::{
    ground::{Ground, Skipped},
    report::{chosen, table},
};

/// What is to be measured, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The benchmarks; none = all.
    pub names: Vec<String>,
    /// Where the results go. The stores that are measured lie below it meanwhile, so it says which
    /// disk is measured.
    pub out: PathBuf,
    /// A NATS that runs already.
    pub nats: Option<String>,
    /// The nats-server to start if there is none.
    pub nats_server: Option<PathBuf>,
    /// A folder with the programs `restate-server` and `counter`, to be measured beside.
    pub restate: Option<PathBuf>,
    /// Whether only to see that everything works: its figures mean nothing.
    pub quick: bool,
}

/// The names of all benchmarks, and what each includes and leaves out.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    suite::ALL.to_vec()
}

/// Measures, tells each table when it is there, and writes the results into `options.out`.
///
/// # Errors
/// If a name is none, or something fails that is not just missing here.
pub async fn run(options: Options, tell: impl Fn(&str)) -> Result<Report> {
    let names: Vec<_> = suite::ALL.iter().map(|(name, _)| *name).collect();
    let names = chosen(&names, &options.names)?;
    let out = options.out.clone();
    let mut ground = Ground::new(options)?;
    let mut report = Report::default();
    let mut failed = None;
    for (name, says) in suite::ALL.iter().filter(|(name, _)| names.contains(name)) {
        let load = machine::load();
        tell(&format!("\n## {name}\n\n{says}\n"));
        let skipped = match suite::run(name, &ground, &names, &mut report.results).await {
            Ok(()) => String::new(),
            Err(error) => match error.downcast::<Skipped>() {
                Ok(Skipped(why)) => why,
                Err(error) => {
                    let why = format!("it failed: {error:#}");
                    failed.get_or_insert_with(|| format!("`{name}`: {error:#}"));
                    why
                }
            },
        };
        tell(&format!("{}; load average before: {load}\n", machine::line(&ground)));
        if !skipped.is_empty() {
            tell(&format!("Not measured: {skipped}\n"));
        }
        if report.of(name).next().is_some() {
            tell(&table(report.of(name)));
        }
        let about = About { name: (*name).to_owned(), says: (*says).to_owned(), load, skipped };
        report.about.push(about);
    }
    report.settings = machine::settings(&ground);
    report.goals = goals::goals(&report.results, &report.about);
    report.write(&out)?;
    ground.end().await?;
    match failed {
        Some(why) => anyhow::bail!("{why} (the other results are in {})", out.display()),
        None => Ok(report),
    }
}
