//! An account: it holds money, and within its limits its owner may owe the bank some.

aether_guest::aggregate!("bank.storm.yaml", "account", Account);

/// The rules of accounts.
pub struct Account;

impl Aggregate for Account {
    fn initial(_id: String) -> State {
        State {
            owner: String::new(),
            balance: 0,
            overdrawn: 0,
            overdraft: 0,
            per_withdrawal: None,
            open: false,
            closed: false,
        }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Open(Open { owner }) => state.open(owner),
            _ if !state.open => Err(Rejection::NotOpen),
            Command::Deposit(Deposit { amount }) => state.deposit(amount),
            Command::Withdraw(Withdraw { amount }) => state.withdraw(amount),
            Command::SetLimits(limits) => state.set_limits(limits),
            Command::Close => state.close(),
        }
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, State::after)
    }
}

impl State {
    fn open(self, owner: String) -> Result<Vec<Event>, Rejection> {
        if self.closed {
            return Err(Rejection::ClosedForGood);
        }
        if self.open {
            return Err(Rejection::AlreadyOpen);
        }
        Ok(vec![Event::Opened(Opened { owner })])
    }

    fn deposit(self, amount: u64) -> Result<Vec<Event>, Rejection> {
        if amount == 0 {
            return Err(Rejection::NoAmount);
        }
        let kept = amount.saturating_sub(self.overdrawn);
        if self.balance.checked_add(kept).is_none() {
            return Err(Rejection::BalanceTooLarge);
        }
        Ok(vec![Event::Deposited(Deposited { amount })])
    }

    fn withdraw(self, amount: u64) -> Result<Vec<Event>, Rejection> {
        if amount == 0 {
            return Err(Rejection::NoAmount);
        }
        if let Some(per_withdrawal) = self.per_withdrawal
            && amount > per_withdrawal
        {
            return Err(Rejection::OverLimit(OverLimit { per_withdrawal }));
        }
        let credit = self.overdraft.saturating_sub(self.overdrawn);
        if amount > self.balance.saturating_add(credit) {
            let balance = self.balance;
            return Err(Rejection::InsufficientFunds(InsufficientFunds { balance }));
        }
        Ok(vec![Event::Withdrawn(Withdrawn { amount })])
    }

    fn set_limits(self, limits: SetLimits) -> Result<Vec<Event>, Rejection> {
        let SetLimits { overdraft, per_withdrawal } = limits;
        if overdraft < self.overdrawn {
            return Err(self.in_debt());
        }
        Ok(vec![Event::LimitsSet(LimitsSet { overdraft, per_withdrawal })])
    }

    fn close(self) -> Result<Vec<Event>, Rejection> {
        if self.overdrawn > 0 {
            return Err(self.in_debt());
        }
        let rest = (self.balance > 0).then_some(Withdrawn { amount: self.balance });
        Ok(rest.map(Event::Withdrawn).into_iter().chain([Event::Closed]).collect())
    }

    const fn in_debt(&self) -> Rejection {
        Rejection::InDebt(InDebt { overdrawn: self.overdrawn })
    }

    /// The state after one event. It saturates where `decide` has seen to it that the numbers
    /// fit, so that no history can make it panic.
    fn after(mut self, event: Event) -> Self {
        match event {
            Event::Opened(Opened { owner }) => {
                self.owner = owner;
                self.open = true;
            }
            Event::Deposited(Deposited { amount }) => {
                let paid_back = amount.min(self.overdrawn);
                self.overdrawn -= paid_back;
                self.balance = self.balance.saturating_add(amount - paid_back);
            }
            Event::Withdrawn(Withdrawn { amount }) => {
                let from_balance = amount.min(self.balance);
                self.balance -= from_balance;
                self.overdrawn = self.overdrawn.saturating_add(amount - from_balance);
            }
            Event::LimitsSet(LimitsSet { overdraft, per_withdrawal }) => {
                self.overdraft = overdraft;
                self.per_withdrawal = per_withdrawal;
            }
            Event::Closed => {
                self.open = false;
                self.closed = true;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use aether_guest::{Given, given};

    use super::*;

    /// An open account of Alice's to which `events` have happened.
    fn open(events: impl IntoIterator<Item = Event>) -> Given<Account> {
        given([opened()].into_iter().chain(events))
    }

    fn opened() -> Event {
        Event::Opened(Opened { owner: "Alice".into() })
    }

    const fn deposited(amount: u64) -> Event {
        Event::Deposited(Deposited { amount })
    }

    const fn withdrawn(amount: u64) -> Event {
        Event::Withdrawn(Withdrawn { amount })
    }

    const fn limits(overdraft: u64, per_withdrawal: Option<u64>) -> Event {
        Event::LimitsSet(LimitsSet { overdraft, per_withdrawal })
    }

    const fn deposit(amount: u64) -> Command {
        Command::Deposit(Deposit { amount })
    }

    const fn withdraw(amount: u64) -> Command {
        Command::Withdraw(Withdraw { amount })
    }

    #[test]
    fn the_whole_overdraft_can_be_used_and_no_more() {
        open([deposited(10), limits(5, None)])
            .when(withdraw(16))
            .then_rejected(Rejection::InsufficientFunds(InsufficientFunds { balance: 10 }))
            .when(withdraw(15))
            .then([withdrawn(15)])
            .when(withdraw(1))
            .then_rejected(Rejection::InsufficientFunds(InsufficientFunds { balance: 0 }));
    }

    #[test]
    fn a_withdrawal_at_its_limit_is_allowed() {
        open([deposited(10), limits(0, Some(4))])
            .when(withdraw(5))
            .then_rejected(Rejection::OverLimit(OverLimit { per_withdrawal: 4 }))
            .when(withdraw(4))
            .then([withdrawn(4)]);
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let rich = open([limits(u64::MAX, None), withdrawn(u64::MAX), deposited(u64::MAX)]);
        assert_eq!((rich.state().balance, rich.state().overdrawn), (0, 0));
        rich.when(deposit(u64::MAX))
            .then([deposited(u64::MAX)])
            .when(deposit(1))
            .then_rejected(Rejection::BalanceTooLarge)
            .when(withdraw(u64::MAX))
            .then([withdrawn(u64::MAX)]);
    }

    #[test]
    fn a_deposit_that_pays_back_may_exceed_what_fits_a_balance() {
        open([limits(1, None), withdrawn(1)])
            .when(deposit(u64::MAX))
            .then([deposited(u64::MAX)])
            .when(deposit(2))
            .then_rejected(Rejection::BalanceTooLarge)
            .when(deposit(1))
            .then([deposited(1)]);
    }

    #[test]
    fn closing_pays_out_the_balance() {
        let closed = open([deposited(7)]).when(Command::Close).then([withdrawn(7), Event::Closed]);
        assert_eq!(closed.state().balance, 0);
        closed
            .when(Command::Open(Open { owner: "Alice".into() }))
            .then_rejected(Rejection::ClosedForGood);
    }

    #[test]
    fn a_history_that_no_decision_would_give_still_has_a_state() {
        let odd = given::<Account>([deposited(u64::MAX), deposited(1), withdrawn(u64::MAX)]);
        assert_eq!(odd.state().balance, 0);
    }
}
