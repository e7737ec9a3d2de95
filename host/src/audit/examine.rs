//! One actor's log, read from the first record to the last.

use std::sync::Arc;

use aether_wit::Digest;

use super::{
    Finding,
    laws::Laws,
    patience,
    plan::{Cut, Refused, least},
    release::quoted,
};
use crate::{
    address::Address,
    env::Env,
    failure::{Code, Failure},
    json::{Packed, PackedCase},
    record::{
        Chain, Damage, FORMAT, Kind, Place, Position, Record, Repair, Repairs, Skip, Skipped,
        Stored, parse,
    },
    served::Realm,
    snapshot,
    store::{Freshness, Quarantine, Snapshot},
    upcast::{Undecoded, decode_events},
    vm::{Budget, Fault, FaultKind, Guest},
    wake::{fold, read_repairs},
};

/// Most damages of one actor that are told.
const MAX_DAMAGES: usize = 100;

/// Most other findings of one actor that are told: a model that is not held hurts every record.
const MAX_FINDINGS: usize = 100;

/// How far ahead of what counts the version of a skipped record can be, so that what a stranger
/// forged does not use up the versions.
const MAX_AHEAD: u64 = 1 << 20;

/// Reads logs.
pub struct Examiner<'a> {
    /// The store.
    pub(super) env: &'a Env,
    /// The models that records name.
    pub(super) laws: &'a Laws<'a>,
    /// What folds the actor; none if it cannot be run.
    pub(super) realm: Option<&'a Arc<Realm>>,
    /// The newest deployment that this host knows: a record of a newer one is not to be judged.
    pub(super) newest: u64,
    /// Whom the records are asked of.
    pub(super) freshness: Freshness,
}

/// What is known of an actor's log.
#[derive(Debug)]
pub struct Examination {
    /// Records that lie there, whether they count or not.
    pub records: u64,
    /// Events that count.
    pub events: u64,
    /// What is wrong; damage first.
    pub findings: Vec<Finding>,
    /// What is worth knowing.
    pub notes: Vec<Finding>,
    /// The damage that stands in the way of the actor, in the order of the log.
    pub damages: Vec<Damage>,
    /// Through where must be skipped for each damage. Fewer than `damages` if that would not do.
    pub least: Vec<Position>,
    /// The end of the log, as if that were skipped.
    pub chain: Chain,
    /// The newest version that was told as far as is known: of what counts, of what is skipped and
    /// can be read, or of the snapshot.
    pub told: u64,
    /// Position of the last record that lies there.
    pub last: Position,
    /// Why this host must not judge the log: a newer one wrote to it.
    pub newer: Option<String>,
}

/// Damage, and what lies around it.
#[derive(Debug)]
pub struct Hit {
    /// What was found.
    pub damage: Damage,
    /// The log before it.
    pub chain: Chain,
    /// The record, if there is one.
    pub found: Option<Stored>,
    /// The record after it.
    pub next: Option<Stored>,
    /// What the newest snapshot stands on.
    pub snapshot: Option<Place>,
    /// The record that is lost, if that is the damage.
    pub lost: Option<Skipped>,
}

/// What a snapshot and a mark say that the log holds.
struct Claims<'a> {
    snapshot: Option<(&'a Snapshot, Chain)>,
    mark: Option<Place>,
}

/// One reading of a log, up to the first damage.
struct Walk {
    records: u64,
    events: u64,
    chain: Chain,
    last: Position,
    findings: Vec<Finding>,
    newer: Option<String>,
    /// The newest versions of records that are skipped.
    skipped: Vec<u64>,
    hit: Option<Hit>,
    /// The snapshot's and the mark's record were met.
    met: [bool; 2],
}

impl Walk {
    fn begin(actor: &Address, obeyed: &Repairs) -> Self {
        Self {
            records: 0,
            events: 0,
            chain: Chain::start(actor).with_repairs(obeyed.clone()),
            last: Position(0),
            findings: Vec::new(),
            newer: None,
            skipped: Vec::new(),
            hit: None,
            met: [false; 2],
        }
    }

    /// Takes note of the versions that a skipped record has told.
    fn note_skipped(&mut self, actor: &Address, stored: &Stored) {
        let read = parse(stored).ok().filter(|record| actor.is_written(&record.actor));
        self.skipped.extend(read.map(|record| record.last()));
    }

    /// Takes note if a newer aether wrote the record. Where the next one does not follow it, only
    /// its number was altered.
    fn note_format(&mut self, damage: &Damage, found: &Stored, next: Option<&Stored>) {
        let Damage::Format { found: format, .. } = damage else { return };
        let digest = Some(Digest::of(&found.bytes));
        let next = next.and_then(|next| parse(next).ok());
        if *format > FORMAT && next.is_none_or(|next| next.prev == digest) {
            self.newer = Some(damage.to_string());
        }
    }

    /// The newest version that anybody was told.
    fn told(&self, claims: &Claims<'_>) -> u64 {
        let counted = self.chain.version;
        let snapshot = claims.snapshot.as_ref().map(|(_, end)| end.version);
        let versions = self.skipped.iter().copied().chain(snapshot);
        let near = versions.filter(|version| *version <= counted.saturating_add(MAX_AHEAD));
        near.fold(counted, u64::max)
    }

    /// Looks whether the log ends before a record that somebody knows of, or before `head`, where
    /// the store said that it ends.
    fn look_behind(&mut self, obeyed: &Repairs, claims: &Claims<'_>, head: Position) {
        let snapshot = claims.snapshot.as_ref().and_then(|(_, end)| end.place());
        let claimed = [(snapshot, self.met[0]), (claims.mark, self.met[1])];
        let unmet = claimed.into_iter().filter(|(_, met)| !met).filter_map(|(place, _)| place);
        if let Some(place) = unmet.into_iter().find(|place| !obeyed.skip(*place)) {
            let damage = Damage::LogBehind { position: place.position, digest: place.digest };
            self.lose(damage, snapshot);
            return;
        }
        // The store may know of a record that it cannot give.
        let missing = head > self.last;
        self.last = self.last.max(head);
        if missing && !obeyed.pass(head) {
            self.lose(Damage::Missing { position: head }, snapshot);
        }
    }

    /// The log ends without a record that it must hold.
    fn lose(&mut self, damage: Damage, snapshot: Option<Place>) {
        let lost = Some(Skipped { position: Some(damage.position()), digest: damage.lost() });
        let chain = self.chain.clone();
        self.hit = Some(Hit { damage, chain, found: None, next: None, snapshot, lost });
    }
}

impl Examiner<'_> {
    /// Reads the log of `actor`, which bears `mark`, as if `skips` were skipped.
    ///
    /// # Errors
    /// `unavailable` if the store does not answer, `overloaded` if no instance is free.
    pub async fn examine(
        &self,
        actor: &Address,
        mark: Option<&Quarantine>,
        skips: Vec<Skip>,
    ) -> Result<Examination, Failure> {
        let env = self.env;
        let kept = env.store.newest_snapshot(actor);
        let kept = env.ask("snapshot", patience(), kept).await?;
        let end = kept.as_ref().and_then(|kept| Some((kept, snapshot::end(actor, kept)?)));
        let lost = mark.and_then(|mark| Some((mark.position, mark.digest?)));
        let lost = lost.map(|(position, digest)| Place { position, digest });
        let claims = Claims { snapshot: end, mark: lost };
        let mut stored = read_repairs(env, actor, self.freshness, patience()).await?;
        let given = skips.clone();
        let (mut damages, mut cuts, mut skips) = (Vec::new(), Vec::new(), skips);
        let walk = loop {
            let obeyed = obeying(&stored, &skips);
            let walk = self.walk(actor, &obeyed, &claims, skips.is_empty()).await?;
            let Some(hit) = &walk.hit else { break walk };
            if matches!(hit.damage, Damage::Repaired { .. }) {
                let now = read_repairs(env, actor, self.freshness, patience()).await?;
                if now != stored {
                    // Somebody repaired it since this began.
                    (stored, skips) = (now, given.clone());
                    (damages, cuts) = (Vec::new(), Vec::new());
                    continue;
                }
            }
            damages.push(hit.damage.clone());
            if walk.newer.is_some() {
                break walk;
            }
            let cut = self.cut_least(actor, &obeyed, hit).await?;
            match cut.filter(|_| damages.len() < MAX_DAMAGES) {
                Some((through, skip)) => {
                    cuts.push(through);
                    skips.push(skip);
                }
                None => break walk,
            }
        };
        let mut findings: Vec<_> = damages.iter().map(|d| Finding::damage(actor, d)).collect();
        if let Some(kept) = kept.as_ref().filter(|_| claims.snapshot.is_none()) {
            let reason = "the snapshot cannot be read: it is ignored until the actor is used and a new one is written, or `aether release` removes it".to_owned();
            findings.push(Finding::new(actor, Some(kept.position), "snapshot", reason));
        }
        if let Some(mark) = mark.filter(|_| damages.is_empty()) {
            let reason = format!(
                "it is quarantined ({}), and its log can be read: `aether release {}`",
                mark.reason,
                quoted(actor)
            );
            findings.push(Finding::new(actor, Some(mark.position), "quarantine", reason));
        }
        let notes = notes(actor, &stored, &claims, &walk);
        let told = walk.told(&claims);
        findings.extend(few(actor, walk.findings));
        Ok(Examination {
            records: walk.records,
            events: walk.events,
            findings,
            notes,
            damages,
            least: cuts,
            chain: walk.chain,
            told,
            last: walk.last,
            newer: walk.newer,
        })
    }

    /// What is skipped in the log of `actor` if everything is up to `through`.
    ///
    /// # Errors
    /// If the store does not answer; inside, if the log cannot be cut so.
    pub async fn cut(
        &self,
        actor: &Address,
        obeyed: &Repairs,
        through: Position,
        lost: Vec<Skipped>,
    ) -> Result<Result<Skip, Refused>, Failure> {
        // A server hashes what it keeps, and leaves out what it cannot give to the letter.
        let is_exact = self.env.store.is_shared();
        let mut cut = Cut::new(actor, obeyed.clone(), through, lost, is_exact);
        let mut log = Log::new(self, actor);
        while let Some(stored) = log.next().await? {
            if !cut.take(&stored) {
                break;
            }
        }
        Ok(cut.skip())
    }

    async fn cut_least(
        &self,
        actor: &Address,
        obeyed: &Repairs,
        hit: &Hit,
    ) -> Result<Option<(Position, Skip)>, Failure> {
        let mut through = least(hit);
        loop {
            match self.cut(actor, obeyed, through, hit.lost.into_iter().collect()).await? {
                Ok(skip) => return Ok(Some((through, skip))),
                Err(Refused { further: Some(further), .. }) if further > through => {
                    through = further;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads the log up to the first damage; folds it if `folds` and it can be.
    async fn walk(
        &self,
        actor: &Address,
        obeyed: &Repairs,
        claims: &Claims<'_>,
        folds: bool,
    ) -> Result<Walk, Failure> {
        let mut walk = Walk::begin(actor, obeyed);
        // Asked for first: others may write while the log is read.
        let head = self.env.store.head(actor);
        let head = self.env.ask("head", patience(), head).await?;
        let snapshot = claims.snapshot.as_ref().and_then(|(_, end)| end.place());
        let mut folding = match self.realm.filter(|_| folds) {
            Some(realm) => Folding::begin(self.env, realm, actor, &mut walk.findings).await?,
            None => None,
        };
        let mut log = Log::new(self, actor);
        while let Some(stored) = log.next().await? {
            walk.records += 1;
            walk.last = stored.position;
            let before = walk.chain.clone();
            let damage = match walk.chain.accept(&stored) {
                Ok(None) => {
                    walk.note_skipped(actor, &stored);
                    continue;
                }
                Ok(Some(record)) => {
                    let taken = self.take(actor, &stored, &record, &mut walk, &mut folding).await?;
                    taken.err()
                }
                Err(damage) => Some(damage),
            };
            if let Some(damage) = damage {
                walk.chain = before.clone();
                let next = log.next().await?;
                // All that lies there is counted, wherever the damage is.
                walk.records += u64::from(next.is_some());
                while log.next().await?.is_some() {
                    walk.records += 1;
                }
                walk.last = log.last;
                walk.note_format(&damage, &stored, next.as_ref());
                let found = Some(stored);
                walk.hit = Some(Hit { damage, chain: before, found, next, snapshot, lost: None });
                return Ok(walk);
            }
            let place = walk.chain.place();
            walk.met[1] |= place.is_some() && place == claims.mark;
            if place.is_some() && place == snapshot {
                walk.met[0] = true;
                if let Some(folding) = &mut folding {
                    folding.flush(&mut walk.findings).await?;
                    folding.compare(claims, &mut walk.findings);
                }
            }
        }
        if let Some(folding) = &mut folding {
            folding.flush(&mut walk.findings).await?;
        }
        walk.look_behind(obeyed, claims, head);
        Ok(walk)
    }

    /// Checks what a record says; its events wait to be folded.
    async fn take(
        &self,
        actor: &Address,
        stored: &Stored,
        record: &Record,
        walk: &mut Walk,
        folding: &mut Option<Folding<'_>>,
    ) -> Result<Result<(), Damage>, Failure> {
        walk.events += record.event_count();
        let position = Some(stored.position);
        if record.deployment > self.newest {
            let (wrote, newest) = (record.deployment, self.newest);
            let reason =
                format!("deployment {wrote} wrote it, and the newest is deployment {newest}");
            walk.newer.get_or_insert_with(|| format!("at position {}, {reason}", stored.position));
            walk.findings.push(Finding::new(actor, position, "deployment", reason));
        }
        // What newer code wrote is not to be read with older one; a repair holds no events.
        let decided = record.kind == Kind::Turns;
        if decided && self.realm.is_some_and(|realm| record.deployment > realm.deployment) {
            *folding = None;
        }
        if let Some(realm) = self.realm.filter(|realm| record.deployment <= realm.deployment) {
            let (mut events, at) = (Vec::new(), stored.position);
            let mut own = realm.behaviour.guest(actor);
            let guest = folding.as_mut().map_or(&mut own, |folding| &mut folding.guest);
            match decode_events(realm, guest, at, record, &mut events).await {
                Ok(()) => {}
                Err(Undecoded::Damage(damage)) => {
                    walk.events -= record.event_count();
                    return Ok(Err(damage));
                }
                Err(Undecoded::Fault(fault)) => {
                    walk.findings.push(told(actor, &fault)?);
                    *folding = None;
                }
            }
            if let Some(folding) = folding {
                folding.add(events, &mut walk.findings).await?;
            }
        }
        if let Some(misfit) = self.laws.misfit(actor, record).await? {
            walk.findings.push(Finding::new(actor, position, "model", misfit));
        }
        Ok(Ok(()))
    }
}

/// The repairs that are stored, and one more that skips `skips`.
#[must_use]
pub(super) fn obeying(stored: &Repairs, skips: &[Skip]) -> Repairs {
    if skips.is_empty() {
        return stored.clone();
    }
    stored.with(Repair { skips: skips.to_vec(), reason: String::new(), by: None, at: 0 })
}

/// The first findings of many, and how many more there are.
fn few(actor: &Address, mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        findings.truncate(MAX_FINDINGS);
        let reason = format!("{more} more findings of this actor are not told");
        findings.push(Finding::new(actor, None, "more", reason));
    }
    findings
}

fn notes(actor: &Address, stored: &Repairs, claims: &Claims<'_>, walk: &Walk) -> Vec<Finding> {
    let mut notes = Vec::new();
    for (position, repair) in stored.stored() {
        let skipped = repair.skips.iter().flat_map(|skip| &skip.skipped);
        let places: Vec<_> = skipped
            .map(|lost| match (lost.position, lost.digest) {
                (Some(position), _) => format!("position {position}"),
                (None, digest) => {
                    format!("the lost record {}", digest.map_or(String::new(), |d| d.short()))
                }
            })
            .collect();
        let reason = format!(
            "repaired by {}: {}; skipped: {}",
            repair.by.as_deref().unwrap_or("somebody"),
            repair.reason,
            places.join(", ")
        );
        notes.push(Finding::new(actor, Some(position), "repair", reason));
    }
    if let Some((_, end)) = claims.snapshot.as_ref().filter(|_| !walk.met[0])
        && end.place().is_some_and(|place| stored.skip(place))
    {
        let reason =
            "the snapshot stands on a record that a repair skips: it is ignored".to_owned();
        notes.push(Finding::new(actor, Some(end.position), "snapshot", reason));
    }
    notes
}

/// A log, record by record.
struct Log<'a> {
    examiner: &'a Examiner<'a>,
    actor: &'a Address,
    page: std::vec::IntoIter<Stored>,
    last: Position,
    more: bool,
}

impl<'a> Log<'a> {
    fn new(examiner: &'a Examiner<'_>, actor: &'a Address) -> Self {
        Self { examiner, actor, page: Vec::new().into_iter(), last: Position(0), more: true }
    }

    async fn next(&mut self) -> Result<Option<Stored>, Failure> {
        loop {
            if let Some(stored) = self.page.next() {
                self.last = stored.position;
                return Ok(Some(stored));
            }
            if !self.more {
                return Ok(None);
            }
            let env = self.examiner.env;
            let from = Position(self.last.0 + 1);
            let read = env.store.read(self.actor, from, self.examiner.freshness);
            let page = env.ask("read", patience(), read).await?;
            self.more = page.more;
            self.page = page.records.into_iter();
        }
    }
}

/// The same events folded twice.
struct Folding<'a> {
    env: &'a Env,
    realm: &'a Arc<Realm>,
    actor: &'a Address,
    guest: Guest,
    /// One by one.
    single: Packed,
    /// In batches.
    batch: Packed,
    waiting: Vec<PackedCase>,
    /// Whether there is any use in going on.
    sound: bool,
}

/// Events that wait to be folded at the most.
const MAX_WAITING: usize = 1024;

impl<'a> Folding<'a> {
    async fn begin(
        env: &'a Env,
        realm: &'a Arc<Realm>,
        actor: &'a Address,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Folding<'a>>, Failure> {
        let mut guest = realm.behaviour.guest(actor);
        match guest.initial(&mut Budget::new(realm.runtime.deadline)).await {
            Ok(state) => Ok(Some(Self {
                env,
                realm,
                actor,
                guest,
                single: state.clone(),
                batch: state,
                waiting: Vec::new(),
                sound: true,
            })),
            Err(fault) => {
                findings.push(told(actor, &fault)?);
                Ok(None)
            }
        }
    }

    async fn add(
        &mut self,
        events: Vec<PackedCase>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Failure> {
        self.waiting.extend(events);
        if self.waiting.len() >= MAX_WAITING { self.flush(findings).await } else { Ok(()) }
    }

    async fn flush(&mut self, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let events = std::mem::take(&mut self.waiting);
        if !self.sound || events.is_empty() {
            return Ok(());
        }
        match self.fold(&events).await {
            Ok(()) if self.single == self.batch => {}
            Ok(()) => {
                self.sound = false;
                let reason =
                    "the component gives another state for the same events one by one than at once: it is not pure, `aether test` shows where".to_owned();
                findings.push(Finding::new(self.actor, None, "fold", reason));
            }
            Err(fault) => {
                self.sound = false;
                findings.push(told(self.actor, &fault)?);
            }
        }
        Ok(())
    }

    async fn fold(&mut self, events: &[PackedCase]) -> Result<(), Fault> {
        let budget = self.env.limits.replay_budget;
        self.batch = fold(&mut self.guest, self.batch.clone(), events, budget).await?;
        for event in events {
            let one = std::slice::from_ref(event);
            self.single = self.guest.evolve(&self.single, one, &mut Budget::new(budget)).await?;
        }
        Ok(())
    }

    /// Compares with the snapshot that stands here, if the same code made it.
    fn compare(&self, claims: &Claims<'_>, findings: &mut Vec<Finding>) {
        let kept = claims.snapshot.as_ref().map(|(kept, _)| *kept);
        let Some(kept) = kept.filter(|kept| self.sound && kept.key == self.realm.snapshot_key)
        else {
            return;
        };
        let state = snapshot::decode(self.actor, &self.realm.plans().state, kept);
        if state.is_none_or(|kept| kept.chain.version == 0 || kept.state != self.batch) {
            let reason =
                "the snapshot has another state than the log gives: `aether release` removes it"
                    .to_owned();
            findings.push(Finding::new(self.actor, Some(kept.position), "snapshot", reason));
        }
    }
}

/// What the component failed with.
fn told(actor: &Address, fault: &Fault) -> Result<Finding, Failure> {
    if fault.kind == FaultKind::NoInstance {
        return Err(Failure::new(Code::Overloaded, format!("{actor}: {fault}")));
    }
    Ok(Finding::new(actor, None, "component", fault.to_string()))
}
