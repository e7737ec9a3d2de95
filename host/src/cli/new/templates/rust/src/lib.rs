//! A counter that holds no more than a hundred.

aether_guest::aggregate!("{{name}}.storm.yaml", "counter", Counter);

/// What a counter holds at most.
const LIMIT: u32 = 100;

/// The rules of counters.
pub struct Counter;

impl Aggregate for Counter {
    fn initial(_id: String) -> State {
        State { count: 0 }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Add(Add { amount }) => {
                let room = LIMIT.saturating_sub(state.count);
                if amount > room {
                    return Err(Rejection::TooMany(TooMany { room }));
                }
                Ok(vec![Event::Added(Added { amount })])
            }
            Command::Clear if state.count == 0 => Ok(vec![]),
            Command::Clear => Ok(vec![Event::Cleared]),
        }
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, event| match event {
            Event::Added(Added { amount }) => State { count: state.count.saturating_add(amount) },
            Event::Cleared => State { count: 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use aether_guest::given;

    use super::*;

    #[test]
    fn a_counter_counts() {
        given::<Counter>([])
            .when(Command::Add(Add { amount: 3 }))
            .then([Event::Added(Added { amount: 3 })]);
    }

    #[test]
    fn a_counter_holds_a_hundred() {
        given::<Counter>([Event::Added(Added { amount: 99 })])
            .when(Command::Add(Add { amount: 2 }))
            .then_rejected(Rejection::TooMany(TooMany { room: 1 }));
    }
}
