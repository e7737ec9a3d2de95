//! JSON for WIT values (§5 of the design): the one mapping, both ways, everywhere.
//!
//! A value is kept as compact bytes ([`Packed`]) that only make sense together with the [`Plan`]
//! of its type. A plan is made once per type when a model is loaded; after that, JSON becomes
//! bytes and bytes become JSON without looking at the model again. The sandbox turns the same
//! bytes into the component's values and back.

pub mod difference;
pub mod packed;
pub mod plan;
pub mod read;
pub mod write;

#[cfg(test)]
mod evolution;
#[cfg(test)]
pub(crate) mod generate;

pub use difference::{Change, difference};
pub use packed::{Corrupt, Cursor, Packed, PackedCase, Writer};
pub use plan::{AggregatePlans, Case, Cases, Field, Plan};
pub use read::{JsonError, Reader};
pub use write::{canonical, canonical_of, write};
