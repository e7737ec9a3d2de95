//! An actor's past on this side of the wire: the records that a host gives, and the code that folds
//! them here, event by event.
//!
//! The host has checked the chain and obeyed the repairs; what an event means is told by the model,
//! and what it does by the component, both of which the host keeps by digest. Folding is the same
//! as in the host ([`crate::wake`]), one event at a time, so every version has its state.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aether_wit::{Digest, Model};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::BodyReader;

use super::{
    client::{Client, Refused, Unreachable, encoded, explain, query},
    test::{limits, load},
};
use crate::{
    address::Address,
    command::Event,
    config::{
        Limits,
        sources::{self, Values},
    },
    failure,
    json::{Packed, write},
    prepare::missing,
    record::{EventData, Position, Record, Stored, parse},
    turn::shown,
    upcast::{Misread, Readings, read_event},
    vm::{Behaviour, Budget, Component, Fault, FaultKind, Guest, Sandbox, SandboxConfig},
    wake::fold,
};

/// Which code folds.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CodeFlags {
    /// The component to use [default: the deployed one]
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// The model that the component was built for [default: the deployed one]. Without
    /// `--component`, the components that it names, beside its file, are used.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// What a host serves of a context.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployed {
    /// Its number.
    pub number: u64,
    /// The context.
    pub context: String,
    /// The model.
    pub model: Digest,
    /// The component of each aggregate.
    pub components: BTreeMap<String, Digest>,
}

impl Deployed {
    /// What was ever deployed of `context`.
    ///
    /// # Errors
    /// If the host does not say.
    fn all(client: &Client<'_>, context: &str) -> anyhow::Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Told {
            deployments: Vec<Deployed>,
        }
        let told: Told = client.json("/admin/deployments")?;
        Ok(told.deployments.into_iter().filter(|it| it.context == context).collect())
    }

    /// What the host serves of `context`.
    ///
    /// # Errors
    /// If the host does not say, or serves nothing of it.
    pub fn of(client: &Client<'_>, context: &str) -> anyhow::Result<Self> {
        let newest = Self::all(client, context)?.into_iter().max_by_key(|it| it.number);
        newest.ok_or_else(|| {
            let detail =
                format!("the host serves no context `{context}`: see `aether deployments`");
            Refused::new(failure::Code::Unknown, detail).into()
        })
    }
}

/// A model, and where the components that implement it come from.
pub struct Code<'a> {
    client: &'a Client<'a>,
    flags: &'a CodeFlags,
    deployed: Deployed,
    sandbox: Sandbox,
    /// What the model is called, for messages.
    file: String,
    /// The model.
    pub model: Arc<Model>,
    /// Its text.
    pub text: Vec<u8>,
}

/// A component that was found.
#[derive(Clone)]
pub struct Found {
    /// What it is called, for messages.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The component.
    pub component: Arc<Component>,
}

impl CodeFlags {
    /// The model by which the events of `actor` are read.
    ///
    /// # Errors
    /// If it cannot be had, has mistakes, or is not of that context.
    pub fn open<'a>(&'a self, client: &'a Client<'a>, actor: &Address) -> anyhow::Result<Code<'a>> {
        let context = actor.context();
        let deployed = Deployed::of(client, context)?;
        let (file, text) = match &self.model {
            Some(path) => {
                let file = path.display().to_string();
                let text = std::fs::read(path).with_context(|| format!("{file} cannot be read"))?;
                (file, text)
            }
            None => {
                let file = format!("the model of deployment {} of `{context}`", deployed.number);
                let text = client.bytes(&format!("/admin/blobs/{}", deployed.model));
                (file, text.context("the model that is deployed")?)
            }
        };
        let (model, _) = aether_wit::read(&file, &text)?;
        if model.context != context {
            bail!(
                "{file} is a model of the context `{}`; {actor} belongs to `{context}`",
                model.context
            );
        }
        if !model.aggregates.contains_key(actor.aggregate()) {
            let known = model.aggregates.keys().map(String::as_str);
            let missing = missing("aggregate", actor.aggregate(), known);
            return Err(Refused::new(failure::Code::Unknown, missing).into());
        }
        let sandbox = Sandbox::new(sandbox(&model)?)?;
        let model = Arc::new(model);
        Ok(Code { client, flags: self, deployed, sandbox, file, model, text })
    }
}

/// Limits of a sandbox in which `model` is tried. Compiled code is shared with the hosts of this
/// machine.
///
/// # Errors
/// If the defaults of a host do not fit each other, which a test excludes.
pub fn sandbox(model: &Model) -> anyhow::Result<SandboxConfig> {
    let cache = std::env::var("AETHER_CACHE_DIR").ok().filter(|dir| !dir.is_empty());
    let given = cache.map(|dir| ("cache-dir".to_owned(), dir)).into_iter().collect();
    let host = sources::resolve(&given, &Values::new(), &Values::new())?;
    Ok(SandboxConfig { cache_dir: host.sandbox.cache_dir, ..limits(model) })
}

impl Code<'_> {
    /// The code of one aggregate.
    ///
    /// # Errors
    /// If there is none, or it does not fit the model.
    pub async fn behaviour(&self, aggregate: &str) -> anyhow::Result<Arc<Behaviour>> {
        let given = self.given().await?;
        let found = match given.as_slice() {
            [] => self.stored(aggregate).await?,
            [only] => only.clone(),
            several => {
                let fits = |found: &&Found| self.implements(found, aggregate);
                several.iter().find(fits).cloned().with_context(|| {
                    let names: Vec<_> = several.iter().map(|found| found.name.as_str()).collect();
                    format!("none of {} implements the aggregate `{aggregate}`", names.join(", "))
                })?
            }
        };
        let behaviour = found.component.behaviour(&self.model, aggregate);
        behaviour.with_context(|| format!("{} does not fit {}", found.name, self.file))
    }

    /// The code of every aggregate of the model: what the flags name, and what is deployed for the
    /// others.
    ///
    /// # Errors
    /// If an aggregate has none, or two of them implement the same.
    pub async fn all(&self) -> anyhow::Result<BTreeMap<String, Found>> {
        let given = self.given().await?;
        let mut all = BTreeMap::new();
        for aggregate in self.model.aggregates.keys() {
            let found = match given.iter().find(|found| self.implements(found, aggregate)) {
                Some(found) => found.clone(),
                None => self.stored(aggregate).await?,
            };
            let fits = found.component.behaviour(&self.model, aggregate);
            fits.with_context(|| format!("{} does not fit {}", found.name, self.file))?;
            all.insert(aggregate.clone(), found);
        }
        for (aggregate, used) in &all {
            let other = all.values().find(|other| {
                other.component.digest() != used.component.digest()
                    && self.implements(other, aggregate)
            });
            if let Some(other) = other {
                bail!(
                    "both {} and {} implement the aggregate `{aggregate}`: give a component that implements whatever the other one does",
                    used.name,
                    other.name
                );
            }
        }
        Ok(all)
    }

    fn implements(&self, found: &Found, aggregate: &str) -> bool {
        found.component.aggregates(&self.model.context).iter().any(|name| name == aggregate)
    }

    /// The components that the flags name.
    async fn given(&self) -> anyhow::Result<Vec<Found>> {
        let paths: Vec<PathBuf> = match (&self.flags.component, &self.flags.model) {
            (Some(path), _) => vec![path.clone()],
            (None, Some(model)) => {
                let folder = model.parent().unwrap_or(Path::new(""));
                self.model.components.iter().map(|path| folder.join(path)).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut given = Vec::new();
        for path in paths {
            let component = load(&self.sandbox, &path).await?;
            let name = path.display().to_string();
            let bytes = std::fs::read(&path).with_context(|| format!("{name} cannot be read"))?;
            given.push(Found { name, bytes, component });
        }
        Ok(given)
    }

    /// The component that is deployed for an aggregate.
    async fn stored(&self, aggregate: &str) -> anyhow::Result<Found> {
        let Some(digest) = self.deployed.components.get(aggregate) else {
            bail!(
                "deployment {} of `{}` has no component for the aggregate `{aggregate}`: name one with --component",
                self.deployed.number,
                self.deployed.context
            );
        };
        let name = format!("the component {} that is deployed", digest.short());
        let bytes = self.client.bytes(&format!("/admin/blobs/{digest}"));
        let bytes = bytes.with_context(|| name.clone())?;
        let component = self.sandbox.load(bytes.clone().into()).await;
        let component = component.with_context(|| format!("{name} is not taken"))?;
        component.keep().await;
        Ok(Found { name, bytes, component })
    }
}

/// An actor's records as a host gives them.
pub struct Records {
    actor: Address,
    until: Option<u64>,
    lines: Lines<BufReader<BodyReader<'static>>>,
}

/// What comes next of them.
pub enum Read {
    /// A record.
    Record(Box<Record>),
    /// A repair changes what counts: everything comes again from the first record on.
    Anew,
    /// Nothing more.
    End,
}

impl Records {
    /// The records of `actor` that count; with `until`, those up to this version.
    ///
    /// # Errors
    /// If the host does not give them.
    pub fn open(client: &Client<'_>, actor: &Address, until: Option<u64>) -> anyhow::Result<Self> {
        let query = query(&[("until", until.map(|n| n.to_string()))]);
        let response = client.follow(&format!("/admin/records/{}{query}", encoded(actor)))?;
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        Ok(Self { actor: actor.clone(), until, lines })
    }

    /// The next one.
    ///
    /// # Errors
    /// What the host says is wrong, if `until` is not reached, or if the answer breaks off.
    pub fn read(&mut self) -> anyhow::Result<Read> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Line {
            Record { position: Position, stored: Box<RawValue> },
            Anew {},
            End { version: u64 },
            Problem(Box<RawValue>),
        }
        let broken = || Unreachable("the host's answer broke off before its end: ask again".into());
        let line = self.lines.next().ok_or_else(broken)?.map_err(|_| broken())?;
        match serde_json::from_str(&line)? {
            Line::Record { position, stored } => {
                let bytes = Box::<str>::from(stored).into_string().into();
                let record = parse(&Stored { position, bytes });
                let quarantined = |damage| Refused::new(failure::Code::Quarantined, damage);
                Ok(Read::Record(Box::new(record.map_err(quarantined)?)))
            }
            Line::Anew {} => Ok(Read::Anew),
            Line::Problem(problem) => {
                let (said, status) = explain(200, problem.get());
                Err(Refused { said, status }.into())
            }
            Line::End { version } => match self.until.filter(|until| version < *until) {
                None => Ok(Read::End),
                Some(until) => {
                    let detail = format!(
                        "{} has {version} events: version {until} is not reached",
                        self.actor
                    );
                    Err(Refused::new(failure::Code::Unknown, detail).into())
                }
            },
        }
    }
}

/// A version that a repair skips is asked for.
#[must_use]
pub fn not_counted(actor: &Address, version: u64) -> Refused {
    let detail = format!("version {version} of {actor} does not count: a repair skips it");
    Refused::new(failure::Code::Unknown, detail)
}

/// What is seen while a past is folded.
pub enum Seen<'a> {
    /// The state without events. It comes again if a repair changes what counts.
    Begun(&'a RawValue),
    /// An event, and the state before and after it.
    Event(&'a Event, &'a RawValue, &'a RawValue),
}

/// Why folding did not go on.
#[derive(Debug)]
pub struct Halt {
    /// The event; none if the state without events cannot be had.
    pub event: Option<Event>,
    /// `unreadable`, `trap`, `deadline`, `memory`, `contract` or `no-instance`.
    pub kind: &'static str,
    /// For people.
    pub detail: String,
}

/// How `model` reads what was stored of `actor` under the models that were ever deployed. One that
/// this build cannot read is left out; its events are read as they stand.
fn readings(client: &Client<'_>, model: &Model, actor: &Address) -> anyhow::Result<Readings> {
    let mut writers = Vec::new();
    for (digest, text) in other_models(client, model)? {
        if let Ok((writer, _)) = aether_wit::read(&digest.to_string(), &text) {
            writers.push(Arc::new(writer));
        }
    }
    let aggregate = model.aggregates.get(actor.aggregate());
    Ok(aggregate.map_or_else(Readings::default, |it| Readings::new(model, it, &writers)))
}

/// The texts of the other models of its context that were ever deployed: events may be stored under
/// any of them.
///
/// # Errors
/// If the host does not give them.
pub fn other_models(client: &Client<'_>, model: &Model) -> anyhow::Result<Vec<(Digest, Vec<u8>)>> {
    let deployed = Deployed::all(client, &model.context)?.into_iter().map(|it| it.model);
    let others: BTreeSet<Digest> = deployed.filter(|digest| *digest != model.digest).collect();
    let text =
        |digest: Digest| anyhow::Ok((digest, client.bytes(&format!("/admin/blobs/{digest}"))?));
    others.into_iter().map(text).collect()
}

/// Folds the past of `actor` up to version `until`, event by event. Gives the version reached, or
/// why it goes no further.
///
/// # Errors
/// As [`Records::read`].
pub async fn walk(
    client: &Client<'_>,
    behaviour: &Arc<Behaviour>,
    actor: &Address,
    until: Option<u64>,
    mut see: impl FnMut(Seen<'_>),
) -> anyhow::Result<Result<u64, Halt>> {
    let readings = readings(client, behaviour.model(), actor)?;
    let mut records = Records::open(client, actor, until)?;
    let mut folding = match Folding::begin(behaviour, actor).await {
        Ok(folding) => folding,
        Err(halt) => return Ok(Err(halt)),
    };
    see(Seen::Begun(&folding.json));
    loop {
        let record = match records.read()? {
            Read::Record(record) => record,
            Read::End => match until.filter(|until| folding.version < *until) {
                None => return Ok(Ok(folding.version)),
                Some(until) => return Err(not_counted(actor, until).into()),
            },
            Read::Anew => {
                folding = match Folding::begin(behaviour, actor).await {
                    Ok(folding) => folding,
                    Err(halt) => return Ok(Err(halt)),
                };
                see(Seen::Begun(&folding.json));
                continue;
            }
        };
        for (version, command, event) in record.events() {
            if until.is_some_and(|until| version > until) {
                break;
            }
            let told = shown((version, command, event));
            let before = folding.json.clone();
            let added = folding.add(version, &readings, &record.model, event).await;
            if let Err((kind, detail)) = added {
                return Ok(Err(Halt { event: Some(told), kind, detail }));
            }
            see(Seen::Event(&told, &before, &folding.json));
        }
        // A repair ends with the last of the versions that it leaves out.
        if record.turns.is_empty() && until.is_none_or(|until| record.last() <= until) {
            folding.version = record.last();
        }
    }
}

/// An actor whose events are folded here.
struct Folding {
    behaviour: Arc<Behaviour>,
    guest: Guest,
    state: Packed,
    /// The state as JSON.
    json: Box<RawValue>,
    version: u64,
    budget: Duration,
}

impl Folding {
    async fn begin(behaviour: &Arc<Behaviour>, actor: &Address) -> Result<Self, Halt> {
        let budget = Limits::default().replay_budget;
        let mut guest = behaviour.guest(actor);
        let state = guest.initial(&mut Budget::new(budget)).await.map_err(|fault| {
            let (kind, detail) = faulted(&fault);
            Halt { event: None, kind, detail }
        })?;
        let json = write(&behaviour.plans().state, &state);
        Ok(Self { behaviour: Arc::clone(behaviour), guest, state, json, version: 0, budget })
    }

    async fn add(
        &mut self,
        version: u64,
        readings: &Readings,
        model: &Digest,
        event: &EventData,
    ) -> Result<(), (&'static str, String)> {
        let plans = self.behaviour.plans();
        let read = read_event(readings, &mut self.guest, model, event, self.budget).await;
        let event = read.map_err(|misread| match misread {
            Misread::Unreadable(why) => ("unreadable", why),
            Misread::Fault(fault) => faulted(&fault),
        })?;
        let state = self.state.clone();
        let next = fold(&mut self.guest, state, std::slice::from_ref(&event), self.budget).await;
        let next = next.map_err(|fault| faulted(&fault))?;
        if next != self.state {
            self.json = write(&plans.state, &next);
            self.state = next;
        }
        self.version = version;
        Ok(())
    }
}

fn faulted(fault: &Fault) -> (&'static str, String) {
    let kind = match fault.kind {
        FaultKind::Trap => "trap",
        FaultKind::Deadline => "deadline",
        FaultKind::Memory => "memory",
        FaultKind::Contract => "contract",
        FaultKind::NoInstance => "no-instance",
    };
    (kind, fault.to_string())
}
