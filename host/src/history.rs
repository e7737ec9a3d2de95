//! An actor's past: its events, and its state as it was at any version.
//!
//! The past is always read from the first record on, so that what is shown is a verified prefix
//! of the log: a damaged record is an error where it stands, and what lies before it can still be
//! seen. A record that its successor contradicts is not shown either: one of the two is wrong.
//!
//! Who reads a long past page by page need not pay for the beginning each time: where a page ended
//! is kept as a [`bookmark`], and the next one goes on from there if the log still holds the record
//! that the bookmark names.

pub mod bookmark;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

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

use bookmark::Bookmark;

/// Longest wait for one page of records that somebody follows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pages of records that wait for a slow reader.
const PAGES: usize = 2;

/// How long a reader may be busy with a page before it is taken for gone.
const READING: Duration = Duration::from_secs(600);

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
    let mut before = env.bookmarks.before(actor, from);
    let mut past = Past::open_at(env, actor, before.as_ref(), deadline).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.len() <= limit {
        let records = match past.next().await {
            Ok(Next::Records(records)) => records,
            Ok(Next::Anew) => {
                events.clear();
                before = None;
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
        let whole = records.iter().take_while(|(_, record)| {
            let wanted = record.events().map(shown).filter(|event| event.version >= from);
            events.extend(wanted.take(limit + 1 - events.len()));
            events.len() <= limit
        });
        if let Some((stored, record)) = whole.last() {
            before = Some(Bookmark::behind(stored, record));
        }
    }
    let next = (events.len() > limit).then(|| events.pop().map(|event| event.version)).flatten();
    if let (Some(next), Some(before)) = (next, before) {
        env.bookmarks.put(actor, next, before);
    }
    Ok(EventsPage { actor: actor.clone(), events, next })
}

/// What is told of an actor's records.
#[derive(Debug)]
pub enum Told {
    /// The next records, oldest first.
    Records(Vec<Stored>),
    /// A repair was met that changes what was told: everything comes again from the first on.
    Anew,
    /// Nothing more; the version of the last event.
    End(u64),
}

/// An actor's records as they come; an error is the last.
pub type Records = mpsc::Receiver<Result<Told, Failure>>;

/// The records of `actor` that count, from the first on, as they are stored; with `until`, at
/// least those up to this version. They are a verified prefix of the log, read once. It stops when
/// nobody listens any more.
#[must_use]
pub fn records(env: Arc<Env>, actor: Address, until: Option<u64>) -> Records {
    let (tell, told) = mpsc::channel(PAGES);
    tokio::spawn(async move {
        // An error means that nobody listens.
        let _ = tell_records(&env, &actor, until, &tell).await;
    });
    told
}

async fn tell_records(
    env: &Env,
    actor: &Address,
    until: Option<u64>,
    tell: &mpsc::Sender<Result<Told, Failure>>,
) -> Result<(), mpsc::error::SendTimeoutError<Result<Told, Failure>>> {
    let mut past = match Past::open(env, actor, clock::now() + PATIENCE).await {
        Ok(past) => past,
        Err(failure) => return tell.send_timeout(Err(failure), READING).await,
    };
    let mut version = 0;
    loop {
        past.deadline = clock::now() + PATIENCE;
        let next = if until.is_some_and(|until| version >= until) {
            Ok(Next::End)
        } else {
            past.next().await
        };
        let told = match next {
            Ok(Next::Records(records)) => {
                version = records.last().map_or(version, |(_, record)| record.last());
                Ok(Told::Records(records.into_iter().map(|(stored, _)| stored).collect()))
            }
            Ok(Next::Anew) => {
                version = 0;
                Ok(Told::Anew)
            }
            Ok(Next::End) => Ok(Told::End(version)),
            Err(failure) => Err(failure),
        };
        let last = matches!(told, Ok(Told::End(_)) | Err(_));
        tell.send_timeout(told, READING).await?;
        if last {
            return Ok(());
        }
    }
}

/// Reads an actor's records from the first on, checking the chain.
struct Past<'a> {
    env: &'a Env,
    actor: &'a Address,
    deadline: Instant,
    chain: Chain,
    /// The last record of a page, until the next one has shown that it follows it.
    held: Option<(Stored, Record)>,
    /// Whether the log is still to show that it holds the record that the chain begins with.
    unproven: bool,
    ended: bool,
    /// Where it ends for good. Another replica may show what is behind it, and what was held back
    /// because of it would be left out.
    damage: Option<Damage>,
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
        Ok(Self {
            env,
            actor,
            deadline,
            chain,
            held: None,
            unproven: false,
            ended: false,
            damage: None,
        })
    }

    /// The same, from behind `bookmark` on. Only the log says what a repair leaves of a past.
    async fn open_at(
        env: &'a Env,
        actor: &'a Address,
        bookmark: Option<&Bookmark>,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        match bookmark.filter(|_| !env.is_repaired(actor)) {
            Some(at) => {
                let chain = at.chain(actor);
                Ok(Self {
                    env,
                    actor,
                    deadline,
                    chain,
                    held: None,
                    unproven: true,
                    ended: false,
                    damage: None,
                })
            }
            None => Self::open(env, actor, deadline).await,
        }
    }

    /// The next records.
    async fn next(&mut self) -> Result<Next, Failure> {
        if let Some(damage) = &self.damage {
            return Err(damaged(self.actor, damage));
        }
        let mut records: Vec<(Stored, Record)> = Vec::new();
        let mut freshness = Freshness::Leader;
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
            let from = Position(self.chain.read.0 + u64::from(!self.unproven));
            let read = self.env.store.read(self.actor, from, freshness);
            let mut page = self.env.ask("read", self.deadline, read).await?;
            if self.unproven {
                self.unproven = false;
                if !page.records.first().is_some_and(|first| self.chain.stands_on(first)) {
                    self.chain = Chain::start(self.actor);
                    return Ok(Next::Anew);
                }
                page.records.remove(0);
            }
            let mut chain = self.chain.clone();
            let (read, damage) = accept(&mut chain, page.records);
            match damage {
                // One replica may be damaged: nothing is believed before the leader has shown it.
                Some(_) if freshness == Freshness::Leader => {
                    freshness = Freshness::Proof;
                    self.held = records.pop();
                    continue;
                }
                Some(damage) => {
                    records.extend(read);
                    return self.stop_at(records, damage).await;
                }
                None => {}
            }
            self.chain = chain;
            records.extend(read);
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
        damage: Damage,
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
        let failure = damaged(self.actor, &damage);
        self.damage = Some(damage);
        if records.is_empty() { Err(failure) } else { Ok(Next::Records(records)) }
    }
}

/// The records that follow `chain`, which moves along, and what is wrong with the one behind them.
fn accept(chain: &mut Chain, page: Vec<Stored>) -> (Vec<(Stored, Record)>, Option<Damage>) {
    let mut records = Vec::new();
    for stored in page {
        match chain.accept(&stored) {
            Ok(Some(record)) => records.push((stored, record)),
            Ok(None) => {}
            Err(damage) => return (records, Some(damage)),
        }
    }
    (records, None)
}

fn damaged(actor: &Address, damage: &Damage) -> Failure {
    let detail = format!("{actor}: {damage}; what lies before it can be read by version");
    Failure::new(Code::Quarantined, detail).for_actor(actor)
}
