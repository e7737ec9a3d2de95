//! One call: its arguments as the component's values, and its answer from them.

use std::borrow::Cow;

use wasmtime::component::Val;

use super::{
    Behaviour, Context, Decision, context,
    values::{self, BLANK},
};
use crate::json::{Corrupt, Packed, PackedCase, Writer};

/// Events that one command may give.
pub(super) const MAX_EVENTS: usize = 1024;

/// A function of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Initial,
    Decide,
    Evolve,
    Upcast,
}

impl Function {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Decide => "decide",
            Self::Evolve => "evolve",
            Self::Upcast => "upcast",
        }
    }
}

/// A call with its arguments.
pub(super) enum Call<'a> {
    Initial,
    Decide { context: Cow<'a, Context>, state: Cow<'a, Packed>, command: Cow<'a, PackedCase> },
    Evolve { state: Cow<'a, Packed>, events: Cow<'a, [PackedCase]> },
    Upcast { model: Cow<'a, str>, event: Cow<'a, str>, data: Cow<'a, str> },
}

/// The values of a call, and room to work in. The next call of the same behaviour reads its values
/// into them: making the names of all fields anew is half of what a small call would cost.
pub(super) struct Values {
    decide: [Val; 3],
    evolve: [Val; 2],
    other: Vec<Val>,
    writer: Writer,
}

impl Default for Values {
    fn default() -> Self {
        let (other, writer) = (Vec::new(), Writer::default());
        Self { decide: [BLANK; 3], evolve: [BLANK; 2], other, writer }
    }
}

/// What a call gave.
pub(super) enum Answer {
    State(Packed),
    Decision(Decision),
    /// An event, or why the component has none.
    Upcast(Result<PackedCase, String>),
}

/// Why an answer is not taken.
pub(super) enum Refused {
    TooManyEvents(usize),
    Corrupt(Corrupt),
}

impl From<Corrupt> for Refused {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl Call<'_> {
    pub(super) const fn function(&self) -> Function {
        match self {
            Self::Initial => Function::Initial,
            Self::Decide { .. } => Function::Decide,
            Self::Evolve { .. } => Function::Evolve,
            Self::Upcast { .. } => Function::Upcast,
        }
    }

    /// The time that the component may see, in ms since 1970.
    pub(super) fn at(&self) -> u64 {
        match self {
            Self::Decide { context, .. } => context.at,
            Self::Initial | Self::Evolve { .. } | Self::Upcast { .. } => 0,
        }
    }

    /// Bytes of its arguments: what turning them into values costs is proportional.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Initial => 0,
            Self::Decide { state, command, .. } => state.0.len() + command.fields.0.len(),
            Self::Evolve { state, events } => {
                state.0.len() + events.iter().map(|event| event.fields.0.len()).sum::<usize>()
            }
            Self::Upcast { data, .. } => data.len(),
        }
    }

    /// The same call, for another thread.
    pub(super) fn into_owned(self) -> Call<'static> {
        match self {
            Self::Initial => Call::Initial,
            Self::Decide { context, state, command } => Call::Decide {
                context: Cow::Owned(context.into_owned()),
                state: Cow::Owned(state.into_owned()),
                command: Cow::Owned(command.into_owned()),
            },
            Self::Evolve { state, events } => Call::Evolve {
                state: Cow::Owned(state.into_owned()),
                events: Cow::Owned(events.into_owned()),
            },
            Self::Upcast { model, event, data } => Call::Upcast {
                model: Cow::Owned(model.into_owned()),
                event: Cow::Owned(event.into_owned()),
                data: Cow::Owned(data.into_owned()),
            },
        }
    }

    /// Its arguments as values, read into `values`.
    pub(super) fn arguments<'v>(
        &self,
        behaviour: &Behaviour,
        id: &str,
        values: &'v mut Values,
    ) -> Result<&'v [Val], Corrupt> {
        let plans = &behaviour.plans;
        match self {
            Self::Decide { context, state, command } => {
                let [to_context, to_state, to_command] = &mut values.decide;
                context::set(&behaviour.context_fields, id, context, to_context);
                values::unpack(&plans.state, state, to_state)?;
                values::unpack_case(&plans.commands, command, to_command)?;
                return Ok(&values.decide);
            }
            Self::Evolve { state, events } => {
                let [to_state, to_events] = &mut values.evolve;
                values::unpack(&plans.state, state, to_state)?;
                values::unpack_cases(&plans.events, events, to_events)?;
                return Ok(&values.evolve);
            }
            Self::Initial => values.other = vec![Val::String(id.to_owned())],
            Self::Upcast { model, event, data } => {
                values.other =
                    [model, event, data].map(|text| Val::String(text.to_string())).into();
            }
        }
        Ok(&values.other)
    }

    /// The answer that `value` is.
    pub(super) fn answer(
        &self,
        behaviour: &Behaviour,
        value: &Val,
        values: &mut Values,
    ) -> Result<Answer, Refused> {
        let (plans, writer) = (&behaviour.plans, &mut values.writer);
        match self {
            Self::Decide { .. } => {}
            Self::Initial | Self::Evolve { .. } => {
                return Ok(Answer::State(values::pack(&plans.state, value, writer)?));
            }
            Self::Upcast { .. } => {
                return Ok(Answer::Upcast(match value {
                    Val::Result(Ok(Some(event))) => {
                        Ok(values::pack_case(&plans.events, event, writer)?)
                    }
                    Val::Result(Err(Some(why))) => match &**why {
                        Val::String(why) => Err(why.clone()),
                        _ => return Err(Corrupt.into()),
                    },
                    _ => return Err(Corrupt.into()),
                }));
            }
        }
        let decision = match value {
            Val::Result(Ok(Some(events))) => {
                let Val::List(events) = &**events else { return Err(Corrupt.into()) };
                if events.len() > MAX_EVENTS {
                    return Err(Refused::TooManyEvents(events.len()));
                }
                let event = |event| values::pack_case(&plans.events, event, writer);
                Decision::Events(events.iter().map(event).collect::<Result<_, _>>()?)
            }
            Val::Result(Err(Some(rejection))) => {
                Decision::Rejected(values::pack_case(&plans.rejections, rejection, writer)?)
            }
            // Without rejections in the model a component can still say `err`, without a reason.
            _ => return Err(Corrupt.into()),
        };
        Ok(Answer::Decision(decision))
    }
}
