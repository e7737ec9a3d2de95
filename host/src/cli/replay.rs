//! `aether replay`: folds an actor's events again, with any component, and shows what they do.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::Connection,
    past::{CodeFlags, Halt, Seen, walk},
    print,
};
use crate::{
    address::Address,
    command::Event,
    gateway::reply,
    json::{Change, difference},
};

/// Exit status if the component cannot fold an event.
pub const HALTED: u8 = 4;

/// Folds an actor's events again, with any component, and shows what each of them changes.
///
/// The records come from the host, the component runs here: nothing is changed anywhere. An event
/// that the component cannot fold is shown at its version; exit status 4.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor: CONTEXT/AGGREGATE/ID.
    address: Address,
    /// The last version to fold [default: all]
    #[arg(long, value_name = "N")]
    until: Option<u64>,
    /// Print each event with its changes as a JSON object per line, and the state as the last.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    connection: Connection,
}

/// An event as `--json` shows it.
#[derive(Serialize)]
pub struct EventLine<'a> {
    version: u64,
    r#type: &'a str,
    data: &'a RawValue,
    at: u64,
    command: &'a str,
}

impl<'a> EventLine<'a> {
    /// The line of an event.
    #[must_use]
    pub fn of(event: &'a Event) -> Self {
        let Event { version, name, data, at, command } = event;
        Self { version: *version, r#type: name, data, at: *at, command }
    }
}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Line<'a> {
    Event {
        #[serde(flatten)]
        event: EventLine<'a>,
        changes: &'a [Change],
    },
    /// A repair changes what counts: everything comes again.
    Anew {},
    Fault {
        event: Option<EventLine<'a>>,
        kind: &'a str,
        detail: &'a str,
    },
    End {
        actor: String,
        version: u64,
        state: &'a RawValue,
        component: String,
        model: String,
    },
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached, the component does not fit, or the version is not reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let actor = &args.address;
    let client = args.connection.client();
    let code = args.code.open(&client, actor)?;
    let behaviour = code.behaviour(actor.aggregate()).await?;
    let mut state: Option<Box<RawValue>> = None;
    let walked = Box::pin(walk(&client, &behaviour, actor, args.until, |seen| match seen {
        Seen::Begun(begun) => {
            if state.replace(begun.to_owned()).is_some() {
                anew(args.json);
            }
        }
        Seen::Event(event, before, after) => {
            let changes = difference(before, after);
            if args.json {
                let event = EventLine::of(event);
                print::line(&reply::json(&Line::Event { event, changes: &changes }));
            } else {
                print::text(&shown(event, &changes));
            }
            state = Some(after.to_owned());
        }
    }));
    match walked.await? {
        Ok(version) => {
            let component = behaviour.component().to_string();
            let state = state.unwrap_or_else(|| RawValue::NULL.to_owned());
            let actor = actor.to_string();
            if args.json {
                let model = code.model.digest.to_string();
                let end = Line::End { actor, version, state: &state, component, model };
                print::line(&reply::json(&end));
            } else {
                let head = print::plain(&format!("{actor} at version {version}"));
                print::text(&format!("{head}\n{}component {component}\n", print::fields(&state)));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(halt) => {
            if args.json {
                let event = halt.event.as_ref().map(EventLine::of);
                let (kind, detail) = (halt.kind, halt.detail.as_str());
                print::line(&reply::json(&Line::Fault { event, kind, detail }));
            } else {
                if let Some(event) = &halt.event {
                    print::text(&shown(event, &[]));
                }
                eprintln!("{}", told(actor, &halt));
            }
            Ok(ExitCode::from(HALTED))
        }
    }
}

fn anew(json: bool) {
    if json {
        print::line(&reply::json(&Line::Anew {}));
    } else {
        print::line("a repair changes what counts: everything again from the first event on");
    }
}

/// An event as a row of a table.
#[must_use]
pub fn row(event: &Event) -> Vec<String> {
    let Event { version, name, data, at, command } = event;
    let (version, data) = (version.to_string(), data.get().to_owned());
    vec![version, print::time(*at), name.clone(), command.clone(), data]
}

fn shown(event: &Event, changes: &[Change]) -> String {
    format!("{}{}", print::table(&[row(event)]), print::changes(changes))
}

/// Why an actor's past cannot be folded further, for people.
#[must_use]
pub fn told(actor: &Address, halt: &Halt) -> String {
    let at = match &halt.event {
        Some(event) => format!("event `{}` of version {}", event.name, event.version),
        None => "the state without events".to_owned(),
    };
    print::plain(&format!("{}: {actor}: {at}: {}", halt.kind, halt.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let data = RawValue::from_string(r#"{"amount":2}"#.to_owned()).unwrap();
        let (name, command) = ("deposited".to_owned(), "c".to_owned());
        Event { version: 3, name, data, at: 0, command }
    }

    #[test]
    fn an_event_is_shown_above_what_it_changed() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let changes = difference(&raw(r#"{"balance":5}"#), &raw(r#"{"balance":7}"#));
        let expected =
            "3  1970-01-01T00:00:00.000Z  deposited  c  {\"amount\":2}\n  balance  5  -> 7\n";
        assert_eq!(shown(&event(), &changes), expected);
    }

    #[test]
    fn what_cannot_be_folded_is_named_with_its_version() {
        let actor = "bank/account/a".parse().unwrap();
        let halt = Halt { event: Some(event()), kind: "trap", detail: "it\npanicked".to_owned() };
        let expected = "trap: bank/account/a: event `deposited` of version 3: it\\npanicked";
        assert_eq!(told(&actor, &halt), expected);
        let unborn = Halt { event: None, ..halt };
        assert!(told(&actor, &unborn).contains("the state without events"));
    }

    #[test]
    fn lines_of_json_say_what_they_are() {
        let event = event();
        let line = reply::json(&Line::Event { event: EventLine::of(&event), changes: &[] });
        let expected = r#"{"event":{"version":3,"type":"deposited","data":{"amount":2},"at":0,"command":"c","changes":[]}}"#;
        assert_eq!(line, expected);
        assert_eq!(reply::json(&Line::Anew {}), r#"{"anew":{}}"#);
    }
}
