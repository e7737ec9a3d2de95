//! A guest that does what guests must not do, and a counter that does no harm.

pub mod counter;
pub mod fountain;
pub mod saboteur;
