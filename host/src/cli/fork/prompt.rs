//! The prompt of a scratch copy: commands, and looks at what they did.

use std::{
    io,
    time::{Duration, Instant},
};

use aether_wit::Model;
use serde_json::{Value, value::RawValue};

use crate::{
    address::{Address, is_name},
    cli::{print, replay, send},
    clock,
    command::{Command, Consistency, Outcome, Query, StateView},
    failure::{Code, Failure},
    host::Host,
    json::difference,
};

/// How long a command of the prompt may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Events that are asked for at once.
const PAGE: usize = 1000;

/// What was said at the prompt.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Send { name: String, fields: String },
    State(Option<u64>),
    Events(Option<u64>),
    Help,
    Quit,
}

/// A copy, and whoever tries commands on it.
pub struct Session<'a> {
    host: &'a Host,
    model: &'a Model,
    actor: &'a Address,
    state: StateView,
}

impl<'a> Session<'a> {
    /// Wakes the copy.
    ///
    /// # Errors
    /// If its past cannot be folded.
    pub async fn begin(
        host: &'a Host,
        model: &'a Model,
        actor: &'a Address,
    ) -> Result<Self, Failure> {
        let state = state(host, actor, None).await?;
        Ok(Self { host, model, actor, state })
    }

    /// Takes lines until they end or `quit` is said; with a prompt if they come from a `terminal`.
    ///
    /// # Errors
    /// If standard input cannot be read.
    pub async fn run(&mut self, terminal: bool) -> io::Result<()> {
        let prompt = terminal.then(|| format!("{}> ", print::plain(self.actor.id())));
        while let Some(line) = next_line(prompt.as_deref())? {
            let done = match said(&line) {
                Ok(Said::Quit) => break,
                Ok(Said::Nothing) => Ok(()),
                Ok(Said::Help) => {
                    print::text(&self.help());
                    Ok(())
                }
                Ok(Said::Send { name, fields }) => self.send(name, fields).await,
                Ok(Said::State(version)) => self.show_state(version).await,
                Ok(Said::Events(from)) => self.show_events(from).await,
                Err(why) => Err(Failure::new(Code::Invalid, why)),
            };
            if let Err(failure) = done {
                print::line(&print::plain(&failure.to_string()));
            }
        }
        Ok(())
    }

    async fn send(&mut self, name: String, fields: String) -> Result<(), Failure> {
        let fields = RawValue::from_string(fields)
            .map_err(|error| Failure::new(Code::Invalid, error.to_string()))?;
        let command = Command::new(self.actor.clone(), &name, fields, deadline());
        let reply = self.host.send(command).await?;
        match reply.outcome {
            Outcome::Rejected { name, fields } => {
                print::line(&print::plain(&format!("rejected: {name} {fields}")));
            }
            Outcome::Accepted(events) => {
                let rows: Vec<_> = events.iter().map(replay::row).collect();
                let now = state(self.host, self.actor, None).await?;
                let changes = difference(&self.state.state, &now.state);
                self.state = now;
                let none = if events.is_empty() { "accepted: no event\n" } else { "" };
                let (rows, changes) = (print::table(&rows), print::changes(&changes));
                print::text(&format!("{none}{rows}{changes}"));
            }
        }
        Ok(())
    }

    async fn show_state(&self, version: Option<u64>) -> Result<(), Failure> {
        let view = state(self.host, self.actor, version).await?;
        let head = print::plain(&format!("{} at version {}", view.actor, view.version));
        print::text(&format!("{head}\n{}", print::fields(&view.state)));
        Ok(())
    }

    async fn show_events(&self, from: Option<u64>) -> Result<(), Failure> {
        let mut next = Some(from.unwrap_or(1).max(1));
        while let Some(from) = next {
            let page = self.host.events(self.actor, from, PAGE, deadline()).await?;
            print::text(&print::table(&page.events.iter().map(replay::row).collect::<Vec<_>>()));
            next = page.next;
        }
        Ok(())
    }

    /// What can be said, with the commands of the model.
    fn help(&self) -> String {
        let aggregate = self.model.aggregates.get(self.actor.aggregate());
        let commands = aggregate.into_iter().flat_map(|aggregate| &aggregate.commands);
        let row = |(name, command): (&String, &aether_wit::model::Command)| {
            let fields: Vec<_> =
                command.fields.iter().map(|field| format!("{}=…", field.name)).collect();
            vec![format!("  {name} {}", fields.join(" "))]
        };
        let mut rows: Vec<_> = commands.map(row).collect();
        let told = [
            ("COMMAND FIELD=VALUE …", "gives a command; a VALUE that is JSON is taken as such"),
            ("COMMAND {\"FIELD\": …}", "the same, its fields as one JSON object"),
            ("send COMMAND …", "the same, for a command with the name of a word below"),
            ("state [N]", "shows the state, now or as it was at version N"),
            ("events [N]", "shows the events, from version N on"),
            ("quit", "ends, and throws the copy away"),
        ];
        rows.extend(told.iter().map(|(words, what)| vec![(*words).to_owned(), (*what).to_owned()]));
        format!("commands of {}:\n{}", self.actor.aggregate(), print::table(&rows))
    }
}

/// The next line of standard input; none at its end. A person at a terminal sees a prompt.
fn next_line(prompt: Option<&str>) -> io::Result<Option<String>> {
    if let Some(prompt) = prompt {
        print::text(prompt);
    }
    let mut line = String::new();
    Ok((io::stdin().read_line(&mut line)? > 0).then_some(line))
}

fn deadline() -> Instant {
    clock::now() + PATIENCE
}

async fn state(host: &Host, actor: &Address, version: Option<u64>) -> Result<StateView, Failure> {
    let query = Query {
        actor: actor.clone(),
        version,
        min_version: None,
        consistency: Consistency::Linearizable,
        deadline: deadline(),
    };
    host.state(query).await
}

/// What a line says.
fn said(line: &str) -> Result<Said, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let version = || match rest {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| format!("`{number}`: expected a version")),
    };
    let alone =
        |said| if rest.is_empty() { Ok(said) } else { Err(format!("`{word}` stands alone")) };
    match word {
        "" => Ok(Said::Nothing),
        word if word.starts_with('#') => Ok(Said::Nothing),
        "help" => alone(Said::Help),
        "quit" | "exit" => alone(Said::Quit),
        "state" => Ok(Said::State(version()?)),
        "events" => Ok(Said::Events(version()?)),
        "send" => {
            let (name, fields) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            command(name, fields)
        }
        name => command(name, rest),
    }
}

fn command(name: &str, fields: &str) -> Result<Said, String> {
    if !is_name(name) {
        return Err(format!("`{name}` is no command: `help` tells what can be said"));
    }
    let fields = send::fields(&words(fields)?).map_err(|error| format!("{error:#}"))?;
    Ok(Said::Send { name: name.to_owned(), fields })
}

/// The words of a command as a shell would give them: one JSON object, or FIELD=VALUE for each
/// field. A VALUE may be JSON with blanks in it, or a text between single quotes.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    if rest.starts_with('{') {
        return Ok(vec![rest.to_owned()]);
    }
    while !rest.is_empty() {
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let equals = rest.find('=').filter(|at| *at < blank).ok_or_else(|| {
            let word = rest.get(..blank).unwrap_or(rest);
            format!("`{word}`: expected one JSON object, or FIELD=VALUE for each field")
        })?;
        let (name, value) = rest.split_at(equals + 1);
        let (word, after) = match value.chars().next() {
            Some('\'') => {
                let text = value.get(1..).unwrap_or_default();
                let (text, after) = text
                    .split_once('\'')
                    .ok_or_else(|| format!("`{name}`: the closing quote is missing"))?;
                (Value::from(text).to_string(), after)
            }
            Some('"' | '[' | '{') => {
                let mut json = serde_json::Deserializer::from_str(value).into_iter::<&RawValue>();
                let read = json.next().transpose().map_err(|error| format!("`{name}`: {error}"))?;
                let after = value.get(json.byte_offset()..).unwrap_or_default();
                (read.map_or_else(String::new, |read| read.get().to_owned()), after)
            }
            _ => {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                let (word, after) = value.split_at(end);
                (word.to_owned(), after)
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!("`{name}`: a blank is missing behind {}", print::short(&word)));
        }
        words.push(format!("{name}{word}"));
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> (String, Value) {
        match said(line).unwrap() {
            Said::Send { name, fields } => (name, serde_json::from_str(&fields).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_said_as_to_aether_send() {
        use serde_json::json;
        assert_eq!(sent("close"), ("close".to_owned(), json!({})));
        assert_eq!(sent(" deposit  amount=5 "), ("deposit".to_owned(), json!({"amount": 5})));
        let (_, open) = sent(
            r#"open owner="Alice B" tags=["a b", "c"] at={"x": 1} on=true it='a "b"' no=al='"#,
        );
        let expected = json!({"owner": "Alice B", "tags": ["a b", "c"], "at": {"x": 1}, "on": true,
            "it": "a \"b\"", "no": "al='"});
        assert_eq!(open, expected);
        assert_eq!(sent(r#"open { "owner": "A = B" }"#).1, json!({"owner": "A = B"}));
        assert_eq!(sent("send quit a=1"), ("quit".to_owned(), json!({"a": 1})));
    }

    #[test]
    fn the_other_words() {
        for (line, expected) in [
            ("", Said::Nothing),
            ("  # a note", Said::Nothing),
            ("help", Said::Help),
            ("quit", Said::Quit),
            ("exit ", Said::Quit),
            ("state", Said::State(None)),
            ("state 3", Said::State(Some(3))),
            ("events 2", Said::Events(Some(2))),
        ] {
            assert_eq!(said(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, why) in [
            ("state x", "`x`: expected a version"),
            ("quit now", "`quit` stands alone"),
            ("Open", "`Open` is no command: `help` tells"),
            ("send", "`` is no command"),
            ("open alice", "`alice`: expected one JSON object"),
            ("open owner='a", "`owner=`: the closing quote is missing"),
            ("open owner=\"a\"b", "`owner=`: a blank is missing behind \"a\""),
            ("open tags=[1", "`tags=`: EOF"),
            ("open {\"a\":", "is not JSON"),
            ("open a=1 a=2", "the field `a` is there twice"),
        ] {
            let said = said(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
