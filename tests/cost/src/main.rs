//! What the host's parts cost, each alone, on the example bank: figures of `docs/performance.md`.
//!
//! `turns N`: N commands, one after the other, over sixteen accounts of a host in this process, on
//! one thread and a store in memory; prints nothing, for it is run where instructions are counted.
//! `check`: counts them with valgrind and compares with what is written down in `turn-instructions`
//! (`make bench-check`). `awake N`: memory of an awake account without instance, with a full
//! window of recent commands. `replay N`: N events through `evolve` in batches of 256, guest calls
//! only. `wake N`: N new accounts up to their first state, instance included, no store. `idle N`:
//! processor time of a host in which N accounts are awake and nothing is asked of any. `languages`:
//! the account in each language (`make bench-languages`).

mod languages;

use std::{path::Path, process::Command as Process, sync::Arc, time::Duration};

use aether::{
    address::Address,
    clock,
    command::{Command, Outcome},
    config::{Config, Faces, Limits, StoreConfig},
    host::{Bundle, Host},
    json::{PackedCase, Reader},
    vm::{Behaviour, Budget, Sandbox, SandboxConfig},
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::value::RawValue;

/// As the host's own program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Accounts that `turns` uses in turn.
const ACCOUNTS: u64 = 16;

/// Commands that an awake actor remembers, as the model has it by default.
const WINDOW: u64 = 64;

/// Events of a batch of `replay`.
const BATCH: usize = 256;

/// Instances beside which actors are awake without one.
const INSTANCES: usize = 64;

/// How long an idle host is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// Longest time of one command, far more than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Instructions of one turn, as they were last accepted.
const TURN_INSTRUCTIONS: &str = include_str!("../turn-instructions");

/// How far from it a turn may be, in per cent.
const TOLERANCE: u64 = 5;

/// Turns of the two runs whose difference is taken: what is there once cancels out.
const RUNS: [u64; 2] = [500, 2500];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage =
        "usage: aether-cost check | turns N | awake N | replay N | wake N | idle N | languages …";
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, n): (&str, u64) = match arguments.as_slice() {
        ["check"] => return check(),
        ["languages", rest @ ..] => return languages::run(rest),
        [what, n] => (what, n.parse().context(usage)?),
        _ => bail!("{usage}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match what {
            "turns" => turns(n).await,
            "awake" => awake(n).await,
            "replay" => replay(n).await,
            "wake" => wake(n).await,
            "idle" => idle(n).await,
            _ => bail!("{usage}"),
        }
    })
}

/// Compares the instructions of one turn with the figure that is written down.
fn check() -> Result<()> {
    let known: u64 = TURN_INSTRUCTIONS.trim().parse().context("tests/cost/turn-instructions")?;
    let this = std::env::current_exe()?;
    // The first run compiles the component, for the processor that valgrind shows, into the cache:
    // that is not to be counted.
    instructions(&this, 1)?;
    let [few, many] = RUNS;
    let found = (instructions(&this, many)? - instructions(&this, few)?) / (many - few);
    println!("one turn takes {found} instructions; {known} are written down");
    if found.abs_diff(known) * 100 > known * TOLERANCE {
        let change = if found > known { "dearer" } else { "cheaper" };
        bail!(
            "a turn has become {change} by more than {TOLERANCE} %: find out why (docs/performance.md says how); if it shall be so, write {found} into tests/cost/turn-instructions"
        );
    }
    Ok(())
}

/// Instructions of all threads of `aether-cost turns N`, as valgrind counts them.
fn instructions(this: &Path, n: u64) -> Result<u64> {
    let mut valgrind = Process::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = valgrind.arg(this).args(["turns", &n.to_string()]).output().context(
        "valgrind cannot be started: it counts the instructions; install it (Debian: apt-get install valgrind)",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) =
        count.with_context(|| format!("valgrind counted nothing; it said:\n{said}"))?;
    Ok(count.trim().parse()?)
}

/// The example bank with its component.
fn bank() -> Result<Bundle> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples-guests/bank");
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path);
        bytes.with_context(|| format!("{}: build it with `make guests`", path.display()))
    };
    let (model, component) = (read("bank.storm.yaml")?.into(), read("bank.wasm")?.into());
    let components = vec![("bank.wasm".to_owned(), component)];
    Ok(Bundle { file: "bank.storm.yaml".to_owned(), model, components })
}

/// Compiled code is kept, so that compiling is not among what is counted.
fn sandbox(max_instances: usize) -> SandboxConfig {
    let cache_dir = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/cost-cache"));
    SandboxConfig { max_instances: Some(max_instances), cache_dir, ..SandboxConfig::default() }
}

async fn start() -> Result<Host> {
    let config = Config {
        store: StoreConfig::Memory,
        sandbox: sandbox(INSTANCES),
        limits: Limits::default(),
        prefix: "aether".to_owned(),
        faces: Faces { http: None, nats: false, token_file: None, insecure: false },
        accept_state_changes: false,
    };
    Ok(Box::pin(Host::start(config, vec![bank()?])).await?)
}

fn account(n: u64) -> Result<Address> {
    Ok(Address::new("bank", "account", &format!("account-{n}"))?)
}

async fn send(host: &Host, account: &Address, name: &str, fields: &str) -> Result<()> {
    let command = Command::new(
        account.clone(),
        name,
        RawValue::from_string(fields.to_owned())?,
        clock::now() + PATIENCE,
    );
    let reply = host.send(command).await?;
    ensure!(matches!(reply.outcome, Outcome::Accepted(_)), "{name} was rejected");
    Ok(())
}

async fn turns(n: u64) -> Result<()> {
    let host = start().await?;
    let accounts = (0..ACCOUNTS).map(account).collect::<Result<Vec<_>>>()?;
    for account in &accounts {
        send(&host, account, "open", r#"{"owner":"Alice"}"#).await?;
    }
    for account in (0..n).zip(accounts.iter().cycle()).map(|(_, account)| account) {
        send(&host, account, "deposit", r#"{"amount":10}"#).await?;
    }
    host.drain().await;
    Ok(())
}

async fn awake(n: u64) -> Result<()> {
    let host = start().await?;
    let mut sizes = Vec::new();
    // The first half pays for what is there once.
    for half in [0..n / 2, n / 2..n] {
        for number in half {
            let account = account(number)?;
            send(&host, &account, "open", r#"{"owner":"Alice"}"#).await?;
            for _ in 1..WINDOW {
                send(&host, &account, "deposit", r#"{"amount":10}"#).await?;
            }
        }
        sizes.push(resident()?);
    }
    let [before, after] = sizes.as_slice() else { bail!("two halves") };
    let each = after.saturating_sub(*before) / (n - n / 2).max(1);
    println!("{each} bytes for each of {} actors; all in all {after} bytes", n - n / 2);
    Ok(())
}

/// Memory of this process in RAM that is nobody else's, in bytes: a store in memory is a file.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("RssAnon")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// The bank's account in a sandbox of its own.
async fn behaviour(max_instances: usize) -> Result<Arc<Behaviour>> {
    let bundle = bank()?;
    let (model, _) = aether_wit::read(&bundle.file, &bundle.model)?;
    let sandbox = Sandbox::new(sandbox(max_instances))?;
    let (_, bytes) = bundle.components.into_iter().next().context("a component")?;
    let component = sandbox.load(bytes).await?;
    Ok(component.behaviour(&Arc::new(model), "account")?)
}

async fn replay(n: u64) -> Result<()> {
    let behaviour = behaviour(INSTANCES).await?;
    let mut guest = behaviour.guest(&account(1)?);
    let event = |name: &str, json: &str| -> Result<PackedCase> {
        let cases = &behaviour.plans().events;
        let case = cases.index_of(name).context("an event")?;
        let (_, plan) = cases.get(case).context("an event")?;
        Ok(PackedCase { case, fields: Reader::Log.read(plan, json.as_bytes())? })
    };
    let state = guest.initial(&mut Budget::new(PATIENCE)).await?;
    let opened = event("opened", r#"{"owner":"Alice"}"#)?;
    let mut state = guest.evolve(&state, &[opened], &mut Budget::new(PATIENCE)).await?;
    let batch = vec![event("deposited", r#"{"amount":10}"#)?; BATCH];
    let begun = clock::now();
    let batches = n.div_ceil(BATCH as u64);
    for _ in 0..batches {
        state = guest.evolve(&state, &batch, &mut Budget::new(PATIENCE)).await?;
    }
    let (events, took) = (batches * BATCH as u64, begun.elapsed());
    println!("{} ns for each of {events} events", took.as_nanos() / u128::from(events.max(1)));
    Ok(())
}

async fn wake(n: u64) -> Result<()> {
    /// Awake at once.
    const AT_ONCE: u32 = 1000;
    let behaviour = behaviour(AT_ONCE as usize).await?;
    let mut times = Vec::new();
    for round in 0..n.div_ceil(AT_ONCE.into()) {
        let mut guests = Vec::new();
        for number in 0..u64::from(AT_ONCE) {
            let account = account(round * u64::from(AT_ONCE) + number)?;
            let begun = clock::now();
            let mut guest = behaviour.guest(&account);
            guest.initial(&mut Budget::new(PATIENCE)).await?;
            times.push(begun.elapsed());
            guests.push(guest);
        }
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{} wakes: half within {:.1?}, 99 % within {:.1?}", times.len(), at(50), at(99));
    Ok(())
}

async fn idle(n: u64) -> Result<()> {
    let host = start().await?;
    for number in 0..n {
        host.wake(&account(number)?, clock::now() + PATIENCE).await?;
    }
    // What the last ones have begun ends meanwhile.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, before) = (clock::now(), processor()?);
    tokio::time::sleep(WATCHED).await;
    let (took, used) = (begun.elapsed(), processor()?.saturating_sub(before));
    println!("{:.2} % of a core", 100.0 * used.as_secs_f64() / took.as_secs_f64());
    Ok(())
}

/// Processor time of all threads of this process.
fn processor() -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let time: u64 = stat.split(' ').next().context("schedstat")?.parse()?;
        nanos += time;
    }
    Ok(Duration::from_nanos(nanos))
}
