//! The store in NATS JetStream, shared by any number of hosts.
//!
//! One record is one message; an actor's log is one subject; the version check is the server's own
//! (`Nats-Expected-Last-Subject-Sequence`), so hosts need not know of each other to be safe.
//! What streams there are and what they are called: `jetstream/layout.rs`; how a write of unknown
//! outcome is settled: `jetstream/append.rs`; what makes a read fresh on replicas:
//! `jetstream/read.rs`.
//!
//! Cost: an append is one round trip, a wake one or two, on two connections of their own so that a
//! long page does not delay an append. A list of actors costs all subjects of the aggregate.

mod append;
mod blobs;
mod census;
mod connection;
mod contexts;
mod exchange;
mod feed;
mod layout;
mod read;
mod registry;
mod snapshots;
mod streams;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use aether_wit::Digest;
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::connection::identified;
use self::{
    append::{PublishError, publish},
    blobs::Blobs,
    connection::{ApiFailure, Link},
    contexts::{Context, Contexts},
    layout::{MAX_PARTITIONS, Manifest, Names},
    read::{Links, Source},
    registry::Registry,
    streams::{IfMissing, ensure},
};
use crate::{
    address::{Address, decode_id, encode_id},
    clock,
    config::NatsConfig,
    record::{Position, Stored},
    step::step,
    store::{
        ActivateError, Append, AppendError, Census, Closing, Deployment, EventStore, FeedError,
        Freshness, Page, Presence, Quarantine, Reach, RecordFeed, Scan, Snapshot, StoreError,
    },
};

/// The oldest nats-server that has everything the store stands on.
const OLDEST_SERVER: (i64, i64, i64) = (2, 12, 0);

/// What a message needs beside the record, in bytes: headers and the protocol.
const MESSAGE_EXTRA: usize = 64 << 10;

/// Longest wait for a fit server when a store is opened.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Longest wait until the streams are made or checked after that: a cluster that has just started
/// still elects leaders.
const STREAMS_WAIT: Duration = Duration::from_secs(30);

/// Longest wait of a call that has no deadline of its own: longer than a replicated stream takes
/// to elect a new leader (4 to 9 s).
const CALL_WAIT: Duration = Duration::from_secs(15);

/// Longest wait for the list of all that lies in a context's streams.
const CENSUS_WAIT: Duration = Duration::from_secs(120);

/// Longest wait for a round trip that asks whether the store answers.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// Why a store cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// No server was reached, or it refused.
    #[error("cannot connect to NATS at {places}: {reason}")]
    Connect {
        /// `host:port` of each server.
        places: String,
        /// What the last try said.
        reason: String,
    },
    /// The server lacks what the store needs.
    #[error(
        "the nats-server at {place} is version {found}; aether needs {needed} or newer: upgrade it"
    )]
    Version {
        /// `host:port`.
        place: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
    /// A record of the largest size would not fit.
    #[error(
        "the nats-server at {place} takes messages of at most {found} bytes; records of {limit} bytes need {needed}: raise `max_payload` there or lower the record limit here"
    )]
    Payload {
        /// `host:port`.
        place: String,
        /// Its `max_payload`.
        found: usize,
        /// The record limit of this host.
        limit: usize,
        /// What `max_payload` must be at least.
        needed: usize,
    },
    /// The server runs without JetStream, or the account may not use it.
    #[error(
        "the nats-server at {place} offers no JetStream: {reason}; start it with `-js` or enable JetStream for the account"
    )]
    NoJetStream {
        /// `host:port`.
        place: String,
        /// What it said.
        reason: String,
    },
    /// Other hosts have fixed something else.
    #[error(
        "the data below prefix `{prefix}` was begun with other settings: {}; start with the same ones or use another prefix",
        .differences.join("; ")
    )]
    Manifest {
        /// The prefix.
        prefix: String,
        /// One line for each difference.
        differences: Vec<String>,
    },
    /// A stream is missing or not as it must be, or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records in NATS JetStream.
#[derive(Debug)]
pub struct JetStreamStore {
    names: Names,
    record_limit: usize,
    description: String,
    links: Links,
    registry: Registry,
    blobs: Blobs,
    hosts: Source,
    contexts: Contexts,
    /// The subject on which this host tells others that it lives.
    announced: OnceLock<String>,
    closed: CancellationToken,
    /// Appends on their way: closing waits for them.
    appends: TaskTracker,
}

impl JetStreamStore {
    /// Connects, agrees with the other hosts on `prefix`, and makes or checks the streams.
    ///
    /// # Errors
    /// If no fit server answers within 5 s, or what is there was made differently: nothing that
    /// exists is changed.
    pub async fn open(
        config: &NatsConfig,
        prefix: &str,
        record_limit: usize,
    ) -> Result<Self, OpenError> {
        Self::open_if(config, prefix, record_limit, IfMissing::Make).await
    }

    /// Connects to a store that hosts have made; makes nothing.
    ///
    /// # Errors
    /// As [`Self::open`], and if there is none on `prefix`.
    pub async fn open_existing(
        config: &NatsConfig,
        prefix: &str,
        record_limit: usize,
    ) -> Result<Self, OpenError> {
        Self::open_if(config, prefix, record_limit, IfMissing::Refuse).await
    }

    async fn open_if(
        config: &NatsConfig,
        prefix: &str,
        record_limit: usize,
        missing: IfMissing,
    ) -> Result<Self, OpenError> {
        let names = names(config, prefix)?;
        let until = clock::now() + CONNECT_WAIT;
        let (writing, reading) = tokio::try_join!(
            Link::open(config, "aether", until),
            Link::open(config, "aether reading", until),
        )
        .map_err(|refused| OpenError::Connect { places: refused.places, reason: refused.reason })?;
        let links = Links { writing, reading };
        for link in [&links.writing, &links.reading] {
            check_server(link, record_limit, until).await?;
        }

        let until = clock::now() + STREAMS_WAIT;
        // Nothing else is made before all hosts agree on what can never change.
        let replicas = config.replicas;
        let (meta, fence) = (names.meta_config(replicas), names.meta("fence"));
        let made = source(&links, meta, fence, missing, until).await?;
        let registry = Registry { source: made, names: names.clone() };
        let differences = registry.agree(&links, &Manifest::new(config.partitions), until).await?;
        if !differences.is_empty() {
            return Err(OpenError::Manifest { prefix: prefix.to_owned(), differences });
        }
        let (blobs, fence) = (names.blob_config(replicas), names.blob_fence());
        let made = source(&links, blobs, fence, missing, until).await?;
        let blobs = Blobs { source: made, names: names.clone(), limit: record_limit };
        ensure(&links.writing, &names.host_config(replicas), missing, until)
            .await
            .map_err(StoreError::from)?;
        let hosts = Source::unfenced(names.host_stream());

        let opened = Self {
            description: describe(&links.writing, config, prefix),
            record_limit,
            registry,
            blobs,
            hosts,
            contexts: Contexts::new(names.clone(), replicas),
            announced: OnceLock::new(),
            closed: CancellationToken::new(),
            appends: TaskTracker::new(),
            links,
            names,
        };
        for context in opened.registry.noted_contexts(&opened.links, until).await? {
            opened.context(&context, until).await?;
        }
        Ok(opened)
    }

    async fn context(&self, context: &str, until: Instant) -> Result<Arc<Context>, StoreError> {
        self.contexts.get(&self.links, &self.registry, context, until).await
    }

    /// The server's version check knows an older record than the writer: the newer one is gone,
    /// or the server cannot read it. A repair may be written behind that, nothing else.
    async fn append_behind(&self, append: &Append, last: Position) -> Result<u64, PublishError> {
        let (links, actor, until) = (&self.links, &append.actor, append.deadline);
        // Others may have stored what one of several servers refuses.
        let refused = PublishError::Refused;
        let context = self.context(actor.context(), until).await.map_err(refused)?;
        let log = context.partition(actor).map_err(refused)?;
        let subject = self.names.log(actor);
        let known = log.index(links, &subject, until).await.map_err(refused)?;
        let is_repair = append.events == 0 && append.expected.0 == known;
        if !is_repair || !log.has_lost(links, known, until).await.map_err(refused)? {
            return Err(PublishError::Conflict(Some(last.max(Position(known)))));
        }
        let (headers, bytes) = (HeaderMap::new(), append.bytes.clone());
        let sent = publish(&links.writing, &subject, Some(last.0), headers, bytes, until);
        step!("jetstream.append-repair", sent.await).map_err(|error| match error {
            // Not this one; the one before was.
            PublishError::Unsent(error) => PublishError::Refused(error),
            error => error,
        })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            return Err(StoreError("the store is closed".to_owned()));
        }
        Ok(())
    }

    /// When a call that begins now gives up; an error if the store is closed.
    fn until(&self, wait: Duration) -> Result<Instant, StoreError> {
        self.check_open()?;
        Ok(clock::now() + wait)
    }

    /// The calls of a closed store would wait for a connection that never comes back.
    async fn unless_closed<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let answer = self.closed.run_until_cancelled(call).await;
        answer.unwrap_or_else(|| Err(StoreError("the store was closed".to_owned())))
    }
}

#[async_trait]
impl EventStore for JetStreamStore {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn record_limit(&self) -> usize {
        self.record_limit
    }

    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let (bytes, limit) = (append.bytes.len(), self.record_limit);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let under_way = self.appends.token();
        self.check_open().map_err(AppendError::Unavailable)?;
        let until = append.deadline;
        let context = self.context(append.actor.context(), until).await;
        let context = context.map_err(AppendError::Unavailable)?;
        if append.events == 0 {
            // Before the repair itself, so that none can be overlooked.
            let (links, actor) = (&self.links, &append.actor);
            self.registry
                .note_repaired(links, actor, until)
                .await
                .map_err(AppendError::Unavailable)?;
        }
        let subject = self.names.log(&append.actor);
        let expected = Some(append.expected.0);
        let (headers, bytes) = (HeaderMap::new(), append.bytes.clone());
        let sent = publish(&self.links.writing, &subject, expected, headers, bytes, until);
        let written = match step!("jetstream.append", sent.await) {
            Err(PublishError::Conflict(Some(last))) if last < append.expected => {
                self.append_behind(&append, last).await
            }
            written => written,
        };
        drop(under_way);
        written.map(Position).map_err(|error| {
            let log = context.partition(&append.actor);
            error.of_append(log.map_or(true, Source::is_replicated))
        })
    }

    async fn read(
        &self,
        actor: &Address,
        from: Position,
        freshness: Freshness,
    ) -> Result<Page, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let log = context.partition(actor)?;
            let subject = self.names.log(actor);
            let batch = match freshness {
                Freshness::Proof => log.proof(&self.links, &subject, from.0, until).await?,
                _ => log.page(&self.links, &subject, from.0, freshness, until).await?,
            };
            let more = batch.pending > 0 && !batch.messages.is_empty();
            let stored = batch
                .messages
                .into_iter()
                .map(|found| Stored { position: Position(found.sequence), bytes: found.payload });
            Ok(Page { records: stored.collect(), more })
        })
        .await
    }

    async fn head(&self, actor: &Address) -> Result<Position, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let log = context.partition(actor)?;
            log.head(&self.links, &self.names.log(actor), until).await.map(Position)
        })
        .await
    }

    async fn has_lost(&self, actor: &Address, position: Position) -> Result<bool, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            context.partition(actor)?.has_lost(&self.links, position.0, until).await
        })
        .await
    }

    async fn newest_snapshot(&self, actor: &Address) -> Result<Option<Snapshot>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let places = self.names.snapshots(actor);
            snapshots::load(&context.snapshots, &self.links, &places, None, until).await
        })
        .await
    }

    async fn snapshot(
        &self,
        actor: &Address,
        key: &Digest,
    ) -> Result<Option<Snapshot>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let places = self.names.snapshots(actor);
            snapshots::load(&context.snapshots, &self.links, &places, Some(key), until).await
        })
        .await
    }

    async fn save_snapshot(&self, actor: &Address, snapshot: Snapshot) -> Result<(), StoreError> {
        let until = self.until(CALL_WAIT)?;
        let (bytes, limit) = (snapshot.bytes.len(), self.record_limit);
        if bytes > limit {
            return Err(StoreError(format!(
                "the snapshot of {actor} has {bytes} bytes; the limit is {limit}"
            )));
        }
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let places = self.names.snapshots(actor);
            snapshots::save(&context.snapshots, &self.links, &places, snapshot, until).await
        })
        .await
    }

    async fn forget_snapshot(&self, actor: &Address) -> Result<(), StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let context = self.context(actor.context(), until).await?;
            let places = self.names.snapshots(actor);
            snapshots::forget(&context.snapshots, &self.links, &places, until).await
        })
        .await
    }

    async fn find_command(&self, _: &Address, _: &str) -> Result<Vec<Position>, StoreError> {
        self.check_open()?;
        Ok(Vec::new())
    }

    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Address>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        let after = after.map(encode_id);
        self.unless_closed(async {
            let streams = self.context(context, until).await?;
            let mut tokens = BTreeSet::new();
            for (partition, log) in (0_u32..).zip(&streams.log) {
                let filter = self.names.aggregate_filter(context, partition, aggregate);
                for subject in log.subjects(&self.links, &filter, until).await?.into_keys() {
                    let token = subject.rsplit('.').next().unwrap_or_default();
                    if after.as_deref().is_none_or(|after| token > after) {
                        tokens.insert(token.to_owned());
                    }
                    // Only the first `limit` are of use, whatever the number of actors.
                    if tokens.len() > limit {
                        tokens.pop_last();
                    }
                }
            }
            let address =
                |token: &String| Address::new(context, aggregate, &decode_id(token).ok()?).ok();
            Ok(tokens.iter().filter_map(address).collect())
        })
        .await
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<RecordFeed, FeedError> {
        let until = self.until(CALL_WAIT)?;
        let partitions = self.names.partitions();
        let after = match cursor {
            None => vec![0; partitions as usize],
            Some(cursor) => feed::decode(cursor, partitions).ok_or_else(|| {
                let cursor: String = cursor.chars().take(80).collect();
                FeedError::Cursor(format!("`{cursor}` is not a cursor of this store's feed"))
            })?,
        };
        let streams = self.unless_closed(self.context(context, until)).await?;
        for (log, after) in streams.log.iter().zip(&after).filter(|(_, after)| **after > 0) {
            let end = self.unless_closed(log.end(&self.links, until)).await?;
            if end < *after {
                let stream = log.stream();
                return Err(FeedError::Cursor(format!(
                    "the cursor stands at {after} of `{stream}`, which ends at {end}: records that were there are gone, or the cursor is another store's"
                )));
            }
        }
        let closed = self.closed.clone();
        Ok(feed::open(&self.links.reading, &self.names, context, after, closed))
    }

    async fn scan(&self, context: &str, from: &Reach) -> Result<Scan, FeedError> {
        let until = self.until(CALL_WAIT)?;
        let partitions = self.names.partitions() as usize;
        if !from.0.is_empty() && from.0.len() != partitions {
            let found = from.0.len();
            return Err(FeedError::Cursor(format!(
                "what was read of this store is {partitions} positions; {found} were given: they are another store's"
            )));
        }
        let streams = self.unless_closed(self.context(context, until)).await?;
        let ends = (0_u32..).zip(&streams.log).map(|(partition, log)| {
            let filter = self.names.log_filter(context, partition);
            async move { log.tail(&self.links, &filter, until).await.map(Position) }
        });
        let ends = self.unless_closed(futures::future::try_join_all(ends)).await?;
        let after = if from.0.is_empty() { vec![Position(0); partitions] } else { from.0.clone() };
        if let Some((after, end)) = after.iter().zip(&ends).find(|(after, end)| after > end) {
            return Err(FeedError::Cursor(format!(
                "a partition was read up to {after} and ends at {end}: records that were there are gone, or it was another store's"
            )));
        }
        let closed = self.closed.clone();
        Ok(feed::scan(&self.links.reading, &self.names, context, &after, Reach(ends), closed))
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.blobs.put(&self.links, &bytes, until)).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.blobs.get(&self.links, digest, until)).await
    }

    async fn deployments(&self, context: &str) -> Result<Vec<Deployment>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.deployments(&self.links, context, until)).await
    }

    async fn contexts(&self) -> Result<Vec<String>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.contexts(&self.links, until)).await
    }

    async fn activate(&self, deployment: &Deployment) -> Result<(), ActivateError> {
        let until = self.until(CALL_WAIT)?;
        self.context(&deployment.context, until).await?;
        self.registry.activate(&self.links, deployment, until).await
    }

    fn deployment_hints(&self) -> BoxStream<'static, ()> {
        registry::hints(&self.links.reading, &self.names)
    }

    async fn close_events(&self, closing: &Closing) -> Result<(), ActivateError> {
        let until = self.until(CALL_WAIT)?;
        self.registry.close_events(&self.links, closing, until).await
    }

    async fn closing(&self, context: &str, number: u64) -> Result<Option<Closing>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.closing(&self.links, context, number, until)).await
    }

    async fn quarantine(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.quarantine(&self.links, actor, mark, until)).await
    }

    async fn quarantined(&self, actor: &Address) -> Result<Option<Quarantine>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.quarantined(&self.links, actor, until)).await
    }

    async fn quarantines(&self, context: &str) -> Result<Vec<(Address, Quarantine)>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.quarantines(&self.links, context, until)).await
    }

    async fn release(&self, actor: &Address, mark: &Quarantine) -> Result<(), StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.release(&self.links, actor, mark, until)).await
    }

    async fn repaired(&self, context: &str) -> Result<Vec<Address>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(self.registry.repaired(&self.links, context, until)).await
    }

    async fn census(&self, context: &str) -> Result<Census, StoreError> {
        let until = self.until(CENSUS_WAIT)?;
        self.unless_closed(async {
            let streams = self.context(context, until).await?;
            census::census(&self.links, &self.names, &streams, context, until).await
        })
        .await
    }

    async fn announce(&self, presence: &Presence) -> Result<Vec<Presence>, StoreError> {
        let until = self.until(CALL_WAIT)?;
        self.unless_closed(async {
            let payload = serde_json::to_vec(presence)
                .map_err(|error| StoreError(format!("a host cannot be announced: {error}")))?;
            let (subject, headers) = (self.names.host(&presence.host), HeaderMap::new());
            let _ = self.announced.set(subject.clone());
            let writing = &self.links.writing;
            let at = step!(
                "jetstream.announce",
                publish(writing, &subject, None, headers, payload.into(), until).await
            )?;
            // A replica that has our own message has everybody's before it.
            let found = self.hosts.newest(&self.links, &self.names.hosts(), at, until).await?;
            Ok(found.iter().filter_map(|host| serde_json::from_slice(&host.payload).ok()).collect())
        })
        .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let until = self.until(CHECK_WAIT)?;
        self.unless_closed(self.registry.check(&self.links, until)).await
    }

    async fn close(&self) {
        if let (Some(subject), Ok(until)) = (self.announced.get(), self.until(CHECK_WAIT)) {
            // An empty message takes the host's word back; without it others believe it a while.
            let (writing, headers) = (&self.links.writing, HeaderMap::new());
            let _ = step!(
                "jetstream.take-leave",
                publish(writing, subject, None, headers, Bytes::new(), until).await
            );
        }
        self.closed.cancel();
        self.appends.close();
        self.appends.wait().await;
        for link in [&self.links.writing, &self.links.reading] {
            // Both fail only if the connection is gone, and then there is nothing to finish.
            let client = link.client();
            if link.connected(clock::now() + CHECK_WAIT).await {
                let flushed = tokio::time::timeout(CHECK_WAIT, client.flush());
                let _ = step!("nats.flush", flushed.await);
            }
            let _ = step!("nats.drain", client.drain().await);
        }
    }
}

/// Host and port of each of the server URLs `urls`, without users and passwords.
#[must_use]
pub fn places(urls: &str) -> String {
    connection::places_of_text(urls)
}

fn names(config: &NatsConfig, prefix: &str) -> Result<Names, OpenError> {
    if !(1..=MAX_PARTITIONS).contains(&config.partitions) {
        let found = config.partitions;
        return Err(OpenError::Setting(format!(
            "a log of {found} partitions cannot be made: expected 1 to {MAX_PARTITIONS}"
        )));
    }
    if !matches!(config.replicas, 1 | 3 | 5) {
        let found = config.replicas;
        return Err(OpenError::Setting(format!(
            "streams with {found} replicas cannot be made: expected 1, 3 or 5"
        )));
    }
    Names::new(prefix, config.partitions).ok_or_else(|| {
        let prefix: String = prefix.chars().take(80).collect();
        OpenError::Setting(format!(
            "`{prefix}` cannot be a prefix: expected 1 to 64 of [A-Za-z0-9_-]"
        ))
    })
}

/// Refuses a server that is too old, takes too small messages, or has no JetStream.
async fn check_server(link: &Link, record_limit: usize, until: Instant) -> Result<(), OpenError> {
    let client = link.client();
    let info = client.server_info();
    let place = format!("{}:{}", info.host, info.port);
    let (major, minor, patch) = OLDEST_SERVER;
    if !client.is_server_compatible(major, minor, patch) {
        let needed = format!("{major}.{minor}.{patch}");
        return Err(OpenError::Version { place, found: info.version, needed });
    }
    let needed = record_limit.saturating_add(MESSAGE_EXTRA);
    if info.max_payload < needed {
        let found = info.max_payload;
        return Err(OpenError::Payload { place, found, limit: record_limit, needed });
    }
    let info = link.api::<IgnoredAny>("INFO", &Value::Null, until);
    match step!("jetstream.account-info", info.await) {
        Ok(_) => Ok(()),
        Err(ApiFailure::Refused(error)) => {
            Err(OpenError::NoJetStream { place, reason: error.description })
        }
        Err(ApiFailure::Silent(reason)) => Err(OpenError::NoJetStream { place, reason }),
    }
}

async fn source(
    links: &Links,
    wanted: Value,
    fence: String,
    missing: IfMissing,
    until: Instant,
) -> Result<Source, StoreError> {
    let info = ensure(&links.writing, &wanted, missing, until).await?;
    let stream = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    Ok(Source::new(stream.to_owned(), info.replicas(), fence))
}

/// What an acknowledgement means on this server. Its sync interval cannot be asked for.
fn describe(link: &Link, config: &NatsConfig, prefix: &str) -> String {
    let info = link.client().server_info();
    let promise = if config.replicas > 1 {
        "acknowledged = a majority of the replicas has it; lost only if a majority loses power before the server syncs (`sync_interval`, 2 min unless the server sets it)"
    } else {
        "acknowledged = the server has written it; a crash of the server loses nothing, a power loss up to `sync_interval` (2 min unless the server sets it)"
    };
    // Where it was asked for: what a server says of itself is the address that it listens at.
    let (version, place) = (info.version, places(&config.url));
    let (replicas, partitions) = (config.replicas, config.partitions);
    format!(
        "NATS JetStream {version} at {place}, prefix {prefix}, replicas {replicas}, partitions {partitions}: {promise}"
    )
}
