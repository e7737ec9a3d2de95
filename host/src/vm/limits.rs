//! Limits of the sandbox.

use std::path::PathBuf;

/// Limits of the sandbox.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Most memory of one instance, in bytes: the size of a slot of the pool.
    pub max_guest_memory: usize,
    /// Most instances alive at once; `None`: derived from the kernel's map limit.
    pub max_instances: Option<usize>,
    /// Largest component file, in bytes.
    pub max_component_bytes: usize,
    /// What compiling a component may cost.
    pub compile: CompileLimits,
    /// Where compiled code is kept; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Most that one call may print, in bytes; the rest is dropped.
    pub max_output_bytes: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            max_guest_memory: 64 << 20,
            max_instances: None,
            max_component_bytes: 32 << 20,
            compile: CompileLimits::default(),
            cache_dir: None,
            max_output_bytes: 16 << 10,
        }
    }
}

/// Limits of what compiling a component may cost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CompileLimits {
    /// Most that all functions may cost together: see [`CompileLimits::function`].
    pub component: u64,
    /// Most that one function may cost: its bytes, and one for every [`CROSSINGS`] pairs of a
    /// variable and a jump.
    pub function: u64,
    /// Most functions.
    pub functions: u64,
    /// Most bytes of types, imports, exports, tables and the like: all but code and data.
    pub structure_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component: 24_000_000,
            function: 1_000_000,
            functions: 60_000,
            structure_bytes: 2 << 20,
        }
    }
}

/// Pairs of a variable and a jump that cost as much as a byte of code: a variable may need a new
/// name behind each jump, once more for each loop around it. 4,000 variables in 1,900 nested loops,
/// 37 KB of code, take 13 s and 180 MiB to compile.
pub const CROSSINGS: u64 = 8;
