//! `aether events`: what happened to an actor.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Connection, path, query},
    print,
};
use crate::address::Address;

/// Shows an actor's events.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The first version to show.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// How many to show, at most 1,000 [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    events: Vec<Line>,
    next: Option<u64>,
}

#[derive(Deserialize)]
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
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let query = query(&[
        ("from", args.from.map(|n| n.to_string())),
        ("limit", args.limit.map(|n| n.to_string())),
    ]);
    let path = format!("{}/events{query}", path(&args.address));
    args.connection.client().get(&path)?.print(args.json, shown)
}

fn shown(told: &Told) -> String {
    let row = |line: &Line| {
        let number = line.version.to_string();
        let (data, command) = (line.data.get().to_owned(), line.command.clone());
        vec![number, print::time(line.at), line.r#type.clone(), command, data]
    };
    let mut text = print::table(&told.events.iter().map(row).collect::<Vec<_>>());
    if let Some(next) = told.next {
        text.push_str(&format!("more with --from {next}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_and_the_rest_is_told() {
        let told = r#"{"actor":"a","events":[{"version":9,"type":"opened","data":{"a":1},"at":0,"command":"c"},
            {"version":10,"type":"x","data":{},"at":0,"command":"c2"}],"next":11}"#;
        let expected = "9   1970-01-01T00:00:00.000Z  opened  c   {\"a\":1}\n\
                        10  1970-01-01T00:00:00.000Z  x       c2  {}\n\
                        more with --from 11\n";
        assert_eq!(shown(&serde_json::from_str(told).unwrap()), expected);
    }
}
