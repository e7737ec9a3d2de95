//! The neighbour whose service must not suffer.

aether_guest::aggregate!("hostile.storm.yaml", "counter", Counter);

/// Adds up.
pub struct Counter;

impl Aggregate for Counter {
    fn initial(_id: String) -> State {
        State { sum: 0, events: 0 }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        let Command::Add(Add { amount }) = command;
        let room = u64::MAX - state.sum;
        if amount > room {
            return Err(Rejection::TooMuch(TooMuch { room }));
        }
        Ok(vec![Event::Added(Added { amount })])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, Event::Added(Added { amount })| State {
            sum: state.sum.saturating_add(amount),
            events: state.events + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use aether_guest::given;

    use super::*;

    #[test]
    fn the_sum_does_not_overflow() {
        given::<Counter>([Event::Added(Added { amount: u64::MAX - 1 })])
            .when(Command::Add(Add { amount: 2 }))
            .then_rejected(Rejection::TooMuch(TooMuch { room: 1 }))
            .when(Command::Add(Add { amount: 1 }))
            .then([Event::Added(Added { amount: 1 })]);
    }
}
