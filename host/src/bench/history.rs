//! Pasts that are written to be read: records as the host writes them, without the turns.

use aether_wit::Digest;
use anyhow::Result;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::hosts::DEPOSIT;
use crate::{
    address::Address,
    record::{Chain, CommandMeta, EventData, FORMAT, Kind, Position, Record, Stored, Turn},
    store::Deployment,
};

/// One actor's log as it grows.
#[derive(Debug)]
pub struct Past {
    chain: Chain,
    actor: String,
}

/// What all records of a run have in common.
#[derive(Debug, Clone)]
pub struct Author {
    deployment: u64,
    model: Digest,
    component: Digest,
    fields: Digest,
    data: Box<RawValue>,
}

impl Author {
    /// The records of what is deployed.
    ///
    /// # Errors
    /// If nothing implements accounts.
    pub fn of(deployment: &Deployment) -> Result<Self> {
        let component = deployment.components.get("account").copied();
        Ok(Self {
            deployment: deployment.number,
            model: deployment.model,
            component: component.ok_or_else(|| anyhow::anyhow!("no component of accounts"))?,
            fields: Digest::of(DEPOSIT),
            data: RawValue::from_string(DEPOSIT.to_owned())?,
        })
    }

    fn turn(&self, number: u64) -> Turn {
        // As long as the ids that the host makes.
        let id = format!("0199a3c4-0000-7000-8000-{number:012}");
        Turn {
            command: CommandMeta {
                correlation: id.clone(),
                id,
                name: "deposit".to_owned(),
                digest: self.fields,
                at: 1_760_000_000_000,
                by: None,
                causation: None,
                seed: (u64::MAX / 3 + number).to_string(),
            },
            events: vec![EventData { name: "deposited".to_owned(), data: self.data.clone() }],
        }
    }
}

/// A record on its way to a store.
#[derive(Debug)]
pub struct Next {
    record: Record,
    /// Its bytes.
    pub bytes: Bytes,
    /// Version of its first event.
    pub first: u64,
    /// How many events.
    pub events: u64,
    /// Position of the record before it.
    pub expected: Position,
}

impl Past {
    /// An actor without events.
    #[must_use]
    pub fn of(actor: &Address) -> Self {
        Self { chain: Chain::start(actor), actor: actor.to_string() }
    }

    /// The next record, of so many turns.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn next(&self, author: &Author, turns: u64) -> Result<Next> {
        let first = self.chain.version + 1;
        let record = Record {
            format: FORMAT,
            kind: Kind::Turns,
            actor: self.actor.clone(),
            first,
            prev: self.chain.digest,
            deployment: author.deployment,
            model: author.model,
            component: author.component,
            turns: (first..first + turns).map(|number| author.turn(number)).collect(),
            repair: None,
        };
        let bytes = record.encode()?;
        Ok(Next { record, bytes, first, events: turns, expected: self.chain.position })
    }

    /// The record was stored at `position`.
    pub fn stored(&mut self, next: &Next, position: Position) {
        let stored = Stored { position, bytes: next.bytes.clone() };
        self.chain.advance(&next.record, &stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_past_that_a_host_would_believe() {
        let actor = crate::bench::hosts::address("account", "a").unwrap();
        let deployment = Deployment {
            number: 1,
            context: "bench".to_owned(),
            model: Digest::of("m"),
            components: [("account".to_owned(), Digest::of("c"))].into(),
            at: 0,
            by: String::new(),
            because: String::new(),
            origin: String::new(),
            again: None,
            forced: [].into(),
            replayed: Vec::new(),
            rest: None,
        };
        let author = Author::of(&deployment).unwrap();
        let (mut past, mut reader) = (Past::of(&actor), Chain::start(&actor));
        for position in 1..4 {
            let next = past.next(&author, 2).unwrap();
            let stored = Stored { position: Position(position), bytes: next.bytes.clone() };
            reader.accept(&stored).unwrap();
            past.stored(&next, Position(position));
        }
        assert_eq!(reader.version, 6);
    }
}
