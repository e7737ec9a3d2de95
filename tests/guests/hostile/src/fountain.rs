//! Events without end. They are an aggregate of their own because ten million of them fit an
//! instance's memory only if each is small.

aether_guest::aggregate!("hostile.storm.yaml", "fountain", Fountain);

/// Pours.
pub struct Fountain;

impl Aggregate for Fountain {
    fn initial(_id: String) -> State {
        State { poured: 0 }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Pour(Pour { events }) = command;
        Ok((0..events).map(|_| Event::Poured).collect())
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        State { poured: state.poured + events.len() as u64 }
    }
}
