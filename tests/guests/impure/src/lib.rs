//! A guest whose state depends on how often it is called: a `HashMap` gives it its order, and each
//! new `HashMap` of an instance has another one.

use std::collections::HashMap;

aether_guest::aggregate!("impure.storm.yaml", "guest-list", GuestList);

/// Remembers names, but not their order.
pub struct GuestList;

impl Aggregate for GuestList {
    fn initial(_id: String) -> State {
        State { names: Vec::new() }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Invite(Invite { name }) = command;
        Ok(vec![Event::Invited(Invited { name })])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        let invited = events.into_iter().map(|Event::Invited(Invited { name })| name);
        let names: HashMap<String, ()> =
            state.names.into_iter().chain(invited).map(|name| (name, ())).collect();
        State { names: names.into_keys().collect() }
    }
}
