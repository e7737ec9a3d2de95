//! One component, compiled, loaded and called through the sandbox as a host does it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aether::{
    clock,
    json::{Cases, Packed, PackedCase, Reader},
    vm::{Behaviour, Budget, Context, Decision, Guest, Sandbox, SandboxConfig},
};
use anyhow::{Context as _, Result, bail, ensure};

use super::{Scale, bank};
use crate::{BATCH, PATIENCE, account, resident};

/// Deposits that an instance has taken when its memory is counted; one more command opened it.
const DEPOSITS: usize = 20;

/// Figures by name.
type Figures = Vec<(&'static str, f64)>;

/// How large the component is, and how long compiling takes.
pub(super) async fn compile(component: &Path, cache: &Path) -> Result<Figures> {
    let bytes = read(component)?;
    let size = bytes.len() as f64 / 1024.0;
    let sandbox = sandbox(cache, 1)?;
    let begun = clock::now();
    let component = sandbox.load(bytes).await?;
    let took = begun.elapsed();
    component.keep().await;
    Ok(vec![("component", size), ("compile", took.as_secs_f64())])
}

/// What the component costs from the moment on at which its code is in the cache.
pub(super) async fn all(component: &Path, cache: &Path, scale: Scale) -> Result<Figures> {
    let file = "bank.storm.yaml";
    let (model, _) = aether_wit::read(file, &std::fs::read(bank().join(file))?)?;
    let bytes = read(component)?;
    let sandbox = sandbox(cache, usize::try_from(scale.instances)?)?;
    let begun = clock::now();
    let component = sandbox.load(bytes).await?;
    let load = begun.elapsed();
    let work = Work::new(component.behaviour(&Arc::new(model), "account")?)?;
    let (new, memory) = work.instances(scale.instances).await?;
    let turn = work.turns(scale.time).await?;
    let replay = work.replay(scale.time).await?;
    Ok(vec![
        ("load", load.as_secs_f64() * 1e3),
        ("new instance", new.as_secs_f64() * 1e6),
        ("memory", memory / 1024.0),
        ("decide + evolve", turn.as_secs_f64() * 1e6),
        ("replay", replay),
    ])
}

fn read(component: &Path) -> Result<bytes::Bytes> {
    let bytes = std::fs::read(component);
    let bytes = bytes.with_context(|| format!("{}: run `make guests`", component.display()))?;
    Ok(bytes.into())
}

fn sandbox(cache: &Path, max_instances: usize) -> Result<Sandbox> {
    let (max_instances, cache_dir) = (Some(max_instances), Some(cache.to_owned()));
    Ok(Sandbox::new(SandboxConfig { max_instances, cache_dir, ..SandboxConfig::default() })?)
}

/// The account of one language, and what it is given.
struct Work {
    behaviour: Arc<Behaviour>,
    open: PackedCase,
    deposit: PackedCase,
    deposited: PackedCase,
    context: Context,
}

impl Work {
    fn new(behaviour: Arc<Behaviour>) -> Result<Self> {
        let case = |cases: &Cases, name: &str, json: &str| -> Result<PackedCase> {
            let case = cases.index_of(name).context("a case of the model")?;
            let (_, plan) = cases.get(case).context("a case of the model")?;
            Ok(PackedCase { case, fields: Reader::Caller.read(plan, json.as_bytes())? })
        };
        let plans = behaviour.plans();
        let context = Context {
            version: 1,
            command_id: "command".to_owned(),
            correlation_id: "command".to_owned(),
            at: 0,
            by: None,
            seed: 0,
        };
        Ok(Self {
            open: case(&plans.commands, "open", r#"{"owner":"Alice"}"#)?,
            deposit: case(&plans.commands, "deposit", r#"{"amount":10}"#)?,
            deposited: case(&plans.events, "deposited", r#"{"amount":10}"#)?,
            context,
            behaviour,
        })
    }

    /// How long half of `count` new instances take at most, and the bytes that each holds.
    async fn instances(&self, count: u64) -> Result<(Duration, f64)> {
        let (mut guests, mut times, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        // The first half pays for what is there once.
        for half in [0..count / 2, count / 2..count] {
            for number in half {
                let begun = clock::now();
                let mut guest = self.behaviour.guest(&account(number)?);
                let mut state = guest.initial(&mut Budget::new(PATIENCE)).await?;
                times.push(begun.elapsed());
                state = self.turn(&mut guest, &state, &self.open).await?;
                for _ in 0..DEPOSITS {
                    state = self.turn(&mut guest, &state, &self.deposit).await?;
                }
                guests.push(guest);
            }
            sizes.push(resident()?);
        }
        let [before, after] = sizes.as_slice() else { bail!("two halves") };
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok((median, after.saturating_sub(*before) as f64 / (count - count / 2) as f64))
    }

    /// One command, from the state before it to that behind it.
    async fn turn(
        &self,
        guest: &mut Guest,
        state: &Packed,
        command: &PackedCase,
    ) -> Result<Packed> {
        let mut budget = Budget::new(PATIENCE);
        match guest.decide(&self.context, state, command, &mut budget).await? {
            Decision::Events(events) => Ok(guest.evolve(state, &events, &mut budget).await?),
            Decision::Rejected(_) => bail!("the account refuses what it may not refuse"),
        }
    }

    /// An open account.
    async fn opened(&self) -> Result<(Guest, Packed)> {
        let mut guest = self.behaviour.guest(&account(0)?);
        let state = guest.initial(&mut Budget::new(PATIENCE)).await?;
        let state = self.turn(&mut guest, &state, &self.open).await?;
        Ok((guest, state))
    }

    /// The mean time of a deposit.
    async fn turns(&self, time: Duration) -> Result<Duration> {
        let (mut guest, mut state) = self.opened().await?;
        let (begun, mut done) = (clock::now(), 0_u32);
        while lasts(begun, time) {
            state = self.turn(&mut guest, &state, &self.deposit).await?;
            done += 1;
        }
        ensure!(done > 0, "nothing was done");
        Ok(begun.elapsed() / done)
    }

    /// Events per second.
    async fn replay(&self, time: Duration) -> Result<f64> {
        let (mut guest, mut state) = self.opened().await?;
        let batch = vec![self.deposited.clone(); BATCH];
        let (begun, mut done) = (clock::now(), 0.0);
        while lasts(begun, time) {
            state = guest.evolve(&state, &batch, &mut Budget::new(PATIENCE)).await?;
            done += BATCH as f64;
        }
        Ok(done / begun.elapsed().as_secs_f64())
    }
}

fn lasts(begun: Instant, time: Duration) -> bool {
    begun.elapsed() < time
}
