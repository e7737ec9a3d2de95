//! What all workers of one shadow replay share.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    findings::{Findings, Skipped},
    flight::{Codes, Flight, Hurdle, Landing},
};
use crate::{
    address::Address,
    clock,
    env::Env,
    failure::{Code, Failure},
    record::{Repairs, Stored},
    served::{Realm, Served},
    step::step,
    store::{Freshness, Snapshot, StoreError},
    wake::read_repairs,
};

/// Longest wait for one answer of the store.
const PATIENCE: Duration = Duration::from_secs(60);

/// Snapshots of one worker that are written at once: a store writes many as fast as one.
const SAVING: usize = 64;

/// What all workers share.
#[derive(Debug)]
pub struct Ground {
    /// The store and the limits.
    pub env: Arc<Env>,
    /// The context.
    pub context: String,
    /// The aggregates whose code changes.
    pub codes: HashMap<String, Codes>,
    /// Aggregates whose code and model are the same in both.
    pub unchanged: BTreeSet<String>,
    /// The repairs that were there when it began.
    pub repairs: HashMap<Address, Repairs>,
    /// Actors that an operator must look at, and why.
    pub quarantined: BTreeMap<Address, String>,
    /// What is wanted.
    pub options: Options,
    /// When the time is over that may be spent on what need not be covered.
    pub until: Option<Instant>,
    /// Cancelled when nobody wants the result.
    pub cancel: CancellationToken,
    /// Events that were folded.
    pub events: AtomicU64,
    /// Actors that were looked at to their end.
    pub actors: AtomicU64,
}

/// From where an actor's log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The first record.
    First,
    /// Behind its snapshots by both codes, if it has them.
    Snapshots,
}

/// What became of snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// How many were written.
    pub written: u64,
    /// How many could not be written; waking these actors reads more of their logs.
    pub failed: u64,
}

impl Ground {
    /// What is known without asking the store.
    pub fn bare(
        env: &Arc<Env>,
        old: &Served,
        new: &Served,
        options: &Options,
        cancel: CancellationToken,
    ) -> Self {
        let names: BTreeSet<&String> = old.realms.keys().chain(new.realms.keys()).collect();
        let pairs = names.into_iter().map(|name| {
            let (old, new) = (old.realms.get(name).cloned(), new.realms.get(name).cloned());
            (name.clone(), Codes { old, new })
        });
        Self::of(env, &new.model.context, pairs, options, cancel)
    }

    /// The same of these aggregates.
    pub fn of(
        env: &Arc<Env>,
        context: &str,
        pairs: impl IntoIterator<Item = (String, Codes)>,
        options: &Options,
        cancel: CancellationToken,
    ) -> Self {
        let begun = clock::now();
        let (mut codes, mut unchanged) = (HashMap::new(), BTreeSet::new());
        for (name, pair) in pairs {
            let key = |realm: &Option<Arc<Realm>>| realm.as_ref().map(|realm| realm.snapshot_key);
            if key(&pair.old) == key(&pair.new) {
                unchanged.insert(name);
            } else {
                codes.insert(name, pair);
            }
        }
        Self {
            env: env.clone(),
            context: context.to_owned(),
            codes,
            unchanged,
            repairs: HashMap::new(),
            quarantined: BTreeMap::new(),
            until: options.budget.map(|budget| begun + budget),
            options: options.clone(),
            cancel,
            events: AtomicU64::new(0),
            actors: AtomicU64::new(0),
        }
    }

    /// The same, with what must be asked of the store before a log is read.
    pub async fn prepare(
        env: &Arc<Env>,
        old: &Served,
        new: &Served,
        options: &Options,
        cancel: CancellationToken,
    ) -> Result<Self, Failure> {
        let mut ground = Self::bare(env, old, new, options, cancel);
        let context = ground.context.clone();
        let marks = env.store.quarantines(&context);
        let marks = step!("replay.quarantines", env.ask("quarantines", patience(), marks).await)?;
        let known = env.quarantines().into_iter().filter(|(actor, _)| actor.context() == context);
        let all = known.chain(marks).map(|(actor, mark)| (actor, mark.reason));
        ground.quarantined =
            all.filter(|(actor, _)| ground.codes.contains_key(actor.aggregate())).collect();
        let repaired = env.store.repaired(&context);
        let repaired = step!("replay.repaired", env.ask("repaired", patience(), repaired).await)?;
        for actor in repaired {
            let found = read_repairs(env, &actor, Freshness::Leader, patience()).await?;
            ground.repairs.insert(actor, found);
        }
        Ok(ground)
    }

    /// Whether the time is over that may be spent on what need not be covered.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| clock::now() >= until)
    }

    /// Refuses if nobody wants the result any more.
    pub fn go_on(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() {
            return Err(Failure::new(Code::Unavailable, "shadow replay was cancelled"));
        }
        Ok(())
    }

    /// The actors that are left out because an operator must look at them.
    pub fn quarantines(&self) -> impl Iterator<Item = Skipped> {
        self.quarantined.iter().map(|(actor, reason)| Skipped {
            actor: actor.to_string(),
            kind: "quarantined".to_owned(),
            reason: reason.clone(),
        })
    }

    /// The actor at its beginning.
    pub fn flight(&self, actor: &Address) -> Flight {
        Flight::new(actor, self.repairs.get(actor).cloned().unwrap_or_default())
    }

    /// Reads and folds the log of `actor` by itself, up to its end: behind its snapshots by both
    /// codes, or from the first record on.
    pub async fn alone(
        &self,
        actor: &Address,
        from: From,
    ) -> Result<Result<Landing, Hurdle>, Failure> {
        let Some(codes) = self.codes.get(actor.aggregate()) else {
            let detail = format!("{actor}: the code of its aggregate does not change");
            return Err(Failure::new(Code::Unknown, detail).for_actor(actor));
        };
        if from == From::Snapshots
            && let Some(flight) = self.resumed(codes, actor).await?
        {
            match self.fly(codes, flight, actor, Freshness::Leader).await? {
                Err(Hurdle::Damage(_) | Hurdle::Snapshot) => {}
                landed => return Ok(landed),
            }
        }
        let mut hurdle = None;
        // Nothing is believed damaged before the leader itself has shown it.
        for freshness in [Freshness::Leader, Freshness::Proof] {
            let known = self.repairs.contains_key(actor) || self.env.is_repaired(actor);
            let repairs = if known || freshness == Freshness::Proof {
                read_repairs(&self.env, actor, freshness, patience()).await?
            } else {
                Repairs::default()
            };
            let flight = Flight::new(actor, repairs);
            match self.fly(codes, flight, actor, freshness).await? {
                Err(Hurdle::Damage(damage)) => hurdle = Some(Hurdle::Damage(damage)),
                landed => return Ok(landed),
            }
        }
        hurdle.map(Err).ok_or_else(|| Failure::new(Code::Unavailable, "nothing was read"))
    }

    /// The actor as its snapshots by both codes have it, where it has both.
    async fn resumed(&self, codes: &Codes, actor: &Address) -> Result<Option<Flight>, Failure> {
        let (Some(old), Some(new)) = (&codes.old, &codes.new) else { return Ok(None) };
        if self.repairs.contains_key(actor) || self.env.is_repaired(actor) {
            return Ok(None);
        }
        let mut kept = Vec::new();
        for realm in [old, new] {
            let asked = self.env.store.snapshot(actor, &realm.snapshot_key);
            let asked = self.env.ask("snapshot", patience(), asked);
            match step!("replay.snapshot", asked.await)? {
                Some(snapshot) => kept.push(snapshot),
                None => return Ok(None),
            }
        }
        let [old, new] = kept.as_slice() else { return Ok(None) };
        Ok(Flight::resume(actor, codes, old, new))
    }

    async fn fly(
        &self,
        codes: &Codes,
        mut flight: Flight,
        actor: &Address,
        freshness: Freshness,
    ) -> Result<Result<Landing, Hurdle>, Failure> {
        loop {
            self.go_on()?;
            let read = self.env.store.read(actor, flight.next(), freshness);
            let page = step!("replay.read", self.env.ask("read", patience(), read).await)?;
            for stored in &page.records {
                if let Err(hurdle) = self.take(codes, &mut flight, stored).await {
                    return Ok(Err(hurdle));
                }
                if flight.is_decided() {
                    return Ok(self.land(codes, flight).await);
                }
            }
            if !page.more {
                return Ok(self.land(codes, flight).await);
            }
        }
    }

    /// Has `flight` take a record, and folds what waits if that is enough for a call.
    async fn take(
        &self,
        codes: &Codes,
        flight: &mut Flight,
        stored: &Stored,
    ) -> Result<(), Hurdle> {
        flight.take(codes, stored).await?;
        if flight.is_due() {
            flight.fold(codes, self.env.limits.replay_budget).await?;
        }
        Ok(())
    }

    /// What became of an actor.
    pub async fn land(&self, codes: &Codes, flight: Flight) -> Result<Landing, Hurdle> {
        let limits = &self.env.limits;
        let landed = flight.land(codes, limits.replay_budget, self.env.store.record_limit()).await;
        if let Ok(landing) = &landed {
            self.events.fetch_add(landing.events, Relaxed);
        }
        self.actors.fetch_add(1, Relaxed);
        landed
    }
}

/// What one worker has found, and the snapshots that it is writing.
pub struct Harvest {
    ground: Arc<Ground>,
    findings: Findings,
    kept: Kept,
    saving: FuturesUnordered<futures::future::BoxFuture<'static, Result<(), StoreError>>>,
}

impl Harvest {
    /// Nothing yet.
    pub fn new(ground: &Arc<Ground>) -> Self {
        Self {
            ground: ground.clone(),
            findings: Findings::default(),
            kept: Kept::default(),
            saving: FuturesUnordered::new(),
        }
    }

    /// Takes note of what became of `actor`.
    pub async fn add(&mut self, actor: &Address, landed: Result<Landing, Hurdle>) {
        match landed {
            Err(hurdle) => self.findings.skip(hurdle.skipped(actor)),
            Ok(Landing { verdict, events, snapshot }) => {
                self.findings.add(actor.aggregate(), &actor.to_string(), events, verdict);
                if let Some(snapshot) = snapshot.filter(|_| self.ground.options.snapshots) {
                    self.save(actor.clone(), snapshot).await;
                }
            }
        }
    }

    async fn save(&mut self, actor: Address, snapshot: Snapshot) {
        if self.saving.len() >= SAVING {
            self.saved().await;
        }
        let env = self.ground.env.clone();
        self.saving.push(Box::pin(async move {
            step!("replay.save-snapshot", env.store.save_snapshot(&actor, snapshot).await)
        }));
    }

    async fn saved(&mut self) {
        match step!("replay.await-snapshot", self.saving.next().await) {
            Some(Ok(())) => self.kept.written += 1,
            Some(Err(error)) => {
                self.kept.failed += 1;
                tracing::warn!(%error, "a snapshot of the new code was not written");
            }
            None => {}
        }
    }

    /// What was found, once all snapshots are written.
    pub async fn finish(mut self) -> (Findings, Kept) {
        while !self.saving.is_empty() {
            self.saved().await;
        }
        (self.findings, self.kept)
    }
}

impl Kept {
    /// Adds what became of others.
    pub fn merge(&mut self, other: Self) {
        self.written += other.written;
        self.failed += other.failed;
    }
}

/// Addresses that must not be counted twice.
pub type Covered = HashSet<Address>;

/// When a question to the store that is asked now is given up.
pub fn patience() -> Instant {
    clock::now() + PATIENCE
}
