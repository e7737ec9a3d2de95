//! The virtual WASI 0.2: what runtimes import is there, and gives a pure function nothing to see.
//!
//! It is `wasmtime-wasi` with its own hooks for clocks, randomness and output, and with the four
//! pieces laid over it that would wait in real time or enter the async runtime, which panics on
//! the runtime's own threads ([`mod@io`], [`mod@clocks`], UDP). Everything that a component can
//! read begins anew at every call ([`World::begin`]); files and sockets are refused as errors.

mod clocks;
mod io;
mod output;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use wasmtime::{
    ResourceLimiter,
    component::{Linker, ResourceTable, Val},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub(super) use self::output::Printed;
use self::{
    clocks::VirtualClock,
    output::{Buffer, Pipe},
};
use super::{engine::TABLE_ELEMENTS, limit::Extension};

/// The WASI version of `wasmtime-wasi`: a piece laid over it must have exactly its name.
const VERSION: &str = "0.2.12";

/// Handles that a component may hold at once: streams, pollables, errors.
const MAX_HANDLES: usize = 256;

/// Random bytes that one call may ask for at once.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Interfaces that a component may import, without their version (any `0.2`).
pub(super) const INTERFACES: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What one instance sees of the world, and the limits on what it may take.
pub(super) struct World {
    wasi: WasiCtx,
    table: ResourceTable,
    clock: VirtualClock,
    /// Where both random streams stand.
    random: [Arc<AtomicU64>; 2],
    seed: u64,
    printed: Arc<Mutex<Buffer>>,
    memory_left: usize,
    memory_denied: bool,
    /// How far the running call may go beyond its ticks.
    pub(super) extension: Option<Extension>,
}

impl World {
    /// A world with `memory` bytes, whose randomness comes from `seed`.
    pub(super) fn new(memory: usize, seed: u64) -> Self {
        let clock = VirtualClock::default();
        let random = [Arc::new(AtomicU64::new(seed)), Arc::new(AtomicU64::new(!seed))];
        let printed = Arc::new(Mutex::new(Buffer::default()));
        let stream = |at: &Arc<AtomicU64>| SplitMix(Arc::clone(at));
        let [secure, insecure] = &random;
        let wasi = WasiCtx::builder()
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .secure_random(stream(secure))
            .insecure_random(stream(insecure))
            .insecure_random_seed(u128::from(seed))
            .max_random_size(MAX_RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdout(Pipe::stdout(&printed))
            .stderr(Pipe::stderr(&printed))
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            wasi,
            table,
            clock,
            random,
            seed,
            printed,
            memory_left: memory,
            memory_denied: false,
            extension: None,
        }
    }

    /// Starts a call: the wall clock stands at `at` (ms since 1970), everything else begins anew,
    /// and `output` bytes may be printed.
    pub(super) fn begin(&mut self, at: u64, output: usize) {
        self.clock.reset(at);
        let [secure, insecure] = &self.random;
        secure.store(self.seed, Relaxed);
        insecure.store(!self.seed, Relaxed);
        self.memory_denied = false;
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).restart(output);
    }

    /// What was printed since [`Self::begin`].
    pub(super) fn printed(&self) -> Printed {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether memory was refused since [`Self::begin`].
    pub(super) const fn memory_denied(&self) -> bool {
        self.memory_denied
    }
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The limit is on all memories of an instance together.
impl ResourceLimiter for World {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if more > self.memory_left {
            self.memory_denied = true;
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_left -= more;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let denied = desired > TABLE_ELEMENTS;
        self.memory_denied |= denied;
        Ok(!denied && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

/// Lays the virtual WASI into `linker`. Nothing in it blocks, waits or enters a runtime, so
/// components can be called on any thread.
pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    io::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    // The original of UDP enters the runtime before it refuses.
    for protocol in ["tcp", "udp"] {
        let interface = format!("wasi:sockets/{protocol}-create-socket@{VERSION}");
        linker.instance(&interface)?.func_new(
            &format!("create-{protocol}-socket"),
            move |store, _, _, results| {
                let mut printed =
                    store.data().printed.lock().unwrap_or_else(PoisonError::into_inner);
                printed.note(&format!("the component asked for a {protocol} socket: refused"));
                if let Some(result) = results.first_mut() {
                    let denied = Val::Enum("access-denied".into());
                    *result = Val::Result(Err(Some(Box::new(denied))));
                }
                Ok(())
            },
        )?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// SplitMix64: a stream of numbers that is the same for the same start.
struct SplitMix(Arc<AtomicU64>);

impl SplitMix {
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl rand::TryRng for SplitMix {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_random_stream_is_fixed_and_restarts() {
        use rand::TryRng as _;
        let at = Arc::new(AtomicU64::new(0));
        let mut stream = SplitMix(Arc::clone(&at));
        // The first outputs of SplitMix64 from 0, as published.
        assert_eq!(stream.try_next_u64(), Ok(0xE220_A839_7B1D_CDAF));
        assert_eq!(stream.try_next_u64(), Ok(0x6E78_9E6A_A1B9_65F4));
        at.store(0, Relaxed);
        let mut bytes = [0; 12];
        stream.try_fill_bytes(&mut bytes).unwrap();
        assert_eq!(bytes[..8], 0xE220_A839_7B1D_CDAF_u64.to_le_bytes());
    }

    #[test]
    fn memory_is_counted_over_all_memories() {
        let mut world = World::new(100, 0);
        assert!(world.memory_growing(0, 60, None).unwrap());
        assert!(!world.memory_growing(0, 50, Some(49)).unwrap());
        assert!(world.memory_denied());
        world.begin(0, 0);
        assert!(world.memory_growing(0, 40, None).unwrap());
        assert!(!world.memory_denied());
        assert!(!world.memory_growing(40, 41, None).unwrap());
    }
}
