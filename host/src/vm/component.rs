//! Loading: bytes to a compiled component that imports nothing but what the sandbox gives.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use aether_wit::{Digest, Model};
use wasmtime::{
    Engine,
    component::{InstancePre, Linker, types::ComponentItem},
};

use super::{
    Behaviour, LoadError, Shared,
    cache::{Found, Unkept},
    engine::{Engines, WASM_PAGE},
    slow::SlowThread,
    wasi::{self, World},
};
use crate::json::AggregatePlans;

/// How a core module begins; a component differs in the last four bytes.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The one interface of ours that a component may import: types only.
const CONTRACT_TYPES: &str = "aether:host/types";

/// A compiled component.
pub struct Component {
    pub(super) shared: Arc<Shared>,
    pub(super) digest: Digest,
    pub(super) code: wasmtime::component::Component,
    pub(super) pre: InstancePre<World>,
    pub(super) slow: SlowThread,
    /// Whose turn it is to go there.
    pub(super) slow_turn: tokio::sync::Mutex<()>,
    /// Its code, until it is kept.
    unkept: Mutex<Option<Unkept>>,
    pooled: bool,
    first_memory: usize,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Component({})", self.digest)
    }
}

impl Component {
    /// The component of `bytes`: the one that is loaded already, or a new one. Slow: not for a
    /// runtime's own threads.
    pub(super) fn load(shared: &Arc<Shared>, bytes: &[u8]) -> Result<Arc<Self>, LoadError> {
        let digest = Digest::of(bytes);
        let loaded = || shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = loaded().get(&digest).and_then(Weak::upgrade) {
            return Ok(component);
        }
        let component = Arc::new(Self::new(shared, digest, bytes)?);
        let mut loaded = loaded();
        loaded.retain(|_, component| component.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&component));
        Ok(component)
    }

    /// Compiles `bytes`, or takes them from the cache, and checks what they import.
    fn new(shared: &Arc<Shared>, digest: Digest, bytes: &[u8]) -> Result<Self, LoadError> {
        let limit = shared.config.max_component_bytes;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { bytes: bytes.len(), limit });
        }
        if bytes.starts_with(CORE_MODULE) {
            return Err(LoadError::CoreModule);
        }
        let limits = &shared.config.compile;
        let found = shared.cache.component(&shared.engines, limits, digest, bytes)?;
        let Found { component: code, unfit: refused, unkept } = found;
        check_imports(&code)?;
        let first_memory = first_memory(&code, shared.config.max_guest_memory)?;
        let linkers = &shared.linkers;
        let linker = if refused.is_none() { &linkers.pooled } else { &linkers.on_demand };
        let pre = linker
            .instantiate_pre(&code)
            .map_err(|error| LoadError::Import { detail: format!("{error:#}") })?;
        if let Some(reason) = &refused {
            tracing::info!(component = %digest, %reason, "the component does not fit the pool: its instances are made on demand, which takes longer");
        }
        Ok(Self {
            shared: Arc::clone(shared),
            digest,
            code,
            pre,
            slow: SlowThread::default(),
            slow_turn: tokio::sync::Mutex::default(),
            unkept: Mutex::new(unkept),
            pooled: refused.is_none(),
            first_memory,
        })
    }

    /// Writes its compiled code to the cache, for the next start, if it is not there: to be called as
    /// soon as it is clear that the component is wanted. Slow, as loading is.
    pub async fn keep(&self) {
        let unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unkept) = unkept {
            self.shared.loaders.run(move || unkept.keep()).await;
        }
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether its instances come from the pool; if not, each takes longer to make.
    #[must_use]
    pub const fn pooled(&self) -> bool {
        self.pooled
    }

    /// Names of the aggregates of `context` that it exports.
    #[must_use]
    pub fn aggregates(&self, context: &str) -> Vec<String> {
        let prefix = format!("{context}:model/");
        let ty = self.code.component_type();
        let exports = ty.exports(self.code.engine());
        exports
            .filter(|(_, export)| match &export.ty {
                ComponentItem::ComponentInstance(interface) => {
                    interface.get_export(self.code.engine(), "decide").is_some()
                }
                _ => false,
            })
            .filter_map(|(name, _)| name.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }

    /// The component as the behaviour of an aggregate: its exports are checked against the model.
    ///
    /// # Errors
    /// Which element differs, with both types.
    pub fn behaviour(
        self: &Arc<Self>,
        model: &Arc<Model>,
        aggregate: &str,
    ) -> Result<Arc<Behaviour>, LoadError> {
        let Some(found) = model.aggregates.get(aggregate) else {
            return Err(LoadError::Mismatch {
                component: self.digest,
                detail: format!("the model `{}` has no aggregate `{aggregate}`", model.context),
            });
        };
        let memory = usize::try_from(found.runtime.memory).unwrap_or(usize::MAX);
        if self.first_memory > memory {
            return Err(LoadError::Memory { needs: self.first_memory, limit: memory });
        }
        let plans = Arc::new(AggregatePlans::new(model, found));
        Behaviour::new(self, model, aggregate, plans).map(Arc::new)
    }
}

/// Bytes of memory that the component has before it runs.
fn first_memory(code: &wasmtime::component::Component, limit: usize) -> Result<usize, LoadError> {
    // In pages of WebAssembly.
    let pages = code.resources_required().and_then(|required| required.max_initial_memory_size);
    let pages = usize::try_from(pages.unwrap_or(0)).unwrap_or(usize::MAX);
    let needs = pages.saturating_mul(WASM_PAGE);
    if needs > limit { Err(LoadError::Memory { needs, limit }) } else { Ok(needs) }
}

/// Refuses every import that is not of the virtual WASI and can do something.
fn check_imports(code: &wasmtime::component::Component) -> Result<(), LoadError> {
    let engine = code.engine();
    let ty = code.component_type();
    let refused: Vec<_> = ty
        .imports(engine)
        .filter(|(name, import)| !allowed(engine, name, &import.ty))
        .map(|(name, _)| name)
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let known = format!("`{CONTRACT_TYPES}`, types of the model, and WASI 0.2: {}", wasi_names());
    Err(LoadError::Import {
        detail: format!("it imports {}; a component may import {known}", listed(refused)),
    })
}

/// Most names that a message shows.
const MAX_LISTED: usize = 12;

/// `a`, `b` and 7 more.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn allowed(engine: &Engine, name: &str, item: &ComponentItem) -> bool {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if wasi::INTERFACES.contains(&interface) {
        return version.starts_with("0.2.");
    }
    let of_model = interface == CONTRACT_TYPES || interface.contains(":model/");
    match item {
        ComponentItem::ComponentInstance(instance) => {
            of_model
                && instance
                    .exports(engine)
                    .all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => true,
        _ => false,
    }
}

/// The interfaces of WASI by package: `wasi:io/{error, poll, streams}`.
fn wasi_names() -> String {
    let mut packages: Vec<(&str, Vec<&str>)> = vec![];
    for name in wasi::INTERFACES {
        let (package, interface) = name.split_once('/').unwrap_or((name, ""));
        match packages.last_mut() {
            Some((last, interfaces)) if *last == package => interfaces.push(interface),
            _ => packages.push((package, vec![interface])),
        }
    }
    let packages = packages
        .into_iter()
        .map(|(package, interfaces)| format!("`{package}/{{{}}}`", interfaces.join(", ")));
    packages.collect::<Vec<_>>().join(", ")
}

/// What components may import, for each engine.
pub(super) struct Linkers {
    pooled: Linker<World>,
    on_demand: Linker<World>,
}

impl Linkers {
    pub(super) fn new(engines: &Engines) -> wasmtime::Result<Self> {
        let linker = |engine: &Engine| -> wasmtime::Result<_> {
            let mut linker = Linker::new(engine);
            wasi::add_to_linker(&mut linker)?;
            Ok(linker)
        };
        Ok(Self { pooled: linker(&engines.pooled)?, on_demand: linker(&engines.on_demand)? })
    }
}
