//! `aether actors`: which actors there are, are awake, or are quarantined.

use std::process::ExitCode;

use anyhow::bail;
use serde::Deserialize;

use super::{
    client::{Connection, query},
    print,
};
use crate::address::is_name;

/// Lists actors.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actors' CONTEXT/AGGREGATE; without it, those that are awake.
    aggregate: Option<String>,
    /// Those that are awake in the host, of any aggregate.
    #[arg(long, conflicts_with_all = ["aggregate", "after"])]
    awake: bool,
    /// Those that are quarantined, of any aggregate, with the place and the damage.
    #[arg(long, conflicts_with_all = ["aggregate", "awake", "limit"])]
    quarantined: bool,
    /// Go on after this id.
    #[arg(long, value_name = "ID", requires = "aggregate")]
    after: Option<String>,
    /// How many to list, at most 1,000 [default: 100]
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
    actors: Vec<Entry>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    actor: String,
    awake: Option<u64>,
    quarantined: Option<String>,
}

#[derive(Deserialize)]
struct Marks {
    quarantined: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    actor: String,
    position: u64,
    kind: String,
    reason: String,
    at: u64,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, or what to list is not CONTEXT/AGGREGATE.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.quarantined {
        return args.connection.client().get("/admin/quarantined")?.print(args.json, marks);
    }
    let limit = args.limit.map(|n| n.to_string());
    let path = match &args.aggregate {
        None => format!("/admin/awake{}", query(&[("limit", limit)])),
        Some(both) => match both.split_once('/') {
            Some((context, aggregate)) if is_name(context) && is_name(aggregate) => {
                let query = query(&[("after", args.after), ("limit", limit)]);
                format!("/v1/{context}/{aggregate}{query}")
            }
            _ => bail!("`{both}`: expected CONTEXT/AGGREGATE, e.g. bank/account"),
        },
    };
    args.connection.client().get(&path)?.print(args.json, shown)
}

fn marks(told: &Marks) -> String {
    let row = |mark: &Mark| {
        let at = format!("position {}", mark.position);
        vec![mark.actor.clone(), print::time(mark.at), at, mark.kind.clone(), mark.reason.clone()]
    };
    print::table(&told.quarantined.iter().map(row).collect::<Vec<_>>())
}

fn shown(told: &Told) -> String {
    let row = |entry: &Entry| {
        let awake = entry.awake.map_or_else(String::new, |n| format!("awake at version {n}"));
        let quarantined = entry.quarantined.as_ref().map(|why| format!("quarantined: {why}"));
        vec![entry.actor.clone(), awake, quarantined.unwrap_or_default()]
    };
    let mut text = print::table(&told.actors.iter().map(row).collect::<Vec<_>>());
    if let Some(next) = &told.next {
        text.push_str(&format!("more with --after '{}'\n", print::plain(next)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantined_ones_are_lines() {
        let told = r#"{"quarantined":[{"actor":"bank/account/a","position":7,"kind":"gap","reason":"why","at":1767225600000}]}"#;
        let shown = marks(&serde_json::from_str(told).unwrap());
        assert!(shown.starts_with("bank/account/a  2026-01-01T00:00:00"), "{shown}");
        assert!(shown.ends_with("position 7  gap  why\n"), "{shown}");
    }

    #[test]
    fn actors_are_lines() {
        let told = r#"{"actors":[{"actor":"bank/account/a","awake":3,"quarantined":null},
            {"actor":"bank/account/b","awake":null,"quarantined":"gap"}],"next":"b"}"#;
        let expected = "bank/account/a  awake at version 3\n\
                        bank/account/b                      quarantined: gap\n\
                        more with --after 'b'\n";
        assert_eq!(shown(&serde_json::from_str(told).unwrap()), expected);
    }
}
