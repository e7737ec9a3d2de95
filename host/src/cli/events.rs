//! `aether events`: what happened to an actor.

use std::process::ExitCode;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    client::{Client, Connection, path, query},
    print,
};
use crate::{address::Address, gateway::reply};

/// Events that are shown if nobody says.
const LIMIT: u64 = 100;

/// Events that are asked for at once; a host gives no more.
const PAGE: u64 = 1000;

/// Shows an actor's events as they were stored.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The first version to show [default: 1]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// The last version to show
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// How many to show at most [default: 100; with --to, all up to there]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print them as one JSON object, in the form of the host's answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    actor: String,
    events: Vec<Line>,
    next: Option<u64>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    version: u64,
    r#type: String,
    data: Box<RawValue>,
    at: u64,
    command: String,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, or the log is damaged before the last of them.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let from = args.from.unwrap_or(1).max(1);
    let to = args.to.unwrap_or(u64::MAX);
    if to < from {
        bail!("--from {from} is behind --to {to}: nothing lies between");
    }
    if args.limit == Some(0) {
        bail!("--limit is 0: expected at least 1");
    }
    let wanted = args.limit.unwrap_or(if args.to.is_some() { u64::MAX } else { LIMIT });
    let wanted = wanted.min((to - from).saturating_add(1));
    let client = args.connection.client();
    let mut all: Vec<Line> = Vec::new();
    let (mut next, mut shown_so_far) = (Some(from), 0);
    let mut actor = args.address.to_string();
    let mut failed = None;
    while let Some(from) = next.filter(|from| shown_so_far < wanted && *from <= to) {
        let page = match page(&client, &args.address, from, (wanted - shown_so_far).min(PAGE)) {
            Ok(page) => page,
            // What came before is shown all the same.
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let mut events = page.events;
        // Versions that a repair skips leave a gap, so a page may reach further than it is long.
        let beyond = events.iter().position(|line| line.version > to);
        events.truncate(beyond.unwrap_or(events.len()));
        shown_so_far += events.len() as u64;
        (actor, next) = (page.actor, page.next);
        if args.json {
            all.extend(events);
        } else {
            print::text(&rows(&events));
        }
    }
    let more = next.filter(|next| *next <= to);
    if args.json && (failed.is_none() || !all.is_empty()) {
        print::line(&reply::json(&Output { actor: &actor, events: &all, next }));
    } else if let Some(next) = more.filter(|_| failed.is_none()) {
        print::line(&format!("more with --from {next}"));
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    actor: &'a str,
    events: &'a [Line],
    next: Option<u64>,
}

fn page(client: &Client<'_>, actor: &Address, from: u64, limit: u64) -> anyhow::Result<Told> {
    let query = query(&[("from", Some(from.to_string())), ("limit", Some(limit.to_string()))]);
    client.json(&format!("{}/events{query}", path(actor)))
}

fn rows(events: &[Line]) -> String {
    let row = |line: &Line| {
        let number = line.version.to_string();
        let (data, command) = (line.data.get().to_owned(), line.command.clone());
        vec![number, print::time(line.at), line.r#type.clone(), command, data]
    };
    print::table(&events.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines() {
        let told = r#"{"actor":"a","events":[{"version":9,"type":"opened","data":{"a":1},"at":0,"command":"c"},
            {"version":10,"type":"x","data":{},"at":0,"command":"c2"}],"next":11}"#;
        let expected = "9   1970-01-01T00:00:00.000Z  opened  c   {\"a\":1}\n\
                        10  1970-01-01T00:00:00.000Z  x       c2  {}\n";
        let told: Told = serde_json::from_str(told).unwrap();
        assert_eq!((rows(&told.events).as_str(), told.next), (expected, Some(11)));
    }
}
