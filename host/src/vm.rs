//! The sandbox: where components are compiled, checked and called.
//!
//! This module and those below it are the only place that names wasmtime. A [`Sandbox`] compiles
//! bytes to a [`Component`] that imports nothing but a virtual WASI; a component is checked
//! against a model and becomes the [`Behaviour`] of an aggregate; an awake actor has a [`Guest`],
//! whose calls run inline on the runtime's thread for up to two milliseconds and otherwise on the
//! slow thread of the component. Nothing that a component does can stall another actor for
//! longer, or change what another one sees.

mod behaviour;
mod cache;
mod call;
mod check;
mod component;
mod context;
mod engine;
mod guest;
mod instance;
mod instances;
mod limit;
mod limits;
mod loaders;
mod slow;
mod survey;
#[cfg(test)]
mod tests;
mod ticker;
mod values;
mod wasi;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use aether_wit::Digest;

pub use self::{
    behaviour::Behaviour,
    component::Component,
    guest::Guest,
    limits::{CompileLimits, SandboxConfig},
};
use self::{
    cache::Cache, component::Linkers, engine::Engines, instance::Instance, instances::Instances,
    loaders::Loaders, ticker::Ticker,
};
use crate::json::PackedCase;

/// Compiles components and gives their instances. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

/// What the components of a sandbox share.
struct Shared {
    config: SandboxConfig,
    engines: Engines,
    linkers: Linkers,
    instances: Instances<Box<Instance>>,
    cache: Cache,
    ticker: Ticker,
    loaders: Loaders,
    /// The components that somebody holds: the same bytes are not compiled or mapped again.
    loaded: Mutex<HashMap<Digest, Weak<Component>>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sandbox").field(&self.0.config).finish()
    }
}

impl Sandbox {
    /// A sandbox with these limits. Starts the thread that drives deadlines.
    ///
    /// # Errors
    /// If the machine cannot give what the limits ask.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let engines = Engines::new(&config)?;
        let linkers = Linkers::new(&engines)
            .map_err(|error| SandboxError(format!("the virtual WASI does not link: {error:#}")))?;
        Ok(Self(Arc::new(Shared {
            instances: Instances::new(engines.max_instances),
            cache: Cache::new(config.cache_dir.clone()),
            ticker: Ticker::start(vec![engines.pooled.clone(), engines.on_demand.clone()])?,
            loaders: Loaders::start()?,
            loaded: Mutex::default(),
            config,
            engines,
            linkers,
        })))
    }

    /// Compiles a component, or takes it from the cache, and checks what it imports; gives the one
    /// that is loaded already if somebody still holds it. What was compiled is in the cache only after
    /// [`Component::keep`]. Slow: runs on threads of its own, of lower priority than those that serve.
    ///
    /// # Errors
    /// If the bytes are not a component that this sandbox takes.
    pub async fn load(&self, bytes: bytes::Bytes) -> Result<Arc<Component>, LoadError> {
        let shared = Arc::clone(&self.0);
        let loaded = self.0.loaders.run(move || Component::load(&shared, &bytes)).await;
        loaded.unwrap_or(Err(LoadError::Stopped))
    }

    /// Most instances alive at once.
    #[must_use]
    pub fn max_instances(&self) -> usize {
        self.0.instances.max()
    }

    /// Instances alive now, idle ones included.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.0.instances.alive()
    }
}

/// The sandbox cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SandboxError(pub String);

/// Why a component is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is larger than a component may be.
    #[error(
        "the component has {bytes} bytes: at most {limit} are taken; build it for release, or raise `max-component-bytes`"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Compiling it would take too much time or memory.
    #[error(
        "the component has {found} {what}: at most {limit} are taken, for compiling more takes too long; make it smaller{}",
        setting.map_or_else(String::new, |name| format!(", or raise `{name}`"))
    )]
    TooCostly {
        /// What there is too much of.
        what: &'static str,
        /// How much of it, as far as it was read.
        found: u64,
        /// How much may be.
        limit: u64,
        /// The setting that holds the limit; none if it is fixed.
        setting: Option<&'static str>,
    },
    /// It is a core module.
    #[error(
        "the file is a core WebAssembly module, not a component: build it for wasm32-wasip2, or make one of it with `aether componentize`"
    )]
    CoreModule,
    /// It is no component at all, or a damaged one.
    #[error("the file is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// It imports what a component may not import.
    #[error("the component is refused: {detail}")]
    Import {
        /// Which imports, and what is allowed.
        detail: String,
    },
    /// It starts with more memory than it may have.
    #[error(
        "the component needs {needs} bytes of memory to start and may have {limit}: make its memory or stack smaller, or raise the limit"
    )]
    Memory {
        /// What it needs before it runs.
        needs: usize,
        /// What it may have.
        limit: usize,
    },
    /// Its exports are not what the model says.
    #[error("component {}: {detail}", component.short())]
    Mismatch {
        /// The component.
        component: Digest,
        /// Which element differs, with both types.
        detail: String,
    },
    /// The host is being stopped.
    #[error("the host is being stopped")]
    Stopped,
}

/// The time that a component still has: one budget for all calls of one command, or for one batch
/// of replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget(Duration);

impl Budget {
    /// A budget of this much time in the component.
    #[must_use]
    pub const fn new(time: Duration) -> Self {
        Self(time)
    }

    /// What is left of it.
    #[must_use]
    pub const fn left(&self) -> Duration {
        self.0
    }

    fn spend(&mut self, time: Duration) {
        self.0 = self.0.saturating_sub(time);
    }
}

/// What a component may know of the command that it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The actor's version before the command.
    pub version: u64,
    /// The command's id.
    pub command_id: String,
    /// The correlation id.
    pub correlation_id: String,
    /// The host's time of receipt, in ms since 1970.
    pub at: u64,
    /// The authenticated principal.
    pub by: Option<Arc<str>>,
    /// The command's random number.
    pub seed: u64,
}

/// What a component said to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These events, which may be none.
    Events(Vec<PackedCase>),
    /// No, for this reason.
    Rejected(PackedCase),
}

/// A call that gave no answer. The instance is gone; state and log are untouched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// For people: the component's digest, the function, the trap, what it printed last.
    pub detail: String,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The component trapped: a panic, an `unreachable`, a stack overflow, an exit.
    Trap,
    /// It took longer than its deadline.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// It gave something that the contract does not allow.
    Contract,
    /// The host has no instance to give: all are busy.
    NoInstance,
}
