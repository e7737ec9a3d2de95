//! Tests of an aggregate as its model's scenarios are written: given events, when a command, then
//! events or a rejection.
//!
//! They run natively in `cargo test`, without a host. On the way they hold the aggregate to what
//! the host demands of it: `decide` gives the same answer twice, and `evolve` the same state for
//! the events at once and one by one.

use std::fmt::{self, Debug};

/// An aggregate as [`given`] sees it; [`aggregate!`](crate::aggregate) implements it.
pub trait Spec {
    /// Its name in the model.
    const NAME: &'static str;
    /// What an actor knows.
    type State: Clone + Debug + PartialEq;
    /// What it may be asked.
    type Command: Clone + Debug;
    /// What may happen to it.
    type Event: Clone + Debug + PartialEq;
    /// Why it may refuse; `()` if the model has no rejections.
    type Rejection: Debug + PartialEq;

    /// The state of an actor that nothing has happened to yet.
    fn initial(id: String) -> Self::State;

    /// What a command does.
    ///
    /// # Errors
    /// The reason why the command is refused.
    fn decide(
        facts: Facts,
        state: Self::State,
        command: Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// The state after these events.
    fn evolve(state: Self::State, events: Vec<Self::Event>) -> Self::State;
}

/// What the host tells `decide` about a command: the fields of `Context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The bare id of the actor, e.g. `alice`.
    pub id: String,
    /// The actor's version before the command; 0 = never used.
    pub version: u64,
    /// The id of the command.
    pub command_id: String,
    /// What ties the commands of one piece of work together.
    pub correlation_id: String,
    /// When the host received the command, in ms since 1970.
    pub at: u64,
    /// The authenticated principal who sent the command.
    pub by: Option<String>,
    /// A random number, recorded with the command.
    pub seed: u64,
}

/// An actor to which `events` have happened. It is called `test` unless [`Given::id`] says so.
#[must_use]
pub fn given<A: Spec>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { id: "test".into(), history: events.into_iter().collect() }
}

/// An actor with a past, see [`given`].
pub struct Given<A: Spec> {
    id: String,
    history: Vec<A::Event>,
}

impl<A: Spec> Given<A> {
    /// Gives the actor an id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sends the actor a command.
    #[must_use]
    pub fn when(self, command: A::Command) -> When<A> {
        let facts = Facts {
            id: self.id.clone(),
            version: self.history.len() as u64,
            command_id: "test-command".into(),
            correlation_id: "test-correlation".into(),
            at: 0,
            by: None,
            seed: 0,
        };
        When { given: self, facts, command }
    }

    /// The actor's state.
    ///
    /// # Panics
    /// If `evolve` gives another state for the events one by one than for all of them at once.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> A::State {
        let initial = A::initial(self.id.clone());
        let at_once = A::evolve(initial.clone(), self.history.clone());
        let one_by_one =
            self.history.iter().fold(initial, |state, event| A::evolve(state, vec![event.clone()]));
        assert!(
            at_once == one_by_one,
            "{}: `evolve` depends on how the events are split over its calls{}{}{}",
            A::NAME,
            Part("events", &self.history),
            Part("state after all at once", &at_once),
            Part("state after one by one", &one_by_one),
        );
        at_once
    }
}

/// A command on its way to an actor, see [`Given::when`].
pub struct When<A: Spec> {
    given: Given<A>,
    facts: Facts,
    command: A::Command,
}

impl<A: Spec> When<A> {
    /// The host receives the command at `ms` since 1970; 0 if not said.
    #[must_use]
    pub const fn at(mut self, ms: u64) -> Self {
        self.facts.at = ms;
        self
    }

    /// `principal` sends the command; nobody in particular if not said.
    #[must_use]
    pub fn by(mut self, principal: impl Into<String>) -> Self {
        self.facts.by = Some(principal.into());
        self
    }

    /// The command's random number; 0 if not said.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.facts.seed = seed;
        self
    }

    /// The command must be accepted with exactly these events. They then belong to the actor's
    /// past, and the story can go on.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<A::Event> = events.into_iter().collect();
        let (state, outcome) = self.outcome();
        match outcome {
            Ok(events) if events == expected => {}
            other => self.differs(&state, &Ok(expected), &other),
        }
        let Self { mut given, .. } = self;
        given.history.extend(expected);
        let _ = given.state();
        given
    }

    /// The command must be refused with this reason. The actor's past stays as it is.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn then_rejected(self, rejection: A::Rejection) -> Given<A> {
        let (state, outcome) = self.outcome();
        match outcome {
            Err(found) if found == rejection => {}
            other => self.differs(&state, &Err(rejection), &other),
        }
        self.given
    }

    /// The state before the command, and what came of it.
    #[track_caller]
    fn outcome(&self) -> (A::State, Outcome<A>) {
        let state = self.given.state();
        let decide = || A::decide(self.facts.clone(), state.clone(), self.command.clone());
        let (first, second) = (decide(), decide());
        assert!(
            first == second,
            "{}: `decide` gives two answers to the same question{}{}{}",
            A::NAME,
            Part("command", &self.command),
            Part("first", &Told(&first)),
            Part("second", &Told(&second)),
        );
        (state, first)
    }

    #[track_caller]
    fn differs(&self, state: &A::State, expected: &Outcome<A>, got: &Outcome<A>) -> ! {
        panic!(
            "{}: the command came out otherwise{}{}{}{}",
            A::NAME,
            Part("command", &self.command),
            Part("expected", &Told(expected)),
            Part("got", &Told(got)),
            Part("state before", state),
        )
    }
}

/// What came of a command.
type Outcome<A> = Result<Vec<<A as Spec>::Event>, <A as Spec>::Rejection>;

/// One part of a message, on lines of its own.
struct Part<'a, T: ?Sized>(&'static str, &'a T);

impl<T: Debug + ?Sized> fmt::Display for Part<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {}:", self.0)?;
        format!("{:#?}", self.1).lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// An outcome in the words of the board.
struct Told<'a, E, R>(&'a Result<Vec<E>, R>);

impl<E: Debug, R: Debug> Debug for Told<'_, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(events) if events.is_empty() => f.write_str("accepted, without events"),
            Ok(events) => write!(f, "accepted: {events:#?}"),
            Err(rejection) => write!(f, "rejected: {rejection:#?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{UnwindSafe, catch_unwind};

    use super::{Facts, Spec, given};

    /// A sum that refuses to shrink. Its flaws are those that `given` must find.
    struct Sum;

    impl Spec for Sum {
        const NAME: &'static str = "sum";
        type State = (String, u64);
        type Command = u64;
        type Event = u64;
        type Rejection = &'static str;

        fn initial(id: String) -> Self::State {
            (id, 0)
        }

        fn decide(facts: Facts, _: Self::State, add: u64) -> Result<Vec<u64>, &'static str> {
            match add {
                0 => Err("nothing to add"),
                1 => Ok(vec![facts.at, facts.seed, facts.version, facts.by.map_or(0, |_| 1)]),
                add => Ok(vec![add]),
            }
        }

        /// The event 13 counts only if it comes first in a call.
        fn evolve((id, sum): Self::State, events: Vec<u64>) -> Self::State {
            let counts = |(index, event): (usize, &u64)| {
                if *event == 13 && index > 0 { 0 } else { *event }
            };
            (id, sum + events.iter().enumerate().map(counts).sum::<u64>())
        }
    }

    fn message(test: impl FnOnce() + UnwindSafe) -> String {
        let payload = catch_unwind(test).expect_err("the check should find fault");
        *payload.downcast::<String>().expect("the message is formatted")
    }

    #[test]
    fn a_story_goes_on_after_events_and_rejections() {
        let end = given::<Sum>([2]).when(3).then([3]).when(0).then_rejected("nothing to add");
        assert_eq!(end.state(), ("test".to_owned(), 5));
    }

    #[test]
    fn the_command_is_told_what_the_test_says() {
        let _ = given::<Sum>([2, 2]).id("a").when(1).at(7).by("bob").seed(9).then([7, 9, 2, 1]);
    }

    #[test]
    fn other_events_are_shown_with_the_state_before() {
        let shown = message(|| drop(given::<Sum>([2]).when(3).then([4])));
        let expected = [
            "sum: the command came out otherwise",
            "  command:",
            "    3",
            "  expected:",
            "    accepted: [",
            "        4,",
            "    ]",
            "  got:",
            "    accepted: [",
            "        3,",
            "    ]",
            "  state before:",
            "    (",
            "        \"test\",",
            "        2,",
            "    )",
        ];
        assert_eq!(shown, expected.join("\n"));
    }

    #[test]
    fn a_rejection_is_not_taken_for_no_events() {
        let shown = message(|| drop(given::<Sum>([]).when(0).then([])));
        assert!(shown.contains("expected:\n    accepted, without events"), "{shown}");
        assert!(shown.contains("got:\n    rejected: \"nothing to add\""), "{shown}");
        let shown = message(|| drop(given::<Sum>([]).when(2).then_rejected("nothing to add")));
        assert!(shown.contains("got:\n    accepted: ["), "{shown}");
    }

    #[test]
    fn an_evolve_that_depends_on_the_split_is_found() {
        let shown = message(|| drop(given::<Sum>([2, 13]).state()));
        assert!(shown.starts_with("sum: `evolve` depends on how the events are split"), "{shown}");
    }
}
