//! What the checks are written with: real records, and reading without pages.

use std::{sync::Arc, time::Duration};

use aether_wit::Digest;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::Subject;
use crate::{
    address::Address,
    clock,
    record::{Chain, CommandMeta, EventData, FORMAT, Kind, Position, Record, Stored, Turn},
    store::{Append, EventStore, Freshness},
};

/// How long a writer waits; no healthy store comes near it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Opens the subject's store, which must work.
pub(super) async fn open(subject: &Arc<dyn Subject>) -> Arc<dyn EventStore> {
    subject.open().await.expect("the store opens")
}

/// Actor `id` of the aggregate that most checks use.
pub(super) fn account(id: &str) -> Address {
    Address::new("bank", "account", id).expect("a legal address")
}

/// An append of any bytes: a store does not look into them.
pub(super) fn plain(actor: &Address, expected: Position, first: u64, bytes: &[u8]) -> Append {
    Append {
        actor: actor.clone(),
        expected,
        first,
        events: 1,
        command_ids: Vec::new(),
        bytes: Bytes::copy_from_slice(bytes),
        deadline: clock::now() + PATIENCE,
    }
}

/// All records of `actor` from `from` on.
pub(super) async fn read_all(
    store: &Arc<dyn EventStore>,
    actor: &Address,
    from: Position,
) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let from = all.last().map_or(from, |stored| Position(stored.position.0 + 1));
        let page = store.read(actor, from, Freshness::Leader).await.expect("a page");
        assert!(!page.more || !page.records.is_empty(), "a page with more to come holds a record");
        all.extend(page.records);
        if !page.more {
            return all;
        }
    }
}

/// The writer of one actor's log, with records as the host writes them.
pub(super) struct Log {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) actor: Address,
    pub(super) chain: Chain,
}

impl Log {
    pub(super) fn new(store: &Arc<dyn EventStore>, actor: Address) -> Self {
        Self { store: store.clone(), chain: Chain::start(&actor), actor }
    }

    /// The next record with `events` events, of which the first carries `note`.
    pub(super) fn record(&self, events: usize, note: &str) -> Append {
        let first = self.chain.version + 1;
        let data = serde_json::json!({ "note": note }).to_string();
        let event = |text: String| EventData {
            name: "noted".to_owned(),
            data: RawValue::from_string(text).expect("JSON"),
        };
        let events: Vec<_> =
            (0..events).map(|n| event(if n == 0 { data.clone() } else { "{}".into() })).collect();
        let command = CommandMeta {
            id: format!("{}-{first}", self.actor.id_token()),
            name: "note".to_owned(),
            digest: Digest::of("{}"),
            at: 1_700_000_000_000,
            by: None,
            correlation: "c".to_owned(),
            causation: None,
            seed: "7".to_owned(),
        };
        let record = Record {
            format: FORMAT,
            kind: Kind::Turns,
            actor: self.actor.to_string(),
            first,
            prev: self.chain.digest,
            deployment: 1,
            model: Digest::of("model"),
            component: Digest::of("component"),
            turns: vec![Turn { command, events }],
            repair: None,
        };
        Append {
            actor: self.actor.clone(),
            expected: self.chain.position,
            first,
            events: record.event_count(),
            command_ids: Vec::new(),
            bytes: record.encode().expect("a record"),
            deadline: clock::now() + PATIENCE,
        }
    }

    /// Appends `append`, which was made by [`Self::record`], and moves behind it.
    pub(super) async fn append(&mut self, append: Append) -> Stored {
        let bytes = append.bytes.clone();
        let position = self.store.append(append).await.expect("an acknowledgement");
        let stored = Stored { position, bytes };
        self.chain.accept(&stored).expect("the record fits its own chain");
        stored
    }

    /// Appends a record of one event.
    pub(super) async fn write(&mut self, note: &str) -> Stored {
        let append = self.record(1, note);
        self.append(append).await
    }
}
