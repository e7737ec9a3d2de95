//! An actor's past: its events, and its state as it was at any version.
//!
//! The past is always read from the first record on, so that what is shown is a verified prefix
//! of the log: a damaged record is an error where it stands, and what lies before it can still be
//! seen.

use std::{sync::Arc, time::Instant};

use crate::{
    address::Address,
    clock,
    command::{Event, EventsPage},
    env::Env,
    failure::{Code, Failure},
    json::PackedCase,
    mailbox::View,
    record::{Chain, Damage, Position, Record, Stored},
    served::Realm,
    store::Freshness,
    turn::shown,
    vm::Budget,
    wake::{decode_events, faulted, fold, newer},
};

/// The state of `actor` after its first `version` events.
///
/// # Errors
/// `unknown` if it has fewer events; `quarantined` if a record up to there is damaged;
/// `unavailable`, `component-fault`.
pub async fn state_at(
    env: &Env,
    realm: &Arc<Realm>,
    actor: &Address,
    version: u64,
    deadline: Instant,
) -> Result<View, Failure> {
    let mut guest = realm.behaviour.guest(actor);
    let fault = |fault| faulted(env, realm, actor, &fault);
    let mut budget = Budget::new(realm.runtime.deadline);
    let mut state = guest.initial(&mut budget).await.map_err(fault)?;
    let mut past = Past::new(env, actor, deadline);
    let mut at = 0;
    while at < version {
        let Some(records) = past.next().await? else {
            let detail = format!("{actor} has {at} events: version {version} is not reached");
            return Err(Failure::new(Code::Unknown, detail).for_actor(actor));
        };
        let mut events: Vec<PackedCase> = Vec::new();
        for (stored, record) in &records {
            if let Some(failure) = newer(realm, actor, record) {
                return Err(failure);
            }
            decode_events(realm, stored.position, record, &mut events)
                .map_err(|damage| damaged(actor, &damage))?;
        }
        events.truncate(usize::try_from(version - at).unwrap_or(usize::MAX));
        at += events.len() as u64;
        state = fold(&mut guest, state, &events, env.limits.replay_budget).await.map_err(fault)?;
    }
    Ok(View { version, state })
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
    let mut past = Past::new(env, actor, deadline);
    let mut events: Vec<Event> = Vec::new();
    while events.len() <= limit
        && let Some(records) = past.next().await?
    {
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
    from: Option<Position>,
}

impl<'a> Past<'a> {
    fn new(env: &'a Env, actor: &'a Address, deadline: Instant) -> Self {
        Self { env, actor, deadline, chain: Chain::start(actor), from: Some(Position(1)) }
    }

    /// The next page of records; none at the end of the log.
    async fn next(&mut self) -> Result<Option<Vec<(Stored, Record)>>, Failure> {
        let Some(from) = self.from else { return Ok(None) };
        if clock::now() >= self.deadline {
            let detail =
                format!("the past of {} could not be read before the deadline", self.actor);
            return Err(Failure::new(Code::Unavailable, detail).for_actor(self.actor));
        }
        let read = self.env.store.read(self.actor, from, Freshness::Leader);
        let page = self.env.ask("read", self.deadline, read).await?;
        let mut records = Vec::with_capacity(page.records.len());
        for stored in page.records {
            match self.chain.accept(&stored) {
                Ok(record) => records.push((stored, record)),
                // What lies before the damage is still true and may be all that was asked for.
                Err(_) if !records.is_empty() => {
                    self.from = Some(stored.position);
                    return Ok(Some(records));
                }
                Err(damage) => return Err(damaged(self.actor, &damage)),
            }
        }
        self.from = page.more.then(|| Position(self.chain.position.0 + 1));
        Ok((!records.is_empty()).then_some(records))
    }
}

fn damaged(actor: &Address, damage: &Damage) -> Failure {
    let detail = format!("{actor}: {damage}; what lies before it can be read by version");
    Failure::new(Code::Quarantined, detail).for_actor(actor)
}
