//! The aggregate `journal` of the context `faults`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Decision, Spec, events, number, written};

/// A journal to which clients append, each with a counter of its own.
#[derive(Debug, Clone, Copy)]
pub struct Journal;

/// What a journal remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct State {
    total: u64,
    clients: BTreeMap<u64, u64>,
}

impl Spec for Journal {
    type State = State;

    fn initial() -> State {
        State::default()
    }

    fn decide(state: &State, command: &str, fields: &Value) -> Decision {
        let copies = match command {
            "append" => Some(1),
            "append-many" => number(fields, "copies"),
            _ => None,
        };
        let (Some(client), Some(counter), Some(copies)) =
            (number(fields, "client"), number(fields, "counter"), copies)
        else {
            return Decision::Invalid;
        };
        let expected = state.clients.get(&client).map_or(1, |last| last.saturating_add(1));
        if counter != expected {
            return Decision::Rejected(json!({"out-of-turn": {"expected": written(expected)}}));
        }
        let appended = |copy| {
            let counter = written(counter);
            let data =
                json!({"client": client, "counter": counter, "copy": copy, "copies": copies});
            ("appended", data)
        };
        events((1..=copies).map(appended))
    }

    fn evolve(state: &mut State, event: &str, data: &Value) -> Result<(), String> {
        let (client, counter) = (number(data, "client"), number(data, "counter"));
        let ("appended", Some(client), Some(counter)) = (event, client, counter) else {
            return Err(format!("a journal has no event `{event}` {data}"));
        };
        state.total += 1;
        state.clients.insert(client, counter);
        Ok(())
    }

    fn shown(state: &State) -> Value {
        let progress = |(client, counter): (&u64, &u64)| json!({"client": client, "counter": written(*counter)});
        let clients: Vec<Value> = state.clients.iter().map(progress).collect();
        json!({"total": written(state.total), "clients": clients})
    }

    fn once(_event: &str, data: &Value) -> Option<String> {
        let (client, counter) = (number(data, "client")?, number(data, "counter")?);
        Some(format!("counter {counter} of client {client}"))
    }
}
