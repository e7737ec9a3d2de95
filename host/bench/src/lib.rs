//! What `aether bench` runs: aggregates that are as small, as large or as slow as they are told.

pub mod account;
pub mod basket;
pub mod runner;
pub mod till;
