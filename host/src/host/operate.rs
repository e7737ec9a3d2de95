//! What operators ask of a running host.

use std::{sync::atomic::Ordering, time::Instant};

use aether_wit::Digest;
use bytes::Bytes;

use crate::{
    address::Address,
    audit::{
        self, Ground, Items, Scope,
        release::{Order, Released, release},
    },
    clock,
    failure::{Code, Failure},
    history::{self, Records},
    host::{Host, env_timeout},
    store::{Deployment, Quarantine},
};

/// Longest reason of a repair, in bytes.
const MAX_REASON_BYTES: usize = 4096;

impl Host {
    /// The actors that are quarantined, of one context or of all that are served, by address.
    ///
    /// # Errors
    /// `unknown` if the context is not served, `unavailable`.
    pub async fn quarantines(
        &self,
        context: Option<&str>,
    ) -> Result<Vec<(Address, Quarantine)>, Failure> {
        if let Some(context) = context {
            self.context(context)?;
        }
        // What was marked on another host or not yet recorded counts too.
        let deadline = clock::now() + env_timeout(&self.0.config);
        let env = &self.0.env;
        env.ask("quarantines", deadline, self.learn_marks()).await?;
        let mut all = env.quarantines();
        all.retain(|(actor, _)| context.is_none_or(|only| only == actor.context()));
        Ok(all)
    }

    /// Lets a quarantined actor go on, if its log can be read, or with what the order skips.
    ///
    /// # Errors
    /// `quarantined` if the log is damaged beyond that; see [`crate::failure::Code`].
    pub async fn release(&self, order: Order) -> Result<Released, Failure> {
        let actor = &order.actor;
        let realm = self.realm(actor.context(), actor.aggregate())?;
        let invalid = |why: &str| Err(Failure::new(Code::Invalid, why).for_actor(actor));
        if order.skip.is_empty() != order.because.trim().is_empty() {
            return invalid("`skip` and `because` belong together: what is skipped, and why");
        }
        if order.because.len() > MAX_REASON_BYTES {
            return invalid("the reason has more than 4,096 bytes");
        }
        // Others may take the actor over while this host goes away.
        if self.0.draining.load(Ordering::Relaxed) {
            let why = "the host is stopping; nothing was released, ask another one";
            return Err(Failure::new(Code::Unavailable, why).for_actor(actor));
        }
        release(&self.0.env, &realm, order).await
    }

    /// Reads everything that `scope` says and tells what is wrong.
    #[must_use]
    pub fn audit(&self, scope: Scope) -> Items {
        let served = self.contexts().served.clone();
        audit::run(Ground { env: self.0.env.clone(), served, faults: Vec::new() }, scope)
    }

    /// The records of an actor that count, as they are stored, see [`history::records`].
    ///
    /// # Errors
    /// `unknown` if there is no such aggregate.
    pub fn records(&self, actor: &Address, until: Option<u64>) -> Result<Records, Failure> {
        self.realm(actor.context(), actor.aggregate())?;
        Ok(history::records(self.0.env.clone(), actor.clone(), until))
    }

    /// The bytes of a model or a component that a deployment names, active or not.
    ///
    /// # Errors
    /// `unknown` if none does or the store has lost them, `unavailable`.
    pub async fn blob(&self, digest: &Digest, deadline: Instant) -> Result<Bytes, Failure> {
        let env = &self.0.env;
        let names = |deployment: &Deployment| {
            deployment.model == *digest || deployment.components.values().any(|it| it == digest)
        };
        let contexts: Vec<String> = self.contexts().served.keys().cloned().collect();
        for context in contexts {
            let all = env.ask("deployments", deadline, env.store.deployments(&context)).await?;
            if all.iter().any(names) {
                let bytes = env.ask("blob", deadline, env.store.blob(digest)).await?;
                return bytes.ok_or_else(|| {
                    let detail = format!(
                        "the store has lost {digest}, which a deployment names: restore it"
                    );
                    Failure::new(Code::Unknown, detail)
                });
            }
        }
        let detail = format!("no deployment names {digest}: see /admin/deployments");
        Err(Failure::new(Code::Unknown, detail))
    }
}
