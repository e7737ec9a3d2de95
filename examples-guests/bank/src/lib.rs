//! The example of aether: bank accounts, and transfers between them.
//!
//! The board is `bank.storm.yaml`. Each aggregate is a module; together they are one component.

pub mod account;
pub mod transfer;
