//! The aggregate `account` of the example bank.

use serde_json::{Value, json};

use super::{Decision, Spec, events, number, text, written};

/// A bank account.
#[derive(Debug, Clone, Copy)]
pub struct Account;

/// What an account remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    owner: String,
    /// What is in the account, less what is owed to the bank.
    net: i128,
    overdraft: u64,
    per_withdrawal: Option<u64>,
    open: bool,
    closed: bool,
}

impl State {
    /// What is in the account, less what is owed to the bank.
    #[must_use]
    pub const fn net(&self) -> i128 {
        self.net
    }

    fn balance(&self) -> u64 {
        u64::try_from(self.net.max(0)).unwrap_or(u64::MAX)
    }

    fn overdrawn(&self) -> u64 {
        u64::try_from((-self.net).max(0)).unwrap_or(u64::MAX)
    }
}

impl Spec for Account {
    type State = State;

    fn initial() -> State {
        State::default()
    }

    fn decide(state: &State, command: &str, fields: &Value) -> Decision {
        match command {
            "open" => open(state, fields),
            "deposit" | "withdraw" | "set-limits" | "close" if !state.open => rejected("not-open"),
            "deposit" => deposit(state, fields),
            "withdraw" => withdraw(state, fields),
            "set-limits" => set_limits(state, fields),
            "close" => close(state),
            _ => Decision::Invalid,
        }
    }

    fn evolve(state: &mut State, event: &str, data: &Value) -> Result<(), String> {
        let unknown = || format!("an account has no event `{event}` {data}");
        let amount = || number(data, "amount").map(i128::from).ok_or_else(unknown);
        match event {
            "opened" => {
                state.owner = text(data, "owner").ok_or_else(unknown)?;
                state.open = true;
            }
            "deposited" => state.net += amount()?,
            "withdrawn" => state.net -= amount()?,
            "limits-set" => {
                state.overdraft = number(data, "overdraft").ok_or_else(unknown)?;
                state.per_withdrawal = number(data, "per-withdrawal");
            }
            "closed" => (state.open, state.closed) = (false, true),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn shown(state: &State) -> Value {
        json!({
            "owner": state.owner,
            "balance": written(state.balance()),
            "overdrawn": written(state.overdrawn()),
            "overdraft": written(state.overdraft),
            "per-withdrawal": state.per_withdrawal.map(written),
            "open": state.open,
            "closed": state.closed,
        })
    }
}

fn rejected(name: &str) -> Decision {
    Decision::Rejected(name.into())
}

fn open(state: &State, fields: &Value) -> Decision {
    match text(fields, "owner") {
        None => Decision::Invalid,
        Some(_) if state.closed => rejected("closed-for-good"),
        Some(_) if state.open => rejected("already-open"),
        Some(owner) => events([("opened", json!({"owner": owner}))]),
    }
}

fn deposit(state: &State, fields: &Value) -> Decision {
    match number(fields, "amount") {
        None => Decision::Invalid,
        Some(0) => rejected("no-amount"),
        Some(amount) if state.net + i128::from(amount) > i128::from(u64::MAX) => {
            rejected("balance-too-large")
        }
        Some(amount) => events([("deposited", json!({"amount": written(amount)}))]),
    }
}

fn withdraw(state: &State, fields: &Value) -> Decision {
    let Some(amount) = number(fields, "amount") else { return Decision::Invalid };
    if amount == 0 {
        return rejected("no-amount");
    }
    if let Some(most) = state.per_withdrawal.filter(|most| amount > *most) {
        return Decision::Rejected(json!({"over-limit": {"per-withdrawal": written(most)}}));
    }
    if i128::from(amount) > state.net + i128::from(state.overdraft) {
        let balance = written(state.balance());
        return Decision::Rejected(json!({"insufficient-funds": {"balance": balance}}));
    }
    events([("withdrawn", json!({"amount": written(amount)}))])
}

fn set_limits(state: &State, fields: &Value) -> Decision {
    let Some(overdraft) = number(fields, "overdraft") else { return Decision::Invalid };
    if overdraft < state.overdrawn() {
        return in_debt(state);
    }
    let most = number(fields, "per-withdrawal").map(written);
    events([("limits-set", json!({"overdraft": written(overdraft), "per-withdrawal": most}))])
}

fn close(state: &State) -> Decision {
    if state.overdrawn() > 0 {
        return in_debt(state);
    }
    let rest =
        (state.balance() > 0).then(|| ("withdrawn", json!({"amount": written(state.balance())})));
    events(rest.into_iter().chain([("closed", json!({}))]))
}

fn in_debt(state: &State) -> Decision {
    Decision::Rejected(json!({"in-debt": {"overdrawn": written(state.overdrawn())}}))
}
