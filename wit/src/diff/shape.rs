//! Definitions by what decides how their values are written.

use crate::model::{Field, Location, Type, TypeDecl, TypeDef};

/// Names, what they carry, and where they stand.
pub(super) type Cases<'m> = Vec<(&'m str, Option<&'m Type>, Location)>;

/// A definition by what decides how its values are written.
pub(super) enum Shape<'m> {
    Record(&'m [Field]),
    /// A variant or an enum: both write a case without payload as its name.
    Cases(Cases<'m>),
    Flags(Cases<'m>),
    Alias(&'m Type),
}

impl<'m> Shape<'m> {
    pub(super) fn of(decl: &'m TypeDecl) -> Self {
        let bare = |names: &'m [String]| {
            names.iter().map(|name| (name.as_str(), None, decl.at)).collect::<Cases<'m>>()
        };
        match &decl.def {
            TypeDef::Record(fields) => Self::Record(fields),
            TypeDef::Variant(cases) => Self::Cases(
                cases.iter().map(|it| (it.name.as_str(), it.payload.as_ref(), it.at)).collect(),
            ),
            TypeDef::Enum(names) => Self::Cases(bare(names)),
            TypeDef::Flags(names) => Self::Flags(bare(names)),
            TypeDef::Alias(ty) => Self::Alias(ty),
        }
    }

    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Record(_) => "a record",
            Self::Cases(_) => "a variant or enum",
            Self::Flags(_) => "a set of flags",
            Self::Alias(_) => "another name",
        }
    }
}

/// Whether `new` is a number type that holds every value of the number type `old`.
pub(super) fn widens(old: &Type, new: &Type) -> bool {
    let integer = |ty: &Type| match ty {
        Type::U8 => Some((false, 8)),
        Type::U16 => Some((false, 16)),
        Type::U32 => Some((false, 32)),
        Type::U64 => Some((false, 64)),
        Type::S8 => Some((true, 8)),
        Type::S16 => Some((true, 16)),
        Type::S32 => Some((true, 32)),
        Type::S64 => Some((true, 64)),
        _ => None,
    };
    match (integer(old), integer(new)) {
        (Some((old_signed, old_bits)), Some((new_signed, new_bits))) => {
            old_bits < new_bits && (new_signed || !old_signed)
        }
        _ => *old == Type::F32 && *new == Type::F64,
    }
}
