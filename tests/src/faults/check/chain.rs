//! Whether an actor's records are a chain.

use aether::{
    address::Address,
    record::{Chain, Record, Stored},
};

use super::{Kind, Violation};
use crate::faults::history::LoggedEvent;

/// The events in an actor's records, oldest first, if each record continues the one before.
///
/// # Errors
/// The first damage that [`Chain`] finds.
pub fn logged(actor: &Address, records: &[Stored]) -> Result<Vec<LoggedEvent>, Violation> {
    let mut chain = Chain::start(actor);
    let mut events = Vec::new();
    for stored in records {
        let version = Some(chain.version + 1);
        let damaged = |text: &str| {
            let name = actor.to_string();
            Violation::new(Kind::Chain, &name, version, [], text)
        };
        let record = chain.accept(stored).map_err(|damage| damaged(&damage.to_string()))?;
        for (version, command, event) in record.iter().flat_map(Record::events) {
            let data = serde_json::from_str(event.data.get());
            events.push(LoggedEvent {
                version,
                name: event.name.clone(),
                data: data.map_err(|error| damaged(&error.to_string()))?,
                at: command.at,
                command: command.id.clone(),
            });
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use aether::record::{CommandMeta, EventData, FORMAT, Kind as Form, Position, Turn};
    use aether_wit::Digest;
    use serde_json::{json, value::RawValue};

    use super::*;

    const ACTOR: &str = "faults/journal/j";

    /// A record of one event behind those of `before`.
    fn record(before: &[Stored]) -> Stored {
        let first = before.len() as u64 + 1;
        let command = CommandMeta {
            id: format!("c{first}"),
            name: "append".to_owned(),
            digest: Digest::of("{}"),
            at: 7,
            by: None,
            correlation: "c".to_owned(),
            causation: None,
            seed: "0".to_owned(),
        };
        let data = RawValue::from_string(r#"{"client":1}"#.to_owned()).unwrap();
        let events = vec![EventData { name: "appended".to_owned(), data }];
        let record = Record {
            format: FORMAT,
            kind: Form::Turns,
            actor: ACTOR.to_owned(),
            first,
            prev: before.last().map(|stored| Digest::of(&stored.bytes)),
            deployment: 1,
            model: Digest::of("model"),
            component: Digest::of("component"),
            turns: vec![Turn { command, events }],
            repair: None,
        };
        Stored { position: Position(first), bytes: record.encode().unwrap() }
    }

    #[test]
    fn a_chain_gives_its_events_and_a_broken_one_its_damage() {
        let actor = ACTOR.parse().unwrap();
        let mut records = Vec::new();
        for _ in 0..3 {
            let next = record(&records);
            records.push(next);
        }
        let events = logged(&actor, &records).unwrap();
        let told: Vec<_> = events.iter().map(|it| (it.version, it.command.as_str())).collect();
        assert_eq!(told, [(1, "c1"), (2, "c2"), (3, "c3")]);
        assert_eq!(events[2].data, json!({"client": 1}));

        let lost = [records[0].clone(), records[2].clone()];
        let damage = logged(&actor, &lost).unwrap_err();
        assert_eq!((damage.kind, damage.version), (Kind::Chain, Some(2)));
        let foreign = "faults/journal/other".parse().unwrap();
        assert_eq!(logged(&foreign, &records).unwrap_err().kind, Kind::Chain);
    }
}
