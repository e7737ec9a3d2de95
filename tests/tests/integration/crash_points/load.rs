//! Clients that do of everything a little, until the host is gone, and know what they were told.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aether::clock;
use aether_tests::http::{Client, Reply};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// Accounts that all clients share, so that several wait for one actor.
pub const ACCOUNTS: usize = 4;

/// Clients that write.
const CLIENTS: usize = 6;

/// Events that a reader of the feed takes before it begins anew behind the last one.
const FEED_EVENTS: usize = 40;

/// Longest wait for commands to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(5);

/// A command that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub actor: String,
    pub name: &'static str,
    pub id: String,
    pub fields: Value,
    /// The version that its answer told; none if there was no answer or it left it open.
    pub version: Option<u64>,
}

/// Everything that was sent and told.
#[derive(Debug, Default)]
pub struct Told {
    sent: Mutex<Vec<Sent>>,
    /// Answers that nobody should get.
    strange: Mutex<Vec<String>>,
    accepted: AtomicUsize,
    /// The clients may go.
    over: AtomicBool,
}

/// The address of an account.
pub fn account(number: usize) -> String {
    format!("bank/account/a{number}")
}

/// Sends a command with an id of the caller's.
pub fn send(client: &Client, sent: &Sent) -> Result<Reply> {
    let path = format!("/v1/{}/{}", sent.actor, sent.name);
    let headers = [("idempotency-key", sent.id.as_str())];
    client.send("POST", &path, &headers, sent.fields.to_string().as_bytes())
}

/// The version after a command that was accepted.
pub fn version(reply: &Reply) -> Result<u64> {
    ensure!(reply.status == 200, "{}", reply.text());
    reply.json()?["version"].as_u64().context("a reply has a version")
}

impl Told {
    /// What was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As if this had been sent and told.
    pub fn with(sent: Vec<Sent>) -> Self {
        Self { sent: Mutex::new(sent), ..Self::default() }
    }

    /// How many commands have no outcome yet.
    pub fn open(&self) -> usize {
        self.sent().iter().filter(|sent| sent.version.is_none()).count()
    }

    /// Notes an answer that nobody should get.
    fn strange(&self, what: String) {
        self.strange.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// How many commands were acknowledged, and that nothing strange was said.
    pub fn accepted(&self) -> Result<usize> {
        let strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(strange.is_empty(), "{}", strange.join("\n"));
        Ok(self.accepted.load(Ordering::Relaxed))
    }

    /// Waits until `more` commands were acknowledged.
    pub fn await_accepted(&self, more: usize) -> Result<()> {
        let (wanted, until) = (self.accepted()? + more, clock::now() + PATIENCE);
        while self.accepted()? < wanted {
            ensure!(
                clock::now() < until,
                "only {} of {wanted} were acknowledged",
                self.accepted()?
            );
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Sends a command and notes what came back; whether the host is still there.
    fn command(&self, client: &Client, mut sent: Sent) -> bool {
        let reply = send(client, &sent);
        let gone = reply.is_err();
        if let Ok(reply) = reply {
            match (reply.status, reply.code().unwrap_or_default().as_str()) {
                (200, _) => {
                    sent.version = version(&reply).ok();
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                }
                // A host that stops or whose store just died says so, if it can.
                (_, "unavailable" | "unresolved" | "overloaded") => {}
                _ => self.strange(format!("{sent:?}: {}", reply.text())),
            }
        }
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        !gone
    }

    /// Asks once more for what was left open. Done before new work, while the actors' ledgers
    /// still hold what was stored.
    pub fn settle(&self, client: &Client) -> Result<()> {
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for sent in all.iter_mut().filter(|sent| sent.version.is_none()) {
            let said = version(&send(client, sent)?).with_context(|| format!("{sent:?}"))?;
            sent.version = Some(said);
        }
        Ok(())
    }

    /// Opens the accounts; whether the host is still there.
    pub fn open_accounts(&self, client: &Client) -> bool {
        let ids = (0..ACCOUNTS).map(account).chain(["bank/account/hurt".to_owned()]);
        let open = |actor: String| Sent {
            id: format!("open-{actor}"),
            actor,
            name: "open",
            fields: json!({"owner": "Alice"}),
            version: None,
        };
        ids.map(open).all(|sent| self.command(client, sent))
    }

    /// Runs clients while `body` does what it does; they go when it is done or the host is gone.
    /// `body` must not leave the host running, or readers of the feed wait for ever.
    pub fn under_load<T>(&self, client: &Client, round: &str, body: impl FnOnce() -> T) -> T {
        self.over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                scope.spawn(move || self.work(client, round, number));
            }
            scope.spawn(|| self.read_feed(client));
            let done = body();
            self.over.store(true, Ordering::Relaxed);
            done
        })
    }

    /// One client: deposits, now and then sent again, and between them whatever else a host does.
    fn work(&self, client: &Client, round: &str, number: usize) {
        for count in number.. {
            let actor = account(count % ACCOUNTS);
            let id = format!("{round}-{number}-{count}");
            let fields = json!({"amount": count + 1});
            let sent = Sent { actor: actor.clone(), name: "deposit", id, fields, version: None };
            let again = (count % 5 == 0).then(|| sent.clone());
            if !self.command(client, sent) || self.over.load(Ordering::Relaxed) {
                return;
            }
            let beside = match count % 30 {
                3 => client.command(&actor, "withdraw", &json!({"amount": u64::MAX})),
                8 => client.send("POST", &format!("/v1/{actor}/sleep"), &[], &[]),
                13 => client.get(&format!("/v1/{actor}/events?limit=10")),
                18 => client.get("/v1/bank/account?limit=10"),
                23 => client.get(&format!("/v1/{actor}")),
                _ => match again {
                    // Its answer was noted at the first time; what matters is that this is none.
                    Some(again) => send(client, &again),
                    None => continue,
                },
            };
            if beside.is_err() {
                return;
            }
        }
    }

    fn read_feed(&self, client: &Client) {
        let mut after = String::new();
        while !self.over.load(Ordering::Relaxed) {
            let Ok(lines) = client.lines(&format!("/v1/bank/events?after={after}")) else { return };
            for line in lines.take(FEED_EVENTS) {
                let Ok(line) = line else { return };
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                after = event["cursor"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
}
