//! Components that do what they must not, in a host with neighbours: each fault has its name, hurts
//! one command of one actor, stores nothing, and leaves the others their service.
//!
//! `AETHER_TEST_NEIGHBOURS_SECONDS=30` (`make faults-neighbours`) measures the neighbours for that
//! long with a release build and holds them to the promise: 99 % of the answers take at most twice
//! as long as without faults, beside a client that does nothing but harm. It sends [`faults`] and those
//! of [`lies`], and the [`files::orders`] to deploy, which the host refuses, one after the other. The
//! same is measured, and told, beside several such clients at once, which take all that a small machine
//! has. The records lie in memory, if the machine has a folder there: a disk that stands still for a
//! moment holds up neighbours with and without faults, and would be most of what is measured. By default
//! the run is short, on an unoptimised build and a machine that runs other tests: then only errors and
//! standstill fail.

mod files;
mod lies;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use aether::{
    aside::{LOWER, stand_back},
    clock,
};
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    http::{Client, Reply},
    measure::{Latencies, metric},
    watchdog::Folder,
    workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Environment variable: how many seconds the neighbours are measured alone, as many beside one
/// attacker, for which they are held to [`PROMISE`], and as many beside a crowd.
const SECONDS_VARIABLE: &str = "AETHER_TEST_NEIGHBOURS_SECONDS";

/// Length of one measurement. Those alone and beside one attacker take turns, so that what disturbs the
/// whole machine for a while does not fall on one kind only.
const ROUND: Duration = Duration::from_secs(3);

/// How many times their normal 99 % of a neighbour's answers may take beside faults.
const PROMISE: u32 = 2;

/// What they may take longer than normal in a short run. It is there to find a host that stands
/// still, not a busy machine: half of what a caller waits before it gives up.
const SHORT_LIMIT: Duration = Duration::from_secs(5);

/// Neighbours, each an account with one client.
const NEIGHBOURS: usize = 8;

/// Time between two commands of a neighbour: steady load, far below what the host bears, and long
/// enough that a slow answer does not delay all those behind it.
const PACE: Duration = Duration::from_millis(25);

/// Clients of a crowd that send nothing but faults, without a pause. One more deploys.
const SABOTEURS: usize = 4;

/// How long they wait for an answer: instances that loop when they are made take 5 s of processor
/// time, and wait for each other.
const SABOTEURS_WAIT: &str = "50s";

/// Most bytes that the host takes of what one call prints, as the test sets it.
const MAX_OUTPUT: usize = 4096;

fn hostile() -> HostOptions {
    let options = HostOptions::new().unwrap().model(workspace::hostile_model().unwrap());
    options.args(["--max-output-bytes", "4KiB"])
}

/// The beginning of the address of those who take a command.
fn aggregate(command: &str) -> String {
    format!("hostile/{}/", if command == "pour" { "fountain" } else { "saboteur" })
}

fn send(client: &Client, id: &str, command: &str, fields: &Value) -> Reply {
    client.command(&(aggregate(command) + id), command, fields).unwrap()
}

/// A command that must fail, and how: which reasons it may have, and words of the detail.
type MustFail = (&'static str, Value, &'static [&'static str], &'static str);

fn faults() -> Vec<MustFail> {
    let mib = 1 << 20;
    vec![
        ("loop", json!({"place": "decide"}), &["deadline"], "`decide`"),
        ("loop", json!({"place": "evolve"}), &["deadline"], "`evolve`"),
        ("panic", json!({"place": "decide"}), &["trap"], "decide panics as told"),
        ("panic", json!({"place": "evolve"}), &["trap"], "evolve panics as told"),
        ("exit", json!({"ok": true}), &["trap"], "`decide`"),
        ("exit", json!({"ok": false}), &["trap"], "`decide`"),
        ("recurse", json!({"depth": 1_000_000_000}), &["trap"], "`decide`"),
        // Touching what it may have takes a busy machine longer than a command may take.
        ("grow", json!({"bytes": 1024 * mib, "block": mib}), &["memory", "deadline"], "`decide`"),
        ("grow", json!({"bytes": 1024 * mib, "block": 1024 * mib}), &["memory"], "64"),
        ("smuggle", json!({}), &["contract"], "event `looped`"),
        ("refuse", json!({}), &["contract"], "rejection `unable`"),
        ("pour", json!({"events": 1025}), &["contract"], "1024"),
    ]
}

/// The answer is a fault of the component with this reason, and says what must be said of one.
#[track_caller]
fn is_fault(reply: &Reply, what: &str, reason: &[&str], said: &str) {
    assert_eq!(reply.status, 500, "{what}: {}", reply.text());
    let body = reply.json().unwrap();
    assert_eq!(body["code"], "component-fault", "{what}: {body}");
    assert!(reason.iter().any(|reason| body["reason"] == *reason), "{what}: {body}");
    assert!(body["component"].as_str().unwrap().starts_with("sha256:"), "{what}: {body}");
    let detail = body["detail"].as_str().unwrap();
    let actor = body["actor"].as_str().unwrap();
    assert!(detail.starts_with(actor) && detail.contains("nothing was stored"), "{what}: {detail}");
    assert!(detail.contains(said), "{what}: `{said}` is not in `{detail}`");
}

fn nothing_is_stored(client: &Client) {
    for aggregate in ["saboteur", "fountain"] {
        let list = client.get(&format!("/v1/hostile/{aggregate}")).unwrap().json().unwrap();
        assert_eq!(list["actors"], json!([]), "{aggregate}");
    }
}

#[test]
fn every_fault_has_its_name_and_stores_nothing() {
    let host = hostile().start().unwrap();
    let client = host.client();
    for (command, fields, reason, said) in faults() {
        let reply = send(&client, "s", command, &fields);
        is_fault(&reply, &format!("{command} {fields}"), reason, said);
    }
    // So many events are too much in one way or the other, by what the machine is quick at.
    let reply = send(&client, "s", "pour", &json!({"events": 10_000_000}));
    is_fault(&reply, "pour 10,000,000", &["contract", "deadline", "memory", "trap"], "");
    for (id, reason) in [("loop-1", "deadline"), ("panic-1", "trap")] {
        is_fault(&send(&client, id, "report", &json!({})), id, &[reason], "`initial`");
    }
    // Making so much may take a busy machine longer than a command may take.
    let store = || send(&client, "s", "store", &json!({"bytes": 1 << 20}));
    let mut large = store();
    for _ in 0..5 {
        if large.status == 413 {
            break;
        }
        is_fault(&large, "store", &["deadline"], "");
        large = store();
    }
    assert_eq!((large.status, large.code().unwrap().as_str()), (413, "too-large"));
    nothing_is_stored(&client);

    let faults = metric(&client, "aether_component_faults_total", &[]).unwrap();
    let contract = metric(&client, "aether_turns_total", &["outcome=\"component-fault\""]).unwrap();
    assert!(faults > 0.0 && contract >= faults, "{faults} faults, {contract} failed turns");

    // The same actors serve on.
    for (id, command, fields) in [("s", "report", json!({})), ("s", "pour", json!({"events": 3}))] {
        let reply = send(&client, id, command, &fields);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let refused = send(&client, "s", "decline", &json!({}));
    assert_eq!(refused.json().unwrap()["rejection"], "unable", "a refusal is no fault");
}

#[test]
fn sleeping_takes_no_time_and_shows_no_clock() {
    let host = hostile().start().unwrap();
    let begun = clock::now();
    let reply = send(&host.client(), "s", "wait", &json!({"ms": 3_600_000}));
    let took = clock::now() - begun;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(took < Duration::from_secs(10), "an hour of sleep took {took:?}");
}

#[test]
fn what_is_printed_is_in_the_log_up_to_the_limit() {
    let host = hostile().start().unwrap();
    let client = host.client();
    for channel in ["stdout", "stderr"] {
        let id = format!("prints-to-{channel}");
        let fields = json!({"bytes": 100_000_000, "channel": channel});
        let reply = send(&client, &id, "print", &fields);
        // Printing is no fault. It takes time, which is.
        if reply.status != 200 {
            is_fault(&reply, &id, &["deadline"], "`decide`");
        }
        // It is told behind what was printed.
        let limit = Duration::from_secs(10);
        let actor = format!("\"actor\":\"hostile/saboteur/{id}\"");
        let dropped = format!("more than a call may print: they were dropped\",{actor}");
        host.wait_for_line(&dropped, limit).unwrap();
        let output = host.output();
        let of_actor = output.lines().filter(|line| line.contains(&actor));
        let printed: Vec<_> = of_actor.filter(|line| line.contains("xxxxxxxxxx")).collect();
        let bytes: usize = printed.iter().map(|line| line.matches('x').count()).sum();
        assert!((MAX_OUTPUT / 2..=MAX_OUTPUT).contains(&bytes), "{bytes} bytes are in the log");
        let stream = format!("\"stream\":\"{channel}\"");
        assert!(printed.iter().all(|line| line.contains(&stream)), "{}", printed[0]);
    }
    is_fault(&send(&client, "p", "panic", &json!({"place": "decide"})), "panic", &["trap"], "");
    let line = host.wait_for_line("decide panics as told", Duration::from_secs(10)).unwrap();
    assert!(line.contains("hostile/saboteur/p"), "{line}");
}

/// A folder with the model `text` and the component `bytes` as its `guest.wasm`.
fn bundle(text: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("guest.storm.yaml");
    fs::write(&model, text).unwrap();
    fs::write(folder.path().join("guest.wasm"), bytes).unwrap();
    (folder, model)
}

#[track_caller]
fn start_is_refused(model: &Path, said: &[&str]) {
    let (status, output) = HostOptions::new().unwrap().model(model).start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{output}");
    for words in said {
        assert!(output.contains(words), "`{words}` is not in\n{output}");
    }
}

#[test]
fn a_component_that_imports_what_is_not_allowed_is_refused_by_the_name_of_it() {
    let model = "\
context: thief
version: 0.1.0
components: [guest.wasm]
aggregates:
  hand: { state: { n: u64 }, commands: { grab: { emits: [grabbed] } }, events: { grabbed: {} } }
";
    for import in ["evil:net/sockets", "wasi:http/outgoing-handler@0.2.0", "wasi:cli/run@0.3.0"] {
        let text = format!("(component (import {import:?} (instance (export \"open\" (func)))))");
        let (_folder, model) = bundle(model, &wat::parse_str(text).unwrap());
        start_is_refused(&model, &["guest.wasm", &format!("imports `{import}`"), "may import"]);
    }
    let (_folder, module) = bundle(model, &wat::parse_str("(module)").unwrap());
    start_is_refused(&module, &["guest.wasm", "core WebAssembly module", "wasm32-wasip2"]);
    let (_folder, empty) = bundle(model, &wat::parse_str("(component)").unwrap());
    start_is_refused(&empty, &["no component exports `thief:model/hand`", "guest.wasm"]);
}

#[test]
fn a_component_that_was_built_for_another_model_is_refused_with_both_types() {
    let model = workspace::hostile_model().unwrap();
    let text = fs::read_to_string(&model).unwrap().replace("hostile.wasm", "guest.wasm");
    let component = fs::read(model.with_file_name("hostile.wasm")).unwrap();
    for (from, to, said) in [
        ("added: { amount: u64 }", "added: { amount: u32 }", ["counter.event.added", "u64", "u32"]),
        (
            "sum: u64, events: u64",
            "sum: u64, adds: u64",
            ["counter.state", "events: u64", "does not have"],
        ),
        ("too-much: { room: u64 }", "too-much: {}", ["counter.rejection.too-much", "u64", "too"]),
        (
            "add: { fields: { amount: u64 }",
            "add: { fields: { amount: string }",
            ["counter.command.add", "u64", "string"],
        ),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let (_folder, model) = bundle(&text.replace(from, to), &component);
        start_is_refused(&model, &["guest.wasm", said[0], said[1], said[2]]);
    }
}

#[test]
fn calls_that_wait_behind_a_loop_leave_the_instances_to_others() {
    const LOOPS: usize = 12;
    let options = hostile().model(workspace::bank_model().unwrap());
    let host = options.args(["--max-instances", "2"]).start().unwrap();
    let forever = json!({"place": "decide"});
    // From now on the host knows that loops are slow, and has them wait for each other.
    is_fault(&send(&host.client(), "s", "loop", &forever), "loop", &["deadline"], "`decide`");
    let over = AtomicU64::new(0);
    let served = thread::scope(|scope| {
        for number in 0..LOOPS {
            let (client, over, forever) = (host.client(), &over, &forever);
            scope.spawn(move || {
                let reply = send(&client, &format!("s{number}"), "loop", forever);
                let code = reply.code().unwrap();
                assert!(["component-fault", "overloaded"].contains(&code.as_str()), "{code}");
                over.fetch_add(1, Ordering::Relaxed);
            });
        }
        let client = host.client();
        let mut served = 0;
        while over.load(Ordering::Relaxed) < LOOPS as u64 {
            // A new account each time: it needs an instance that it does not have.
            let account = format!("bank/account/a{served}");
            let reply = client.command(&account, "open", &json!({"owner": "A"})).unwrap();
            assert_eq!(reply.status, 200, "{account}: {}", reply.text());
            served += 1;
        }
        served
    });
    assert!(served > LOOPS, "only {served} accounts were opened beside {LOOPS} loops");
}

/// What the neighbours met in one measurement.
struct Service {
    accounts: Latencies,
    /// Of an actor whose code is in the same component as the saboteurs'.
    housemate: Latencies,
    faults: u64,
    loads: u64,
}

impl Service {
    fn new() -> Self {
        let none = || Latencies::new().unwrap();
        Self { accounts: none(), housemate: none(), faults: 0, loads: 0 }
    }

    fn merge(&mut self, other: &Self) {
        self.accounts.merge(&other.accounts).unwrap();
        self.housemate.merge(&other.housemate).unwrap();
        self.faults += other.faults;
        self.loads += other.loads;
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, housemate, faults, loads } = self;
        write!(
            f,
            "p99 {:?}, median {:?}, of {} answers; a housemate: p99 {:?}; {faults} faults, {loads} loads",
            accounts.p99(),
            accounts.median(),
            accounts.count(),
            housemate.p99(),
        )
    }
}

/// Who attacks beside the neighbours, without a pause.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attackers {
    /// One client, which sends everything there is, one after the other.
    One,
    /// [`SABOTEURS`], which take turns at the faults, and one that deploys.
    Crowd,
}

/// What attackers do, all of them in turns.
struct Attacks {
    by: Attackers,
    /// The beginning of an address, a command and its fields.
    all: Vec<(String, &'static str, Value)>,
    /// Orders to deploy that the host refuses.
    orders: Vec<files::Order>,
    /// Whether a crowd sends them again and again; if not, it sends each once.
    strict: bool,
    /// How many were begun.
    begun: AtomicUsize,
    /// How many orders were refused.
    loads: AtomicUsize,
}

impl Attacks {
    fn new(by: Attackers, strict: bool) -> Self {
        let mut all: Vec<_> = faults()
            .into_iter()
            .map(|(command, fields, ..)| (aggregate(command) + "s", command, fields))
            .collect();
        for (command, fields) in [
            ("print", json!({"bytes": 100_000_000, "channel": "stdout"})),
            ("wait", json!({"ms": 3_600_000})),
            ("pour", json!({"events": 10_000_000})),
        ] {
            all.push((aggregate(command) + "s", command, fields));
        }
        for id in ["loop-", "panic-"] {
            all.push((aggregate("report") + id, "report", json!({})));
        }
        all.extend(lies::attacks());
        let (begun, loads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { by, all, orders: files::orders(strict), strict, begun, loads }
    }

    /// Sends every kind of fault in turn, to several actors, until `over`; how many. If there is a
    /// `deployer`, it deploys between them.
    fn sabotage(
        &self,
        client: &Client,
        number: usize,
        deployer: Option<&Client>,
        over: &AtomicBool,
    ) -> u64 {
        let mut sent = 0;
        let between = self.all.len() / self.orders.len();
        elsewhere();
        while !over.load(Ordering::Relaxed) {
            let turn = self.begun.fetch_add(1, Ordering::Relaxed);
            let (actor, command, fields) = &self.all[turn % self.all.len()];
            let actor = format!("{actor}{number}-{}", turn / self.all.len() % 5);
            let reply = client.command(&actor, command, fields).unwrap();
            assert_ne!(reply.status, 504, "{actor} {command}: {}", reply.text());
            sent += 1;
            if let Some(client) = deployer
                && turn.is_multiple_of(between)
            {
                self.deploy(client);
            }
        }
        sent
    }

    /// Has the host load the next of what it must refuse.
    fn deploy(&self, client: &Client) {
        let turn = self.loads.fetch_add(1, Ordering::Relaxed);
        self.orders[turn % self.orders.len()].is_refused(client, turn);
    }

    /// Has the host load what it must refuse, one after the other, until `over`.
    fn load(&self, client: &Client, over: &AtomicBool) {
        elsewhere();
        while !over.load(Ordering::Relaxed) {
            self.deploy(client);
            if !self.strict && self.loads.load(Ordering::Relaxed) >= self.orders.len() {
                return;
            }
        }
    }
}

/// Who sends beside the neighbours does so from another machine: here it must cost them little.
fn elsewhere() {
    stand_back(LOWER);
}

/// Steady load on the neighbours for one round, with or without attackers beside them.
fn measure(host: &HostProcess, beside: Option<&Attacks>) -> Service {
    let end = clock::now() + ROUND;
    let (over, faults) = (AtomicBool::new(false), AtomicU64::new(0));
    let loads = beside.map_or(0, |attacks| attacks.loads.load(Ordering::Relaxed));
    let mut accounts = Latencies::new().unwrap();
    let housemate = thread::scope(|scope| {
        if let Some(attacks) = beside {
            let (over, faults) = (&over, &faults);
            let alone = attacks.by == Attackers::One;
            if !alone {
                let client = host.client();
                scope.spawn(move || attacks.load(&client, over));
            }
            for number in 0..if alone { 1 } else { SABOTEURS } {
                let client = host.client().with("aether-timeout", SABOTEURS_WAIT);
                let deployer = alone.then(|| host.client());
                scope.spawn(move || {
                    let sent = attacks.sabotage(&client, number, deployer.as_ref(), over);
                    faults.fetch_add(sent, Ordering::Relaxed);
                });
            }
        }
        let housemate = scope.spawn(|| {
            let fields = json!({"amount": 1});
            serve(&host.client(), "hostile/counter/calm", "add", &fields, end)
        });
        let neighbours: Vec<_> = (0..NEIGHBOURS)
            .map(|number| {
                let (client, account) = (host.client(), format!("bank/account/n{number}"));
                let fields = json!({"amount": 1});
                scope.spawn(move || serve(&client, &account, "deposit", &fields, end))
            })
            .collect();
        for neighbour in neighbours {
            accounts.merge(&neighbour.join().unwrap()).unwrap();
        }
        let housemate = housemate.join().unwrap();
        over.store(true, Ordering::Relaxed);
        housemate
    });
    let loads = beside.map_or(0, |attacks| attacks.loads.load(Ordering::Relaxed)) - loads;
    Service { accounts, housemate, faults: faults.into_inner(), loads: loads as u64 }
}

/// Sends a command every [`PACE`] until `end`. Each must be accepted.
fn serve(
    client: &Client,
    actor: &str,
    command: &str,
    fields: &Value,
    end: std::time::Instant,
) -> Latencies {
    let mut times = Latencies::new().unwrap();
    let mut due = clock::now();
    while due < end {
        let reply = client.command(actor, command, fields).unwrap();
        assert_eq!(reply.status, 200, "{actor}: {}", reply.text());
        // From when it was due: a command that had to wait for the one before has waited too.
        times.add(clock::now() - due);
        due += PACE;
        thread::sleep(due.saturating_duration_since(clock::now()));
    }
    times
}

/// Deposits, one after the other, until `over`; each must be accepted. How many there were.
fn serve_until(client: &Client, account: &str, over: &AtomicBool) -> u64 {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let reply = client.command(account, "deposit", &json!({"amount": 1})).unwrap();
        assert_eq!(reply.status, 200, "{account}: {}", reply.text());
        served += 1;
        thread::sleep(PACE);
    }
    served
}

#[test]
fn neighbours_of_faults_see_no_error_and_keep_their_service() {
    let strict = std::env::var(SECONDS_VARIABLE).ok();
    let seconds: u64 = strict.as_deref().map_or(0, |text| text.parse().unwrap());
    let rounds = seconds.div_ceil(ROUND.as_secs()).max(1);
    let options = hostile().model(workspace::bank_model().unwrap());
    let (_folders, options) = lies::with_liars(options);
    let data = Folder::in_memory("aether-neighbours-").unwrap();
    let host = options.data(data.path()).start().unwrap();
    let one_attacks = Attacks::new(Attackers::One, strict.is_some());
    let crowd_attacks = Attacks::new(Attackers::Crowd, strict.is_some());
    for number in 0..NEIGHBOURS {
        let account = format!("bank/account/n{number}");
        let reply = host.client().command(&account, "open", &json!({"owner": "N"})).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let (mut normal, mut one, mut crowd) = (Service::new(), Service::new(), Service::new());
    for _ in 0..rounds {
        normal.merge(&measure(&host, None));
        one.merge(&measure(&host, Some(&one_attacks)));
    }
    // What a crowd leaves behind must not count as normal.
    for _ in 0..rounds {
        crowd.merge(&measure(&host, Some(&crowd_attacks)));
    }
    println!("{NEIGHBOURS} neighbours, each for {:?}:", ROUND * u32::try_from(rounds).unwrap());
    for (beside, service) in [("nobody", &normal), ("one attacker", &one), ("a crowd", &crowd)] {
        println!("  beside {beside}: {service}");
    }
    for (service, attacks) in [(&one, &one_attacks), (&crowd, &crowd_attacks)] {
        let all = (attacks.all.len() as u64, attacks.orders.len() as u64);
        let (faults, loads) = if strict.is_some() { all } else { (1, 1) };
        assert!(service.faults >= faults && service.loads >= loads, "not all was done: {service}");
    }
    let deployments = host.client().get("/admin/deployments").unwrap().text();
    assert!(!deployments.contains("thief"), "something was deployed: {deployments}");
    let (usual, now) = (normal.accounts.p99(), one.accounts.p99());
    let limit = if strict.is_some() { usual * PROMISE } else { usual + SHORT_LIMIT };
    assert!(now <= limit, "p99 was {usual:?} and is {now:?} beside faults; the limit is {limit:?}");
    let (now, limit) = (crowd.accounts.p99(), usual + SHORT_LIMIT);
    assert!(
        now <= limit,
        "p99 was {usual:?} and is {now:?} beside a crowd; the limit is {limit:?}"
    );
}
