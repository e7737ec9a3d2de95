//! The mailbox of one actor: jobs in, one at a time, and who takes them.
//!
//! An idle actor is data only: no task, no channel. The first job that arrives starts a task, the
//! task works until the mailbox is empty and leaves the VM behind. So an awake actor costs its
//! state and its ledger, and a caller that goes away cancels nothing. Commands that wait directly
//! behind one another are taken out together, for one record may hold them all.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    address::Address,
    clock,
    command::{self, Reply},
    env::Env,
    failure::{Code, Failure},
    json::Packed,
    prepare::Prepared,
    record::Position,
    router::Actors,
    served::Realm,
    step::step,
    turn::{MOST, Pace, turns, unresolved},
    wake::{Purpose, Standing, Vm, restore},
};

/// Something to be done by an actor.
#[derive(Debug)]
pub enum Job {
    /// A command.
    Turn(Box<Prepared>, oneshot::Sender<Result<Reply, Failure>>),
    /// What is the state?
    Read(Purpose, Instant, oneshot::Sender<Result<View, Failure>>),
    /// Fall asleep when everything before this is done.
    Sleep(oneshot::Sender<()>),
    /// Say when everything before this is done.
    Pass(oneshot::Sender<()>),
}

/// A state and its version.
#[derive(Debug, Clone)]
pub struct View {
    /// Under which it was folded: only its plans can read the state.
    pub realm: Arc<Realm>,
    /// The version.
    pub version: u64,
    /// The state there.
    pub state: Packed,
}

/// Why a mailbox did not take a job. The job comes back.
#[derive(Debug)]
pub enum NotTaken {
    /// Too many wait already.
    Full(Job),
    /// The actor has just fallen asleep: it must be woken anew.
    Closed(Job),
}

/// An actor's place in a host: its mailbox and, between jobs, its VM.
#[derive(Debug)]
pub struct Cell {
    actor: Address,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Job>,
    phase: Phase,
    used: Instant,
    /// The actor folded by the code that will serve it next, to go over to between two jobs.
    next: Option<Box<Vm>>,
    /// Who waits for which version.
    waiters: Vec<(u64, oneshot::Sender<()>)>,
}

#[derive(Debug)]
enum Phase {
    /// Nobody works; the VM waits for the next job. `None`: not woken yet.
    Idle(Option<Box<Vm>>),
    /// A task works.
    Running,
    /// It sleeps; this cell takes no more jobs.
    Closed,
}

impl Cell {
    /// The place of an actor that has not been woken yet.
    #[must_use]
    pub fn new(actor: Address) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            phase: Phase::Idle(None),
            used: clock::now(),
            next: None,
            waiters: Vec::new(),
        };
        Self { actor, inner: Mutex::new(inner) }
    }

    /// The actor.
    #[must_use]
    pub const fn actor(&self) -> &Address {
        &self.actor
    }

    /// Puts a job behind those that wait, and starts the task that does them if there is none.
    ///
    /// # Errors
    /// If the mailbox is full or closed; the job comes back.
    pub fn post(
        self: &Arc<Self>,
        env: &Arc<Env>,
        realm: &Arc<Realm>,
        job: Job,
    ) -> Result<(), NotTaken> {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Closed) {
            return Err(NotTaken::Closed(job));
        }
        let full = inner.queue.len() >= realm.runtime.mailbox as usize;
        if full && !matches!(job, Job::Sleep(_) | Job::Pass(_)) {
            return Err(NotTaken::Full(job));
        }
        env.metrics.mailbox_depth(inner.queue.len());
        inner.queue.push_back(job);
        inner.used = clock::now();
        if let Phase::Idle(vm) = &mut inner.phase {
            let vm = vm.take();
            inner.phase = Phase::Running;
            drop(inner);
            let (cell, env, realm) = (self.clone(), env.clone(), realm.clone());
            // On the heap first: its five KiB would be moved nine times on their way into the task
            // and out of it.
            tokio::spawn(Box::pin(async move {
                Work { cell: &cell, env: &env, realm: &realm }.run(vm).await;
            }));
        }
        Ok(())
    }

    /// The state as it is in memory, if the actor is awake and nothing is being done.
    #[must_use]
    pub fn peek(&self, env: &Env) -> Option<View> {
        let mut inner = self.lock();
        inner.used = clock::now();
        match &inner.phase {
            // One whose log is read only in part shows a past that nobody was told of.
            Phase::Idle(Some(vm))
                if !matches!(vm.standing, Standing::Waking { .. }) && !vm.is_outdated(env) =>
            {
                Some(vm.view())
            }
            _ => None,
        }
    }

    /// The version, if the actor is awake and idle.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        match &self.lock().phase {
            Phase::Idle(Some(vm)) => Some(vm.chain.version),
            _ => None,
        }
    }

    /// Tells when the actor has reached `version` in this host.
    pub fn reached(&self, version: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut inner = self.lock();
        inner.waiters.retain(|(_, tell)| !tell.is_closed());
        match &inner.phase {
            Phase::Idle(Some(vm)) if vm.chain.version >= version => {
                let _ = tell.send(());
            }
            _ => inner.waiters.push((version, tell)),
        }
        told
    }

    /// Keeps the actor as the next deployment's code has folded it, until that code serves.
    pub fn keep_next(&self, next: Box<Vm>) {
        let mut inner = self.lock();
        if !matches!(inner.phase, Phase::Closed) {
            inner.next = Some(next);
        }
    }

    /// Goes over to the realm that serves now, if nothing is being done: a VM of the former one
    /// makes way for the one that was folded for it, or falls asleep. Whoever works goes over
    /// before the next job.
    pub fn go_over(self: &Arc<Self>, env: &Env, actors: &Actors) {
        let mut inner = self.lock();
        let Phase::Idle(idle) = &mut inner.phase else { return };
        let Some(vm) = idle.take_if(|vm| vm.realm.is_superseded()) else { return };
        let next = inner.next.take().filter(|next| fits(next, env));
        let awake = next.is_some();
        inner.phase = match next {
            Some(mut next) => {
                next.take_over(env);
                Phase::Idle(Some(next))
            }
            None => Phase::Closed,
        };
        drop(inner);
        // The router looks at cells while it holds a shard: never the other way round.
        if !awake {
            actors.remove(self);
        }
        vm.forget(env);
    }

    /// Waits until what is being done now is done. Nothing that begins later counts.
    pub async fn pass(self: &Arc<Self>, env: &Arc<Env>, realm: &Arc<Realm>) {
        if !matches!(self.lock().phase, Phase::Running) {
            return;
        }
        let (tell, told) = oneshot::channel();
        if self.post(env, realm, Job::Pass(tell)).is_ok() {
            let _ = step!("mailbox.pass", told.await);
        }
    }

    /// How long nothing has been asked of the actor; `None` while it works.
    #[must_use]
    pub fn idle_for(&self) -> Option<Duration> {
        let inner = self.lock();
        matches!(inner.phase, Phase::Idle(_)).then(|| inner.used.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells those who wait for `version` or an earlier one.
    fn tell_reached(&mut self, version: u64) {
        if self.waiters.is_empty() {
            return;
        }
        for (_, tell) in self.waiters.extract_if(.., |(wanted, _)| *wanted <= version) {
            let _ = tell.send(());
        }
    }
}

/// A command, and who waits for its answer.
type Asked = (Box<Prepared>, oneshot::Sender<Result<Reply, Failure>>);

/// One stretch of work on an actor: from the first job until the mailbox is empty.
struct Work<'a> {
    cell: &'a Arc<Cell>,
    env: &'a Arc<Env>,
    realm: &'a Arc<Realm>,
}

impl Work<'_> {
    async fn run(&self, mut vm: Option<Box<Vm>>) {
        // If a bug ends this task, the jobs are dropped, which tells their callers, and the next
        // one wakes the actor anew from the log.
        let guard = CloseOnDrop(self);
        let (mut asleep, mut pace) = (Vec::new(), Pace::default());
        loop {
            let job = self.next_job(&mut vm);
            // Whoever asked for sleep is told when the cell is closed, or work goes on.
            for tell in asleep.drain(..) {
                let _ = oneshot::Sender::send(tell, ());
            }
            match job {
                Some(Job::Sleep(tell)) => {
                    self.fall_asleep(&mut vm).await;
                    asleep.push(tell);
                }
                Some(Job::Pass(tell)) => {
                    let _ = tell.send(());
                }
                Some(Job::Turn(command, answer)) => {
                    self.commands(&mut vm, (command, answer), &mut pace).await;
                }
                Some(Job::Read(purpose, deadline, answer)) => {
                    let _ = answer.send(self.read(&mut vm, purpose, deadline).await);
                }
                None => break,
            }
            self.tell_moved(&mut vm);
            tokio::task::coop::consume_budget().await;
        }
        std::mem::forget(guard);
    }

    /// Those who wait for a version, and the store if a snapshot is due.
    fn tell_moved(&self, vm: &mut Option<Box<Vm>>) {
        if let Some(vm) = vm {
            self.cell.lock().tell_reached(vm.chain.version);
            self.snapshot_if_due(vm);
        }
    }

    /// Takes commands that wait directly behind `asked` out of the mailbox, no more than can share
    /// a record with it: the others still count as waiting.
    fn add_those_behind(&self, asked: &mut VecDeque<Asked>) {
        let mut inner = self.cell.lock();
        while asked.len() < MOST
            && let Some(Job::Turn(command, answer)) =
                inner.queue.pop_front_if(|job| matches!(job, Job::Turn(..)))
        {
            asked.push_back((command, answer));
        }
    }

    /// The next job; or none, and then the VM is back in its cell.
    fn next_job(&self, vm: &mut Option<Box<Vm>>) -> Option<Job> {
        let mut inner = self.cell.lock();
        let job = inner.queue.pop_front();
        if job.is_none() {
            if let Some(idle) = vm.take() {
                // Who came since the last job was done would otherwise wait for the next one.
                inner.tell_reached(idle.chain.version);
                inner.phase = Phase::Idle(Some(idle));
                // An idle actor costs nothing for what waited once.
                inner.queue = VecDeque::new();
            } else {
                inner.phase = Phase::Closed;
                drop(inner);
                self.realm.actors.remove(self.cell);
            }
        }
        job
    }

    /// Keeps what is new as a snapshot and lets go of the VM.
    async fn fall_asleep(&self, vm: &mut Option<Box<Vm>>) {
        let Some(mut vm) = vm.take() else { return };
        if vm.chain.version > vm.snapshot_version
            && !vm.is_outdated(self.env)
            && !vm.realm.is_superseded()
            && let Some(due) = vm.snapshot()
        {
            due.keep(self.env).await;
        }
        vm.forget(self.env);
    }

    /// Takes a command, and those that wait directly behind it, through their turns, and counts what
    /// became of them.
    async fn commands(&self, vm: &mut Option<Box<Vm>>, first: Asked, pace: &mut Pace) {
        let mut asked = VecDeque::from([first]);
        while !asked.is_empty() {
            self.add_those_behind(&mut asked);
            let begun = clock::now();
            let answers = self.turns(vm, asked.make_contiguous(), pace).await;
            let (realm, answered) = (self.realm, answers.len().min(asked.len()));
            for ((command, answer), mut result) in asked.drain(..answered).zip(answers) {
                if command.doubt.remains() {
                    result = result.map_err(unresolved);
                }
                let outcome = command::outcome_word(&result);
                self.env.metrics.turn(&realm.context, &realm.aggregate, outcome, begun.elapsed());
                let _ = answer.send(result.map_err(|failure| failure.for_command(&command.id)));
            }
            if !asked.is_empty() {
                self.tell_moved(vm);
                tokio::task::coop::consume_budget().await;
            }
        }
    }

    /// The answers to the first of `asked`, at least one.
    async fn turns(
        &self,
        vm: &mut Option<Box<Vm>>,
        asked: &mut [Asked],
        pace: &mut Pace,
    ) -> Vec<Result<Reply, Failure>> {
        let Some((first, _)) = asked.first() else { return Vec::new() };
        let (deadline, actor) = (first.deadline, self.cell.actor());
        if clock::now() >= deadline {
            let detail = "the command waited in the mailbox until its deadline; nothing was stored, try again later";
            return vec![Err(Failure::new(Code::Overloaded, detail).for_actor(actor))];
        }
        loop {
            let awake = match self.awake(vm, deadline, Purpose::Command).await {
                Ok((awake, _)) => awake,
                Err(failure) => return vec![Err(failure)],
            };
            let mut fit = Vec::with_capacity(asked.len());
            for (command, _) in asked.iter_mut() {
                match command.renew(&awake.realm) {
                    Ok(()) => fit.push(&**command),
                    Err(failure) if fit.is_empty() => return vec![Err(failure.for_actor(actor))],
                    // It is told when it is the first.
                    Err(_) => break,
                }
            }
            let answers = turns(self.env, awake, &fit, pace).await;
            // Nobody was told yet: what is stored is known by its id.
            if self.is_newer_served(awake, deadline).await {
                asked.iter().take(answers.len()).for_each(|(asked, _)| asked.doubt.may_be_in_log());
                continue;
            }
            for result in &answers {
                self.drop_if_quarantined(vm, result);
            }
            return answers;
        }
    }

    async fn read(
        &self,
        vm: &mut Option<Box<Vm>>,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<View, Failure> {
        loop {
            let (awake, head) = self.awake(vm, deadline, purpose).await?;
            let result = async {
                awake.settle(self.env, deadline).await?;
                if purpose.asks_head() && head != Some(awake.chain.position) {
                    awake.is_current(self.env, deadline).await?;
                }
                Ok(awake.view())
            }
            .await;
            if self.is_newer_served(awake, deadline).await {
                continue;
            }
            self.drop_if_quarantined(vm, &result);
            return result;
        }
    }

    /// If the VM has met a record of a newer deployment: whether this host serves that before the
    /// deadline, so that what was begun can be done again under it.
    async fn is_newer_served(&self, vm: &mut Vm, deadline: Instant) -> bool {
        match vm.met.take() {
            Some(number) => step!(
                "mailbox.newer",
                self.env.news.await_deployment(&vm.realm, number.get(), deadline).await
            ),
            None => false,
        }
    }

    /// The VM of the code that serves now, made if there is none. It may still have to read the
    /// rest of its log. If it was made here and `purpose` asks, also where the store says that this
    /// ends.
    async fn awake<'v>(
        &self,
        vm: &'v mut Option<Box<Vm>>,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<(&'v mut Vm, Option<Position>), Failure> {
        let actor = self.cell.actor();
        let realm = self.realm.current().map_err(|why| {
            *vm = None;
            Failure::new(Code::Unavailable, &*why).for_actor(actor)
        })?;
        if let Err(failure) = self.env.refuse_quarantined(actor) {
            *vm = None;
            return Err(failure);
        }
        // Marked, released or repaired meanwhile: what it knows may not count any more.
        if let Some(outdated) = vm.take_if(|vm| vm.is_outdated(self.env)) {
            outdated.forget(self.env);
        }
        if let Some(former) = vm.take_if(|vm| !Arc::ptr_eq(&vm.realm, &realm)) {
            former.forget(self.env);
            let next = self.cell.lock().next.take();
            *vm = next.filter(|next| Arc::ptr_eq(&next.realm, &realm) && fits(next, self.env));
            if let Some(next) = vm {
                next.take_over(self.env);
            }
        }
        let (mut awake, head) = match vm.take() {
            Some(awake) => (awake, None),
            None => {
                let (made, head) = restore(self.env, &realm, actor, deadline, purpose).await?;
                (Box::new(made), head)
            }
        };
        if awake.unchecked
            && let Some(rests) = &realm.rests
        {
            let checked = rests.check(self.env, &realm, actor, deadline).await;
            // Another deployment may serve it by now, whatever was found of this one.
            if realm.is_superseded() {
                awake.forget(self.env);
                let anew = Box::pin(self.awake(vm, deadline, purpose));
                return step!("mailbox.anew", anew.await);
            }
            if let Err(failure) = checked {
                awake.forget(self.env);
                return Err(failure);
            }
            awake.unchecked = false;
        }
        Ok((vm.insert(awake), head))
    }

    /// Keeps a snapshot when one is due, without making the next command wait for it.
    fn snapshot_if_due(&self, vm: &mut Vm) {
        let due_at = vm.snapshot_version + vm.realm.runtime.snapshot_every;
        if vm.chain.version >= due_at
            && !vm.is_outdated(self.env)
            && let Some(due) = vm.snapshot()
        {
            let env = self.env.clone();
            tokio::spawn(async move { due.keep(&env).await });
        }
    }

    /// A quarantined actor has no VM: every use of it is refused from its mark.
    fn drop_if_quarantined<T>(&self, vm: &mut Option<Box<Vm>>, result: &Result<T, Failure>) {
        if matches!(result, Err(failure) if failure.code == Code::Quarantined) {
            *vm = None;
        }
    }
}

/// Whether a VM that was folded beforehand may serve.
fn fits(next: &Vm, env: &Env) -> bool {
    !next.realm.is_superseded() && !next.is_outdated(env)
}

struct CloseOnDrop<'a>(&'a Work<'a>);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.cell.lock();
        inner.phase = Phase::Closed;
        inner.queue.clear();
        drop(inner);
        self.0.env.note_unsettled(self.0.cell.actor().clone());
        self.0.realm.actors.remove(self.0.cell);
    }
}
