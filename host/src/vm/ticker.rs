//! The clock of deadlines: a thread that advances the engines' epoch once per millisecond.
//!
//! Guest code compares the epoch with its deadline at every loop and call. The thread advances it
//! once per wake and never catches up, so a host that stood still does not cut honest guests
//! short. While nothing runs it sleeps for good: an idle host wakes for nothing. It outlives the
//! guests, because a guest without it would run for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

use super::SandboxError;

/// Length of a tick: what deadlines are counted in.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call after which the thread sleeps until the next one: calls that follow each
/// other closely do not pay for waking it.
const IDLE_TICKS: u32 = 100;

/// Drives the epoch of engines while calls run.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    calls: AtomicU64,
    asleep: AtomicBool,
    stop: AtomicBool,
    ticks: AtomicU64,
}

/// A call that is running: while it lives, the epoch moves.
pub(super) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    pub(super) fn start(engines: Vec<Engine>) -> Result<Self, SandboxError> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("aether-ticker".into())
            .spawn(move || drive(&of_thread, &engines))
            .map_err(|error| {
                SandboxError(format!("the thread of deadlines cannot be started: {error}"))
            })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Makes the epoch move until the guard is dropped.
    pub(super) fn enter(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.calls.fetch_add(1, SeqCst);
        if self.shared.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    /// Ticks since the start.
    #[cfg(test)]
    pub(super) fn ticks(&self) -> u64 {
        self.shared.ticks.load(SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}

fn drive(shared: &Shared, engines: &[Engine]) {
    let mut idle = 0;
    let mut seen = 0;
    loop {
        let calls = shared.calls.load(SeqCst);
        if shared.running.load(SeqCst) > 0 || calls != seen {
            (idle, seen) = (0, calls);
        } else if shared.stop.load(SeqCst) {
            return;
        } else {
            idle += 1;
        }
        if idle > IDLE_TICKS {
            // First said, then checked again: whoever enters after the check sees `asleep` and
            // wakes this thread, whoever entered before it is seen here.
            shared.asleep.store(true, SeqCst);
            if shared.running.load(SeqCst) == 0 && !shared.stop.load(SeqCst) {
                thread::park();
            }
            shared.asleep.store(false, SeqCst);
            idle = 0;
        }
        thread::sleep(TICK);
        shared.ticks.fetch_add(1, SeqCst);
        engines.iter().for_each(Engine::increment_epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until `done` holds; fails loudly instead of hanging.
    fn eventually(what: &str, mut done: impl FnMut() -> bool) {
        let end = crate::clock::now() + Duration::from_secs(20);
        while !done() {
            assert!(crate::clock::now() < end, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_while_nothing_runs_and_wakes_for_the_next_call() {
        let ticker = Ticker::start(vec![]).unwrap();
        for _ in 0..3 {
            eventually("falls asleep", || ticker.shared.asleep.load(SeqCst));
            let before = ticker.ticks();
            let running = ticker.enter();
            eventually("ticks while a call runs", || ticker.ticks() > before + 5);
            drop(running);
        }
    }

    #[test]
    fn it_ends_with_its_sandbox() {
        let ticker = Ticker::start(vec![]).unwrap();
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        eventually("the thread ends", || shared.strong_count() == 0);
    }
}
