//! Tests under faults: what clients were told while plugs were pulled, and whether it was true.
//!
//! A run gives a [`history`] of operations and the logs that were left. [`check`] compares both
//! with the sequential specifications of [`spec`], which share no code with the host or a guest.

pub mod check;
pub mod history;
pub mod power_cut;
pub mod spec;
