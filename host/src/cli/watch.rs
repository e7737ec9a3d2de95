//! `aether watch`: the events of a context as they come.

use std::{io::BufReader, process::ExitCode};

use anyhow::bail;

use super::client::{Connection, broken_off, explain, query};
use crate::address::is_name;

/// Follows the events of a context: one JSON object per line, old ones first. Each holds the
/// `cursor` after which `--after` goes on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The context.
    context: String,
    /// Go on after this cursor.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command, until the host or the reader of the lines ends it.
///
/// # Errors
/// If the host cannot be reached, or the context cannot be one.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !is_name(&args.context) {
        bail!("`{}`: expected the name of a context, e.g. bank", args.context);
    }
    let path = format!("/v1/{}/events{}", args.context, query(&[("after", args.after)]));
    let mut response = args.connection.client().open(&path)?;
    let status = response.status().as_u16();
    if status != 200 {
        let (said, status) = explain(status, &response.body_mut().read_to_string()?);
        eprintln!("{said}");
        return Ok(ExitCode::from(status));
    }
    follow(BufReader::new(response.into_body().into_reader()), &mut std::io::stdout().lock())
}

/// Copies the lines of a feed, without its heartbeats.
fn follow(feed: impl std::io::BufRead, out: &mut impl std::io::Write) -> anyhow::Result<ExitCode> {
    for line in feed.lines() {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        if let Some((said, status)) = broken_off(&line) {
            eprintln!("{said}");
            return Ok(ExitCode::from(status));
        }
        // Whoever reads may stop reading: that is how `head` ends a pipe.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_copied_heartbeats_are_not_and_a_problem_ends_it() {
        let mut out = Vec::new();
        let feed = b"{\"cursor\":\"1\"}\n\n{\"cursor\":\"2\"}\n{\"problem\":{\"code\":\"unavailable\",\"detail\":\"d\"}}\n{}\n";
        let status = follow(&feed[..], &mut out).unwrap();
        assert_eq!(out, b"{\"cursor\":\"1\"}\n{\"cursor\":\"2\"}\n");
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::from(3)));
    }
}
