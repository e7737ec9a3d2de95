//! A journal to which clients append, each with a counter of its own: whatever is lost, doubled,
//! torn or out of order shows in the counters.

aether_guest::aggregate!("journal.storm.yaml", "journal", Journal);

/// The rules of journals.
pub struct Journal;

impl Aggregate for Journal {
    fn initial(_id: String) -> State {
        State { total: 0, clients: Vec::new() }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        let (client, counter, copies) = match command {
            Command::Append(Append { client, counter }) => (client, counter, 1),
            Command::AppendMany(AppendMany { client, counter, copies }) => {
                (client, counter, copies)
            }
        };
        let last = state.clients.iter().find(|known| known.client == client);
        let expected = last.map_or(0, |known| known.counter).saturating_add(1);
        if counter != expected {
            return Err(Rejection::OutOfTurn(OutOfTurn { expected }));
        }
        let appended = |copy| Event::Appended(Appended { client, counter, copy, copies });
        Ok((1..=copies).map(appended).collect())
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, State::after)
    }
}

impl State {
    fn after(mut self, event: Event) -> Self {
        let Event::Appended(Appended { client, counter, .. }) = event;
        self.total = self.total.saturating_add(1);
        match self.clients.iter_mut().find(|known| known.client == client) {
            Some(known) => known.counter = counter,
            None => {
                let place = self.clients.partition_point(|known| known.client < client);
                self.clients.insert(place, Progress { client, counter });
            }
        }
        self
    }
}
