//! A host for event-sourced actors whose behaviour is a WebAssembly component.
//!
//! The way of a command is the order of the modules: [`gateway`] → [`host`] → [`router`] →
//! [`mailbox`] → [`turn`] → {[`vm`], [`store`]}.

pub mod address;
pub mod aside;
pub mod audit;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod deploy;
pub mod env;
pub mod failure;
pub mod feed;
#[cfg(test)]
mod fuzz;
pub mod gateway;
pub mod gather;
pub mod history;
pub mod host;
pub mod json;
pub mod ledger;
pub mod logging;
pub mod mailbox;
pub mod metrics;
pub mod prepare;
pub mod record;
pub mod router;
pub mod scenario;
pub mod served;
pub mod snapshot;
pub mod step;
pub mod store;
pub mod turn;
pub mod upcast;
pub mod vm;
pub mod wake;
