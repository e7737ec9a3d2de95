//! Tests under faults: what clients were told while plugs were pulled, and whether it was true.
//!
//! [`runner`] plays a seeded [`schedule`]: rounds, each with a [`workload`] on a [`cluster`] of real
//! processes and a [`nemesis`] that breaks something. A round gives a [`history`] of operations and
//! the logs that were left; [`check`] compares both with the sequential specifications of [`spec`],
//! which share no code with the host or a guest. [`report`] adds it all up.

pub mod caller;
pub mod check;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod nemesis;
pub mod power_cut;
pub mod proxy;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod spec;
pub mod workload;
