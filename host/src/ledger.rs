//! What a VM knows of its actor's recent commands, so that a repeated one is answered with what it
//! did and not done again.
//!
//! An entry is a fingerprint of a command's id and the position of its record; whether the id is
//! really the same, and whether the fields are, is read from the record. Two ids may share a
//! fingerprint, a command may not be mistaken for another.
//!
//! It is most of what an awake actor costs, so it is a row of bytes. First come three bytes of each
//! id's digest, oldest first, which are all that is looked at as long as no id is known; then how far
//! each record's position lies behind the one before, seven bits to a byte, the lowest first. All
//! positions follow from the newest. That is four to six bytes for a turn, the more the more actors
//! are at work. With a window of 64, one command in 250,000 only seems to be known, which costs it a
//! look into the log.

use aether_wit::Digest;
use serde::{Deserialize, Serialize};

use crate::record::{Position, Record};

/// By how many bytes the row grows: a turn at a time would move it each time, and twice as many as
/// there are would be too many.
const GROWTH_BYTES: usize = 32;

/// Bytes of the largest number in a row.
const MAX_NUMBER_BYTES: usize = 10;

/// The last turns of an actor, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Ledger {
    row: Vec<u8>,
    /// How many turns there are.
    turns: u32,
    /// Whether a turn has been forgotten: then an id that is not here may still be in the log.
    forgot: bool,
    /// Position of the newest turn.
    newest: Position,
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
        for (fingerprint, position) in form.entries {
            ledger.add(fingerprint, position);
        }
        ledger
    }
}

impl From<Ledger> for Form {
    fn from(ledger: Ledger) -> Self {
        Self { entries: ledger.oldest_first().collect(), forgot: ledger.forgot }
    }
}

impl Ledger {
    /// Remembers the turns of a record, forgetting the oldest beyond `window`.
    pub fn remember(&mut self, record: &Record, position: Position, window: usize) {
        for turn in &record.turns {
            if self.turns as usize >= window.max(1) {
                self.forget_oldest();
            }
            self.add(fingerprint(&turn.command.id), position);
        }
    }

    fn forget_oldest(&mut self) {
        let first_number = self.fingerprints().as_flattened().len();
        let number = Numbers(self.row.get(first_number..).unwrap_or_default()).skip_one();
        self.row.drain(first_number..first_number + number);
        self.row.drain(..size_of::<Fingerprint>().min(first_number));
        self.turns = self.turns.saturating_sub(1);
        self.forgot = true;
    }

    fn add(&mut self, fingerprint: Fingerprint, position: Position) {
        if position < self.newest {
            // Positions only grow. Whatever this is, it is not the log of the others.
            self.row.clear();
            self.forgot |= self.turns > 0;
            self.turns = 0;
        }
        let room = self.row.capacity() - self.row.len();
        if room < MAX_NUMBER_BYTES + size_of::<Fingerprint>() {
            self.row.reserve_exact(GROWTH_BYTES);
        }
        if self.turns > 0 {
            let mut apart = position.0 - self.newest.0;
            while apart >= 0x80 {
                self.row.push((apart & 0x7f) as u8 | 0x80);
                apart >>= 7;
            }
            self.row.push((apart & 0x7f) as u8);
        }
        let end = self.fingerprints().as_flattened().len();
        self.row.extend_from_slice(&fingerprint);
        if let Some(behind) = self.row.get_mut(end..) {
            behind.rotate_right(fingerprint.len());
        }
        self.turns += 1;
        self.newest = position;
    }

    /// Positions of records that may hold command `id`, newest first.
    pub fn find(&self, id: &str) -> impl Iterator<Item = Position> + use<> {
        let wanted = fingerprint(id);
        let is_known = self.fingerprints().contains(&wanted);
        let turns = is_known.then(|| self.oldest_first()).into_iter().flatten();
        let found = turns.filter(|(known, _)| *known == wanted).map(|(_, position)| position);
        found.collect::<Vec<_>>().into_iter().rev()
    }

    fn oldest_first(&self) -> impl Iterator<Item = (Fingerprint, Position)> {
        let all: u64 = self.numbers().sum();
        let mut position = self.newest.0.saturating_sub(all);
        // The first lies behind none.
        let numbers = std::iter::once(0).chain(self.numbers());
        self.fingerprints().iter().zip(numbers).map(move |(fingerprint, apart)| {
            position += apart;
            (*fingerprint, Position(position))
        })
    }

    fn fingerprints(&self) -> &[Fingerprint] {
        let (fingerprints, _) = self.row.as_chunks();
        fingerprints.get(..self.turns as usize).unwrap_or_default()
    }

    fn numbers(&self) -> Numbers<'_> {
        let first = self.fingerprints().as_flattened().len();
        Numbers(self.row.get(first..).unwrap_or_default())
    }

    /// Its memory in bytes, about.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.row.capacity()
    }

    /// Whether every turn of the actor is known here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.forgot
    }
}

/// Numbers as they stand in a row.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// How many bytes the next one has.
    fn skip_one(&self) -> usize {
        self.0.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1)
    }
}

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(self.skip_one())?;
        self.0 = rest;
        let join = |number: u64, byte: &u8| (number << 7) | u64::from(byte & 0x7f);
        (!number.is_empty()).then(|| number.iter().rev().fold(0, join))
    }
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
    fn a_full_window_is_small() {
        let mut ledger = Ledger::default();
        for n in 0..1000 {
            // A host with a hundred thousand actors at work: that many records lie between two.
            ledger.remember(&record(&[&n.to_string()]), Position(n * 100_000), 64);
        }
        assert!(ledger.bytes() <= 64 * 6 + GROWTH_BYTES, "{}", ledger.bytes());
        ledger.remember(&record(&["late"]), Position(1), 64);
        assert_eq!(ledger.find("late").collect::<Vec<_>>(), [Position(1)]);
        assert_eq!(ledger.find("999").count(), 0);
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
            let known = window.min(all.len());
            for (n, (id, position)) in all.iter().rev().enumerate() {
                let found: Vec<_> = ledger.find(id).collect();
                prop_assert_eq!(found.contains(position), n < known, "{} of {}", id, text);
                prop_assert!(found.len() <= 1);
            }
            prop_assert_eq!(ledger.is_complete(), known == all.len());
        }
    }
}
