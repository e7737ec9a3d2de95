//! Actors that shadow replay did not cover before the deployment that serves them became active.
//!
//! *Problem.* A budget may end before all histories were replayed. What was left out must not be
//! decided by code that cannot take it, on whatever host and after whatever restart.
//!
//! *Mechanism.* A deployment's record holds which actors were left out, as one bound
//! ([`Rest`]). A host that wakes one of them, of which nothing was decided since, first folds its
//! whole past through the code that last could serve it and through the code that is to serve it
//! now. If only the new one fails, the actor is not served: its data is good, and a rollback or
//! the next deployment brings it back. Those that are awake when the deployment becomes active are
//! checked [ahead](super::ahead) of their next command. An audit [looks](Rests::look) at them by the
//! code before: their logs are not to blame.
//!
//! *Cost.* Two questions to the store when an actor of a rest wakes; reading and folding its past
//! twice, once in the life of a host, and at each audit; eight bytes for each that passed. None for a deployment
//! without a rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    LoadError, Registry,
    replay::{
        self,
        findings::{Failed, Verdict},
        report::Report,
        sample::{Rest, place},
    },
};
use crate::{
    address::Address,
    env::Env,
    failure::{Code, Failure},
    record::{Kind, Position, parse},
    served::{Realm, Served},
    step::step,
    store::{Deployment, Freshness},
    vm::Sandbox,
};

/// Most actors that are remembered to have passed; one that is forgotten is checked again.
const MAX_PASSED: usize = 100_000;

/// Most actors that are remembered to have failed; further ones are checked whenever they wake.
const MAX_FAILED: usize = 10_000;

/// Actors that are named to be shown.
const SHOWN: usize = 5;

/// Checks at once: commands of other actors go on beside them.
const AT_ONCE: usize = 4;

/// The reason of a failure for an actor that the new code cannot take.
pub const UNCOVERED: &str = "uncovered";

/// What was left out before the active deployment of a context, and what was found of it since.
pub struct Rests {
    active: Deployment,
    /// What it left out.
    rest: Rest,
    /// All deployments up to the active one, oldest first.
    history: Vec<Deployment>,
    sandbox: Sandbox,
    /// The codes that served before, by number, as far as they were needed.
    former: tokio::sync::Mutex<BTreeMap<u64, Arc<Served>>>,
    at_once: Semaphore,
    /// Ends when another deployment serves: its checks are of no interest any more.
    over: CancellationToken,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// All of the rest was replayed since, and passed.
    covered: bool,
    checked: u64,
    passed: HashSet<u64>,
    /// With the [`Env::era`] in which it was found: a repair may heal it.
    failed: BTreeMap<Address, (u64, Failed)>,
    differing: u64,
    differ: BTreeSet<String>,
    running: HashMap<Address, Running>,
}

/// The code that served an actor before the active one.
enum Before {
    /// This. None: the former model has no such aggregate.
    Code(Option<Arc<Realm>>),
    /// The active code covered it, or has decided it.
    Checked,
    /// Nothing of it can be read; waking it will find why.
    Unknown,
    /// That of this deployment, which this host cannot run, and why.
    Unfit(u64, String),
}

/// An actor that is still to be checked before it is served.
#[derive(Debug)]
pub struct Unchecked {
    /// The code that last could serve it; none if the former model has no such aggregate.
    pub old: Option<Arc<Realm>>,
    /// What its callers are told if the active code fails where that one does not.
    pub fails: Option<String>,
}

/// Ends with a check, however that ends.
struct Ended<'a>(&'a Rests, &'a Address);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.found().running.remove(self.1);
    }
}

type Running = Shared<BoxFuture<'static, Result<(), Failure>>>;

/// What became of actors that were not covered before their deployment, in one host since it
/// started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Uncovered {
    /// The deployment.
    pub deployment: u64,
    /// How much of all actors was not covered before, from 0 to 1.
    pub share: f64,
    /// Whether all of them were replayed here since, and passed.
    pub covered: bool,
    /// Actors that were checked, as they woke or because they were awake.
    pub checked: u64,
    /// Actors that the code cannot take, up to 10,000: they are not served.
    pub failed: u64,
    /// The first of them, and why.
    pub failures: Vec<String>,
    /// Actors that have other states than before, and are served with them.
    pub differing: u64,
    /// The first of them.
    pub differ: Vec<String>,
}

impl std::fmt::Debug for Rests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rests").field("deployment", &self.active.number).finish_non_exhaustive()
    }
}

/// The rest that a deployment left; a record that cannot be read leaves everybody.
pub fn rest(deployment: &Deployment) -> Option<Rest> {
    deployment.rest.as_deref().map(|text| text.parse().unwrap_or(Rest::ALL))
}

impl Rests {
    /// What `active` left out; none if it left nothing.
    #[must_use]
    pub fn of(
        active: &Deployment,
        history: &[Deployment],
        former: Option<&Arc<Served>>,
        sandbox: &Sandbox,
    ) -> Option<Arc<Self>> {
        let rest = rest(active)?;
        let before = history.iter().filter(|it| it.number <= active.number);
        let former = former.map(|served| (served.deployment.number, served.clone()));
        Some(Arc::new(Self {
            active: active.clone(),
            rest,
            history: before.cloned().collect(),
            sandbox: sandbox.clone(),
            former: tokio::sync::Mutex::new(former.into_iter().collect()),
            at_once: Semaphore::new(AT_ONCE),
            over: CancellationToken::new(),
            found: Mutex::default(),
        }))
    }

    /// Another deployment serves, or none: checks end, and the codes that served before are let
    /// go, which may hold this one in their turn.
    pub fn retire(self: &Arc<Self>) {
        self.over.cancel();
        let rests = self.clone();
        tokio::spawn(async move { step!("rests.retire", rests.former.lock().await).clear() });
    }

    /// The actors that are not covered yet, as far as this host knows.
    #[must_use]
    pub fn open(&self) -> Option<Rest> {
        (!self.found().covered).then_some(self.rest)
    }

    /// Whether `actor` may have to be checked before it is served.
    #[must_use]
    pub fn hold(&self, actor: &Address) -> bool {
        let found = self.found();
        !found.covered && self.rest.holds(actor) && !found.passed.contains(&place(actor))
    }

    /// Checks an actor of the rest, unless it was checked here before or its newest record was
    /// decided by the active code.
    ///
    /// # Errors
    /// `component-fault` if the code cannot take its past, `unavailable` if that is not known before
    /// `deadline` (it is found out all the same), and what [`replay::one`] says.
    pub async fn check(
        self: &Arc<Self>,
        env: &Arc<Env>,
        realm: &Arc<Realm>,
        actor: &Address,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let running = {
            let mut found = self.found();
            if found.covered || found.passed.contains(&place(actor)) {
                return Ok(());
            }
            match found.failed.get(actor) {
                Some((era, failed)) if *era == env.era(actor) => {
                    return Err(self.refused(realm, actor, failed));
                }
                Some(_) => drop(found.failed.remove(actor)),
                None => {}
            }
            let known = found.running.get(actor).cloned();
            known.unwrap_or_else(|| {
                let (rests, env, realm) = (self.clone(), env.clone(), realm.clone());
                let whom = actor.clone();
                let checked = tokio::spawn(async move {
                    let _ended = Ended(&rests, &whom);
                    rests.examine(&env, &realm, &whom).await
                });
                let lost = actor.clone();
                let running = checked.map(move |ended| {
                    ended.unwrap_or_else(|_| {
                        let detail = format!(
                            "{lost}: checking its past broke off; nothing was stored, try again"
                        );
                        Err(Failure::new(Code::Unavailable, detail).for_actor(&lost))
                    })
                });
                let running = running.boxed().shared();
                found.running.insert(actor.clone(), running.clone());
                running
            })
        };
        let ended = self.over.run_until_cancelled(running);
        let ended = tokio::time::timeout_at(deadline.into(), ended);
        match step!("rests.check", ended.await) {
            Ok(Some(checked)) => checked,
            Ok(None) => overtaken(actor),
            Err(_) => {
                let detail = format!(
                    "{actor}: its past was not replayed before deployment {} became active and is being checked now, which takes longer than this request may; nothing was stored, try again in a moment",
                    self.active.number
                );
                Err(Failure::new(Code::Unavailable, detail).for_actor(actor))
            }
        }
    }

    async fn examine(
        &self,
        env: &Arc<Env>,
        realm: &Arc<Realm>,
        actor: &Address,
    ) -> Result<(), Failure> {
        let turn = self.over.run_until_cancelled(self.at_once.acquire());
        let Some(_turn) = step!("rests.turn", turn.await) else { return overtaken(actor) };
        let old = match self.before(env, realm, actor).await? {
            Before::Code(old) => old,
            Before::Checked => {
                self.passed(actor);
                return Ok(());
            }
            Before::Unknown => return Ok(()),
            Before::Unfit(number, why) => {
                tracing::error!(%actor, deployment = number, %why, "its past cannot be compared: this host cannot run the code that served it before");
                self.passed(actor);
                return Ok(());
            }
        };
        let one = replay::one_of(env, old, realm, actor, true, self.over.clone());
        let verdict = match step!("rests.one", one.await) {
            // Damage is found, and marked, by waking it.
            Err(failure) if failure.code == Code::Quarantined => return Ok(()),
            verdict => verdict?,
        };
        match verdict {
            Verdict::Fails(failed) => {
                tracing::error!(%actor, deployment = self.active.number, version = failed.version, kind = failed.kind, detail = failed.detail, "not served: its past was not replayed before the deployment, and the new code cannot take it");
                let refused = self.refused(realm, actor, &failed);
                self.note(actor, Some((env.era(actor), failed)), false);
                Err(refused)
            }
            Verdict::Differs(version, _) => {
                tracing::warn!(%actor, deployment = self.active.number, version, "its past was not replayed before the deployment, and the new code folds it to another state");
                self.note(actor, None, true);
                Ok(())
            }
            Verdict::Same | Verdict::BothFail(_) | Verdict::Healed => {
                self.note(actor, None, false);
                Ok(())
            }
        }
    }

    /// The code that last could serve `actor`, if it must be compared with `realm`.
    ///
    /// # Errors
    /// `unavailable` if the store does not answer.
    async fn before(&self, env: &Env, realm: &Realm, actor: &Address) -> Result<Before, Failure> {
        let Some(newest) = newest(env, actor).await? else { return Ok(Before::Unknown) };
        let Some(before) = before(&self.history, actor, newest) else { return Ok(Before::Checked) };
        match self.code(env, before).await {
            Ok(old) => Ok(Before::Code(old.realms.get(realm.aggregate.as_str()).cloned())),
            Err(LoadError::Unfit(why)) => Ok(Before::Unfit(before.number, why)),
            Err(LoadError::Away(error)) => {
                let detail = format!(
                    "{actor}: the store cannot answer: {error}; nothing was stored, try again"
                );
                Err(Failure::new(Code::Unavailable, detail).for_actor(actor))
            }
        }
    }

    /// What is known of `actor` without serving it, if it is still to be checked before it is
    /// served: the code that its past is to be judged by, and what the active code makes of it.
    /// Nothing is written or remembered. None if the active code is the judge.
    ///
    /// # Errors
    /// As [`Self::check`], but what the active code cannot take.
    pub async fn look(
        &self,
        env: &Arc<Env>,
        realm: &Arc<Realm>,
        actor: &Address,
    ) -> Result<Option<Unchecked>, Failure> {
        if !self.hold(actor) {
            return Ok(None);
        }
        let Before::Code(old) = self.before(env, realm, actor).await? else { return Ok(None) };
        // Whoever reads everything goes on with what it began with, whatever is deployed meanwhile.
        let cancel = CancellationToken::new();
        let one = replay::one_of(env, old.clone(), realm, actor, false, cancel);
        match step!("rests.look", one.await) {
            Ok(Verdict::Fails(failed)) => {
                let why = self.refused(realm, actor, &failed).detail;
                Ok(Some(Unchecked { old, fails: Some(why) }))
            }
            // Whoever reads its log finds the damage.
            Err(failure) if failure.code != Code::Quarantined => Err(failure),
            Ok(_) | Err(_) => Ok(Some(Unchecked { old, fails: None })),
        }
    }

    /// The code of a former deployment. It serves nobody.
    async fn code(&self, env: &Env, deployment: &Deployment) -> Result<Arc<Served>, LoadError> {
        let mut former = step!("rests.former", self.former.lock().await);
        if let Some(known) = former.get(&deployment.number) {
            return Ok(known.clone());
        }
        let registry = Registry { store: &*env.store, sandbox: &self.sandbox };
        let served = registry.serve(env, deployment, None, &self.history).await?;
        let served = Arc::new(served);
        if !self.over.is_cancelled() {
            former.insert(deployment.number, served.clone());
        }
        Ok(served)
    }

    /// Takes over what a replay of `replayed` has found.
    pub fn note_replayed(&self, env: &Env, report: &Report, replayed: Option<Rest>) {
        let whole = report.rest.is_none() && report.findings.skipped == 0;
        let failures = &report.findings.failures;
        let mut found = self.found();
        // A rest that an earlier deployment left may be larger than what was replayed.
        found.covered = whole && failures.count() == 0 && replayed == Some(self.rest);
        for failed in &failures.first {
            if let Ok(actor) = failed.actor.parse() {
                found.fail(&actor, env.era(&actor), failed.clone());
            }
        }
    }

    fn passed(&self, actor: &Address) {
        self.found().pass(actor);
    }

    fn note(&self, actor: &Address, failed: Option<(u64, Failed)>, differs: bool) {
        let mut found = self.found();
        found.checked += 1;
        match failed {
            Some((era, failed)) => found.fail(actor, era, failed),
            None => found.pass(actor),
        }
        if differs {
            found.differing += 1;
            found.differ.insert(actor.to_string());
            if found.differ.len() > SHOWN {
                found.differ.pop_last();
            }
        }
    }

    /// What was found in this host.
    #[must_use]
    pub fn told(&self) -> Uncovered {
        let found = self.found();
        let shown = |(_, (_, failed)): (_, &(u64, Failed))| {
            format!(
                "{} at version {}: {}: {}",
                failed.actor, failed.version, failed.kind, failed.detail
            )
        };
        Uncovered {
            deployment: self.active.number,
            share: self.rest.share(),
            covered: found.covered,
            checked: found.checked,
            failed: found.failed.len() as u64,
            failures: found.failed.iter().take(SHOWN).map(shown).collect(),
            differing: found.differing,
            differ: found.differ.iter().cloned().collect(),
        }
    }

    fn refused(&self, realm: &Realm, actor: &Address, failed: &Failed) -> Failure {
        let Failed { version, kind, detail, .. } = failed;
        let detail = format!(
            "{actor} is not served by deployment {}: its past was not replayed before that became active, and the code fails at its version {version} where the code before did not: {kind}: {detail}; nothing was stored and its log is whole; `aether rollback`, or deploy code that takes it",
            self.active.number
        );
        let mut failure = Failure::new(Code::ComponentFault, detail).for_actor(actor);
        failure.reason = Some(UNCOVERED);
        failure.component = Some(realm.behaviour.component());
        failure
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a check ends with when it does not matter any more.
fn overtaken(actor: &Address) -> Result<(), Failure> {
    let detail =
        format!("{actor}: another deployment serves it now; nothing was stored, try again");
    Err(Failure::new(Code::Unavailable, detail).for_actor(actor))
}

impl Found {
    fn pass(&mut self, actor: &Address) {
        if self.passed.len() >= MAX_PASSED {
            self.passed.clear();
        }
        self.passed.insert(place(actor));
    }

    fn fail(&mut self, actor: &Address, era: u64, failed: Failed) {
        if self.failed.len() < MAX_FAILED {
            self.failed.insert(actor.clone(), (era, failed));
        }
    }
}

/// The deployment whose code last could serve `actor`, whose newest record is of `newest`: the one
/// before those that left it out. None if the active one covered it, or has decided it.
fn before<'a>(history: &'a [Deployment], actor: &Address, newest: u64) -> Option<&'a Deployment> {
    let mut before = None;
    for (at, deployment) in history.iter().enumerate().rev() {
        let left = rest(deployment).is_some_and(|rest| rest.holds(actor));
        if !left || newest >= deployment.number {
            break;
        }
        before = at.checked_sub(1).and_then(|at| history.get(at));
    }
    before
}

/// The deployment that decided last for `actor`; 0 if nothing was decided. None if there is nothing
/// to check: no record, or one that cannot be read, which waking it will find.
async fn newest(env: &Env, actor: &Address) -> Result<Option<u64>, Failure> {
    let head = env.store.head(actor);
    let head = step!("rests.head", env.ask("head", replay::patience(), head).await)?;
    if head.0 == 0 {
        return Ok(None);
    }
    // The last record tells, but for a repair: that is of no deployment, and all before it may be.
    let (mut from, mut newest) = (head, 0);
    loop {
        let read = env.store.read(actor, from, Freshness::Leader);
        let page = step!("rests.read", env.ask("read", replay::patience(), read).await)?;
        let Ok(records) = page.records.iter().map(parse).collect::<Result<Vec<_>, _>>() else {
            return Ok(None);
        };
        let decided = records.iter().filter(|record| record.kind == Kind::Turns);
        newest = decided.map(|record| record.deployment).fold(newest, u64::max);
        if from == head && newest == 0 {
            from = Position::default();
            continue;
        }
        match page.records.last() {
            Some(last) if page.more => from = Position(last.position.0 + 1),
            _ => return Ok(Some(newest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use aether_wit::Digest;

    use super::*;

    fn history(rests: &[Option<Rest>]) -> Vec<Deployment> {
        let deployment = |(at, rest): (usize, &Option<Rest>)| Deployment {
            number: at as u64 + 1,
            context: "bank".to_owned(),
            model: Digest::of("model"),
            components: BTreeMap::new(),
            at: 0,
            by: "a test".to_owned(),
            because: String::new(),
            origin: String::new(),
            again: None,
            forced: BTreeSet::new(),
            replayed: Vec::new(),
            rest: rest.map(|rest| rest.to_string()),
        };
        rests.iter().enumerate().map(deployment).collect()
    }

    #[test]
    fn an_actor_is_compared_with_the_last_code_that_could_serve_it() {
        let actor: Address = "bank/account/a".parse().unwrap();
        let (all, none) = (Some(Rest::ALL), None);
        let number = |rests: &[Option<Rest>], newest| {
            before(&history(rests), &actor, newest).map(|deployment| deployment.number)
        };
        assert_eq!(number(&[none, none, all], 1), Some(2));
        assert_eq!(number(&[none, all, all], 1), Some(1));
        assert_eq!(number(&[none, all, all], 2), Some(2), "the second has decided");
        assert_eq!(number(&[none, all, all], 3), None, "the active one has decided");
        assert_eq!(number(&[none, all, none], 1), None, "the active one covered it");
        assert_eq!(number(&[all], 0), None, "nothing was before");
        let mut broken = history(&[none, all]);
        broken[1].rest = Some("what nobody wrote".to_owned());
        assert_eq!(before(&broken, &actor, 1).map(|it| it.number), Some(1));
    }
}
