//! What clients do while plugs are pulled.
//!
//! | workload | what each client does | what would show |
//! |---|---|---|
//! | *append* | appends to shared journals, its counter with every command, one to five events at once | lost, doubled, torn and reordered commands |
//! | *bank* | moves money between shared accounts by pairs of idempotent commands with derived ids | money that came or went |
//! | *retry* | sends each command one to five times, also after its answer, through other hosts, two at once, sometimes with other fields | commands done twice, ids that mean two things |
//! | *read* | reads what others write, through any host | stale reads, stale rejections |
//!
//! Clients of all workloads share few actors and both hosts, so that hosts meet at every actor.

mod append;
mod bank;
mod read;
mod retry;

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    caller::{Caller, Shared},
    history::{Operation, Outcome},
};

/// Requests per second that all clients together try to make: enough that hosts meet at every
/// actor, few enough that a machine of two cores carries three servers and two hosts.
const RATE: u64 = 1_500;

/// How often a client goes to another host without need, in %.
const ROAM: u32 = 4;

/// How long an id is sent again: far within the horizon in which a host knows it, which is
/// counted in turns of its actor (see [`super::cluster`]).
const PATIENCE: Duration = Duration::from_secs(8);

/// Pause before something is sent again.
const AGAIN: Duration = Duration::from_millis(25);

/// What is put into each account before the transfers begin.
pub const CAPITAL: u64 = 10_000;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workload {
    /// Appends to journals.
    Append,
    /// Transfers between accounts.
    Bank,
    /// The same commands again and again.
    Retry,
    /// Reads among writes.
    Read,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Append, Self::Bank, Self::Retry, Self::Read];

    /// The addresses of the actors of round `round`, which no other round uses.
    #[must_use]
    pub fn actors(self, round: usize) -> Vec<String> {
        let (aggregate, count) = match self {
            Self::Append => ("faults/journal", 8),
            Self::Bank | Self::Retry => ("bank/account", 12),
            Self::Read => ("faults/journal", 4),
        };
        (0..count).map(|actor| format!("{aggregate}/round-{round}-{actor}")).collect()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Append => "append",
            Self::Bank => "bank",
            Self::Retry => "retry",
            Self::Read => "read",
        })
    }
}

/// Clients at work.
pub struct Running {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<Operation>>,
    history: Vec<Operation>,
}

impl Running {
    /// Prepares `actors` and starts `clients`. What each does follows from `seed`, its number and
    /// the answers.
    ///
    /// # Errors
    /// If the actors cannot be prepared.
    pub async fn start(
        workload: Workload,
        actors: Vec<String>,
        clients: usize,
        seed: u64,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let history = match workload {
            Workload::Bank | Workload::Retry => open(&actors, &shared).await?,
            Workload::Append | Workload::Read => Vec::new(),
        };
        let actors: Arc<[String]> = actors.into();
        let mut running = JoinSet::new();
        for me in 0..clients {
            let client = Client {
                caller: Caller::new(me, Arc::clone(&shared)),
                actors: Arc::clone(&actors),
                rng: StdRng::seed_from_u64(seed ^ (me as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                clients: clients as u64,
                sent: 0,
            };
            running.spawn(async move {
                match workload {
                    Workload::Append => append::run(client).await,
                    Workload::Bank => bank::run(client).await,
                    Workload::Retry => retry::run(client).await,
                    Workload::Read => read::run(client).await,
                }
            });
        }
        Ok(Self { shared, clients: running, history })
    }

    /// What is shared with the clients.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Lets every client finish what it is at; everything that all of them asked and were told, by
    /// the time at which it began.
    ///
    /// # Errors
    /// If a client broke.
    pub async fn finish(mut self) -> Result<Vec<Operation>> {
        self.shared.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            self.history.extend(client?);
        }
        self.history.sort_by_key(|operation| operation.begun);
        Ok(self.history)
    }
}

/// The counter that a journal expects of a client, as its rejection tells.
fn expected(rejection: &Value) -> Option<u64> {
    rejection.pointer("/out-of-turn/expected")?.as_u64()
}

/// Opens an account each and puts the capital in.
async fn open(actors: &[String], shared: &Arc<Shared>) -> Result<Vec<Operation>> {
    let mut caller = Caller::new(usize::MAX, Arc::clone(shared));
    for actor in actors {
        for (name, fields) in
            [("open", json!({"owner": "O"})), ("deposit", json!({"amount": CAPITAL}))]
        {
            let id = format!("setup-{name}");
            let mut tries = 0;
            while !matches!(
                caller.command(actor, &id, name, fields.clone()).await,
                Outcome::Accepted { .. }
            ) {
                tries += 1;
                if tries > 200 {
                    bail!("{actor} cannot be opened");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok(caller.into_history())
}

/// A client and what it decides with.
struct Client {
    caller: Caller,
    actors: Arc<[String]>,
    rng: StdRng,
    /// How many clients there are.
    clients: u64,
    /// How many ids it has used.
    sent: u64,
}

impl Client {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// One of the actors, by its index.
    fn pick(&mut self) -> (usize, String) {
        let index = self.rng.random_range(0..self.actors.len().max(1));
        (index, self.actors.get(index).cloned().unwrap_or_default())
    }

    /// An id that nobody has used.
    fn id(&mut self) -> String {
        self.sent += 1;
        format!("c{}-{}", self.caller.me, self.sent)
    }

    /// Waits so long that all clients together keep to the rate.
    async fn pause(&mut self) {
        if self.chance(ROAM) {
            self.caller.fail_over();
        }
        let mean = self.clients * 1_000_000 / RATE;
        let pause = self.rng.random_range(mean / 10..=mean * 19 / 10);
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }

    /// Sends a command until its outcome is known, through any host; the last outcome if that
    /// takes too long.
    async fn settle(&mut self, actor: &str, id: &str, name: &str, fields: Value) -> Outcome {
        let until = aether::clock::now() + PATIENCE;
        loop {
            let outcome = self.caller.command(actor, id, name, fields.clone()).await;
            let known = matches!(outcome, Outcome::Accepted { .. } | Outcome::Rejected { .. });
            if known || aether::clock::now() > until {
                return outcome;
            }
            self.caller.fail_over();
            tokio::time::sleep(AGAIN).await;
        }
    }
}
