//! Which faults strike which work on which store, in what order: all of it follows from a seed.

use std::{fmt, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{cluster::StoreKind, nemesis::Nemesis, workload::Workload};

/// One round: a workload, and faults while it runs.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its number in the schedule, from 1 on.
    pub number: usize,
    /// Where the records are.
    pub store: StoreKind,
    /// What clients do.
    pub workload: Workload,
    /// What goes wrong.
    pub nemesis: Nemesis,
    /// How often.
    pub strikes: usize,
    /// How many clients there are.
    pub clients: usize,
    /// What everything else in it follows from.
    pub seed: u64,
    /// How long one fault lasts at most.
    pub longest: Duration,
}

/// Numbers of clients.
const CLIENTS: [usize; 4] = [32, 48, 64, 128];

/// How much a schedule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Every workload once on every store, with any nemesis, once and for a short while.
    Short,
    /// Every nemesis once on every store that it fits.
    Once,
    /// Every nemesis with every workload on every store that it fits, some faults long.
    Full,
}

impl Length {
    /// How long one fault lasts at most. An election of a leader fits into all but the shortest.
    const fn longest(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 2,
            Self::Once => 7,
            Self::Full => 20,
        })
    }
}

/// The rounds that follow from `seed`, store by store. Nemeses that need a disk of their own are in
/// it only if there can be one.
#[must_use]
pub fn schedule(seed: u64, length: Length, disk: bool) -> Vec<Round> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rounds = Vec::new();
    for store in StoreKind::ALL {
        let mut fitting: Vec<Nemesis> = Nemesis::ALL
            .into_iter()
            .filter(|nemesis| nemesis.fits(store) && (disk || !nemesis.needs_disk()))
            .filter(|nemesis| length != Length::Short || *nemesis != Nemesis::PowerCut)
            .collect();
        let mut workloads = Workload::ALL;
        workloads.shuffle(&mut rng);
        let passes = if length == Length::Full { workloads.len() } else { 1 };
        for pass in 0..passes {
            fitting.shuffle(&mut rng);
            if length == Length::Short {
                fitting.truncate(workloads.len());
            }
            // Each workload in turn. In a full schedule a nemesis meets every workload: whichever
            // one it begins with, the passes move on by one.
            for (place, nemesis) in fitting.iter().enumerate() {
                let turn = if length == Length::Full { *nemesis as usize } else { place };
                if pass > 0 && *nemesis == Nemesis::PowerCut {
                    continue;
                }
                let workload = workloads.iter().cycle().nth((turn + pass) % workloads.len());
                let clients = CLIENTS.get(rng.random_range(0..CLIENTS.len())).copied();
                let once = nemesis.is_long() || length == Length::Short;
                rounds.push(Round {
                    number: rounds.len() + 1,
                    store,
                    workload: workload
                        .copied()
                        .filter(|_| *nemesis != Nemesis::PowerCut)
                        .unwrap_or(Workload::Append),
                    nemesis: *nemesis,
                    strikes: if once { 1 } else { 2 },
                    clients: clients.unwrap_or(32),
                    seed: rng.random(),
                    longest: length.longest(),
                });
            }
        }
    }
    rounds
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, store, workload, nemesis, clients, .. } = self;
        write!(f, "{number:>3} {store:<8} {workload:<6} {nemesis:<14} {clients:>3} clients")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn strikes(rounds: &[Round]) -> usize {
        rounds.iter().map(|round| round.strikes).sum()
    }

    #[test]
    fn a_short_schedule_has_every_nemesis_workload_and_store_for_any_seed() {
        for seed in 0..50 {
            let rounds = schedule(seed, Length::Once, true);
            assert!(strikes(&rounds) >= 60, "{}", strikes(&rounds));
            let cells: BTreeSet<_> = rounds.iter().map(|it| (it.store, it.nemesis)).collect();
            let all = StoreKind::ALL.map(|store| Nemesis::ALL.map(|it| (store, it))).concat();
            let fitting = all.into_iter().filter(|(store, nemesis)| nemesis.fits(*store));
            assert_eq!(cells, fitting.collect());
            let work: BTreeSet<_> = rounds.iter().map(|it| (it.store, it.workload)).collect();
            assert_eq!(work.len(), StoreKind::ALL.len() * Workload::ALL.len());
        }
    }

    #[test]
    fn a_full_schedule_has_every_combination() {
        let rounds = schedule(7, Length::Full, true);
        assert!(strikes(&rounds) >= 300, "{}", strikes(&rounds));
        let cells: BTreeSet<_> =
            rounds.iter().map(|it| (it.store, it.nemesis, it.workload)).collect();
        assert_eq!(cells.len(), rounds.len());
    }

    #[test]
    fn the_shortest_schedule_has_every_workload_on_every_store() {
        let rounds = schedule(3, Length::Short, false);
        let work: BTreeSet<_> = rounds.iter().map(|it| (it.store, it.workload)).collect();
        assert_eq!((work.len(), strikes(&rounds)), (12, 12));
    }

    #[test]
    fn a_seed_gives_the_same_schedule_again_and_another_one_another() {
        let text = |seed| format!("{:?}", schedule(seed, Length::Once, true));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let without = schedule(1, Length::Once, false);
        assert!(without.iter().all(|round| !round.nemesis.needs_disk()));
    }
}
