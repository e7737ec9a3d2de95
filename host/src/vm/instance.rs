//! One instance of a component: made for one actor, called, and dropped for good at its first
//! failure.

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace, component::Func};
use wasmtime_wasi::I32Exit;

use super::{
    Behaviour, Fault, FaultKind,
    behaviour::seed,
    call::{Answer, Call, Function, MAX_EVENTS, Refused},
    instances::Permit,
    limit::{self, Limit},
    values::BLANK,
    wasi::{Printed, World},
};
use crate::address::Address;

/// Longest text of an error in a fault, in characters.
const MAX_DETAIL: usize = 600;

/// Functions of the component that a fault names, innermost first.
const MAX_FRAMES: usize = 4;

/// Most tries to find a slot of the pool. A [`Permit`] says that there is one, but wasmtime looks
/// through its shards one after the other (`index_allocator.rs`): in a full pool it misses a slot
/// that is freed in a shard that it has left while another is taken in the one it comes to.
const POOL_TRIES: usize = 16;

/// An instance and the permit that it holds.
pub(super) struct Instance {
    // Dropped in this order: the permit says that the memory has been given back.
    store: Store<World>,
    functions: Functions,
    _permit: Permit,
}

/// A store with the component's functions in it.
type Placed = (Store<World>, Functions);

/// The functions of the contract in one instance.
struct Functions {
    initial: Func,
    decide: Func,
    evolve: Func,
    /// None if the model lists no events that the component upcasts.
    upcast: Option<Func>,
}

/// A failed try, and what was printed in it.
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) printed: Printed,
}

impl Instance {
    /// Makes an instance for `actor` within `limit`.
    pub(super) fn new(
        behaviour: &Behaviour,
        actor: &Address,
        permit: Permit,
        limit: Limit,
    ) -> Result<Self, Failure> {
        let mut tries = 1;
        let made = loop {
            match Self::place(behaviour, actor, limit) {
                Err(failed) if failed.0.is::<PoolConcurrencyLimitError>() && tries < POOL_TRIES => {
                    tries += 1;
                }
                made => break made,
            }
        };
        match made {
            Ok((store, functions)) => Ok(Self { store, functions, _permit: permit }),
            Err(failed) => Err(failure(behaviour, None, &failed.0, &failed.1)),
        }
    }

    /// One try to make an instance; what was printed in a failed one is in its world.
    fn place(
        behaviour: &Behaviour,
        actor: &Address,
        limit: Limit,
    ) -> Result<Placed, Box<(wasmtime::Error, World)>> {
        let shared = &behaviour.component.shared;
        let pre = &behaviour.component.pre;
        let mut world = World::new(behaviour.memory, seed(actor));
        world.begin(0, shared.config.max_output_bytes);
        let mut store = Store::new(pre.engine(), world);
        store.limiter(|world| world);
        store.epoch_deadline_callback(|mut store| Ok(limit::over(store.data_mut())));
        limit.set(&mut store);
        let running = shared.ticker.enter();
        let made = pre.instantiate(&mut store);
        drop(running);
        let functions = made.and_then(|instance| {
            let mut function = |function: Function| {
                let found = behaviour.export(function);
                let found = found.and_then(|export| instance.get_func(&mut store, export));
                let gone = || wasmtime::format_err!("its export `{}` is gone", function.name());
                found.ok_or_else(gone)
            };
            Ok(Functions {
                initial: function(Function::Initial)?,
                decide: function(Function::Decide)?,
                evolve: function(Function::Evolve)?,
                upcast: function(Function::Upcast).ok(),
            })
        });
        match functions {
            Ok(functions) => Ok((store, functions)),
            Err(error) => Err(Box::new((error, store.into_data()))),
        }
    }

    /// Runs `call` within `limit`; the component may hand over `answer_bytes` of values, each time
    /// that it hands over something. After a failure the instance must not be called again.
    pub(super) fn call(
        &mut self,
        behaviour: &Behaviour,
        actor: &Address,
        call: &Call<'_>,
        limit: Limit,
        answer_bytes: usize,
    ) -> Result<(Answer, Printed), Failure> {
        let shared = &behaviour.component.shared;
        let function = call.function();
        let mut values = behaviour.spare.take();
        let arguments =
            call.arguments(behaviour, actor.id(), &mut values).map_err(|corrupt| Failure {
                fault: Fault {
                    kind: FaultKind::Contract,
                    detail: detail(behaviour, Some(function), &corrupt.to_string()),
                },
                printed: Printed::default(),
            })?;
        self.store.data_mut().begin(call.at(), shared.config.max_output_bytes);
        limit.set(&mut self.store);
        self.store.set_hostcall_fuel(answer_bytes);
        let exported = match function {
            Function::Initial => Some(&self.functions.initial),
            Function::Decide => Some(&self.functions.decide),
            Function::Evolve => Some(&self.functions.evolve),
            Function::Upcast => self.functions.upcast.as_ref(),
        };
        let exported = exported.ok_or_else(|| Failure {
            fault: Fault {
                kind: FaultKind::Contract,
                detail: detail(behaviour, Some(function), "was not called: it has none"),
            },
            printed: Printed::default(),
        })?;
        let mut result = [BLANK];
        let running = shared.ticker.enter();
        let called = exported.call(&mut self.store, arguments, &mut result);
        drop(running);
        if let Err(error) = called {
            return Err(failure(behaviour, Some(function), &error, self.store.data()));
        }
        let [result] = result;
        match call.answer(behaviour, &result, &mut values) {
            Ok(answer) => {
                behaviour.spare.keep(values, call.bytes());
                Ok((answer, self.store.data().printed()))
            }
            Err(refused) => {
                let what = match refused {
                    Refused::TooManyEvents(n) => {
                        format!("gave {n} events: one command may give at most {MAX_EVENTS}")
                    }
                    Refused::Corrupt(corrupt) => {
                        format!("gave a value that does not fit the model ({corrupt})")
                    }
                };
                let detail = detail(behaviour, Some(function), &what);
                let fault = Fault { kind: FaultKind::Contract, detail };
                Err(Failure { fault, printed: self.store.data().printed() })
            }
        }
    }
}

fn failure(
    behaviour: &Behaviour,
    function: Option<Function>,
    error: &wasmtime::Error,
    world: &World,
) -> Failure {
    let printed = world.printed();
    let (kind, mut what) = classify(function, error, world, behaviour.memory);
    let words = printed.last_words();
    if !words.is_empty() {
        what.push_str("; it printed: ");
        what.push_str(&words);
    } else if kind == FaultKind::Trap && !error.is::<I32Exit>() {
        what.push_str(&frames(error));
    }
    Failure { fault: Fault { kind, detail: detail(behaviour, function, &what) }, printed }
}

/// What kind of failure `error` is, and what happened in words.
fn classify(
    function: Option<Function>,
    error: &wasmtime::Error,
    world: &World,
    memory: usize,
) -> (FaultKind, String) {
    let cause = error.root_cause().to_string();
    let trap = error.downcast_ref::<Trap>();
    if matches!(trap, Some(Trap::Interrupt)) {
        return (
            FaultKind::Deadline,
            "took longer than its deadline (`deadline` under `runtime` of its aggregate)".into(),
        );
    }
    if world.memory_denied() {
        let what = format!("wanted more than its {memory} bytes of memory and failed ({cause})");
        return (FaultKind::Memory, what);
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        // A component can only tell whether all is well, not the number that it gave to `exit`.
        let how = if *code == 0 { "" } else { " as one that has failed" };
        return (FaultKind::Trap, format!("ended its process{how}"));
    }
    match trap {
        Some(
            Trap::InvalidChar
            | Trap::InvalidDiscriminant
            | Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::UnalignedPointer,
        ) => (FaultKind::Contract, format!("gave something that is no value ({cause})")),
        Some(_) => (FaultKind::Trap, format!("trapped ({cause})")),
        None if error.is::<PoolConcurrencyLimitError>() => {
            (FaultKind::NoInstance, format!("found no instance ({cause})"))
        }
        None if function.is_none() => {
            (FaultKind::NoInstance, format!("got no instance from the machine ({cause})"))
        }
        None => (FaultKind::Contract, format!("broke the contract ({cause})")),
    }
}

/// The innermost functions that are known by name.
fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = trace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    let names: Vec<_> = names.take(MAX_FRAMES).collect();
    if names.is_empty() { String::new() } else { format!("; in {}", names.join(" < ")) }
}

/// `decide` of bank/account (component 0123456789ab) WHAT.
pub(super) fn detail(behaviour: &Behaviour, function: Option<Function>, what: &str) -> String {
    let function = function.map_or("the start", Function::name);
    let digest = behaviour.component.digest.short();
    let what: String = what.chars().take(MAX_DETAIL).collect();
    format!("`{function}` of {} (component {digest}) {what}", behaviour.name())
}
