//! The models that records name, as the store's catalogue keeps them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aether_wit::Digest;

use super::patience;
use crate::{
    address::Address,
    env::Env,
    failure::Failure,
    json::{AggregatePlans, Reader},
    record::Record,
};

/// Models by digest, read once. Only those that the store holds are remembered, so forged digests
/// cost no memory.
pub(super) struct Laws<'a> {
    env: &'a Env,
    known: Mutex<HashMap<(Digest, String), Arc<AggregatePlans>>>,
}

impl<'a> Laws<'a> {
    pub(super) fn new(env: &'a Env) -> Self {
        Self { env, known: Mutex::default() }
    }

    /// What is wrong with `record` by the model that it names, if anything is.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn misfit(
        &self,
        actor: &Address,
        record: &Record,
    ) -> Result<Option<String>, Failure> {
        if record.turns.is_empty() {
            return Ok(None);
        }
        let plans = match self.plans(actor, record.model).await? {
            Ok(plans) => plans,
            Err(why) => return Ok(Some(why)),
        };
        let misfit = record.events().find_map(|(version, _, event)| {
            let told = |why: String| format!("event `{}` of version {version}: {why}", event.name);
            let plan = plans.events.index_of(&event.name).and_then(|case| plans.events.get(case));
            let Some((_, plan)) = plan else {
                return Some(told("the model that the record names has no such event".to_owned()));
            };
            let read = Reader::Log.read(plan, event.data.get().as_bytes());
            read.err().map(|error| told(error.to_string()))
        });
        Ok(misfit)
    }

    async fn plans(
        &self,
        actor: &Address,
        model: Digest,
    ) -> Result<Result<Arc<AggregatePlans>, String>, Failure> {
        let key = (model, actor.aggregate().to_owned());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(plans) = known {
            return Ok(Ok(plans));
        }
        let env = self.env;
        let Some(text) = env.ask("blob", patience(), env.store.blob(&model)).await? else {
            return Ok(Err(format!("it names the model {model}, which the store does not hold")));
        };
        let (read, _) = match aether_wit::read(&model.short(), &text) {
            Ok(read) => read,
            Err(report) => return Ok(Err(format!("the model that it names: {report}"))),
        };
        let Some(aggregate) = read.aggregates.get(actor.aggregate()) else {
            return Ok(Err(format!("the model {model} that it names has no such aggregate")));
        };
        let plans = Arc::new(AggregatePlans::new(&read, aggregate));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, plans.clone());
        Ok(Ok(plans))
    }
}
