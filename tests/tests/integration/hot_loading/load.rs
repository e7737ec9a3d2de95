//! Clients that go on whatever happens, and remember every answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aether::clock;
use aether_tests::http::{Client, Reply};
use serde_json::{Value, json};

use super::{
    kit::{SOON, amount},
    versions::FEE_FROM,
};

/// Accounts that all clients share, so that hosts meet in them.
const SHARED: usize = 4;

/// Longest that a caller may ever have waited: a bound for broken tests, not a promise.
const MOST: Duration = Duration::from_secs(10);

/// What a client rests between two commands. Fully loaded hosts are for `make hot`.
const REST: Duration = Duration::from_millis(100);

/// How often it is looked whether there are enough answers.
const LOOK: Duration = Duration::from_millis(5);

/// A command and its answer.
#[derive(Debug, Clone)]
pub struct Told {
    pub actor: String,
    pub id: String,
    pub amount: u64,
    /// The version after it, if it was accepted.
    pub version: Option<u64>,
    pub events: Value,
    pub sent: Instant,
    pub took: Duration,
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<Vec<Told>, String>>>,
}

impl Load {
    /// Opens the accounts and starts `clients` of them, each with an account of its own.
    pub fn start(hosts: &[Client], clients: usize) -> Self {
        for account in (0..clients).map(own).chain((0..SHARED).map(shared)) {
            let opened = hosts[0].command(&account, "open", &json!({"owner": "O"})).unwrap();
            assert_eq!(opened.status, 200, "{}", opened.text());
        }
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..clients).map(|me| {
            let host = hosts[me % hosts.len()].clone();
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut all = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    all.push(ask(&host, me, n)?);
                    answered.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(amount(REST, Duration::ZERO));
                }
                Ok(all)
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Waits until `more` commands were answered.
    #[track_caller]
    pub fn await_answers(&self, more: usize) {
        let until = clock::now() + SOON;
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < wanted {
            if self.clients.iter().any(JoinHandle::is_finished) {
                // What it met is told at the end.
                return;
            }
            assert!(clock::now() < until, "the clients came to nothing");
            thread::sleep(LOOK);
        }
    }

    /// Ends the clients. Every answer was an answer of the domain.
    pub fn finish(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.clients.into_iter().map(|client| client.join().unwrap());
        let all: Vec<_> =
            ended.collect::<Result<Vec<_>, _>>().unwrap_or_else(|bad| panic!("{bad}"));
        Answers(all.concat())
    }
}

/// All that clients were told.
pub struct Answers(pub Vec<Told>);

impl Answers {
    /// The longest that a command took, of those sent between two moments.
    pub fn longest(&self, from: Instant, to: Instant) -> Duration {
        let within = self.0.iter().filter(|told| (from..to).contains(&told.sent));
        within.map(|told| told.took).max().unwrap_or_default()
    }

    /// Says what clients noticed of what was deployed between `first` and `last`.
    pub fn report(&self, what: &str, first: Instant, last: Instant) {
        let begin = self.0.iter().map(|told| told.sent).min().expect("something was sent");
        let (calm, hot) = (self.longest(begin, first), self.longest(first, last));
        eprintln!(
            "{what}: {} answers, none failed; the longest pause of an actor was {calm:?} before the deploys and {hot:?} while they went on",
            self.0.len()
        );
        assert!(hot < MOST, "an actor paused for {hot:?}");
    }

    /// What was accepted, by actor and id.
    pub fn accepted(&self) -> BTreeMap<&str, BTreeMap<&str, &Told>> {
        let mut all: BTreeMap<&str, BTreeMap<&str, &Told>> = BTreeMap::new();
        for told in self.0.iter().filter(|told| told.version.is_some()) {
            let of_actor = all.entry(&told.actor).or_default();
            assert!(of_actor.insert(&told.id, told).is_none(), "an id was used twice: {told:?}");
        }
        all
    }
}

/// How many accounts that many clients use.
pub const fn accounts(clients: usize) -> usize {
    clients + SHARED
}

/// The client's own account.
pub fn own(client: usize) -> String {
    format!("bank/account/own-{client}")
}

/// An account of all.
pub fn shared(number: usize) -> String {
    format!("bank/account/shared-{number}")
}

/// One command. Anything but an answer of the domain is an error.
fn ask(host: &Client, me: usize, n: usize) -> Result<Told, String> {
    let actor = if n % 4 == 3 { shared((me + n) % SHARED) } else { own(me) };
    let id = format!("c{me}-{n}");
    // More than anybody has: a rejection.
    let refused = n % 9 == 8;
    let name = if refused { "withdraw" } else { "deposit" };
    let amount = if refused { 1 << 39 } else { FEE_FROM + (n as u64 % 7) };
    let body = json!({"amount": amount}).to_string();
    let headers = [("idempotency-key", id.as_str())];
    let sent = clock::now();
    let reply = host.send("POST", &format!("/v1/{actor}/{name}"), &headers, body.as_bytes());
    let took = sent.elapsed();
    let reply: Reply = reply.map_err(|error| format!("{id}: {error:#}"))?;
    let body = reply.json().map_err(|error| format!("{id}: {error:#}"))?;
    let expected = if name == "deposit" { 200 } else { 422 };
    if reply.status != expected {
        return Err(format!("{id} of {actor}, after {took:?}: {} {body}", reply.status));
    }
    let version = (reply.status == 200).then(|| body["version"].as_u64().unwrap_or_default());
    Ok(Told { actor, id, amount, version, events: body["events"].clone(), sent, took })
}
