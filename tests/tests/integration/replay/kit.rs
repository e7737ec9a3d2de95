//! A shop whose code changes, and pasts that are written without a host.

use std::{path::PathBuf, sync::Arc};

use aether::{
    address::Address,
    clock,
    config::Limits,
    deploy::{
        Candidate,
        replay::{self, Options, Progress, report::Report},
    },
    env::Env,
    record::{
        Chain, CommandMeta, EventData, FORMAT, Kind, Position, Record, Repair, Skip, Skipped,
        Stored, Turn,
    },
    served::{Realm, Served},
    store::{Append, Deployment, EventStore, Freshness, embedded::EmbeddedStore},
    vm::{Sandbox, SandboxConfig},
};
use aether_tests::{guest_project::GuestProject, in_process};
use aether_wit::Digest;
use serde_json::{Value, json, value::RawValue};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "\
context: shop
version: 1.0.0
components: [shop.wasm]
aggregates:
  till:
    state: { count: u64, last: string }
    commands:
      sell: { fields: { item: string, count: u32 }, emits: [sold] }
    events:
      sold: { item: string, count: u32 }
";

/// Less fits an event, and the state has other fields.
const NARROW_MODEL: &str = "\
context: shop
version: 2.0.0
components: [shop.wasm]
aggregates:
  till:
    state: { count: u64, kinds: list<string> }
    commands:
      sell: { fields: { item: string, count: u8 }, emits: [sold] }
    events:
      sold: { item: string, count: u8 }
";

const CODE: &str = r#"//! A till.

aether_guest::aggregate!("shop.storm.yaml", "till", Till);

/// A till.
pub struct Till;

impl Aggregate for Till {
    fn initial(_id: String) -> State {
        INITIAL
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Sell(Sell { item, count }) = command;
        Ok(vec![Event::Sold(Sold { item, count })])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |mut state, Event::Sold(Sold { item, count })| {
            state.count += u64::from(count);
            CHANGE
            state
        })
    }
}
"#;

/// The till as it was first.
pub fn first() -> PathBuf {
    let initial = "State { count: 0, last: String::new() }";
    build("replay-first", MODEL, initial, "state.last = item;")
}

/// It panics at `poison`, and writes `loud` in capitals.
pub fn second() -> PathBuf {
    let initial = "State { count: 0, last: String::new() }";
    let change = r#"assert_ne!(item, "poison");
            state.last = if item == "loud" { item.to_uppercase() } else { item };"#;
    build("replay-second", MODEL, initial, change)
}

/// It takes its time for `slow`: seconds.
pub fn slow() -> PathBuf {
    let initial = "State { count: 0, last: String::new() }";
    let change = r#"if item == "slow" {
                let rounds = std::hint::black_box(1_000_000_000_u64);
                state.count += (0..rounds).map(|n| std::hint::black_box(n) & 0).sum::<u64>();
            }
            state.last = item;"#;
    build("replay-slow", MODEL, initial, change)
}

/// It panics at `poison` too; of another model.
pub fn narrow() -> PathBuf {
    let initial = "State { count: 0, kinds: Vec::new() }";
    let change = r#"assert_ne!(item, "poison");
            state.kinds = vec![item];"#;
    build("replay-narrow", NARROW_MODEL, initial, change)
}

fn build(name: &str, model: &str, initial: &str, change: &str) -> PathBuf {
    let code = CODE.replace("INITIAL", initial).replace("CHANGE", change);
    let project = GuestProject::new(name, "shop.storm.yaml", model);
    project.source("lib.rs", &code).build("shop.wasm").unwrap()
}

/// A store and a sandbox, and what is served of it.
pub struct Ground {
    pub env: Arc<Env>,
    pub sandbox: Sandbox,
}

impl Ground {
    pub async fn in_memory() -> Self {
        Self::on(Arc::new(EmbeddedStore::in_memory().await.unwrap()))
    }

    pub fn on(store: Arc<dyn EventStore>) -> Self {
        let config = SandboxConfig { max_instances: Some(200), ..SandboxConfig::default() };
        let env = Arc::new(Env::new(store, Arc::default(), Limits::default()));
        Self { env, sandbox: Sandbox::new(config).unwrap() }
    }

    /// The model at `path` as deployment `number`.
    pub async fn served(&self, path: PathBuf, number: u64) -> Served {
        let bundle = in_process::bundle(&path).unwrap();
        let (model, _) = aether_wit::read(&bundle.file, &bundle.model).unwrap();
        let model = Arc::new(model);
        let components = &bundle.components;
        let candidate =
            Candidate::new(&self.sandbox, &bundle.file, model.clone(), components).await.unwrap();
        let deployment = Deployment {
            number,
            context: model.context.clone(),
            model: model.digest,
            components: candidate.components(),
            at: 0,
            by: "a test".to_owned(),
            because: String::new(),
            origin: String::new(),
            again: None,
            forced: std::collections::BTreeSet::new(),
            replayed: Vec::new(),
            rest: None,
        };
        let realms = candidate.behaviours.into_iter().map(|(name, behaviour)| {
            let aggregate = &model.aggregates[&name];
            let limits = &self.env.limits;
            let realm =
                Realm::new(&deployment, &model, aggregate, behaviour, limits, Arc::default(), &[]);
            (name, Arc::new(realm))
        });
        Served { realms: realms.collect(), model: model.clone(), deployment, rests: None }
    }

    pub async fn replay(&self, old: &Served, new: &Served, options: &Options) -> Report {
        let cancel = CancellationToken::new();
        let run = replay::run(&self.env, old, new, options, cancel, |_: Progress| {});
        send(run).await.unwrap()
    }
}

/// A host runs it as a task.
fn send<F: Future + Send>(task: F) -> F {
    task
}

pub fn till(id: &str) -> Address {
    Address::new("shop", "till", id).unwrap()
}

/// Two workers, and all there is.
pub fn options() -> Options {
    Options { workers: 2, ..Options::default() }
}

/// Writes one actor's log.
pub struct Log {
    store: Arc<dyn EventStore>,
    actor: Address,
    chain: Chain,
    at: u64,
    model: Digest,
    /// The deployment that is said to decide.
    pub deployment: u64,
}

impl Log {
    pub fn new(ground: &Ground, actor: &Address, model: Digest) -> Self {
        let (store, chain) = (ground.env.store.clone(), Chain::start(actor));
        Self { store, actor: actor.clone(), chain, at: 1000, model, deployment: 1 }
    }

    /// The log of an actor that has one.
    pub async fn go_on(ground: &Ground, actor: &Address, model: Digest) -> Self {
        let mut log = Self::new(ground, actor, model);
        loop {
            let from = Position(log.chain.read.0 + 1);
            let page = log.store.read(actor, from, Freshness::Leader).await.unwrap();
            for stored in &page.records {
                log.chain.accept(stored).unwrap();
            }
            if !page.more {
                return log;
            }
        }
    }

    /// Appends one record with these events.
    pub async fn write(&mut self, events: &[(&str, Value)]) -> Position {
        let next = self.next(events);
        self.put(next).await
    }

    /// The same, not appended yet.
    pub fn next(&mut self, events: &[(&str, Value)]) -> Append {
        let event = |(name, data): &(&str, Value)| EventData {
            name: (*name).to_owned(),
            data: RawValue::from_string(data.to_string()).unwrap(),
        };
        let first = self.chain.version + 1;
        self.at += 1;
        let command = CommandMeta {
            id: format!("{}-{first}", self.actor.id()),
            name: "sell".to_owned(),
            digest: Digest::of("{}"),
            at: self.at,
            by: None,
            correlation: "c".to_owned(),
            causation: None,
            seed: "7".to_owned(),
        };
        let turns = vec![Turn { command, events: events.iter().map(event).collect() }];
        let record = Record { turns, ..self.record(Kind::Turns) };
        self.of(record.encode().unwrap(), first, events.len() as u64)
    }

    /// Appends a repair, which skips a record that was never there.
    pub async fn repair(&mut self) -> Position {
        let skipped = vec![Skipped { position: None, digest: Some(Digest::of("lost")) }];
        let skips = vec![Skip { after: self.chain.place(), skipped, resumes: None }];
        let repair = Repair { skips, reason: "a test".to_owned(), by: None, at: self.at };
        let record = Record { repair: Some(repair), ..self.record(Kind::Repair) };
        self.append(record.encode().unwrap(), record.first, 0).await
    }

    fn record(&self, kind: Kind) -> Record {
        Record {
            format: FORMAT,
            kind,
            actor: self.actor.to_string(),
            first: self.chain.version + 1,
            prev: self.chain.digest,
            deployment: self.deployment,
            model: self.model,
            component: Digest::of("component"),
            turns: Vec::new(),
            repair: None,
        }
    }

    /// Appends any bytes as a record of so many events.
    pub async fn append(&mut self, bytes: bytes::Bytes, first: u64, events: u64) -> Position {
        let append = self.of(bytes, first, events);
        self.put(append).await
    }

    fn of(&self, bytes: bytes::Bytes, first: u64, events: u64) -> Append {
        Append {
            actor: self.actor.clone(),
            expected: self.chain.position,
            first,
            events,
            command_ids: Vec::new(),
            bytes,
            deadline: clock::now() + in_process::PATIENCE,
        }
    }

    async fn put(&mut self, append: Append) -> Position {
        let bytes = append.bytes.clone();
        let position = self.store.append(append).await.unwrap();
        let _ = self.chain.accept(&Stored { position, bytes });
        position
    }

    pub async fn sell(&mut self, item: &str, count: u32) -> Position {
        self.write(&[("sold", json!({ "item": item, "count": count }))]).await
    }
}

/// The past that most tests look at: 40 tills with 3 to 42 sales each; `long` has 600; `loud` and
/// `louder` end loud; `poison` has its seventh sale poisoned; `many` one of 300 pieces, its fourth.
pub async fn fill(ground: &Ground, model: Digest) {
    for n in 0..40 {
        let mut log = Log::new(ground, &till(&format!("till {n}")), model);
        for sale in 0..3 + n {
            log.sell(&format!("tea {sale}"), sale).await;
        }
    }
    let mut long = Log::new(ground, &till("long"), model);
    for n in 0..200 {
        let sale = |count: u32| ("sold", json!({ "item": "tea", "count": count % 200 }));
        long.write(&[sale(n), sale(n + 1), sale(n + 2)]).await;
    }
    for (id, at, item, count) in [
        ("loud", 8, "loud", 1),
        ("louder", 4, "loud", 1),
        ("poison", 7, "poison", 1),
        ("many", 4, "tea", 300),
    ] {
        let mut log = Log::new(ground, &till(id), model);
        for n in 1..=8 {
            let (item, count) = if n == at { (item, count) } else { ("tea", 1) };
            // Loud is what is sold last.
            let item =
                if item == "tea" && n > at && id.starts_with("loud") { "loud" } else { item };
            log.sell(item, count).await;
        }
    }
}
