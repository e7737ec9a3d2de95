//! Commands that wait behind one another, as several turns of one record.
//!
//! A hot actor would else pay the store's round trip for each of them. Every command is decided on a
//! copy, on what the one before it leaves; nobody is answered, and nothing of the VM moves, before
//! the store has acknowledged the record that they make. If it refuses or does not say, the whole
//! tail is thrown away. A refusal by the domain among them waits as well: it was decided on turns
//! that were not stored yet.
//!
//! Only what needs nothing but the VM goes this way. A command that may be a repeated one, expects
//! another version, or comes behind one that failed, ends the group and begins the next one.

use std::time::Instant;

use super::{
    Ahead, Appended, Decided, adopt, append, decide, ids, note_doubt, record, reply, search, shown,
    turn,
};
use crate::{
    clock,
    command::{Event, Outcome, Reply},
    env::Env,
    failure::{Code, Failure},
    prepare::Prepared,
    record::Turn,
    wake::{Standing, Vm},
};

/// Most commands of one record. Deciding so many takes about as long as ten round trips of a store
/// near by, so more would hardly be faster, and all of it is in vain where another host wrote first.
pub const MOST: usize = 32;

/// Bytes of events from which on a record takes no more commands, so that a record of many small
/// ones stays far below any store's limit.
const BYTES: usize = 128 << 10;

/// Commands that are decided before other actors' tasks get their turn on this thread.
const BREATH: usize = 8;

/// How many commands an actor's next record may have: few after another host wrote first, for what
/// was decided in vain, and more again with each record that is stored.
#[derive(Debug, Clone, Copy)]
pub struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Pace {
    fn slow_down(&mut self) {
        self.0 = 1;
    }

    fn speed_up(&mut self) {
        self.0 = (self.0 * 2).min(MOST);
    }
}

/// What a caller will be told once the record is stored.
enum Answer {
    /// The events of the record's next turn, the first of which has this version.
    Turn(u64),
    /// Decided at this version, with nothing to store.
    Nothing(u64, Outcome),
    /// It failed; it is the last one of its group.
    Failed(Box<Failure>),
}

/// Turns that are decided and not stored.
#[derive(Default)]
struct Group {
    /// The state behind them, if there are any.
    ahead: Option<Ahead>,
    turns: Vec<Turn>,
    bytes: usize,
    answers: Vec<Answer>,
}

/// Takes the first of `commands`, and as many of those behind it as can share its record, through
/// `vm`. Gives the answers of those that were taken, in their order: at least one.
///
/// # Errors
/// Of each answer: as [`turn`](super::turn).
pub async fn turns(
    env: &Env,
    vm: &mut Vm,
    commands: &[&Prepared],
    pace: &mut Pace,
) -> Vec<Result<Reply, Failure>> {
    if commands.len() > 1
        && let Some(answers) = together(env, vm, commands, pace).await
    {
        return answers;
    }
    match commands.first() {
        Some(command) => vec![turn(env, vm, command).await],
        None => Vec::new(),
    }
}

/// Takes as many of `commands` as can share a record through `vm`. None if that is no group, or the
/// record was refused: then the first one must go by itself, and find out whether it is stored.
async fn together(
    env: &Env,
    vm: &mut Vm,
    commands: &[&Prepared],
    pace: &mut Pace,
) -> Option<Vec<Result<Reply, Failure>>> {
    if vm.standing != Standing::Settled {
        // What goes by itself settles it.
        return None;
    }
    if pace.0 < 2 {
        pace.speed_up();
        return None;
    }
    let mut group = Group::default();
    for command in commands.iter().take(pace.0) {
        let taken = commands.get(..group.answers.len()).unwrap_or_default();
        if !group.may_take(env, vm, taken, command).await || !group.take(env, vm, command).await {
            break;
        }
        if group.answers.len().is_multiple_of(BREATH) {
            tokio::task::yield_now().await;
        }
    }
    let taken = commands.get(..group.answers.len()).filter(|taken| !taken.is_empty())?;
    group.store(env, vm, taken, pace).await
}

impl Group {
    /// Whether `command`, which comes behind those that are `taken`, needs nothing but the VM.
    async fn may_take(&self, env: &Env, vm: &Vm, taken: &[&Prepared], command: &Prepared) -> bool {
        let repeats = |other: &&Prepared| command.id_by_caller && other.id == command.id;
        self.bytes < BYTES
            && clock::now() < command.deadline
            && command.expected_version.is_none_or(|wanted| wanted == self.version(vm))
            && !taken.iter().any(repeats)
            && search(env, vm, command).await.is_ok_and(|known| known.is_empty())
    }

    /// Decides `command`; whether another one may follow.
    async fn take(&mut self, env: &Env, vm: &mut Vm, command: &Prepared) -> bool {
        let version = self.version(vm);
        let answer = match decide(env, vm, self.ahead.as_ref(), command).await {
            Ok(Decided::Turn(turn, state)) => {
                let behind = version + turn.events.len() as u64;
                self.ahead = Some(Ahead { state, version: behind });
                self.bytes += turn.events.iter().map(|event| event.data.get().len()).sum::<usize>();
                self.turns.push(turn);
                Answer::Turn(version + 1)
            }
            Ok(Decided::Nothing(outcome)) => Answer::Nothing(version, outcome),
            Err(mut failure) => {
                failure.version = Some(version);
                Answer::Failed(Box::new(failure))
            }
        };
        let failed = matches!(answer, Answer::Failed(_));
        self.answers.push(answer);
        !failed
    }

    /// Stores the turns, and moves the VM behind them.
    async fn store(
        mut self,
        env: &Env,
        vm: &mut Vm,
        taken: &[&Prepared],
        pace: &mut Pace,
    ) -> Option<Vec<Result<Reply, Failure>>> {
        let deadline = taken.iter().map(|command| command.deadline).max()?;
        let Some(Ahead { state, .. }) = self.ahead.take() else {
            return self.tell_nothing(env, vm, taken, deadline).await;
        };
        let record = record(vm, std::mem::take(&mut self.turns));
        let appended = append(env, vm, ids(taken), &record, deadline).await;
        note_doubt(&appended, taken);
        match appended {
            Ok(Appended::Stored(stored)) => {
                pace.speed_up();
                adopt(vm, state, &record, &stored);
                Some(self.told(vm, taken, &record.turns))
            }
            Ok(Appended::Refused { .. }) => {
                pace.slow_down();
                None
            }
            // Each alone may well be small enough.
            Err(failure) if failure.code == Code::TooLarge && taken.len() > 1 => {
                pace.slow_down();
                None
            }
            Err(failure) => Some(taken.iter().map(|_| Err(failure.clone())).collect()),
        }
    }

    /// Answers where there is nothing to store, if that was decided at the log's last version.
    async fn tell_nothing(
        self,
        env: &Env,
        vm: &mut Vm,
        taken: &[&Prepared],
        deadline: Instant,
    ) -> Option<Vec<Result<Reply, Failure>>> {
        let told = self.answers.iter().any(|answer| matches!(answer, Answer::Nothing(..)));
        let current = if told { vm.is_current(env, deadline).await } else { Ok(true) };
        match current {
            Ok(true) => Some(self.told(vm, taken, &[])),
            Ok(false) => None,
            Err(failure) => Some(taken.iter().map(|_| Err(failure.clone())).collect()),
        }
    }

    /// What callers are told, now that these turns are the log's last.
    fn told(self, vm: &Vm, taken: &[&Prepared], turns: &[Turn]) -> Vec<Result<Reply, Failure>> {
        let mut turns = turns.iter();
        let answers = self.answers.into_iter().zip(taken);
        let told = answers.map(|(answer, command)| {
            let (version, outcome) = match answer {
                Answer::Failed(failure) => return Err(*failure),
                Answer::Nothing(version, outcome) => (version, outcome),
                Answer::Turn(first) => {
                    let events: Vec<_> =
                        turns.next().map(|turn| events(turn, first)).unwrap_or_default();
                    (first + events.len() as u64 - 1, Outcome::Accepted(events))
                }
            };
            Ok(Reply { version, ..reply(vm, command, outcome) })
        });
        told.collect()
    }

    /// The version behind what is decided.
    fn version(&self, vm: &Vm) -> u64 {
        self.ahead.as_ref().map_or(vm.chain.version, |ahead| ahead.version)
    }
}

/// The events of a turn whose first one has version `first`, as callers see them.
fn events(turn: &Turn, first: u64) -> Vec<Event> {
    let events = turn.events.iter().zip(first..);
    events.map(|(event, version)| shown((version, &turn.command, event))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;

    use super::*;
    use crate::{
        address::Address,
        bench::hosts::{address, bundle, command, config},
        command::Command,
        host::Host,
        record::{Position, Stored, parse},
        store::{EventStore as _, Freshness, embedded::EmbeddedStore},
    };

    /// A host, and what stands in its log of one account. On one thread, so that what is sent at
    /// once waits at once.
    struct Subject {
        host: Host,
        store: Arc<EmbeddedStore>,
        account: Address,
        _cache: tempfile::TempDir,
    }

    impl Subject {
        async fn new() -> Self {
            let store = Arc::new(EmbeddedStore::in_memory().await.unwrap());
            let cache = tempfile::tempdir().unwrap();
            let config = config(cache.path(), "aether");
            let host = Host::start_on(store.clone(), config, vec![bundle()]).await.unwrap();
            let account = address("account", "hot").unwrap();
            Self { host, store, account, _cache: cache }
        }

        fn command(&self, name: &str, amount: u64) -> Command {
            command(&self.account, name, &format!(r#"{{"amount":{amount}}}"#)).unwrap()
        }

        /// All at once; an answer as its version and what it says.
        async fn ask(&self, commands: Vec<Command>) -> Vec<(u64, String)> {
            let asked = commands.into_iter().map(|command| self.host.send(command));
            let told = join_all(asked).await.into_iter().map(|answer| match answer {
                Ok(Reply { version, outcome: Outcome::Accepted(events), .. }) => {
                    let events = events.iter().map(|event| {
                        format!("{} {} {}", event.version, event.name, event.data.get())
                    });
                    (version, events.collect::<Vec<_>>().join(", "))
                }
                Ok(Reply { version, outcome: Outcome::Rejected { name, fields }, .. }) => {
                    (version, format!("{name} {}", fields.get()))
                }
                Err(failure) => (failure.version.unwrap_or_default(), failure.code.as_str().into()),
            });
            told.collect()
        }

        /// How many turns each record of the log holds.
        async fn log(&self) -> Vec<usize> {
            let page = self.store.read(&self.account, Position(0), Freshness::Leader).await;
            let turns = |stored: &Stored| parse(stored).unwrap().turns.len();
            page.unwrap().records.iter().map(turns).collect()
        }
    }

    #[tokio::test]
    async fn those_that_wait_share_records_and_each_is_told_its_own() {
        let subject = Subject::new().await;
        let told = subject.ask((1..=40).map(|n| subject.command("deposit", n)).collect()).await;
        for (n, told) in (1..).zip(&told) {
            assert_eq!(*told, (n, format!(r#"{n} deposited {{"amount":{n}}}"#)));
        }
        // The first finds nobody known yet and settles the actor by itself.
        assert_eq!(subject.log().await, [1, MOST, 40 - 1 - MOST]);
        let told = subject.ask(vec![subject.command("deposit", 1)]).await;
        assert_eq!(told, [(41, r#"41 deposited {"amount":1}"#.to_owned())]);
    }

    #[tokio::test]
    async fn a_refusal_among_them_is_decided_on_what_goes_before_it() {
        let subject = Subject::new().await;
        subject.ask(vec![subject.command("deposit", 1)]).await;
        let told = subject
            .ask(vec![
                subject.command("deposit", 6),
                subject.command("withdraw", 9),
                subject.command("deposit", 0),
                subject.command("deposit", 4),
                subject.command("withdraw", 9),
            ])
            .await;
        let told: Vec<_> = told.iter().map(|(version, said)| (*version, &**said)).collect();
        assert_eq!(
            told,
            [
                (2, r#"2 deposited {"amount":6}"#),
                (2, r#"insufficient-funds {"balance":7}"#),
                (2, "no-amount {}"),
                (3, r#"3 deposited {"amount":4}"#),
                (4, r#"4 withdrawn {"amount":9}"#),
            ]
        );
        assert_eq!(subject.log().await, [1, 3]);
        let only_refusals = vec![subject.command("deposit", 0), subject.command("withdraw", 3)];
        let told = subject.ask(only_refusals).await;
        assert_eq!(told[0], (4, "no-amount {}".to_owned()));
        assert_eq!(told[1], (4, r#"insufficient-funds {"balance":2}"#.to_owned()));
        assert_eq!(subject.log().await, [1, 3]);
    }

    #[tokio::test]
    async fn a_repeated_command_among_them_is_done_once() {
        let subject = Subject::new().await;
        subject.ask(vec![subject.command("deposit", 1)]).await;
        let named = |id: &str, amount| {
            let mut command = subject.command("deposit", amount);
            command.id = Some(id.to_owned());
            command
        };
        let told = subject
            .ask(vec![named("a", 5), named("b", 6), named("a", 5), named("c", 7), named("b", 8)])
            .await;
        let told: Vec<_> = told.iter().map(|(version, said)| (*version, &**said)).collect();
        assert_eq!(
            told,
            [
                (2, r#"2 deposited {"amount":5}"#),
                (3, r#"3 deposited {"amount":6}"#),
                (2, r#"2 deposited {"amount":5}"#),
                (4, r#"4 deposited {"amount":7}"#),
                (4, "invalid"),
            ],
        );
        assert_eq!(subject.log().await, [1, 2, 1]);
    }

    #[tokio::test]
    async fn one_that_fails_takes_nobody_with_it() {
        let mut subject = Subject::new().await;
        subject.account = address("basket", "hot").unwrap();
        let fill = |items: u32| {
            command(&subject.account, "fill", &format!(r#"{{"items":{items}}}"#)).unwrap()
        };
        subject.ask(vec![fill(1)]).await;
        // The third wants more memory than there is.
        let told = subject.ask(vec![fill(1), fill(2), fill(u32::MAX), fill(3)]).await;
        let told: Vec<_> = told.iter().map(|(version, said)| (*version, &**said)).collect();
        assert_eq!(
            told,
            [
                (2, r#"2 filled {"items":1}"#),
                (3, r#"3 filled {"items":2}"#),
                (3, "component-fault"),
                (4, r#"4 filled {"items":3}"#),
            ]
        );
        assert_eq!(subject.log().await, [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_command_that_expects_a_version_is_held_against_its_place() {
        let subject = Subject::new().await;
        subject.ask(vec![subject.command("deposit", 1)]).await;
        let expecting = |version| {
            let mut command = subject.command("deposit", 5);
            command.expected_version = Some(version);
            command
        };
        let told = subject.ask(vec![expecting(1), expecting(2), expecting(2), expecting(3)]).await;
        let versions: Vec<_> = told.iter().map(|(version, _)| *version).collect();
        assert_eq!(versions, [2, 3, 3, 4]);
        assert_eq!(told[2].1, "conflict");
        assert_eq!(subject.log().await, [1, 2, 1]);
    }
}
