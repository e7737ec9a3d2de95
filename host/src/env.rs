//! What all actors of a host share.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use crate::{
    address::Address,
    clock,
    config::Limits,
    failure::{Code, Failure},
    metrics::Metrics,
    record::Damage,
    step::step,
    store::{EventStore, Quarantine, StoreError},
};

/// What all actors of a host share.
#[derive(Debug)]
pub struct Env {
    /// Where records are kept.
    pub store: Arc<dyn EventStore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The limits of the host.
    pub limits: Limits,
    quarantined: RwLock<HashMap<Address, Quarantine>>,
    /// Actors whose VM was let go of before it knew what became of its last append.
    unsettled: Mutex<HashSet<Address>>,
}

impl Env {
    /// The ground on which actors of one host stand.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, metrics: Arc<Metrics>, limits: Limits) -> Self {
        Self { store, metrics, limits, quarantined: RwLock::default(), unsettled: Mutex::default() }
    }

    /// Why `actor` is quarantined, if it is.
    #[must_use]
    pub fn quarantined(&self, actor: &Address) -> Option<Quarantine> {
        let marks = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        if marks.is_empty() { None } else { marks.get(actor).cloned() }
    }

    /// How many actors this host knows to be quarantined.
    #[must_use]
    pub fn quarantined_count(&self) -> usize {
        self.quarantined.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes note of a mark that the store holds.
    pub fn note_quarantine(&self, actor: Address, mark: Quarantine) {
        let mut marks = self.quarantined.write().unwrap_or_else(PoisonError::into_inner);
        marks.entry(actor).or_insert(mark);
    }

    /// Remembers that an append for `actor` was not settled when its VM went.
    pub fn note_unsettled(&self, actor: Address) {
        self.unsettled().insert(actor);
    }

    /// Forgets it: the leader was asked.
    pub fn forget_unsettled(&self, actor: &Address) {
        let mut unsettled = self.unsettled();
        if !unsettled.is_empty() {
            unsettled.remove(actor);
        }
    }

    /// Whether an append for `actor` was not settled when its last VM went.
    #[must_use]
    pub fn is_unsettled(&self, actor: &Address) -> bool {
        self.unsettled().contains(actor)
    }

    /// Quarantines `actor`: here at once, and in the store so that it outlives this process.
    pub async fn quarantine(&self, actor: &Address, damage: &Damage) -> Failure {
        let mark = Quarantine {
            position: damage.position(),
            kind: damage.kind().to_owned(),
            reason: damage.to_string(),
            at: clock::unix_ms(),
        };
        tracing::error!(%actor, position = %mark.position, reason = %mark.reason, "quarantined");
        self.note_quarantine(actor.clone(), mark.clone());
        if let Err(error) = step!("env.quarantine", self.store.quarantine(actor, &mark).await) {
            tracing::error!(%actor, %error, "the quarantine could not be recorded in the store");
        }
        quarantined(actor, &mark)
    }

    /// Refuses if `actor` is quarantined.
    ///
    /// # Errors
    /// [`Code::Quarantined`] with position and reason.
    pub fn refuse_quarantined(&self, actor: &Address) -> Result<(), Failure> {
        self.quarantined(actor).map_or(Ok(()), |mark| Err(quarantined(actor, &mark)))
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a call to the store that writes no record, and counts it.
    ///
    /// # Errors
    /// [`Code::Unavailable`]: the store failed or did not answer before `deadline`.
    pub async fn ask<T>(
        &self,
        operation: &'static str,
        deadline: Instant,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failure> {
        let begun = clock::now();
        let answer = step!("env.ask", tokio::time::timeout_at(deadline.into(), call).await);
        let ok = matches!(answer, Ok(Ok(_)));
        self.metrics.store(operation, ok, begun.elapsed());
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::new(
                Code::Unavailable,
                format!(
                    "the store cannot answer ({operation}): {error}; this request stored nothing, try again later"
                ),
            )),
            Err(_) => Err(Failure::new(
                Code::Unavailable,
                format!(
                    "the store did not answer ({operation}) before the deadline; this request stored nothing, try again later"
                ),
            )),
        }
    }
}

fn quarantined(actor: &Address, mark: &Quarantine) -> Failure {
    let mut failure = Failure::new(
        Code::Quarantined,
        format!("{actor} is quarantined: {}; an operator must look at its log", mark.reason),
    );
    failure.actor = Some(actor.clone());
    failure
}
