//! Some actors, taken at random: a quick look instead of a reading of everything.
//!
//! Each actor has a rank by its address and a seed, and those with the lowest are taken. So the
//! same seed takes the same actors as long as none come to be, whatever store or host.

use std::collections::{BTreeSet, VecDeque};

use super::{
    ground::{Ground, patience},
    sample::place,
};
use crate::{address::Address, failure::Failure, step::step};

/// Most actors of a sample: they are held in memory, and each is read by itself.
pub const MAX_SAMPLE: usize = 100_000;

/// Actors that the store is asked for at once.
const PAGE: usize = 1000;

/// How many actors, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How many, at most [`MAX_SAMPLE`].
    pub count: usize,
    /// Which.
    pub seed: u64,
}

impl Sample {
    /// Where `actor` stands among all: SplitMix64 of its place and the seed.
    fn rank(self, actor: &Address) -> u64 {
        let mut hash = place(actor) ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// The actors of a sample among those whose code changes, and how many of these there are. Those
/// that an operator must look at do not count.
///
/// # Errors
/// `unavailable` if the store does not answer.
pub async fn pick(ground: &Ground, sample: Sample) -> Result<(VecDeque<Address>, u64), Failure> {
    let (mut taken, mut all) = (BTreeSet::new(), 0);
    for aggregate in ground.codes.keys() {
        let mut after: Option<String> = None;
        loop {
            ground.go_on()?;
            let store = &ground.env.store;
            let page = store.actors(&ground.context, aggregate, after.as_deref(), PAGE);
            let page = step!("replay.actors", ground.env.ask("actors", patience(), page).await)?;
            after = page.last().map(|actor| actor.id().to_owned());
            let more = page.len() == PAGE;
            for actor in page {
                if ground.quarantined.contains_key(&actor) {
                    continue;
                }
                all += 1;
                taken.insert((sample.rank(&actor), actor));
                if taken.len() > sample.count.min(MAX_SAMPLE) {
                    taken.pop_last();
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok((taken.into_iter().map(|(_, actor)| actor).collect(), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_takes_any_actor_as_often_as_another() {
        let actors: Vec<Address> =
            (0..100).map(|n| format!("bank/account/{n}").parse().unwrap()).collect();
        let first = |seed| {
            let sample = Sample { count: 1, seed };
            actors.iter().min_by_key(|actor| sample.rank(actor)).cloned()
        };
        assert_eq!(first(7), first(7));
        let different: BTreeSet<_> = (0..1000).map(first).collect();
        assert!(different.len() > 95, "{} of 100 are ever taken", different.len());
    }
}
