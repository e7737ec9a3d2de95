//! Shadow replay: the real past of a context, folded through the code that is served and through
//! the code that would be, before anybody is served by it.
//!
//! *Problem.* A new component may trap on an event of five years ago, or give another state for
//! the same past, and neither shows in its scenarios. The store may hold more than memory and time
//! allow to check, and commands must go on meanwhile.
//!
//! *Mechanism.* One ordered reading of the log ([`pass`]), each actor's records through both codes
//! ([`flight`]) on threads of lower priority ([`crate::aside`]). Where memory or time runs short, only the
//! actors below a bound are folded ([`sample`]); what is above it is read again if there is time,
//! and is otherwise told as not covered. What must be covered is noted of every record as it
//! passes by ([`survey`]) and folded actor by actor, past the time if need be. Nothing is decided
//! here: the report says what was found ([`report`]).
//!
//! *Cost.* For each event: reading, verifying, and twice decoding and folding; memory as [`Options::memory`] says and two pages for each worker, and a snapshot of the new code
//! for each actor that has enough events to have one.

pub mod difference;
pub mod findings;
mod flight;
mod ground;
mod pass;
pub mod pick;
pub mod report;
pub mod sample;
pub mod survey;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures::{StreamExt as _, future::try_join_all};
use tokio_util::sync::CancellationToken;

pub use self::ground::patience;
use self::{
    findings::{Findings, Verdict},
    flight::Codes,
    ground::{Covered, From, Ground, Harvest, Kept},
    pass::{Pace, Pass, broken, open},
    pick::{Sample, pick},
    report::Report,
    sample::{ALL, Rest, Window, place},
    survey::Survey,
};
use crate::{
    address::Address,
    aside::Worker,
    clock,
    env::Env,
    failure::{Code, Failure},
    served::{Realm, Served},
    step::step,
    store::Reach,
};

/// Memory for states of actors by default, in bytes.
pub const DEFAULT_MEMORY: usize = 256 << 20;

/// Time between two words about progress while what waits is folded.
const TICK: Duration = Duration::from_millis(250);

/// What is wanted of a shadow replay.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long it may take, but for what must be covered; none = until everything is.
    pub budget: Option<Duration>,
    /// Memory for states of actors and events that wait, in bytes. More actors than fit are folded
    /// in further readings of the log.
    pub memory: usize,
    /// Threads that fold.
    pub workers: usize,
    /// Whether the new code's snapshots are written.
    pub snapshots: bool,
    /// What an earlier one did not cover, to go on there.
    pub resume: Option<Rest>,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            budget: None,
            memory: DEFAULT_MEMORY,
            workers: cores.min(8),
            snapshots: true,
            resume: None,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// `reading`, `folding` or `alone`: actors that are folded by themselves.
    pub phase: &'static str,
    /// Records read, or actors folded.
    pub done: u64,
    /// Of so many, about.
    pub total: u64,
    /// Events of actors that are done.
    pub events: u64,
    /// Actors that are done.
    pub actors: u64,
    /// How many of `done` in a second.
    pub per_second: u64,
    /// How long this phase takes still, about.
    pub left: Duration,
}

/// Folds what the store holds of a context through `old`, as it is served, and `new`, as it would
/// be. Aggregates whose model and component are the same in both are left out.
///
/// # Errors
/// `unavailable` if the store does not answer, or `cancel` was cancelled. Whatever is wrong with
/// the new code is no error: the report says it.
pub async fn run(
    env: &Arc<Env>,
    old: &Served,
    new: &Served,
    options: &Options,
    cancel: CancellationToken,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, Failure> {
    let begun = clock::now();
    let ground = Arc::new(Ground::prepare(env, old, new, options, cancel).await?);
    let mut all = Found::default();
    ground.quarantines().for_each(|skipped| all.findings.skip(skipped));
    let mut from = options.resume.map_or(0, |rest| rest.0);
    let mut covered = Arc::new(Covered::new());
    let rest = loop {
        let notes = all.reached.is_none();
        let pass = Arc::new(Pass {
            ground: ground.clone(),
            window: Window::new(from),
            notes,
            covered: covered.clone(),
        });
        all.read_once(&pass, &mut progress).await?;
        let below = pass.window.below();
        if notes {
            let wanted = all.survey.wanted().into_iter();
            let wanted: BTreeSet<_> =
                wanted.filter(|actor| !(from..below).contains(&place(actor))).collect();
            let actors = wanted.iter().cloned().collect();
            all.alone(&ground, actors, From::First, &mut progress).await?;
            covered = Arc::new(wanted.into_iter().collect());
        }
        if below == ALL {
            break None;
        }
        if below == from || ground.is_over() {
            break Some(Rest(below));
        }
        from = below;
    };
    ground.go_on()?;
    Ok(all.report(&ground, old, new, rest, begun.elapsed()))
}

/// The same for the actors alone that were written to behind `reached`: what is left to be checked
/// when nobody writes any more. Each is read behind its snapshots by both codes if it has them, so
/// it costs little where [`run`] was before.
///
/// # Errors
/// As [`run`], and `invalid` if this store never gave `reached`.
pub async fn since(
    env: &Arc<Env>,
    old: &Served,
    new: &Served,
    reached: &Reach,
    options: &Options,
    cancel: CancellationToken,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, Failure> {
    let begun = clock::now();
    let ground = Arc::new(Ground::prepare(env, old, new, options, cancel).await?);
    let mut all = Found::default();
    let mut scan = open(&ground, reached).await?;
    let (mut actors, mut skipped) = (BTreeSet::new(), BTreeSet::new());
    while let Some(page) = step!("replay.tail-page", scan.pages.next().await) {
        ground.go_on()?;
        for scanned in page.map_err(|error| broken(&error))? {
            let actor = scanned.actor;
            if ground.quarantined.contains_key(&actor) {
                skipped.insert(actor);
            } else if ground.codes.contains_key(actor.aggregate()) {
                all.survey.note_head(&actor, place(&actor), &scanned.stored);
                actors.insert(actor);
            }
        }
    }
    let told = ground.quarantines();
    told.filter(|it| skipped.iter().any(|actor| actor.is_written(&it.actor)))
        .for_each(|it| all.findings.skip(it));
    let actors = actors.into_iter().collect();
    all.alone(&ground, actors, From::Snapshots, &mut progress).await?;
    all.reached = Some(scan.end);
    ground.go_on()?;
    Ok(all.report(&ground, old, new, None, begun.elapsed()))
}

/// The same for some actors alone, taken at random.
///
/// # Errors
/// As [`run`].
pub async fn sampled(
    env: &Arc<Env>,
    old: &Served,
    new: &Served,
    sample: Sample,
    options: &Options,
    cancel: CancellationToken,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, Failure> {
    let begun = clock::now();
    let ground = Arc::new(Ground::prepare(env, old, new, options, cancel).await?);
    let mut all = Found::default();
    ground.quarantines().for_each(|skipped| all.findings.skip(skipped));
    let (actors, number) = pick(&ground, sample).await?;
    all.alone(&ground, actors, From::First, &mut progress).await?;
    all.survey.actors = number;
    ground.go_on()?;
    Ok(all.report(&ground, old, new, None, begun.elapsed()))
}

/// What becomes of one actor under both codes: for one that was not covered, before its first
/// command. Writes its snapshot by the new code if one is due.
///
/// # Errors
/// As [`run`]; `quarantined` if its log is damaged, `overloaded` if no instance was free.
pub async fn one(
    env: &Arc<Env>,
    old: &Served,
    new: &Served,
    actor: &Address,
    cancel: CancellationToken,
) -> Result<Verdict, Failure> {
    env.refuse_quarantined(actor)?;
    let ground = Ground::bare(env, old, new, &Options::default(), cancel);
    alone(ground, actor).await
}

/// The same where only the aggregate of `actor` is at hand; `old` is none if the former model does
/// not have it. `keeps`: whether its snapshot is written.
///
/// # Errors
/// As [`one`].
pub async fn one_of(
    env: &Arc<Env>,
    old: Option<Arc<Realm>>,
    new: &Arc<Realm>,
    actor: &Address,
    keeps: bool,
    cancel: CancellationToken,
) -> Result<Verdict, Failure> {
    env.refuse_quarantined(actor)?;
    let options = Options { snapshots: keeps, ..Options::default() };
    let pair = (new.aggregate.clone(), Codes { old, new: Some(new.clone()) });
    let ground = Ground::of(env, &new.context, [pair], &options, cancel);
    alone(ground, actor).await
}

async fn alone(ground: Ground, actor: &Address) -> Result<Verdict, Failure> {
    let ground = Arc::new(ground);
    if ground.unchanged.contains(actor.aggregate()) {
        return Ok(Verdict::Same);
    }
    match ground.alone(actor, From::First).await? {
        Ok(landing) => {
            let verdict = landing.verdict.clone();
            let mut harvest = Harvest::new(&ground);
            harvest.add(actor, Ok(landing)).await;
            harvest.finish().await;
            Ok(verdict)
        }
        Err(flight::Hurdle::Damage(damage)) => {
            Err(Failure::new(Code::Quarantined, format!("{actor}: {damage}")).for_actor(actor))
        }
        Err(hurdle) => {
            let detail = format!("{actor}: {}", hurdle.skipped(actor).reason);
            Err(Failure::new(Code::Overloaded, detail).for_actor(actor))
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    findings: Findings,
    kept: Kept,
    survey: Survey,
    reached: Option<Reach>,
    readings: u64,
}

impl Found {
    /// What is told of it.
    fn report(
        self,
        ground: &Ground,
        old: &Served,
        new: &Served,
        rest: Option<Rest>,
        took: Duration,
    ) -> Report {
        let Self { findings, kept, survey, reached, readings } = self;
        Report {
            context: ground.context.clone(),
            old: old.deployment.number,
            new: new.deployment.number,
            unchanged: ground.unchanged.iter().cloned().collect(),
            records: survey.records,
            actors: survey.actors,
            pairs: survey.pairs(),
            findings,
            kept,
            rest,
            reached: reached.unwrap_or_default(),
            readings,
            took,
        }
    }

    /// Reads the log once and says what became of the actors in the window.
    async fn read_once(
        &mut self,
        pass: &Arc<Pass>,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), Failure> {
        let read = pass.read(progress).await?;
        self.reached.get_or_insert(read.end);
        self.readings += 1;
        if pass.notes {
            self.survey = read.survey;
        }
        let before = pass.ground.actors.load(Relaxed);
        let mut pace = Pace::new(None, read.shards.iter().map(pass::Shard::len).sum());
        let workers = read.shards.into_iter().map(|shard| pass.clone().settle(shard));
        let tell = || {
            pace.done = pass.ground.actors.load(Relaxed) - before;
            progress(pace.progress(&pass.ground, "folding"));
        };
        for (findings, kept) in crew(workers, tell).await? {
            self.findings.merge(findings);
            self.kept.merge(kept);
        }
        let aside = read.aside.into_iter().filter(|actor| pass.window.holds(place(actor)));
        self.alone(&pass.ground, aside.collect(), From::First, progress).await
    }

    /// Folds actors by themselves, some at once.
    async fn alone(
        &mut self,
        ground: &Arc<Ground>,
        actors: VecDeque<Address>,
        from: From,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), Failure> {
        let workers = ground.options.workers.max(1).min(actors.len());
        let mut pace = Pace::new(None, actors.len() as u64);
        let queue = Arc::new(Mutex::new(actors));
        let workers = (0..workers).map(|_| drain(ground.clone(), queue.clone(), from));
        let tell = || {
            let left = queue.lock().unwrap_or_else(PoisonError::into_inner).len();
            pace.done = pace.total().saturating_sub(left as u64);
            progress(pace.progress(ground, "alone"));
        };
        for drained in crew(workers, tell).await? {
            let (findings, kept) = drained?;
            self.findings.merge(findings);
            self.kept.merge(kept);
        }
        Ok(())
    }
}

/// Does each piece of work on a thread of its own; `tell` is called now and then until all is done.
async fn crew<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
    mut tell: impl FnMut(),
) -> Result<Vec<T>, Failure> {
    let workers =
        work.map(|work| Worker::start("aether-replay", work)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Box::pin(try_join_all(workers.into_iter().map(Worker::result)));
    loop {
        match step!("replay.await-crew", tokio::time::timeout(TICK, &mut all).await) {
            Ok(done) => return done,
            Err(_) => tell(),
        }
    }
}

/// Folds the actors of a queue, one after the other.
async fn drain(
    ground: Arc<Ground>,
    queue: Arc<Mutex<VecDeque<Address>>>,
    from: From,
) -> Result<(Findings, Kept), Failure> {
    let mut harvest = Harvest::new(&ground);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(actor) = next else { return Ok(harvest.finish().await) };
        let landed = ground.alone(&actor, from).await?;
        harvest.add(&actor, landed).await;
    }
}
