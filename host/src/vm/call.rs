//! One call: its arguments as the component's values, and its answer from them.

use std::borrow::Cow;

use wasmtime::component::Val;

use super::{Behaviour, Context, Decision, context, values};
use crate::json::{Corrupt, Packed, PackedCase};

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

    /// Its arguments as values.
    pub(super) fn arguments(&self, behaviour: &Behaviour, id: &str) -> Result<Vec<Val>, Corrupt> {
        let plans = &behaviour.plans;
        Ok(match self {
            Self::Initial => vec![Val::String(id.to_owned())],
            Self::Decide { context, state, command } => vec![
                context::value(&behaviour.context_fields, id, context),
                values::unpack(&plans.state, state)?,
                values::unpack_case(&plans.commands, command)?,
            ],
            Self::Evolve { state, events } => {
                let event = |event| values::unpack_case(&plans.events, event);
                vec![
                    values::unpack(&plans.state, state)?,
                    Val::List(events.iter().map(event).collect::<Result<_, _>>()?),
                ]
            }
            Self::Upcast { model, event, data } => {
                [model, event, data].map(|text| Val::String(text.to_string())).to_vec()
            }
        })
    }

    /// The answer that `value` is.
    pub(super) fn answer(&self, behaviour: &Behaviour, value: &Val) -> Result<Answer, Refused> {
        let plans = &behaviour.plans;
        match self {
            Self::Decide { .. } => {}
            Self::Initial | Self::Evolve { .. } => {
                return Ok(Answer::State(values::pack(&plans.state, value)?));
            }
            Self::Upcast { .. } => {
                return Ok(Answer::Upcast(match value {
                    Val::Result(Ok(Some(event))) => Ok(values::pack_case(&plans.events, event)?),
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
                let event = |event| values::pack_case(&plans.events, event);
                Decision::Events(events.iter().map(event).collect::<Result<_, _>>()?)
            }
            Val::Result(Err(Some(rejection))) => {
                Decision::Rejected(values::pack_case(&plans.rejections, rejection)?)
            }
            // Without rejections in the model a component can still say `err`, without a reason.
            _ => return Err(Corrupt.into()),
        };
        Ok(Answer::Decision(decision))
    }
}
