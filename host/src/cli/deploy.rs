//! `aether deploy`: new behaviour for a running system.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use uuid::Uuid;

use super::{
    bundle::bundle,
    client::{Answer, Client, Connection, broken_off, explain},
    print,
};
use crate::{
    config::units,
    deploy::{
        gates::{Gate, Outcome, Verdict},
        order::{Steps, Word},
    },
    gateway::{http::deploy::Told, reply},
    host::{Bundle, Rollouts},
    store::Deployment,
};

/// How many characters wide a bar is: with what stands beside it, less than a narrow terminal.
const BAR: usize = 20;

/// Exit status of what a gate refused.
const REFUSED: u8 = 1;

/// How an order is to be carried out, for deploy and rollback.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Only tell what would happen; nothing is changed.
    #[arg(long)]
    dry_run: bool,
    /// Gates that need not be passed: exports, diff, scenarios, replay. It is recorded.
    #[arg(long, value_name = "GATE", value_delimiter = ',')]
    force: Vec<String>,
    /// Go on although states differ from those that the active code folds.
    #[arg(long)]
    accept_state_changes: bool,
    /// How long histories are replayed before the activation, e.g. 30s [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    budget: Option<Duration>,
    /// Replay everything that is stored, however long it takes.
    #[arg(long, conflicts_with = "budget")]
    all: bool,
    /// Why; it is kept with the deployment.
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    /// Print what the host tells, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl How {
    /// The order as the host reads it.
    fn order(&self) -> Told {
        Told {
            dry_run: self.dry_run,
            force: self.force.clone(),
            accept_state_changes: self.accept_state_changes,
            budget: self.budget.map(|budget| format!("{}ms", budget.as_millis())),
            all: self.all,
            because: self.because.clone().unwrap_or_default(),
            ..Told::default()
        }
    }

    /// Carries out a rollback.
    ///
    /// # Errors
    /// If the host cannot be reached.
    pub fn roll_back(&self, context: Option<String>, to: Option<u64>) -> anyhow::Result<ExitCode> {
        let client = self.connection.client();
        let context = match context {
            Some(context) => context,
            None => match only_context(&client.get("/admin/deployments")?)? {
                Ok(context) => context,
                Err(status) => return Ok(status),
            },
        };
        let order = Told { context: Some(context), to, ..self.order() };
        let body = reply::json(&order).into_bytes();
        send(&client, self.json, ("/admin/rollback", "application/json"), body)
    }
}

/// Sends an order, and tells how it goes.
fn send(
    client: &Client<'_>,
    json: bool,
    (path, content_type): (&str, &str),
    body: Vec<u8>,
) -> anyhow::Result<ExitCode> {
    let mut response = client.post_open(path, content_type, body)?;
    let status = response.status().as_u16();
    if status != 200 {
        let (said, status) = explain(status, &response.body_mut().read_to_string()?);
        eprintln!("{said}");
        return Ok(ExitCode::from(status));
    }
    let progress = !json && std::io::stderr().is_terminal();
    follow(
        BufReader::new(response.into_body().into_reader()),
        Teller { json, progress, ended: None },
    )
}

/// Orders what is to become of a bundle, and tells how it goes.
///
/// # Errors
/// If the host cannot be reached.
pub fn order(
    connection: &Connection,
    json: bool,
    order: &Told,
    bundle: &Bundle,
) -> anyhow::Result<ExitCode> {
    let boundary = format!("aether-{}", Uuid::now_v7().simple());
    let body = form(&boundary, &reply::json(order), bundle);
    let kind = format!("multipart/form-data; boundary={boundary}");
    send(&connection.client(), json, ("/admin/deploy", &kind), body)
}

/// The one context of which anything was deployed, or the exit status after an explanation.
fn only_context(answer: &Answer) -> anyhow::Result<Result<String, ExitCode>> {
    if answer.status != 200 {
        let (said, status) = explain(answer.status, &answer.body);
        eprintln!("{said}");
        return Ok(Err(ExitCode::from(status)));
    }
    let told: Rollouts = serde_json::from_str(&answer.body)?;
    let contexts: BTreeSet<_> = told.deployments.into_iter().map(|d| d.context).collect();
    let mut contexts = contexts.into_iter();
    match (contexts.next(), contexts.next()) {
        (Some(only), None) => Ok(Ok(only)),
        (None, _) => bail!("nothing was ever deployed here"),
        (Some(one), Some(two)) => {
            bail!("name the context to roll back: there are several, such as {one} and {two}")
        }
    }
}

/// Checks a model and its components against what is deployed and stored, and lets the running
/// hosts go over to them. Refused, or active everywhere: never something between.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model; its components lie where it says.
    model: PathBuf,
    #[command(flatten)]
    how: How,
}

/// Runs the command. Exit status 1: a gate refused it.
///
/// # Errors
/// If the model or a component cannot be read, or the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let bundle = bundle(&args.model)?;
    order(&args.how.connection, args.how.json, &args.how.order(), &bundle)
}

/// The parts of an order as multipart/form-data (RFC 7578).
fn form(boundary: &str, order: &str, bundle: &Bundle) -> Vec<u8> {
    let mut body = Vec::new();
    let mut part = |name: &str, file: Option<&str>, content: &[u8]| {
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{}\"", quoted(file)));
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part("order", None, order.as_bytes());
    part("model", Some(&bundle.file), &bundle.model);
    for (name, bytes) in &bundle.components {
        part("component", Some(name), bytes);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// A file's name as it may stand between quotes in a part's head.
fn quoted(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c }).collect()
}

/// Tells what a host tells.
fn follow(lines: impl BufRead, mut teller: Teller) -> anyhow::Result<ExitCode> {
    // A host that dies says no end.
    for line in lines.lines().map_while(Result::ok) {
        if let Some((said, status)) = broken_off(&line) {
            teller.clear();
            eprintln!("{said}");
            // What was done is done, though the host could not tell how others went on.
            return Ok(ExitCode::from(teller.ended.unwrap_or(status)));
        }
        teller.tell(&serde_json::from_str(&line)?);
    }
    teller.clear();
    match teller.ended {
        Some(status) => Ok(ExitCode::from(status)),
        None => {
            eprintln!(
                "the host ended before it said what became of the order: look at `aether deployments`"
            );
            Ok(ExitCode::from(super::RETRY))
        }
    }
}

/// Tells how an order goes.
pub struct Teller {
    json: bool,
    progress: bool,
    ended: Option<u8>,
}

impl Teller {
    /// One that tells people, without progress.
    #[must_use]
    pub const fn of_people() -> Self {
        Self { json: false, progress: false, ended: None }
    }

    /// Tells one word.
    pub fn tell(&mut self, word: &Word) {
        match word {
            Word::Refused(_) => self.ended = Some(REFUSED),
            Word::Passed(_) | Word::Unchanged(_) | Word::Deployed(_) => self.ended = Some(0),
            Word::Gate(_) | Word::Progress(_) | Word::Steps(_) | Word::Host { .. } => {}
        }
        self.clear();
        if self.json {
            print::line(&reply::json(word));
            return;
        }
        match word {
            Word::Progress(what) if self.progress => {
                eprint!("\r\x1b[2K{}", print::plain(what));
                // Nobody misses it if stderr is closed.
                let _ = std::io::stderr().flush();
            }
            Word::Steps(steps) if self.progress => {
                eprint!("\r\x1b[2K{}", print::plain(&bar(steps)));
                let _ = std::io::stderr().flush();
            }
            Word::Progress(_) | Word::Steps(_) => {}
            Word::Gate(verdict) => {
                shown(verdict).iter().for_each(|line| print::line(&print::plain(line)));
            }
            word => print::line(&print::plain(&sentence(word))),
        }
    }

    fn clear(&self) {
        if self.progress {
            eprint!("\r\x1b[2K");
        }
    }
}

/// How far something is, on one line of a terminal.
fn bar(steps: &Steps) -> String {
    let Steps { what, done, total, per_second, left } = steps;
    let per_cent =
        (u128::from(*done) * 100).checked_div(u128::from(*total)).unwrap_or(100).min(100);
    let full = usize::try_from(per_cent).unwrap_or(100) * BAR / 100;
    let drawn = format!("{}{}", "#".repeat(full), "-".repeat(BAR - full));
    format!("{what} [{drawn}] {per_cent:3} % of {total}, {per_second}/s, about {left} s left")
}

fn shown(verdict: &Verdict) -> Vec<String> {
    let outcome = match verdict.outcome {
        Outcome::Passed => "passed",
        Outcome::Refused => "REFUSED",
        Outcome::Forced => "not passed, and forced",
        Outcome::Skipped => "nothing to compare with",
    };
    let head = format!("{:<10} {outcome}", verdict.gate.as_str());
    std::iter::once(head).chain(verdict.lines.iter().map(|line| format!("  {line}"))).collect()
}

fn sentence(word: &Word) -> String {
    let named = |d: &Deployment| {
        let again = d.again.map_or_else(String::new, |n| format!(", which is #{n} again"));
        format!(
            "deployment #{} of context {} (model {}{again})",
            d.number,
            d.context,
            d.model.short()
        )
    };
    match word {
        Word::Refused(Gate::Exports) => "refused at the gate `exports`: nothing was changed (no `--force` helps: what cannot be called cannot be served; if the model has changed, build the component anew)".to_owned(),
        Word::Refused(gate) => format!(
            "refused at the gate `{gate}`: nothing was changed (`aether deploy --force {gate}` skips it, and is recorded)"
        ),
        Word::Passed(number) => {
            format!("it would become deployment #{number}; nothing was changed (--dry-run or what-if)")
        }
        Word::Unchanged(d) => format!("{} is active already: nothing was changed", named(d)),
        Word::Deployed(d) => format!("{} is active", named(d)),
        Word::Host { place, unable: Some(why), .. } => format!("  {place}: {why}"),
        Word::Host { place, serves: Some(number), .. } => format!("  {place} serves #{number}"),
        Word::Host { place, .. } => format!("  {place} serves nothing of the context yet"),
        Word::Gate(_) | Word::Progress(_) | Word::Steps(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lines: impl BufRead) -> String {
        let teller = Teller { json: true, progress: false, ended: None };
        format!("{:?}", follow(lines, teller).unwrap())
    }

    /// A connection that breaks.
    struct Broken;

    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn a_host_that_dies_is_to_be_asked_again() {
        for (said, code) in [("{\"progress\":\"compiling\"}\n", 3), ("{\"passed\":3}\n", 0)] {
            let lines = std::io::Read::chain(said.as_bytes(), Broken);
            assert_eq!(status(BufReader::new(lines)), format!("{:?}", ExitCode::from(code)));
        }
    }

    #[test]
    fn the_status_tells_what_became_of_it() {
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(status("{\"refused\":\"diff\"}\n".as_bytes()), is(1));
        assert_eq!(status("{\"progress\":\"compiling\"}\n{\"passed\":3}\n".as_bytes()), is(0));
        assert_eq!(status("{\"progress\":\"compiling\"}\n".as_bytes()), is(3));
        let problem = "{\"problem\":{\"code\":\"invalid\",\"detail\":\"d\"}}\n";
        assert_eq!(status(problem.as_bytes()), is(2));
    }

    #[test]
    fn a_bar_tells_how_far_it_is_and_how_fast() {
        let what = "replay: reading".to_owned();
        let half = Steps { what, done: 600, total: 1200, per_second: 300, left: 2 };
        let shown = "replay: reading [##########----------]  50 % of 1200, 300/s, about 2 s left";
        assert_eq!(bar(&half), shown);
        let more = Steps { done: 1300, ..half.clone() };
        assert!(bar(&more).contains("[####################] 100 % of 1200"), "{}", bar(&more));
        assert!(bar(&Steps { total: 0, done: 0, ..half }).contains("100 % of 0"));
    }

    #[test]
    fn a_verdict_is_shown_with_its_lines() {
        let verdict = Verdict::refused(Gate::Diff, vec!["a: b".to_owned()]);
        assert_eq!(shown(&verdict), ["diff       REFUSED", "  a: b"]);
        assert!(sentence(&Word::Refused(Gate::Replay)).contains("--force replay"));
        assert!(!sentence(&Word::Refused(Gate::Exports)).contains("--force exports"));
    }

    #[test]
    fn a_form_holds_any_file_name() {
        let bundle = Bundle {
            file: "a\"b\r\n.yaml".to_owned(),
            model: "m".into(),
            components: vec![("c.wasm".to_owned(), "w".into())],
        };
        let form = String::from_utf8(form("xx", "{}", &bundle)).unwrap();
        assert!(form.contains("filename=\"a_b__.yaml\"\r\n\r\nm\r\n--xx"), "{form}");
        assert!(form.ends_with("w\r\n--xx--\r\n"), "{form}");
    }
}
