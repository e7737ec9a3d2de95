//! What a type looks like, worked out once per model.
//!
//! A [`Plan`] has no names left to look up: named types are resolved, aliases followed, defaults
//! turned into bytes. Plans share what they have in common, so a named type costs its memory once
//! per aggregate however often it is used, and a copy of a plan is a copy of a pointer.

use std::{collections::HashMap, sync::Arc};

use aether_wit::{
    Model,
    model::{self, Aggregate, Type, TypeDef},
};

use super::{Packed, Reader};

/// The shape of a type with all names resolved.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the cases are WIT's types by their WIT names")]
pub enum Plan {
    Bool,
    S8,
    S16,
    S32,
    S64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Char,
    String,
    /// `list<u8>`: base64 in JSON.
    Bytes,
    List(Arc<Plan>),
    Option(Arc<Plan>),
    Tuple(Arc<[Plan]>),
    Result {
        ok: Option<Arc<Plan>>,
        err: Option<Arc<Plan>>,
    },
    Record(Arc<[Field]>),
    Variant(Arc<[Case]>),
    Enum(Arc<[Arc<str>]>),
    Flags(Arc<[Arc<str>]>),
}

/// A field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: Arc<str>,
    /// Its shape.
    pub plan: Plan,
    /// Its value when it is left out.
    pub default: Option<Packed>,
    /// The name it had before, read as this field where it stands.
    pub was: Option<Arc<str>>,
}

/// A case of a variant.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: Arc<str>,
    /// What it carries.
    pub payload: Option<Plan>,
}

/// The commands, events or rejections of an aggregate, in the model's order.
#[derive(Debug, Clone)]
pub struct Cases {
    /// Name and record of each.
    pub cases: Vec<(Arc<str>, Plan)>,
    /// The name each had before.
    pub was: Vec<Option<Arc<str>>>,
    /// Whether a field somewhere in each has a default.
    pub defaults: Vec<bool>,
}

impl Cases {
    /// The index of the case called `name`, or called so before.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let now = self.cases.iter().position(|(case, _)| **case == *name);
        now.or_else(|| self.was.iter().position(|was| was.as_deref() == Some(name)))
    }

    /// Whether a field somewhere in a case has a default.
    #[must_use]
    pub fn has_defaults(&self, case: usize) -> bool {
        self.defaults.get(case).copied().unwrap_or(true)
    }

    /// Name and shape of a case.
    #[must_use]
    pub fn get(&self, case: usize) -> Option<(&Arc<str>, &Plan)> {
        self.cases.get(case).map(|(name, plan)| (name, plan))
    }
}

/// The plans of everything that an aggregate's component takes and gives.
#[derive(Debug, Clone)]
pub struct AggregatePlans {
    /// The state: a record.
    pub state: Plan,
    /// The commands.
    pub commands: Cases,
    /// The events.
    pub events: Cases,
    /// The rejections.
    pub rejections: Cases,
}

impl AggregatePlans {
    /// The plans of `aggregate`.
    ///
    /// # Panics
    /// If the model was not checked, see [`Plan::of`].
    #[must_use]
    pub fn new(model: &Model, aggregate: &Aggregate) -> Self {
        let mut planner = Planner::new(model);
        let commands = aggregate.commands.iter().map(|(name, c)| (name, None, c.fields.as_slice()));
        let events =
            aggregate.events.iter().map(|(name, e)| (name, e.was.as_deref(), e.fields.as_slice()));
        let rejections = aggregate
            .rejections
            .iter()
            .map(|(name, r)| (name, r.was.as_deref(), r.fields.as_slice()));
        Self {
            state: planner.record(&aggregate.state),
            commands: planner.cases(commands),
            events: planner.cases(events),
            rejections: planner.cases(rejections),
        }
    }
}

impl Plan {
    /// The plan of `ty`.
    ///
    /// # Panics
    /// If the model names a type that it does not have, or has a default that does not fit its
    /// type: [`aether_wit::read()`] gives no such model.
    #[must_use]
    pub fn of(model: &Model, ty: &Type) -> Self {
        Planner::new(model).plan(ty)
    }

    /// The plan of a record with these fields.
    ///
    /// # Panics
    /// As [`Self::of`].
    #[must_use]
    pub fn record(model: &Model, fields: &[model::Field]) -> Self {
        Planner::new(model).record(fields)
    }
}

impl Plan {
    /// Whether a field somewhere in it has a default. Looks through all of it.
    pub(super) fn has_defaults(&self) -> bool {
        match self {
            Self::List(inner) | Self::Option(inner) => inner.has_defaults(),
            Self::Tuple(items) => items.iter().any(Self::has_defaults),
            Self::Result { ok, err } => {
                [ok, err].into_iter().flatten().any(|side| side.has_defaults())
            }
            Self::Record(fields) => {
                fields.iter().any(|field| field.default.is_some() || field.plan.has_defaults())
            }
            Self::Variant(cases) => {
                cases.iter().filter_map(|c| c.payload.as_ref()).any(Self::has_defaults)
            }
            _ => false,
        }
    }
}

/// Makes plans of one model; each named type is planned once.
struct Planner<'m> {
    model: &'m Model,
    named: HashMap<&'m str, Plan>,
}

impl<'m> Planner<'m> {
    fn new(model: &'m Model) -> Self {
        Self { model, named: HashMap::new() }
    }

    fn cases<'a>(
        &mut self,
        cases: impl Iterator<Item = (&'a String, Option<&'a str>, &'a [model::Field])>,
    ) -> Cases {
        let mut all = Cases { cases: Vec::new(), was: Vec::new(), defaults: Vec::new() };
        for (name, was, fields) in cases {
            let plan = self.record(fields);
            all.defaults.push(plan.has_defaults());
            all.cases.push((name.as_str().into(), plan));
            all.was.push(was.map(Arc::from));
        }
        all
    }

    fn record(&mut self, fields: &[model::Field]) -> Plan {
        Plan::Record(fields.iter().map(|field| self.field(field)).collect())
    }

    fn field(&mut self, field: &model::Field) -> Field {
        let plan = self.plan(&field.ty);
        let default = field.default.as_ref().map(|value| {
            let read = Reader::Caller.read(&plan, value.to_string().as_bytes());
            read.unwrap_or_else(|error| {
                panic!("a checked model has no misfit default: `{}`: {error}", field.name)
            })
        });
        let was = field.was.as_deref().map(Arc::from);
        Field { name: field.name.as_str().into(), plan, default, was }
    }

    fn plan(&mut self, ty: &Type) -> Plan {
        match ty {
            Type::Bool => Plan::Bool,
            Type::S8 => Plan::S8,
            Type::S16 => Plan::S16,
            Type::S32 => Plan::S32,
            Type::S64 => Plan::S64,
            Type::U8 => Plan::U8,
            Type::U16 => Plan::U16,
            Type::U32 => Plan::U32,
            Type::U64 => Plan::U64,
            Type::F32 => Plan::F32,
            Type::F64 => Plan::F64,
            Type::Char => Plan::Char,
            Type::String => Plan::String,
            Type::List(item) => match self.plan(item) {
                Plan::U8 => Plan::Bytes,
                item => Plan::List(item.into()),
            },
            Type::Option(some) => Plan::Option(self.plan(some).into()),
            Type::Tuple(items) => Plan::Tuple(items.iter().map(|item| self.plan(item)).collect()),
            Type::Result { ok, err } => Plan::Result {
                ok: ok.as_deref().map(|ty| self.plan(ty).into()),
                err: err.as_deref().map(|ty| self.plan(ty).into()),
            },
            Type::Named(name) => self.named(name),
        }
    }

    fn named(&mut self, name: &str) -> Plan {
        if let Some(plan) = self.named.get(name) {
            return plan.clone();
        }
        let model = self.model;
        let Some((name, decl)) = model.types.get_key_value(name) else {
            panic!("a checked model has no unknown type: `{name}`");
        };
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let plan = match &decl.def {
            TypeDef::Record(fields) => self.record(fields),
            TypeDef::Variant(cases) => Plan::Variant(
                cases
                    .iter()
                    .map(|case| Case {
                        name: case.name.as_str().into(),
                        payload: case.payload.as_ref().map(|ty| self.plan(ty)),
                    })
                    .collect(),
            ),
            TypeDef::Enum(cases) => Plan::Enum(names(cases)),
            TypeDef::Flags(flags) => Plan::Flags(names(flags)),
            TypeDef::Alias(ty) => self.plan(ty),
        };
        self.named.insert(name, plan.clone());
        plan
    }
}

#[cfg(test)]
pub(crate) mod tests;
