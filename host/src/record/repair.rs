//! Repairs: what an operator decided not to count, and how a chain goes on without it.
//!
//! A damaged log cannot be mended in place: records are never changed and never removed. A *repair*
//! is a record without turns, at the end of the log, that names what does not count. Whoever reads
//! the log passes over exactly that: a record is skipped only if it follows the record that the
//! repair says and has the position and the digest that the repair says, and the chain goes on only
//! with the record that the repair names. Anything else there is damage as before.
//!
//! Who folds must know the repairs of a log before it reads what they skip. A chain that meets a
//! repair which it does not know says so ([`Damage::Repaired`](super::Damage::Repaired)), and its
//! reader begins anew with all repairs of the log.

use std::sync::Arc;

use aether_wit::Digest;
use serde::{Deserialize, Serialize};

use super::{Kind, Position, Record, Stored, parse, present};
use crate::address::Address;

/// What an operator skipped, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// The stretches that do not count, oldest first.
    pub skips: Vec<Skip>,
    /// The operator's words.
    pub reason: String,
    /// The operator, if the host knows its callers.
    #[serde(deserialize_with = "present")]
    pub by: Option<String>,
    /// When, in ms since 1970.
    pub at: u64,
}

/// A stretch of a log that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The last record before it that counts; none at the beginning of the log.
    #[serde(deserialize_with = "present")]
    pub after: Option<Place>,
    /// What does not count, at least one.
    pub skipped: Vec<Skipped>,
    /// The first record after it that counts; none if the repair itself follows `after`.
    #[serde(deserialize_with = "present")]
    pub resumes: Option<Place>,
}

/// A record that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Where it is or was; none for a lost record that only its successor tells of.
    #[serde(deserialize_with = "present")]
    pub position: Option<Position>,
    /// Digest of the bytes found, or of the lost record as its successor or a snapshot names it;
    /// none if nobody does.
    #[serde(deserialize_with = "present")]
    pub digest: Option<Digest>,
}

/// A record as others name it: where it stands, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its position.
    pub position: Position,
    /// Digest of its stored bytes.
    pub digest: Digest,
}

impl From<&Stored> for Place {
    fn from(stored: &Stored) -> Self {
        Self { position: stored.position, digest: Digest::of(&stored.bytes) }
    }
}

impl Repair {
    /// What is wrong with its form, if anything is.
    pub(super) fn misfit(&self) -> Option<&'static str> {
        let names_nothing = |lost: &Skipped| lost.position.is_none() && lost.digest.is_none();
        let empty = self.skips.is_empty()
            || self
                .skips
                .iter()
                .any(|skip| skip.skipped.is_empty() || skip.skipped.iter().any(names_nothing));
        empty.then_some("a repair that skips nothing")
    }
}

/// How a repair lets a chain pass a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not count.
    Skip,
    /// It counts, whatever it says of its predecessor.
    Resume,
}

/// Whether `position` lies behind the last record that counts before `skip` and before the first
/// one after it.
fn within(repair: Option<Place>, skip: &Skip, position: Position) -> bool {
    let end = skip.resumes.or(repair).map(|place| place.position);
    skip.after.is_none_or(|after| after.position < position)
        && end.is_some_and(|end| position < end)
}

/// The repairs of one log, as far as a reader knows them. Nearly all logs have none, and that costs
/// no memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs(Option<Arc<Vec<Known>>>);

/// A repair and where it is stored; nowhere yet if that is none.
type Known = (Option<Place>, Repair);

impl Repairs {
    /// Takes note of `stored` if it is a repair of `actor`; everything else is passed over, for
    /// what is damaged shows when the log is folded.
    pub fn note(&mut self, actor: &Address, stored: &Stored) {
        let Ok(Record { kind: Kind::Repair, actor: written, repair: Some(repair), .. }) =
            parse(stored)
        else {
            return;
        };
        if actor.is_written(&written) {
            self.push(Some(stored.into()), repair);
        }
    }

    /// These repairs and one more that is not stored yet.
    #[must_use]
    pub fn with(&self, repair: Repair) -> Self {
        let mut more = self.clone();
        more.push(None, repair);
        more
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> &[Known] {
        self.0.as_ref().map_or(&[], |all| all.as_slice())
    }

    fn push(&mut self, place: Option<Place>, repair: Repair) {
        Arc::make_mut(self.0.get_or_insert_default()).push((place, repair));
    }

    /// The repairs that are stored and where, oldest first.
    pub fn stored(&self) -> impl Iterator<Item = (Position, &Repair)> {
        self.all().iter().filter_map(|(place, repair)| Some(((*place)?.position, repair)))
    }

    /// Whether the repair stored at `place` is among them.
    #[must_use]
    pub fn knows(&self, place: Place) -> bool {
        self.all().iter().any(|(known, _)| *known == Some(place))
    }

    /// Whether they say that this very record does not count, as a snapshot may still claim.
    #[must_use]
    pub fn skip(&self, place: Place) -> bool {
        let mut skipped = self.skips().flat_map(|(_, skip)| &skip.skipped);
        skipped.any(|lost| {
            lost.digest == Some(place.digest) && lost.position.is_none_or(|at| at == place.position)
        })
    }

    /// Whether `position` lies in a stretch that does not count. A store that has lost its tail may
    /// give the numbers of lost records to new ones: those lie elsewhere, and count.
    #[must_use]
    pub fn pass(&self, position: Position) -> bool {
        self.skips().any(|(repair, skip)| {
            let begun = skip.after.is_none_or(|after| after.position < position);
            let end = skip.resumes.or(repair).map(|place| place.position);
            begun
                && match end {
                    Some(end) => position < end,
                    None => skip.skipped.iter().any(|lost| lost.position == Some(position)),
                }
        })
    }

    /// Whether they say that what stood at `place` does not count, whatever stands there now: it
    /// is named, or it stood between what counts before a stretch and what counts after it. Behind
    /// the repair only the name tells, for a store may give the numbers of lost records again.
    #[must_use]
    pub fn cover(&self, place: Place) -> bool {
        self.skip(place) || self.skips().any(|(repair, skip)| within(repair, skip, place.position))
    }

    /// What they say of the record at `place` for a chain that stands on `after`. The newest word
    /// counts.
    pub(super) fn step(&self, after: Option<Place>, place: Place) -> Option<Step> {
        let skips = self.skips().filter(|(_, skip)| skip.after == after);
        let told = skips.filter_map(|(_, skip)| {
            let is = |lost: &Skipped| {
                lost.position == Some(place.position) && lost.digest == Some(place.digest)
            };
            if skip.skipped.iter().any(is) {
                Some(Step::Skip)
            } else {
                (skip.resumes == Some(place)).then_some(Step::Resume)
            }
        });
        told.into_iter().next()
    }

    /// All stretches with the place of their repair, the newest first.
    fn skips(&self) -> impl Iterator<Item = (Option<Place>, &Skip)> {
        let newest = self.all().iter().rev();
        newest.flat_map(|(place, repair)| repair.skips.iter().map(move |skip| (*place, skip)))
    }
}
