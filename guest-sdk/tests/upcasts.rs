//! Where the model lists upcasts for the component, its author's type does them.

use aether_guest::given;

aether_guest::aggregate!("doc/upcasts.storm.yaml", "counter", Counter);

struct Counter;

impl Aggregate for Counter {
    fn initial(_id: String) -> State {
        State { inside: 0 }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Enter(Enter { people }) = command;
        Ok(vec![Event::Entered(Entered { people })])
    }

    fn evolve(mut state: State, events: Vec<Event>) -> State {
        for Event::Entered(Entered { people }) in events {
            state.inside += people;
        }
        state
    }
}

impl Upcasts for Counter {
    fn upcast(model: String, event_type: String, data: String) -> Result<Event, String> {
        match event_type.as_str() {
            "one-entered" => Ok(Event::Entered(Entered { people: 1 })),
            "pair-entered" => Ok(Event::Entered(Entered { people: 2 })),
            _ => Err(format!("{event_type} {data} of {model}")),
        }
    }
}

fn upcast(event: &str) -> Result<Event, String> {
    Counter::upcast("sha256:0".into(), event.into(), "{}".into())
}

#[test]
fn an_old_event_is_one_of_today() {
    let old = ["one-entered", "pair-entered"].map(|event| upcast(event).unwrap());
    let now = given::<Counter>(old).when(Command::Enter(Enter { people: 4 }));
    assert_eq!(now.then([Event::Entered(Entered { people: 4 })]).state().inside, 7);
    assert_eq!(upcast("left").unwrap_err(), "left {} of sha256:0");
}
