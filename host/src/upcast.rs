//! How stored events are read: by the model that each record names, as the model of today has them.
//!
//! Stored bytes are never rewritten. What must become of an event follows from two models alone
//! (`aether_wit::upcast`) and is worked out once for each pair; only where the model says so is
//! the component asked, in the sandbox, like for everything else.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use aether_wit::{
    Digest, Model,
    model::Aggregate,
    upcast::{Reading, reading},
};

use crate::{
    json::{PackedCase, Reader},
    record::{Damage, EventData, Position, Record},
    served::Realm,
    vm::{Budget, Fault, Guest},
};

/// How the events of an aggregate are read that other models have stored.
#[derive(Debug, Default)]
pub struct Readings(HashMap<Digest, HashMap<String, Reading>>);

impl Readings {
    /// How `target` reads what was stored of `aggregate` under each of `writers`.
    #[must_use]
    pub fn new(target: &Model, aggregate: &Aggregate, writers: &[Arc<Model>]) -> Self {
        let of_one = |writer: &Arc<Model>| {
            let events = writer.aggregates.get(&aggregate.name)?.events.keys();
            let read = |event: &String| reading(target, writer, &aggregate.name, event);
            let events = events.map(|event| (event.clone(), read(event)));
            Some((writer.digest, events.collect()))
        };
        let others = writers.iter().filter(|writer| writer.digest != target.digest);
        Self(others.filter_map(of_one).collect())
    }

    fn of(&self, model: &Digest, event: &str) -> Option<&Reading> {
        self.0.get(model)?.get(event)
    }
}

/// Why the events of a record are not there.
#[derive(Debug)]
pub enum Undecoded {
    /// They do not fit the model of today.
    Damage(Damage),
    /// The component failed on the way.
    Fault(Fault),
}

/// Adds the events of a record to `events`, as the code of `realm` takes them; `guest` is the
/// actor's under that code.
///
/// # Errors
/// [`Damage::Unreadable`]: the model has no such event, its data does not fit, or the component
/// says that it is nothing; or what the component failed with.
pub async fn decode_events(
    realm: &Realm,
    guest: &mut Guest,
    position: Position,
    record: &Record,
    events: &mut Vec<PackedCase>,
) -> Result<(), Undecoded> {
    let (readings, deadline) = (&realm.readings, realm.runtime.deadline);
    for (version, _, event) in record.events() {
        match read_event(readings, guest, &record.model, event, deadline).await {
            Ok(event) => events.push(event),
            Err(Misread::Fault(fault)) => return Err(Undecoded::Fault(fault)),
            Err(Misread::Unreadable(why)) => {
                let reason = format!("event `{}` of version {version}: {why}", event.name);
                return Err(Undecoded::Damage(Damage::Unreadable { position, reason }));
            }
        }
    }
    Ok(())
}

/// Why an event is not there.
#[derive(Debug)]
pub enum Misread {
    /// It does not fit the model of today.
    Unreadable(String),
    /// The component failed on the way.
    Fault(Fault),
}

/// An event that was stored under `model`, as the code of `guest` takes it; the component may take
/// `deadline` for it.
///
/// # Errors
/// The model has no such event, its data does not fit, or the component has nothing or fails.
pub async fn read_event(
    readings: &Readings,
    guest: &mut Guest,
    model: &Digest,
    event: &EventData,
    deadline: Duration,
) -> Result<PackedCase, Misread> {
    let stored = event.data.get();
    let (name, data) = match readings.of(model, &event.name) {
        Some(Reading::Component) => {
            let mut budget = Budget::new(deadline);
            let upcast = guest.upcast(&model.to_string(), &event.name, stored, &mut budget).await;
            return upcast.map_err(Misread::Fault)?.map_err(|why| {
                Misread::Unreadable(format!("the component has no upcast of it: {why}"))
            });
        }
        Some(Reading::Mapped(mapping)) => {
            let data = mapping.apply(stored);
            let data = data.map_err(|misfit| Misread::Unreadable(misfit.to_string()))?;
            (mapping.event(), Cow::Owned(data))
        }
        Some(Reading::AsStored(name)) => (name.as_str(), Cow::Borrowed(stored)),
        // What the models do not promise, a given value may still keep.
        Some(Reading::Unreadable(_)) | None => (event.name.as_str(), Cow::Borrowed(stored)),
    };
    let cases = &guest.plans().events;
    let known = cases.index_of(name).and_then(|case| Some((case, cases.get(case)?.1)));
    let (case, plan) =
        known.ok_or_else(|| Misread::Unreadable("the model has no such event".to_owned()))?;
    let fields = Reader::Log.read(plan, data.as_bytes());
    let fields = fields.map_err(|error| Misread::Unreadable(error.to_string()))?;
    Ok(PackedCase { case, fields })
}
