//! *retry*: every command is sent one to five times, whatever was answered.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::json;

use super::{AGAIN, Client};
use crate::faults::{caller::Caller, history::Operation};

/// Most times that a command is sent.
const TRIES: u32 = 5;

/// How often each thing is done, in %.
const WITHDRAW: u32 = 40;
const ROAM: u32 = 50;
const OTHER_FIELDS: u32 = 10;
const AT_ONCE: u32 = 30;

pub(super) async fn run(mut client: Client) -> Vec<Operation> {
    // The same client on a second connection, so that two tries of a command can be under way.
    let mut twin = Caller::new(client.caller.me, Arc::clone(client.caller.shared()));
    while !client.caller.stopped() {
        client.pause().await;
        let (_, actor) = client.pick();
        let id = client.id();
        let name = if client.chance(WITHDRAW) { "withdraw" } else { "deposit" };
        let amount = client.rng.random_range(1..=400_u64);
        for _ in 0..client.rng.random_range(1..=TRIES) {
            if client.chance(ROAM) {
                client.caller.fail_over();
            }
            let other = u64::from(client.chance(OTHER_FIELDS));
            let fields = json!({"amount": amount + other});
            if client.chance(AT_ONCE) {
                twin.host = client.caller.host;
                twin.fail_over();
                let again = twin.command(&actor, &id, name, fields.clone());
                tokio::join!(client.caller.command(&actor, &id, name, fields), again);
            } else {
                client.caller.command(&actor, &id, name, fields).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    let mut history = client.caller.into_history();
    history.extend(twin.into_history());
    history
}
