//! Whether transfers made or lost money.

use super::{Kind, Violation};
use crate::faults::{
    history::Logs,
    spec::{Account, Spec},
};

/// Compares what is in all accounts together, less what is owed, with `expected`. To be asked
/// when no transfer is half done.
#[must_use]
pub fn balances(logs: &Logs, expected: i128) -> Option<Violation> {
    let mut sum = 0;
    for (actor, log) in &logs.actors {
        if !actor.starts_with("bank/account/") {
            continue;
        }
        let mut account = Account::initial();
        for event in log {
            if let Err(text) = Account::evolve(&mut account, &event.name, &event.data) {
                return Some(Violation::new(Kind::Unlawful, actor, Some(event.version), [], &text));
            }
        }
        sum += account.net();
    }
    let text = format!("all accounts together hold {sum}; expected {expected}");
    (sum != expected).then(|| Violation::new(Kind::Sum, "all", None, [], &text))
}
