//! What a VM knows of its actor's recent commands, so that a repeated one is answered with what it
//! did and not done again.
//!
//! An entry is an 8-byte fingerprint of a command's id and the position of its record; whether the
//! id is really the same, and whether the fields are, is read from the record. Two ids may share a
//! fingerprint, a command may not be mistaken for another.

use std::collections::VecDeque;

use aether_wit::Digest;
use serde::{Deserialize, Serialize};

use crate::record::{Position, Record};

/// The last turns of an actor, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    entries: VecDeque<(u64, Position)>,
    /// Whether a turn has been forgotten: then an id that is not here may still be in the log.
    forgot: bool,
}

impl Ledger {
    /// Remembers the turns of a record, forgetting the oldest beyond `window`.
    pub fn remember(&mut self, record: &Record, position: Position, window: usize) {
        for turn in &record.turns {
            if self.entries.len() >= window.max(1) {
                self.entries.pop_front();
                self.forgot = true;
            }
            self.entries.push_back((fingerprint(&turn.command.id), position));
        }
    }

    /// Positions of records that may hold command `id`, newest first.
    pub fn find(&self, id: &str) -> impl Iterator<Item = Position> {
        let wanted = fingerprint(id);
        let entries = self.entries.iter().rev();
        entries.filter(move |(known, _)| *known == wanted).map(|(_, position)| *position)
    }

    /// Its memory in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, Position)>()
    }

    /// Whether every turn of the actor is known here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.forgot
    }
}

/// The first 8 bytes of the id's SHA-256.
fn fingerprint(id: &str) -> u64 {
    let digest = Digest::of(id);
    digest.as_bytes().iter().take(8).fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CommandMeta, Kind, Turn};

    fn record(ids: &[&str]) -> Record {
        let turn = |id: &&str| Turn {
            command: CommandMeta {
                id: (*id).to_owned(),
                name: "open".to_owned(),
                digest: Digest::of(""),
                at: 0,
                by: None,
                correlation: (*id).to_owned(),
                causation: None,
                seed: "0".to_owned(),
            },
            events: Vec::new(),
        };
        Record {
            format: 1,
            kind: Kind::Turns,
            actor: "bank/account/alice".to_owned(),
            first: 1,
            prev: None,
            deployment: 1,
            model: Digest::of(""),
            component: Digest::of(""),
            turns: ids.iter().map(turn).collect(),
            repair: None,
        }
    }

    #[test]
    fn it_knows_the_newest_and_says_when_it_forgot() {
        let mut ledger = Ledger::default();
        ledger.remember(&record(&["a", "b"]), Position(3), 3);
        ledger.remember(&record(&["a"]), Position(5), 3);
        assert!(ledger.is_complete());
        assert_eq!(ledger.find("a").collect::<Vec<_>>(), [Position(5), Position(3)]);
        assert_eq!(ledger.find("c").count(), 0);
        ledger.remember(&record(&["d"]), Position(9), 3);
        assert!(!ledger.is_complete());
        assert_eq!(ledger.find("a").collect::<Vec<_>>(), [Position(5)]);
    }
}
