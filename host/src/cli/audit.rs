//! `aether audit`: reads everything that is stored and names what is wrong.

use std::{
    io::{BufRead, BufReader, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Instant,
};

use anyhow::bail;

use super::{
    client::{Connection, broken_off, explain, query},
    flags::StoreFlags,
    print,
};
use crate::{
    address::{Address, is_name},
    audit::{self, Counts, Finding, Ground, Item, Scope},
    clock,
    failure::Failure,
    gateway::{problem::exit_status, reply},
};

/// Reads every record and names what is wrong: asks a host, or opens a store itself with `--data`
/// (no host may run on it) or `--nats`. Changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this context.
    #[arg(long)]
    context: Option<String>,
    /// Only this actor: CONTEXT/AGGREGATE/ID.
    #[arg(long, conflicts_with = "context")]
    actor: Option<Address>,
    /// Print each finding and note, and the summary, as a JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    store: StoreFlags,
}

/// Runs the command.
///
/// # Errors
/// If neither host nor store can be reached, or the context cannot be one.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(context) = args.context.as_ref().filter(|context| !is_name(context)) {
        bail!("`{context}`: expected the name of a context, e.g. bank");
    }
    let mut teller = Teller {
        json: args.json,
        progress: !args.json && std::io::stderr().is_terminal(),
        begun: clock::now(),
        counts: None,
    };
    if let Some(config) = args.store.resolve()? {
        let ground = Ground::open(&config).await?;
        let store = ground.env.store.clone();
        let mut items = audit::run(ground, Scope { context: args.context, actor: args.actor });
        let mut failed = None;
        while let Some(item) = items.recv().await {
            match item {
                Ok(item) => teller.tell(&item),
                Err(failure) => failed = Some(failure),
            }
        }
        store.close().await;
        return Ok(teller.end(failed.as_ref()));
    }
    let actor = args.actor.map(|actor| actor.to_string());
    let path = format!("/admin/audit{}", query(&[("context", args.context), ("actor", actor)]));
    let mut response = args.connection.client().open(&path)?;
    let status = response.status().as_u16();
    if status != 200 {
        let (said, status) = explain(status, &response.body_mut().read_to_string()?);
        eprintln!("{said}");
        return Ok(ExitCode::from(status));
    }
    follow(BufReader::new(response.into_body().into_reader()), teller)
}

/// Tells what a host tells.
fn follow(lines: impl BufRead, mut teller: Teller) -> anyhow::Result<ExitCode> {
    for line in lines.lines() {
        let line = line?;
        if let Some((said, status)) = broken_off(&line) {
            teller.clear();
            eprintln!("{said}");
            return Ok(ExitCode::from(status));
        }
        teller.tell(&serde_json::from_str(&line)?);
    }
    Ok(teller.end(None))
}

/// Writes findings to stdout, and on a terminal how far it is to stderr.
struct Teller {
    json: bool,
    progress: bool,
    begun: Instant,
    counts: Option<Counts>,
}

impl Teller {
    fn tell(&mut self, item: &Item) {
        match item {
            Item::Progress(counts) => {
                if self.progress {
                    let rate =
                        u128::from(counts.records) * 1000 / self.begun.elapsed().as_millis().max(1);
                    eprint!("\r\x1b[2K{}; {rate} records/s", shown(counts));
                    // Nobody misses it if stderr is closed.
                    let _ = std::io::stderr().flush();
                }
                return;
            }
            Item::Summary(counts) => self.counts = Some(counts.clone()),
            Item::Finding(_) | Item::Note(_) => {}
        }
        self.clear();
        match item {
            _ if self.json => print::line(&reply::json(item)),
            Item::Finding(finding) => print::line(&line(finding)),
            Item::Note(note) => print::line(&format!("note: {}", line(note))),
            Item::Summary(counts) => print::line(&shown(counts)),
            Item::Progress(_) => {}
        }
    }

    fn clear(&self) {
        if self.progress {
            eprint!("\r\x1b[2K");
        }
    }

    fn end(&self, failed: Option<&Failure>) -> ExitCode {
        if let Some(failure) = failed {
            eprintln!("{failure}");
            return ExitCode::from(exit_status(failure.code.as_str()));
        }
        match &self.counts {
            Some(counts) if counts.findings == 0 => ExitCode::SUCCESS,
            Some(_) => ExitCode::from(1),
            None => {
                eprintln!("the audit broke off before its end: try it again");
                ExitCode::from(super::RETRY)
            }
        }
    }
}

fn line(finding: &Finding) -> String {
    let at = finding.position.map_or_else(String::new, |at| format!(" position {at}:"));
    print::plain(&format!("{}:{at} {}: {}", finding.actor, finding.kind, finding.reason))
}

fn shown(counts: &Counts) -> String {
    let Counts { actors, records, events, findings } = counts;
    let found = match findings {
        0 => "nothing is wrong".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    format!("{actors} actors, {records} records, {events} events: {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teller() -> Teller {
        Teller { json: true, progress: false, begun: clock::now(), counts: None }
    }

    fn status(lines: &str) -> String {
        format!("{:?}", follow(lines.as_bytes(), teller()).unwrap())
    }

    #[test]
    fn the_status_tells_whether_all_is_well() {
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        let summary = |n: u64| {
            format!(
                "{{\"summary\":{{\"actors\":1,\"records\":2,\"events\":3,\"findings\":{n}}}}}\n"
            )
        };
        assert_eq!(status(&summary(0)), is(0));
        assert_eq!(status(&summary(2)), is(1));
        assert_eq!(
            status("{\"progress\":{\"actors\":1,\"records\":2,\"events\":3,\"findings\":0}}\n"),
            is(3)
        );
        let problem = "{\"problem\":{\"code\":\"unavailable\",\"detail\":\"d\"}}\n";
        assert_eq!(status(problem), is(3));
        assert!(follow("<html>\n".as_bytes(), teller()).is_err());
    }

    #[test]
    fn a_finding_is_a_line() {
        let finding = Finding {
            actor: "bank/account/a".to_owned(),
            position: Some(crate::record::Position(7)),
            kind: "gap".to_owned(),
            reason: "why".to_owned(),
        };
        assert_eq!(line(&finding), "bank/account/a: position 7: gap: why");
        let counts = Counts { actors: 1, records: 2, events: 3, findings: 0 };
        assert_eq!(shown(&counts), "1 actors, 2 records, 3 events: nothing is wrong");
    }
}
