//! The loss of everything that was not synced: clients append through a host in this process, on a
//! store whose file operations are traced; the power is cut at one of them.
//!
//! The run itself goes on to its end. What the cut leaves is computed from the trace: the answers
//! that had come by then, the commands under way, whose outcome is unknown, and the files that an
//! honest disk may hold. A second host opens these, and every client goes on where it stood.

use std::{path::Path, sync::Arc, time::Instant};

use aether::{
    clock,
    command::{self, Reply},
    failure::{Code, Failure},
    host::Host,
    store::embedded::{EmbeddedOptions, EmbeddedStore, Synchronous, Tuning},
};
use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json, value::RawValue};

use super::history::{Event, LoggedEvent, Logs, Operation, Outcome, Request};
use crate::{
    crash_disk::{Disk, Loss, lay_out},
    crash_vfs::{Op, TraceVfs},
    in_process::{self, PATIENCE},
    watchdog::{Watchdog, memory},
    workspace,
};

/// The journals that clients share.
const JOURNALS: usize = 4;

/// What one cut left, and what clients were told before and after it.
#[derive(Debug)]
pub struct PowerCut {
    /// Before and behind the cut. What was under way at the cut is unknown.
    pub operations: Vec<Operation>,
    /// What the second host read.
    pub logs: Logs,
    /// How many commands were under way.
    pub in_flight: usize,
    /// The file operation behind which the power was cut, and what became of unsynced writes.
    pub cut: String,
}

/// Runs `clients` clients with `requests` requests each, cuts the power at a moment that `seed`
/// chooses, and lets the clients go on for as long on what is left.
///
/// # Errors
/// If a host does not start, on what was left in particular.
pub async fn power_cut_round(
    seed: u64,
    clients: usize,
    requests: usize,
    synchronous: Synchronous,
) -> Result<PowerCut> {
    let run = clock::now();
    let (folder, vfs) = (tempdir()?, TraceVfs::register()?);
    let _watchdog = Watchdog::over_folder(folder.path())?;
    let host = open(folder.path(), Some(&vfs), synchronous).await?;
    let sessions = (0..clients).map(|client| {
        Session { client, seed, run, counter: 1, vfs: Some(vfs.clone()) }.work(&host, requests)
    });
    let before: Vec<Operation> = join_all(sessions).await.into_iter().flatten().collect();
    host.drain().await;
    let (mut operations, files, in_flight, cut) = cut(seed, &vfs.trace(), before)?;

    let left = folder.path().join("left");
    lay_out(&files, &left)?;
    let host = open(&left, None, Synchronous::Full).await?;
    let sessions = (0..clients).map(|client| {
        let acknowledged = |it: &&Operation| it.client == client && is_append(it);
        let counter = operations.iter().filter(acknowledged).count() as u64 + 1;
        let seed = seed.wrapping_add(1);
        Session { client, seed, run, counter, vfs: None }.work(&host, requests)
    });
    let after = join_all(sessions).await;
    operations.extend(after.into_iter().flatten());
    let logs = logs(&host).await?;
    host.drain().await;
    Ok(PowerCut { operations, logs, in_flight, cut })
}

/// A host on the store in `folder`.
async fn open(folder: &Path, vfs: Option<&TraceVfs>, synchronous: Synchronous) -> Result<Host> {
    // Few pages, so that checkpoints fall into the run.
    let tuning = Tuning {
        vfs: vfs.map(|vfs| vfs.name().to_owned()),
        synchronous,
        checkpoint_pages: 40,
        readers: 1,
    };
    let options = EmbeddedOptions { tuning, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(folder, options).await?;
    in_process::start(Arc::new(store), &workspace::journal_model()?).await
}

/// One client: it appends to its journal, and reads now and then.
struct Session {
    client: usize,
    seed: u64,
    run: Instant,
    /// The counter that is its next.
    counter: u64,
    /// Where the trace notes what it asks and is told: `2n` and `2n + 1`.
    vfs: Option<TraceVfs>,
}

impl Session {
    async fn work(mut self, host: &Host, requests: usize) -> Vec<Operation> {
        let mut random = StdRng::seed_from_u64(self.seed ^ (self.client as u64) << 32);
        let mut operations = Vec::new();
        for n in 0..requests {
            let request = if random.random_bool(0.2) { Request::Read } else { self.append() };
            let note = 2 * (self.client * requests + n);
            self.note(note);
            let begun = self.run.elapsed();
            let outcome = self.ask(host, &request).await;
            let ended = self.run.elapsed();
            self.note(note + 1);
            let actor = self.actor();
            let operation =
                Operation { client: self.client, actor, request, begun, ended, outcome };
            self.counter += u64::from(is_append(&operation));
            operations.push(operation);
        }
        operations
    }
}

impl Session {
    fn actor(&self) -> String {
        format!("faults/journal/{}", self.client % JOURNALS)
    }

    fn note(&self, number: usize) {
        if let Some(vfs) = &self.vfs {
            vfs.note(number);
        }
    }

    /// The next append: the same again for as long as it is not acknowledged.
    fn append(&self) -> Request {
        let Self { client, counter, .. } = self;
        let copies = 1 + counter % 3;
        Request::Command {
            id: Some(format!("{client}-{counter}")),
            name: "append-many".to_owned(),
            fields: json!({"client": client, "counter": counter, "copies": copies}),
            expected_version: None,
        }
    }

    async fn ask(&self, host: &Host, request: &Request) -> Outcome {
        let actor = self.actor();
        let told = match request {
            Request::Read => in_process::state(host, &actor)
                .await
                .map(|(version, state)| Outcome::State { version, state }),
            Request::Command { id, name, fields, .. } => {
                let command = in_process::command(&actor, name, fields);
                match command {
                    Ok(command) => {
                        host.send(command::Command { id: id.clone(), ..command }).await.map(told)
                    }
                    Err(error) => Err(Failure::new(Code::Invalid, error.to_string())),
                }
            }
        };
        told.unwrap_or_else(|failure| match failure.code {
            Code::Unresolved => Outcome::Unknown { why: failure.detail },
            code => Outcome::Refused { code: code.as_str().to_owned() },
        })
    }
}

fn is_append(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Accepted { .. })
}

fn told(reply: Reply) -> Outcome {
    let version = reply.version;
    match reply.outcome {
        command::Outcome::Accepted(events) => {
            let events = events.into_iter().map(|it| Event {
                version: it.version,
                name: it.name.clone(),
                data: parsed(&it.data),
            });
            Outcome::Accepted { version, events: events.collect() }
        }
        command::Outcome::Rejected { name, fields } => {
            let fields = parsed(&fields);
            let is_bare = fields.as_object().is_some_and(serde_json::Map::is_empty);
            let rejection = if is_bare { name.into() } else { json!({ (name): fields }) };
            Outcome::Rejected { version, rejection }
        }
    }
}

/// What the cut at a moment that `seed` chooses leaves: the operations that were begun by then,
/// the files, how many commands were under way, and the moment in words.
fn cut(
    seed: u64,
    trace: &[Op],
    told: Vec<Operation>,
) -> Result<(Vec<Operation>, crate::crash_disk::Files, usize, String)> {
    let mut random = StdRng::seed_from_u64(seed);
    let is_note = |op: &&Op| matches!(op, Op::Note(_));
    let first = trace.iter().position(|op| is_note(&op)).context("nobody asked")?;
    let last = trace.iter().rposition(|op| is_note(&op)).context("nobody asked")?;
    let moments: Vec<usize> =
        (first..last).filter(|at| !trace.get(*at).is_some_and(|op| is_note(&op))).collect();
    ensure!(!moments.is_empty(), "no file operation while clients were asking");
    let at = moments.get(random.random_range(0..moments.len())).copied().unwrap_or(last);
    let loss = if random.random() { Loss::Unsynced } else { Loss::Sectors(random.random()) };
    let mut disk = Disk::default();
    let mut noted = std::collections::HashSet::new();
    for op in trace.iter().take(at + 1) {
        disk.step(op);
        if let Op::Note(number) = op {
            noted.insert(*number);
        }
    }
    let mut in_flight = 0;
    let mut operations = Vec::new();
    for (n, mut operation) in told.into_iter().enumerate() {
        if !noted.contains(&(2 * n)) {
            continue;
        }
        if !noted.contains(&(2 * n + 1)) {
            in_flight += usize::from(!operation.is_read());
            operation.outcome = Outcome::Unknown { why: "the power was cut".to_owned() };
        }
        operations.push(operation);
    }
    let cut = format!(
        "behind file operation {at} of {}: {:?}, {loss:?}",
        trace.len(),
        trace.get(at).map(word)
    );
    Ok((operations, disk.crash(loss), in_flight, cut))
}

const fn word(op: &Op) -> &'static str {
    match op {
        Op::Open(_) => "open",
        Op::Write(..) => "write",
        Op::Truncate(..) => "truncate",
        Op::Sync(_) => "sync",
        Op::SyncFailed(_) => "failed sync",
        Op::Delete(_) => "delete",
        Op::Note(_) => "note",
    }
}

/// What the host reads of every journal.
async fn logs(host: &Host) -> Result<Logs> {
    let mut logs = Logs::default();
    for number in 0..JOURNALS {
        let name = format!("faults/journal/{number}");
        let (actor, mut from) = (name.parse()?, Some(1));
        let log = logs.actors.entry(name).or_default();
        while let Some(version) = from {
            let page = host.events(&actor, version, 1000, clock::now() + PATIENCE).await?;
            log.extend(page.events.into_iter().map(|it| LoggedEvent {
                version: it.version,
                data: parsed(&it.data),
                name: it.name,
                at: it.at,
                command: it.command,
            }));
            from = page.next;
        }
    }
    Ok(logs)
}

fn parsed(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// A folder in memory where the machine has one: what matters is the trace, not this disk.
fn tempdir() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(memory())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::check::{Column, check};

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_acknowledged_is_lost_with_the_power() {
        for seed in 0..3 {
            let round = power_cut_round(seed, 32, 12, Synchronous::Full).await.unwrap();
            assert!(round.in_flight > 0, "seed {seed}: {}", round.cut);
            let found = check(&round.operations, &round.logs);
            assert!(found.is_empty(), "seed {seed}, {}: {found:#?}", round.cut);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_syncs_the_checkers_see_the_loss() {
        for seed in 0..20 {
            // What is left may not even open: that is seen, too.
            let Ok(round) = power_cut_round(seed, 32, 12, Synchronous::Off).await else { return };
            let found = check(&round.operations, &round.logs);
            if found.iter().any(|violation| violation.kind.column() == Column::Lost) {
                return;
            }
        }
        panic!("20 cuts without syncs lost nothing");
    }
}
