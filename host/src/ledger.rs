//! What a VM knows of its actor's recent commands, so that a repeated one is answered with what it
//! did and not done again.
//!
//! An entry is a fingerprint of a command's id and the position of its record; whether the id is
//! really the same, and whether the fields are, is read from the record. Two ids may share a
//! fingerprint, a command may not be mistaken for another.
//!
//! It is most of what an awake actor costs, so an entry has seven bytes: three of the id's digest,
//! and the lower half of the position. Positions only grow, so the upper half follows from the newest
//! one as long as two neighbours lie less than 2^32 apart; else the older ones are forgotten. With a
//! window of 64, one command in 250,000 only seems to be known, which costs it a look into the log.

use std::collections::VecDeque;

use aether_wit::Digest;
use serde::{Deserialize, Serialize};

use crate::record::{Position, Record};

/// The last turns of an actor, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// Position of the newest entry.
    newest: Position,
    /// Whether a turn has been forgotten: then an id that is not here may still be in the log.
    forgot: bool,
}

/// One turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    fingerprint: Fingerprint,
    /// The lower half of its record's position.
    position: [u8; 4],
}

/// The first bytes of the SHA-256 of a command's id.
type Fingerprint = [u8; 3];

/// A ledger as snapshots hold it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    entries: Vec<(Fingerprint, Position)>,
    forgot: bool,
}

impl From<Form> for Ledger {
    fn from(form: Form) -> Self {
        let mut ledger = Self { forgot: form.forgot, ..Self::default() };
        ledger.entries.reserve_exact(form.entries.len());
        for (fingerprint, position) in form.entries {
            ledger.add(fingerprint, position);
        }
        ledger
    }
}

impl From<Ledger> for Form {
    fn from(ledger: Ledger) -> Self {
        let mut entries: Vec<_> = ledger.newest_first().collect();
        entries.reverse();
        Self { entries, forgot: ledger.forgot }
    }
}

impl Ledger {
    /// Remembers the turns of a record, forgetting the oldest beyond `window`.
    pub fn remember(&mut self, record: &Record, position: Position, window: usize) {
        for turn in &record.turns {
            if self.entries.len() >= window.max(1) {
                self.entries.pop_front();
                self.forgot = true;
            }
            self.add(fingerprint(&turn.command.id), position);
        }
    }

    fn add(&mut self, fingerprint: Fingerprint, position: Position) {
        let apart = position.0.checked_sub(self.newest.0);
        let near = apart.is_some_and(|apart| u32::try_from(apart).is_ok());
        if !near && !self.entries.is_empty() {
            self.entries.clear();
            self.forgot = true;
        }
        self.newest = position;
        self.entries.push_back(Entry { fingerprint, position: lower(position).to_le_bytes() });
    }

    /// Positions of records that may hold command `id`, newest first.
    pub fn find(&self, id: &str) -> impl Iterator<Item = Position> {
        let wanted = fingerprint(id);
        let entries = self.newest_first();
        entries.filter(move |(known, _)| *known == wanted).map(|(_, position)| position)
    }

    fn newest_first(&self) -> impl Iterator<Item = (Fingerprint, Position)> {
        let newer = self.newest;
        self.entries.iter().rev().scan(newer, |newer, entry| {
            let back = lower(*newer).wrapping_sub(u32::from_le_bytes(entry.position));
            newer.0 = newer.0.saturating_sub(back.into());
            Some((entry.fingerprint, *newer))
        })
    }

    /// Its memory in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Whether every turn of the actor is known here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.forgot
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is told by its neighbours")]
const fn lower(position: Position) -> u32 {
    position.0 as u32
}

fn fingerprint(id: &str) -> Fingerprint {
    let digest = Digest::of(id);
    let [a, b, c, ..] = *digest.as_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        /// Whatever lies between its records, what it knows is where it was, and comes back from a
        /// snapshot; what it does not know it says it forgot.
        #[test]
        fn positions_are_told_whole_or_not_at_all(
            apart in prop::collection::vec(prop_oneof![
                4 => 1..100_000_u64,
                1 => u64::from(u32::MAX) - 1..=u64::from(u32::MAX) + 1,
                1 => 1..1_u64 << 40,
            ], 1..30),
            window in 1..20_usize,
        ) {
            let (mut ledger, mut position, mut all) = (Ledger::default(), 0, Vec::new());
            for (n, apart) in apart.iter().enumerate() {
                position += apart;
                let id = format!("c{n}");
                ledger.remember(&record(&[&id]), Position(position), window);
                all.push((id, Position(position)));
            }
            let text = serde_json::to_string(&ledger).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Ledger>(&text).unwrap(), &ledger);
            let far = apart.iter().skip(1).rposition(|apart| *apart > u64::from(u32::MAX));
            let known = window.min(far.map_or(all.len(), |far| all.len() - 1 - far));
            for (n, (id, position)) in all.iter().rev().enumerate() {
                let found: Vec<_> = ledger.find(id).collect();
                prop_assert_eq!(found.contains(position), n < known, "{} of {}", id, text);
                prop_assert!(found.len() <= 1);
            }
            prop_assert_eq!(ledger.is_complete(), known == all.len());
        }
    }
}
