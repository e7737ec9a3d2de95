//! How an operator lets a quarantined actor go on: when its log can be read again, or with a
//! repair that says what does not count.

use std::{sync::Arc, time::Instant};

use super::{
    examine::{Examination, Examiner, obeying},
    laws::Laws,
    patience,
};
use crate::{
    address::Address,
    clock,
    env::Env,
    failure::{Code, Failure},
    record::{Damage, FORMAT, Kind, Position, Record, Repair, Skip, Skipped},
    router,
    served::Realm,
    store::{Append, AppendError, Freshness, Quarantine},
    wake::read_repairs,
};

/// How often a repair is planned anew because others wrote to the log meanwhile.
const TRIES: usize = 3;

/// What an operator says.
#[derive(Debug, Clone)]
pub struct Order {
    /// The actor.
    pub actor: Address,
    /// Through which positions is skipped, for each damage one; none = the log must be whole.
    pub skip: Vec<Position>,
    /// Why.
    pub because: String,
    /// The authenticated principal.
    pub by: Option<Arc<str>>,
    /// When the operator stops waiting.
    pub deadline: Instant,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The actor.
    pub actor: Address,
    /// Its version.
    pub version: u64,
    /// Whether it was quarantined.
    pub was_quarantined: bool,
    /// Position of the repair, if one was written.
    pub repair: Option<Position>,
}

/// Does what `order` says, if need be beyond its deadline: long logs take minutes to read.
///
/// # Errors
/// `quarantined` if the log is damaged beyond what is to be skipped, with what would have to be;
/// `invalid` if nothing is to be skipped; `unavailable`; `unresolved` if it is still at work at the
/// deadline, or the store did not say what became of the repair.
pub async fn release(
    env: &Arc<Env>,
    realm: &Arc<Realm>,
    order: Order,
) -> Result<Released, Failure> {
    let (actor, deadline) = (order.actor.clone(), order.deadline);
    let (env, realm) = (env.clone(), realm.clone());
    // It has a task of its own: the caller may go away between the repair and the release.
    let work = tokio::spawn(async move { work(&env, &realm, &order).await });
    let fail =
        |why: &str| Failure::new(Code::Unresolved, format!("{actor}: {why}")).for_actor(&actor);
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(fail("the host was stopped at work; release it again")),
        Err(_) => Err(fail(
            "its log is still being read, and the host goes on with it; `aether actors --quarantined` tells when it is released",
        )),
    }
}

async fn work(env: &Arc<Env>, realm: &Arc<Realm>, order: &Order) -> Result<Released, Failure> {
    let actor = &order.actor;
    let laws = Laws::new(env);
    let newest = realm.deployment;
    let freshness = Freshness::Proof;
    let examiner = Examiner { env, laws: &laws, realm: Some(realm), newest, freshness };
    let desk = Desk { env, realm, examiner, order };
    desk.is_newest().await?;
    let stored = env.ask("quarantined", patience(), env.store.quarantined(actor)).await?;
    let mark = stored.or_else(|| env.quarantined(actor));
    let repair = if order.skip.is_empty() { None } else { Some(desk.repair(mark.clone()).await?) };
    let found = desk.examine(mark.as_ref(), Vec::new()).await?;
    if !found.damages.is_empty() {
        return Err(desk.refused(&found));
    }
    // A cache, which may stand on what is skipped now.
    let forget = env.store.forget_snapshot(actor);
    env.ask("forget-snapshot", patience(), forget).await?;
    let marked = env.ask("quarantined", patience(), env.store.quarantined(actor)).await?;
    if let Some(mark) = &marked {
        env.ask("release", patience(), env.store.release(actor, mark)).await?;
    }
    let was_quarantined = marked.is_some() || env.quarantined(actor).is_some();
    env.forget_quarantine(actor);
    let by = order.by.as_deref().unwrap_or("somebody");
    tracing::warn!(%actor, by, version = found.chain.version, ?repair, "released");
    Ok(Released { actor: actor.clone(), version: found.chain.version, was_quarantined, repair })
}

struct Desk<'a> {
    env: &'a Arc<Env>,
    realm: &'a Arc<Realm>,
    examiner: Examiner<'a>,
    order: &'a Order,
}

impl Desk<'_> {
    /// Refuses if what is served here is not the newest: it would take newer records for damage.
    async fn is_newest(&self) -> Result<(), Failure> {
        let deployments = self.env.store.deployments(self.order.actor.context());
        let newest = self.env.ask("deployments", patience(), deployments).await?.pop();
        match newest.filter(|newest| newest.number > self.realm.deployment) {
            Some(newest) => Err(self.fail(
                Code::Unavailable,
                &format!(
                    "this host serves deployment {}, and {} is the newest; release it at a host that serves that",
                    self.realm.deployment, newest.number
                ),
            )),
            None => Ok(()),
        }
    }

    /// What the log holds, if this host can judge it.
    async fn examine(
        &self,
        mark: Option<&Quarantine>,
        skips: Vec<Skip>,
    ) -> Result<Examination, Failure> {
        let found = self.examiner.examine(&self.order.actor, mark, skips).await?;
        match &found.newer {
            Some(why) => Err(self.fail(
                Code::Unavailable,
                &format!("{why}; nothing was released: do it with the newer aether or model"),
            )),
            None => Ok(found),
        }
    }

    /// Writes the repair; its position.
    async fn repair(&self, mark: Option<Quarantine>) -> Result<Position, Failure> {
        let actor = &self.order.actor;
        for _ in 0..TRIES {
            let found = self.examine(mark.as_ref(), Vec::new()).await?;
            let Some(first) = found.damages.first() else {
                return Err(self.fail(
                    Code::Invalid,
                    "its log can be read: nothing is to be skipped; release it without `--skip`",
                ));
            };
            let skips = self.skips(&found).await?;
            let planned = self.examine(mark.as_ref(), skips.clone()).await?;
            if !planned.damages.is_empty() {
                return Err(self.refused(&found));
            }
            // Only now is it sure that there is damage which the order skips. What the actor has
            // written up to its sleep makes the append fail, and is examined with the next try.
            self.hold(first).await;
            match self.append(&planned, skips).await? {
                Some(position) => {
                    self.env.note_repaired(actor.clone());
                    return Ok(position);
                }
                None => continue,
            }
        }
        Err(self
            .fail(Code::Contended, "others keep writing to its log; nothing was stored, try again"))
    }

    /// Nobody may use the actor while its past changes, and no VM of it may live on here.
    async fn hold(&self, damage: &Damage) {
        let actor = &self.order.actor;
        if self.env.quarantined(actor).is_none() {
            self.env.quarantine(actor, damage).await;
        }
        if let Some(cell) = self.realm.actors.get(actor) {
            router::sleep(self.env, self.realm, &cell).await;
        }
    }

    /// The stretches that the order skips.
    async fn skips(&self, found: &Examination) -> Result<Vec<Skip>, Failure> {
        let actor = &self.order.actor;
        let stored = read_repairs(self.env, actor, Freshness::Proof, patience()).await?;
        let lost = found.damages.iter().filter_map(|damage| match damage {
            Damage::LogBehind { .. } | Damage::Missing { .. } => {
                Some(Skipped { position: Some(damage.position()), digest: damage.lost() })
            }
            _ => None,
        });
        let mut lost: Vec<_> = lost.collect();
        let mut skips: Vec<Skip> = Vec::new();
        let mut through = self.order.skip.clone();
        through.sort();
        through.dedup();
        let mut through = through.into_iter().peekable();
        while let Some(at) = through.next() {
            let obeyed = obeying(&stored, &skips);
            let refused = match self.examiner.cut(actor, &obeyed, at, lost.clone()).await? {
                Ok(skip) => {
                    // Each is named once: what lies in its place counts again.
                    lost.retain(|lost| lost.position > Some(at));
                    skips.push(skip);
                    continue;
                }
                Err(refused) => refused,
            };
            // Nothing between the two can count: they are one stretch.
            if refused.further.is_some_and(|further| through.peek().is_some_and(|n| *n >= further))
            {
                continue;
            }
            let further = refused.further.map(|at| format!("; skip through {at} or further"));
            let why = format!("{}{}", refused.why, further.unwrap_or_default());
            return Err(self.fail(Code::Invalid, &why));
        }
        Ok(skips)
    }

    /// Writes the repair behind what was examined; none if others have written meanwhile.
    async fn append(
        &self,
        planned: &Examination,
        skips: Vec<Skip>,
    ) -> Result<Option<Position>, Failure> {
        let (order, realm, chain) = (self.order, self.realm, &planned.chain);
        let repair = Repair {
            skips,
            reason: order.because.clone(),
            by: order.by.as_deref().map(str::to_owned),
            at: clock::unix_ms(),
        };
        let record = Record {
            format: FORMAT,
            kind: Kind::Repair,
            actor: order.actor.to_string(),
            // No version is told twice with other events.
            first: planned.told + 1,
            prev: chain.digest,
            deployment: realm.deployment,
            model: realm.model,
            component: realm.behaviour.component(),
            turns: Vec::new(),
            repair: Some(repair.clone()),
        };
        let bytes = record.encode().map_err(|e| self.fail(Code::Invalid, &e.to_string()))?;
        let append = Append {
            actor: order.actor.clone(),
            expected: planned.last,
            first: record.first,
            events: 0,
            command_ids: Vec::new(),
            bytes,
            deadline: patience(),
        };
        match self.env.store.append(append).await {
            Ok(position) => Ok(Some(position)),
            // Its own retry may have met it.
            Err(AppendError::Conflict { .. }) => {
                let stored =
                    read_repairs(self.env, &order.actor, Freshness::Proof, patience()).await?;
                Ok(stored.stored().find(|(_, known)| *known == &repair).map(|(at, _)| at))
            }
            Err(AppendError::TooLarge { bytes, limit }) => Err(self.fail(
                Code::TooLarge,
                &format!("the repair would have {bytes} bytes, the limit is {limit}: too much is skipped at once"),
            )),
            Err(AppendError::Unavailable(error)) => {
                Err(self.fail(Code::Unavailable, &format!("the repair was not stored: {error}; try again")))
            }
            Err(AppendError::Unresolved(error)) => Err(self.fail(
                Code::Unresolved,
                &format!("the store did not say whether the repair was stored: {error}; release it without `--skip`, which tells"),
            )),
        }
    }

    /// What is wrong, and what would have to be skipped.
    fn refused(&self, found: &Examination) -> Failure {
        let actor = &self.order.actor;
        let damages: Vec<_> = found.damages.iter().map(ToString::to_string).collect();
        let advice = if found.least.len() == found.damages.len() {
            let skips: Vec<_> = found.least.iter().map(|at| format!("--skip {at}")).collect();
            format!(
                "restore what is damaged, or let the rest count with `aether release {} {} --because TEXT`",
                quoted(actor),
                skips.join(" ")
            )
        } else {
            "restore it from a backup: nothing behind the damage can follow what is before it"
                .to_owned()
        };
        self.fail(Code::Quarantined, &format!("{}; {advice}", damages.join("; ")))
    }

    fn fail(&self, code: Code, why: &str) -> Failure {
        let actor = &self.order.actor;
        Failure::new(code, format!("{actor}: {why}")).for_actor(actor)
    }
}

/// An address as a shell takes it: it may hold anything.
pub(super) fn quoted(actor: &Address) -> String {
    format!("'{}'", actor.to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_an_advice_is_one_word_of_a_shell() {
        let actor: Address = "bank/account/it's; ls".parse().unwrap();
        assert_eq!(quoted(&actor), r"'bank/account/it'\''s; ls'");
    }
}
