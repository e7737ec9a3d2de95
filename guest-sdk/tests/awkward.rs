//! Boards are drawn by people who do not know Rust's words: their names must do.

use aether_guest::given;

aether_guest::aggregate!("doc/awkward.storm.yaml", "match", Awkward);

struct Awkward;

impl Aggregate for Awkward {
    fn initial(id: String) -> State {
        State { self_made: vec![id], result: match_::From::Ok }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        match command {
            Command::Move(Move { fn_ }) => Ok(vec![
                Event::Vec(match_::Vec { loop_: fn_.type_ }),
                Event::String(match_::String { loop_: "a".into() }),
                Event::Default(match_::Default { result: match_::From::Err }),
            ]),
            Command::Guest(_) => Ok(vec![Event::Yield]),
        }
    }

    fn evolve(mut state: State, events: Vec<Event>) -> State {
        for event in events {
            match event {
                Event::String(match_::String { loop_ }) => state.self_made.push(loop_),
                Event::Default(match_::Default { result }) => state.result = result,
                Event::Vec(_) | Event::Yield => {}
            }
        }
        state
    }
}

#[test]
fn rusts_own_words_are_names_like_others() {
    let end = given::<Awkward>([Event::Yield])
        .id("b")
        .when(Command::Move(Move { fn_: match_::Box { type_: 3 } }))
        .then([
            Event::Vec(match_::Vec { loop_: 3 }),
            Event::String(match_::String { loop_: "a".into() }),
            Event::Default(match_::Default { result: match_::From::Err }),
        ]);
    assert_eq!(end.state().self_made, ["b", "a"]);
}
