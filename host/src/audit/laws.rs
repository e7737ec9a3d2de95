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

/// Models that are remembered at the most, those that cannot be read among them: forged digests
/// cost no more memory than this, and a missing model is not looked for at every record.
const MAX_KNOWN: usize = 1000;

/// A model as one aggregate is read by it, or why it cannot be.
type Law = Result<Arc<AggregatePlans>, String>;

/// Models by digest, read once.
pub(super) struct Laws<'a> {
    env: &'a Env,
    known: Mutex<HashMap<(Digest, String), Law>>,
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

    async fn plans(&self, actor: &Address, model: Digest) -> Result<Law, Failure> {
        let key = (model, actor.aggregate().to_owned());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(law) = known {
            return Ok(law);
        }
        let blob = self.env.store.blob(&model);
        let law = match self.env.ask("blob", patience(), blob).await? {
            Some(text) => read(actor, model, &text),
            None => Err(format!("it names the model {model}, which the store does not hold")),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_KNOWN {
            known.insert(key, law.clone());
        }
        Ok(law)
    }
}

fn read(actor: &Address, model: Digest, text: &[u8]) -> Law {
    let (read, _) = aether_wit::read(&model.short(), text)
        .map_err(|report| format!("the model that it names: {report}"))?;
    let aggregate = read
        .aggregates
        .get(actor.aggregate())
        .ok_or_else(|| format!("the model {model} that it names has no such aggregate"))?;
    Ok(Arc::new(AggregatePlans::new(&read, aggregate)))
}
