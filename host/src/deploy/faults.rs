//! How components do: which actors each of them has failed in this host.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aether_wit::Digest;
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// Most actors that are remembered for one component; further ones only count as faults.
const MAX_ACTORS: usize = 10_000;

/// Most components that are remembered: more than anybody deploys in the life of a process.
const MAX_COMPONENTS: usize = 1_000;

/// What components have failed since this host began.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<Digest, Known>>);

#[derive(Debug, Default)]
struct Known {
    faults: u64,
    actors: HashSet<Address>,
    last: String,
}

/// What one component has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faulty {
    /// Traps, overruns, and breaches of limits and contract.
    pub faults: u64,
    /// Actors that had one, up to 10,000.
    pub actors: u64,
    /// The last one, for people.
    pub last: String,
}

impl Faults {
    /// Counts a fault of `component` while it served `actor`.
    pub fn note(&self, component: Digest, actor: &Address, what: &str) {
        let mut all = self.lock();
        if all.len() >= MAX_COMPONENTS && !all.contains_key(&component) {
            return;
        }
        let known = all.entry(component).or_default();
        known.faults += 1;
        if known.actors.len() < MAX_ACTORS && !known.actors.contains(actor) {
            known.actors.insert(actor.clone());
        }
        what.clone_into(&mut known.last);
    }

    /// What each component has failed.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Faulty> {
        let all = self.lock();
        let shown = |known: &Known| Faulty {
            faults: known.faults,
            actors: known.actors.len() as u64,
            last: known.last.clone(),
        };
        all.iter().map(|(component, known)| (component.to_string(), shown(known))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_component_and_actor() {
        let faults = Faults::default();
        let actors = ["bank/account/a", "bank/account/b"].map(|a| a.parse::<Address>().unwrap());
        let digests = [Digest::of("one"), Digest::of("two")];
        for actor in [&actors[0], &actors[0], &actors[1]] {
            faults.note(digests[0], actor, "it trapped");
        }
        faults.note(digests[1], &actors[0], "too slow");
        let all = faults.all();
        let expected = Faulty { faults: 3, actors: 2, last: "it trapped".to_owned() };
        assert_eq!(all[&digests[0].to_string()], expected);
        assert_eq!(all[&digests[1].to_string()].actors, 1);
    }
}
