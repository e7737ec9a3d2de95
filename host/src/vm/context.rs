//! The context of a command, as much of it as a component declares.

use wasmtime::component::{Type, Val};

use super::{
    Context,
    values::{BLANK, set_text},
};

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

    fn set(self, id: &str, context: &Context, into: &mut Val) {
        match self {
            Self::Id => set_text(id, into),
            Self::Version => *into = Val::U64(context.version),
            Self::CommandId => set_text(&context.command_id, into),
            Self::CorrelationId => set_text(&context.correlation_id, into),
            Self::At => *into = Val::U64(context.at),
            Self::By => {
                let by = context.by.as_ref().map(|by| Box::new(Val::String(by.to_string())));
                *into = Val::Option(by);
            }
            Self::Seed => *into = Val::U64(context.seed),
        }
    }
}

/// Makes `into` a component's context record with these fields: [`BLANK`], or one that was made
/// with the same fields.
pub(super) fn set(fields: &[(String, ContextField)], id: &str, context: &Context, into: &mut Val) {
    if !matches!(into, Val::Record(values) if values.len() == fields.len()) {
        *into = Val::Record(fields.iter().map(|(name, _)| (name.clone(), BLANK)).collect());
    }
    let Val::Record(values) = into else { return };
    for ((_, field), (_, value)) in fields.iter().zip(values) {
        field.set(id, context, value);
    }
}
