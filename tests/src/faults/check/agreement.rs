//! The quick checker and the search must agree, on histories that are true and on such that were
//! true before something in them was changed. And the quick one must be quick.

use std::time::Duration;

use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedMutRandom, IndexedRandom},
};
use serde_json::{Value, json};

use super::{check, general::actor_is_linearizable};
use crate::faults::{
    history::{Event, LoggedEvent, Logs, Operation, Outcome, Request},
    spec::{Account, Decision, Journal, Spec},
};

/// Journals with eight clients each.
const JOURNALS: [&str; 8] = [
    "faults/journal/a",
    "faults/journal/b",
    "faults/journal/c",
    "faults/journal/d",
    "faults/journal/e",
    "faults/journal/f",
    "faults/journal/g",
    "faults/journal/h",
];

/// An actor that does everything right, and clients that ask it.
struct Simulation<S: Spec> {
    name: &'static str,
    random: StdRng,
    now: u64,
    state: S::State,
    log: Vec<LoggedEvent>,
    /// What each command id did.
    done: Vec<(Operation, Outcome)>,
    /// Operations under way, and what came of them so far.
    open: Vec<(Operation, Option<Outcome>)>,
    /// Operations that nobody waits for any more: they may still happen.
    given_up: Vec<Operation>,
    operations: Vec<Operation>,
    begun: usize,
    /// Whether commands are sent again.
    retries: bool,
    ask: fn(&mut StdRng, &S::State) -> (String, Value),
}

impl<S: Spec> Simulation<S> {
    fn new(
        name: &'static str,
        seed: u64,
        ask: fn(&mut StdRng, &S::State) -> (String, Value),
    ) -> Self {
        Self {
            name,
            random: StdRng::seed_from_u64(seed),
            now: 0,
            state: S::initial(),
            log: Vec::new(),
            done: Vec::new(),
            open: Vec::new(),
            given_up: Vec::new(),
            operations: Vec::new(),
            begun: 0,
            retries: true,
            ask,
        }
    }

    /// Runs until `count` operations were begun and all are answered or given up.
    fn run(mut self, count: usize, clients: usize) -> (Vec<Operation>, Vec<LoggedEvent>) {
        while self.begun < count || !self.open.is_empty() {
            self.now += self.random.random_range(0..3);
            match self.random.random_range(0..10) {
                0..3 if self.begun < count && self.open.len() < clients => self.begin(),
                3..6 => self.happen(),
                6..9 => self.answer(),
                _ => self.happen_late(),
            }
        }
        (self.operations, self.log)
    }

    fn begin(&mut self) {
        self.begun += 1;
        let request = match self.random.random_range(0..10) {
            0..3 => Request::Read,
            3..5 if self.retries => self.retry(),
            _ => self.command(),
        };
        let operation = Operation {
            client: 0,
            actor: self.name.to_owned(),
            request,
            begun: Duration::from_millis(self.now),
            ended: Duration::ZERO,
            outcome: Outcome::Unknown { why: String::new() },
        };
        self.open.push((operation, None));
    }

    fn command(&mut self) -> Request {
        let (name, fields) = (self.ask)(&mut self.random, &self.state);
        let id = self.random.random_bool(0.7).then(|| format!("c{}", self.begun));
        let version = self.log.len() as u64;
        let expected_version = self.random.random_bool(0.1).then_some(version);
        Request::Command { id, name, fields, expected_version }
    }

    /// A command once more, at times with other fields.
    fn retry(&mut self) -> Request {
        let all = self.operations.iter().chain(self.open.iter().map(|(operation, _)| operation));
        let all: Vec<&Operation> = all.filter(|operation| operation.id().is_some()).collect();
        let Some(Request::Command { id, name, fields, .. }) =
            all.choose(&mut self.random).map(|operation| operation.request.clone())
        else {
            return self.command();
        };
        if self.random.random_bool(0.8) {
            return Request::Command { id, name, fields, expected_version: None };
        }
        let (name, fields) = (self.ask)(&mut self.random, &self.state);
        Request::Command { id, name, fields, expected_version: None }
    }

    /// One of the operations under way happens.
    fn happen(&mut self) {
        let waiting: Vec<usize> =
            (0..self.open.len()).filter(|index| self.open[*index].1.is_none()).collect();
        if let Some(index) = waiting.choose(&mut self.random) {
            let operation = self.open[*index].0.clone();
            self.open[*index].1 = Some(self.apply(&operation));
        }
    }

    /// One of the operations that were given up happens.
    fn happen_late(&mut self) {
        if !self.given_up.is_empty() {
            let index = self.random.random_range(0..self.given_up.len());
            let operation = self.given_up.swap_remove(index);
            self.apply(&operation);
        }
    }

    /// One of the operations is answered, or its client gives up.
    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.open.len());
        let gives_up = self.random.random_bool(0.15);
        if self.open[index].1.is_none() && !gives_up {
            return;
        }
        let (mut operation, outcome) = self.open.swap_remove(index);
        operation.ended = Duration::from_millis(self.now);
        match outcome {
            Some(outcome) if !gives_up => operation.outcome = outcome,
            Some(_) => {}
            None => self.given_up.push(operation.clone()),
        }
        self.operations.push(operation);
    }

    fn apply(&mut self, operation: &Operation) -> Outcome {
        let version = self.log.len() as u64;
        let refused = |code: &str| Outcome::Refused { code: code.to_owned() };
        let Request::Command { id, name, fields, expected_version } = &operation.request else {
            return Outcome::State { version, state: S::shown(&self.state) };
        };
        let sent_again = self.retries && id.is_some();
        let known = self.done.iter().find(|(it, _)| sent_again && it.id() == id.as_deref());
        if let Some((first, outcome)) = known {
            let is_same = matches!(&first.request, Request::Command { name: n, fields: f, .. }
                if n == name && f == fields);
            return if is_same { outcome.clone() } else { refused("invalid") };
        }
        if expected_version.is_some_and(|expected| expected != version) {
            return refused("conflict");
        }
        let facts = match S::decide(&self.state, name, fields) {
            Decision::Events(facts) => facts,
            Decision::Rejected(rejection) => return Outcome::Rejected { version, rejection },
            Decision::Invalid => return refused("invalid"),
        };
        let command = id.clone().unwrap_or_else(|| format!("host-{version}"));
        let mut events = Vec::new();
        for fact in facts {
            S::evolve(&mut self.state, &fact.name, &fact.data).unwrap();
            let version = self.log.len() as u64 + 1;
            let (name, data, command) = (fact.name, fact.data, command.clone());
            events.push(Event { version, name: name.clone(), data: data.clone() });
            self.log.push(LoggedEvent { version, name, data, at: 0, command });
        }
        let outcome = Outcome::Accepted { version: self.log.len() as u64, events };
        if self.log.len() as u64 > version {
            self.done.push((operation.clone(), outcome.clone()));
        }
        outcome
    }
}

/// Few clients and small counters, so that much goes wrong.
fn ask_journal(random: &mut StdRng, state: &<Journal as Spec>::State) -> (String, Value) {
    let client = random.random_range(1..3_u64);
    let next = next(state, client);
    let counter = if random.random_bool(0.8) { next } else { random.random_range(1..4) };
    if random.random_bool(0.6) {
        return ("append".to_owned(), json!({"client": client, "counter": counter}));
    }
    let copies = random.random_range(0..4);
    let fields = json!({"client": client, "counter": counter, "copies": copies});
    ("append-many".to_owned(), fields)
}

/// As clients do that remember their counters.
fn ask_in_turn(random: &mut StdRng, state: &<Journal as Spec>::State) -> (String, Value) {
    let client = random.random_range(0..8_u64);
    ("append".to_owned(), json!({"client": client, "counter": next(state, client)}))
}

fn next(state: &<Journal as Spec>::State, client: u64) -> u64 {
    let never = json!({"client": client, "counter": 0});
    let Decision::Rejected(rejection) = Journal::decide(state, "append", &never) else {
        panic!("no counter is 0");
    };
    rejection["out-of-turn"]["expected"].as_u64().unwrap()
}

/// Few amounts, so that many events are equal.
fn ask_account(random: &mut StdRng, _: &<Account as Spec>::State) -> (String, Value) {
    let amount = random.random_range(0..3);
    let (name, fields) = match random.random_range(0..10) {
        0..3 => ("open", json!({"owner": "o"})),
        3..6 => ("deposit", json!({"amount": amount})),
        6..8 => ("withdraw", json!({"amount": amount})),
        8 => ("set-limits", json!({"overdraft": 1, "per-withdrawal": null})),
        _ => ("close", json!({})),
    };
    (name.to_owned(), fields)
}

/// Changes something, which may or may not make it untrue.
fn mutate(random: &mut StdRng, operations: &mut [Operation], log: &mut Vec<LoggedEvent>) {
    let other = operations.choose(random).map(|it| it.outcome.clone());
    let at = log.len().checked_sub(1).map(|last| random.random_range(0..=last));
    let Some(operation) = operations.choose_mut(random) else { return };
    match (random.random_range(0..13), at) {
        (0, _) => operation.outcome = other.unwrap(),
        (1, _) => operation.outcome = Outcome::Unknown { why: String::new() },
        (2, _) => operation.outcome = Outcome::Refused { code: "unavailable".to_owned() },
        (3, _) => shift(random, operation),
        (4, _) => operation.begun = operation.begun.mul_f64(0.5),
        (5, _) => operation.ended += Duration::from_millis(5),
        (6, _) => {
            let late = Duration::from_millis(20);
            (operation.begun, operation.ended) = (operation.begun + late, operation.ended + late);
        }
        (7, _) => {
            if let Request::Command { expected_version, .. } = &mut operation.request {
                *expected_version = Some(random.random_range(0..4));
            }
        }
        (8, Some(at)) => {
            log.remove(at);
            number(log);
        }
        (9, Some(at)) => {
            log.insert(random.random_range(0..=log.len()), log[at].clone());
            number(log);
        }
        (10, Some(at)) => {
            let with = random.random_range(0..log.len());
            log.swap(at, with);
            number(log);
        }
        (11, Some(at)) => log[at].command = "somebody".to_owned(),
        (_, Some(at)) => log[at].data = json!({"amount": 2, "client": 1, "counter": 1}),
        (_, None) => {}
    }
}

/// Tells another version.
fn shift(random: &mut StdRng, operation: &mut Operation) {
    let by = if random.random() { 1 } else { -1 };
    if let Outcome::Accepted { version, .. }
    | Outcome::Rejected { version, .. }
    | Outcome::State { version, .. } = &mut operation.outcome
    {
        *version = version.saturating_add_signed(by);
    }
    if let Outcome::Accepted { events, .. } = &mut operation.outcome {
        for event in events {
            event.version = event.version.saturating_add_signed(by);
        }
    }
}

fn number(log: &mut [LoggedEvent]) {
    for (event, version) in log.iter_mut().zip(1..) {
        event.version = version;
    }
}

fn agree<S: Spec>(
    name: &'static str,
    seeds: std::ops::Range<u64>,
    ask: fn(&mut StdRng, &S::State) -> (String, Value),
) {
    let (mut right, mut wrong) = (0, 0);
    for seed in seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..11);
        let (mut operations, mut log) = Simulation::<S>::new(name, seed, ask).run(count, 4);
        for mutations in 0..3 {
            let logs = Logs { actors: [(name.to_owned(), log.clone())].into() };
            let found = check(&operations, &logs);
            let searched = actor_is_linearizable::<S>(&operations, &log).unwrap();
            assert_eq!(
                found.is_empty(),
                searched,
                "seed {seed}, {mutations} mutations: {found:#?}\n{operations:#?}\n{log:#?}"
            );
            assert!(mutations > 0 || searched, "seed {seed}: true, and called false");
            *(if searched { &mut right } else { &mut wrong }) += 1;
            mutate(&mut random, &mut operations, &mut log);
        }
    }
    assert!(right > 1000 && wrong > 1000, "{right} right and {wrong} wrong histories");
}

#[test]
fn the_search_agrees_on_journals() {
    agree::<Journal>("faults/journal/j", 0..2500, ask_journal);
}

#[test]
fn the_search_agrees_on_accounts() {
    agree::<Account>("bank/account/a", 0..2500, ask_account);
}

#[test]
fn a_long_history_takes_seconds() {
    let (mut operations, mut logs) = (Vec::new(), Logs::default());
    for (seed, name) in JOURNALS.into_iter().enumerate() {
        let mut simulation = Simulation::<Journal>::new(name, seed as u64, ask_in_turn);
        simulation.retries = false;
        let (these, log) = simulation.run(12_500, 8);
        operations.extend(these);
        logs.actors.insert(name.to_owned(), log);
    }
    assert_eq!(operations.len(), 100_000);
    let begun = aether::clock::now();
    assert_eq!(check(&operations, &logs), []);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "it took {took:?}");
}
