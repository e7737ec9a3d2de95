//! The model compiler of `aether`.
//!
//! A *model* is an EventStorming board as one text file, `NAME.storm.yaml`. This crate reads it
//! ([`read()`]), reports every mistake in it at once ([`Report`]), and gives what the other parts of
//! aether need from it: WIT ([`wit`]), JSON Schema ([`schema`]), OpenAPI ([`openapi`]), a picture
//! of the board ([`board`]), the difference between two models ([`diff`]) and how one reads what was
//! stored under another ([`upcast`]).
//!
//! It is pure: text in, values out; no files, no clock, no network, no async runtime. The same
//! input gives the same bytes.

pub mod board;
pub mod diff;
pub mod digest;
pub mod model;
pub mod openapi;
pub mod read;
pub mod report;
pub mod schema;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod upcast;
pub mod wit;

pub use digest::Digest;
pub use model::Model;
pub use read::read;
pub use report::{Problem, Report};
