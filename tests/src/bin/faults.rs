//! `make faults`: pulls plugs by a seeded schedule, and checks every answer that was given.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use aether::clock;
use aether_tests::{
    faults::{
        disk::Disk,
        report::Report,
        runner,
        schedule::{Length, schedule},
    },
    host_process, nats_server, workspace,
};
use anyhow::{Context as _, Result};
use clap::Parser;

/// Plays rounds of work and faults on real processes and checks what clients were told.
#[derive(Debug, Parser)]
struct Args {
    /// What the schedule follows from; without one, a new one.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Every nemesis with every workload, some faults long.
    #[arg(long)]
    long: bool,
    /// Only these rounds of the schedule.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', env = "ROUNDS")]
    rounds: Vec<usize>,
    /// Where the report is written and failed rounds are kept; by default target/faults.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only show the schedule.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed} (SEED={seed} repeats it)");
    let length = if args.long { Length::Full } else { Length::Once };
    let disk = Disk::mount()?.is_some();
    if !disk {
        println!("only root can mount disks: without disk-full and read-only");
    }
    let mut rounds = schedule(seed, length, disk);
    if !args.rounds.is_empty() {
        rounds.retain(|round| args.rounds.contains(&round.number));
    }
    if args.list {
        rounds.iter().for_each(|round| println!("{round}"));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = args.out.unwrap_or_else(|| workspace::root().join("target/faults"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // What an earlier run left would be taken for this one's.
    let _ = fs::remove_dir_all(folder.join("failed"));
    let begun = clock::now();
    let report = runner::run(&rounds, &folder)?;
    let took = begun.elapsed();
    fs::write(folder.join("report.json"), format!("{:#}\n", report.json(seed)))?;
    fs::write(folder.join("report.md"), paper(&report, &command(seed, args.long), took)?)?;
    println!("{}", report.table());
    let failures = report.failures();
    for failure in &failures {
        println!("{failure}");
    }
    if !failures.is_empty() {
        let count = failures.len();
        println!("{count} rounds went wrong; `{}` repeats them", command(seed, args.long));
    }
    println!("{} faults in {} rounds", report.faults(), rounds.len());
    println!("{}", report.verdict());
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What plays the same schedule again.
fn command(seed: u64, long: bool) -> String {
    format!("SEED={seed} make faults{}", if long { "-long" } else { "" })
}

/// The last section of `docs/faults.md`: what was run, on what, and what came of it.
fn paper(report: &Report, command: &str, took: Duration) -> Result<String> {
    let folder = workspace::root();
    let host = String::from_utf8(host_process::run_cli(folder, ["--version"])?.stdout)?;
    let server = Command::new(nats_server::binary()?).arg("--version").output()?;
    let server = String::from_utf8(server.stdout)?;
    let cores = thread::available_parallelism()?;
    Ok(format!(
        "`{command}`: {} faults in {} minutes on {cores} cores, {}, {} (defaults: R1 and R3 sync to \
         disk every 2 minutes), a debug build of the host.\n\n{}\n`{}`\n",
        report.faults(),
        took.as_secs().div_ceil(60),
        host.trim(),
        server.trim(),
        report.table(),
        report.verdict(),
    ))
}
