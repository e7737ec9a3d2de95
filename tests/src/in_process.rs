//! Hosts inside the test's own process, for tests that must stand between a host and its store.

use std::{path::Path, sync::Arc, time::Duration};

use aether::{
    address::Address,
    clock,
    command::{Command, Consistency, Outcome, Query, Reply},
    config::{Config, Faces, Limits, StoreConfig},
    failure::Failure,
    host::{Bundle, Host},
    store::{EventStore, embedded::EmbeddedStore},
    vm::SandboxConfig,
};
use anyhow::{Context as _, Result};
use serde_json::{Value, value::RawValue};

use crate::faulty_store::FaultyStore;

/// How long a test's command may take: far longer than any does.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a host without faces; the store is given when it starts.
#[must_use]
pub fn config() -> Config {
    Config {
        store: StoreConfig::Memory,
        sandbox: SandboxConfig { max_instances: Some(200), ..SandboxConfig::default() },
        limits: Limits::default(),
        prefix: "aether".to_owned(),
        faces: Faces { http: None, nats: false, token_file: None, insecure: false },
        accept_state_changes: false,
    }
}

/// A model file with the components that it names.
///
/// # Errors
/// If a file cannot be read.
pub fn bundle(model: &Path) -> Result<Bundle> {
    let text = std::fs::read(model).with_context(|| format!("{}", model.display()))?;
    let file = model.display().to_string();
    let (read, _) = aether_wit::read(&file, &text)?;
    let folder = model.parent().unwrap_or(Path::new("."));
    let component = |name: &String| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path)
            .with_context(|| format!("{}: build it with `make guests`", path.display()))?;
        Ok((name.clone(), bytes.into()))
    };
    let components = read.components.iter().map(component).collect::<Result<_>>()?;
    Ok(Bundle { file, model: text.into(), components })
}

/// An empty store in memory behind a [`FaultyStore`].
///
/// # Errors
/// If SQLite cannot be opened.
pub async fn faulty_store() -> Result<Arc<FaultyStore>> {
    let inner: Arc<dyn EventStore> = Arc::new(EmbeddedStore::in_memory().await?);
    Ok(FaultyStore::new(inner))
}

/// A host with the model at `model` on `store`.
///
/// # Errors
/// If it does not start.
pub async fn start(store: Arc<dyn EventStore>, model: &Path) -> Result<Host> {
    Ok(Host::start_on(store, config(), vec![bundle(model)?]).await?)
}

/// A command to `address` with these fields.
///
/// # Errors
/// If the address is none.
pub fn command(address: &str, name: &str, fields: &Value) -> Result<Command> {
    Ok(Command::new(
        address.parse::<Address>()?,
        name,
        RawValue::from_string(fields.to_string())?,
        clock::now() + PATIENCE,
    ))
}

/// Sends a command and waits for the answer.
///
/// # Errors
/// What the host says.
///
/// # Panics
/// If the address is none.
pub async fn send(host: &Host, address: &str, name: &str, fields: Value) -> Result<Reply, Failure> {
    #[expect(clippy::expect_used, reason = "a test's own address")]
    let command = command(address, name, &fields).expect("an address");
    host.send(command).await
}

/// An actor's version and state.
///
/// # Errors
/// What the host says.
///
/// # Panics
/// If the address is none.
pub async fn state(host: &Host, address: &str) -> Result<(u64, Value), Failure> {
    #[expect(clippy::expect_used, reason = "a test's own address")]
    let actor = address.parse().expect("an address");
    let query = Query {
        actor,
        version: None,
        min_version: None,
        consistency: Consistency::Linearizable,
        deadline: clock::now() + PATIENCE,
    };
    let view = host.state(query).await?;
    #[expect(clippy::expect_used, reason = "the host wrote it")]
    let state = serde_json::from_str(view.state.get()).expect("JSON");
    Ok((view.version, state))
}

/// The names of the events that a reply tells.
#[must_use]
pub fn event_names(reply: &Reply) -> Vec<&str> {
    match &reply.outcome {
        Outcome::Accepted(events) => events.iter().map(|event| event.name.as_str()).collect(),
        Outcome::Rejected { .. } => Vec::new(),
    }
}

/// The name of the rejection that a reply tells.
#[must_use]
pub fn rejection(reply: &Reply) -> Option<&str> {
    match &reply.outcome {
        Outcome::Rejected { name, .. } => Some(name),
        Outcome::Accepted(_) => None,
    }
}
