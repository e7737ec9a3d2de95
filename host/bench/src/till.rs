//! A counter whose commands each get a new instance.

aether_guest::aggregate!("bench.storm.yaml", "till", Till);

/// The rules of tills.
pub struct Till;

impl Aggregate for Till {
    fn initial(_id: String) -> State {
        State { balance: 0 }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Deposit(Deposit { amount }) = command;
        Ok(vec![Event::Deposited(Deposited { amount })])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, Event::Deposited(Deposited { amount })| State {
            balance: state.balance.saturating_add(amount),
        })
    }
}
