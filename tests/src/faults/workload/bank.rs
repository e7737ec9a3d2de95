//! *bank*: money moves between shared accounts, and none comes or goes.

use rand::RngExt as _;
use serde_json::json;

use super::{AGAIN, Client, Outcome};
use crate::faults::history::Operation;

/// How often more is withdrawn than any account holds, in %.
const TOO_MUCH: u32 = 5;

/// More than any account ever holds.
const FORTUNE: u64 = 1 << 40;

pub(super) async fn run(mut client: Client) -> Vec<Operation> {
    while !client.caller.stopped() {
        client.pause().await;
        let ((from, payer), (to, payee)) = (client.pick(), client.pick());
        if from == to {
            client.caller.read(&payer).await;
            continue;
        }
        let amount = match client.chance(TOO_MUCH) {
            true => FORTUNE,
            false => client.rng.random_range(1..=CAPITAL_SHARE),
        };
        let transfer = client.id();
        let fields = json!({"amount": amount});
        let out = format!("{transfer}-out");
        let withdrawn = client.settle(&payer, &out, "withdraw", fields.clone()).await;
        if matches!(withdrawn, Outcome::Accepted { .. }) {
            // Money that is under way arrives, however long it takes: within the horizon.
            let into = format!("{transfer}-in");
            client.settle(&payee, &into, "deposit", fields).await;
        } else {
            tokio::time::sleep(AGAIN).await;
        }
    }
    client.caller.into_history()
}

/// Most that one transfer moves: accounts run low now and then.
const CAPITAL_SHARE: u64 = super::CAPITAL / 5;
