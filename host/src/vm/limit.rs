//! How long a call may run, and how long it ran.
//!
//! Inline calls are limited by ticks of the clock: the thread is needed. But a call that lost its
//! processor for that long, as happens to honest ones on a busy machine, needs only a moment more,
//! while the slow thread may be held by others for long: a call whose ticks are over is cut short
//! once it has really used a processor for one more tick. That costs nothing while all is well.
//!
//! On the slow thread, which has the lowest priority, the time that a call waits for a processor
//! must not count against it, or a busy host would blame its components: there the limit is on
//! processor time, and on the clock only far beyond it. At each tick such a call makes way for those who
//! wait for its processor.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

use super::{ticker::TICK, wasi::World};
use crate::clock;

/// How many times its limit a call on the slow thread may take by the clock.
const WAITING: u32 = 10;

/// What limits a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// This many ticks of the clock; the first one is under way.
    Ticks(u64),
    /// This much processor time of the thread.
    Processor(Duration),
}

/// Ticks that an inline call is given beyond its own, at most, one by one: it holds its thread by
/// the clock no longer than this.
const MAX_EXTRA_TICKS: u64 = 16;

/// Until when a call may go on after the ticks that were set for it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extension {
    /// Until its thread has used this much processor time in all, but not beyond this instant.
    Until { processor: Duration, clock: Instant },
    /// Tick by tick, while it gets no processor. What its thread had used when its ticks were
    /// over, once they are.
    WhileWaiting { used: Option<Duration>, ticks: u64 },
}

impl Limit {
    /// Sets the limit for the next thing that `store` does.
    pub(super) fn set(self, store: &mut Store<World>) {
        let (deadline, extension) = match self {
            Self::Ticks(n) => (n, Extension::WhileWaiting { used: None, ticks: MAX_EXTRA_TICKS }),
            Self::Processor(time) => {
                let clock = clock::now() + time.saturating_mul(WAITING).min(LONGEST);
                let processor = processor_time().saturating_add(time);
                (1, Extension::Until { processor, clock })
            }
        };
        store.set_epoch_deadline(deadline);
        store.data_mut().extension = Some(extension);
    }

    /// Starts to measure what this limits.
    pub(super) fn watch(self) -> Watch {
        match self {
            Self::Ticks(_) => Watch::Clock(clock::now()),
            Self::Processor(_) => Watch::Processor(processor_time()),
        }
    }
}

/// A limit beyond this is none.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a call whose ticks are over.
pub(super) fn over(world: &mut World) -> UpdateDeadline {
    let now = processor_time();
    match &mut world.extension {
        None => UpdateDeadline::Interrupt,
        Some(Extension::Until { processor, clock }) => {
            if now >= *processor || clock::now() >= *clock {
                return UpdateDeadline::Interrupt;
            }
            // Whatever its priority, the kernel lets a thread that it has just given a processor keep
            // that for some milliseconds, though one that serves has woken up.
            thread::yield_now();
            UpdateDeadline::Continue(1)
        }
        Some(Extension::WhileWaiting { used, ticks }) => {
            let since = now.saturating_sub(*used.get_or_insert(now));
            // A tick that was under way may have been short: most of one is enough.
            if since * 2 >= TICK || *ticks == 0 {
                return UpdateDeadline::Interrupt;
            }
            *ticks -= 1;
            UpdateDeadline::Continue(1)
        }
    }
}

/// Measures time as a [`Limit`] counts it.
pub(super) enum Watch {
    Clock(Instant),
    Processor(Duration),
}

impl Watch {
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Self::Clock(begun) => clock::now() - *begun,
            Self::Processor(begun) => processor_time().saturating_sub(*begun),
        }
    }
}

/// Processor time that this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_processor_is_not_counted() {
        let ms = Duration::from_millis;
        let mut world = World::new(0, 0);
        let mut with = |extension| {
            world.extension = extension;
            over(&mut world)
        };
        let until = |processor, clock| Some(Extension::Until { processor, clock });
        let (used, now) = (processor_time(), clock::now());
        assert!(matches!(with(None), UpdateDeadline::Interrupt));
        let both_left = with(until(used + ms(50_000), now + ms(60_000)));
        assert!(matches!(both_left, UpdateDeadline::Continue(1)), "it makes way at each tick");
        assert!(matches!(with(until(used + ms(50_000), now)), UpdateDeadline::Interrupt));
        assert!(matches!(with(until(used, now + ms(60_000))), UpdateDeadline::Interrupt));
    }

    #[test]
    fn an_inline_call_goes_on_while_it_gets_no_processor() {
        let mut world = World::new(0, 0);
        let waiting = |used, ticks| Some(Extension::WhileWaiting { used, ticks });
        world.extension = waiting(None, 2);
        assert!(matches!(over(&mut world), UpdateDeadline::Continue(1)));
        let Some(Extension::WhileWaiting { used: Some(used), ticks: 1 }) = world.extension else {
            panic!("{:?}", world.extension);
        };
        while processor_time() < used + TICK {}
        assert!(matches!(over(&mut world), UpdateDeadline::Interrupt), "it has used a tick");
        world.extension = waiting(Some(processor_time() + TICK), 0);
        assert!(matches!(over(&mut world), UpdateDeadline::Interrupt), "it had all its extra");
    }
}
