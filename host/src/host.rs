//! A running host: what faces, tests and embedding programs hold.

mod operate;
mod rollout;

pub use rollout::Rollouts;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aether_wit::Model;
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
    json::write,
    mailbox::{Cell, Job, View},
    metrics::Metrics,
    prepare::{missing, prepare},
    router,
    served::{Realm, Served},
    store::{
        Deployment, EventStore, Presence, StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
        jetstream::JetStreamStore,
    },
    vm::Sandbox,
    wake::{NEWER, Purpose},
};

/// How often a host tells others that it lives. A third of the 15 s that a store believes it.
const PRESENCE_PERIOD: Duration = Duration::from_secs(5);

/// How often idle actors are looked for, at the most and at the least often.
const SWEEP_PERIODS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How many actors fall asleep at once: enough to fill a group commit.
const ASLEEP_AT_ONCE: usize = 256;

/// What the store is given to close, at the least, when the time to drain is over.
const CLOSE: Duration = Duration::from_secs(2);

/// How often a shared store is asked again by a read that waits for a version.
const MIN_VERSION_POLL: Duration = Duration::from_millis(50);

/// What the caller is still given after its deadline, so that the actor's own word arrives.
const GRACE: Duration = Duration::from_millis(250);

/// A running host. Cheap to clone; it runs until [`Host::drain`] or until all handles are gone: then
/// its actors and their instances are freed, what was not answered stays as the store has it.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    config: Config,
    env: Arc<Env>,
    sandbox: Sandbox,
    contexts: RwLock<Contexts>,
    draining: AtomicBool,
    stop: CancellationToken,
    /// Held while what is served changes.
    adopting: tokio::sync::Mutex<()>,
    /// Held while a deployment is ordered here.
    ordering: Arc<tokio::sync::Mutex<()>>,
    /// Ends, per context, the replay of what did not fit the time before the last activation.
    replaying: Mutex<BTreeMap<String, CancellationToken>>,
}

/// What is served, and what ought to be.
#[derive(Debug, Default)]
struct Contexts {
    served: BTreeMap<String, Arc<Served>>,
    unable: BTreeMap<String, Unable>,
    /// Number of the closing that is obeyed, per context.
    closed: BTreeMap<String, u64>,
}

/// A deployment that this host cannot serve: then it serves no actor of the context, rather than
/// with older code.
#[derive(Debug, Clone)]
struct Unable {
    number: u64,
    why: Arc<str>,
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

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        let contexts = self.contexts.get_mut().unwrap_or_else(PoisonError::into_inner);
        for served in contexts.served.values() {
            served.realms.values().for_each(|realm| realm.actors.forget_all());
        }
    }
}

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
            served = deploy::at_start(&env, &sandbox, &bundles, &here, config.accept_state_changes) => served?,
            never = keep_announcing(&env, &here) => match never {},
        };
        let host = Self(Arc::new(Inner {
            id,
            config,
            env,
            sandbox,
            contexts: RwLock::new(Contexts { served, ..Contexts::default() }),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            adopting: tokio::sync::Mutex::default(),
            ordering: Arc::default(),
            replaying: Mutex::default(),
        }));
        // A mark may be all that tells of a lost tail: without the marks nothing may be served.
        host.learn_marks().await.map_err(|e| StartError(e.to_string()))?;
        host.take_part().await.map_err(|e| StartError(e.to_string()))?;
        tokio::spawn(sweep(Arc::downgrade(&host.0), host.0.stop.clone()));
        tokio::spawn(be_present(Arc::downgrade(&host.0), host.0.stop.clone()));
        tokio::spawn(rollout::follow(Arc::downgrade(&host.0), host.0.stop.clone()));
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
            Some(version) => self.state_at(realm, actor, version, query.deadline).await?,
            None => self.view(&realm, &query).await?,
        };
        Ok(StateView {
            actor: actor.clone(),
            version: view.version,
            state: write(&view.realm.plans().state, &view.state),
            component: view.realm.behaviour.component(),
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
        Ok(self.ask(&realm, actor, Purpose::Wake, deadline).await?.version)
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
        self.contexts().served.values().map(|served| served.model.clone()).collect()
    }

    /// What is served of each context.
    #[must_use]
    pub fn deployments(&self) -> Vec<Deployment> {
        self.contexts().served.values().map(|served| served.deployment.clone()).collect()
    }

    /// Whether commands can be taken now; if not, why.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("the host is stopping".to_owned());
        }
        if let Some((context, unable)) = self.contexts().unable.first_key_value() {
            return Err(format!("context `{context}`: {}", unable.why));
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
        let awake = self.awake_count();
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

    async fn state_at(
        &self,
        mut realm: Arc<Realm>,
        actor: &Address,
        version: u64,
        deadline: Instant,
    ) -> Result<View, Failure> {
        let env = &self.0.env;
        loop {
            if let Some(rests) = realm.rests.as_ref().filter(|rests| rests.hold(actor)) {
                rests.check(env, &realm, actor, deadline).await?;
            }
            let shown = history::state_at(env, &realm, actor, version, deadline).await;
            match shown {
                Err(failure) if failure.reason == Some(NEWER) => {
                    let number = realm.deployment + 1;
                    if !env.news.await_deployment(&realm, number, deadline).await {
                        return Err(failure);
                    }
                    realm = self.realm(actor.context(), actor.aggregate())?;
                }
                shown => return shown,
            }
        }
    }

    /// Its id among the hosts of the store: new at every start.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    async fn view(&self, realm: &Arc<Realm>, query: &Query) -> Result<View, Failure> {
        let (actor, deadline) = (&query.actor, query.deadline);
        if query.consistency == Consistency::Local
            && query.min_version.is_none()
            && self.0.env.quarantined(actor).is_none()
            && let Some(view) = realm.actors.touch(actor).and_then(|cell| cell.peek(&self.0.env))
        {
            return Ok(view);
        }
        let purpose = Purpose::Read { fresh: query.consistency == Consistency::Linearizable };
        loop {
            let view = self.ask(realm, actor, purpose, deadline).await?;
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
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<View, Failure> {
        self.admit(realm, actor, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Read(purpose, deadline, answer);
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
        let contexts = self.contexts();
        let realms = contexts.served.values().flat_map(|served| served.realms.values());
        realms.map(|realm| realm.actors.len()).sum()
    }

    fn lost(&self, actor: &Address, why: &str) -> Failure {
        let detail =
            format!("{actor}: {why}; it may have happened: ask again with the same command id");
        Failure::new(Code::Unresolved, detail).for_actor(actor)
    }

    /// Learns what this and other hosts have marked, released and repaired.
    async fn learn_marks(&self) -> Result<(), StoreError> {
        let contexts: Vec<_> = self.contexts().served.keys().cloned().collect();
        self.0.env.learn_marks(&contexts).await
    }

    fn context(&self, context: &str) -> Result<Arc<Served>, Failure> {
        let contexts = self.contexts();
        if let Some(unable) = contexts.unable.get(context) {
            return Err(Failure::new(Code::Unavailable, &*unable.why));
        }
        contexts.served.get(context).cloned().ok_or_else(|| {
            let known = contexts.served.keys().map(String::as_str);
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
        let contexts = self.contexts();
        contexts.served.values().flat_map(|served| served.realms.values().cloned()).collect()
    }

    fn contexts(&self) -> std::sync::RwLockReadGuard<'_, Contexts> {
        self.0.contexts.read().unwrap_or_else(PoisonError::into_inner)
    }
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
    Presence {
        host: id.to_owned(),
        place,
        serves,
        unable: BTreeMap::new(),
        closed: BTreeMap::new(),
    }
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

/// Tells others that this host lives, and learns what they have marked.
async fn be_present(inner: std::sync::Weak<Inner>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PRESENCE_PERIOD)).await.is_some() {
        let Some(inner) = inner.upgrade() else { return };
        let host = Host(inner);
        if !host.0.env.store.is_shared() {
            host.0.env.record_marks().await;
            continue;
        }
        let round = async {
            host.0.env.store.announce(&host.presence()).await?;
            host.learn_marks().await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::hosts::{accounts, bundle, config, wake};

    #[tokio::test]
    async fn a_host_that_nobody_holds_frees_its_actors() {
        let store = Arc::new(EmbeddedStore::in_memory().await.unwrap());
        let cache = tempfile::tempdir().unwrap();
        let config = config(cache.path(), "aether");
        let host = Host::start_on(store, config, vec![bundle()]).await.unwrap();
        for actor in &*accounts(3).unwrap() {
            wake(&host, actor).await.unwrap();
        }
        let realm = Arc::downgrade(&host.realm("bench", "account").unwrap());
        assert_eq!(host.awake_count(), 3);
        drop(host);
        // Tasks of the host may hold it for the moment in which they look at it.
        let gone = async {
            while realm.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }
}
