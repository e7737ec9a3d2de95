//! A small service for the tests of the faces: one context `bank`, answers by the command's name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use aether_wit::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::{Feed, Service, problem::CODES};
use crate::{
    address::Address,
    audit::{
        Finding, Item, Items, Scope,
        release::{Order, Released},
    },
    command::{
        ActorEntry, ActorsPage, Command, Event, EventsPage, FeedEvent, Outcome, Query, Reply,
        StateView,
    },
    deploy::{
        self,
        order::{What, Word, Words},
    },
    failure::{Code, Failure},
    history::{Records, Told},
    host::Rollouts,
    metrics::Metrics,
    record::{Position, Stored},
    store::{Deployment, Quarantine},
};

/// A service whose actors keep what they are told: each command is one event of the same name.
///
/// `refuse` and `refuse-bare` are rejected, `fail-CODE` fails, `hang` waits for its deadline.
pub struct Fake {
    logs: Mutex<BTreeMap<Address, Vec<Event>>>,
    seen: Mutex<Vec<Command>>,
    live: broadcast::Sender<FeedEvent>,
    metrics: Metrics,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let (live, _) = broadcast::channel(64);
        Arc::new(Self {
            logs: Mutex::default(),
            seen: Mutex::default(),
            live,
            metrics: Metrics::default(),
        })
    }

    /// The commands that reached the service.
    pub fn seen(&self) -> Vec<Command> {
        self.seen.lock().unwrap().clone()
    }

    fn all(&self) -> Vec<FeedEvent> {
        let logs = self.logs.lock().unwrap();
        let all = logs.iter().flat_map(|(actor, log)| log.iter().map(|e| feed_event(actor, e)));
        all.collect()
    }
}

fn feed_event(actor: &Address, event: &Event) -> FeedEvent {
    let cursor = format!("{}.{}", actor.id_token(), event.version);
    FeedEvent { cursor, actor: actor.clone(), event: event.clone() }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn known(context: &str) -> Result<(), Failure> {
    if context == "bank" {
        return Ok(());
    }
    Err(Failure::new(Code::Unknown, format!("there is no context `{context}`")))
}

#[async_trait]
impl Service for Fake {
    async fn send(&self, command: Command) -> Result<Reply, Failure> {
        self.seen.lock().unwrap().push(command.clone());
        known(command.to.context())?;
        if command.name == "hang" {
            tokio::time::sleep_until(command.deadline.into()).await;
            return Err(Failure::new(Code::Unresolved, "not settled at the deadline"));
        }
        if let Some(word) = command.name.strip_prefix("fail-") {
            let code = CODES.into_iter().find(|code| code.as_str() == word).unwrap();
            let mut failure = Failure::new(code, "as asked");
            failure.actor = Some(command.to);
            return Err(failure);
        }
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(command.to.clone()).or_default();
        let id = command.id.unwrap_or_else(|| format!("made-{}", log.len()));
        let reply = |version, outcome| Reply {
            actor: command.to.clone(),
            command: id.clone(),
            version,
            outcome,
        };
        let version = log.len() as u64;
        if let Some(known) = log.iter().find(|event| event.command == id) {
            return Ok(reply(known.version, Outcome::Accepted(vec![known.clone()])));
        }
        if command.expected_version.is_some_and(|expected| expected != version) {
            let mut failure = Failure::new(Code::Conflict, format!("the actor is at {version}"));
            failure.version = Some(version);
            return Err(failure);
        }
        let rejected = match command.name.as_str() {
            "refuse" => Some(("insufficient-funds", r#"{"balance":50}"#)),
            "refuse-bare" => Some(("not-open", "{}")),
            _ => None,
        };
        if let Some((name, fields)) = rejected {
            let outcome = Outcome::Rejected { name: name.to_owned(), fields: raw(fields) };
            return Ok(reply(version, outcome));
        }
        let event = Event {
            version: version + 1,
            name: command.name,
            data: command.fields,
            at: 1_000,
            command: id.clone(),
        };
        log.push(event.clone());
        self.live.send(feed_event(&command.to, &event)).ok();
        Ok(reply(version + 1, Outcome::Accepted(vec![event])))
    }

    async fn state(&self, query: Query) -> Result<StateView, Failure> {
        known(query.actor.context())?;
        let last = self.logs.lock().unwrap().get(&query.actor).map_or(0, Vec::len) as u64;
        let version = query.version.unwrap_or(last);
        if version > last {
            return Err(Failure::new(Code::Unknown, format!("it is at version {last}")));
        }
        if query.min_version.is_some_and(|least| least > last) {
            tokio::time::sleep_until(query.deadline.into()).await;
            return Err(Failure::new(Code::Unresolved, "not reached at the deadline"));
        }
        let state = raw(&format!("{{\"consistency\":\"{:?}\"}}", query.consistency));
        Ok(StateView { actor: query.actor, version, state, component: Digest::of("component") })
    }

    async fn events(
        &self,
        actor: &Address,
        from: u64,
        limit: usize,
        _deadline: Instant,
    ) -> Result<EventsPage, Failure> {
        known(actor.context())?;
        let log = self.logs.lock().unwrap().get(actor).cloned().unwrap_or_default();
        let mut events: Vec<_> = log.into_iter().filter(|event| event.version >= from).collect();
        let next = (events.len() > limit).then(|| from + limit as u64);
        events.truncate(limit);
        Ok(EventsPage { actor: actor.clone(), events, next })
    }

    async fn wake(&self, actor: &Address, _deadline: Instant) -> Result<u64, Failure> {
        known(actor.context())?;
        Ok(self.logs.lock().unwrap().get(actor).map_or(0, Vec::len) as u64)
    }

    async fn sleep(&self, actor: &Address, _deadline: Instant) -> Result<bool, Failure> {
        known(actor.context())?;
        Ok(true)
    }

    async fn actors(
        &self,
        context: &str,
        aggregate: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ActorsPage, Failure> {
        known(context)?;
        let logs = self.logs.lock().unwrap();
        let mut actors: Vec<_> = logs
            .keys()
            .filter(|a| a.aggregate() == aggregate && after.is_none_or(|after| a.id() > after))
            .map(|a| ActorEntry { actor: a.clone(), awake_at: Some(1), quarantined: None })
            .collect();
        let more = actors.len() > limit;
        actors.truncate(limit);
        let next = actors.last().filter(|_| more).map(|entry| entry.actor.id().to_owned());
        Ok(ActorsPage { actors, next })
    }

    fn awake(&self, limit: usize) -> Vec<ActorEntry> {
        let logs = self.logs.lock().unwrap();
        let entry =
            |a: &Address| ActorEntry { actor: a.clone(), awake_at: Some(1), quarantined: None };
        logs.keys().take(limit).map(entry).collect()
    }

    async fn feed(&self, context: &str, cursor: Option<&str>) -> Result<Feed, Failure> {
        known(context)?;
        let live = BroadcastStream::new(self.live.subscribe());
        let past = self.all();
        let skip = match cursor {
            None => 0,
            Some(cursor) => {
                1 + past.iter().position(|event| event.cursor == cursor).ok_or_else(|| {
                    Failure::new(Code::Invalid, format!("`{cursor}` is not a cursor"))
                })?
            }
        };
        let past = stream::iter(past.into_iter().skip(skip).map(Ok));
        let live = live.map(|event| {
            let event = event.unwrap();
            match event.event.name.as_str() {
                "break-feed" => Err(Failure::new(Code::Unavailable, "the store is away")),
                _ => Ok(event),
            }
        });
        Ok(past.chain(live).boxed())
    }

    async fn rollouts(&self) -> Result<Rollouts, Failure> {
        let deployments = vec![Deployment {
            number: 1,
            context: "bank".to_owned(),
            model: Digest::of("model"),
            components: BTreeMap::from([("account".to_owned(), Digest::of("component"))]),
            at: 1_000,
            by: "run".to_owned(),
            because: String::new(),
            origin: String::new(),
            again: None,
            forced: std::collections::BTreeSet::new(),
            replayed: Vec::new(),
            rest: None,
        }];
        Ok(Rollouts {
            deployments,
            hosts: Vec::new(),
            faults: BTreeMap::new(),
            uncovered: BTreeMap::new(),
        })
    }

    fn deploy(&self, order: deploy::order::Order) -> Words {
        let (tell, words) = tokio::sync::mpsc::channel(2);
        let said = match order.what {
            What::Bundle(bundle) => Ok(Word::Progress(format!(
                "{} {} {} {}",
                bundle.file,
                bundle.components.len(),
                order.by,
                order.because
            ))),
            What::Again { .. } => Err(Failure::new(Code::Unknown, "nothing was deployed")),
        };
        tell.try_send(said).unwrap();
        words
    }

    async fn ready(&self) -> Result<(), String> {
        let drained = self.logs.lock().unwrap().keys().any(|actor| actor.id() == "not-ready");
        if drained { Err("the store is away".to_owned()) } else { Ok(()) }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn quarantines(
        &self,
        context: Option<&str>,
    ) -> Result<Vec<(Address, Quarantine)>, Failure> {
        known(context.unwrap_or("bank"))?;
        let mark = Quarantine {
            position: Position(7),
            kind: "gap".to_owned(),
            reason: "a gap".to_owned(),
            digest: None,
            at: 1_000,
        };
        Ok(vec![(Address::new("bank", "account", "a").unwrap(), mark)])
    }

    async fn release(&self, order: Order) -> Result<Released, Failure> {
        known(order.actor.context())?;
        let repair = order.skip.last().copied();
        let was_quarantined = order.by.is_none() && order.because == "why";
        Ok(Released { actor: order.actor, version: 3, was_quarantined, repair })
    }

    fn audit(&self, scope: Scope) -> Items {
        let (tell, told) = tokio::sync::mpsc::channel(4);
        let finding = Finding {
            actor: scope.actor.map_or_else(String::new, |actor| actor.to_string()),
            position: Some(Position(7)),
            kind: "gap".to_owned(),
            reason: scope.context.unwrap_or_default(),
        };
        tell.try_send(Ok(Item::Finding(finding))).unwrap();
        tell.try_send(Err(Failure::new(Code::Unavailable, "the store is away"))).unwrap();
        told
    }

    fn records(&self, actor: &Address, until: Option<u64>) -> Result<Records, Failure> {
        known(actor.context())?;
        let (tell, told) = tokio::sync::mpsc::channel(4);
        let record = |n| Stored { position: Position(n), bytes: format!("{{\"n\":\n{n}}}").into() };
        tell.try_send(Ok(Told::Records(vec![record(4), record(7)]))).unwrap();
        tell.try_send(Ok(Told::Anew)).unwrap();
        tell.try_send(match until {
            Some(until) => Ok(Told::End(until)),
            None => Err(Failure::new(Code::Quarantined, "a gap")),
        })
        .unwrap();
        Ok(told)
    }

    async fn blob(&self, digest: &Digest, _deadline: Instant) -> Result<Bytes, Failure> {
        if *digest == Digest::of("model") {
            return Ok("model".into());
        }
        Err(Failure::new(Code::Unknown, "no deployment names it"))
    }

    fn openapi(&self) -> String {
        "{\"openapi\":\"3.1.0\"}\n".to_owned()
    }
}
