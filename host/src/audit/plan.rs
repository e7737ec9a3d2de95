//! What must be skipped so that a damaged log can be folded.

use aether_wit::Digest;

use super::examine::Hit;
use crate::{
    address::Address,
    record::{Chain, Damage, Place, Position, Repairs, Skip, Skipped, Stored, parse},
};

/// The least that must be skipped because of `hit`: everything behind the last record that counts
/// up to this position.
///
/// Where two neighbours contradict each other, one of them was altered, and its successor or the
/// snapshot may tell which: an altered record is named by nobody.
#[must_use]
pub fn least(hit: &Hit) -> Position {
    let at = hit.damage.position();
    let (Damage::Chain { .. }, Some(found)) = (&hit.damage, &hit.found) else { return at };
    let Ok(record) = parse(found) else { return at };
    let (before, expected) = (hit.chain.position, hit.chain.version + 1);
    if record.first < expected {
        return at;
    }
    // Versions and positions are missing between the two: so is a record.
    if record.first > expected && at.0 > before.0 + 1 {
        return Position(at.0 - 1);
    }
    let after = hit.next.as_ref().and_then(|next| parse(next).ok()?.prev);
    let named = |digest: Option<Digest>| {
        digest.is_some() && (digest == after || digest == hit.snapshot.map(|place| place.digest))
    };
    let altered_before = named(Some(Digest::of(&found.bytes))) && !named(hit.chain.digest);
    if altered_before && before.0 > 0 { before } else { at }
}

/// Why a log cannot be cut so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What stands against it.
    pub why: String,
    /// Through where it must be cut at least, if that may help.
    pub further: Option<Position>,
}

/// Finds what is skipped if everything is that follows the last record that counts up to a
/// position. Records are given in order until it has seen enough.
pub struct Cut {
    actor: Address,
    through: Position,
    chain: Chain,
    /// A record that the log has lost and a snapshot, a mark or the store names.
    lost: Option<Skipped>,
    skipped: Option<Vec<Skipped>>,
    resumes: Option<Stored>,
}

impl Cut {
    /// A cut through `through` in a log that obeys `repairs`.
    #[must_use]
    pub fn new(
        actor: &Address,
        repairs: Repairs,
        through: Position,
        lost: Option<Skipped>,
    ) -> Self {
        let chain = Chain::start(actor).with_repairs(repairs);
        Self { actor: actor.clone(), through, chain, lost, skipped: None, resumes: None }
    }

    /// Takes the next record; whether it wants more.
    pub fn take(&mut self, stored: &Stored) -> bool {
        if stored.position > self.through {
            self.resumes = Some(stored.clone());
            return false;
        }
        if self.skipped.is_none() && stored.position < self.through {
            // What is skipped begins at the first damage.
            if self.chain.accept(stored).is_ok() {
                return true;
            }
        }
        let place = Place::from(stored);
        let lost = Skipped { position: Some(place.position), digest: Some(place.digest) };
        self.skipped.get_or_insert_default().push(lost);
        true
    }

    /// What is skipped.
    ///
    /// # Errors
    /// If that is nothing, or what follows cannot be where the chain goes on.
    pub fn skip(self) -> Result<Skip, Refused> {
        let mut skipped = self.skipped.unwrap_or_default();
        let mut lose = |lost: Skipped| {
            let known = skipped.iter().any(|known: &Skipped| match lost.digest {
                Some(_) => known.digest == lost.digest,
                None => known.position == lost.position,
            });
            if !known {
                skipped.push(lost);
            }
        };
        if let Some(next) = &self.resumes {
            let at = next.position;
            let refused = |why: String| Refused {
                why: format!("the log cannot go on at position {at}: {why}"),
                further: Some(at),
            };
            let record = parse(next).map_err(|damage| refused(damage.to_string()))?;
            if !self.actor.is_written(&record.actor) {
                return Err(refused(format!("the record belongs to actor `{}`", record.actor)));
            }
            if record.first <= self.chain.version {
                return Err(refused(format!(
                    "it begins with version {}, and version {} counts already",
                    record.first, self.chain.version
                )));
            }
            if let Some(digest) = record.prev.filter(|prev| Some(*prev) != self.chain.digest) {
                lose(Skipped { position: None, digest: Some(digest) });
            }
        }
        if let Some(lost) = self.lost.filter(|lost| lost.position <= Some(self.through)) {
            lose(lost);
        }
        if skipped.is_empty() {
            let through = self.through;
            let why =
                format!("the log is whole up to position {through}: nothing is to be skipped");
            return Err(Refused { why, further: None });
        }
        let resumes = self.resumes.as_ref().map(Place::from);
        Ok(Skip { after: self.chain.place(), skipped, resumes })
    }
}
