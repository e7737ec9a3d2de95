//! The context of a command, as much of it as a component declares.

use wasmtime::component::{Type, Val};

use super::Context;

/// A field that a component may declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextField {
    Id,
    Version,
    CommandId,
    CorrelationId,
    At,
    By,
    Seed,
}

/// The fields that this host knows, with their names and types in WIT.
pub(super) const FIELDS: [(&str, &str, ContextField); 7] = [
    ("id", "string", ContextField::Id),
    ("version", "u64", ContextField::Version),
    ("command-id", "string", ContextField::CommandId),
    ("correlation-id", "string", ContextField::CorrelationId),
    ("at", "u64", ContextField::At),
    ("by", "option<string>", ContextField::By),
    ("seed", "u64", ContextField::Seed),
];

impl ContextField {
    /// The field called `name`, with its type in WIT.
    pub(super) fn find(name: &str) -> Option<(Self, &'static str)> {
        let field = FIELDS.iter().find(|(known, _, _)| *known == name)?;
        Some((field.2, field.1))
    }

    /// Whether `ty` is this field's type.
    pub(super) fn fits(self, ty: &Type) -> bool {
        match (self, ty) {
            (Self::Id | Self::CommandId | Self::CorrelationId, Type::String)
            | (Self::Version | Self::At | Self::Seed, Type::U64) => true,
            (Self::By, Type::Option(option)) => matches!(option.ty(), Type::String),
            _ => false,
        }
    }

    fn value(self, id: &str, context: &Context) -> Val {
        match self {
            Self::Id => Val::String(id.to_owned()),
            Self::Version => Val::U64(context.version),
            Self::CommandId => Val::String(context.command_id.clone()),
            Self::CorrelationId => Val::String(context.correlation_id.clone()),
            Self::At => Val::U64(context.at),
            Self::By => {
                let by = context.by.as_ref().map(|by| Box::new(Val::String(by.to_string())));
                Val::Option(by)
            }
            Self::Seed => Val::U64(context.seed),
        }
    }
}

/// The value of a component's context record with these fields.
pub(super) fn value(fields: &[(String, ContextField)], id: &str, context: &Context) -> Val {
    let field = |(name, field): &(String, ContextField)| (name.clone(), field.value(id, context));
    Val::Record(fields.iter().map(field).collect())
}
