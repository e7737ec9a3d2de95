//! Write aether actors in Rust: one macro line and three pure functions.
//!
//! The model says which commands, events and rejections an aggregate has; [`aggregate!`] turns it
//! into Rust types and a trait, and the crate into a component. There is no build script and no
//! generated file: cargo compiles the crate again when the model changes, and a mistake in the
//! model is a compile error with the model's file, line and column.
//!
//! With this model, `counter.storm.yaml`,
//!
//! ```yaml
#![doc = include_str!("../doc/counter.storm.yaml")]
//! ```
//!
//! the guest is
//!
//! ```
//! # macro_rules! aggregate { ($file:literal, $($rest:tt)*) => {
//! #     aether_guest::aggregate!("doc/counter.storm.yaml", $($rest)*);
//! # } }
//! # use aether_guest::given;
//! # /*
//! use aether_guest::{aggregate, given};
//! # */
//!
//! aggregate!("counter.storm.yaml", "counter", Counter);
//!
//! struct Counter;
//!
//! impl Aggregate for Counter {
//!     fn initial(_id: String) -> State {
//!         State { inside: 0, most: 50 }
//!     }
//!
//!     fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
//!         match command {
//!             Command::Enter(Enter { people }) => {
//!                 let room_for = state.most.saturating_sub(state.inside);
//!                 if people > room_for {
//!                     return Err(Rejection::Full(Full { room_for }));
//!                 }
//!                 Ok(vec![Event::Entered(Entered { people })])
//!             }
//!             Command::Leave => Ok(vec![Event::Emptied]),
//!         }
//!     }
//!
//!     fn evolve(mut state: State, events: Vec<Event>) -> State {
//!         for event in events {
//!             match event {
//!                 Event::Entered(Entered { people }) => state.inside += people,
//!                 Event::Emptied => state.inside = 0,
//!             }
//!         }
//!         state
//!     }
//! }
//!
//! # /*
//! #[test]
//! # */
//! fn a_full_shop_lets_nobody_in() {
//!     given::<Counter>([Event::Entered(Entered { people: 49 })])
//!         .when(Command::Enter(Enter { people: 2 }))
//!         .then_rejected(Rejection::Full(Full { room_for: 1 }))
//!         .when(Command::Leave)
//!         .then([Event::Emptied]);
//! }
//! # fn main() { a_full_shop_lets_nobody_in() }
//! ```
//!
//! in a crate with
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! aether-guest = "0.1"
//! ```
//!
//! `cargo test` runs its tests natively, and `cargo build --release --target wasm32-wasip2` gives
//! the component. Two aggregates in one crate, a module each, give one component with both.
//!
//! # Old events
//!
//! Where the model says `upcasts: { opened: component }`, the guest also implements the trait
//! `Upcasts`, in which it makes today's event of a stored one:
//!
//! ```
//! # mod counter {
//! # aether_guest::aggregate!("doc/upcasts.storm.yaml", "counter", Counter);
//! # pub struct Counter;
//! # impl Aggregate for Counter {
//! #     fn initial(_id: String) -> State { State { inside: 0 } }
//! #     fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
//! #         let Command::Enter(Enter { people }) = command;
//! #         Ok(vec![Event::Entered(Entered { people })])
//! #     }
//! #     fn evolve(mut state: State, events: Vec<Event>) -> State {
//! #         for Event::Entered(Entered { people }) in events { state.inside += people; }
//! #         state
//! #     }
//! # }
//! impl Upcasts for Counter {
//!     fn upcast(_model: String, event_type: String, data: String) -> Result<Event, String> {
//!         // Once there were two events, without fields.
//!         match event_type.as_str() {
//!             "one-entered" => Ok(Event::Entered(Entered { people: 1 })),
//!             "pair-entered" => Ok(Event::Entered(Entered { people: 2 })),
//!             _ => Err(format!("nothing is known of {event_type} {data}")),
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! It is asked only for events that do not read as they stand, and must be as pure as the rest.
//!
//! # What a guest may do
//!
//! `initial`, `decide` and `evolve` are pure: the host calls them again whenever it likes, on any
//! machine, and stores what `decide` gave. Whatever a decision needs to know of the world is in
//! its [`Facts`]: time is `at`, randomness grows from `seed`. `evolve` must give the same state
//! however the events are split over its calls; [`given`] checks that it does.
//!
//! A `HashMap` breaks this unseen: each one iterates in its own order, so a list made from it
//! differs from call to call, and it imports randomness into the component. The [`prelude`] holds
//! the maps that are in order.

mod given;

pub use aether_guest_macros::aggregate;
pub use given::{Facts, Given, Spec, When, given};
#[doc(hidden)]
pub use wit_bindgen;

/// What most guests want beside the types of their aggregate: maps and sets in the order of their
/// keys, whose iteration is the same in every call, process and build.
pub mod prelude {
    pub use std::collections::{BTreeMap, BTreeSet};
}
