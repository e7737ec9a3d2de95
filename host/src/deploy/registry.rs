//! Models and components as the store keeps them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aether_wit::{Digest, Model};
use bytes::Bytes;

use super::{Candidate, rests::Rests};
use crate::{
    clock,
    env::Env,
    host::{Bundle, StartError},
    served::Served,
    step::step,
    store::{Deployment, EventStore, Presence, StoreError},
    vm::Sandbox,
};

/// How long a host that was killed seems to live: what a store believes it (15 s), and a little.
const SEEMS_ALIVE: Duration = Duration::from_secs(17);

/// How often it is looked whether another host still lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Models and components by digest, deployments by number.
#[derive(Debug)]
pub struct Registry<'a> {
    /// Where they are.
    pub store: &'a dyn EventStore,
    /// What compiles them.
    pub sandbox: &'a Sandbox,
}

impl Registry<'_> {
    /// The contexts that have deployments.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn contexts(&self) -> Result<Vec<String>, StartError> {
        step!("deploy.contexts", self.store.contexts().await).map_err(|error| away(&error))
    }

    /// All deployments of a context, oldest first.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StartError> {
        let found = step!("deploy.deployments", self.store.deployments(context).await);
        found.map_err(|error| away(&error))
    }

    /// Keeps a bundle's model and components.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn put(&self, bundle: &Bundle) -> Result<(), StoreError> {
        let components = bundle.components.iter().map(|(_, bytes)| bytes);
        for bytes in std::iter::once(&bundle.model).chain(components) {
            step!("deploy.put-blob", self.store.put_blob(bytes.clone()).await)?;
        }
        Ok(())
    }

    /// The model of a deployment.
    ///
    /// # Errors
    /// If it is not in the store or this build cannot read it.
    pub async fn model(&self, deployment: &Deployment) -> Result<Model, LoadError> {
        let text = self.blob(deployment, "model", &deployment.model).await?;
        let file = format!("deployment {} of {}", deployment.number, deployment.context);
        let read = aether_wit::read(&file, &text);
        Ok(read.map_err(|report| LoadError::Unfit(report.to_string()))?.0)
    }

    /// The models of all of `deployments`, each once: events may be stored under any of them. One
    /// that this build cannot read is left out; its events are read as they stand.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn models(&self, deployments: &[Deployment]) -> Result<Vec<Arc<Model>>, StoreError> {
        let mut known = BTreeMap::new();
        for deployment in deployments {
            if known.contains_key(&deployment.model) {
                continue;
            }
            match self.model(deployment).await {
                Ok(model) => drop(known.insert(deployment.model, Arc::new(model))),
                Err(LoadError::Away(error)) => return Err(error),
                Err(LoadError::Unfit(why)) => {
                    tracing::warn!(deployment = deployment.number, %why, "the events of this deployment are read as they stand");
                }
            }
        }
        Ok(known.into_values().collect())
    }

    /// A deployment, compiled.
    ///
    /// # Errors
    /// If a part of it is not in the store or this build does not take it.
    pub async fn load(&self, deployment: &Deployment) -> Result<Candidate, LoadError> {
        let model = Arc::new(self.model(deployment).await?);
        let mut components = Vec::new();
        for digest in deployment.components.values().collect::<BTreeSet<_>>() {
            let bytes = self.blob(deployment, "component", digest).await?;
            components.push((format!("component {}", digest.short()), bytes));
        }
        let file = format!("deployment {} of {}", deployment.number, deployment.context);
        let candidate = Candidate::new(self.sandbox, &file, model, &components).await;
        candidate.map_err(|error| LoadError::Unfit(error.0))
    }

    /// A deployment, ready to be called; `history` are all of its context. The actors of `former`
    /// that are awake go over.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn serve(
        &self,
        env: &Env,
        deployment: &Deployment,
        former: Option<&Arc<Served>>,
        history: &[Deployment],
    ) -> Result<Served, LoadError> {
        let writers = self.models(history).await.map_err(LoadError::Away)?;
        let candidate = self.load(deployment).await?;
        let rests = Rests::of(deployment, history, former, self.sandbox);
        let former = former.map(|former| &**former);
        Ok(candidate.serve(env, deployment.clone(), former, &writers, rests))
    }

    /// The newest deployment of a context, ready to be called; none if it has none.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn serve_newest(
        &self,
        env: &Env,
        context: &str,
    ) -> Result<Option<Served>, LoadError> {
        let found = step!("deploy.history", self.store.deployments(context).await);
        let history = found.map_err(LoadError::Away)?;
        let Some(newest) = history.last() else { return Ok(None) };
        self.serve(env, newest, None, &history).await.map(Some)
    }

    /// The other hosts that are alive on the same store.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn others(&self, here: &Presence) -> Result<Vec<Presence>, StartError> {
        let alive = step!("deploy.announce", self.store.announce(here).await);
        let mut alive = alive.map_err(|error| away(&error))?;
        alive.retain(|other| other.host != here.host);
        Ok(alive)
    }

    /// Waits until no other host is alive; gives one that stays. A host that was killed seems to
    /// live for a while, a living one tells so again within that time.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn wait_until_alone(&self, here: &Presence) -> Result<Option<Presence>, StartError> {
        let until = clock::now() + SEEMS_ALIVE;
        loop {
            let Some(other) = self.others(here).await?.pop() else { return Ok(None) };
            if clock::now() >= until {
                return Ok(Some(other));
            }
            tracing::info!(other = %other.place, "waiting until the other host on this store is gone");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn blob(
        &self,
        deployment: &Deployment,
        what: &str,
        digest: &Digest,
    ) -> Result<Bytes, LoadError> {
        let found = step!("deploy.blob", self.store.blob(digest).await);
        found.map_err(LoadError::Away)?.ok_or_else(|| {
            LoadError::Unfit(format!(
                "the store does not hold the {what} {digest} of deployment {} of context `{}`: restore the store, or start with the model file that was deployed",
                deployment.number, deployment.context
            ))
        })
    }
}

/// Why a deployment cannot be served here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The store cannot give its parts now.
    #[error("the store cannot answer: {0}")]
    Away(StoreError),
    /// A part is missing, or this build does not take it.
    #[error("{0}")]
    Unfit(String),
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        Self(error.to_string())
    }
}

fn away(error: &StoreError) -> StartError {
    StartError(format!("the store cannot answer: {error}"))
}
