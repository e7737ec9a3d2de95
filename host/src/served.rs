//! What is served: the active deployment of each context, ready to be called.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use aether_wit::{
    Digest, Model,
    model::{Aggregate, Runtime},
};

use crate::{
    config::Limits,
    deploy::rests::Rests,
    json::{AggregatePlans, PackedCase},
    router::Actors,
    snapshot,
    store::Deployment,
    upcast::Readings,
    vm::Behaviour,
};

/// A context as this host serves it.
#[derive(Debug)]
pub struct Served {
    /// What is deployed.
    pub deployment: Deployment,
    /// Its model.
    pub model: Arc<Model>,
    /// Its aggregates by name.
    pub realms: HashMap<String, Arc<Realm>>,
    /// The actors that were not covered before it became active, if there are any.
    pub rests: Option<Arc<Rests>>,
}

/// One aggregate as this host serves it: the law, the code, and the actors that are awake.
///
/// A realm is of one deployment and never changes. The next deployment's realm takes over the
/// actors and [succeeds](Realm::succeed) it; an actor goes over between two of its turns.
#[derive(Debug)]
pub struct Realm {
    /// The bounded context.
    pub context: String,
    /// The aggregate's name.
    pub aggregate: String,
    /// Number of the deployment.
    pub deployment: u64,
    /// The model's digest.
    pub model: Digest,
    /// The component in this role.
    pub behaviour: Arc<Behaviour>,
    /// The key of snapshots that this code may continue.
    pub snapshot_key: Digest,
    /// The model's wishes, capped by the host's limits.
    pub runtime: Runtime,
    /// The actors of the aggregate that are awake here, of whichever deployment.
    pub actors: Arc<Actors>,
    /// How events are read that other models have stored.
    pub readings: Readings,
    /// The actors that must be checked before they are served, if there are any.
    pub rests: Option<Arc<Rests>>,
    /// What serves the aggregate after this realm.
    succession: OnceLock<Succession>,
    /// Events that nothing may append any more, because what is about to be deployed cannot read
    /// them.
    closed: RwLock<BTreeSet<usize>>,
    /// Per command: which events it may emit, by index.
    emits: Vec<Vec<usize>>,
    /// Per command: which rejections it may give, by index.
    rejects: Vec<Vec<usize>>,
}

/// What comes after a realm.
#[derive(Debug, Clone)]
enum Succession {
    /// The same aggregate under a newer deployment.
    Next(Arc<Realm>),
    /// Nothing that this host can serve, and why.
    Gone(Arc<str>),
}

/// The component gave an event or a rejection that the model does not allow for the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "command `{command}` gave {what} `{name}`, which the model does not allow: expected one of {allowed}"
)]
pub struct Unlawful {
    command: String,
    what: &'static str,
    name: String,
    allowed: String,
}

impl Realm {
    /// The realm of `aggregate` in a deployment, with the actors that are awake; `writers`
    /// are the models under which events may be stored.
    #[must_use]
    pub fn new(
        deployment: &Deployment,
        model: &Model,
        aggregate: &Aggregate,
        behaviour: Arc<Behaviour>,
        limits: &Limits,
        actors: Arc<Actors>,
        writers: &[Arc<Model>],
    ) -> Self {
        let events = |names: &Vec<String>| {
            names.iter().filter_map(|name| aggregate.events.get_index_of(name)).collect()
        };
        let rejections = |names: &Vec<String>| {
            names.iter().filter_map(|name| aggregate.rejections.get_index_of(name)).collect()
        };
        let mut runtime = aggregate.runtime.clone();
        runtime.mailbox = runtime.mailbox.min(limits.max_mailbox).max(1);
        runtime.deadline = runtime.deadline.min(limits.max_deadline);
        Self {
            context: model.context.clone(),
            aggregate: aggregate.name.clone(),
            deployment: deployment.number,
            model: model.digest,
            snapshot_key: snapshot::key(&model.digest, &behaviour.component()),
            behaviour,
            runtime,
            actors,
            readings: Readings::new(model, aggregate, writers),
            rests: None,
            succession: OnceLock::new(),
            closed: RwLock::default(),
            emits: aggregate.commands.values().map(|command| events(&command.emits)).collect(),
            rejects: aggregate.commands.values().map(|c| rejections(&c.rejects)).collect(),
        }
    }

    /// The realm that serves the aggregate now: this one, or the newest after it.
    ///
    /// # Errors
    /// Why this host does not serve the aggregate any more.
    pub fn current(self: &Arc<Self>) -> Result<Arc<Self>, Arc<str>> {
        let mut realm = self;
        loop {
            match realm.succession.get() {
                None => return Ok(realm.clone()),
                Some(Succession::Next(next)) => realm = next,
                Some(Succession::Gone(why)) => return Err(why.clone()),
            }
        }
    }

    /// Whether another realm serves the aggregate now, or none.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.succession.get().is_some()
    }

    /// Lets `next` serve the aggregate from now on. Only the first word on what follows counts.
    pub fn succeed(&self, next: Arc<Self>) {
        let _ = self.succession.set(Succession::Next(next));
    }

    /// Says that this host does not serve the aggregate any more, and why.
    pub fn give_up(&self, why: Arc<str>) {
        let _ = self.succession.set(Succession::Gone(why));
    }

    /// Lets nothing append `events` any more.
    pub fn close(&self, events: &BTreeSet<String>) {
        let cases = &self.plans().events;
        let closed = events.iter().filter_map(|name| cases.index_of(name)).collect();
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = closed;
    }

    /// The first of `events` that nothing may append any more.
    #[must_use]
    pub fn closed_among(&self, events: &[PackedCase]) -> Option<&str> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if closed.is_empty() {
            return None;
        }
        let event = events.iter().find(|event| closed.contains(&event.case))?;
        self.plans().events.get(event.case).map(|(name, _)| &**name)
    }

    /// The plans of the aggregate's values.
    #[must_use]
    pub fn plans(&self) -> &AggregatePlans {
        self.behaviour.plans()
    }

    /// How long an actor may be idle before it falls asleep.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        self.runtime.idle
    }

    /// Checks events against the model: only those that the command may emit.
    ///
    /// # Errors
    /// Names the event and what is allowed.
    pub fn permit_events(&self, command: usize, events: &[PackedCase]) -> Result<(), Unlawful> {
        let allowed = self.emits.get(command).map(Vec::as_slice).unwrap_or_default();
        match events.iter().find(|event| !allowed.contains(&event.case)) {
            None => Ok(()),
            Some(event) => Err(self.unlawful(command, "event", event.case, allowed)),
        }
    }

    /// Checks a rejection against the model: only those that the command may give.
    ///
    /// # Errors
    /// Names the rejection and what is allowed.
    pub fn permit_rejection(&self, command: usize, rejection: usize) -> Result<(), Unlawful> {
        let allowed = self.rejects.get(command).map(Vec::as_slice).unwrap_or_default();
        if allowed.contains(&rejection) {
            return Ok(());
        }
        Err(self.unlawful(command, "rejection", rejection, allowed))
    }

    fn unlawful(
        &self,
        command: usize,
        what: &'static str,
        case: usize,
        allowed: &[usize],
    ) -> Unlawful {
        let plans = self.plans();
        let cases = if what == "event" { &plans.events } else { &plans.rejections };
        let name =
            |case: usize| cases.get(case).map_or("?".to_owned(), |(name, _)| name.to_string());
        let allowed: Vec<_> = allowed.iter().map(|case| format!("`{}`", name(*case))).collect();
        Unlawful {
            command: plans.commands.get(command).map_or("?".to_owned(), |(n, _)| n.to_string()),
            what,
            name: name(case),
            allowed: if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") },
        }
    }
}
