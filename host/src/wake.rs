//! How a VM comes to be and stays true: snapshot and tail, chain verified, folded by its component.
//!
//! A VM never moves on anything but records of the log. What it reads must continue the chain it
//! stands on; a record that does not, or the absence of the one it stands on, quarantines the
//! actor, unless a repair in its log covers it: then the VM begins anew with the repairs. State,
//! chain and ledger move together, one page of records at a time.

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use aether_wit::{Digest, model::Isolation};
use futures::future::OptionFuture;

use crate::{
    address::Address,
    clock,
    env::Env,
    failure::{Code, Failure},
    json::{Packed, PackedCase},
    ledger::Ledger,
    mailbox::View,
    record::{Chain, Damage, Place, Position, Record, Repairs, Stored, parse},
    served::Realm,
    snapshot,
    step::step,
    store::{self, Freshness, Page},
    upcast::{Undecoded, decode_events},
    vm::{Budget, Fault, FaultKind, Guest},
};

/// Events folded in one call: beyond this, a call only gets longer (`wasm.md` §5 of the measured
/// facts: 256 is within 10 % of 1,024).
const FOLD_BATCH: usize = 256;

/// The first pause before a log is read again that does not show yet what it must hold.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest such pause: elections take seconds.
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// How long reading a log for repairs may take where only they stand against a quarantine, whatever
/// the caller's deadline: the next caller would begin it anew.
const VERDICT: Duration = Duration::from_secs(60);

/// The reason of a failure whose request may be tried again under a newer deployment.
pub const NEWER: &str = "newer-deployment";

/// An actor that is awake in this host.
#[derive(Debug)]
pub struct Vm {
    /// Its address.
    pub actor: Address,
    /// Its aggregate as it is served.
    pub realm: Arc<Realm>,
    /// The end of its log as far as it is folded: version, position, digest.
    pub chain: Chain,
    /// Its state there.
    pub state: Packed,
    /// Its recent commands.
    pub ledger: Ledger,
    /// Its code.
    pub guest: Guest,
    /// The version of its newest snapshot.
    pub snapshot_version: u64,
    /// Whether it may be asked.
    pub standing: Standing,
    /// The deployment of a record in its log that its realm is too old for, if it met one.
    pub met: Option<NonZeroU64>,
    /// Whether its actor must be checked before it is asked anything.
    pub unchecked: bool,
    /// The page of its log that came with its snapshot, to be folded first.
    beginning: Option<Box<Page>>,
    /// When it was made, as [`Env::era`] counts.
    era: u64,
}

/// How far a VM can be trusted to stand at the end of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has read its log to the end, and knows what became of its own appends.
    Settled,
    /// The records after its snapshot are not folded yet. `unsure`: an append of an earlier VM in
    /// this host was not settled either.
    Waking {
        /// Whether only the leader's word will do.
        unsure: bool,
    },
    /// The outcome of its last append is not known.
    Unsettled,
}

/// What an actor is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A command, which its component will decide.
    Command,
    /// Nothing yet: it is to be ready for commands, and known to stand at the end of its log.
    Wake,
    /// Its state.
    Read {
        /// Whether that must be the one at the end of its log.
        fresh: bool,
    },
}

impl Purpose {
    /// Whether it must be confirmed with the store where the log ends. For a command the version
    /// check of its append does that.
    #[must_use]
    pub const fn asks_head(self) -> bool {
        matches!(self, Self::Wake | Self::Read { fresh: true })
    }

    /// Whether calls follow, whatever is stored of the actor.
    const fn needs_instance(self) -> bool {
        matches!(self, Self::Command | Self::Wake)
    }
}

/// Begins to wake `actor`: as its newest snapshot has it, or as it was born. The records after
/// that are folded by [`Vm::settle`], a page at a time, so that what was folded is kept even if a
/// caller's deadline ends before a long log does.
///
/// While the store is asked for that, it is also asked where the log ends, if `purpose` wants to
/// know and others write to it ([`Vm::is_current`] would ask afterwards). And if calls follow, an
/// instance is made and born meanwhile, which takes about as long as the store; where that would
/// take longer, or no instance is free, it is left for when it is needed.
///
/// # Errors
/// `unavailable` if the store cannot answer, `component-fault` if the component cannot begin.
pub async fn restore(
    env: &Env,
    realm: &Arc<Realm>,
    actor: &Address,
    deadline: Instant,
    purpose: Purpose,
) -> Result<(Vm, Option<Position>), Failure> {
    let era = env.era(actor);
    let key = realm.snapshot_key;
    let asks_head = purpose.asks_head() && env.store.is_shared();
    let mut guest = realm.behaviour.guest(actor);
    // One that is not kept would be of no use to the first command.
    let makes_ahead = purpose.needs_instance() && realm.runtime.isolation == Isolation::Actor;
    let beginning = env.ask("snapshot", deadline, env.store.beginning(actor, &key));
    let head =
        OptionFuture::from(asks_head.then(|| env.ask("head", deadline, env.store.head(actor))));
    let ahead = async { if makes_ahead { guest.begin() } else { None } };
    let (beginning, head, born_ahead) =
        step!("wake.snapshot", tokio::join!(beginning, head, ahead));
    let ((stored, page), head) = (beginning?, head.transpose()?);
    let decode = |kept| snapshot::decode(actor, &realm.plans().state, &kept);
    let had_one = stored.is_some();
    let kept = stored.and_then(decode);
    // What follows one that cannot be used is not all there is.
    let beginning = (kept.is_some() || !had_one).then_some(page);
    let (chain, state, ledger) = match kept {
        Some(kept) => (kept.chain, kept.state, kept.ledger),
        None => {
            let state = match born_ahead {
                Some(state) => state,
                None => born(env, realm, actor, &mut guest).await?,
            };
            (Chain::start(actor), state, Ledger::default())
        }
    };
    let snapshot_version = chain.version;
    let vm = Vm {
        actor: actor.clone(),
        realm: realm.clone(),
        chain,
        state,
        ledger,
        guest,
        snapshot_version,
        standing: Standing::Waking { unsure: env.is_unsettled(actor) },
        met: None,
        unchecked: realm.rests.as_ref().is_some_and(|rests| rests.hold(actor)),
        beginning: beginning.map(Box::new),
        era,
    };
    Ok((vm, head))
}

/// An actor folded by code that does not serve yet, up to about the end of its log; none if that
/// did not end before `deadline`, or failed: nothing is believed and nobody marked for it.
pub async fn fold_ahead(
    env: &Env,
    realm: &Arc<Realm>,
    actor: &Address,
    deadline: Instant,
) -> Option<Vm> {
    let (mut vm, _) =
        restore(env, realm, actor, deadline, Purpose::Read { fresh: false }).await.ok()?;
    let mut proven = vm.chain.digest.is_none();
    let mut beginning = vm.beginning.take();
    while clock::now() < deadline {
        let page = match beginning.take() {
            Some(page) => *page,
            None => {
                let read = env.store.read(actor, vm.unread(proven), Freshness::Any);
                step!("wake.read-ahead", env.ask("read", deadline, read).await).ok()?
            }
        };
        let more = page.more;
        match vm.take_in(env, page, proven).await.ok()? {
            Taken::Moved if more => proven = true,
            Taken::Moved => return Some(vm),
            Taken::Damaged(_) => return None,
        }
    }
    None
}

impl Vm {
    /// Reads and folds every record after the one that this VM stands on, at least up to
    /// `at_least`. Gives the number of events folded.
    ///
    /// # Errors
    /// `unavailable` if the store cannot answer in time, `quarantined` if the log is damaged,
    /// `component-fault` if the component cannot fold its own events. The VM then stands where it
    /// stood, or at the end of a page in between.
    pub async fn catch_up(
        &mut self,
        env: &Env,
        freshness: Freshness,
        at_least: Position,
        deadline: Instant,
    ) -> Result<u64, Failure> {
        let before = self.chain.version;
        let mut freshness = freshness;
        // The record that it stands on is read once more, to see that the log still holds it.
        let mut proven = self.chain.digest.is_none();
        let mut pause = FIRST_PAUSE;
        let mut beginning = self.beginning.take().filter(|_| freshness == Freshness::Any);
        loop {
            let page = match beginning.take() {
                Some(page) => *page,
                None => {
                    let read = env.store.read(&self.actor, self.unread(proven), freshness);
                    step!("wake.read", env.ask("read", deadline, read).await)?
                }
            };
            let more = page.more;
            match self.take_in(env, page, proven).await? {
                Taken::Moved if more => proven = true,
                Taken::Moved if self.chain.read >= at_least => break,
                // A replica may lag behind: what is missing there the leader has.
                Taken::Moved if freshness == Freshness::Any => freshness = Freshness::Leader,
                // What a refusal named is not readable yet, as around an election, or never again.
                Taken::Moved => {
                    let lost = env.store.has_lost(&self.actor, at_least);
                    if step!("wake.has-lost", env.ask("has-lost", deadline, lost).await)? {
                        let damage = Damage::Missing { position: at_least };
                        freshness = self.begin_anew(env, &damage, deadline).await?;
                        proven = true;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                Taken::Damaged(_) if freshness == Freshness::Any => freshness = Freshness::Leader,
                // Nothing is believed damaged before the leader itself has shown it.
                Taken::Damaged(_) if freshness == Freshness::Leader => {
                    freshness = Freshness::Proof;
                }
                Taken::Damaged(damage) => {
                    freshness = self.begin_anew(env, &damage, deadline).await?;
                    proven = true;
                }
            }
            if clock::now() >= deadline {
                return Err(self.fail(
                    Code::Unavailable,
                    "its log could not be read to the end before the deadline; this request stored nothing, try again",
                ));
            }
        }
        Ok(self.chain.version.saturating_sub(before))
    }

    /// The record at `position`, which an index or the ledger names; none if a repair says that
    /// it does not count.
    ///
    /// # Errors
    /// As [`Self::catch_up`].
    pub async fn record_at(
        &self,
        env: &Env,
        position: Position,
        deadline: Instant,
    ) -> Result<Option<Record>, Failure> {
        let known = self.chain.repairs();
        for freshness in [Freshness::Leader, Freshness::Proof] {
            let looked = self.look_at(env, position, freshness, known, deadline).await?;
            if let Ok(record) = looked {
                return Ok(Some(record));
            }
        }
        // What is or follows there may be skipped by a repair that this VM has never met.
        let until = deadline.max(clock::now() + VERDICT);
        let repairs = read_repairs(env, &self.actor, Freshness::Proof, until).await?;
        if repairs.pass(position) {
            return Ok(None);
        }
        match self.look_at(env, position, Freshness::Proof, &repairs, deadline).await? {
            Ok(record) => Ok(Some(record)),
            Err(damage) => Err(self.damaged(env, &damage).await),
        }
    }

    /// The record at `position`, if it is the one that the next record of the log or this VM was
    /// built on: one that was altered must not be told as what a command did.
    async fn look_at(
        &self,
        env: &Env,
        position: Position,
        freshness: Freshness,
        repairs: &Repairs,
        deadline: Instant,
    ) -> Result<Result<Record, Damage>, Failure> {
        let mut found: Option<(Record, Chain)> = None;
        let mut from = position;
        loop {
            let read = env.store.read(&self.actor, from, freshness);
            let page = step!("wake.read-one", env.ask("read", deadline, read).await)?;
            for stored in &page.records {
                let Some((record, chain)) = &mut found else {
                    match self.stands_at(position, stored, repairs) {
                        Ok(first) => found = Some(first),
                        Err(damage) => return Ok(Err(damage)),
                    }
                    continue;
                };
                match chain.accept(stored) {
                    Ok(None) => {}
                    // A repair, known or not, says what it follows as every record does.
                    Ok(Some(_)) | Err(Damage::Repaired { .. }) => return Ok(Ok(record.clone())),
                    Err(damage) => return Ok(Err(damage)),
                }
            }
            match page.records.last() {
                Some(last) if page.more => from = Position(last.position.0 + 1),
                _ => break,
            }
        }
        let Some((record, chain)) = found else { return Ok(Err(Damage::Missing { position })) };
        // The last record that counts: what this VM stands on, or one behind it.
        Ok(match self.chain.place() {
            Some(Place { position, digest }) if chain.position <= position => {
                if chain.digest == Some(digest) {
                    Ok(record)
                } else {
                    Err(Damage::LogBehind { position, digest })
                }
            }
            _ => Ok(record),
        })
    }

    /// Reads `stored` as the record at `position`, with the chain that ends there.
    fn stands_at(
        &self,
        position: Position,
        stored: &Stored,
        repairs: &Repairs,
    ) -> Result<(Record, Chain), Damage> {
        if stored.position != position {
            return Err(Damage::Missing { position });
        }
        let record = parse(stored)?;
        if !self.actor.is_written(&record.actor) {
            return Err(Damage::Foreign { position, found: record.actor });
        }
        let digest = Digest::of(&stored.bytes);
        let chain = Chain::at(&self.actor, record.last(), position, digest);
        Ok((record, chain.with_repairs(repairs.clone())))
    }

    /// Whether this VM's version is the log's last. If others have written, it catches up and
    /// says no.
    ///
    /// # Errors
    /// As [`wake`].
    pub async fn is_current(&mut self, env: &Env, deadline: Instant) -> Result<bool, Failure> {
        if !env.store.is_shared() {
            return Ok(true);
        }
        let head = env.store.head(&self.actor);
        let head = step!("wake.head", env.ask("head", deadline, head).await)?;
        if head == self.chain.position {
            return Ok(true);
        }
        self.catch_up(env, Freshness::Leader, head, deadline).await?;
        // It may have begun anew on the way.
        self.standing = Standing::Settled;
        Ok(false)
    }

    /// Reads what it does not know yet: the rest of its log after waking, or what really happened
    /// after an append whose outcome was not known.
    ///
    /// # Errors
    /// As [`Self::catch_up`].
    pub async fn settle(&mut self, env: &Env, deadline: Instant) -> Result<(), Failure> {
        let (freshness, woken) = match self.standing {
            Standing::Settled => return Ok(()),
            Standing::Unsettled => (Freshness::Leader, false),
            Standing::Waking { unsure: true } => (Freshness::Leader, true),
            Standing::Waking { unsure: false } => (Freshness::Any, true),
        };
        let begun = clock::now();
        let folded = self.catch_up(env, freshness, Position(0), deadline).await?;
        self.standing = Standing::Settled;
        env.forget_unsettled(&self.actor);
        if woken {
            let (realm, actor) = (&self.realm, &self.actor);
            let snapshot = self.snapshot_version > 0;
            env.metrics.wake(&realm.context, &realm.aggregate, folded, snapshot, begun.elapsed());
            tracing::debug!(%actor, version = self.chain.version, folded, snapshot, "awake");
        }
        Ok(())
    }

    /// The state as it is in memory.
    #[must_use]
    pub fn view(&self) -> View {
        let realm = self.realm.clone();
        View { realm, version: self.chain.version, state: self.state.clone() }
    }

    /// Whether its actor was marked, released or repaired since it was made, as far as this host
    /// knows: then it may stand on what does not count any more.
    #[must_use]
    pub fn is_outdated(&self, env: &Env) -> bool {
        env.era(&self.actor) != self.era
    }

    /// Makes this VM, which another one of its actor has made way for, ask the leader before it
    /// answers: it was folded while that one still wrote.
    pub fn take_over(&mut self, env: &Env) {
        self.standing = Standing::Waking { unsure: true };
        env.note_unsettled(self.actor.clone());
    }

    /// Lets go of the VM. If an append of it was not settled, the next one will ask the leader.
    pub fn forget(self, env: &Env) {
        if matches!(self.standing, Standing::Unsettled | Standing::Waking { unsure: true }) {
            env.note_unsettled(self.actor);
        }
    }

    /// The state as a snapshot to be kept, now or beside the next turns; none without events.
    pub fn snapshot(&mut self) -> Option<DueSnapshot> {
        let (actor, realm) = (self.actor.clone(), self.realm.clone());
        let (key, plan) = (realm.snapshot_key, &realm.plans().state);
        let kept = snapshot::encode(&actor, key, plan, &self.chain, &self.state, &self.ledger)?;
        self.snapshot_version = self.chain.version;
        Some(DueSnapshot { actor, realm, kept })
    }

    /// A failure that names this actor and its version.
    pub fn fail(&self, code: Code, what: &str) -> Failure {
        let mut failure = Failure::new(code, format!("{}: {what}", self.actor));
        failure.actor = Some(self.actor.clone());
        failure.version = Some(self.chain.version);
        failure
    }

    /// A failure of the component.
    pub fn faulted(&self, env: &Env, fault: &Fault) -> Failure {
        let mut failure = faulted(env, &self.realm, &self.actor, fault);
        failure.version = Some(self.chain.version);
        failure
    }

    /// Where reading goes on: with the record that it stands on, until that was seen.
    const fn unread(&self, proven: bool) -> Position {
        Position(if proven { self.chain.read.0 + 1 } else { self.chain.position.0 })
    }

    /// Folds one page of records.
    async fn take_in(&mut self, env: &Env, page: Page, proven: bool) -> Result<Taken, Failure> {
        let mut records = page.records.iter();
        if !proven {
            match (records.next(), self.chain.digest) {
                (Some(first), _) if self.chain.stands_on(first) => {}
                (_, Some(digest)) => {
                    let position = self.chain.position;
                    return Ok(Taken::Damaged(Damage::LogBehind { position, digest }));
                }
                (_, None) => {}
            }
        }
        let (mut chain, mut ledger) = (self.chain.clone(), self.ledger.clone());
        let mut events = Vec::new();
        for stored in records {
            let record = match chain.accept(stored) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(damage) => return Ok(Taken::Damaged(damage)),
            };
            if let Some(failure) = newer(&self.realm, &self.actor, &record) {
                self.met = NonZeroU64::new(record.deployment);
                return Err(failure);
            }
            let (realm, at) = (&self.realm, stored.position);
            match decode_events(realm, &mut self.guest, at, &record, &mut events).await {
                Ok(()) => {}
                Err(Undecoded::Damage(damage)) => return Ok(Taken::Damaged(damage)),
                Err(Undecoded::Fault(fault)) => return Err(self.faulted(env, &fault)),
            }
            ledger.remember(&record, stored.position, self.realm.runtime.dedupe as usize);
        }
        if !events.is_empty() {
            self.state = self.fold(env, &events).await?;
        }
        (self.chain, self.ledger) = (chain, ledger);
        Ok(Taken::Moved)
    }

    /// The log is not what this VM stands on, and the leader has shown it. If a repair that it
    /// does not know covers that, it begins anew, without its snapshot and with all repairs. Gives
    /// how fresh what showed them must be.
    async fn begin_anew(
        &mut self,
        env: &Env,
        damage: &Damage,
        deadline: Instant,
    ) -> Result<Freshness, Failure> {
        let mut freshness = Freshness::Leader;
        let known = self.chain.repairs().stored().count();
        let mut found = read_repairs(env, &self.actor, freshness, deadline).await?;
        // A repair that is there is one; that none is there only the leader's own word can say.
        if found.stored().count() <= known || !self.covers(&found, damage) {
            let until = deadline.max(clock::now() + VERDICT);
            freshness = Freshness::Proof;
            found = read_repairs(env, &self.actor, freshness, until).await?;
            if !self.covers(&found, damage) {
                return Err(self.damaged(env, damage).await);
            }
        }
        tracing::info!(actor = %self.actor, %damage, "its log was repaired: folding it anew");
        env.note_repaired(self.actor.clone());
        self.state = born(env, &self.realm, &self.actor, &mut self.guest).await?;
        self.chain = Chain::start(&self.actor).with_repairs(found);
        self.ledger = Ledger::default();
        self.snapshot_version = 0;
        // Nobody may be told of the versions on the way, should this end before the log does.
        self.standing = Standing::Waking { unsure: true };
        Ok(freshness)
    }

    /// Whether `repairs` may be why the log is not what this VM stands on.
    fn covers(&self, repairs: &Repairs, damage: &Damage) -> bool {
        match damage {
            Damage::LogBehind { position, digest } => {
                repairs.cover(Place { position: *position, digest: *digest })
            }
            // Whether they cover exactly this shows when they are obeyed.
            _ => repairs != self.chain.repairs(),
        }
    }

    /// The state after `events`, in batches; a batch that is too much for its budget is halved.
    async fn fold(&mut self, env: &Env, events: &[PackedCase]) -> Result<Packed, Failure> {
        let (guest, state) = (&mut self.guest, self.state.clone());
        let folded = fold(guest, state, events, env.limits.replay_budget).await;
        folded.map_err(|fault| match fault.kind {
            FaultKind::Deadline => self.fail(
                Code::Unavailable,
                &format!("replaying one of its events took longer than the replay budget: {fault}"),
            ),
            _ => self.faulted(env, &fault),
        })
    }

    /// Quarantines the actor, unless the damage is only that this build is too old.
    async fn damaged(&self, env: &Env, damage: &Damage) -> Failure {
        match damage {
            Damage::Format { .. } => self.fail(Code::Unavailable, &damage.to_string()),
            _ => env.quarantine(&self.actor, damage).await,
        }
    }
}

/// A snapshot on its way to the store.
#[derive(Debug)]
pub struct DueSnapshot {
    actor: Address,
    realm: Arc<Realm>,
    kept: store::Snapshot,
}

impl DueSnapshot {
    /// Keeps it. Failing costs nothing but time at the next wake, so it is only counted and told.
    pub async fn keep(self, env: &Env) {
        let actor = &self.actor;
        let (bytes, limit) = (self.kept.bytes.len(), env.store.record_limit());
        let result = if bytes > limit {
            tracing::warn!(%actor, bytes, limit, "snapshot skipped: it is over the record limit; waking this actor reads its whole log");
            "skipped"
        } else if let Err(error) =
            step!("wake.save-snapshot", env.store.save_snapshot(actor, self.kept).await)
        {
            tracing::warn!(%actor, %error, "snapshot not written");
            "failed"
        } else {
            "written"
        };
        env.metrics.snapshot(&self.realm.context, &self.realm.aggregate, result);
    }
}

enum Taken {
    /// The page was folded.
    Moved,
    /// The page does not continue the log that the VM stands on; nothing of it was folded.
    Damaged(Damage),
}

/// The state of an actor without events.
async fn born(
    env: &Env,
    realm: &Realm,
    actor: &Address,
    guest: &mut Guest,
) -> Result<Packed, Failure> {
    let state = guest.initial(&mut Budget::new(realm.runtime.deadline)).await;
    state.map_err(|fault| faulted(env, realm, actor, &fault))
}

/// The repairs in the log of `actor`. Cost: its whole log is read.
///
/// # Errors
/// `unavailable` if the store cannot answer in time.
pub async fn repairs(env: &Env, actor: &Address, deadline: Instant) -> Result<Repairs, Failure> {
    read_repairs(env, actor, Freshness::Leader, deadline).await
}

/// The same, as fresh as it is wanted. A replica may have lost one: a verdict needs the proof,
/// which costs a round trip per record.
///
/// # Errors
/// As [`repairs`].
pub async fn read_repairs(
    env: &Env,
    actor: &Address,
    freshness: Freshness,
    deadline: Instant,
) -> Result<Repairs, Failure> {
    let mut repairs = Repairs::default();
    let mut from = Position(1);
    loop {
        let read = env.store.read(actor, from, freshness);
        let page = step!("wake.read-repairs", env.ask("read", deadline, read).await)?;
        page.records.iter().for_each(|stored| repairs.note(actor, stored));
        match page.records.last() {
            Some(last) if page.more => from = Position(last.position.0 + 1),
            _ => return Ok(repairs),
        }
    }
}

/// A record of a newer deployment than the one that is served: it is not to be read with old code.
pub fn newer(realm: &Realm, actor: &Address, record: &Record) -> Option<Failure> {
    (record.deployment > realm.deployment).then(|| {
        let detail = format!(
            "{actor}: deployment {} wrote to it, which this host has not taken over yet: it serves deployment {}; this request stored nothing, try again in a moment",
            record.deployment, realm.deployment
        );
        let mut failure = Failure::new(Code::Unavailable, detail).for_actor(actor);
        failure.reason = Some(NEWER);
        failure
    })
}

/// The state after `events`, in batches; a batch that overruns its budget is halved.
///
/// # Errors
/// What the component failed with; [`FaultKind::Deadline`] if a single event takes too long.
pub async fn fold(
    guest: &mut Guest,
    mut state: Packed,
    events: &[PackedCase],
    budget: Duration,
) -> Result<Packed, Fault> {
    let mut batch = FOLD_BATCH;
    let mut rest = events;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        match guest.evolve(&state, now, &mut Budget::new(budget)).await {
            Ok(next) => {
                state = next;
                rest = later;
            }
            Err(fault) if fault.kind == FaultKind::Deadline && now.len() > 1 => {
                batch = now.len() / 2
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(state)
}

/// A failure of the component of `realm` while it served `actor`.
pub fn faulted(env: &Env, realm: &Realm, actor: &Address, fault: &Fault) -> Failure {
    let (code, reason) = match fault.kind {
        FaultKind::Trap => (Code::ComponentFault, "trap"),
        FaultKind::Deadline => (Code::ComponentFault, "deadline"),
        FaultKind::Memory => (Code::ComponentFault, "memory"),
        FaultKind::Contract => (Code::ComponentFault, "contract"),
        FaultKind::NoInstance => (Code::Overloaded, "no-instance"),
    };
    env.metrics.fault(&realm.context, &realm.aggregate, reason);
    let component = realm.behaviour.component();
    if code == Code::ComponentFault {
        env.faults.note(component, actor, &format!("{actor}: {fault}"));
    }
    let mut failure = Failure::new(code, format!("{actor}: {fault}; nothing was stored"));
    failure.reason = Some(reason);
    failure.actor = Some(actor.clone());
    failure.component = Some(component);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each awake actor has one: `docs/performance.md` says what else it costs. Allocators round up
    /// from here to 256.
    #[test]
    fn an_idle_actor_is_small() {
        assert!(size_of::<Vm>() <= 224, "{}", size_of::<Vm>());
    }
}
