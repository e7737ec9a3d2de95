//! *append*: each client appends to shared journals and counts for itself.

use rand::RngExt as _;
use serde_json::json;

use super::{AGAIN, Client, Outcome, PATIENCE, expected};
use crate::faults::history::Operation;

/// How often each thing is done, in %.
const READ: u32 = 4;
const WRONG: u32 = 4;
const MANY: u32 = 20;
const SAME_AGAIN: u32 = 70;

pub(super) async fn run(mut client: Client) -> Vec<Operation> {
    // The next counter in each journal, as far as this client knows.
    let mut next = vec![1_u64; client.actors.len()];
    while !client.caller.stopped() {
        client.pause().await;
        let (index, actor) = client.pick();
        if client.chance(READ) {
            client.caller.read(&actor).await;
            continue;
        }
        let counter = next.get(index).copied().unwrap_or(1);
        let wrong = if client.chance(WRONG) { 3 } else { 0 };
        let (me, told) = (client.caller.me, counter + wrong);
        let (name, fields) = if client.chance(MANY) {
            let copies = client.rng.random_range(0..=5);
            ("append-many", json!({"client": me, "counter": told, "copies": copies}))
        } else {
            ("append", json!({"client": me, "counter": told}))
        };
        let id = client.id();
        let mut outcome = client.caller.command(&actor, &id, name, fields.clone()).await;
        // With the same id it is the same command; else the counter tells whether it was done.
        let until = aether::clock::now() + PATIENCE;
        while matches!(outcome, Outcome::Unknown { .. })
            && aether::clock::now() < until
            && client.chance(SAME_AGAIN)
        {
            tokio::time::sleep(AGAIN).await;
            outcome = client.caller.command(&actor, &id, name, fields.clone()).await;
        }
        let told = match &outcome {
            Outcome::Accepted { events, .. } if !events.is_empty() => Some(counter + 1),
            Outcome::Rejected { rejection, .. } => expected(rejection),
            Outcome::Refused { .. } => {
                client.caller.fail_over();
                tokio::time::sleep(AGAIN).await;
                None
            }
            _ => None,
        };
        if let (Some(told), Some(next)) = (told, next.get_mut(index)) {
            *next = told;
        }
    }
    client.caller.into_history()
}
