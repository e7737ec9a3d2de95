//! Whether an actor's records are a chain.

use aether::{
    address::Address,
    record::{Chain, Stored},
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
        for (version, command, event) in record.events() {
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
