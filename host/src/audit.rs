//! Whether what is stored is what was acknowledged.
//!
//! *Problem.* Damage shows when an actor is used; an operator wants to know before, and which
//! records must be skipped so that a damaged actor can go on.
//!
//! *Mechanism.* Every record of every actor is read once, from the first on: its form, its place in
//! the chain, its events by the model that it names and by the one that is deployed. The deployed
//! component folds them one by one and in batches; both must agree with each other and with the
//! newest snapshot ([`examine`]). Behind damage the reading goes on as if the least that must be
//! skipped were skipped, so all of it is found in one run ([`plan`]). A release is the same reading
//! of one actor, and a repair record if the operator says what to skip ([`release`]).
//!
//! *Cost.* A page of records and two states per actor at work, few of them at once. Nothing is
//! written and nobody is quarantined.

pub mod examine;
mod laws;
pub mod plan;
pub mod release;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use crate::{
    address::Address,
    clock,
    config::{Config, StoreConfig},
    deploy::{self, rests::UNCOVERED},
    env::Env,
    failure::Failure,
    host::StartError,
    record::{Damage, Position},
    served::{Realm, Served},
    store::{
        EventStore, Freshness, Quarantine,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
    vm::Sandbox,
};

use examine::{Examination, Examiner};
use laws::Laws;

/// Longest wait for one answer of the store.
const PATIENCE: Duration = Duration::from_secs(60);

/// Actors that are examined at once: enough to hide the store's round trips, few enough that
/// commands go on as before.
const AT_ONCE: usize = 4;

/// Actors that are listed at once: each list may cost the store all of its subjects.
const PAGE: usize = 20_000;

/// Time between two words about progress.
const PROGRESS: Duration = Duration::from_millis(250);

/// Audits that are at work at once in one process; more wait for their turn.
static AT_WORK: Semaphore = Semaphore::const_new(2);

/// How long a reader may be busy with what was told before the audit takes it for gone.
const LISTENING: Duration = Duration::from_secs(600);

/// Items that wait for a slow reader.
const QUEUE: usize = 64;

/// What is wrong, or worth knowing, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The actor, or the place as the store names it.
    pub actor: String,
    /// The record; none if it is no record's.
    pub position: Option<Position>,
    /// A short name of the kind.
    pub kind: String,
    /// What was found and what was expected.
    pub reason: String,
}

impl Finding {
    fn new(actor: &Address, position: Option<Position>, kind: &str, reason: String) -> Self {
        Self { actor: actor.to_string(), position, kind: kind.to_owned(), reason }
    }

    fn damage(actor: &Address, damage: &Damage) -> Self {
        Self::new(actor, Some(damage.position()), damage.kind(), damage.to_string())
    }
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Actors.
    pub actors: u64,
    /// Records.
    pub records: u64,
    /// Events that count.
    pub events: u64,
    /// What is wrong.
    pub findings: u64,
}

/// What an audit tells, in the order in which it finds it; a summary is the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// Something is wrong.
    Finding(Finding),
    /// Nothing is wrong, but somebody may want to know: a repair, a snapshot of other code.
    Note(Finding),
    /// How far it is.
    Progress(Counts),
    /// It has read everything.
    Summary(Counts),
}

/// What is audited.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only this context.
    pub context: Option<String>,
    /// Only this actor.
    pub actor: Option<Address>,
}

/// What an audit stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The store.
    pub env: Arc<Env>,
    /// What is deployed and can be run.
    pub served: BTreeMap<String, Arc<Served>>,
    /// What could not be loaded.
    pub faults: Vec<Finding>,
}

impl Ground {
    /// The ground of an audit without a host: the store that `config` names, which must be there.
    ///
    /// # Errors
    /// If there is none, a host has it open, or it does not answer.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let limit = config.limits.record_bytes;
        let mut faults = Vec::new();
        let store: Arc<dyn EventStore> = match &config.store {
            StoreConfig::Memory => {
                return Err(StartError("a store in memory is gone with its host".to_owned()));
            }
            StoreConfig::Embedded { dir } if !dir.join("store.db").exists() => {
                return Err(StartError(format!(
                    "there is no store in {}: expected the folder that `aether run --data` was given",
                    dir.display()
                )));
            }
            StoreConfig::Embedded { dir } => {
                let options = EmbeddedOptions { record_limit: limit, ..EmbeddedOptions::default() };
                let open = EmbeddedStore::open(dir, options).await;
                let store = open.map_err(|error| StartError(error.to_string()))?;
                faults = file_faults(&store, dir).await;
                Arc::new(store)
            }
            StoreConfig::JetStream(nats) => {
                let open = JetStreamStore::open_existing(nats, &config.prefix, limit).await;
                Arc::new(open.map_err(|error| StartError(error.to_string()))?)
            }
        };
        let sandbox =
            Sandbox::new(config.sandbox.clone()).map_err(|e| StartError(e.to_string()))?;
        let env = Arc::new(Env::new(store, Arc::default(), config.limits.clone()));
        let stored = deploy::stored(&env, &sandbox).await;
        let (served, unloaded) = stored.map_err(|error| match faults.first() {
            Some(Finding { reason, .. }) => StartError(format!("{error}; {reason}")),
            None => error,
        })?;
        faults.extend(unloaded.into_iter().map(|(context, error)| Finding {
            actor: context,
            position: None,
            kind: "deployment".to_owned(),
            reason: format!("it cannot be loaded, so nothing of it is folded: {error}"),
        }));
        Ok(Self { env, served, faults })
    }
}

/// What is wrong with the file below the records.
async fn file_faults(store: &EmbeddedStore, dir: &Path) -> Vec<Finding> {
    let faults = store.file_faults().await.unwrap_or_else(|error| vec![error.to_string()]);
    let file = dir.join("store.db").display().to_string();
    let finding = |fault: String| Finding {
        actor: file.clone(),
        position: None,
        kind: "file".to_owned(),
        reason: format!("SQLite finds its file damaged: {}", fault.trim().replace('\n', "; ")),
    };
    faults.into_iter().map(finding).collect()
}

/// Items as they come; an error is the last.
pub type Items = mpsc::Receiver<Result<Item, Failure>>;

/// Audits what `scope` says. It stops when nobody listens any more.
#[must_use]
pub fn run(ground: Ground, scope: Scope) -> Items {
    let (tell, told) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let Some(_permit) = turn(&tell).await else { return };
        let mut audit = Audit { tell, counts: Counts::default(), told_at: clock::now() };
        // An error means that nobody listens or that nobody answers: there is nothing to add.
        if let Err(Stop::Failed(failure)) = audit.all(&ground, &scope).await {
            let _ = audit.tell.send(Err(failure)).await;
        }
    });
    told
}

/// Why an audit does not go on.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    /// The store does not answer.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Audit {
    tell: mpsc::Sender<Result<Item, Failure>>,
    counts: Counts,
    told_at: Instant,
}

impl Audit {
    async fn all(&mut self, ground: &Ground, scope: &Scope) -> Result<(), Stop> {
        for fault in &ground.faults {
            self.find(fault.clone()).await?;
        }
        let env = &ground.env;
        match &scope.actor {
            Some(actor) => {
                let laws = Laws::new(env);
                let mark = env.ask("quarantined", patience(), env.store.quarantined(actor)).await?;
                let realm = realm(ground, actor);
                self.actors(env, &laws, realm, [(actor.clone(), mark)].into()).await?;
            }
            None => {
                let mut contexts = env.ask("contexts", patience(), env.store.contexts()).await?;
                contexts.retain(|name| scope.context.as_ref().is_none_or(|only| only == name));
                let mut strays = BTreeSet::new();
                for context in contexts {
                    self.context(ground, &context, &mut strays).await?;
                }
            }
        }
        let summary = Item::Summary(self.counts.clone());
        self.say(summary).await
    }

    async fn context(
        &mut self,
        ground: &Ground,
        context: &str,
        strays: &mut BTreeSet<String>,
    ) -> Result<(), Stop> {
        let env = &ground.env;
        let census = env.ask("census", patience(), env.store.census(context)).await?;
        for stray in census.strays {
            // What belongs to no context is told once, though every context's census names it.
            if strays.insert(stray.place.clone()) {
                let reason = format!("{} records of nobody: {}", stray.records, stray.reason);
                let kind = "stranger".to_owned();
                self.find(Finding { actor: stray.place, position: None, kind, reason }).await?;
            }
        }
        for loss in census.losses {
            let reason = format!("{} records are gone: {}", loss.records, loss.reason);
            let kind = "lost".to_owned();
            self.find(Finding { actor: loss.place, position: None, kind, reason }).await?;
        }
        let marks = env.ask("quarantines", patience(), env.store.quarantines(context)).await?;
        let mut marks: BTreeMap<Address, Quarantine> = marks.into_iter().collect();
        let laws = Laws::new(env);
        let served = ground.served.get(context);
        for aggregate in census.aggregates {
            let realm = served.and_then(|served| served.realms.get(&aggregate).cloned());
            if served.is_some() && realm.is_none() {
                let actor = format!("{context}/{aggregate}");
                let reason =
                    "the deployed model has no such aggregate: its records cannot be folded";
                let (kind, reason) = ("stranger".to_owned(), reason.to_owned());
                self.find(Finding { actor, position: None, kind, reason }).await?;
            }
            let mut after: Option<String> = None;
            loop {
                let list = env.store.actors(context, &aggregate, after.as_deref(), PAGE);
                let page = env.ask("actors", patience(), list).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id().to_owned());
                let page = page.into_iter().map(|actor| {
                    let mark = marks.remove(&actor);
                    (actor, mark)
                });
                self.actors(env, &laws, realm.clone(), page.collect()).await?;
            }
        }
        // Actors without a log are not listed: a snapshot or a mark may be all that is left.
        let mut rest: BTreeMap<_, _> = census.unlogged.into_iter().map(|a| (a, None)).collect();
        rest.extend(marks.into_iter().map(|(actor, mark)| (actor, Some(mark))));
        for (actor, mark) in rest {
            let realm = realm(ground, &actor);
            self.actors(env, &laws, realm, vec![(actor, mark)]).await?;
        }
        Ok(())
    }

    /// Examines some actors of one aggregate.
    async fn actors(
        &mut self,
        env: &Arc<Env>,
        laws: &Laws<'_>,
        realm: Option<Arc<Realm>>,
        actors: Vec<(Address, Option<Quarantine>)>,
    ) -> Result<(), Stop> {
        let realm = realm.as_ref();
        let mut examined = futures::stream::iter(actors)
            .map(|(actor, mark)| async move {
                let result = examine(env, laws, realm, &actor, mark.as_ref()).await;
                (actor, result)
            })
            .buffered(AT_ONCE);
        while let Some((actor, result)) = examined.next().await {
            self.counts.actors += 1;
            match result {
                Ok(found) => self.report(found).await?,
                Err(failure) => {
                    // If the store is away, there is no end to it.
                    env.ask("check", patience(), env.store.check()).await?;
                    self.find(Finding::new(&actor, None, "store", failure.detail)).await?;
                }
            }
            if self.told_at.elapsed() >= PROGRESS {
                self.told_at = clock::now();
                self.say(Item::Progress(self.counts.clone())).await?;
            }
        }
        Ok(())
    }

    async fn report(&mut self, found: Examination) -> Result<(), Stop> {
        self.counts.records += found.records;
        self.counts.events += found.events;
        for note in found.notes {
            self.say(Item::Note(note)).await?;
        }
        for finding in found.findings {
            self.find(finding).await?;
        }
        Ok(())
    }

    async fn find(&mut self, finding: Finding) -> Result<(), Stop> {
        self.counts.findings += 1;
        self.say(Item::Finding(finding)).await
    }

    async fn say(&mut self, item: Item) -> Result<(), Stop> {
        self.tell.send_timeout(Ok(item), LISTENING).await.map_err(|_| Stop::Unheard)
    }
}

/// Reads the log of an actor, which bears `mark`. One that its deployment left out and nobody has
/// checked since is judged by the code that served it before, and what the new code makes of it is
/// told as that: its log is not to blame.
async fn examine(
    env: &Arc<Env>,
    laws: &Laws<'_>,
    active: Option<&Arc<Realm>>,
    actor: &Address,
    mark: Option<&Quarantine>,
) -> Result<Examination, Failure> {
    let unchecked = match active.filter(|_| mark.is_none()) {
        Some(realm) => match &realm.rests {
            Some(rests) => rests.look(env, realm, actor).await?,
            None => None,
        },
        None => None,
    };
    let (realm, fails) = match &unchecked {
        Some(unchecked) => (unchecked.old.as_ref(), unchecked.fails.as_ref()),
        None => (active, None),
    };
    let newest = active.map_or(u64::MAX, |realm| realm.deployment);
    let examiner = Examiner { env, laws, realm, newest, freshness: Freshness::Leader };
    let mut found = examiner.examine(actor, mark, Vec::new()).await?;
    if let Some(why) = fails.filter(|_| found.damages.is_empty()) {
        found.findings.push(Finding::new(actor, None, UNCOVERED, why.clone()));
    }
    Ok(found)
}

/// Waits until an audit may begin; none if nobody listens any more.
async fn turn(tell: &mpsc::Sender<Result<Item, Failure>>) -> Option<SemaphorePermit<'static>> {
    tokio::select! {
        permit = AT_WORK.acquire() => permit.ok(),
        () = tell.closed() => None,
    }
}

fn realm(ground: &Ground, actor: &Address) -> Option<Arc<Realm>> {
    ground.served.get(actor.context())?.realms.get(actor.aggregate()).cloned()
}

/// When a question to the store that is asked now is given up.
fn patience() -> Instant {
    clock::now() + PATIENCE
}
