//! An account with as much state and as many rules as most aggregates have.

aether_guest::aggregate!("bench.storm.yaml", "account", Account);

/// The rules of accounts.
pub struct Account;

impl Aggregate for Account {
    fn initial(id: String) -> State {
        State { owner: id, balance: 0, overdraft: 0, open: true }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Deposit(Deposit { amount: 0 }) | Command::Withdraw(Withdraw { amount: 0 }) => {
                Err(Rejection::NoAmount)
            }
            Command::Deposit(Deposit { amount }) => {
                Ok(vec![Event::Deposited(Deposited { amount })])
            }
            Command::Withdraw(Withdraw { amount }) => {
                let balance = state.balance;
                if amount > balance.saturating_add(state.overdraft) {
                    return Err(Rejection::InsufficientFunds(InsufficientFunds { balance }));
                }
                Ok(vec![Event::Withdrawn(Withdrawn { amount })])
            }
        }
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, event| {
            let balance = match event {
                Event::Deposited(Deposited { amount }) => state.balance.saturating_add(amount),
                Event::Withdrawn(Withdrawn { amount }) => state.balance.saturating_sub(amount),
            };
            State { balance, ..state }
        })
    }
}
