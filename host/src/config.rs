//! What a host is told when it starts.
//!
//! [`Config`] is what the host reads. Where its values come from is told by [`settings`]: one
//! table with the name, unit, default and reason of every setting, from which the flags, the
//! environment variables, the keys of `aether.toml` and the help are made.

pub mod settings;
pub mod sources;
pub mod units;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::vm::SandboxConfig;

/// All settings of a host.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where records are kept.
    pub store: StoreConfig,
    /// Limits of the sandbox.
    pub sandbox: SandboxConfig,
    /// Limits of the host itself.
    pub limits: Limits,
    /// The first token of every NATS subject and stream name.
    pub prefix: String,
    /// How it is reached.
    pub faces: Faces,
    /// Whether a new model given at start may fold the stored pasts to other states.
    pub accept_state_changes: bool,
}

/// Where records are kept.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In a folder of this machine.
    Embedded {
        /// The folder; made if it is missing.
        dir: PathBuf,
    },
    /// Nowhere: gone with the process. For tests.
    Memory,
    /// In NATS JetStream.
    JetStream(NatsConfig),
}

/// How to reach NATS and how streams are made.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// Server URLs, separated by commas, e.g. `nats://127.0.0.1:4222`.
    pub url: String,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// A file with certificates of authorities to trust, PEM.
    pub tls_ca: Option<PathBuf>,
    /// The host's own certificate, PEM.
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Partitions of a context's log. Fixed when the context is first used.
    pub partitions: u32,
}

/// Limits of the host itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most actors awake at once; the longest idle falls asleep for the next one.
    pub max_awake: usize,
    /// Largest record, in bytes.
    pub record_bytes: usize,
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Largest model with its components that is deployed at once, in bytes.
    pub deploy_bytes: usize,
    /// How long the stored pasts are replayed before a new model given at start is activated.
    pub start_budget: Duration,
    /// How long a caller waits who does not say.
    pub default_timeout: Duration,
    /// Longest that a caller may wait.
    pub max_timeout: Duration,
    /// How often a command is decided again because others wrote to its actor.
    pub conflict_retries: u32,
    /// How long a batch of replay may take.
    pub replay_budget: Duration,
    /// How long a host that is told to stop waits for the commands in flight.
    pub drain: Duration,
    /// Caps on the models' `runtime`.
    pub max_mailbox: u32,
    /// Caps on the models' `runtime`.
    pub max_deadline: Duration,
    /// Most HTTP connections at once.
    pub max_connections: usize,
    /// How long a connection may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may not take what is sent to it.
    pub write_timeout: Duration,
    /// Most bytes of request bodies held at once, for each face.
    pub max_request_bytes: usize,
    /// Most requests from NATS at work at once in this host.
    pub max_nats_requests: usize,
    /// Most of them for one caller.
    pub max_caller_requests: usize,
}

/// The faces of the host.
#[derive(Debug, Clone)]
pub struct Faces {
    /// Where HTTP listens; port 0 = a free one.
    pub http: Option<SocketAddr>,
    /// Whether commands are taken from NATS too (with the JetStream store).
    pub nats: bool,
    /// Lines `NAME TOKEN`: who may call; none = everybody.
    pub token_file: Option<PathBuf>,
    /// Whether another address than loopback is allowed without tokens.
    pub insecure: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_awake: 100_000,
            record_bytes: crate::store::DEFAULT_RECORD_LIMIT,
            body_bytes: 1 << 20,
            deploy_bytes: 128 << 20,
            start_budget: Duration::from_secs(120),
            default_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_secs(300),
            conflict_retries: 8,
            replay_budget: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            max_mailbox: 4096,
            max_deadline: Duration::from_secs(10),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            max_request_bytes: 256 << 20,
            max_nats_requests: 4096,
            max_caller_requests: 1024,
        }
    }
}
