//! *read*: reads of what others write, through any host.

use serde_json::json;

use super::{AGAIN, Client, Outcome, expected};
use crate::faults::history::Operation;

/// How often a client reads rather than writes, in %.
const READ: u32 = 60;

/// How often a client goes to another host between a write and a read, in %.
const ROAM: u32 = 20;

/// How often a command is one that must be rejected, in %: the answer is a read of a counter.
const STALE: u32 = 30;

pub(super) async fn run(mut client: Client) -> Vec<Operation> {
    let mut next = vec![1_u64; client.actors.len()];
    while !client.caller.stopped() {
        client.pause().await;
        if client.chance(ROAM) {
            client.caller.fail_over();
        }
        let (index, actor) = client.pick();
        let counter = next.get(index).copied().unwrap_or(1);
        let outcome = if client.chance(READ) {
            client.caller.read(&actor).await
        } else {
            let id = client.id();
            let stale = if client.chance(STALE) { 0 } else { counter };
            let fields = json!({"client": client.caller.me, "counter": stale});
            client.caller.command(&actor, &id, "append", fields).await
        };
        let told = match &outcome {
            Outcome::Accepted { .. } => Some(counter + 1),
            Outcome::Rejected { rejection, .. } => expected(rejection),
            Outcome::State { .. } => None,
            Outcome::Refused { .. } | Outcome::Unknown { .. } => {
                client.caller.fail_over();
                tokio::time::sleep(AGAIN).await;
                None
            }
        };
        if let (Some(told), Some(next)) = (told, next.get_mut(index)) {
            *next = told;
        }
    }
    client.caller.into_history()
}
