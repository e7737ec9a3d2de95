//! `aether fork`: a scratch copy of an actor, in memory only, on which commands can be tried.
//!
//! The copy lives in a host of its own inside this process, on a store in memory: its past is told
//! again to an actor of another name, with the model and the components that are deployed or that
//! the flags name. Nothing of it reaches the host that it came from, and all of it is gone when the
//! prompt ends.

mod prompt;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aether_wit::Digest;
use anyhow::{Context as _, bail};

use super::{
    client::{Client, Connection, Refused},
    past::{Code, CodeFlags, Found, Read, Records, not_counted, other_models, sandbox},
    print,
};
use crate::{
    address::Address,
    clock,
    config::{Config, Faces, Limits, StoreConfig},
    host::Host,
    record::{Chain, FORMAT, Kind, Record, Stored},
    store::{Append, Deployment, EventStore, embedded::EmbeddedStore},
};

/// Longest wait for the store in memory.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit status after a signal, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// The deployment of which the copied records are. Who decided them does not matter to the copy,
/// only under which model they are stored.
const DEPLOYMENT: u64 = 1;

/// Makes a scratch copy of an actor, in memory only, and takes commands for it from the prompt.
///
/// `help` at the prompt tells what can be said; standard input may be a file. Nothing reaches the
/// host: a fork into the real store does not exist.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor, and up to which version: CONTEXT/AGGREGATE/ID or CONTEXT/AGGREGATE/ID@N
    #[arg(value_name = "ACTOR[@N]")]
    from: String,
    /// The copy: CONTEXT/AGGREGATE/ID, of the same context and aggregate.
    #[arg(value_name = "NEW-ACTOR")]
    to: Address,
    /// In memory, thrown away at the end: the only kind of copy that there is.
    #[arg(long)]
    sandbox: bool,
    /// Up to which version. ACTOR is then taken to the letter: for ids that end in @NUMBER.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
///
/// # Errors
/// If the past or the code cannot be had, or do not go together.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ended = fork(args).await;
    if ENDING.load(Ordering::SeqCst) {
        // It ended because the store was let go: the signal has the last word.
        std::future::pending::<()>().await;
    }
    ended
}

async fn fork(args: Args) -> anyhow::Result<ExitCode> {
    if !args.sandbox {
        bail!(
            "add --sandbox: the copy is in memory and thrown away at the end; there is no fork into the real store, where the same past would count twice"
        );
    }
    let (from, version) = source(&args.from, args.version)?;
    let (here, there) =
        ((from.context(), from.aggregate()), (args.to.context(), args.to.aggregate()));
    if here != there {
        bail!("{} cannot have the past of {from}: expected {}/{}/ID", args.to, here.0, here.1);
    }
    let client = args.connection.client();
    let code = args.code.open(&client, &from)?;
    let components = code.all().await?;
    let (store, reached) = copied(&client, &from, version, &args.to).await?;
    let former = other_models(&client, &code.model);
    let deployed = match former {
        Ok(former) => deploy(&*store, &code, former, components.iter()).await,
        Err(error) => Err(error),
    };
    let started = match deployed {
        Ok(()) => {
            let config = Config {
                store: StoreConfig::Memory,
                sandbox: sandbox(&code.model)?,
                limits: Limits::default(),
                prefix: "aether".to_owned(),
                faces: Faces { http: None, nats: false, token_file: None, insecure: false },
                accept_state_changes: false,
            };
            Host::start_on(store.clone(), config, Vec::new()).await.map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    let host = match started {
        Ok(host) => host,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    print::line(&print::plain(&format!(
        "{} is {from} as it was at version {reached}, in memory only: `help` tells what can be tried",
        args.to
    )));
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let session = prompt::Session::begin(&host, &code.model, &args.to).await;
    let ended = match session {
        Ok(mut session) => session.run(terminal).await.map_err(Into::into),
        Err(failure) => Err(Refused::new(failure.code, failure.detail).into()),
    };
    host.drain().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// The actor that is copied, and up to which version. What follows the last `@` is a version if it
/// is a number, unless the version was given apart.
fn source(text: &str, version: Option<u64>) -> anyhow::Result<(Address, Option<u64>)> {
    if version.is_some() {
        return Ok((text.parse()?, version));
    }
    match text.rsplit_once('@') {
        Some((actor, at)) if !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit()) => {
            let at = at.parse().with_context(|| format!("`{at}` is no version"))?;
            Ok((actor.parse()?, Some(at)))
        }
        _ => Ok((text.parse()?, None)),
    }
}

/// A store in memory in which `to` has the past of `from`, and the version that it has reached.
async fn copied(
    client: &Client<'_>,
    from: &Address,
    until: Option<u64>,
    to: &Address,
) -> anyhow::Result<(Arc<EmbeddedStore>, u64)> {
    let mut records = Records::open(client, from, until)?;
    loop {
        let store = Arc::new(EmbeddedStore::in_memory().await?);
        end_with_signals(store.clone());
        match tell_again(&*store, &mut records, (from, until), to).await {
            Ok(Some(reached)) => return Ok((store, reached)),
            Ok(None) => store.close().await,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        }
    }
}

/// Writes the turns of `records` as those of `to`; the version of the original that is reached.
/// None: they come anew from the first on.
async fn tell_again(
    store: &dyn EventStore,
    records: &mut Records,
    (from, until): (&Address, Option<u64>),
    to: &Address,
) -> anyhow::Result<Option<u64>> {
    let mut chain = Chain::start(to);
    let mut reached = 0;
    loop {
        let mut record = match records.read()? {
            Read::Record(record) => *record,
            Read::Anew => return Ok(None),
            Read::End => break,
        };
        let last = until.unwrap_or(u64::MAX);
        // A repair ends with the last of the versions that it leaves out.
        if record.turns.is_empty() && record.last() <= last {
            reached = record.last();
        }
        let beyond = record.last().saturating_sub(last);
        shorten(&mut record, beyond);
        if record.turns.is_empty() {
            continue;
        }
        reached = record.last();
        let copy = Record {
            format: FORMAT,
            kind: Kind::Turns,
            actor: to.to_string(),
            first: chain.version + 1,
            prev: chain.digest,
            deployment: DEPLOYMENT,
            ..record
        };
        let bytes = copy.encode()?;
        let append = Append {
            actor: to.clone(),
            expected: chain.position,
            first: copy.first,
            events: copy.event_count(),
            command_ids: Vec::new(),
            bytes: bytes.clone(),
            deadline: clock::now() + PATIENCE,
        };
        let position = store.append(append).await?;
        chain.advance(&copy, &Stored { position, bytes });
    }
    if let Some(until) = until.filter(|until| reached < *until) {
        return Err(not_counted(from, until).into());
    }
    if reached != chain.version {
        eprintln!(
            "note: a repair skips versions of the original; those of the copy are counted without them, and end at {}",
            chain.version
        );
    }
    Ok(Some(reached))
}

/// Takes the last `beyond` events from a record.
fn shorten(record: &mut Record, beyond: u64) {
    for _ in 0..beyond {
        while record.turns.last().is_some_and(|turn| turn.events.is_empty()) {
            record.turns.pop();
        }
        if let Some(turn) = record.turns.last_mut() {
            turn.events.pop();
        }
    }
    record.turns.retain(|turn| !turn.events.is_empty());
}

/// Makes `components` what the store has deployed, behind the other models under which the past may
/// be stored. No gate stands before them: whatever folds the past may be tried.
async fn deploy(
    store: &dyn EventStore,
    code: &Code<'_>,
    former: Vec<(Digest, Vec<u8>)>,
    components: impl Iterator<Item = (&String, &Found)>,
) -> anyhow::Result<()> {
    store.put_blob(code.text.clone().into()).await?;
    let mut digests = BTreeMap::new();
    for (aggregate, found) in components {
        let digest = store.put_blob(found.bytes.clone().into()).await?;
        digests.insert(aggregate.clone(), digest);
    }
    for (_, text) in &former {
        store.put_blob(text.clone().into()).await?;
    }
    let models = former.iter().map(|(digest, _)| *digest).chain([code.model.digest]);
    for (number, model) in (DEPLOYMENT..).zip(models) {
        store.activate(&deployment(number, code, model, digests.clone())).await?;
    }
    Ok(())
}

fn deployment(
    number: u64,
    code: &Code<'_>,
    model: Digest,
    components: BTreeMap<String, Digest>,
) -> Deployment {
    Deployment {
        number,
        context: code.model.context.clone(),
        model,
        components,
        at: clock::unix_ms(),
        by: "aether fork".to_owned(),
        because: String::new(),
        origin: String::new(),
        again: None,
        forced: BTreeSet::new(),
        replayed: Vec::new(),
        rest: None,
    }
}

/// Whether a signal is about to end the process.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Lets go of the store, which has a folder in memory, before a signal ends the process.
fn end_with_signals(store: Arc<EmbeddedStore>) {
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            ENDING.store(true, Ordering::SeqCst);
            store.close().await;
            std::process::exit(INTERRUPTED);
        }
    });
}

/// Waits for Ctrl-C or for being told to end.
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_follows_the_last_at_sign() {
        let read = |text: &str, version| {
            let (actor, version) = source(text, version).unwrap();
            (actor.id().to_owned(), version)
        };
        assert_eq!(read("bank/account/a", None), ("a".to_owned(), None));
        assert_eq!(read("bank/account/a@12", None), ("a".to_owned(), Some(12)));
        assert_eq!(read("bank/account/a@b.org", None), ("a@b.org".to_owned(), None));
        assert_eq!(read("bank/account/a@b.org@0", None), ("a@b.org".to_owned(), Some(0)));
        assert_eq!(read("bank/account/a@", None), ("a@".to_owned(), None));
        assert_eq!(read("bank/account/a@7", Some(3)), ("a@7".to_owned(), Some(3)));
        assert!(source("bank/account/a@99999999999999999999", None).is_err());
        assert!(source("bank/account/@1", None).is_err() && source("alice", None).is_err());
    }

    #[test]
    fn a_record_is_cut_behind_a_version() {
        let turn = |events: &[u8]| {
            let events: Vec<_> =
                events.iter().map(|n| json!({"type": "e", "data": {"n": n}})).collect();
            let digest = Digest::of("");
            let command = json!({"id": "c", "name": "n", "digest": digest, "at": 0, "by": null,
                "correlation": "c", "causation": null, "seed": "0"});
            json!({"command": command, "events": events})
        };
        let digest = Digest::of("");
        let record = json!({"format": 1, "kind": "turns", "actor": "bank/account/a", "first": 4,
            "prev": null, "deployment": 1, "model": digest, "component": digest,
            "turns": [turn(&[1, 2]), turn(&[3])]});
        let record: Record = serde_json::from_value(record).unwrap();
        for (beyond, turns, last) in [(0, 2, 6), (1, 1, 5), (2, 1, 4), (3, 0, 3), (9, 0, 3)] {
            let mut cut = record.clone();
            shorten(&mut cut, beyond);
            assert_eq!((cut.turns.len(), cut.last()), (turns, last), "{beyond}");
        }
    }
}
