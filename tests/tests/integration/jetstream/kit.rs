//! Opening stores, and writers that know what was acknowledged to them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use aether::{
    address::Address,
    clock,
    config::NatsConfig,
    record::{Position, Stored},
    store::{
        Append, AppendError, DEFAULT_RECORD_LIMIT, EventStore, Freshness,
        jetstream::{JetStreamStore, OpenError},
    },
};
use bytes::Bytes;

/// Partitions in tests: enough to be more than one, few enough to be made quickly.
pub const PARTITIONS: u32 = 3;

pub fn config(url: &str) -> NatsConfig {
    NatsConfig {
        url: url.to_owned(),
        credentials: None,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        replicas: 1,
        partitions: PARTITIONS,
    }
}

pub async fn open(config: &NatsConfig, prefix: &str) -> Result<Arc<JetStreamStore>, OpenError> {
    JetStreamStore::open(config, prefix, DEFAULT_RECORD_LIMIT).await.map(Arc::new)
}

/// A prefix that nobody used before on any server of this process.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn account(id: &str) -> Address {
    Address::new("bank", "account", id).unwrap()
}

pub fn append(actor: &Address, expected: Position, bytes: String, wait: Duration) -> Append {
    Append {
        actor: actor.clone(),
        expected,
        first: 1,
        events: 1,
        command_ids: Vec::new(),
        bytes: Bytes::from(bytes),
        deadline: clock::now() + wait,
    }
}

pub async fn read_all(store: &JetStreamStore, actor: &Address) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let from = all.last().map_or(0, |stored| stored.position.0) + 1;
        let page = store.read(actor, Position(from), Freshness::Leader).await.unwrap();
        all.extend(page.records);
        if !page.more {
            return all;
        }
    }
}

/// Writes `count` records named `NAME-n` to `actor`, as a host does: after a conflict it reads
/// what is there and looks for its own. Gives the positions that were acknowledged or found.
pub async fn write_all(
    store: &JetStreamStore,
    actor: &Address,
    name: &str,
    count: usize,
) -> Vec<Stored> {
    let mut written = Vec::new();
    let mut expected = store.head(actor).await.unwrap();
    for n in 0..count {
        let bytes = format!("{name}-{n}");
        let position = loop {
            let next = append(actor, expected, bytes.clone(), Duration::from_secs(60));
            match store.append(next).await {
                Ok(position) => break position,
                Err(AppendError::Conflict { last }) => {
                    let log = read_all(store, actor).await;
                    let seen = log.last().map_or(Position(0), |stored| stored.position);
                    assert!(last.is_none_or(|last| last <= seen), "{last:?} is not in the log");
                    expected = seen;
                    if let Some(own) = log.iter().find(|stored| stored.bytes == bytes.as_bytes()) {
                        break own.position;
                    }
                }
                Err(other) => panic!("{name}-{n}: {other}"),
            }
        };
        expected = expected.max(position);
        written.push(Stored { position, bytes: Bytes::from(bytes) });
    }
    written
}

/// The log holds exactly what was acknowledged to its writers, in each writer's order.
pub async fn assert_log(store: &JetStreamStore, actor: &Address, written: &[Vec<Stored>]) {
    let log = read_all(store, actor).await;
    let positions: BTreeSet<Position> = log.iter().map(|stored| stored.position).collect();
    assert_eq!(positions.len(), log.len(), "each record has a place of its own");
    assert!(log.is_sorted_by_key(|stored| stored.position));
    for writer in written {
        assert!(writer.is_sorted_by_key(|stored| stored.position));
        for stored in writer {
            assert!(log.contains(stored), "acknowledged and lost: {stored:?}");
        }
    }
    assert_eq!(log.len(), written.iter().map(Vec::len).sum::<usize>(), "nothing is there twice");
}
