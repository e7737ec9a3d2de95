//! Calls: where they run, and what becomes of the instance.
//!
//! A call runs at once on the thread that asks, a runtime's own, with a slice of two ticks. That
//! is a hundred times what a small call takes, and it spares the 25 µs of another thread. A call
//! that overruns is thrown away, instance and output with it, and runs again from its start on
//! the slow thread of its component, with the time it may have; guests are pure, so nobody can
//! tell. Kinds of calls that overran lately, and large states, go there at once: turning values
//! takes time that no deadline interrupts; for the same reason an answer that is too large to be
//! taken inline is asked for again there.

use std::{borrow::Cow, num::NonZeroU64, sync::Arc, time::Duration};

use aether_wit::model::Isolation;

use super::{
    Behaviour, Budget, Context, Decision, Fault, FaultKind,
    behaviour::Kind,
    call::{Answer, Call},
    instance::{Failure, Instance, detail},
    instances::Permit,
    limit::Limit,
    ticker::TICK,
};
use crate::{
    address::Address,
    json::{AggregatePlans, Packed, PackedCase},
};

/// Ticks of an inline call: between one and two milliseconds, for the first is under way.
const SLICE_TICKS: u64 = 2;

/// The same as a time.
const SLICE: Duration = Duration::from_millis(SLICE_TICKS * TICK.as_millis() as u64);

/// Bytes of packed arguments above which a call does not run inline: turning them into values and
/// back takes about a millisecond.
const MAX_INLINE_BYTES: usize = 100 << 10;

/// Bytes of values that an inline call may hand over, as they are in the host's memory: taking
/// them costs about a millisecond for each MiB.
const MAX_INLINE_ANSWER_BYTES: usize = 2 << 20;

/// The same on the slow thread: about forty bytes for each number in a list.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How long a call may wait behind other slow calls of its component: as long as callers wait who
/// do not say.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long making an instance may take on the slow thread: runtimes like Go's run code then.
const MAX_START: Duration = Duration::from_secs(5);

/// The code of one awake actor: calls go to an instance that serves this actor only.
///
/// An instance is made at the first call, kept between calls as the model's `isolation` says,
/// and may be taken back while it is idle; nothing of it outlives a call but speed.
pub struct Guest {
    behaviour: Arc<Behaviour>,
    actor: Address,
    /// Under which an instance may be kept for it; none if there never was one.
    key: Option<NonZeroU64>,
}

/// What a call starts from.
enum Seat {
    /// This actor's instance.
    Kept(Box<Instance>),
    /// A place without an instance.
    Free(Permit),
}

/// How a try ended.
enum Attempt {
    Done {
        answer: Answer,
        instance: Box<Instance>,
        took: Took,
    },
    /// It needed more than it was allowed; with more, it may end otherwise.
    Overrun {
        kind: Kind,
        failure: Failure,
    },
    Failed(Fault),
}

/// What a try may take.
#[derive(Clone, Copy)]
struct Allowance {
    start: Limit,
    call: Limit,
    answer_bytes: usize,
}

impl Allowance {
    /// On a thread that serves.
    const INLINE: Self = Self {
        start: Limit::Ticks(SLICE_TICKS),
        call: Limit::Ticks(SLICE_TICKS),
        answer_bytes: MAX_INLINE_ANSWER_BYTES,
    };
}

/// How long the parts of a try took.
#[derive(Clone, Copy)]
struct Took {
    start: Option<Duration>,
    call: Duration,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guest({})", self.actor)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.drop_instance();
    }
}

impl Guest {
    pub(super) fn new(behaviour: &Arc<Behaviour>, actor: &Address) -> Self {
        Self { behaviour: Arc::clone(behaviour), actor: actor.clone(), key: None }
    }

    /// The plans of the values that it takes and gives.
    #[must_use]
    pub fn plans(&self) -> &AggregatePlans {
        &self.behaviour.plans
    }

    /// The state of an actor without events.
    ///
    /// # Errors
    /// If the component fails, see [`Fault`].
    pub async fn initial(&mut self, budget: &mut Budget) -> Result<Packed, Fault> {
        self.state(Call::Initial, budget).await
    }

    /// The same at once, on this thread, with an instance that is kept for the next call: if one is
    /// free and the call is a quick one. Otherwise nothing is known, and [`Self::initial`] will tell.
    pub fn begin(&mut self) -> Option<Packed> {
        let behaviour = Arc::clone(&self.behaviour);
        let (call, kind) = (Call::Initial, Kind::of(&Call::Initial));
        if !behaviour.credit.inline(kind) || !behaviour.credit.inline(Kind::NEW_INSTANCE) {
            return None;
        }
        let permit = behaviour.component.shared.instances.free_permit()?;
        match attempt(&behaviour, &self.actor, Seat::Free(permit), &call, Allowance::INLINE) {
            Attempt::Done { answer: Answer::State(state), instance, .. } => {
                self.put_back(instance, false);
                Some(state)
            }
            Attempt::Overrun { kind, .. } => {
                behaviour.credit.overrun(kind);
                None
            }
            Attempt::Done { .. } | Attempt::Failed(_) => None,
        }
    }

    /// Asks the component what a command does. With `isolation: turn`, begins a new instance.
    ///
    /// # Errors
    /// If the component fails, see [`Fault`].
    pub async fn decide(
        &mut self,
        context: &Context,
        state: &Packed,
        command: &PackedCase,
        budget: &mut Budget,
    ) -> Result<Decision, Fault> {
        if self.behaviour.isolation == Isolation::Turn {
            self.drop_instance();
        }
        let call = Call::Decide {
            context: Cow::Borrowed(context),
            state: Cow::Borrowed(state),
            command: Cow::Borrowed(command),
        };
        let (answer, instance) = self.call(call, budget).await?;
        let Answer::Decision(decision) = answer else { return Err(self.mixed_up()) };
        let turn_goes_on = matches!(&decision, Decision::Events(events) if !events.is_empty());
        self.put_back(instance, turn_goes_on);
        Ok(decision)
    }

    /// The state after `events`.
    ///
    /// # Errors
    /// If the component fails, see [`Fault`].
    pub async fn evolve(
        &mut self,
        state: &Packed,
        events: &[PackedCase],
        budget: &mut Budget,
    ) -> Result<Packed, Fault> {
        let (state, events) = (Cow::Borrowed(state), Cow::Borrowed(events));
        self.state(Call::Evolve { state, events }, budget).await
    }

    /// What `event`, stored under `model` as `data`, is today; or why the component has nothing.
    ///
    /// # Errors
    /// If the component fails, see [`Fault`].
    pub async fn upcast(
        &mut self,
        model: &str,
        event: &str,
        data: &str,
        budget: &mut Budget,
    ) -> Result<Result<PackedCase, String>, Fault> {
        let (model, event, data) = (model.into(), event.into(), data.into());
        let (answer, instance) = self.call(Call::Upcast { model, event, data }, budget).await?;
        self.put_back(instance, false);
        match answer {
            Answer::Upcast(upcast) => Ok(upcast),
            Answer::State(_) | Answer::Decision(_) => Err(self.mixed_up()),
        }
    }

    async fn state(&mut self, call: Call<'_>, budget: &mut Budget) -> Result<Packed, Fault> {
        let (answer, instance) = self.call(call, budget).await?;
        self.put_back(instance, false);
        match answer {
            Answer::State(state) => Ok(state),
            Answer::Decision(_) | Answer::Upcast(_) => Err(self.mixed_up()),
        }
    }

    /// Keeps the instance for the next call if this call does not end its use.
    fn put_back(&mut self, instance: Box<Instance>, turn_goes_on: bool) {
        if self.behaviour.isolation == Isolation::Actor || turn_goes_on {
            let instances = &self.behaviour.component.shared.instances;
            let key = *self.key.get_or_insert_with(|| instances.new_key());
            instances.keep(key, instance);
        }
    }

    fn drop_instance(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.behaviour.component.shared.instances.remove(key));
        }
    }

    async fn call(
        &self,
        call: Call<'_>,
        budget: &mut Budget,
    ) -> Result<(Answer, Box<Instance>), Fault> {
        let behaviour = &self.behaviour;
        let kind = Kind::of(&call);
        if budget.left().is_zero() {
            let what = "was not called: the command had used up its time before";
            let detail = detail(behaviour, Some(call.function()), what);
            return Err(Fault { kind: FaultKind::Deadline, detail });
        }
        let seat = self.seat(&call, budget).await?;
        let has_instance = matches!(seat, Seat::Kept(_));
        let inline = call.bytes() <= MAX_INLINE_BYTES
            && behaviour.credit.inline(kind)
            && (has_instance || behaviour.credit.inline(Kind::NEW_INSTANCE));
        if inline {
            match attempt(behaviour, &self.actor, seat, &call, Allowance::INLINE) {
                Attempt::Done { answer, instance, took } => {
                    // By the clock a call may have waited for a processor most of its time; it
                    // cannot have used more than its slice.
                    budget.spend(took.call.min(SLICE));
                    return Ok((answer, instance));
                }
                Attempt::Failed(fault) => return Err(fault),
                Attempt::Overrun { kind, .. } => behaviour.credit.overrun(kind),
            }
        } else {
            self.leave(seat);
        }
        // A call that waits behind others of its component holds no instance and no place for one
        // meanwhile: many actors of one slow component must not take the places of all others.
        let waiting = tokio::time::timeout(MAX_WAIT, behaviour.component.slow_turn.lock()).await;
        let Ok(_turn) = waiting else {
            let what = format!(
                "was not called: it waited {MAX_WAIT:?} behind other slow calls of its component"
            );
            let detail = detail(behaviour, Some(call.function()), &what);
            return Err(Fault { kind: FaultKind::NoInstance, detail });
        };
        let seat = self.seat(&call, budget).await?;
        self.call_slowly(seat, call, kind, budget).await
    }

    /// The instance of this guest, or a place for one.
    async fn seat(&self, call: &Call<'_>, budget: &Budget) -> Result<Seat, Fault> {
        let instances = &self.behaviour.component.shared.instances;
        if let Some(instance) = self.key.and_then(|key| instances.take(key)) {
            return Ok(Seat::Kept(instance));
        }
        let permit = instances.permit(budget.left()).await;
        permit.map(Seat::Free).ok_or_else(|| {
            let what = format!("found no instance: all {} of this host are busy", instances.max());
            let detail = detail(&self.behaviour, Some(call.function()), &what);
            Fault { kind: FaultKind::NoInstance, detail }
        })
    }

    /// Gives back what a call was to start from.
    fn leave(&self, seat: Seat) {
        if let (Seat::Kept(instance), Some(key)) = (seat, self.key) {
            self.behaviour.component.shared.instances.keep(key, instance);
        }
    }

    async fn call_slowly(
        &self,
        seat: Seat,
        call: Call<'_>,
        kind: Kind,
        budget: &mut Budget,
    ) -> Result<(Answer, Box<Instance>), Fault> {
        let behaviour = &self.behaviour;
        let function = call.function();
        let work = {
            let (behaviour, actor) = (Arc::clone(behaviour), self.actor.clone());
            let call = call.into_owned();
            let all = Allowance {
                start: Limit::Processor(MAX_START),
                call: Limit::Processor(budget.left()),
                answer_bytes: MAX_ANSWER_BYTES,
            };
            move || attempt(&behaviour, &actor, seat, &call, all)
        };
        let attempt = behaviour.component.slow.run(work).await.map_err(|error| {
            let detail = detail(behaviour, Some(function), &format!("was not called: {error}"));
            Fault { kind: FaultKind::NoInstance, detail }
        })?;
        match attempt {
            Attempt::Done { answer, instance, took } => {
                behaviour.credit.took(kind, took.call, SLICE);
                if let Some(start) = took.start {
                    behaviour.credit.took(Kind::NEW_INSTANCE, start, SLICE);
                }
                budget.spend(took.call);
                Ok((answer, instance))
            }
            Attempt::Overrun { kind, failure } => {
                behaviour.credit.overrun(kind);
                failure.printed.publish(&self.actor);
                if failure.fault.kind == FaultKind::Deadline {
                    budget.spend(budget.left());
                }
                Err(failure.fault)
            }
            Attempt::Failed(fault) => Err(fault),
        }
    }

    /// The component answered another question than it was asked.
    fn mixed_up(&self) -> Fault {
        let what = "got the answer of another function: this is a bug in aether";
        Fault { kind: FaultKind::Contract, detail: detail(&self.behaviour, None, what) }
    }
}

/// Runs a call once, on this thread. What was printed goes to the log unless the try overran;
/// then the caller may try again.
fn attempt(
    behaviour: &Behaviour,
    actor: &Address,
    seat: Seat,
    call: &Call<'_>,
    allowance: Allowance,
) -> Attempt {
    let start = allowance.start.watch();
    let new = |permit| Instance::new(behaviour, actor, permit, allowance.start).map(Box::new);
    let (made, is_new) = match seat {
        Seat::Kept(instance) => (Ok(instance), false),
        Seat::Free(permit) => (new(permit), true),
    };
    let start = is_new.then(|| start.elapsed());
    let watch = allowance.call.watch();
    let mut instance = match made {
        Ok(instance) => instance,
        Err(failure) if failure.fault.kind == FaultKind::Deadline => {
            return Attempt::Overrun { kind: Kind::NEW_INSTANCE, failure };
        }
        Err(failure) => {
            failure.printed.publish(actor);
            return Attempt::Failed(failure.fault);
        }
    };
    match instance.call(behaviour, actor, call, allowance.call, allowance.answer_bytes) {
        Ok((answer, printed)) => {
            printed.publish(actor);
            let took = Took { start, call: watch.elapsed() };
            Attempt::Done { answer, instance, took }
        }
        // An answer that breaks the contract may only be too large to be taken inline.
        Err(failure) if matches!(failure.fault.kind, FaultKind::Deadline | FaultKind::Contract) => {
            Attempt::Overrun { kind: Kind::of(call), failure }
        }
        Err(failure) => {
            failure.printed.publish(actor);
            Attempt::Failed(failure.fault)
        }
    }
}
