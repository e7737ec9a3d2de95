//! An actor's past: its events, and its state as it was at any version.
//!
//! The past is always read from the first record on, so that what is shown is a verified prefix
//! of the log: a damaged record is an error where it stands, and what lies before it can still be
//! seen. A record that its successor contradicts is not shown either: one of the two is wrong.

use std::{sync::Arc, time::Instant};

use crate::{
    address::Address,
    clock,
    command::{Event, EventsPage},
    env::Env,
    failure::{Code, Failure},
    json::PackedCase,
    mailbox::View,
    record::{Chain, Damage, Position, Record, Repairs, Stored},
    served::Realm,
    store::Freshness,
    turn::shown,
    upcast::{Undecoded, decode_events},
    vm::Budget,
    wake::{faulted, fold, newer, repairs},
};

/// The state of `actor` after its first `version` events.
///
/// # Errors
/// `unknown` if it has fewer events or a repair skips this one; `quarantined` if a record up to
/// there is damaged; `unavailable`, `component-fault`.
pub async fn state_at(
    env: &Env,
    realm: &Arc<Realm>,
    actor: &Address,
    version: u64,
    deadline: Instant,
) -> Result<View, Failure> {
    let fault = |fault| faulted(env, realm, actor, &fault);
    let unknown = |why: String| Failure::new(Code::Unknown, why).for_actor(actor);
    let mut past = Past::open(env, actor, deadline).await?;
    loop {
        let mut guest = realm.behaviour.guest(actor);
        let mut budget = Budget::new(realm.runtime.deadline);
        let mut state = guest.initial(&mut budget).await.map_err(fault)?;
        let mut at = 0;
        while at < version {
            let records = match past.next().await? {
                Next::Records(records) => records,
                Next::Anew => break,
                Next::End => {
                    return Err(unknown(format!(
                        "{actor} has {at} events: version {version} is not reached"
                    )));
                }
            };
            let mut events: Vec<PackedCase> = Vec::new();
            for (stored, record) in &records {
                if at >= version {
                    break;
                }
                // A repair leaves out versions: it ends with the last of them.
                if record.first > version && record.last() != version {
                    return Err(unknown(format!(
                        "version {version} of {actor} was skipped by a repair: versions {} to {} do not count",
                        at + 1,
                        record.first - 1
                    )));
                }
                if let Some(failure) = newer(realm, actor, record) {
                    return Err(failure);
                }
                let place = stored.position;
                let decoded = decode_events(realm, &mut guest, place, record, &mut events).await;
                decoded.map_err(|undecoded| match undecoded {
                    Undecoded::Damage(damage) => damaged(actor, &damage),
                    Undecoded::Fault(failed) => fault(failed),
                })?;
                let beyond = usize::try_from(record.last().saturating_sub(version));
                events.truncate(events.len() - beyond.unwrap_or(0).min(events.len()));
                at = record.last().min(version);
            }
            state =
                fold(&mut guest, state, &events, env.limits.replay_budget).await.map_err(fault)?;
        }
        if at >= version {
            return Ok(View { realm: realm.clone(), version, state });
        }
    }
}

/// The events of `actor` from version `from` on, at most `limit`.
///
/// # Errors
/// `quarantined` if a record up to there is damaged; `unavailable`.
pub async fn events(
    env: &Env,
    actor: &Address,
    from: u64,
    limit: usize,
    deadline: Instant,
) -> Result<EventsPage, Failure> {
    let mut past = Past::open(env, actor, deadline).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.len() <= limit {
        let records = match past.next().await {
            Ok(Next::Records(records)) => records,
            Ok(Next::Anew) => {
                events.clear();
                continue;
            }
            Ok(Next::End) => break,
            // What lies before the damage can be seen; asking for more says what is wrong.
            Err(failure) if failure.code == Code::Quarantined && !events.is_empty() => {
                let next = events.last().map(|event| event.version + 1);
                return Ok(EventsPage { actor: actor.clone(), events, next });
            }
            Err(failure) => return Err(failure),
        };
        let wanted = records.iter().flat_map(|(_, record)| record.events().map(shown));
        let room = limit + 1 - events.len();
        events.extend(wanted.filter(|event| event.version >= from).take(room));
    }
    let next = (events.len() > limit).then(|| events.pop().map(|event| event.version)).flatten();
    Ok(EventsPage { actor: actor.clone(), events, next })
}

/// Reads an actor's records from the first on, checking the chain.
struct Past<'a> {
    env: &'a Env,
    actor: &'a Address,
    deadline: Instant,
    chain: Chain,
    /// The last record of a page, until the next one has shown that it follows it.
    held: Option<(Stored, Record)>,
    ended: bool,
}

/// What comes next of a past.
enum Next {
    /// These records.
    Records(Vec<(Stored, Record)>),
    /// A repair was met that changes what was given: everything comes again from the first on.
    Anew,
    /// Nothing more.
    End,
}

impl<'a> Past<'a> {
    async fn open(env: &'a Env, actor: &'a Address, deadline: Instant) -> Result<Self, Failure> {
        let repairs = if env.is_repaired(actor) {
            repairs(env, actor, deadline).await?
        } else {
            Repairs::default()
        };
        let chain = Chain::start(actor).with_repairs(repairs);
        Ok(Self { env, actor, deadline, chain, held: None, ended: false })
    }

    /// The next records.
    async fn next(&mut self) -> Result<Next, Failure> {
        let mut records: Vec<(Stored, Record)> = Vec::new();
        while records.is_empty() {
            records.extend(self.held.take());
            if self.ended {
                break;
            }
            if clock::now() >= self.deadline {
                let detail =
                    format!("the past of {} could not be read before the deadline", self.actor);
                return Err(Failure::new(Code::Unavailable, detail).for_actor(self.actor));
            }
            let from = Position(self.chain.read.0 + 1);
            let read = self.env.store.read(self.actor, from, Freshness::Leader);
            let page = self.env.ask("read", self.deadline, read).await?;
            for stored in page.records {
                match self.chain.accept(&stored) {
                    Ok(Some(record)) => records.push((stored, record)),
                    Ok(None) => {}
                    Err(damage) => return self.stop_at(records, &damage).await,
                }
            }
            self.ended = !page.more;
            if page.more {
                self.held = records.pop();
            }
        }
        Ok(if records.is_empty() { Next::End } else { Next::Records(records) })
    }

    /// What can be given of `records`, the last before the damage.
    async fn stop_at(
        &mut self,
        mut records: Vec<(Stored, Record)>,
        damage: &Damage,
    ) -> Result<Next, Failure> {
        let repairs = repairs(self.env, self.actor, self.deadline).await?;
        if repairs != *self.chain.repairs() {
            self.env.note_repaired(self.actor.clone());
            self.chain = Chain::start(self.actor).with_repairs(repairs);
            return Ok(Next::Anew);
        }
        if matches!(damage, Damage::Chain { .. }) {
            records.pop();
        }
        // What lies before the damage is still true and may be all that was asked for.
        if records.is_empty() {
            return Err(damaged(self.actor, damage));
        }
        Ok(Next::Records(records))
    }
}

fn damaged(actor: &Address, damage: &Damage) -> Failure {
    let detail = format!("{actor}: {damage}; what lies before it can be read by version");
    Failure::new(Code::Quarantined, detail).for_actor(actor)
}
