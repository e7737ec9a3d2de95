//! The streams of contexts, made or checked when a context is first needed.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::Mutex, time::timeout_at};

use super::{
    layout::Names,
    read::{Links, Source},
    registry::Registry,
    streams::{IfMissing, StreamError, ensure},
};
use crate::{
    address::{Address, is_name},
    store::StoreError,
};

/// Streams that are made or checked at once: one alone takes a cluster some 100 ms.
const MADE_AT_ONCE: usize = 8;

/// The streams of one context.
#[derive(Debug)]
pub(super) struct Context {
    /// Its log, one per partition.
    pub(super) log: Vec<Source>,
    pub(super) snapshots: Source,
}

impl Context {
    /// The partition that holds the actor's log.
    pub(super) fn partition(&self, actor: &Address) -> Result<&Source, StoreError> {
        let partitions = u32::try_from(self.log.len()).unwrap_or(u32::MAX);
        self.log
            .get(actor.partition(partitions) as usize)
            .ok_or_else(|| StoreError(format!("`{}` has no partitions", actor.context())))
    }
}

/// All contexts that were needed so far.
#[derive(Debug)]
pub(super) struct Contexts {
    names: Names,
    replicas: usize,
    known: RwLock<HashMap<String, Arc<Context>>>,
    /// Held while the streams of a context are made: once is enough.
    making: Mutex<()>,
}

impl Contexts {
    pub(super) fn new(names: Names, replicas: usize) -> Self {
        Self { names, replicas, known: RwLock::default(), making: Mutex::default() }
    }

    /// The streams of a context that was used before must be there; others are made.
    pub(super) async fn get(
        &self,
        links: &Links,
        registry: &Registry,
        context: &str,
        until: Instant,
    ) -> Result<Arc<Context>, StoreError> {
        if let Some(known) = self.known(context) {
            return Ok(known);
        }
        // A name of a model is one token: nothing else may reach a subject.
        if !is_name(context) {
            return Err(StoreError(format!("`{context}` cannot be the name of a context")));
        }
        let late = |_| StoreError(format!("the streams of `{context}` were not ready in time"));
        let _making = timeout_at(until.into(), self.making.lock()).await.map_err(late)?;
        if let Some(known) = self.known(context) {
            return Ok(known);
        }
        let noted = registry.is_noted(links, context, until).await?;
        let if_missing = if noted { IfMissing::Refuse } else { IfMissing::Make };
        let made = Arc::new(self.ensure(links, context, if_missing, until).await?);
        if !noted {
            registry.note_context(links, context, until).await?;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(context.to_owned(), made.clone());
        Ok(made)
    }

    fn known(&self, context: &str) -> Option<Arc<Context>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(context).cloned()
    }

    async fn ensure(
        &self,
        links: &Links,
        context: &str,
        if_missing: IfMissing,
        until: Instant,
    ) -> Result<Context, StreamError> {
        let log = stream::iter(0..self.names.partitions())
            .map(|partition| async move {
                let wanted = self.names.log_config(context, partition, self.replicas);
                let info = ensure(&links.writing, &wanted, if_missing, until).await?;
                let stream = self.names.log_stream(context, partition);
                let fence = self.names.log_fence(context, partition);
                Ok::<_, StreamError>(Source::new(stream, info.replicas(), fence))
            })
            .buffered(MADE_AT_ONCE)
            .try_collect()
            .await?;
        // Snapshots are a cache: a lost stream of them is made anew.
        let wanted = self.names.snapshot_config(context, self.replicas);
        ensure(&links.writing, &wanted, IfMissing::Make, until).await?;
        let snapshots = Source::unfenced(self.names.snapshot_stream(context));
        Ok(Context { log, snapshots })
    }
}
