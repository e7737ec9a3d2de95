//! `aether diff`: what changed in an actor's state between two versions.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    client::{Client, Connection, Refused, path, query},
    print,
};
use crate::{
    address::Address,
    failure::Code,
    gateway::reply,
    json::{Change, difference},
};

/// Shows what changed in an actor's state between two versions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The version to begin with; 0 = before the first event.
    from: u64,
    /// The version to compare with [default: the newest]
    to: Option<u64>,
    /// Print the changes as JSON: `path`, and `before` and `after` where there is something.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    actor: String,
    version: u64,
    state: Box<RawValue>,
    component: String,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    actor: &'a str,
    from: u64,
    to: u64,
    changes: &'a [Change],
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, or a version is not reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client();
    let before = state(&client, &args.address, Some(args.from))?;
    let after = state(&client, &args.address, args.to)?;
    if before.component != after.component {
        let detail = "another component was deployed between the two states: ask again";
        return Err(Refused::new(Code::Unavailable, detail).into());
    }
    let changes = difference(&before.state, &after.state);
    if args.json {
        let (from, to) = (before.version, after.version);
        let output = Output { actor: &after.actor, from, to, changes: &changes };
        print::line(&reply::json(&output));
    } else {
        print::text(&shown(&before, &after, &changes));
    }
    Ok(ExitCode::SUCCESS)
}

fn state(client: &Client<'_>, actor: &Address, version: Option<u64>) -> anyhow::Result<Told> {
    let query = query(&[("version", version.map(|n| n.to_string()))]);
    client.json(&format!("{}{query}", path(actor)))
}

fn shown(before: &Told, after: &Told, changes: &[Change]) -> String {
    let (from, to) = (before.version, after.version);
    let actor = print::plain(&after.actor);
    if changes.is_empty() {
        return format!("{actor} has the same state at version {from} and at version {to}\n");
    }
    format!("{actor} from version {from} to version {to}\n{}", print::changes(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(version: u64, state: &str) -> Told {
        let state = RawValue::from_string(state.to_owned()).unwrap();
        let (actor, component) = ("bank/account/a".to_owned(), "sha256:1".to_owned());
        Told { actor, version, state, component }
    }

    #[test]
    fn changes_are_shown_below_what_was_compared() {
        let (one, two) = (told(1, r#"{"a":1,"b":2}"#), told(4, r#"{"a":1,"b":3}"#));
        let changes = difference(&one.state, &two.state);
        let expected = "bank/account/a from version 1 to version 4\n  b  2  -> 3\n";
        assert_eq!(shown(&one, &two, &changes), expected);
        let same = "bank/account/a has the same state at version 1 and at version 1\n";
        assert_eq!(shown(&one, &one, &[]), same);
    }
}
