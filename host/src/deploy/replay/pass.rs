//! One reading of the whole log, folding those actors that lie in the window.
//!
//! Pages go from the store to one worker per core, each actor always to the same one. First every
//! worker takes in what it is given; only when all have seen the end of the log is anything
//! counted, for until then the window may still get smaller.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;

use super::{
    Progress,
    findings::Findings,
    flight::{Flight, Hurdle, Landing},
    ground::{Covered, Ground, Harvest, Kept, patience},
    sample::{Window, place},
    survey::Survey,
};
use crate::{
    address::Address,
    aside::Worker,
    clock,
    failure::{Code, Failure},
    step::step,
    store::{FeedError, Reach, Scanned, StoreError},
};

/// Pages that wait for a worker.
const QUEUE: usize = 2;

/// Time between two looks at how fast it goes.
const LOOK: Duration = Duration::from_millis(250);

/// Per cent of the time that may be spent on reading; the rest is for folding what waits then.
const READING: u32 = 60;

/// What one reading needs to know.
#[derive(Debug)]
pub struct Pass {
    /// What all readings share.
    pub ground: Arc<Ground>,
    /// Which actors are folded.
    pub window: Window,
    /// Whether every record is noted; the first reading does.
    pub notes: bool,
    /// Actors that were covered by themselves.
    pub covered: Arc<Covered>,
}

/// What one worker holds.
#[derive(Debug, Default)]
pub struct Shard {
    entries: HashMap<Address, (u64, Entry)>,
    bytes: usize,
    survey: Survey,
    /// Actors whose logs must be read by themselves.
    aside: Vec<Address>,
    /// The window's bound when it was last looked at.
    below: u64,
}

#[derive(Debug)]
enum Entry {
    Flying(Box<Flight>),
    Landed(Box<Result<Landing, Hurdle>>),
    Aside,
}

/// What a reading gave.
pub struct Read {
    /// Up to where it went.
    pub end: Reach,
    /// What the workers hold.
    pub shards: Vec<Shard>,
    /// What was noted.
    pub survey: Survey,
    /// Actors whose logs must be read by themselves.
    pub aside: Vec<Address>,
}

impl Pass {
    /// Reads everything once.
    pub async fn read(
        self: &Arc<Self>,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<Read, Failure> {
        let (mut givers, mut workers) = (Vec::new(), Vec::new());
        for _ in 0..self.ground.options.workers.max(1) {
            let (giver, given) = mpsc::channel(QUEUE);
            workers.push(Worker::start("aether-replay", gather(self.clone(), given))?);
            givers.push(giver);
        }
        let end = self.give(givers, progress).await;
        let mut shards = Vec::new();
        for worker in workers {
            shards.push(step!("replay.await-worker", worker.result().await)?);
        }
        let (mut survey, mut aside) = (Survey::default(), Vec::new());
        for shard in &mut shards {
            survey.merge(std::mem::take(&mut shard.survey));
            aside.append(&mut shard.aside);
        }
        aside.retain(|actor| self.window.holds(place(actor)));
        Ok(Read { end: end?, shards, survey, aside })
    }

    /// Gives every record to its worker.
    async fn give(
        &self,
        givers: Vec<mpsc::Sender<Vec<(u64, Scanned)>>>,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<Reach, Failure> {
        let ground = &self.ground;
        let mut scan = open(ground, &Reach::default()).await?;
        let mut pace = Pace::new(ground.until, scan.about);
        if ground.is_over() {
            self.window.cut(0);
        }
        while let Some(page) = step!("replay.page", scan.pages.next().await) {
            ground.go_on()?;
            let page = page.map_err(|error| broken(&error))?;
            pace.done += page.len() as u64;
            let mut parts: Vec<Vec<(u64, Scanned)>> = givers.iter().map(|_| Vec::new()).collect();
            for scanned in page {
                let place = place(&scanned.actor);
                let worker = usize::try_from(place).unwrap_or(0) % parts.len().max(1);
                if let Some(part) = parts.get_mut(worker) {
                    part.push((place, scanned));
                }
            }
            for (giver, part) in givers.iter().zip(parts) {
                // A worker that broke off is told of when its result is asked for.
                let _ = step!("replay.give", giver.send(part).await);
            }
            if pace.is_due() {
                pace.look(&self.window);
                progress(pace.progress(ground, "reading"));
            }
            if !self.notes && ground.is_over() {
                self.window.cut(0);
                break;
            }
        }
        Ok(scan.end)
    }

    /// Says of each actor in the window what became of it, as long as there is time.
    pub async fn settle(self: Arc<Self>, shard: Shard) -> (Findings, Kept) {
        let mut harvest = Harvest::new(&self.ground);
        let entries = shard.entries.into_iter();
        let mut entries: Vec<_> = entries.map(|(actor, (at, entry))| (at, actor, entry)).collect();
        entries.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (place, actor, entry) in entries {
            if self.ground.is_over() || self.ground.cancel.is_cancelled() {
                self.window.cut(place);
            }
            if !self.window.holds(place) {
                break;
            }
            let landed = match entry {
                Entry::Aside => continue,
                Entry::Landed(landed) => *landed,
                Entry::Flying(flight) => match self.ground.codes.get(actor.aggregate()) {
                    Some(codes) => self.ground.land(codes, *flight).await,
                    None => continue,
                },
            };
            harvest.add(&actor, landed).await;
        }
        harvest.finish().await
    }
}

/// Opens a scan of the context.
pub async fn open(ground: &Ground, from: &Reach) -> Result<crate::store::Scan, Failure> {
    let env = &ground.env;
    let open = env.store.scan(&ground.context, from).map(|opened| match opened {
        Ok(scan) => Ok(Ok(scan)),
        Err(FeedError::Cursor(why)) => Ok(Err(Failure::new(Code::Invalid, why))),
        Err(FeedError::Store(error)) => Err(error),
    });
    step!("replay.scan", env.ask("scan", patience(), open).await)?
}

/// The log could not be read to its end.
pub fn broken(error: &StoreError) -> Failure {
    let detail = format!("the store broke off while all of its records were read: {error}");
    Failure::new(Code::Unavailable, detail)
}

async fn gather(pass: Arc<Pass>, mut given: mpsc::Receiver<Vec<(u64, Scanned)>>) -> Shard {
    let mut shard = Shard { below: pass.window.below(), ..Shard::default() };
    while let Some(part) = step!("replay.take", given.recv().await) {
        for (place, scanned) in part {
            shard.take(&pass, place, scanned).await;
        }
        shard.shed(&pass).await;
    }
    shard
}

impl Shard {
    /// How many actors it holds.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    async fn take(&mut self, pass: &Pass, place: u64, scanned: Scanned) {
        let ground = &pass.ground;
        let Scanned { actor, stored, .. } = scanned;
        let Some(codes) = ground.codes.get(actor.aggregate()) else { return };
        if ground.quarantined.contains_key(&actor) {
            return;
        }
        if !pass.window.holds(place) || pass.covered.contains(&actor) {
            if pass.notes {
                self.survey.note_head(&actor, place, &stored);
            }
            return;
        }
        let Self { entries, bytes, survey, aside, .. } = self;
        let entry = entries.entry(actor.clone()).or_insert_with(|| {
            let flight = Box::new(ground.flight(&actor));
            *bytes += flight.bytes();
            (place, Entry::Flying(flight))
        });
        let Entry::Flying(flight) = &mut entry.1 else {
            if pass.notes {
                survey.note_head(&actor, place, &stored);
            }
            return;
        };
        let before = flight.bytes();
        let taken = flight.take(codes, &stored).await;
        match (&taken, pass.notes) {
            (Ok(Some(record)), true) => survey.note(&actor, place, record),
            (Err(_), true) => survey.note_head(&actor, place, &stored),
            _ => {}
        }
        if taken.is_err() {
            // Damage is believed only when the log was read by itself.
            aside.push(actor);
            *bytes -= before.min(*bytes);
            entry.1 = Entry::Aside;
            return;
        }
        if flight.is_due()
            && let Err(hurdle) = flight.fold(codes, ground.env.limits.replay_budget).await
        {
            entry.1 = Entry::Landed(Box::new(Err(hurdle)));
            *bytes -= before.min(*bytes);
            return;
        }
        *bytes = (*bytes + flight.bytes()).saturating_sub(before);
        if flight.is_decided() {
            *bytes -= flight.bytes().min(*bytes);
            let flight = std::mem::replace(&mut entry.1, Entry::Aside);
            if let Entry::Flying(flight) = flight {
                let landed = ground.land(codes, *flight).await;
                entry.1 = Entry::Landed(Box::new(landed));
            }
        }
    }

    /// Gives memory back if there is too much in use: first what waits is folded, then the window
    /// gets smaller. One actor always stays.
    async fn shed(&mut self, pass: &Pass) {
        let most = pass.ground.options.memory / pass.ground.options.workers.max(1);
        if self.bytes > most {
            self.fold(pass).await;
            if self.bytes > most / 4 * 3 {
                let mut places: Vec<_> =
                    self.entries.values().map(|(place, entry)| (*place, entry.bytes())).collect();
                places.sort_unstable();
                let mut sum = 0;
                let first_out = places.iter().skip(1).find(|(_, bytes)| {
                    sum += bytes;
                    sum > most / 2
                });
                if let Some((place, _)) = first_out {
                    pass.window.cut(*place);
                }
            }
        }
        let below = pass.window.below();
        if below < self.below {
            self.below = below;
            self.entries.retain(|_, (place, _)| *place < below);
            self.bytes = self.entries.values().map(|(_, entry)| entry.bytes()).sum();
        }
    }

    /// Folds everything that waits.
    async fn fold(&mut self, pass: &Pass) {
        let ground = &pass.ground;
        for (actor, (_, entry)) in &mut self.entries {
            let Some(codes) = ground.codes.get(actor.aggregate()) else { continue };
            if let Entry::Flying(flight) = entry
                && let Err(hurdle) = flight.fold(codes, ground.env.limits.replay_budget).await
            {
                *entry = Entry::Landed(Box::new(Err(hurdle)));
            }
        }
        self.bytes = self.entries.values().map(|(_, entry)| entry.bytes()).sum();
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Flying(flight) => flight.bytes(),
            Self::Landed(_) | Self::Aside => 0,
        }
    }
}

/// How fast it goes, and whether that is fast enough.
pub struct Pace {
    begun: Instant,
    /// When reading should be done.
    until: Option<Instant>,
    looked: (Instant, u64),
    total: u64,
    /// What is done.
    pub done: u64,
}

impl Pace {
    /// Begins to measure.
    pub fn new(until: Option<Instant>, total: u64) -> Self {
        let begun = clock::now();
        let reading =
            |until: Instant| begun + until.saturating_duration_since(begun) * READING / 100;
        Self { begun, until: until.map(reading), looked: (begun, 0), total, done: 0 }
    }

    /// How much there is to do.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether it is time to look.
    pub fn is_due(&self) -> bool {
        self.looked.0.elapsed() >= LOOK
    }

    /// Makes the window smaller if reading would take too long as it goes now.
    pub fn look(&mut self, window: &Window) {
        let now = clock::now();
        let (took, done) = (now - self.looked.0, self.done - self.looked.1);
        self.looked = (now, self.done);
        let (Some(until), Some(total)) = (self.until, self.total.checked_sub(self.done)) else {
            return;
        };
        let left = until.saturating_duration_since(now);
        let needed = took.as_micros() * u128::from(total) / u128::from(done.max(1));
        if needed > left.as_micros() {
            let share = left.as_micros() * 1000 / needed.max(1);
            window.shrink(u64::try_from(share).unwrap_or(1000).max(MIN_SHARE));
        }
    }

    /// What is told of it.
    pub fn progress(&mut self, ground: &Ground, phase: &'static str) -> Progress {
        self.looked.0 = clock::now();
        let took = self.begun.elapsed();
        let left = self.total.saturating_sub(self.done);
        let needed = took.as_micros() * u128::from(left) / u128::from(self.done.max(1));
        let per_second = u128::from(self.done) * 1_000_000 / took.as_micros().max(1);
        Progress {
            phase,
            done: self.done,
            total: self.total.max(self.done),
            events: ground.events.load(Relaxed),
            actors: ground.actors.load(Relaxed),
            per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
            left: Duration::from_micros(u64::try_from(needed).unwrap_or(u64::MAX)),
        }
    }
}

/// Thousandths of the window that one look leaves at least: a moment's hold-up must not cost all.
const MIN_SHARE: u64 = 250;
