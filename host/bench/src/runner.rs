//! A command that computes as long as it is told to.

use std::hint::black_box;

aether_guest::aggregate!("bench.storm.yaml", "runner", Runner);

/// The rules of runners.
pub struct Runner;

impl Aggregate for Runner {
    fn initial(_id: String) -> State {
        State { runs: 0 }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Run(Run { rounds }) = command;
        let mut sum = 0_u64;
        for round in 0..rounds {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(round));
        }
        black_box(sum);
        Ok(vec![Event::Ran])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        State { runs: state.runs.saturating_add(events.len() as u64) }
    }
}
