//! A running host: what faces, tests and embedding programs hold.

mod operate;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aether_wit::{Model, report::nearest};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    address::Address,
    clock,
    command::{
        ActorEntry, ActorsPage, Command, Consistency, EventsPage, FeedEvent, Query, Reply,
        StateView,
    },
    config::{Config, StoreConfig},
    deploy,
    env::Env,
    failure::{Code, Failure},
    feed, history,
    json::{PackedCase, Reader, canonical, write},
    mailbox::{Cell, Job, View},
    metrics::Metrics,
    router,
    served::{Realm, Served},
    store::{
        Deployment, EventStore, Presence, StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
    turn::Prepared,
    vm::Sandbox,
};

/// Longest id of a command, in bytes: room for any UUID, ULID or path of a caller's own.
pub const MAX_COMMAND_ID_BYTES: usize = 256;

/// How often a host tells others that it lives. A third of the 15 s that a store believes it.
const PRESENCE_PERIOD: Duration = Duration::from_secs(5);

/// How often idle actors are looked for, at the most and at the least often.
const SWEEP_PERIODS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How many actors fall asleep at once: enough to fill a group commit.
const ASLEEP_AT_ONCE: usize = 256;

/// What the store is given to close, at the least, when the time to drain is over.
const CLOSE: Duration = Duration::from_secs(2);

const SUPERSEDED: &str = "another host has activated a newer deployment than this host serves: start it again without a model, or with the newer one";

/// How often a shared store is asked again by a read that waits for a version.
const MIN_VERSION_POLL: Duration = Duration::from_millis(50);

/// What the caller is still given after its deadline, so that the actor's own word arrives.
const GRACE: Duration = Duration::from_millis(250);

/// A running host. Cheap to clone; it runs until [`Host::drain`] or until all handles are gone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    config: Config,
    env: Arc<Env>,
    sandbox: Sandbox,
    served: RwLock<BTreeMap<String, Arc<Served>>>,
    draining: AtomicBool,
    stop: CancellationToken,
    /// Another host has activated a newer deployment than one that is served here.
    superseded: AtomicBool,
}

/// A model with its component files, to be deployed at start.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The model's file name, for messages.
    pub file: String,
    /// The model's text.
    pub model: bytes::Bytes,
    /// Name and bytes of its component files.
    pub components: Vec<(String, bytes::Bytes)>,
}

/// The host cannot start: what is wrong and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl Host {
    /// Opens the store, loads what it holds, deploys what is new in `bundles`.
    ///
    /// # Errors
    /// If the store cannot be opened, a model has mistakes, a component does not fit, or a change
    /// would break what is stored.
    pub async fn start(config: Config, bundles: Vec<Bundle>) -> Result<Self, StartError> {
        let store = open_store(&config).await?;
        let started = Self::start_on(store.clone(), config, bundles).await;
        if started.is_err() {
            store.close().await;
        }
        started
    }

    /// Starts on a store that is open already.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(
        store: Arc<dyn EventStore>,
        config: Config,
        bundles: Vec<Bundle>,
    ) -> Result<Self, StartError> {
        let sandbox =
            Sandbox::new(config.sandbox.clone()).map_err(|e| StartError(e.to_string()))?;
        let id = Uuid::now_v7().to_string();
        let metrics = Arc::new(Metrics::default());
        let env = Arc::new(Env::new(store, metrics, config.limits.clone()));
        let here = presence(&id, BTreeMap::new());
        let served = tokio::select! {
            served = deploy::at_start(&env, &sandbox, &bundles, &here) => served?,
            never = keep_announcing(&env, &here) => match never {},
        };
        let host = Self(Arc::new(Inner {
            id,
            config,
            env,
            sandbox,
            served: RwLock::new(served),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            superseded: AtomicBool::new(false),
        }));
        // A mark may be all that tells of a lost tail: without the marks nothing may be served.
        host.learn_marks().await.map_err(|e| StartError(e.to_string()))?;
        tokio::spawn(sweep(Arc::downgrade(&host.0), host.0.stop.clone()));
        tokio::spawn(be_present(Arc::downgrade(&host.0), host.0.stop.clone()));
        Ok(host)
    }

    /// Gives a command to its actor and waits for the answer.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn send(&self, command: Command) -> Result<Reply, Failure> {
        let (to, deadline) = (command.to.clone(), command.deadline);
        let realm = self.realm(to.context(), to.aggregate())?;
        let prepared = prepare(&realm, command)?;
        let id = prepared.id.clone();
        self.admit(&realm, &to, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Turn(Box::new(prepared), answer);
        router::post(&self.0.env, &realm, &to, job).map_err(|failure| failure.for_command(&id))?;
        match tokio::time::timeout_at((deadline + GRACE).into(), answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                Err(self
                    .lost(&to, "the actor's task ended without an answer: this is a bug in aether"))
            }
            Err(_) => Err(self.lost(&to, "no answer before the deadline")),
        }
        .map_err(|failure| failure.for_command(&id))
    }

    /// An actor's state.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn state(&self, query: Query) -> Result<StateView, Failure> {
        let actor = &query.actor;
        let realm = self.realm(actor.context(), actor.aggregate())?;
        let view = match query.version {
            Some(version) => {
                history::state_at(&self.0.env, &realm, actor, version, query.deadline).await?
            }
            None => self.view(&realm, &query).await?,
        };
        Ok(StateView {
            actor: actor.clone(),
            version: view.version,
            state: write(&realm.plans().state, &view.state),
            component: realm.behaviour.component(),
        })
    }

    /// An actor's events from version `from` (1 = the first), at most `limit`.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn events(
        &self,
        actor: &Address,
        from: u64,
        limit: usize,
        deadline: Instant,
    ) -> Result<EventsPage, Failure> {
        self.realm(actor.context(), actor.aggregate())?;
        history::events(&self.0.env, actor, from, limit, deadline).await
    }

    /// Wakes an actor; its version.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn wake(&self, actor: &Address, deadline: Instant) -> Result<u64, Failure> {
        let realm = self.realm(actor.context(), actor.aggregate())?;
        Ok(self.ask(&realm, actor, Consistency::Linearizable, deadline).await?.version)
    }

    /// Puts an actor to sleep after the commands that wait for it; whether it was awake.
    ///
    /// # Errors
    /// `unknown` if there is no such aggregate, `unavailable` if it did not happen in time.
    pub async fn sleep(&self, actor: &Address, deadline: Instant) -> Result<bool, Failure> {
        let realm = self.realm(actor.context(), actor.aggregate())?;
        let Some(cell) = realm.actors.get(actor) else { return Ok(false) };
        let asleep = router::sleep(&self.0.env, &realm, &cell);
        tokio::time::timeout_at(deadline.into(), asleep).await.map_err(|_| {
            let detail = format!("{actor} still works; it falls asleep when it is done");
            Failure::new(Code::Unavailable, detail).for_actor(actor)
        })
    }

    /// Actors of an aggregate after the id `after`.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ActorsPage, Failure> {
        let realm = self.realm(context, aggregate)?;
        let (env, deadline) = (&self.0.env, clock::now() + env_timeout(&self.0.config));
        let asked = limit.saturating_add(1);
        let list = env.store.actors(context, aggregate, after, asked);
        let mut actors = env.ask("actors", deadline, list).await?;
        let next = (actors.len() > limit).then(|| {
            actors.truncate(limit);
            actors.last().map(|actor| actor.id().to_owned())
        });
        let entry = |actor: Address| ActorEntry {
            awake_at: realm.actors.get(&actor).and_then(|cell| cell.version()),
            quarantined: env.quarantined(&actor).map(|mark| mark.reason),
            actor,
        };
        Ok(ActorsPage { actors: actors.into_iter().map(entry).collect(), next: next.flatten() })
    }

    /// The actors awake in this host, ordered by address, at most `limit`.
    #[must_use]
    pub fn awake(&self, limit: usize) -> Vec<ActorEntry> {
        let mut cells: Vec<_> = self.realms().iter().flat_map(|realm| realm.actors.all()).collect();
        cells.sort_by(|a, b| a.actor().cmp(b.actor()));
        let entry = |cell: &Arc<Cell>| ActorEntry {
            actor: cell.actor().clone(),
            awake_at: cell.version(),
            quarantined: self.0.env.quarantined(cell.actor()).map(|mark| mark.reason),
        };
        cells.iter().take(limit).map(entry).collect()
    }

    /// Every event of a context after `cursor`, then new ones as they come.
    ///
    /// # Errors
    /// See [`crate::failure::Code`].
    pub async fn feed(
        &self,
        context: &str,
        cursor: Option<&str>,
    ) -> Result<BoxStream<'static, Result<FeedEvent, Failure>>, Failure> {
        self.context(context)?;
        let deadline = clock::now() + env_timeout(&self.0.config);
        feed::open(&self.0.env, context, cursor, deadline, self.0.stop.clone()).await
    }

    /// The models that are served, ordered by context.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.served().values().map(|served| served.model.clone()).collect()
    }

    /// What is served of each context.
    #[must_use]
    pub fn deployments(&self) -> Vec<Deployment> {
        self.served().values().map(|served| served.deployment.clone()).collect()
    }

    /// Whether commands can be taken now; if not, why.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("the host is stopping".to_owned());
        }
        if self.0.superseded.load(Ordering::Relaxed) {
            return Err(SUPERSEDED.to_owned());
        }
        let check = tokio::time::timeout(Duration::from_secs(2), self.0.env.store.check());
        match check.await {
            Ok(answer) => answer.map_err(|error| format!("the store does not answer: {error}")),
            Err(_) => Err("the store did not answer within 2 s".to_owned()),
        }
    }

    /// What the host counts, brought up to date.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        let awake = self.realms().iter().map(|realm| realm.actors.len()).sum();
        let env = &self.0.env;
        env.metrics.set_actors(awake, env.quarantined_count());
        env.metrics.set_instances(self.0.sandbox.instances());
        &env.metrics
    }

    /// The settings that it runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Most component instances alive at once, as it was set or as this machine gives.
    #[must_use]
    pub fn max_instances(&self) -> usize {
        self.0.sandbox.max_instances()
    }

    /// What the store is and promises, in one line.
    #[must_use]
    pub fn store_description(&self) -> String {
        self.0.env.store.describe()
    }

    /// Takes no more commands, finishes those in flight, writes final snapshots, closes the store.
    pub async fn drain(&self) {
        if self.0.draining.swap(true, Ordering::SeqCst) {
            return;
        }
        let everyone_asleep = async {
            for realm in self.realms() {
                put_to_sleep(&self.0.env, &realm, realm.actors.all()).await;
            }
        };
        let limit = self.0.config.limits.drain;
        let until = tokio::time::Instant::from_std(clock::now() + limit);
        if tokio::time::timeout_at(until, everyone_asleep).await.is_err() {
            tracing::warn!(
                ?limit,
                "some actors were still at work when the time to drain was over; what was acknowledged is stored"
            );
        }
        self.0.stop.cancel();
        // What is still on its way to the store may take as long as its caller waits.
        let until = until.max(tokio::time::Instant::from_std(clock::now() + CLOSE));
        if tokio::time::timeout_at(until, self.0.env.store.close()).await.is_err() {
            tracing::warn!(
                "the store was still at work when the time to drain was over; what was acknowledged is stored"
            );
        }
    }

    async fn view(&self, realm: &Arc<Realm>, query: &Query) -> Result<View, Failure> {
        let (actor, deadline) = (&query.actor, query.deadline);
        if query.consistency == Consistency::Local
            && query.min_version.is_none()
            && self.0.env.quarantined(actor).is_none()
            && let Some(view) = realm.actors.get(actor).and_then(|cell| cell.peek(&self.0.env))
        {
            return Ok(view);
        }
        loop {
            let view = self.ask(realm, actor, query.consistency, deadline).await?;
            let Some(wanted) = query.min_version.filter(|wanted| *wanted > view.version) else {
                return Ok(view);
            };
            if clock::now() >= deadline {
                let detail = format!(
                    "{actor} is at version {}; version {wanted} was not reached before the deadline: ask again",
                    view.version
                );
                return Err(Failure::new(Code::Unresolved, detail).for_actor(actor));
            }
            let reached = realm.actors.get(actor).map(|cell| cell.reached(wanted));
            let until = if self.0.env.store.is_shared() {
                deadline.min(clock::now() + MIN_VERSION_POLL)
            } else {
                deadline
            };
            if let Some(reached) = reached {
                let _ = tokio::time::timeout_at(until.into(), reached).await;
            }
        }
    }

    async fn ask(
        &self,
        realm: &Arc<Realm>,
        actor: &Address,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<View, Failure> {
        self.admit(realm, actor, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Read(consistency, deadline, answer);
        router::post(&self.0.env, realm, actor, job)?;
        match tokio::time::timeout_at((deadline + GRACE).into(), answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => {
                let detail = format!("{actor} did not answer before the deadline; try again");
                Err(Failure::new(Code::Unavailable, detail).for_actor(actor))
            }
        }
    }

    /// Refuses what cannot be begun, and makes room for one more actor if the host is full.
    async fn admit(
        &self,
        realm: &Arc<Realm>,
        actor: &Address,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let refused = |code, why: String| Err(Failure::new(code, why).for_actor(actor));
        if self.0.draining.load(Ordering::Relaxed) {
            let why = "the host is stopping; this request stored nothing, ask another one";
            return refused(Code::Unavailable, why.to_owned());
        }
        if self.0.superseded.load(Ordering::Relaxed) {
            return refused(Code::Unavailable, SUPERSEDED.to_owned());
        }
        let limit = self.0.config.limits.max_awake;
        while self.awake_count() >= limit && realm.actors.get(actor).is_none() {
            let longest = self.realms().into_iter().filter_map(|realm| {
                let (idle, cell) = realm.actors.longest_idle()?;
                Some((idle, cell, realm))
            });
            let room = match longest.max_by_key(|(idle, ..)| *idle) {
                Some((_, cell, realm)) => {
                    let asleep = router::sleep(&self.0.env, &realm, &cell);
                    tokio::time::timeout_at(deadline.into(), asleep).await.is_ok()
                }
                None => false,
            };
            if !room {
                return refused(
                    Code::Overloaded,
                    format!(
                        "{limit} actors are awake and at work (`max-awake`); this request stored nothing, try again later"
                    ),
                );
            }
        }
        Ok(())
    }

    fn awake_count(&self) -> usize {
        self.served().values().flat_map(|s| s.realms.values()).map(|realm| realm.actors.len()).sum()
    }

    fn lost(&self, actor: &Address, why: &str) -> Failure {
        let detail =
            format!("{actor}: {why}; it may have happened: ask again with the same command id");
        Failure::new(Code::Unresolved, detail).for_actor(actor)
    }

    /// Learns what this and other hosts have marked, released and repaired.
    async fn learn_marks(&self) -> Result<(), StoreError> {
        let contexts: Vec<_> = self.served().keys().cloned().collect();
        self.0.env.learn_marks(&contexts).await
    }

    /// Looks whether another host has activated something newer than what is served here: then
    /// nothing may be decided with the old code any more.
    async fn note_deployments(&self) -> Result<(), StoreError> {
        for served in self.deployments() {
            let newest = self.0.env.store.deployments(&served.context).await?.pop();
            if let Some(newest) = newest.filter(|newest| newest.number > served.number)
                && !self.0.superseded.swap(true, Ordering::Relaxed)
            {
                tracing::error!(context = %served.context, served = served.number, newest = newest.number, "{SUPERSEDED}");
            }
        }
        Ok(())
    }

    fn context(&self, context: &str) -> Result<Arc<Served>, Failure> {
        let served = self.served();
        served.get(context).cloned().ok_or_else(|| {
            let known = served.keys().map(String::as_str);
            Failure::new(Code::Unknown, missing("context", context, known))
        })
    }

    fn realm(&self, context: &str, aggregate: &str) -> Result<Arc<Realm>, Failure> {
        let served = self.context(context)?;
        served.realms.get(aggregate).cloned().ok_or_else(|| {
            let known = served.realms.keys().map(String::as_str);
            let what = format!("aggregate of context `{context}`");
            Failure::new(Code::Unknown, missing(&what, aggregate, known))
        })
    }

    fn realms(&self) -> Vec<Arc<Realm>> {
        self.served().values().flat_map(|served| served.realms.values().cloned()).collect()
    }

    fn served(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Served>>> {
        self.0.served.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `name` is not among `known`: which it may have been.
fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: String = name.chars().take(80).collect();
    match nearest(name, known.clone()) {
        Some(near) => format!("there is no {what} called `{shown}`; did you mean `{near}`?"),
        None => {
            let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no {what} called `{shown}`; there are: {known}")
        }
    }
}

/// A caller's command, checked against the model.
fn prepare(realm: &Realm, command: Command) -> Result<Prepared, Failure> {
    let commands = &realm.plans().commands;
    let (case, (name, plan)) = commands
        .index_of(&command.name)
        .and_then(|case| Some((case, commands.get(case)?)))
        .ok_or_else(|| {
            let known = commands.cases.iter().map(|(name, _)| &**name);
            let what = format!("command of `{}/{}`", realm.context, realm.aggregate);
            Failure::new(Code::Unknown, missing(&what, &command.name, known)).for_actor(&command.to)
        })?;
    let invalid = |why: String| {
        let failure = Failure::new(Code::Invalid, why).for_actor(&command.to);
        match &command.id {
            Some(id) => failure.for_command(id),
            None => failure,
        }
    };
    if let Some(id) =
        command.id.as_ref().filter(|id| id.is_empty() || id.len() > MAX_COMMAND_ID_BYTES)
    {
        return Err(invalid(format!(
            "the command id has {} bytes: expected 1 to {MAX_COMMAND_ID_BYTES}",
            id.len()
        )));
    }
    let json = command.fields.get().as_bytes();
    let fields = Reader::Caller.read(plan, json).map_err(|error| {
        invalid(format!("the fields of command `{name}` do not fit the model: {error}"))
    })?;
    let canonical = canonical(plan, json).unwrap_or_default();
    let id_by_caller = command.id.is_some();
    let id = command.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    Ok(Prepared {
        correlation: command.correlation.unwrap_or_else(|| id.clone()),
        id,
        id_by_caller,
        name: name.clone(),
        case: PackedCase { case, fields },
        digest: aether_wit::Digest::of(canonical),
        expected_version: command.expected_version,
        causation: command.causation,
        by: command.by,
        at: command.at,
        seed: command.seed.unwrap_or_else(rand::random),
        deadline: command.deadline,
    })
}

async fn open_store(config: &Config) -> Result<Arc<dyn EventStore>, StartError> {
    let limit = config.limits.record_bytes;
    let options = EmbeddedOptions { record_limit: limit, ..EmbeddedOptions::default() };
    let refused = |error: &dyn std::error::Error| StartError(error.to_string());
    Ok(match &config.store {
        StoreConfig::Embedded { dir } => {
            Arc::new(EmbeddedStore::open(dir, options).await.map_err(|e| refused(&e))?)
        }
        StoreConfig::Memory => Arc::new(EmbeddedStore::in_memory().await.map_err(|e| refused(&e))?),
        StoreConfig::JetStream(nats) => {
            let open = JetStreamStore::open(nats, &config.prefix, limit);
            Arc::new(open.await.map_err(|e| refused(&e))?)
        }
    })
}

fn presence(id: &str, serves: BTreeMap<String, u64>) -> Presence {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = if machine.trim().is_empty() { "this machine" } else { machine.trim() };
    let place = format!("process {} on {machine}", std::process::id());
    Presence { host: id.to_owned(), place, serves }
}

/// Tells others that this host lives while it starts, which may take as long as compiling does.
async fn keep_announcing(env: &Env, here: &Presence) -> Infallible {
    loop {
        tokio::time::sleep(PRESENCE_PERIOD).await;
        if let Err(error) = env.store.announce(here).await {
            tracing::warn!(%error, "this host could not tell others that it lives");
        }
    }
}

/// Tells others that this host lives, and learns what they have marked and deployed.
async fn be_present(inner: std::sync::Weak<Inner>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PRESENCE_PERIOD)).await.is_some() {
        let Some(inner) = inner.upgrade() else { return };
        let host = Host(inner);
        if !host.0.env.store.is_shared() {
            host.0.env.record_marks().await;
            continue;
        }
        let serves = host.deployments().into_iter().map(|d| (d.context, d.number)).collect();
        let round = async {
            host.0.env.store.announce(&presence(&host.0.id, serves)).await?;
            host.learn_marks().await?;
            host.note_deployments().await
        };
        match stop.run_until_cancelled(round).await {
            Some(Err(error)) => {
                tracing::warn!(%error, "this host could not tell others that it lives, or not hear them");
            }
            Some(Ok(())) => {}
            None => return,
        }
    }
}

/// Puts many actors to sleep, so many at once that their snapshots share commits.
async fn put_to_sleep(env: &Arc<Env>, realm: &Arc<Realm>, cells: Vec<Arc<Cell>>) {
    futures::stream::iter(cells)
        .for_each_concurrent(ASLEEP_AT_ONCE, |cell| async move {
            router::sleep(env, realm, &cell).await;
        })
        .await;
}

/// Puts idle actors to sleep.
async fn sweep(inner: std::sync::Weak<Inner>, stop: CancellationToken) {
    loop {
        let Some(host) = inner.upgrade().map(Host) else { return };
        let realms = host.realms();
        let shortest = realms.iter().map(|realm| realm.idle() / 4).min().unwrap_or(SWEEP_PERIODS.1);
        for realm in &realms {
            put_to_sleep(&host.0.env, realm, realm.actors.idle_for(realm.idle())).await;
        }
        drop((host, realms));
        let period = shortest.clamp(SWEEP_PERIODS.0, SWEEP_PERIODS.1);
        if stop.run_until_cancelled(tokio::time::sleep(period)).await.is_none() {
            return;
        }
    }
}

fn env_timeout(config: &Config) -> Duration {
    config.limits.default_timeout
}
