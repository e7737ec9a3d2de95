//! One actor on its way through two codes.
//!
//! Records are verified as everywhere; their events wait as compact bytes until there are enough
//! for a call. An instance serves one actor: it is made for a batch and dropped behind it, which
//! costs tens of microseconds for hundreds of events.

use std::{sync::Arc, time::Duration};

use crate::{
    address::Address,
    json::{Packed, PackedCase, write},
    ledger::Ledger,
    record::{Chain, Damage, Kind, Position, Record, Repairs, Stored},
    served::Realm,
    snapshot,
    store::Snapshot,
    upcast::{Undecoded, decode_events},
    vm::{Budget, Fault, FaultKind, Guest},
};

use super::{
    difference::differences,
    findings::{Failed, Skipped, Verdict},
};

/// Events that wait before they are folded: a larger batch is no faster.
const BATCH: usize = 256;

/// Least time that a batch may take, on a processor: as long as a command of the slowest sort. A
/// single event that takes longer could not have been decided either.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// How often a call is tried for which the host had no instance.
const TRIES: usize = 5;

/// Bytes of a state, packed, from which on it may not fit a record as JSON.
const LARGE_STATE: usize = 16 << 10;

/// What an entry costs in memory beside its bytes.
const ENTRY: usize = 600;

/// What an event that waits costs beside its bytes: the allocation, its length and its version.
const EVENT: usize = 64;

/// An aggregate under both codes; none where a model does not have it.
#[derive(Debug)]
pub struct Codes {
    /// As it is served.
    pub old: Option<Arc<Realm>>,
    /// As it would be.
    pub new: Option<Arc<Realm>>,
}

/// Why a record was not taken.
#[derive(Debug, Clone)]
pub enum Hurdle {
    /// The log is damaged, or was repaired meanwhile.
    Damage(Damage),
    /// A deployment wrote it that is newer than the served one.
    Newer(u64),
    /// The host had no instance to give.
    Busy(String),
    /// The log does not hold what its snapshots stand on: it must be read from the first record.
    Snapshot,
}

/// What became of an actor, and its snapshot by the new code where one is due.
#[derive(Debug)]
pub struct Landing {
    /// What became of it.
    pub verdict: Verdict,
    /// Its events.
    pub events: u64,
    /// To be kept.
    pub snapshot: Option<Snapshot>,
}

/// One actor under two codes, as far as its log was read.
#[derive(Debug)]
pub struct Flight {
    actor: Address,
    chain: Chain,
    ledger: Ledger,
    /// Whether the record that the chain stands on must still be seen in the log.
    unproven: bool,
    /// Versions of the events that wait.
    versions: Vec<u64>,
    old: Half,
    new: Half,
}

/// One actor under one code.
#[derive(Debug, Default)]
struct Half {
    /// None before the first call.
    state: Option<Packed>,
    /// Where its snapshot stands, if the other half's stands lower: what lies before is in it.
    begins: Option<Chain>,
    /// How many of the events that wait lie before its own.
    base: usize,
    /// What waits to be folded.
    events: Vec<PackedCase>,
    /// Its memory in bytes, about.
    waiting: usize,
    /// An event that cannot be read, behind those that wait.
    ahead: Option<Failed>,
    failed: Option<Failed>,
}

impl Hurdle {
    /// What is told of an actor that was left out for it.
    pub fn skipped(&self, actor: &Address) -> Skipped {
        let (kind, reason) = match self {
            Self::Damage(damage) => (damage.kind(), damage.to_string()),
            Self::Newer(number) => {
                ("newer", format!("deployment {number} wrote to it while this was checked"))
            }
            Self::Busy(reason) => ("busy", reason.clone()),
            Self::Snapshot => {
                ("snapshot", "the log does not hold its snapshots' records".to_owned())
            }
        };
        Skipped { actor: actor.to_string(), kind: kind.to_owned(), reason }
    }
}

impl Flight {
    /// An actor without events, whose log holds `repairs`.
    pub fn new(actor: &Address, repairs: Repairs) -> Self {
        Self {
            actor: actor.clone(),
            chain: Chain::start(actor).with_repairs(repairs),
            ledger: Ledger::default(),
            unproven: false,
            versions: Vec::new(),
            old: Half::default(),
            new: Half::default(),
        }
    }

    /// An actor whose snapshots by both codes are `old` and `new`; none if one cannot be read.
    pub fn resume(actor: &Address, codes: &Codes, old: &Snapshot, new: &Snapshot) -> Option<Self> {
        let read = |realm: &Option<Arc<Realm>>, kept: &Snapshot| {
            snapshot::decode(actor, &realm.as_ref()?.plans().state, kept)
        };
        let (old, new) = (read(&codes.old, old)?, read(&codes.new, new)?);
        let begins =
            |own: &Chain, other: &Chain| (own.position > other.position).then(|| own.clone());
        let (behind_old, behind_new) =
            (begins(&old.chain, &new.chain), begins(&new.chain, &old.chain));
        let half = |state, begins| Half { state: Some(state), begins, ..Half::default() };
        let (chain, ledger) =
            if behind_old.is_some() { (new.chain, new.ledger) } else { (old.chain, old.ledger) };
        Some(Self {
            actor: actor.clone(),
            chain,
            ledger,
            unproven: true,
            versions: Vec::new(),
            old: half(old.state, behind_old),
            new: half(new.state, behind_new),
        })
    }

    /// From where on its log must be read.
    pub const fn next(&self) -> Position {
        if self.unproven { self.chain.position } else { Position(self.chain.read.0 + 1) }
    }

    /// Its memory in bytes, about.
    pub fn bytes(&self) -> usize {
        ENTRY + self.ledger.bytes() + self.old.bytes() + self.new.bytes()
    }

    /// Takes its next record; none if a repair says that it does not count.
    pub async fn take(&mut self, codes: &Codes, stored: &Stored) -> Result<Option<Record>, Hurdle> {
        if std::mem::take(&mut self.unproven) {
            return if self.chain.stands_on(stored) { Ok(None) } else { Err(Hurdle::Snapshot) };
        }
        let accepted = self.chain.accept(stored).map_err(Hurdle::Damage)?;
        let Some(record) = accepted else { return Ok(None) };
        let served = codes.old.as_ref().or(codes.new.as_ref());
        // A repair holds no events: whatever was deployed when it was written, it is to be obeyed.
        let decided = record.kind == Kind::Turns;
        if decided && served.is_some_and(|realm| record.deployment > realm.deployment) {
            return Err(Hurdle::Newer(record.deployment));
        }
        let window = codes.new.as_ref().map_or(0, |realm| realm.runtime.dedupe as usize);
        self.ledger.remember(&record, stored.position, window);
        let before = self.versions.len();
        self.versions.extend(record.events().map(|(version, _, _)| version));
        let actor = &self.actor;
        for (half, realm) in [(&mut self.old, &codes.old), (&mut self.new, &codes.new)] {
            if let Some(begins) = &half.begins {
                if self.chain.position < begins.position {
                    continue;
                }
                if self.chain.place() != begins.place() {
                    return Err(Hurdle::Snapshot);
                }
                half.begins = None;
                half.base = before + record.events().count();
                continue;
            }
            half.decode(realm.as_ref(), actor, stored.position, &record).await?;
        }
        Ok(Some(record))
    }

    /// Whether enough events wait for a call.
    pub fn is_due(&self) -> bool {
        self.versions.len() >= BATCH
    }

    /// Whether what follows in its log cannot change what is said of it.
    pub const fn is_decided(&self) -> bool {
        self.new.failed.is_some()
    }

    /// Folds what waits.
    pub async fn fold(&mut self, codes: &Codes, most: Duration) -> Result<(), Hurdle> {
        let versions = std::mem::take(&mut self.versions);
        for (half, realm) in [(&mut self.old, &codes.old), (&mut self.new, &codes.new)] {
            let Some(realm) = realm else {
                half.failed = half.failed.take().or_else(|| half.ahead.take());
                continue;
            };
            half.advance(realm, &self.actor, &versions, most).await?;
        }
        Ok(())
    }

    /// Folds what waits and says what became of the actor. `limit` is the largest record's.
    pub async fn land(
        mut self,
        codes: &Codes,
        most: Duration,
        limit: usize,
    ) -> Result<Landing, Hurdle> {
        if self.unproven || self.old.begins.is_some() || self.new.begins.is_some() {
            return Err(Hurdle::Snapshot);
        }
        self.fold(codes, most).await?;
        let events = self.chain.version;
        let landing = |verdict| Landing { verdict, events, snapshot: None };
        if let Some(failed) = self.new.failed.take() {
            return Ok(landing(match &self.old.failed {
                Some(old) if old.version <= failed.version => Verdict::BothFail(failed),
                _ => Verdict::Fails(failed),
            }));
        }
        let kept = codes.new.as_ref().and_then(|realm| self.snapshot(realm, &self.new));
        let too_large = kept.as_ref().is_some_and(|kept| kept.bytes.len() > limit);
        let old_fails = self.old.failed.is_some() && codes.old.is_some();
        if too_large {
            let was = codes.old.as_ref().and_then(|realm| self.snapshot(realm, &self.old));
            let was_too = old_fails || was.is_some_and(|was| was.bytes.len() > limit);
            let failed = self.too_large(kept.map_or(0, |kept| kept.bytes.len()), limit);
            let verdict = if was_too { Verdict::BothFail(failed) } else { Verdict::Fails(failed) };
            return Ok(landing(verdict));
        }
        let due = |realm: &Arc<Realm>| events >= realm.runtime.snapshot_every;
        let snapshot = kept.filter(|_| codes.new.as_ref().is_some_and(due));
        let verdict = if old_fails { Verdict::Healed } else { self.compare(codes) };
        Ok(Landing { verdict, events, snapshot })
    }

    fn compare(&self, codes: &Codes) -> Verdict {
        let written = |realm: &Option<Arc<Realm>>, half: &Half| {
            let (realm, state) = (realm.as_ref()?, half.state.as_ref()?);
            Some(write(&realm.plans().state, state))
        };
        let (Some(old), Some(new)) =
            (written(&codes.old, &self.old), written(&codes.new, &self.new))
        else {
            return Verdict::Same;
        };
        if old.get() == new.get() {
            return Verdict::Same;
        }
        let value = |json: &str| serde_json::from_str(json).unwrap_or_default();
        let found = differences(&value(old.get()), &value(new.get()));
        // Only the order of the fields may be another.
        if found.is_empty() { Verdict::Same } else { Verdict::Differs(self.chain.version, found) }
    }

    /// The state of one half as a snapshot, where one is due or may be too large.
    fn snapshot(&self, realm: &Realm, half: &Half) -> Option<Snapshot> {
        let state = half.state.as_ref()?;
        if self.chain.version < realm.runtime.snapshot_every && state.0.len() < LARGE_STATE {
            return None;
        }
        let (key, plan) = (realm.snapshot_key, &realm.plans().state);
        snapshot::encode(&self.actor, key, plan, &self.chain, state, &self.ledger)
    }

    fn too_large(&self, bytes: usize, limit: usize) -> Failed {
        Failed {
            actor: self.actor.to_string(),
            version: self.chain.version,
            kind: "state-too-large",
            event: None,
            detail: format!(
                "its state, written down, has {bytes} bytes; a record has at most {limit}"
            ),
        }
    }
}

impl Half {
    fn bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.0.len()) + self.waiting
    }

    async fn decode(
        &mut self,
        realm: Option<&Arc<Realm>>,
        actor: &Address,
        position: Position,
        record: &Record,
    ) -> Result<(), Hurdle> {
        if self.failed.is_some() || self.ahead.is_some() {
            return Ok(());
        }
        let before = self.events.len();
        let (kind, detail) = match realm {
            None => {
                let name = actor.aggregate();
                ("no-aggregate", format!("the model has no aggregate `{name}`"))
            }
            Some(realm) => {
                let guest = &mut realm.behaviour.guest(actor);
                match decode_events(realm, guest, position, record, &mut self.events).await {
                    Ok(()) => {
                        self.weigh(before);
                        return Ok(());
                    }
                    Err(Undecoded::Damage(damage)) => ("undecodable", damage.to_string()),
                    Err(Undecoded::Fault(fault)) if fault.kind == FaultKind::NoInstance => {
                        return Err(Hurdle::Busy(fault.to_string()));
                    }
                    Err(Undecoded::Fault(fault)) => (kind_of(fault.kind), fault.to_string()),
                }
            }
        };
        // What was read of the record stands before the event that cannot be read.
        self.weigh(before);
        let Some((version, _, event)) = record.events().nth(self.events.len() - before) else {
            return Ok(());
        };
        let (actor, event) = (actor.to_string(), Some(event.name.clone()));
        self.ahead = Some(Failed { actor, version, kind, event, detail });
        Ok(())
    }

    /// Adds what the events from `from` on take.
    fn weigh(&mut self, from: usize) {
        let added = self.events.iter().skip(from);
        self.waiting += added.map(|event| EVENT + event.fields.0.len()).sum::<usize>();
    }

    /// Folds what waits; `versions` are those of the events.
    async fn advance(
        &mut self,
        realm: &Arc<Realm>,
        actor: &Address,
        versions: &[u64],
        most: Duration,
    ) -> Result<(), Hurdle> {
        let (events, base) = (std::mem::take(&mut self.events), std::mem::take(&mut self.base));
        self.waiting = 0;
        if self.failed.is_some() || (events.is_empty() && self.state.is_some()) {
            self.failed = self.failed.take().or_else(|| self.ahead.take());
            return Ok(());
        }
        let time = realm.runtime.deadline.max(LEAST_TIME).min(most);
        let mut guest = realm.behaviour.guest(actor);
        let failed = |version, event, fault: Fault| Failed {
            actor: actor.to_string(),
            version,
            kind: kind_of(fault.kind),
            event,
            detail: fault.detail,
        };
        let mut state = match self.state.take() {
            Some(state) => state,
            None => match born(&mut guest, time).await? {
                Ok(state) => state,
                Err(fault) => {
                    self.failed = Some(failed(0, None, fault));
                    return Ok(());
                }
            },
        };
        if let Err((index, fault)) = fold(&mut guest, &mut state, &events, time).await? {
            let name = |event: &PackedCase| {
                realm.plans().events.get(event.case).map(|(name, _)| name.to_string())
            };
            let event = events.get(index).and_then(name);
            let version = versions.get(base + index).copied().unwrap_or_default();
            self.failed = Some(failed(version, event, fault));
        }
        self.state = Some(state);
        self.failed = self.failed.take().or_else(|| self.ahead.take());
        Ok(())
    }
}

fn kind_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Trap => "trap",
        FaultKind::Deadline => "deadline",
        FaultKind::Memory => "memory",
        FaultKind::Contract => "contract",
        FaultKind::NoInstance => "no-instance",
    }
}

async fn born(guest: &mut Guest, time: Duration) -> Result<Result<Packed, Fault>, Hurdle> {
    let mut tries = 0;
    loop {
        tries += 1;
        match guest.initial(&mut Budget::new(time)).await {
            Err(fault) if fault.kind == FaultKind::NoInstance => {
                if tries >= TRIES {
                    return Err(Hurdle::Busy(fault.detail));
                }
            }
            answer => return Ok(answer),
        }
    }
}

/// Moves `state` behind `events`, in batches; one that fails is halved, down to the event at which
/// the code fails: then its index and the fault, and the state before it.
async fn fold(
    guest: &mut Guest,
    state: &mut Packed,
    events: &[PackedCase],
    time: Duration,
) -> Result<Result<(), (usize, Fault)>, Hurdle> {
    let (mut batch, mut done, mut tries) = (BATCH, 0, 0);
    while let Some(rest) = events.get(done..).filter(|rest| !rest.is_empty()) {
        let now = rest.get(..batch).unwrap_or(rest);
        match guest.evolve(state, now, &mut Budget::new(time)).await {
            Ok(next) => {
                *state = next;
                done += now.len();
            }
            Err(fault) if fault.kind == FaultKind::NoInstance => {
                tries += 1;
                if tries >= TRIES {
                    return Err(Hurdle::Busy(fault.detail));
                }
            }
            Err(_) if now.len() > 1 => batch = now.len() / 2,
            Err(fault) => return Ok(Err((done, fault))),
        }
    }
    Ok(Ok(()))
}
