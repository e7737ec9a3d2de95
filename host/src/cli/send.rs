//! `aether send`: gives a command to an actor.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    client::{Connection, path},
    print,
};
use crate::address::{Address, is_name};

/// Gives a command to an actor.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The command's name in the model.
    command: String,
    /// The fields: one JSON object, or FIELD=VALUE for each. A VALUE that is JSON is taken as
    /// such (50, true, null, "50", [1,2]), any other as a text.
    #[arg(value_name = "JSON | FIELD=VALUE")]
    fields: Vec<String>,
    /// The command's id: sent again with the same id, the command is done once.
    #[arg(long)]
    id: Option<String>,
    /// Refuse unless the actor is at this version.
    #[arg(long, value_name = "N")]
    if_match: Option<u64>,
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    actor: String,
    version: u64,
    command: String,
    events: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    version: u64,
    r#type: String,
    data: Box<RawValue>,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, or the fields cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !is_name(&args.command) {
        bail!(
            "`{}` cannot be the name of a command: expected lower-case words joined by `-`",
            args.command
        );
    }
    let body = fields(&args.fields)?;
    let expected = args.if_match.map(|version| format!("\"{version}\""));
    let id = args.id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut headers = vec![("idempotency-key", id.as_str())];
    headers.extend(expected.as_deref().map(|version| ("if-match", version)));
    let path = format!("{}/{}", path(&args.address), args.command);
    let sent = args.connection.client().post(&path, &headers, body);
    let answer =
        sent.with_context(|| format!("to ask again without doing it twice, add --id {id}"))?;
    if args.json && answer.status == 422 {
        print::line(&answer.body);
        return Ok(ExitCode::FAILURE);
    }
    answer.print(args.json, shown)
}

fn shown(told: &Told) -> String {
    let row = |line: &Line| {
        let version = format!("  {}", line.version);
        vec![version, line.r#type.clone(), line.data.get().to_owned()]
    };
    let head = print::plain(&format!("{} at version {}", told.actor, told.version));
    let events = print::table(&told.events.iter().map(row).collect::<Vec<_>>());
    format!("{head}\n{events}command {}\n", print::plain(&told.command))
}

/// The body of a command from its words on the command line.
///
/// # Errors
/// If a word is neither a JSON object nor FIELD=VALUE, or a field is there twice.
pub fn fields(words: &[String]) -> anyhow::Result<String> {
    if let [word] = words
        && word.trim_start().starts_with('{')
    {
        // Sent to the letter: big numbers and the order of fields are the caller's.
        serde_json::from_str::<&RawValue>(word).with_context(|| format!("`{word}` is not JSON"))?;
        return Ok(word.clone());
    }
    let mut object = Map::new();
    for word in words {
        let (name, text) = word.split_once('=').with_context(|| {
            format!("`{word}`: expected one JSON object, or FIELD=VALUE for each field")
        })?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        if object.insert(name.to_owned(), value).is_some() {
            bail!("the field `{name}` is there twice");
        }
    }
    Ok(Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> anyhow::Result<String> {
        fields(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn fields_are_json_or_pairs() {
        assert_eq!(read(&[]).unwrap(), "{}");
        assert_eq!(read(&[r#"{ "a": 1.0 }"#]).unwrap(), r#"{ "a": 1.0 }"#);
        let pairs = ["owner=Alice", "amount=50", "big=18446744073709551615", "on=true"];
        let expected = r#"{"amount":50,"big":18446744073709551615,"on":true,"owner":"Alice"}"#;
        assert_eq!(read(&pairs).unwrap(), expected);
        assert_eq!(read(&["a=\"50\"", "b=x=y", "c="]).unwrap(), r#"{"a":"50","b":"x=y","c":""}"#);
        for bad in [&["amount"][..], &["{"], &["a=1", "a=2"], &["{}", "a=1"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_shown_with_its_events() {
        let told = r#"{"actor":"bank/account/a","version":2,"command":"c","events":[{"version":2,"type":"opened","data":{"o":1}}]}"#;
        let expected = "bank/account/a at version 2\n  2  opened  {\"o\":1}\ncommand c\n";
        assert_eq!(shown(&serde_json::from_str(told).unwrap()), expected);
    }
}
