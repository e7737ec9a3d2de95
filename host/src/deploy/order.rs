//! An order to deploy, from its model to its activation.
//!
//! Until the activation record is written nothing has changed, whatever fails. From then on every
//! host takes the deployment over, whether or not the one that ordered it lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aether_wit::{Model, upcast};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Candidate, LoadError, Registry,
    closing::Shut,
    gates::{self, Gate, Outcome, Verdict},
    replay::{self, pick::Sample, report::Report, sample::Rest},
    tally::tally,
};
use crate::{
    address::Address,
    aside::Worker,
    clock,
    failure::{Code, Failure},
    host::{Bundle, Host},
    served::Served,
    step::step,
    store::{ActivateError, Closing, Deployment, Presence, Reach, StoreError},
};

/// Longest wait for other hosts: for a closing, and until they serve what was activated. One that
/// has not told that it lives for 15 s does not count as a host.
const OTHERS: Duration = Duration::from_secs(20);

/// How often other hosts are looked at while they are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Words that wait for a slow reader.
const QUEUE: usize = 64;

/// What is to be deployed.
#[derive(Debug, Clone)]
pub enum What {
    /// A model with its components.
    Bundle(Bundle),
    /// What was deployed before.
    Again {
        /// The context.
        context: String,
        /// Number of the deployment; by default the one before the active one.
        to: Option<u64>,
    },
}

/// An order to deploy.
#[derive(Debug, Clone)]
pub struct Order {
    /// What.
    pub what: What,
    /// Only tell what would happen.
    pub dry_run: bool,
    /// Only replay, and only tell what that finds.
    pub what_if: bool,
    /// Replay this actor alone; only for [`Self::what_if`].
    pub actor: Option<Address>,
    /// Replay some actors alone; only for [`Self::what_if`].
    pub sample: Option<Sample>,
    /// Gates that need not be passed.
    pub force: BTreeSet<Gate>,
    /// States may differ from those that the active code folds.
    pub accept_state_changes: bool,
    /// How long histories are replayed before the activation.
    pub budget: Duration,
    /// Replay everything, however long it takes.
    pub all: bool,
    /// Who orders it.
    pub by: String,
    /// Why.
    pub because: String,
}

/// What is told of an order, as it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// A gate was left.
    Gate(Verdict),
    /// Something that takes a while has begun.
    Progress(String),
    /// How far it is.
    Steps(Steps),
    /// The order is refused at this gate; nothing has changed.
    Refused(Gate),
    /// It would be activated under this number; nothing has changed.
    Passed(u64),
    /// It is active already.
    Unchanged(Deployment),
    /// It is active from now on.
    Deployed(Deployment),
    /// A host serves it, or says why not.
    Host {
        /// The host, for people.
        place: String,
        /// What it serves of the context.
        serves: Option<u64>,
        /// Why it does not.
        unable: Option<String>,
    },
}

/// How far something is that has a number of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Steps {
    /// What is being done.
    pub what: String,
    /// How many are done.
    pub done: u64,
    /// Of so many, about.
    pub total: u64,
    /// How many in a second.
    pub per_second: u64,
    /// How long it takes still, in seconds, about.
    pub left: u64,
}

/// What is told of an order, in turn. A failure is the last.
pub type Words = mpsc::Receiver<Result<Word, Failure>>;

/// Carries out `order`. If nobody listens any more, it ends before it activates anything.
#[must_use]
pub fn carry_out(host: &Host, order: Order) -> Words {
    let (tell, words) = mpsc::channel(QUEUE);
    let desk = Desk { host: host.clone(), order: Arc::new(order), tell };
    tokio::spawn(async move {
        if let Err(Stop::Failed(failure)) = desk.work().await {
            let _ = desk.tell.send(Err(*failure)).await;
        }
    });
    words
}

/// Why an order is not carried out.
enum Stop {
    /// That was told, or nobody listens.
    Told,
    Failed(Box<Failure>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        let detail = format!(
            "the store cannot answer: {error}; look at `aether deployments` what is active, and try again"
        );
        Failure::new(Code::Unavailable, detail).into()
    }
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Away(error) => error.into(),
            LoadError::Unfit(why) => Failure::new(Code::Invalid, why).into(),
        }
    }
}

/// A candidate on its way through the gates.
struct Entry {
    candidate: Candidate,
    /// The deployment that it brings back.
    again: Option<u64>,
    origin: String,
}

/// What shadow replay has looked at.
struct Checked {
    old: Arc<Served>,
    new: Arc<Served>,
    reached: Reach,
    /// The actors that did not fit the budget.
    rest: Option<Rest>,
}

/// A token that is cancelled when nobody listens; the one who watches ends with it.
struct Watch(CancellationToken, tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// What has passed the gates and is to be activated.
struct Judged {
    entry: Entry,
    active: Option<Deployment>,
    number: u64,
    checked: Option<Checked>,
}

#[derive(Clone)]
struct Desk {
    host: Host,
    order: Arc<Order>,
    tell: mpsc::Sender<Result<Word, Failure>>,
}

impl Desk {
    /// What comes from outside is read and judged on a thread of lower priority; only what every
    /// host does when it goes over is done among the commands.
    async fn work(&self) -> Result<(), Stop> {
        let _alone = self.host.order_alone().map_err(Stop::from)?;
        let desk = self.clone();
        let read = Worker::start("aether-order", async move { desk.read().await })?;
        let (context, model) = step!("order.read", read.result().await)??;
        let history = step!("order.history", self.registry().store.deployments(&context).await)?;
        if let Some(active) = history.last() {
            self.host.adopt(active).await?;
        }
        let desk = self.clone();
        let judged = async move { desk.examine(&context, model, &history).await };
        let judged = Worker::start("aether-gates", judged)?;
        match step!("order.examine", judged.result().await)?? {
            Some(judged) => self.activate(judged).await,
            None => Ok(()),
        }
    }

    /// The context, and the model that was handed in.
    async fn read(&self) -> Result<(String, Option<Arc<Model>>), Stop> {
        let bundle = match &self.order.what {
            What::Bundle(bundle) => bundle,
            What::Again { context, .. } => return Ok((context.clone(), None)),
        };
        let (model, warnings) = aether_wit::read(&bundle.file, &bundle.model)
            .map_err(|report| Failure::new(Code::Invalid, report.to_string()))?;
        for warning in warnings {
            let (line, message) = (warning.at.line, warning.message);
            let told = format!("{}:{line}: warning: {message}", bundle.file);
            self.say(Word::Progress(told)).await?;
        }
        Ok((model.context.clone(), Some(Arc::new(model))))
    }

    /// Through all gates; what passes them is stored. None if nothing is to be activated, which was
    /// told.
    async fn examine(
        &self,
        context: &str,
        model: Option<Arc<Model>>,
        history: &[Deployment],
    ) -> Result<Option<Judged>, Stop> {
        let entry = match (&self.order.what, model) {
            (What::Bundle(bundle), Some(model)) => self.bundle(bundle, model, history).await?,
            (What::Again { to, .. }, _) => self.again(context, *to, history).await?,
            (What::Bundle(_), None) => return Err(Stop::Told),
        };
        let active = history.last().cloned();
        if let Some(active) = active.as_ref().filter(|active| entry.candidate.is(active)) {
            self.say(Word::Unchanged(active.clone())).await?;
            return Ok(None);
        }
        let number = active.as_ref().map_or(1, |active| active.number + 1);
        let checked = self.gates(&entry, history, number).await?;
        if self.order.dry_run || self.order.what_if {
            self.say(Word::Passed(number)).await?;
            return Ok(None);
        }
        if self.tell.is_closed() {
            return Err(Stop::Told);
        }
        if let What::Bundle(bundle) = &self.order.what {
            self.registry().put(bundle).await?;
        }
        Ok(Some(Judged { entry, active, number, checked }))
    }

    /// The first gate, for a model that was handed in.
    async fn bundle(
        &self,
        bundle: &Bundle,
        model: Arc<Model>,
        history: &[Deployment],
    ) -> Result<Entry, Stop> {
        self.say(Word::Progress("compiling".to_owned())).await?;
        let sandbox = self.registry().sandbox;
        let made = Candidate::new(sandbox, &bundle.file, model, &bundle.components).await;
        let candidate = match made {
            Ok(candidate) => candidate,
            Err(error) => {
                let lines = error.0.lines().map(str::to_owned).collect();
                // Forced or not: what cannot be called cannot be served.
                self.say(Word::Gate(Verdict::refused(Gate::Exports, lines))).await?;
                self.say(Word::Refused(Gate::Exports)).await?;
                return Err(Stop::Told);
            }
        };
        self.leave(Verdict::passed(Gate::Exports, exports(&candidate))).await?;
        let again = history.iter().rev().find(|former| candidate.is(former));
        let again = again.map(|former| former.number);
        Ok(Entry { candidate, again, origin: bundle.file.clone() })
    }

    /// The first gate, for what was deployed before.
    async fn again(
        &self,
        context: &str,
        to: Option<u64>,
        history: &[Deployment],
    ) -> Result<Entry, Stop> {
        let unknown = |why: String| Stop::from(Failure::new(Code::Unknown, why));
        let active = history.last().ok_or_else(|| {
            unknown(format!("nothing of a context `{context}` was ever deployed"))
        })?;
        let wanted = match to {
            Some(number) => number,
            None => previous(history)
                .ok_or_else(|| unknown(format!("deployment {} is the first of context `{context}`: there is none before it to go back to", active.number)))?,
        };
        let target = history.iter().find(|d| d.number == wanted).ok_or_else(|| {
            unknown(format!(
                "context `{context}` has no deployment {wanted}: they are numbered 1 to {}",
                active.number
            ))
        })?;
        self.say(Word::Progress(format!("loading deployment {wanted}"))).await?;
        let candidate = self.registry().load(target).await?;
        self.leave(Verdict::passed(Gate::Exports, exports(&candidate))).await?;
        let origin = target.origin.clone();
        Ok(Entry { candidate, again: Some(wanted), origin })
    }

    /// The other gates. Gives what must be looked at again before the activation.
    async fn gates(
        &self,
        entry: &Entry,
        history: &[Deployment],
        number: u64,
    ) -> Result<Option<Checked>, Stop> {
        let (candidate, registry) = (&entry.candidate, self.registry());
        let Some(active) = history.last() else {
            let lines = vec!["this is the first deployment of the context".to_owned()];
            for gate in [Gate::Diff, Gate::Replay] {
                let (outcome, lines) = (Outcome::Skipped, lines.clone());
                self.leave(Verdict { gate, outcome, lines }).await?;
            }
            self.leave(gates::scenarios(candidate).await).await?;
            return Ok(None);
        };
        let writers = registry.models(history).await?;
        self.say(Word::Progress("looking at what is stored".to_owned())).await?;
        let proposed = self.deployment(entry, number, None);
        let new = candidate.clone().serve(self.host.env(), proposed, None, &writers, None);
        let running = self.host.serving(&active.context)?;
        let checked =
            Checked { old: running, new: Arc::new(new), reached: Reach::default(), rest: None };
        if let Some(actor) = &self.order.actor {
            self.replay_one(&checked, actor).await?;
            return Ok(Some(checked));
        }
        if let Some(sample) = self.order.sample {
            self.replay_some(&checked, sample).await?;
            return Ok(Some(checked));
        }
        if self.order.what_if {
            return self.replay(checked).await.map(Some);
        }
        let change = gates::Step {
            file: &candidate.file,
            old: &checked.old.model,
            active: active.number,
            new: &candidate.model,
            stored: &tally(registry.store, &candidate.model, &writers).await?,
            again: matches!(self.order.what, What::Again { .. }),
        };
        self.leave(gates::diff(&change)).await?;
        self.say(Word::Progress("running the scenarios".to_owned())).await?;
        self.leave(gates::scenarios(candidate).await).await?;
        self.replay(checked).await.map(Some)
    }

    /// The past of one actor alone.
    async fn replay_one(&self, checked: &Checked, actor: &Address) -> Result<(), Stop> {
        if actor.context() != checked.new.deployment.context {
            let detail = format!("{actor} is not of context `{}`", checked.new.deployment.context);
            return Err(Failure::new(Code::Invalid, detail).into());
        }
        let (env, cancel) = (self.host.env(), self.cancelled());
        let one = replay::one(env, &checked.old, &checked.new, actor, cancel.0.clone());
        let verdict = step!("replay.one", one.await)?;
        self.leave(gates::replay_of_one(actor, &verdict)).await
    }

    /// The pasts of some actors alone.
    async fn replay_some(&self, checked: &Checked, sample: Sample) -> Result<(), Stop> {
        let Checked { old, new, .. } = checked;
        let (env, cancel) = (self.host.env(), self.cancelled());
        let options = replay::Options { snapshots: false, ..replay::Options::default() };
        let tell = |progress| self.progress(&progress);
        let some = replay::sampled(env, old, new, sample, &options, cancel.0.clone(), tell);
        let report = step!("replay.some", some.await)?;
        let mut verdict = self.judge(&report, checked);
        verdict.lines.push(format!(
            "at random: `--sample {} --seed {}` takes the same actors again",
            sample.count, sample.seed
        ));
        self.leave(verdict).await
    }

    /// Shadow replay of everything that is stored, as far as the budget goes.
    async fn replay(&self, mut checked: Checked) -> Result<Checked, Stop> {
        let options = replay::Options {
            budget: (!self.order.all).then_some(self.order.budget),
            snapshots: !self.order.dry_run && !self.order.what_if,
            ..replay::Options::default()
        };
        let Checked { old, new, .. } = &checked;
        let (env, cancel) = (self.host.env(), self.cancelled());
        let tell = |progress| self.progress(&progress);
        let report = replay::run(env, old, new, &options, cancel.0.clone(), tell).await?;
        let verdict = self.judge(&report, &checked);
        (checked.reached, checked.rest) = (report.reached, report.rest);
        self.leave(verdict).await?;
        Ok(checked)
    }

    /// The same for what was written since.
    async fn replay_rest(&self, checked: &mut Checked) -> Result<(), Stop> {
        let Checked { old, new, reached, .. } = &*checked;
        let (env, cancel, options) =
            (self.host.env(), self.cancelled(), replay::Options::default());
        let tell = |progress| self.progress(&progress);
        let since = replay::since(env, old, new, reached, &options, cancel.0.clone(), tell);
        let report = step!("order.since", since.await)?;
        let verdict = self.judge(&report, checked);
        checked.reached = report.reached;
        if verdict.outcome == Outcome::Refused {
            self.leave(verdict).await?;
        }
        Ok(())
    }

    fn judge(&self, report: &Report, checked: &Checked) -> Verdict {
        let accepted = self.order.accept_state_changes;
        gates::replay(report, &checked.old.model, &checked.new.model, accepted)
    }

    /// Tells how far shadow replay is, unless the listener is still busy with what was told.
    fn progress(&self, progress: &replay::Progress) {
        let replay::Progress { phase, done, total, per_second, left, .. } = *progress;
        let (what, left) = (format!("replay: {phase}"), left.as_secs());
        let steps = Steps { what, done, total, per_second, left };
        let _ = self.tell.try_send(Ok(Word::Steps(steps)));
    }

    /// Cancelled when nobody listens any more.
    fn cancelled(&self) -> Watch {
        let (token, tell) = (CancellationToken::new(), self.tell.clone());
        let cancel = token.clone();
        let task = tokio::spawn(async move {
            step!("order.listener", tell.closed().await);
            cancel.cancel();
        });
        Watch(token, task)
    }

    /// The record that is to activate `entry`.
    fn deployment(&self, entry: &Entry, number: u64, checked: Option<&Checked>) -> Deployment {
        let reached = checked.map(|it| it.reached.0.iter().map(|at| at.0).collect());
        // What the active code never took was not compared with it either.
        let left = checked.and_then(|it| it.old.rests.as_ref()?.open());
        let rest = [checked.and_then(|it| it.rest), left].into_iter().flatten().reduce(Rest::or);
        Deployment {
            number,
            context: entry.candidate.model.context.clone(),
            model: entry.candidate.model.digest,
            components: entry.candidate.components(),
            at: clock::unix_ms(),
            by: self.order.by.clone(),
            because: self.order.because.clone(),
            origin: entry.origin.clone(),
            again: entry.again,
            forced: self.order.force.iter().map(ToString::to_string).collect(),
            replayed: reached.unwrap_or_default(),
            rest: rest.map(|rest| rest.to_string()),
        }
    }

    /// Makes active what is stored.
    async fn activate(&self, judged: Judged) -> Result<(), Stop> {
        let Judged { entry, active, number, mut checked } = judged;
        let mut shut = None;
        let activated =
            self.go_over(&entry, active.as_ref(), number, &mut checked, &mut shut).await;
        let closed = shut.is_some();
        let deployment = match (activated, shut) {
            (Ok(deployment), shut) => {
                shut.into_iter().for_each(Shut::over);
                deployment
            }
            (Err(stop), None) => return Err(stop),
            // What has the closing's number now may be this very order's, if its answer was lost.
            (Err(stop), Some(shut)) => match shut.end().await {
                Some(newest) if entry.candidate.is(&newest) => newest,
                _ => return Err(stop),
            },
        };
        tracing::info!(context = %deployment.context, number, by = %deployment.by, closed, "deployed");
        let adopted = self.host.adopt(&deployment).await;
        self.say(Word::Deployed(deployment.clone())).await?;
        adopted?;
        if let Some(checked) = checked.filter(|it| it.rest.is_some()) {
            self.host.replay_later(checked.old, checked.new, checked.rest);
        }
        self.watch_others(&deployment).await
    }

    /// From the closing, if one is needed, to the activation. Whatever fails behind a closing, the
    /// caller must end it.
    async fn go_over(
        &self,
        entry: &Entry,
        active: Option<&Deployment>,
        number: u64,
        checked: &mut Option<Checked>,
        shut: &mut Option<Shut>,
    ) -> Result<Deployment, Stop> {
        if let (Some(active), Some(checked)) = (active, checked.as_mut()) {
            self.close(active, checked, number, shut).await?;
            self.replay_rest(checked).await?;
        }
        let deployment = self.deployment(entry, number, checked.as_ref());
        match step!("order.activate", self.registry().store.activate(&deployment).await) {
            Ok(()) => Ok(deployment),
            Err(ActivateError::Taken) => Err(Failure::new(
                Code::Contended,
                "another host deployed to this context at the same moment: nothing of this order was activated; look at `aether deployments` and order it again",
            )
            .into()),
            Err(ActivateError::Store(error)) => {
                // Whether it is active only the store can tell, and every host will ask it.
                self.host.look();
                Err(error.into())
            }
        }
    }

    /// If the active code may write what the candidate cannot read: has every host stop that
    /// first. From the moment at which it may be told to others, `shut` holds it.
    async fn close(
        &self,
        active: &Deployment,
        checked: &Checked,
        number: u64,
        shut: &mut Option<Shut>,
    ) -> Result<(), Stop> {
        let events = unreadable(&checked.new.model, &checked.old.model);
        if events.is_empty() || self.order.force.contains(&Gate::Replay) {
            return Ok(());
        }
        let closing = Closing {
            number,
            context: active.context.clone(),
            events,
            host: self.host.id().to_owned(),
            at: clock::unix_ms(),
        };
        self.say(Word::Progress("closing: no host appends what the target cannot read".to_owned()))
            .await?;
        let told = shut.insert(Shut::new(&self.host, active));
        let store = self.registry().store;
        match step!("order.close", store.close_events(&closing).await) {
            Ok(()) => {}
            Err(ActivateError::Taken) => {
                // What others have closed is theirs to end.
                shut.take().into_iter().for_each(Shut::over);
                return Err(Failure::new(
                    Code::Contended,
                    "another host is about to deploy to this context: order it again in a moment",
                )
                .into());
            }
            // It may be told all the same.
            Err(ActivateError::Store(error)) => return Err(error.into()),
        }
        self.host.close(&closing).await;
        let context = active.context.as_str();
        let behind = |other: &Presence| other.closed.get(context) != Some(&number);
        if let Some(other) = self.wait_for_others(context, behind).await?.pop() {
            told.because = "a host did not confirm the closing";
            return Err(Failure::new(
                Code::Unavailable,
                format!("{} lives and did not confirm that it appends no more events that the target cannot read; nothing was activated, try again", other.place),
            )
            .into());
        }
        Ok(())
    }

    /// Waits until no other living host of the context is `behind`; those that are after all.
    async fn wait_for_others(
        &self,
        context: &str,
        behind: impl Fn(&Presence) -> bool,
    ) -> Result<Vec<Presence>, Stop> {
        let (store, until) = (self.registry().store, clock::now() + OTHERS);
        if !store.is_shared() {
            return Ok(Vec::new());
        }
        loop {
            let presence = self.host.presence();
            let mut others = step!("order.others", store.announce(&presence).await)?;
            others.retain(|other| {
                other.host != presence.host
                    && other.serves.contains_key(context)
                    && !other.unable.contains_key(context)
                    && behind(other)
            });
            if others.is_empty() || clock::now() >= until || self.tell.is_closed() {
                return Ok(others);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Tells what every host serves, when all have taken the deployment over.
    async fn watch_others(&self, deployment: &Deployment) -> Result<(), Stop> {
        let (context, number) = (deployment.context.as_str(), deployment.number);
        let store = self.registry().store;
        let behind =
            |other: &Presence| other.serves.get(context).is_none_or(|serves| *serves < number);
        self.wait_for_others(context, behind).await?;
        let presence = self.host.presence();
        let alive = if store.is_shared() {
            step!("order.alive", store.announce(&presence).await)?
        } else {
            vec![presence]
        };
        for host in alive {
            let unable = host.unable.get(context).cloned();
            let (place, serves) = (host.place, host.serves.get(context).copied());
            self.say(Word::Host { place, serves, unable }).await?;
        }
        Ok(())
    }

    /// Tells what a gate found; ends the order if it does not let it through.
    async fn leave(&self, mut verdict: Verdict) -> Result<(), Stop> {
        let gate = verdict.gate;
        let refused = verdict.outcome == Outcome::Refused;
        let forced = self.order.force.contains(&gate);
        if refused && forced {
            verdict.outcome = Outcome::Forced;
        }
        self.say(Word::Gate(verdict)).await?;
        if refused && !forced {
            self.say(Word::Refused(gate)).await?;
            return Err(Stop::Told);
        }
        Ok(())
    }

    async fn say(&self, word: Word) -> Result<(), Stop> {
        self.tell.send(Ok(word)).await.map_err(|_| Stop::Told)
    }

    fn registry(&self) -> Registry<'_> {
        self.host.registry()
    }
}

fn exports(candidate: &Candidate) -> Vec<String> {
    let components = candidate.components();
    let line = |(aggregate, digest): (&String, &aether_wit::Digest)| {
        format!("{aggregate}: component {}", digest.short())
    };
    components.iter().map(line).collect()
}

/// The deployment that a rollback goes back to: the newest that is not the same as the active one.
fn previous(history: &[Deployment]) -> Option<u64> {
    let (active, before) = history.split_last()?;
    let differs = |d: &&Deployment| (d.model, &d.components) != (active.model, &active.components);
    before.iter().rev().find(differs).map(|d| d.number)
}

/// The events, by aggregate, that code of `writer` may store and `target` cannot read.
fn unreadable(target: &Model, writer: &Model) -> BTreeMap<String, BTreeSet<String>> {
    let mut events: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (aggregate, event) in upcast::unreadable(target, writer) {
        events.entry(aggregate).or_default().insert(event);
    }
    events
}
