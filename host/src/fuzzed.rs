//! The root of the crate in `fuzz/`: the parts of the host that read bytes which somebody else
//! wrote, and nothing else.
//!
//! They are built from their sources, not as the crate `aether`: that brings wasmtime and SQLite,
//! which take ten minutes to build with a fuzzer's instruments and are not fuzzed. What is fuzzed
//! stands in [`fuzz`], where the seeds are ordinary tests of the host.
#![allow(dead_code, reason = "of each part only what reads is used")]
#![allow(missing_docs, reason = "each part is documented where the host has it")]

pub mod address;
pub mod clock;
pub mod command;
pub mod config;
pub mod failure;
pub mod fuzz;
pub mod json;
pub mod record;

pub mod gateway {
    pub mod problem;
    pub mod reply;
    pub mod request;

    pub mod http {
        pub mod query;
        pub mod respond;
        pub mod route;
    }

    pub mod nats {
        pub mod subject;
    }
}

pub mod store {
    //! What stands in for the stores: the settings and the answers name a little of them.

    pub const DEFAULT_RECORD_LIMIT: usize = 768 << 10;

    #[derive(serde::Serialize)]
    pub struct Deployment;

    pub struct Quarantine {
        pub position: crate::record::Position,
        pub kind: String,
        pub reason: String,
        pub at: u64,
    }
}

pub mod audit {
    //! What stands in for the audit: the answers name what a release did.

    pub mod release {
        pub struct Released {
            pub actor: crate::address::Address,
            pub version: u64,
            pub was_quarantined: bool,
            pub repair: Option<crate::record::Position>,
        }
    }
}

pub mod vm {
    mod limits;

    pub use limits::{CompileLimits, SandboxConfig};
}
