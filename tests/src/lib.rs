//! The harness of the integration tests: the real binary, real guests, real servers.
//!
//! What a test needs is built or started on demand and gone when it is dropped: components
//! ([`workspace`], [`guest_project`]), hosts that can be killed and started again on the same data
//! ([`host_process`]), and a client that judges nothing ([`http`]).

pub mod crash_disk;
pub mod crash_vfs;
pub mod faults;
pub mod faulty_store;
pub mod guest_project;
pub mod host_process;
pub mod http;
pub mod in_process;
pub mod languages;
pub mod measure;
pub mod nats_server;
pub mod steps;
pub mod watchdog;
pub mod workspace;
