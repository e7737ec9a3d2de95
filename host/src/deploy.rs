//! What is deployed: models and components in the store, and the gates before them.
//!
//! Activation is one durable step: a deployment record with the next number of its context. A
//! host serves the newest deployment of each context that the store holds.

pub mod ahead;
mod closing;
pub mod faults;
pub mod gates;
pub mod news;
pub mod order;
mod registry;
pub mod replay;
pub mod rests;
pub mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aether_wit::{Digest, Model, diff};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    env::Env,
    host::{Bundle, StartError},
    served::{Realm, Served},
    step::step,
    store::{ActivateError, Deployment, Presence, Reach},
    vm::{Behaviour, Component, Sandbox},
};

use self::{
    replay::{report::Report, sample::Rest},
    rests::Rests,
};
pub use registry::{LoadError, Registry};

/// A model with its components, compiled and checked against it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The model's file name, for messages.
    pub file: String,
    /// The model.
    pub model: Arc<Model>,
    /// The code of each aggregate.
    pub behaviours: BTreeMap<String, Arc<Behaviour>>,
}

impl Candidate {
    /// Compiles `components` and finds for each aggregate of `model` the one that implements it. If all
    /// fit, their code is kept for the next start.
    ///
    /// # Errors
    /// If a component is not taken, does not fit the model, or an aggregate has none or two.
    pub async fn new(
        sandbox: &Sandbox,
        file: &str,
        model: Arc<Model>,
        components: &[(String, bytes::Bytes)],
    ) -> Result<Self, StartError> {
        let mut loaded: Vec<(&str, Arc<Component>)> = Vec::new();
        for (name, bytes) in components {
            let component = sandbox.load(bytes.clone()).await;
            let component = component.map_err(|error| StartError(format!("{name}: {error}")))?;
            loaded.push((name, component));
        }
        let (mut behaviours, mut used) = (BTreeMap::new(), Vec::new());
        for aggregate in model.aggregates.keys() {
            let exports = |component: &Arc<Component>| {
                component.aggregates(&model.context).iter().any(|name| name == aggregate)
            };
            let mut offers = loaded.iter().filter(|(_, component)| exports(component));
            let (name, component) = offers.next().ok_or_else(|| {
                let names: Vec<_> = loaded.iter().map(|(name, _)| *name).collect();
                StartError(format!(
                    "{file}: no component exports `{}:model/{aggregate}`; looked at: {}; build the component and name it under `components:`",
                    model.context,
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") },
                ))
            })?;
            if let Some((second, _)) = offers.next() {
                return Err(StartError(format!(
                    "{file}: both {name} and {second} export `{}:model/{aggregate}`: name only one of them under `components:`",
                    model.context,
                )));
            }
            let behaviour = component
                .behaviour(&model, aggregate)
                .map_err(|error| StartError(format!("{name}: {error}")))?;
            behaviours.insert(aggregate.clone(), behaviour);
            used.push(component);
        }
        for component in used {
            component.keep().await;
        }
        Ok(Self { file: file.to_owned(), model, behaviours })
    }

    /// The digest of each aggregate's component.
    #[must_use]
    pub fn components(&self) -> BTreeMap<String, Digest> {
        self.behaviours.iter().map(|(name, b)| (name.clone(), b.component())).collect()
    }

    fn is(&self, deployment: &Deployment) -> bool {
        deployment.model == self.model.digest && deployment.components == self.components()
    }

    /// What is served with it as `deployment`; the actors of `former` that are awake go over, those
    /// of `rests` are checked first, and events are read that were stored under any of `writers`.
    #[must_use]
    pub fn serve(
        self,
        env: &Env,
        deployment: Deployment,
        former: Option<&Served>,
        writers: &[Arc<Model>],
        rests: Option<Arc<Rests>>,
    ) -> Served {
        let realms = self.behaviours.into_iter().filter_map(|(name, behaviour)| {
            let aggregate = self.model.aggregates.get(&name)?;
            let actors = former.and_then(|former| former.realms.get(&name));
            let actors = actors.map(|realm| realm.actors.clone()).unwrap_or_default();
            let (model, limits) = (&self.model, &env.limits);
            let mut realm =
                Realm::new(&deployment, model, aggregate, behaviour, limits, actors, writers);
            realm.rests.clone_from(&rests);
            Some((name, Arc::new(realm)))
        });
        Served { realms: realms.collect(), model: self.model.clone(), deployment, rests }
    }
}

/// What a host serves from its start: the newest deployment of each context in the store, after
/// the new ones among `bundles` were activated. `here` is how this host tells others that it lives;
/// `accept_state_changes`: a new one may fold what is stored to other states.
///
/// # Errors
/// If a bundle has mistakes or does not pass the gates, or the store cannot answer.
pub async fn at_start(
    env: &Arc<Env>,
    sandbox: &Sandbox,
    bundles: &[Bundle],
    here: &Presence,
    accept_state_changes: bool,
) -> Result<BTreeMap<String, Arc<Served>>, StartError> {
    let registry = Registry { store: &*env.store, sandbox };
    let models = bundles.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for (index, model) in models.iter().enumerate() {
        let context = &model.context;
        if models.iter().take(index).any(|other| other.context == *context) {
            return Err(StartError(format!(
                "two models of context `{context}` were given: start with one of them"
            )));
        }
    }
    // From here on other hosts know that this one lives, before it reads what it will serve.
    registry.others(here).await?;
    let mut served = BTreeMap::new();
    for (bundle, model) in bundles.iter().zip(models) {
        let context = model.context.clone();
        let starting = Starting { env, registry: &registry, here, accept_state_changes };
        let now = starting.bundle(bundle, model).await?;
        served.insert(context, Arc::new(now));
    }
    for context in registry.contexts().await? {
        if !served.contains_key(&context)
            && let Some(now) = registry.serve_newest(env, &context).await?
        {
            served.insert(context, Arc::new(now));
        }
    }
    Ok(served)
}

/// What the store holds as the newest deployment of each context, without telling anybody that
/// this process lives; and, by context, what cannot be loaded.
///
/// # Errors
/// If the store cannot answer.
pub async fn stored(
    env: &Env,
    sandbox: &Sandbox,
) -> Result<(BTreeMap<String, Arc<Served>>, Vec<(String, StartError)>), StartError> {
    let registry = Registry { store: &*env.store, sandbox };
    let (mut served, mut faults) = (BTreeMap::new(), Vec::new());
    for context in registry.contexts().await? {
        match registry.serve_newest(env, &context).await {
            Ok(Some(now)) => drop(served.insert(context, Arc::new(now))),
            Ok(None) => {}
            Err(LoadError::Away(error)) => return Err(LoadError::Away(error).into()),
            Err(error) => faults.push((context, error.into())),
        }
    }
    Ok((served, faults))
}

/// The model of a bundle; what only deserves a look is logged.
fn read(bundle: &Bundle) -> Result<Arc<Model>, StartError> {
    let (model, warnings) = aether_wit::read(&bundle.file, &bundle.model)
        .map_err(|report| StartError(report.to_string()))?;
    for warning in warnings {
        tracing::warn!(file = %bundle.file, line = warning.at.line, column = warning.at.column, "{}", warning.message);
    }
    Ok(Arc::new(model))
}

/// A replay at a start: both codes, and what came of it.
struct Replayed {
    old: Served,
    new: Served,
    report: Report,
}

/// What a bundle meets when a host starts with it.
struct Starting<'a> {
    env: &'a Arc<Env>,
    registry: &'a Registry<'a>,
    here: &'a Presence,
    accept_state_changes: bool,
}

impl Starting<'_> {
    /// Compares a bundle with the store, activates it if it is new, and gives what is to be served.
    async fn bundle(&self, bundle: &Bundle, model: Arc<Model>) -> Result<Served, StartError> {
        let Self { env, registry, .. } = *self;
        let context = model.context.clone();
        let candidate =
            Candidate::new(registry.sandbox, &bundle.file, model, &bundle.components).await?;
        let mut history = registry.deployments(&context).await?;
        let Some(active) = history.last() else {
            refuse_scenarios(&candidate).await?;
            let reached = Reach::default();
            let first = activate(env, registry, bundle, &candidate, 1, &reached, None).await?;
            return Ok(candidate.serve(env, first, None, &[], None));
        };
        let writers = registry.models(&history).await.map_err(LoadError::Away)?;
        if candidate.is(active) {
            let rests = Rests::of(active, &history, None, registry.sandbox);
            return Ok(candidate.serve(env, active.clone(), None, &writers, rests));
        }
        if let Some(former) = history.iter().rev().find(|former| candidate.is(former)) {
            tracing::warn!(
                file = %bundle.file,
                "this is deployment {} of context `{context}`; deployment {} is active and is served instead",
                former.number,
                active.number
            );
            return Ok(registry.serve(env, active, None, &history).await?);
        }
        let old = registry.model(active).await?;
        refuse_breaking(&bundle.file, &old, &candidate.model, active.number)?;
        self.refuse_company(bundle, active).await?;
        refuse_scenarios(&candidate).await?;
        let number = active.number + 1;
        let replayed = self.replay(&candidate, active, &history, &writers).await?;
        // Without a replay nobody is covered.
        let rest = replayed.as_ref().map_or(Some(Rest::ALL), |replayed| replayed.report.rest);
        // What the active code never took was not compared with it either.
        let rest = [rest, rests::rest(active)].into_iter().flatten().reduce(Rest::or);
        // Who came meanwhile may have stored what was not replayed.
        self.refuse_company(bundle, active).await?;
        let reached = match &replayed {
            Some(replayed) => self.replay_since(&candidate, active, replayed).await?,
            None => Reach::default(),
        };
        let next = activate(env, registry, bundle, &candidate, number, &reached, rest).await?;
        history.push(next.clone());
        let rests = Rests::of(&next, &history, None, registry.sandbox);
        Ok(candidate.serve(env, next, None, &writers, rests))
    }

    /// Refuses to go on beside another host: it serves what is active.
    async fn refuse_company(&self, bundle: &Bundle, active: &Deployment) -> Result<(), StartError> {
        let Some(other) = self.registry.wait_until_alone(self.here).await? else { return Ok(()) };
        Err(StartError(format!(
            "{}: it differs from deployment {} of context `{}`, and another host ({}) is alive on the same store: stop that host first, or start this one without a model",
            bundle.file, active.number, active.context, other.place
        )))
    }

    /// Replays what is stored through the code that is active and through `candidate`. None if this
    /// build cannot run what is active: then there is nothing to compare with.
    async fn replay(
        &self,
        candidate: &Candidate,
        active: &Deployment,
        history: &[Deployment],
        writers: &[Arc<Model>],
    ) -> Result<Option<Replayed>, StartError> {
        let Self { env, registry, .. } = *self;
        let old = match registry.serve(env, active, None, history).await {
            Ok(old) => old,
            Err(LoadError::Unfit(why)) => {
                tracing::warn!(deployment = active.number, %why, "the stored pasts are not replayed: this build cannot run the code that is active");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let proposed = Deployment { number: active.number + 1, ..active.clone() };
        let new = candidate.clone().serve(env, proposed, None, writers, None);
        let budget = Some(env.limits.start_budget);
        let options = replay::Options { budget, ..replay::Options::default() };
        let cancel = CancellationToken::new();
        let report = replay::run(env, &old, &new, &options, cancel, |_| ()).await;
        let report = report.map_err(|failure| StartError(failure.to_string()))?;
        let replayed = Replayed { old, new, report };
        self.refuse_replayed(candidate, active, &replayed, &replayed.report)?;
        Ok(Some(replayed))
    }

    /// The same for what others have written since; how far all of it reaches.
    async fn replay_since(
        &self,
        candidate: &Candidate,
        active: &Deployment,
        replayed: &Replayed,
    ) -> Result<Reach, StartError> {
        let Replayed { old, new, report } = replayed;
        let (options, cancel) = (replay::Options::default(), CancellationToken::new());
        let since = replay::since(self.env, old, new, &report.reached, &options, cancel, |_| ());
        let since = step!("deploy.since", since.await);
        let since = since.map_err(|failure| StartError(failure.to_string()))?;
        self.refuse_replayed(candidate, active, replayed, &since)?;
        Ok(since.reached)
    }

    fn refuse_replayed(
        &self,
        candidate: &Candidate,
        active: &Deployment,
        replayed: &Replayed,
        report: &Report,
    ) -> Result<(), StartError> {
        let (old, new) = (&replayed.old.model, &replayed.new.model);
        let verdict = gates::replay(report, old, new, self.accept_state_changes);
        let lines = verdict.lines.join("\n");
        if verdict.outcome == gates::Outcome::Refused {
            return Err(StartError(format!(
                "{}: it is not deployed over deployment {} of context `{}`; nothing was changed:\n{lines}\nmend the component, or start without a model and use `aether deploy`, which can be forced",
                candidate.file, active.number, active.context
            )));
        }
        tracing::info!(context = %active.context, "replayed: {lines}");
        Ok(())
    }
}

fn refuse_breaking(file: &str, old: &Model, new: &Model, active: u64) -> Result<(), StartError> {
    let changes = diff::diff(old, new);
    let (breaking, compatible): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| change.impact != diff::Impact::Compatible);
    for change in &compatible {
        tracing::info!(%file, "{change}");
    }
    if breaking.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = breaking.iter().map(|change| format!("  {file}: {change}")).collect();
    Err(StartError(format!(
        "{file}: it would break what deployment {active} of context `{}` has stored or promised; nothing was changed:\n{}\ngo back to the old form, or keep old data readable with an option, a default, `was:` or an upcast (docs/model.md)",
        new.context,
        list.join("\n")
    )))
}

async fn refuse_scenarios(candidate: &Candidate) -> Result<(), StartError> {
    let verdict = gates::scenarios(candidate).await;
    if verdict.outcome == gates::Outcome::Passed {
        return Ok(());
    }
    let shown = verdict.lines.join("\n");
    Err(StartError(format!("{shown}\nit is not deployed: nothing was changed")))
}

/// Writes model, components and the deployment record of what has passed the gates.
async fn activate(
    env: &Env,
    registry: &Registry<'_>,
    bundle: &Bundle,
    candidate: &Candidate,
    number: u64,
    reached: &Reach,
    rest: Option<Rest>,
) -> Result<Deployment, StartError> {
    registry.put(bundle).await.map_err(LoadError::Away)?;
    let deployment = Deployment {
        number,
        context: candidate.model.context.clone(),
        model: candidate.model.digest,
        components: candidate.components(),
        at: clock::unix_ms(),
        by: "aether run".to_owned(),
        because: String::new(),
        origin: bundle.file.clone(),
        again: None,
        forced: BTreeSet::new(),
        replayed: reached.0.iter().map(|at| at.0).collect(),
        rest: rest.map(|rest| rest.to_string()),
    };
    match step!("deploy.activate", env.store.activate(&deployment).await) {
        Ok(()) => {
            tracing::info!(context = %deployment.context, number, model = %deployment.model.short(), "deployed");
            Ok(deployment)
        }
        // Two hosts started with the same model at once: one of them was first.
        Err(ActivateError::Taken) => match registry.deployments(&deployment.context).await?.pop() {
            Some(newest) if candidate.is(&newest) => Ok(newest),
            _ => Err(StartError(format!(
                "{}: another host deployed something else to context `{}` at the same moment: look at `aether deployments` and start again",
                candidate.file, deployment.context
            ))),
        },
        Err(ActivateError::Store(error)) => Err(StartError(error.to_string())),
    }
}
