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
    /// Records that the log has lost and a snapshot, a mark or the store names.
    lost: Vec<Skipped>,
    /// The readable record that lies where one was lost, and the log before it.
    instead: Option<(Place, Chain)>,
    /// Whether the store never gives other bytes than were written.
    is_exact: bool,
    skipped: Option<Vec<Skipped>>,
    resumes: Option<Stored>,
}

impl Cut {
    /// A cut through `through` in a log that obeys `repairs` and has lost `lost`. `is_exact`: the
    /// store never gives other bytes than were written.
    #[must_use]
    pub fn new(
        actor: &Address,
        repairs: Repairs,
        through: Position,
        mut lost: Vec<Skipped>,
        is_exact: bool,
    ) -> Self {
        lost.retain(|lost| lost.position <= Some(through));
        Self {
            actor: actor.clone(),
            through,
            chain: Chain::start(actor).with_repairs(repairs),
            lost,
            instead: None,
            is_exact,
            skipped: None,
            resumes: None,
        }
    }

    /// Takes the next record; whether it wants more.
    pub fn take(&mut self, stored: &Stored) -> bool {
        let place = Place::from(stored);
        // What was skipped once never counts again: its command may have been given anew.
        if stored.position > self.through && !self.chain.repairs().skip(place) {
            self.resumes = Some(stored.clone());
            return false;
        }
        let is_instead = || self.lost.iter().any(|lost| lost.position == Some(place.position));
        if self.skipped.is_none() && (stored.position < self.through || is_instead()) {
            let before = self.chain.clone();
            // What is skipped begins at the first damage.
            if self.chain.accept(stored).is_ok() {
                if stored.position == self.through {
                    self.instead = Some((place, before));
                }
                return true;
            }
        }
        let found = Skipped { position: Some(place.position), digest: Some(place.digest) };
        self.skipped.get_or_insert_default().push(found);
        true
    }

    /// A record that fits the log where another was lost was written after the loss, or it is
    /// the lost one, altered: its successor or the store can tell that it is not.
    fn judge_instead(&mut self) {
        let Some((place, before)) = self.instead.take() else { return };
        let prev = self.resumes.as_ref().and_then(|next| parse(next).ok()?.prev);
        if !self.is_exact && prev != Some(place.digest) {
            self.chain = before;
            let found = Skipped { position: Some(place.position), digest: Some(place.digest) };
            self.skipped.get_or_insert_default().insert(0, found);
        }
    }

    /// What is skipped.
    ///
    /// # Errors
    /// If that is nothing, or what follows cannot be where the chain goes on.
    pub fn skip(mut self) -> Result<Skip, Refused> {
        self.judge_instead();
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
        self.lost.iter().copied().for_each(&mut lose);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Repair;

    /// The log of `bank/account/alice`: records 1 to 3 at the positions 10, 20, 30.
    fn log() -> Vec<Stored> {
        let goldens: [&[u8]; 3] = [
            include_bytes!("../../golden/record-1/one-event.json"),
            include_bytes!("../../golden/record-1/several-events.json"),
            include_bytes!("../../golden/record-1/several-turns.json"),
        ];
        let stored = |(n, bytes): (u64, &&'static [u8])| Stored {
            position: Position(n * 10),
            bytes: bytes::Bytes::from_static(bytes),
        };
        (1..).zip(&goldens).map(stored).collect()
    }

    fn named(stored: &Stored) -> Skipped {
        let place = Place::from(stored);
        Skipped { position: Some(place.position), digest: Some(place.digest) }
    }

    fn cut(log: &[Stored], repairs: Repairs, through: u64, lost: &[Skipped], exact: bool) -> Skip {
        let actor = "bank/account/alice".parse().unwrap();
        let mut cut = Cut::new(&actor, repairs, Position(through), lost.to_vec(), exact);
        for stored in log {
            if !cut.take(stored) {
                break;
            }
        }
        cut.skip().unwrap()
    }

    fn lost_at(position: u64) -> Skipped {
        let digest = Some(Digest::of(format!("lost {position}")));
        Skipped { position: Some(Position(position)), digest }
    }

    #[test]
    fn what_lies_where_another_was_lost_is_skipped_only_if_it_may_be_the_lost_one_altered() {
        let log = log();
        // Its successor names it, or the store cannot alter it.
        for (through, exact) in [(20, false), (20, true), (30, true)] {
            let skip = cut(&log, Repairs::default(), through, &[lost_at(through)], exact);
            assert_eq!(skip.skipped, [lost_at(through)]);
            assert_eq!(skip.after.unwrap().position, Position(through));
        }
        let skip = cut(&log, Repairs::default(), 30, &[lost_at(30)], false);
        assert_eq!(skip.skipped, [named(&log[2]), lost_at(30)]);
        assert_eq!(skip.after, Some(Place::from(&log[1])));
    }

    #[test]
    fn all_that_was_lost_up_to_there_is_named() {
        let lost = [lost_at(35), lost_at(40), lost_at(50)];
        let skip = cut(&log(), Repairs::default(), 40, &lost, true);
        assert_eq!(skip.skipped, lost[..2]);
        assert_eq!(skip.after.unwrap().position, Position(30));
    }

    /// The second record was skipped; then the first is damaged. The second does not come back.
    #[test]
    fn what_a_repair_skips_never_counts_again() {
        let mut log = log();
        let first = Place::from(&log[0]);
        let skips = vec![Skip {
            after: Some(first),
            skipped: vec![named(&log[1])],
            resumes: Some(Place::from(&log[2])),
        }];
        let repair = Repair { skips, reason: "a test".to_owned(), by: None, at: 0 };
        let repairs = Repairs::default().with(repair);
        log[0].bytes = log[0].bytes.slice(..50);
        let skip = cut(&log, repairs, 10, &[], true);
        assert_eq!(skip.resumes, Some(Place::from(&log[2])));
        assert!(skip.skipped.contains(&named(&log[1])), "{:?}", skip.skipped);
        assert_eq!(skip.after, None);
    }
}
