//! Clocks: the wall clock stands still, the monotonic one moves by being read, timers are ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock,
    p2::{DynPollable, Pollable, bindings::clocks::monotonic_clock, subscribe},
};

use super::World;

/// Nanoseconds by which a read moves the monotonic clock.
const STEP: u64 = 1000;

/// Both clocks of an instance.
#[derive(Clone, Default)]
pub(super) struct VirtualClock {
    wall_ms: Arc<AtomicU64>,
    monotonic_ns: Arc<AtomicU64>,
}

impl VirtualClock {
    /// Puts the wall clock at `at` (ms since 1970) and the monotonic one at 0.
    pub(super) fn reset(&self, at: u64) {
        self.wall_ms.store(at, Relaxed);
        self.monotonic_ns.store(0, Relaxed);
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.wall_ms.load(Relaxed))
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        STEP
    }

    fn now(&self) -> u64 {
        self.monotonic_ns.fetch_add(STEP, Relaxed)
    }
}

/// Waiting is over when it begins: the clock jumps to the time that is waited for, or a guest
/// that polls until then would spin for ever.
struct Clocks;

struct ClocksOf<'a> {
    table: &'a mut ResourceTable,
    clock: &'a VirtualClock,
}

impl HasData for Clocks {
    type Data<'a> = ClocksOf<'a>;
}

struct Ready;

#[async_trait::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

impl ClocksOf<'_> {
    fn ready(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let ready = self.table.push(Ready)?;
        subscribe(self.table, ready)
    }
}

impl monotonic_clock::Host for ClocksOf<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::now(self.clock))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(STEP)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.monotonic_ns.fetch_max(when, Relaxed);
        self.ready()
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.clock.monotonic_ns.load(Relaxed);
        self.clock.monotonic_ns.store(now.saturating_add(duration), Relaxed);
        self.ready()
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<World, Clocks>(linker, |world| ClocksOf {
        table: &mut world.table,
        clock: &world.clock,
    })
}
