//! `aether blame`: the event that gave a field of an actor's state its value.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::{Connection, Refused},
    past::{CodeFlags, Seen, walk},
    print, replay,
};
use crate::{
    address::Address, command::Event, failure::Code, gateway::reply, json::difference::Path,
};

/// Shows the event that gave a field of an actor's state its value.
///
/// The events are folded one by one with the component that is deployed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The field: a name, then any number of .NAME and [N] (from 0), e.g. lines[2].price.cents. What
    /// is in the case of a variant is reached by the name of the case.
    path: Path,
    /// The state as it was at this version [default: the newest]
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    actor: String,
    path: String,
    version: u64,
    value: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a RawValue>,
    event: Option<replay::EventLine<'a>>,
}

/// The last event that changed what is looked for, and what stood there before.
struct Blamed {
    event: Event,
    before: Option<Box<RawValue>>,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, the version is not reached, or the state has no such field.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { address: actor, path, .. } = &args;
    let client = args.connection.client();
    let flags = CodeFlags::default();
    let code = flags.open(&client, actor)?;
    let behaviour = code.behaviour(actor.aggregate()).await?;
    let mut state = RawValue::NULL.to_owned();
    let mut blamed: Option<Blamed> = None;
    let walked = Box::pin(walk(&client, &behaviour, actor, args.version, |seen| match seen {
        Seen::Begun(begun) => {
            state = begun.to_owned();
            blamed = None;
        }
        Seen::Event(_, before, after) if before.get() == after.get() => {}
        Seen::Event(event, before, after) => {
            state = after.to_owned();
            let (before, after) = (path.find(before).ok(), path.find(after).ok());
            if before.map(RawValue::get) != after.map(RawValue::get) {
                let before = before.map(ToOwned::to_owned);
                blamed = Some(Blamed { event: event.clone(), before });
            }
        }
    }));
    let version = match walked.await? {
        Ok(version) => version,
        Err(halt) => {
            eprintln!("{}", replay::told(actor, &halt));
            return Ok(ExitCode::from(replay::HALTED));
        }
    };
    let value = path.find(&state).map_err(|error| {
        Refused::new(Code::Unknown, format!("{actor} at version {version}: {error}"))
    })?;
    if args.json {
        let event = blamed.as_ref().map(|blamed| replay::EventLine::of(&blamed.event));
        let before = blamed.as_ref().and_then(|blamed| blamed.before.as_deref());
        let (actor, path) = (actor.to_string(), path.to_string());
        print::line(&reply::json(&Output { actor, path, version, value, before, event }));
    } else {
        print::text(&shown(actor, path, version, value, blamed.as_ref()));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(
    actor: &Address,
    path: &Path,
    version: u64,
    value: &RawValue,
    blamed: Option<&Blamed>,
) -> String {
    let actor = print::plain(&actor.to_string());
    let head = format!("{path} of {actor} at version {version} is {}", print::short(value.get()));
    match blamed {
        None => format!("{head}, as it was in the beginning: no event has changed it\n"),
        Some(Blamed { event, before }) => {
            let before = match before {
                Some(before) => format!("it was {}", print::short(before.get())),
                None => "it was not there".to_owned(),
            };
            let row = replay::row(event);
            format!(
                "{head} since version {}; before, {before}\n{}",
                event.version,
                print::table(&[row])
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_and_what_stood_there_before_are_told() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let actor: Address = "bank/account/a".parse().unwrap();
        let path: Path = "balance".parse().unwrap();
        let event = Event {
            version: 3,
            name: "deposited".to_owned(),
            data: raw(r#"{"amount":2}"#),
            at: 0,
            command: "c".to_owned(),
        };
        let blamed = Blamed { event: event.clone(), before: Some(raw("5")) };
        let line = "3  1970-01-01T00:00:00.000Z  deposited  c  {\"amount\":2}\n";
        assert_eq!(
            shown(&actor, &path, 4, &raw("7"), Some(&blamed)),
            format!(
                "balance of bank/account/a at version 4 is 7 since version 3; before, it was 5\n{line}"
            )
        );
        let came = Blamed { event, before: None };
        assert!(
            shown(&actor, &path, 4, &raw("7"), Some(&came))
                .contains("; before, it was not there\n")
        );
        assert_eq!(
            shown(&actor, &path, 0, &raw("0"), None),
            "balance of bank/account/a at version 0 is 0, as it was in the beginning: no event has changed it\n"
        );
    }
}
