//! How a running host learns of deployments and goes over to them between two turns of each actor.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedMutexGuard, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Host, Inner, Unable, env_timeout, presence};
use crate::{
    aside::Worker,
    audit::release::{Order, release},
    clock,
    deploy::{
        LoadError, Registry, ahead,
        faults::Faulty,
        order,
        replay::{self, report::Outcome, sample::Rest},
        rests::{Rests, Uncovered},
    },
    env::Env,
    failure::{Code, Failure},
    record::Damage,
    served::Served,
    step::step,
    store::{ActivateError, Closing, Deployment, Presence, StoreError},
};

/// How often a shared store is asked for deployments when nothing hints at one.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// How soon it is asked again when it could not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Pauses before a closing is tried to be ended again, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Actors that go over between two chances for other tasks.
const GO_OVER_AT_ONCE: usize = 256;

/// How long a quarantined actor may take to be tried again with new code.
const RETRY: Duration = Duration::from_secs(60);

/// Looks for deployments as long as the host runs.
pub(super) async fn follow(inner: Weak<Inner>, stop: CancellationToken) {
    let Some(env) = inner.upgrade().map(|inner| inner.env.clone()) else { return };
    let mut hints = env.store.deployment_hints();
    loop {
        let period = tokio::time::sleep(LOOK_PERIOD);
        let due = async {
            step!(
                "rollout.wait",
                tokio::select! {
                    _ = hints.next() => {}
                    () = env.news.wanted() => {}
                    () = period, if env.store.is_shared() => {}
                }
            );
        };
        if stop.run_until_cancelled(due).await.is_none() {
            return;
        }
        let Some(host) = inner.upgrade().map(Host) else { return };
        match stop.run_until_cancelled(host.look_for_deployments()).await {
            Some(Err(error)) => {
                tracing::warn!(%error, "this host could not learn what is deployed");
                tokio::time::sleep(LOOK_AGAIN).await;
                env.news.look();
            }
            Some(Ok(())) => {}
            None => return,
        }
    }
}

/// What was ever deployed, and where it is served.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollouts {
    /// By context, the newest first.
    pub deployments: Vec<Deployment>,
    /// The hosts that live, as they last told.
    pub hosts: Vec<Presence>,
    /// What components have failed in this host, by digest.
    pub faults: BTreeMap<String, Faulty>,
    /// What became in this host of the actors that were not covered before the active deployment,
    /// by context.
    #[serde(default)]
    pub uncovered: BTreeMap<String, Uncovered>,
}

impl Host {
    /// What was ever deployed, and where it is served.
    ///
    /// # Errors
    /// `unavailable` if the store cannot answer.
    pub async fn rollouts(&self) -> Result<Rollouts, Failure> {
        let (env, deadline) = (&self.0.env, clock::now() + env_timeout(&self.0.config));
        let here = self.presence();
        let asked = async {
            let mut deployments = Vec::new();
            for context in step!("rollout.list-contexts", env.store.contexts().await)? {
                let of_one = env.store.deployments(&context);
                deployments.extend(step!("rollout.list", of_one.await)?.into_iter().rev());
            }
            let hosts = if env.store.is_shared() {
                step!("rollout.list-hosts", env.store.announce(&here).await)?
            } else {
                vec![here.clone()]
            };
            Ok((deployments, hosts))
        };
        let asked = env.ask("deployments", deadline, asked);
        let (deployments, hosts) = step!("rollout.ask", asked.await)?;
        let contexts = self.contexts();
        let rests = contexts.served.iter();
        let told = rests.filter_map(|(name, it)| Some((name.clone(), it.rests.as_ref()?.told())));
        let (faults, uncovered) = (env.faults.all(), told.collect());
        Ok(Rollouts { deployments, hosts, faults, uncovered })
    }

    /// Orders a deployment; tells how it goes.
    #[must_use]
    pub fn deploy(&self, order: order::Order) -> order::Words {
        order::carry_out(self, order)
    }

    /// Tells others what is served here, then looks what they have ordered meanwhile. Before that
    /// nothing may be served: whoever is about to deploy waits only for hosts that it sees serve.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub(super) async fn take_part(&self) -> Result<(), StoreError> {
        let store = &self.0.env.store;
        if store.is_shared() {
            step!("rollout.take-part", store.announce(&self.presence()).await)?;
            self.look_for_deployments().await?;
        }
        Ok(())
    }

    /// Takes over what the store holds that is newer than what is served here.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn look_for_deployments(&self) -> Result<(), StoreError> {
        let store = &self.0.env.store;
        for context in step!("rollout.contexts", store.contexts().await)? {
            let all = step!("rollout.deployments", store.deployments(&context).await)?;
            let Some(newest) = all.last() else { continue };
            if newest.number > self.known_number(&context) {
                self.adopt(newest).await?;
            }
            let next = newest.number + 1;
            if let Some(closing) = step!("rollout.closing", store.closing(&context, next).await)? {
                self.obey(&closing, newest).await?;
            }
        }
        Ok(())
    }

    /// The deployment of a context that is served here or known not to be servable; 0 = none.
    fn known_number(&self, context: &str) -> u64 {
        let contexts = self.contexts();
        let served = contexts.served.get(context).map(|served| served.deployment.number);
        let unable = contexts.unable.get(context).map(|unable| unable.number);
        served.max(unable).unwrap_or(0)
    }

    /// Serves `deployment` from now on, unless something newer is served already: compiles it,
    /// folds the actors that are awake, and lets each go over between two of its turns. If this
    /// build cannot serve it, the context is served no more.
    ///
    /// # Errors
    /// If the store cannot give its parts.
    pub(crate) async fn adopt(&self, deployment: &Deployment) -> Result<(), StoreError> {
        let _one_at_a_time = step!("rollout.adopting", self.0.adopting.lock().await);
        let (context, number) = (&deployment.context, deployment.number);
        if self.known_number(context) >= number {
            return Ok(());
        }
        let (env, begun) = (&self.0.env, clock::now());
        let history = step!("rollout.history", env.store.deployments(context).await)?;
        let former = self.contexts().served.get(context).cloned();
        match self.prepare(deployment, former.clone(), history).await?.map(Arc::new) {
            Ok(next) => {
                let compiled = begun.elapsed();
                let left = match &former {
                    Some(former) => ahead::fold(env, former, &next).await,
                    None => Vec::new(),
                };
                self.install(next).await;
                tracing::info!(%context, number, ?compiled, took = ?begun.elapsed(), "serves a new deployment");
                tokio::spawn(retry_quarantined(self.clone(), context.clone()));
                let env = env.clone();
                tokio::spawn(async move { ahead::check(&env, left).await });
            }
            Err(LoadError::Away(error)) => return Err(error),
            Err(LoadError::Unfit(why)) => self.give_up(deployment, &why),
        }
        env.news.adopted();
        self.tell_presence().await;
        Ok(())
    }

    /// `deployment`, ready to be called: read, compiled and matched on threads of lower priority.
    ///
    /// # Errors
    /// If there is no thread for it; inside, if it cannot be served.
    async fn prepare(
        &self,
        deployment: &Deployment,
        former: Option<Arc<Served>>,
        history: Vec<Deployment>,
    ) -> Result<Result<Served, LoadError>, StoreError> {
        let (host, deployment) = (self.clone(), deployment.clone());
        let serve = async move {
            host.registry().serve(&host.0.env, &deployment, former.as_ref(), &history).await
        };
        let broken = |failure: Failure| StoreError(failure.detail);
        let served = Worker::start("aether-adopt", serve).map_err(broken)?;
        step!("rollout.prepare", served.result().await).map_err(broken)
    }

    /// Puts `next` in the place of what is served of its context.
    async fn install(&self, next: Arc<Served>) {
        {
            let mut contexts = self.0.contexts.write().unwrap_or_else(PoisonError::into_inner);
            let context = next.deployment.context.clone();
            contexts.unable.remove(&context);
            contexts.closed.remove(&context);
            if let Some(former) = contexts.served.insert(context, next.clone()) {
                for (name, realm) in &former.realms {
                    match next.realms.get(name) {
                        Some(next) => realm.succeed(next.clone()),
                        None => realm.give_up(
                            format!(
                                "deployment {} has no aggregate `{name}`; nothing was stored",
                                next.deployment.number
                            )
                            .into(),
                        ),
                    }
                }
                // Behind that: whoever waits for a check looks what serves now when it ends.
                former.rests.iter().for_each(Rests::retire);
            }
        }
        for realm in next.realms.values() {
            for some in realm.actors.all().chunks(GO_OVER_AT_ONCE) {
                some.iter().for_each(|cell| cell.go_over(&self.0.env, &realm.actors));
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves no actor of the deployment's context any more.
    fn give_up(&self, deployment: &Deployment, why: &str) {
        let (context, number) = (&deployment.context, deployment.number);
        let why: Arc<str> = format!(
            "this host cannot serve deployment {number} of context `{context}`, and serves none of its actors rather than with older code: {why}; nothing was stored, ask another host"
        )
        .into();
        tracing::error!(%context, number, "{why}");
        let mut contexts = self.0.contexts.write().unwrap_or_else(PoisonError::into_inner);
        contexts.closed.remove(context);
        if let Some(former) = contexts.served.remove(context) {
            former.realms.values().for_each(|realm| realm.give_up(why.clone()));
            former.rests.iter().for_each(Rests::retire);
        }
        contexts.unable.insert(context.clone(), Unable { number, why });
    }

    /// Appends nothing more that `closing` names, and says so to the host that waits for it. If
    /// that host is gone, its number is taken by what is served already, which ends the closing
    /// for every host.
    async fn obey(&self, closing: &Closing, active: &Deployment) -> Result<(), StoreError> {
        let store = &self.0.env.store;
        let alive = step!("rollout.alive", store.announce(&self.presence()).await)?;
        if !alive.iter().any(|host| host.host == closing.host) {
            return self.reopen(active, "the host that was about to deploy is gone").await;
        }
        self.close(closing).await;
        self.tell_presence().await;
        Ok(())
    }

    /// Lets nothing append what `closing` names, and waits for the turns that are under way.
    pub(crate) async fn close(&self, closing: &Closing) {
        let Ok(served) = self.context(&closing.context) else { return };
        let known = self.contexts().closed.get(&closing.context) == Some(&closing.number);
        if known || served.deployment.number >= closing.number {
            return;
        }
        tracing::info!(context = %closing.context, number = closing.number, events = ?closing.events, "closed: a deployment that cannot read these events is about to be activated");
        for (aggregate, events) in &closing.events {
            let Some(realm) = served.realms.get(aggregate) else { continue };
            realm.close(events);
            // All at once: one whose past is being checked may take as long as its caller waits.
            let cells = realm.actors.all();
            let passed = join_all(cells.iter().map(|cell| cell.pass(&self.0.env, realm)));
            step!("rollout.passed", passed.await);
        }
        let mut contexts = self.0.contexts.write().unwrap_or_else(PoisonError::into_inner);
        contexts.closed.insert(closing.context.clone(), closing.number);
    }

    /// Ends a closing that this host has begun over `active`: tries until its number is taken, by
    /// the deployment that it was for or by what is active already, and gives which. If this host
    /// stops before, that is left to the others, or to the next one.
    pub(crate) fn end_closing(
        &self,
        active: &Deployment,
        because: &'static str,
    ) -> JoinHandle<Option<Deployment>> {
        let (inner, stop) = (Arc::downgrade(&self.0), self.0.stop.clone());
        let active = active.clone();
        let mut pause = PAUSES.0;
        tokio::spawn(async move {
            loop {
                let host = inner.upgrade().map(Host)?;
                let settled = host.settle_number(&active, because);
                match stop.run_until_cancelled(settled).await? {
                    Ok(Some(newest)) => return Some(newest),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(context = %active.context, %error, "a closing is not ended yet: commands that would append what it names are refused until then");
                    }
                }
                drop(host);
                stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
                pause = (pause * 2).min(PAUSES.1);
            }
        })
    }

    /// What has the number after `active`, once this host serves it; if nothing has, `active`
    /// takes it.
    async fn settle_number(
        &self,
        active: &Deployment,
        because: &str,
    ) -> Result<Option<Deployment>, StoreError> {
        let all = self.0.env.store.deployments(&active.context);
        let newest = step!("rollout.newest", all.await)?.pop();
        if let Some(newest) = newest.filter(|newest| newest.number > active.number) {
            self.adopt(&newest).await?;
            return Ok(Some(newest));
        }
        self.reopen(active, because).await?;
        Ok(None)
    }

    /// Ends a closing: its number is taken by what is active already.
    async fn reopen(&self, active: &Deployment, because: &str) -> Result<(), StoreError> {
        let same = Deployment {
            number: active.number + 1,
            at: clock::unix_ms(),
            by: presence(&self.0.id, BTreeMap::new()).place,
            because: because.to_owned(),
            again: Some(active.number),
            ..active.clone()
        };
        match step!("rollout.reopen", self.0.env.store.activate(&same).await) {
            Ok(()) | Err(ActivateError::Taken) => {
                self.0.env.news.look();
                Ok(())
            }
            Err(ActivateError::Store(error)) => Err(error),
        }
    }

    /// Where models and components are, and what compiles them.
    pub(crate) fn registry(&self) -> Registry<'_> {
        Registry { store: &*self.0.env.store, sandbox: &self.0.sandbox }
    }

    /// What all actors of this host share.
    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.0.env
    }

    /// A context as it is served now.
    ///
    /// # Errors
    /// `unknown`, or `unavailable` if this host cannot serve it.
    pub(crate) fn serving(&self, context: &str) -> Result<Arc<Served>, Failure> {
        self.context(context)
    }

    /// Replays beside everything else what did not fit the time before an activation, and logs what
    /// it finds: until then, each of these actors is checked when it wakes.
    pub(crate) fn replay_later(&self, old: Arc<Served>, new: Arc<Served>, rest: Option<Rest>) {
        let (env, stop) = (self.0.env.clone(), self.0.stop.child_token());
        let context = new.deployment.context.clone();
        let serving = self.serving(&context).ok();
        let serving = serving.filter(|it| it.deployment.number == new.deployment.number);
        let rests = serving.and_then(|it| it.rests.clone());
        // What an earlier deployment left is of no interest any more.
        let former = self
            .0
            .replaying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(context, stop.clone());
        if let Some(former) = former {
            former.cancel();
        }
        tokio::spawn(async move {
            let options =
                replay::Options { resume: rest, workers: 1, ..replay::Options::default() };
            let number = new.deployment.number;
            let report = match replay::run(&env, &old, &new, &options, stop, |_| ()).await {
                Ok(report) => report,
                Err(failure) => {
                    tracing::warn!(number, %failure, "the rest was not replayed");
                    return;
                }
            };
            if let Some(rests) = &rests {
                rests.note_replayed(&env, &report, rest);
            }
            match report.outcome() {
                Outcome::Passed => {
                    tracing::info!(number, "the rest of the replay: {}", report.summary());
                }
                Outcome::StateChanges => tracing::warn!(
                    number,
                    "the rest of the replay found other states: {}",
                    report.human()
                ),
                Outcome::Refused => tracing::error!(
                    number,
                    "the rest of the replay found what a deploy would have been refused for: {}",
                    report.human()
                ),
            }
        });
    }

    /// Has the store asked for deployments now.
    pub(crate) fn look(&self) {
        self.0.env.news.look();
    }

    /// Makes sure that one deployment is ordered here at a time.
    ///
    /// # Errors
    /// `unavailable` if another one is, or if the host is stopping.
    pub(crate) fn order_alone(&self) -> Result<OwnedMutexGuard<()>, Failure> {
        let refused = |why: &str| Failure::new(Code::Unavailable, why);
        if self.0.draining.load(Ordering::Relaxed) {
            return Err(refused("the host is stopping; nothing was deployed, ask another one"));
        }
        self.0.ordering.clone().try_lock_owned().map_err(|_| {
            refused("another deployment is being ordered at this host; nothing was deployed, try again when it is done")
        })
    }

    /// What others are told of this host.
    pub(crate) fn presence(&self) -> Presence {
        let contexts = self.contexts();
        let serves = contexts.served.iter();
        let serves = serves.map(|(name, served)| (name.clone(), served.deployment.number));
        let unable = contexts.unable.iter();
        let unable = unable.map(|(name, unable)| (name.clone(), unable.why.to_string()));
        let closed = contexts.closed.clone();
        let mut presence = presence(&self.0.id, serves.collect());
        (presence.unable, presence.closed) = (unable.collect(), closed);
        presence
    }

    /// Tells others at once what changed here. If it fails, they hear of it with the next round.
    async fn tell_presence(&self) {
        if !self.0.env.store.is_shared() {
            return;
        }
        let presence = self.presence();
        let told = self.0.env.store.announce(&presence);
        if let Err(error) = step!("rollout.announce", told.await) {
            tracing::warn!(%error, "this host could not tell others what it serves");
        }
    }
}

/// Tries actors again whose events the former code could not read.
async fn retry_quarantined(host: Host, context: String) {
    let env = &host.0.env;
    for (actor, mark) in env.quarantines() {
        let Ok(realm) = host.realm(&context, actor.aggregate()) else { continue };
        if actor.context() != context || mark.kind != Damage::UNREADABLE {
            continue;
        }
        let order = Order {
            actor: actor.clone(),
            skip: Vec::new(),
            because: String::new(),
            by: Some(format!("deployment {}", realm.deployment).into()),
            deadline: clock::now() + RETRY,
        };
        match release(env, &realm, order).await {
            Ok(_) => {
                tracing::info!(%actor, deployment = realm.deployment, "released: the new code reads it")
            }
            Err(failure) => tracing::info!(%actor, %failure, "still quarantined"),
        }
    }
}
