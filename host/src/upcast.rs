//! How stored events are read: by the model that each record names, as the model of today has them.
//!
//! Stored bytes are never rewritten. What must become of an event follows from two models alone
//! (`aether_wit::upcast`) and is worked out once for each pair; only where the model says so is
//! the component asked, in the sandbox, like for everything else.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use aether_wit::{
    Digest, Model,
    model::Aggregate,
    upcast::{Reading, reading},
};

use crate::{
    json::{AggregatePlans, PackedCase, Reader},
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
    for (version, _, event) in record.events() {
        let unreadable = |why: String| {
            Undecoded::Damage(Damage::Unreadable {
                position,
                reason: format!("event `{}` of version {version}: {why}", event.name),
            })
        };
        let (name, data) = match realm.readings.of(&record.model, &event.name) {
            Some(Reading::Component) => {
                let upcast = by_component(realm, guest, record, event).await;
                events.push(upcast.map_err(Undecoded::Fault)?.map_err(unreadable)?);
                continue;
            }
            Some(Reading::Mapped(mapping)) => {
                let data = mapping.apply(event.data.get());
                let data = data.map_err(|misfit| unreadable(misfit.to_string()))?;
                (mapping.event(), Cow::Owned(data))
            }
            Some(Reading::AsStored(name)) => (name.as_str(), Cow::Borrowed(event.data.get())),
            // What the models do not promise, a given value may still keep.
            Some(Reading::Unreadable(_)) | None => {
                (event.name.as_str(), Cow::Borrowed(event.data.get()))
            }
        };
        events.push(decode_event(realm.plans(), name, &data).map_err(unreadable)?);
    }
    Ok(())
}

/// An event as it stands, as the code of an aggregate takes it.
///
/// # Errors
/// The model has no such event, or its data does not fit.
pub fn decode_event(plans: &AggregatePlans, name: &str, data: &str) -> Result<PackedCase, String> {
    let cases = &plans.events;
    let known = cases.index_of(name).and_then(|case| Some((case, cases.get(case)?.1)));
    let (case, plan) = known.ok_or("the model has no such event")?;
    let fields = Reader::Log.read(plan, data.as_bytes()).map_err(|error| error.to_string())?;
    Ok(PackedCase { case, fields })
}

/// What the component makes of an event; or why that is nothing.
async fn by_component(
    realm: &Realm,
    guest: &mut Guest,
    record: &Record,
    event: &EventData,
) -> Result<Result<PackedCase, String>, Fault> {
    let (model, data) = (record.model.to_string(), event.data.get());
    let mut budget = Budget::new(realm.runtime.deadline);
    let upcast = guest.upcast(&model, &event.name, data, &mut budget).await?;
    Ok(upcast.map_err(|why| format!("the component has no upcast of it: {why}")))
}
