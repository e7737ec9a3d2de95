//! Clients that keep many accounts busy through several hosts, remember every answer, and compare
//! it in the end with what the hosts say is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aether::clock;
use aether_tests::http::{Client, Reply};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::kit::SOON;

/// How long a client asks again for one command before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a host may take for one try, as the caller says.
const TIMEOUT: (&str, &str) = ("aether-timeout", "2s");

/// Pause before a command is asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// One more than any account ever holds here.
const TOO_MUCH: u64 = 1 << 40;

/// What clients were told, each thing as it was told.
#[derive(Debug, Default)]
pub struct Told {
    pub accepted: Vec<Accepted>,
    /// Rejections: actor, version and the balance that was named.
    pub rejected: Vec<(usize, u64, u64)>,
    /// Ids of commands whose outcome was never told.
    pub given_up: BTreeSet<String>,
    /// How often a try was answered otherwise, by code.
    pub codes: BTreeMap<String, usize>,
}

#[derive(Debug)]
pub struct Accepted {
    pub host: usize,
    pub actor: usize,
    pub version: u64,
    pub amount: u64,
    pub id: String,
}

impl Told {
    pub fn commands(&self) -> usize {
        self.accepted.len() + self.rejected.len() + self.given_up.len()
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<Told>>,
}

/// What can be looked at while clients work.
#[derive(Default)]
struct Seen {
    accepted: [AtomicUsize; 2],
    codes: Mutex<BTreeMap<String, usize>>,
}

/// Opens `count` accounts.
pub fn open_accounts(host: &Client, count: usize) {
    for actor in 0..count {
        let reply = host.command(&address(actor), "open", &json!({"owner": "O"})).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

impl Load {
    /// Starts `clients` that send commands to `actors` accounts, each to the host of its number
    /// and to the other one when it does not answer at all.
    pub fn start(hosts: [Client; 2], clients: usize, actors: usize) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let clients = (0..clients).map(|me| {
            let (stop, seen, hosts) = (Arc::clone(&stop), Arc::clone(&seen), hosts.clone());
            thread::spawn(move || {
                let mut worker = Worker { me, hosts, seen, told: Told::default() };
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    worker.command(n, rand::rng().random_range(0..actors));
                }
                worker.told
            })
        });
        let clients = clients.collect();
        Self { stop, seen, clients }
    }

    /// How many commands `host` has accepted so far.
    pub fn accepted(&self, host: usize) -> usize {
        self.seen.accepted[host].load(Ordering::Relaxed)
    }

    /// Waits until `host` has accepted `more` than now.
    pub fn await_accepted(&self, host: usize, more: usize) {
        let target = self.accepted(host) + more;
        self.wait(&format!("host {host} accepts {more} more"), || self.accepted(host) >= target);
    }

    /// Waits until a client was told one of `codes`.
    pub fn await_code(&self, codes: &[&str]) {
        self.wait(&format!("somebody is told {codes:?}"), || {
            let seen = self.seen.codes.lock().unwrap();
            codes.iter().any(|code| seen.contains_key(*code))
        });
    }

    /// Lets every client end the command that it is at; what all of them were told.
    pub fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.join().expect("the client has not panicked");
            all.accepted.extend(told.accepted);
            all.rejected.extend(told.rejected);
            all.given_up.extend(told.given_up);
            for (code, count) in told.codes {
                *all.codes.entry(code).or_default() += count;
            }
        }
        all
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let until = clock::now() + SOON + SOON;
        while !done() {
            let codes = self.seen.codes.lock().unwrap().clone();
            assert!(clock::now() < until, "waited in vain until {what}; told so far: {codes:?}");
            thread::sleep(PAUSE);
        }
    }
}

struct Worker {
    me: usize,
    hosts: [Client; 2],
    seen: Arc<Seen>,
    told: Told,
}

impl Worker {
    /// Gives one command and asks with its id until its outcome is told.
    fn command(&mut self, n: u64, actor: usize) {
        let id = format!("c{}-{n}", self.me);
        let (name, amount) =
            if n % 8 == 7 { ("withdraw", TOO_MUCH) } else { ("deposit", n % 7 + 1) };
        let body = json!({"amount": amount}).to_string();
        let path = format!("/v1/{}/{name}", address(actor));
        let headers = [("idempotency-key", id.as_str()), TIMEOUT];
        let give_up = clock::now() + PATIENCE;
        let mut host = self.me % 2;
        while clock::now() < give_up {
            let code = match self.hosts[host].send("POST", &path, &headers, body.as_bytes()) {
                Ok(reply) if reply.status == 200 => {
                    let version = version(&reply);
                    self.seen.accepted[host].fetch_add(1, Ordering::Relaxed);
                    self.told.accepted.push(Accepted { host, actor, version, amount, id });
                    return;
                }
                Ok(reply) if reply.status == 422 => {
                    let body = reply.json().unwrap();
                    let balance = &body["rejection"]["insufficient-funds"]["balance"];
                    let balance = balance.as_u64().expect("the balance is told");
                    self.told.rejected.push((actor, version(&reply), balance));
                    return;
                }
                Ok(reply) => reply.code().unwrap(),
                Err(_) => {
                    host = 1 - host;
                    "no answer".to_owned()
                }
            };
            *self.seen.codes.lock().unwrap().entry(code.clone()).or_default() += 1;
            *self.told.codes.entry(code).or_default() += 1;
            thread::sleep(PAUSE);
        }
        self.told.given_up.insert(id);
    }
}

/// The log of each account, as `host` tells it, agrees with everything that clients were told:
/// versions without gaps, each acknowledged command at the version that was told and nowhere
/// else, nothing that nobody asked for, the sums right, and every rejection true at its version.
pub fn assert_told_is_stored(host: &Client, actors: usize, told: &Told) {
    let mut places = BTreeSet::new();
    for accepted in &told.accepted {
        assert!(places.insert((accepted.actor, accepted.version)), "told twice: {accepted:?}");
    }
    let logs: Vec<Vec<Value>> = (0..actors).map(|actor| log(host, actor)).collect();
    for accepted in &told.accepted {
        let log = &logs[accepted.actor];
        let event = accepted.version.checked_sub(1).and_then(|at| log.get(at as usize));
        let event = event.unwrap_or_else(|| panic!("acknowledged and lost: {accepted:?}"));
        assert_eq!(event["command"], accepted.id.as_str(), "{accepted:?}");
        assert_eq!(event["data"]["amount"], accepted.amount, "{accepted:?}");
    }
    for (actor, log) in logs.iter().enumerate() {
        let mut balances = vec![0];
        for (at, event) in log.iter().enumerate() {
            assert_eq!(event["version"], at as u64 + 1, "a gap in the log of {}", address(actor));
            let amount = event["data"]["amount"].as_u64().unwrap_or(0);
            balances.push(balances[at] + amount);
            if at == 0 {
                continue;
            }
            let id = event["command"].as_str().expect("an event has a command");
            let known = places.contains(&(actor, at as u64 + 1)) || told.given_up.contains(id);
            assert!(known, "nobody was told of {event}");
        }
        let state = host.get(&format!("/v1/{}", address(actor))).unwrap().json().unwrap();
        assert_eq!(state["version"], log.len() as u64, "{state}");
        assert_eq!(state["state"]["balance"], *balances.last().unwrap(), "{state}");
        for (_, version, balance) in told.rejected.iter().filter(|(of, ..)| *of == actor) {
            assert_eq!(balances[*version as usize], *balance, "rejected at version {version}");
        }
    }
}

/// How often `host` found the record of another.
pub fn conflicts(host: &Client) -> u64 {
    let metrics = host.get("/metrics").unwrap().text();
    let lines = metrics.lines().filter(|line| line.starts_with("aether_conflicts_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn address(actor: usize) -> String {
    format!("bank/account/shared-{actor}")
}

fn log(host: &Client, actor: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut from = Some(1);
    while let Some(next) = from {
        let path = format!("/v1/{}/events?from={next}&limit=1000", address(actor));
        let reply = host.get(&path).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let mut page = reply.json().unwrap();
        let Value::Array(events) = page["events"].take() else { panic!("no events: {page}") };
        all.extend(events);
        from = page["next"].as_u64();
    }
    all
}

fn version(reply: &Reply) -> u64 {
    reply.json().unwrap()["version"].as_u64().expect("a reply has a version")
}
