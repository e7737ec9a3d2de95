//! `aether bench`: measures what the host costs on this machine.

use std::{path::PathBuf, process::ExitCode};

use super::print;
use crate::bench::{self, Met, Options, Report};

/// Exit status after a signal.
const STOPPED: u8 = 130;

/// Measures what the host costs on this machine, beside what its stores cost alone
///
/// Each benchmark measures two things in turn, round by round, and tells their ratio. All of them
/// take about a quarter of an hour. Stores and servers are made below `--out` and removed at the
/// end; on a NATS of yours, streams whose names begin with `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these benchmarks [default: all, see --list]
    names: Vec<String>,

    /// List the benchmarks, and what each includes and leaves out
    #[arg(long)]
    list: bool,

    /// Where results go, and stores meanwhile: on the disk that is to be measured
    #[arg(long, value_name = "DIR", default_value = "aether-bench")]
    out: PathBuf,

    /// Measure on this running NATS instead of starting one
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    /// The nats-server to start [default: $NATS_SERVER, or the one on the path]
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,

    /// A folder with the programs `restate-server` and `counter`, to measure beside Restate;
    /// `make bench` makes it where it can
    #[arg(long, value_name = "DIR")]
    restate: Option<PathBuf>,

    /// Only see that everything works: small, a few seconds, and its figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Measure nothing: put the tables of the last run in --out between the marks of this document
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    into: Option<PathBuf>,

    /// Print the results as JSON, as they are in summary.json
    #[arg(long)]
    json: bool,
}

/// Runs the command. Goals that are missed are told and are no failure.
///
/// # Errors
/// If a benchmark fails for another reason than that something is missing here.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.list {
        let rows = bench::all().into_iter().map(|(name, says)| vec![name.into(), says.into()]);
        print::text(&print::table(&rows.collect::<Vec<_>>()));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(document) = &args.into {
        Report::read(&args.out)?.put_into(document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let out = args.out.clone();
    let options = Options {
        names: args.names,
        out: args.out,
        nats: args.nats,
        nats_server: args.nats_server,
        restate: args.restate,
        quick: args.quick,
    };
    let json = args.json;
    let tell = |text: &str| {
        if !json {
            print::line(text.trim_end_matches('\n'));
        }
    };
    let report = tokio::select! {
        report = Box::pin(bench::run(options, tell)) => report?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopped; what was made on the way is removed");
            return Ok(ExitCode::from(STOPPED));
        }
    };
    if json {
        print::text(&std::fs::read_to_string(out.join("summary.json"))?);
    } else {
        print::text(&goals(&report));
        let out = out.display();
        print::line(&format!("summary.json, report.md and charts are in {out}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn goals(report: &Report) -> String {
    let mut rows = vec![["goal", "must", "aim", "measured", "met"].map(str::to_owned).to_vec()];
    for goal in report.goals.iter().filter(|goal| goal.met != Met::Skipped) {
        let measured = goal.measured.map_or_else(|| "–".to_owned(), bench::shown);
        let (must, aim) = (goal.must.clone(), goal.aim.clone());
        rows.push(vec![goal.goal.clone(), must, aim, measured, goal.met.as_str().to_owned()]);
    }
    format!("\n{}\n", print::table(&rows))
}
