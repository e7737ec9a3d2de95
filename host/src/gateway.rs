//! The faces of the host: HTTP and NATS.
//!
//! A face turns a request into a [`Command`] or a [`Query`], asks the [`Service`], and turns its
//! answer into bytes. It decides nothing: what a request means is told by the host, and both
//! faces read the same headers ([`request`]) and give the same bodies ([`reply`], [`problem`]).

pub mod admission;
pub mod auth;
#[cfg(test)]
pub(crate) mod fake;
pub mod http;
pub mod nats;
pub mod problem;
pub mod reply;
pub mod request;

use std::time::Instant;

use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{
    address::Address,
    audit::{
        Items, Scope,
        release::{Order, Released},
    },
    command::{ActorEntry, ActorsPage, Command, EventsPage, FeedEvent, Query, Reply, StateView},
    deploy::{self, order::Words},
    failure::Failure,
    history::Records,
    host::{Host, Rollouts},
    metrics::Metrics,
    store::Quarantine,
};

/// Events of a context as they are told to a caller.
pub type Feed = BoxStream<'static, Result<FeedEvent, Failure>>;

/// What the faces ask of a host. [`Host`] is the one that runs; tests have a small one.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// See [`Host::send`].
    async fn send(&self, command: Command) -> Result<Reply, Failure>;
    /// See [`Host::state`].
    async fn state(&self, query: Query) -> Result<StateView, Failure>;
    /// See [`Host::events`].
    async fn events(
        &self,
        actor: &Address,
        from: u64,
        limit: usize,
        deadline: Instant,
    ) -> Result<EventsPage, Failure>;
    /// See [`Host::wake`].
    async fn wake(&self, actor: &Address, deadline: Instant) -> Result<u64, Failure>;
    /// See [`Host::sleep`].
    async fn sleep(&self, actor: &Address, deadline: Instant) -> Result<bool, Failure>;
    /// See [`Host::actors`].
    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ActorsPage, Failure>;
    /// See [`Host::awake`].
    fn awake(&self, limit: usize) -> Vec<ActorEntry>;
    /// See [`Host::feed`].
    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<Feed, Failure>;
    /// See [`Host::rollouts`].
    async fn rollouts(&self) -> Result<Rollouts, Failure>;
    /// See [`Host::deploy`].
    fn deploy(&self, order: deploy::order::Order) -> Words;
    /// See [`Host::ready`].
    async fn ready(&self) -> Result<(), String>;
    /// See [`Host::metrics`].
    fn metrics(&self) -> &Metrics;
    /// See [`Host::quarantines`].
    async fn quarantines(
        &self,
        context: Option<&str>,
    ) -> Result<Vec<(Address, Quarantine)>, Failure>;
    /// See [`Host::release`].
    async fn release(&self, order: Order) -> Result<Released, Failure>;
    /// See [`Host::audit`].
    fn audit(&self, scope: Scope) -> Items;
    /// See [`Host::records`].
    fn records(&self, actor: &Address, until: Option<u64>) -> Result<Records, Failure>;
    /// See [`Host::blob`].
    async fn blob(&self, digest: &Digest, deadline: Instant) -> Result<Bytes, Failure>;
    /// The OpenAPI document of the models that are served.
    fn openapi(&self) -> String;
}

#[async_trait]
impl Service for Host {
    async fn send(&self, command: Command) -> Result<Reply, Failure> {
        Self::send(self, command).await
    }

    async fn state(&self, query: Query) -> Result<StateView, Failure> {
        Self::state(self, query).await
    }

    async fn events(
        &self,
        actor: &Address,
        from: u64,
        limit: usize,
        deadline: Instant,
    ) -> Result<EventsPage, Failure> {
        Self::events(self, actor, from, limit, deadline).await
    }

    async fn wake(&self, actor: &Address, deadline: Instant) -> Result<u64, Failure> {
        Self::wake(self, actor, deadline).await
    }

    async fn sleep(&self, actor: &Address, deadline: Instant) -> Result<bool, Failure> {
        Self::sleep(self, actor, deadline).await
    }

    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ActorsPage, Failure> {
        Self::actors(self, context, aggregate, after, limit).await
    }

    fn awake(&self, limit: usize) -> Vec<ActorEntry> {
        Self::awake(self, limit)
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<Feed, Failure> {
        Self::feed(self, context, cursor).await
    }

    async fn rollouts(&self) -> Result<Rollouts, Failure> {
        Self::rollouts(self).await
    }

    fn deploy(&self, order: deploy::order::Order) -> Words {
        Self::deploy(self, order)
    }

    async fn ready(&self) -> Result<(), String> {
        Self::ready(self).await
    }

    fn metrics(&self) -> &Metrics {
        Self::metrics(self)
    }

    async fn quarantines(
        &self,
        context: Option<&str>,
    ) -> Result<Vec<(Address, Quarantine)>, Failure> {
        Self::quarantines(self, context).await
    }

    async fn release(&self, order: Order) -> Result<Released, Failure> {
        Self::release(self, order).await
    }

    fn audit(&self, scope: Scope) -> Items {
        Self::audit(self, scope)
    }

    fn records(&self, actor: &Address, until: Option<u64>) -> Result<Records, Failure> {
        Self::records(self, actor, until)
    }

    async fn blob(&self, digest: &Digest, deadline: Instant) -> Result<Bytes, Failure> {
        Self::blob(self, digest, deadline).await
    }

    fn openapi(&self) -> String {
        let models = self.models();
        let models: Vec<_> = models.iter().map(AsRef::as_ref).collect();
        aether_wit::openapi::openapi(&models)
    }
}
