//! The engines: how components are compiled and how much each of their instances may take.
//!
//! There are two with the same settings for code. One takes instances from a pool of prepared
//! slots, which makes a new instance cost about 15 µs; the other makes them on demand (about
//! 70 µs) and serves the components that do not fit a slot. The pool's size is bound by the
//! kernel's limit of maps per process: an instance of a Rust component takes four, and a process
//! that runs out of them fails in unrelated places, so the limit is kept well below.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, RegallocAlgorithm,
};

use super::{SandboxConfig, SandboxError};

/// Stack of guest code, in bytes: a quarter of a thread's 2 MiB, the rest is the host's own.
pub(super) const MAX_WASM_STACK: usize = 512 << 10;

/// Maps that one instance with a copy-on-write image takes (measured).
const MAPS_PER_INSTANCE: usize = 4;

/// Share of the process's maps that instances may take, in percent; the rest is for threads,
/// files and the allocator.
const MAP_SHARE_PERCENT: usize = 80;

/// Address space that the pool may reserve, in bytes: half of the 47 bits of a process.
const MAX_ADDRESS_SPACE: usize = 1 << 46;

/// What Linux allows by default, assumed where it cannot be read.
const DEFAULT_MAX_MAP_COUNT: usize = 65_530;

/// Core instances of a component that fits the pool; a Rust component has three or four.
const CORE_INSTANCES: u32 = 4;

/// Tables of a component that fits the pool; a Rust component has two or three.
const TABLES: u32 = 3;

/// Elements of a table in the pool: address space only until they are used.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// What decides, beside the size of a slot, whether a component fits the pool.
pub(super) const POOL_SHAPE: [u32; 3] = [CORE_INSTANCES, TABLES, TABLE_ELEMENTS as u32];

/// Memory of a slot that stays resident when its instance goes, in bytes: enough for what a
/// small component touches, so that its successor takes no page faults.
const KEEP_RESIDENT: usize = 256 << 10;

/// Memory of a table that stays resident, in bytes.
const KEEP_TABLE_RESIDENT: usize = 16 << 10;

/// A page of WebAssembly's memory, in bytes.
pub(super) const WASM_PAGE: usize = 64 << 10;

/// Both engines, and how many instances they may have together.
pub(super) struct Engines {
    pub(super) pooled: Engine,
    pub(super) on_demand: Engine,
    pub(super) max_instances: usize,
}

impl Engines {
    pub(super) fn new(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let slot = config.max_guest_memory.div_ceil(WASM_PAGE).saturating_mul(WASM_PAGE);
        if slot == 0 || slot > 4 << 30 {
            return Err(SandboxError(format!(
                "the memory of a component cannot be limited to {} bytes: expected 1 to {} bytes",
                config.max_guest_memory,
                4_u64 << 30
            )));
        }
        let max_instances = instances(config.max_instances, slot)?;
        let made = |settings: &Config, what: &str| {
            Engine::new(settings).map_err(|error| {
                SandboxError(format!(
                    "{what} cannot be made for {max_instances} instances of {slot} bytes: {error:#}; lower the instance limit or the memory of a component"
                ))
            })
        };
        let mut settings = settings(slot);
        let on_demand = made(&settings, "the engine")?;
        settings
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_instances, slot)));
        let pooled = made(&settings, "the pool of instances")?;
        Ok(Self { pooled, on_demand, max_instances })
    }
}

/// What decides how code is compiled and run. Everything that could make two hosts differ on the
/// same input is fixed here: NaN bits, relaxed SIMD, threads (not compiled in at all).
fn settings(slot: usize) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(MAX_WASM_STACK)
        .memory_init_cow(true)
        .memory_reservation(slot as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0)
        .guard_before_linear_memory(false);
    config
}

fn pool(instances: usize, slot: usize) -> PoolingAllocationConfig {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances)
        .max_memories_per_component(1)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .total_stacks(0)
        .max_memory_size(slot)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_TABLE_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The instance limit: what was asked, or what this machine gives.
fn instances(asked: Option<usize>, slot: usize) -> Result<usize, SandboxError> {
    let maps = max_map_count();
    let by_maps = maps * MAP_SHARE_PERCENT / 100 / MAPS_PER_INSTANCE;
    let by_space = MAX_ADDRESS_SPACE / slot;
    let most = by_maps.min(by_space).max(1);
    match asked {
        None => Ok(most),
        Some(0) => Err(SandboxError("the instance limit is 0: expected at least 1".into())),
        Some(n) if n > by_maps => Err(SandboxError(format!(
            "{n} instances need {} memory maps and this machine allows a process {maps}: ask for at most {by_maps}, or raise vm.max_map_count",
            n.saturating_mul(MAPS_PER_INSTANCE)
        ))),
        Some(n) if n > by_space => Err(SandboxError(format!(
            "{n} instances of {slot} bytes need more address space than a process has: ask for at most {by_space}, or lower the memory of a component"
        ))),
        Some(n) => Ok(n),
    }
}

fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAP_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_limit_keeps_below_the_machine() {
        let derived = instances(None, 64 << 20).unwrap();
        assert_eq!(derived, max_map_count() * 80 / 100 / 4);
        assert_eq!(instances(Some(10), 64 << 20).unwrap(), 10);
        let text = instances(Some(derived + 1), 64 << 20).unwrap_err().to_string();
        assert!(text.contains("vm.max_map_count"), "{text}");
        let text = instances(Some(derived), 1 << 36).unwrap_err().to_string();
        assert!(text.contains("address space"), "{text}");
        assert!(instances(Some(0), 1 << 20).is_err());
    }
}
