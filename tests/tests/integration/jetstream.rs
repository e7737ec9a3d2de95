//! The JetStream store on real servers: what every store must do, on one server and on three;
//! and that killing, freezing and missing servers lose nothing that was acknowledged and are told
//! apart as the callers must act.

mod conformance;
mod faults;
pub mod kit;
mod opening;
mod replicas;
