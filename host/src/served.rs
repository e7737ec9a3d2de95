//! What is served: the active deployment of each context, ready to be called.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aether_wit::{
    Digest, Model,
    model::{Aggregate, Runtime},
};

use crate::{
    config::Limits,
    json::{AggregatePlans, PackedCase},
    router::Actors,
    snapshot,
    store::Deployment,
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
}

/// One aggregate as this host serves it: the law, the code, and the actors that are awake.
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
    /// The actors of the aggregate that are awake here.
    pub actors: Actors,
    /// Per command: which events it may emit, by index.
    emits: Vec<Vec<usize>>,
    /// Per command: which rejections it may give, by index.
    rejects: Vec<Vec<usize>>,
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
    /// The realm of `aggregate` in a deployment.
    #[must_use]
    pub fn new(
        deployment: &Deployment,
        model: &Model,
        aggregate: &Aggregate,
        behaviour: Arc<Behaviour>,
        limits: &Limits,
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
            actors: Actors::default(),
            emits: aggregate.commands.values().map(|command| events(&command.emits)).collect(),
            rejects: aggregate.commands.values().map(|c| rejections(&c.rejects)).collect(),
        }
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
