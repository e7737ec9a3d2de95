//! A component in the role of one aggregate: its functions, its types, and what is known of how
//! long its calls take.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use aether_wit::{
    Digest, Model,
    model::{Aggregate, Isolation, Runtime},
    wit::upcasts_name,
};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{ComponentExportIndex, types::ComponentItem};

use super::{
    Component, Guest, LoadError,
    call::{Call, Function, Values},
    check::{self, ContextFields},
    component::listed,
};
use crate::{address::Address, json::AggregatePlans};

/// A component in the role of one aggregate of one model.
pub struct Behaviour {
    pub(super) component: Arc<Component>,
    pub(super) plans: Arc<AggregatePlans>,
    pub(super) context_fields: ContextFields,
    pub(super) memory: usize,
    pub(super) isolation: Isolation,
    pub(super) credit: Credit,
    pub(super) spare: Spare,
    exports: Exports,
    model: Arc<Model>,
    aggregate: String,
}

struct Exports {
    initial: ComponentExportIndex,
    decide: ComponentExportIndex,
    evolve: ComponentExportIndex,
    /// Only where the model lists events that the component upcasts.
    upcast: Option<ComponentExportIndex>,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Behaviour({} by {})", self.name(), self.component.digest)
    }
}

impl Behaviour {
    /// Checks the exports of `component` against `plans`.
    pub(super) fn new(
        component: &Arc<Component>,
        model: &Arc<Model>,
        aggregate: &str,
        plans: Arc<AggregatePlans>,
    ) -> Result<Self, LoadError> {
        let mismatch = |detail| LoadError::Mismatch { component: component.digest, detail };
        let code = &component.code;
        let engine = code.engine();
        let ty = code.component_type();
        let name = format!("{}:model/{aggregate}", model.context);
        let interface = |name: &str| match ty.get_export(engine, name).map(|export| export.ty) {
            Some(ComponentItem::ComponentInstance(interface)) => Ok(interface),
            _ => {
                let has = listed(ty.exports(engine).map(|(name, _)| name));
                Err(mismatch(format!(
                    "it does not export the interface `{name}`; it exports {}",
                    if has.is_empty() { "nothing" } else { &has }
                )))
            }
        };
        let context_fields =
            check::aggregate(engine, &interface(&name)?, aggregate, &plans).map_err(mismatch)?;
        let function = |interface: &str, function: Function| {
            let index = code.get_export_index(None, interface);
            code.get_export_index(index.as_ref(), function.name())
                .ok_or_else(|| mismatch(format!("it exports no function `{}`", function.name())))
        };
        let declared = model.aggregates.get(aggregate);
        let upcasts = format!("{}:model/{}", model.context, upcasts_name(aggregate));
        let upcast = if declared.is_some_and(Aggregate::component_upcasts) {
            let found = interface(&upcasts)?;
            check::upcasts(engine, &found, &upcasts_name(aggregate), &plans).map_err(mismatch)?;
            Some(function(&upcasts, Function::Upcast)?)
        } else {
            None
        };
        let exports = Exports {
            initial: function(&name, Function::Initial)?,
            decide: function(&name, Function::Decide)?,
            evolve: function(&name, Function::Evolve)?,
            upcast,
        };
        let runtime = declared.map(|found| found.runtime.clone());
        let Runtime { memory, isolation, .. } = runtime.unwrap_or_default();
        let most = component.shared.config.max_guest_memory;
        Ok(Self {
            component: Arc::clone(component),
            credit: Credit::new(plans.commands.cases.len()),
            spare: Spare::default(),
            plans,
            context_fields,
            memory: usize::try_from(memory).unwrap_or(usize::MAX).min(most),
            isolation,
            exports,
            model: Arc::clone(model),
            aggregate: aggregate.to_owned(),
        })
    }

    /// The plans of the aggregate's values.
    #[must_use]
    pub fn plans(&self) -> &Arc<AggregatePlans> {
        &self.plans
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The component's digest.
    #[must_use]
    pub fn component(&self) -> Digest {
        self.component.digest
    }

    /// A guest that will serve `actor` and no other.
    #[must_use]
    pub fn guest(self: &Arc<Self>, actor: &Address) -> Guest {
        Guest::new(self, actor)
    }

    /// `CONTEXT/AGGREGATE`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.model.context, self.aggregate)
    }

    /// Where `function` stands among the exports; only `upcast` may be missing.
    pub(super) const fn export(&self, function: Function) -> Option<&ComponentExportIndex> {
        match function {
            Function::Initial => Some(&self.exports.initial),
            Function::Decide => Some(&self.exports.decide),
            Function::Evolve => Some(&self.exports.evolve),
            Function::Upcast => self.exports.upcast.as_ref(),
        }
    }
}

/// What an actor's randomness begins with: the same in every host, and different for each actor.
pub(super) fn seed(actor: &Address) -> u64 {
    let hash = Sha256::digest(format!("{actor} randomness"));
    hash.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Bytes of packed arguments beyond which their values are not kept: those take some thirty times
/// as much.
const MAX_SPARE_BYTES: usize = 16 << 10;

/// Values of calls that are over, for the next ones to read theirs into: about as many as calls ran
/// at once.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<Values>>);

impl Spare {
    pub(super) fn take(&self) -> Values {
        self.lock().pop().unwrap_or_default()
    }

    /// Keeps the values of a call whose arguments had `bytes`.
    pub(super) fn keep(&self, values: Values, bytes: usize) {
        if bytes <= MAX_SPARE_BYTES {
            self.lock().push(values);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Values>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls that must be quick on the slow thread before the same kind of call runs inline again.
const GOOD_CALLS: u8 = 16;

/// Events that one command gives at most in the ordinary; more is replay.
const SMALL_BATCH: usize = 16;

/// Which kinds of call have overrun lately, and so may not run on a runtime's thread for a while.
///
/// A kind is a command, or replay, or making an instance: a command that is always slow costs one
/// wasted slice now and then, and the other commands none.
pub(super) struct Credit(Box<[AtomicU8]>);

/// A kind of call: an index into the credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(usize);

impl Kind {
    /// Making an instance.
    pub(super) const NEW_INSTANCE: Self = Self(0);

    pub(super) fn of(call: &Call<'_>) -> Self {
        match call {
            Call::Initial => Self(1),
            Call::Upcast { .. } => Self(2),
            Call::Evolve { events, .. } if events.len() <= SMALL_BATCH => Self(2),
            Call::Evolve { .. } => Self(3),
            Call::Decide { command, .. } => Self(4 + command.case),
        }
    }
}

impl Credit {
    fn new(commands: usize) -> Self {
        Self((0..4 + commands).map(|_| AtomicU8::new(0)).collect())
    }

    /// Whether a call of this kind may run inline.
    pub(super) fn inline(&self, kind: Kind) -> bool {
        self.0.get(kind.0).is_none_or(|owed| owed.load(Relaxed) == 0)
    }

    /// A call of this kind has overrun its slice.
    pub(super) fn overrun(&self, kind: Kind) {
        if let Some(owed) = self.0.get(kind.0) {
            owed.store(GOOD_CALLS, Relaxed);
        }
    }

    /// A call of this kind took this long on the slow thread; a slice is `slice`.
    pub(super) fn took(&self, kind: Kind, time: Duration, slice: Duration) {
        if time > slice {
            self.overrun(kind);
        } else if let Some(owed) = self.0.get(kind.0) {
            // Several calls may end at once: none may take it below zero.
            let _ = owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_comes_back_after_good_calls() {
        let credit = Credit::new(1);
        let (slow, other) = (Kind(4), Kind(1));
        let ms = Duration::from_millis;
        credit.overrun(slow);
        for _ in 0..GOOD_CALLS {
            assert!(!credit.inline(slow) && credit.inline(other));
            credit.took(slow, ms(1), ms(2));
        }
        assert!(credit.inline(slow));
        credit.took(slow, ms(3), ms(2));
        assert!(!credit.inline(slow));
        assert!(credit.inline(Kind(99)), "a kind that is not known has no debts");
    }

    #[test]
    fn randomness_belongs_to_the_actor() {
        let actor = |id| Address::new("bank", "account", id).unwrap();
        assert_eq!(seed(&actor("a")), seed(&actor("a")));
        assert_ne!(seed(&actor("a")), seed(&actor("b")));
    }
}
