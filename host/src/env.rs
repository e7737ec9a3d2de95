//! What all actors of a host share.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard},
    time::Instant,
};

use crate::{
    address::Address,
    clock,
    config::Limits,
    deploy::{faults::Faults, news::News},
    failure::{Code, Failure},
    history::bookmark::Bookmarks,
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
    /// What is heard and said of deployments.
    pub news: News,
    /// What components have failed.
    pub faults: Faults,
    /// Where readers of long pasts go on.
    pub bookmarks: Bookmarks,
    quarantined: RwLock<Marks>,
    /// Held while the marks of the store are asked for.
    learning: tokio::sync::Mutex<()>,
    /// Actors with a repair in their logs, as far as this host knows.
    repaired: RwLock<HashSet<Address>>,
    /// Actors whose VM was let go of before it knew what became of its last append.
    unsettled: Mutex<HashSet<Address>>,
}

/// The quarantines that this host knows.
#[derive(Debug, Default)]
struct Marks {
    known: HashMap<Address, Mark>,
    /// Counts what is learnt here: marks made, found and taken back.
    round: u64,
    /// In which round the past of an actor was last called into question.
    doubted: HashMap<Address, u64>,
}

impl Marks {
    fn next_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// What is in memory of `actor` may be of a past that does not count any more.
    fn doubt(&mut self, actor: &Address) {
        let round = self.next_round();
        self.doubted.insert(actor.clone(), round);
    }
}

/// A quarantine, and whether it outlives this process.
#[derive(Debug)]
struct Mark {
    quarantine: Quarantine,
    /// The round in which the store was known to hold it; none if it could not be recorded yet.
    recorded: Option<u64>,
}

impl Env {
    /// The ground on which actors of one host stand.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, metrics: Arc<Metrics>, limits: Limits) -> Self {
        Self {
            store,
            metrics,
            limits,
            news: News::default(),
            faults: Faults::default(),
            bookmarks: Bookmarks::default(),
            quarantined: RwLock::default(),
            learning: tokio::sync::Mutex::default(),
            repaired: RwLock::default(),
            unsettled: Mutex::default(),
        }
    }

    /// Why `actor` is quarantined, if it is.
    #[must_use]
    pub fn quarantined(&self, actor: &Address) -> Option<Quarantine> {
        let marks = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        if marks.known.is_empty() {
            return None;
        }
        marks.known.get(actor).map(|mark| mark.quarantine.clone())
    }

    /// A number that changes whenever `actor` is marked, released or repaired: a VM from before
    /// must neither answer nor be kept as a snapshot.
    #[must_use]
    pub fn era(&self, actor: &Address) -> u64 {
        let marks = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        if marks.doubted.is_empty() {
            return 0;
        }
        marks.doubted.get(actor).copied().unwrap_or(0)
    }

    /// All quarantines that this host knows, ordered by address.
    #[must_use]
    pub fn quarantines(&self) -> Vec<(Address, Quarantine)> {
        let marks = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = marks
            .known
            .iter()
            .map(|(actor, mark)| (actor.clone(), mark.quarantine.clone()))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// How many actors this host knows to be quarantined.
    #[must_use]
    pub fn quarantined_count(&self) -> usize {
        self.quarantined.read().unwrap_or_else(PoisonError::into_inner).known.len()
    }

    /// Learns which actors of `contexts` are quarantined and which were released or repaired by
    /// others, and records the marks that the store could not take before.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn learn_marks(&self, contexts: &[String]) -> Result<(), StoreError> {
        let one_at_a_time = step!("env.learn", self.learning.lock().await);
        let round = self.marks().next_round();
        let mut found = HashMap::new();
        for context in contexts {
            found.extend(step!("env.quarantines", self.store.quarantines(context).await)?);
            let repaired = step!("env.repaired", self.store.repaired(context).await)?;
            let mut known = self.repaired.write().unwrap_or_else(PoisonError::into_inner);
            for actor in repaired {
                if known.insert(actor.clone()) {
                    self.marks().doubt(&actor);
                }
            }
        }
        {
            let mut marks = self.marks();
            // One that was recorded while the store was asked may be missing in the answer.
            marks.known.retain(|actor, mark| {
                found.contains_key(actor) || mark.recorded.is_none_or(|since| since >= round)
            });
            for (actor, quarantine) in found {
                match marks.known.get(&actor) {
                    // One that tells more is still to be recorded.
                    Some(mark)
                        if mark.recorded.is_none() && mark.quarantine.adds_to(&quarantine) =>
                    {
                        continue;
                    }
                    Some(mark) if mark.quarantine == quarantine => {}
                    Some(_) => marks.doubt(&actor),
                    // One that was released meanwhile may still be there: the next round will tell.
                    None if marks.doubted.get(&actor).is_some_and(|at| *at > round) => continue,
                    None => marks.doubt(&actor),
                }
                marks.known.insert(actor, Mark { quarantine, recorded: Some(round) });
            }
        }
        drop(one_at_a_time);
        self.record_marks().await;
        Ok(())
    }

    /// Records the marks that the store could not take when they were made.
    pub async fn record_marks(&self) {
        let waiting: Vec<_> = {
            let marks = self.marks();
            let waiting = marks.known.iter().filter(|(_, mark)| mark.recorded.is_none());
            waiting.map(|(actor, mark)| (actor.clone(), mark.quarantine.clone())).collect()
        };
        for (actor, quarantine) in waiting {
            self.record(&actor, &quarantine).await;
        }
    }

    /// Forgets the mark of an actor that was released.
    pub fn forget_quarantine(&self, actor: &Address) {
        let mut marks = self.marks();
        marks.known.remove(actor);
        marks.doubt(actor);
    }

    /// Takes note that the log of `actor` holds a repair.
    pub fn note_repaired(&self, actor: Address) {
        self.repaired.write().unwrap_or_else(PoisonError::into_inner).insert(actor);
    }

    /// Whether the log of `actor` is known to hold a repair. Another host's is known within the
    /// time in which hosts hear of each other.
    #[must_use]
    pub fn is_repaired(&self, actor: &Address) -> bool {
        let repaired = self.repaired.read().unwrap_or_else(PoisonError::into_inner);
        !repaired.is_empty() && repaired.contains(actor)
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
        let quarantine = Quarantine {
            position: damage.position(),
            kind: damage.kind().to_owned(),
            reason: damage.to_string(),
            digest: damage.lost(),
            at: clock::unix_ms(),
        };
        tracing::error!(%actor, position = %quarantine.position, reason = %quarantine.reason, "quarantined");
        {
            let mut marks = self.marks();
            let known = marks.known.get(actor).map(|mark| &mark.quarantine);
            if known.is_none_or(|known| quarantine.adds_to(known)) {
                let mark = Mark { quarantine: quarantine.clone(), recorded: None };
                marks.known.insert(actor.clone(), mark);
            }
            marks.doubt(actor);
        }
        self.record(actor, &quarantine).await;
        quarantined(actor, &quarantine)
    }

    /// Records a mark in the store; what fails is tried again by [`Self::record_marks`].
    async fn record(&self, actor: &Address, quarantine: &Quarantine) {
        match step!("env.quarantine", self.store.quarantine(actor, quarantine).await) {
            Ok(()) => {
                let mut marks = self.marks();
                let round = marks.round;
                let known = marks.known.get_mut(actor);
                if let Some(mark) = known.filter(|mark| mark.quarantine == *quarantine) {
                    mark.recorded = Some(round);
                }
            }
            Err(error) => {
                tracing::error!(%actor, %error, "the quarantine could not be recorded in the store; it is tried again");
            }
        }
    }

    /// Refuses if `actor` is quarantined.
    ///
    /// # Errors
    /// [`Code::Quarantined`] with position and reason.
    pub fn refuse_quarantined(&self, actor: &Address) -> Result<(), Failure> {
        self.quarantined(actor).map_or(Ok(()), |mark| Err(quarantined(actor, &mark)))
    }

    fn marks(&self) -> RwLockWriteGuard<'_, Marks> {
        self.quarantined.write().unwrap_or_else(PoisonError::into_inner)
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
        format!(
            "{actor} is quarantined: {}; an operator must look at its log (`aether release`)",
            mark.reason
        ),
    );
    failure.actor = Some(actor.clone());
    failure
}
