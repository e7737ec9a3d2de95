//! What the writer remembers of actors, in a table of fixed size.
//!
//! An append must know its actor's number and last record, and a look into the file costs more than
//! the append itself. Each actor has a few places where it can stand; the one that was not asked
//! for the longest makes room. A place costs 32 bytes, whether it is taken or not.

use std::hash::BuildHasher as _;

use lru::DefaultHasher;

use crate::{address::Address, record::Position};

/// Groups of places: with [`PLACES`] in each, 65,536 actors are remembered in 2 MiB.
const GROUPS: usize = 8192;

/// Places in which an actor can stand.
const PLACES: usize = 8;

/// What is remembered of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Its number.
    pub(super) id: i64,
    /// Position of its last record.
    pub(super) position: Position,
    /// Version of its last event.
    pub(super) version: u64,
}

/// Places of a group, the one that was asked for last first.
type Group = [Option<(Address, Head)>; PLACES];

/// Actors and their heads.
pub(super) struct Heads {
    hasher: DefaultHasher,
    groups: Box<[Group]>,
}

impl Heads {
    pub(super) fn new() -> Self {
        let groups = (0..GROUPS).map(|_| Group::default()).collect();
        Self { hasher: DefaultHasher::default(), groups }
    }

    pub(super) fn get(&mut self, actor: &Address) -> Option<Head> {
        let group = self.group(actor)?;
        let at = position(group, actor)?;
        let until = group.get_mut(..=at)?;
        until.rotate_right(1);
        until.first()?.as_ref().map(|(_, head)| *head)
    }

    pub(super) fn put(&mut self, actor: &Address, head: Head) {
        let Some(group) = self.group(actor) else { return };
        let at = position(group, actor).unwrap_or(PLACES - 1);
        let Some(until) = group.get_mut(..=at) else { return };
        until.rotate_right(1);
        if let Some(first) = until.first_mut() {
            *first = Some((actor.clone(), head));
        }
    }

    pub(super) fn clear(&mut self) {
        self.groups.fill_with(Group::default);
    }

    fn group(&mut self, actor: &Address) -> Option<&mut Group> {
        let group = self.hasher.hash_one(actor) % GROUPS as u64;
        self.groups.get_mut(usize::try_from(group).ok()?)
    }
}

fn position(group: &Group, actor: &Address) -> Option<usize> {
    group.iter().position(|place| place.as_ref().is_some_and(|(known, _)| known == actor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_small_and_what_is_remembered_is_right() {
        assert_eq!(size_of::<Option<(Address, Head)>>(), 32);
        let mut heads = Heads::new();
        let actor = |n: u64| Address::new("bank", "account", &n.to_string()).unwrap();
        let head = |n: u64| Head { id: n.cast_signed(), position: Position(n), version: n };
        let all = (GROUPS * PLACES * 2) as u64;
        for n in 0..all {
            heads.put(&actor(n), head(n));
            assert_eq!(heads.get(&actor(n)), Some(head(n)));
            // What is used again and again stays.
            heads.put(&actor(0), head(0));
        }
        let known: Vec<u64> = (0..all).filter(|n| heads.get(&actor(*n)).is_some()).collect();
        assert!(known.iter().all(|n| heads.get(&actor(*n)) == Some(head(*n))));
        assert!(known.contains(&0) && known.len() > GROUPS * PLACES * 9 / 10, "{}", known.len());
        heads.clear();
        assert!(known.iter().all(|n| heads.get(&actor(*n)).is_none()));
    }
}
