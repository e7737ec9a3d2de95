//! The table of settings: one row each, for the flag, the variable, the key and the help.
//!
//! A setting `max-awake` is the flag `--max-awake`, the variable `AETHER_MAX_AWAKE` and the key
//! `max-awake` of `aether.toml`. Its value is the same text in all three places.

use std::{path::PathBuf, time::Duration};

use super::{Config, Faces, Limits, NatsConfig, StoreConfig, units};
use crate::vm::{CompileLimits, SandboxConfig};

/// One thing that can be set.
#[derive(Debug)]
pub struct Setting {
    /// Its name: of the flag and the key as it is, of the variable in capitals.
    pub name: &'static str,
    /// What stands for its value in the help; tells the unit.
    pub value: &'static str,
    /// Its default, in the words that set it; empty = not set.
    pub default: &'static str,
    /// What it does, and for a limit why there is one.
    pub help: &'static str,
    set: fn(&mut Draft, &str) -> Result<(), String>,
}

impl Setting {
    /// The name of the environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("AETHER_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Whether the flag needs no value.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.value == "BOOL"
    }

    /// Reads `text` into `draft`.
    ///
    /// # Errors
    /// What was expected.
    pub fn apply(&self, draft: &mut Draft, text: &str) -> Result<(), String> {
        (self.set)(draft, text)
    }
}

/// Settings on their way to a [`Config`].
#[derive(Debug, Clone)]
pub struct Draft {
    data: String,
    nats: NatsConfig,
    sandbox: SandboxConfig,
    limits: Limits,
    prefix: String,
    faces: Faces,
}

impl Draft {
    /// Every setting at its default.
    ///
    /// # Errors
    /// None, unless a default does not fit its own setting, which a test excludes.
    pub fn new() -> Result<Self, String> {
        let mut draft = Self {
            data: String::new(),
            nats: NatsConfig {
                url: String::new(),
                credentials: None,
                tls_ca: None,
                tls_cert: None,
                tls_key: None,
                replicas: 1,
                partitions: 1,
            },
            sandbox: SandboxConfig {
                max_guest_memory: 0,
                max_instances: None,
                max_component_bytes: 0,
                compile: CompileLimits::default(),
                cache_dir: default_cache(),
                max_output_bytes: 0,
            },
            limits: Limits::default(),
            prefix: String::new(),
            faces: Faces { http: None, nats: true, token_file: None, insecure: false },
        };
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            setting.apply(&mut draft, setting.default)?;
        }
        Ok(draft)
    }

    /// The settings of a host; with JetStream as the store if `nats`, else in a folder.
    #[must_use]
    pub fn build(self, nats: bool) -> Config {
        let store = match self.data.as_str() {
            _ if nats => StoreConfig::JetStream(self.nats),
            ":memory:" => StoreConfig::Memory,
            dir => StoreConfig::Embedded { dir: PathBuf::from(dir) },
        };
        Config {
            store,
            sandbox: self.sandbox,
            limits: self.limits,
            prefix: self.prefix,
            faces: self.faces,
            accept_state_changes: false,
        }
    }
}

/// `~/.cache/aether` by the rules of the XDG base directories; nowhere without a home.
fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("aether"))
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(Some(text.into())) }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}`: expected 1 to 32 of the characters A-Z a-z 0-9 _ -"))
    }
}

fn replicas(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err(format!("`{text}`: expected 1, 3 or 5")),
    }
}

fn instances(text: &str) -> Result<Option<usize>, String> {
    if text == "auto" { Ok(None) } else { units::count(text).map(Some) }
}

fn size(text: &str) -> Result<u64, String> {
    units::bytes(text).map(|bytes| bytes as u64)
}

fn deadline(text: &str) -> Result<Duration, String> {
    units::duration(text)
}

macro_rules! setting {
    ($name:literal, $value:literal, $default:literal, $draft:ident, $text:ident => $place:expr, $read:expr, $help:literal) => {
        Setting {
            name: $name,
            value: $value,
            default: $default,
            help: $help,
            set: |$draft, $text| {
                $place = $read?;
                Ok(())
            },
        }
    };
}

/// Every setting of `aether run`, in the order of its help.
pub const SETTINGS: &[Setting] = &[
    setting!("data", "DIR", "./data", d, t => d.data, Ok::<_, String>(t.to_owned()),
        "Keep records in this folder, without any server. `:memory:` keeps them nowhere"),
    setting!("nats", "URL", "", d, t => d.nats.url, Ok::<_, String>(t.to_owned()),
        "Keep records in NATS JetStream instead: server URLs, separated by commas, e.g. nats://127.0.0.1:4222. A user stands in the first: nats://USER:PASSWORD@…, or nats://TOKEN@…"),
    setting!("http", "ADDR:PORT", "127.0.0.1:4280", d, t => d.faces.http,
        t.parse().map(Some).map_err(|_| format!("`{t}`: expected ADDR:PORT, e.g. 127.0.0.1:4280")),
        "Where HTTP listens; port 0 takes a free one. Another address than loopback needs `token-file` or `insecure`"),
    setting!("token-file", "FILE", "", d, t => d.faces.token_file, path(t),
        "Who may call over HTTP: lines `NAME TOKEN`; NAME becomes the command's `by`"),
    setting!("insecure", "BOOL", "false", d, t => d.faces.insecure, units::switch(t),
        "Listen on another address than loopback without tokens"),
    setting!("nats-face", "BOOL", "true", d, t => d.faces.nats, units::switch(t),
        "Take commands from NATS too, when records are kept there"),
    setting!("prefix", "WORD", "aether", d, t => d.prefix, prefix(t),
        "First token of every NATS subject and stream name, so that several systems can share a server"),
    setting!("replicas", "1|3|5", "1", d, t => d.nats.replicas, replicas(t),
        "Copies of each JetStream stream; 3 survives the loss of one server"),
    setting!("partitions", "N", "8", d, t => d.nats.partitions, units::count(t),
        "Streams per context in JetStream, among which its actors are spread: more of them share the load of a cluster, each costs files. Fixed when a context is first used"),
    setting!("nats-credentials", "FILE", "", d, t => d.nats.credentials, path(t),
        "A `.creds` file for NATS"),
    setting!("nats-tls-ca", "FILE", "", d, t => d.nats.tls_ca, path(t),
        "Certificates of the authorities to trust for NATS, PEM"),
    setting!("nats-tls-cert", "FILE", "", d, t => d.nats.tls_cert, path(t),
        "The host's own certificate for NATS, PEM"),
    setting!("nats-tls-key", "FILE", "", d, t => d.nats.tls_key, path(t),
        "The key of that certificate, PEM"),
    setting!("cache-dir", "DIR", "", d, t => d.sandbox.cache_dir, path(t),
        "Where compiled components are kept; by default `aether` in the user's cache folder"),
    setting!("max-awake", "ACTORS", "100000", d, t => d.limits.max_awake, units::count(t),
        "Most actors awake at once; the longest idle falls asleep for the next one. Bounds memory"),
    setting!("max-instances", "N", "auto", d, t => d.sandbox.max_instances, instances(t),
        "Most component instances alive at once; `auto` follows the kernel's limit of memory maps, of which each takes up to 4"),
    setting!("max-guest-memory", "SIZE", "64MiB", d, t => d.sandbox.max_guest_memory, units::bytes(t),
        "Most memory of one instance; models may ask for less. Address space is reserved for it, memory is not"),
    setting!("max-component-bytes", "SIZE", "32MiB", d, t => d.sandbox.max_component_bytes, units::bytes(t),
        "Largest component file"),
    setting!("max-component-cost", "UNITS", "24000000", d, t => d.sandbox.compile.component, units::count(t),
        "Most that a component may cost to compile: the bytes of its code, and for each function one for every 8 pairs of a variable and a jump, counted again for each loop around the jump. Bounds the time of compiling"),
    setting!("max-function-cost", "UNITS", "1000000", d, t => d.sandbox.compile.function, units::count(t),
        "The same for the largest function. Bounds the memory of compiling, which grows faster than a function does"),
    setting!("max-component-functions", "N", "60000", d, t => d.sandbox.compile.functions, units::count(t),
        "Most functions of a component: each takes time to compile, however small"),
    setting!("max-component-structure", "SIZE", "2MiB", d, t => d.sandbox.compile.structure_bytes, size(t),
        "Most bytes of a component that are neither code nor data, such as types and exports: they take many times their size while compiling"),
    setting!("max-output-bytes", "SIZE", "16KiB", d, t => d.sandbox.max_output_bytes, units::bytes(t),
        "Most that one call of a component may print; the rest is dropped. Keeps the log usable"),
    setting!("max-mailbox", "COMMANDS", "4096", d, t => d.limits.max_mailbox, units::count(t),
        "Cap on a model's `mailbox`: commands that may wait for one actor; one more is `overloaded`. Bounds memory, and how long the last one waits"),
    setting!("max-deadline", "TIME", "10s", d, t => d.limits.max_deadline, deadline(t),
        "Cap on a model's `deadline`: longest that a component may take for one command. Bounds how long others of its component wait behind a loop"),
    setting!("replay-budget", "TIME", "10s", d, t => d.limits.replay_budget, units::duration(t),
        "Longest that one batch of replay may take before it is halved. Longer than a deadline, because history is longer than a command"),
    setting!("conflict-retries", "N", "8", d, t => d.limits.conflict_retries, units::count(t),
        "How often a command is decided again because another host wrote to its actor, before it is `contended`. Bounds what a contest for one actor costs"),
    setting!("record-bytes", "SIZE", "768KiB", d, t => d.limits.record_bytes, units::bytes(t),
        "Largest record, one turn's events. NATS takes no more in one message; must stay 64 KiB below the `max_payload` of NATS"),
    setting!("body-bytes", "SIZE", "1MiB", d, t => d.limits.body_bytes, units::bytes(t),
        "Largest body of a request; a larger one is `too-large`. Bounds memory per request"),
    setting!("deploy-bytes", "SIZE", "128MiB", d, t => d.limits.deploy_bytes, units::bytes(t),
        "Largest body of a deploy: a model with all its components. It is held in memory, and counts for `max-request-bytes`"),
    setting!("start-budget", "TIME", "2m", d, t => d.limits.start_budget, units::duration(t),
        "How long the stored pasts are replayed before a new model given at start is activated: nothing is served meanwhile. Actors that are left out are checked when they wake"),
    setting!("default-timeout", "TIME", "10s", d, t => d.limits.default_timeout, units::duration(t),
        "How long a caller waits who does not say: longer than an election in NATS takes, shorter than people wait"),
    setting!("max-timeout", "TIME", "5m", d, t => d.limits.max_timeout, units::duration(t),
        "Longest that a caller may wait; a longer wish is cut. Bounds what waits in the host"),
    setting!("max-connections", "N", "10000", d, t => d.limits.max_connections, units::count(t),
        "Most HTTP connections at once; one more is told 503. Leaves file handles for the store"),
    setting!("header-timeout", "TIME", "30s", d, t => d.limits.header_timeout, units::duration(t),
        "Longest that a connection may be idle, or take to send the head of a request, or its body, so that slow senders hold nothing"),
    setting!("write-timeout", "TIME", "60s", d, t => d.limits.write_timeout, units::duration(t),
        "Longest that an HTTP client may take nothing of what is sent to it; then its connection is ended, so that clients that do not read hold nothing (Linux)"),
    setting!("max-request-bytes", "SIZE", "256MiB", d, t => d.limits.max_request_bytes, units::bytes(t),
        "Most bytes of request bodies held at once, over HTTP and over NATS each, beyond the first 4 KiB of each; one more is `overloaded`. Bounds memory where `body-bytes` alone would not"),
    setting!("max-nats-requests", "N", "4096", d, t => d.limits.max_nats_requests, units::count(t),
        "Most requests from NATS at work at once in this host; one more is `overloaded`. Bounds memory"),
    setting!("max-caller-requests", "N", "1024", d, t => d.limits.max_caller_requests, units::count(t),
        "Most of them for one caller, told by the first two words of the subject for its answers, such as _INBOX.NAME; one more is `overloaded`. Leaves places for the others"),
    setting!("drain", "TIME", "30s", d, t => d.limits.drain, units::duration(t),
        "How long a host that is told to stop waits for the commands in flight: longer than callers wait who do not say, so that they get their answers"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_library() {
        let config = Draft::new().unwrap().build(false);
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
        assert!(
            matches!(config.store, StoreConfig::Embedded { dir } if dir.as_os_str() == "./data")
        );
        assert_eq!(config.faces.http.unwrap().port(), 4280);
        assert_eq!(config.prefix, "aether");
    }

    #[test]
    fn every_row_has_an_own_name_and_explains_itself() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[i + 1..].iter().all(|other| other.name != setting.name));
            assert!(setting.help.len() > 20 && !setting.help.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn wrong_values_say_what_was_expected() {
        let mut draft = Draft::new().unwrap();
        for (name, bad) in [
            ("prefix", "a.b"),
            ("replicas", "2"),
            ("http", "localhost"),
            ("insecure", "yes"),
            ("max-awake", "0"),
            ("drain", "30"),
        ] {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            let said = setting.apply(&mut draft, bad).unwrap_err();
            assert!(said.contains(bad) && said.contains("expected"), "{said}");
        }
    }
}
