//! Each fault is planted in a history that is fine without it, and found as what it is.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::faults::history::{Event, LoggedEvent, Operation, Outcome, Request, Tally};

const ACTOR: &str = "faults/journal/j";

const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn appended(client: u64, counter: u64, copy: u64, copies: u64) -> Value {
    json!({"client": client, "counter": counter, "copy": copy, "copies": copies})
}

/// Client `client`'s try to append its `counter`, with an id of its own.
fn append(client: u64, counter: u64, (begun, ended): (u64, u64), outcome: Outcome) -> Operation {
    let id = Some(format!("{client}-{counter}"));
    let fields = json!({"client": client, "counter": counter});
    let request =
        Request::Command { id, name: "append".to_owned(), fields, expected_version: None };
    operation(client, request, (begun, ended), outcome)
}

fn append_many(
    client: u64,
    counter: u64,
    copies: u64,
    when: (u64, u64),
    outcome: Outcome,
) -> Operation {
    let id = Some(format!("{client}-{counter}"));
    let fields = json!({"client": client, "counter": counter, "copies": copies});
    let request =
        Request::Command { id, name: "append-many".to_owned(), fields, expected_version: None };
    operation(client, request, when, outcome)
}

fn read(when: (u64, u64), version: u64, clients: &[(u64, u64)]) -> Operation {
    let progress = |(client, counter): &(u64, u64)| json!({"client": client, "counter": counter});
    let clients: Vec<Value> = clients.iter().map(progress).collect();
    let state = json!({"total": version, "clients": clients});
    operation(99, Request::Read, when, Outcome::State { version, state })
}

fn operation(client: u64, request: Request, when: (u64, u64), outcome: Outcome) -> Operation {
    Operation {
        client: usize::try_from(client).unwrap(),
        actor: ACTOR.to_owned(),
        request,
        begun: at(when.0),
        ended: at(when.1),
        outcome,
    }
}

fn event(version: u64, data: Value) -> Event {
    Event { version, name: "appended".to_owned(), data }
}

/// The acknowledgement of a single event.
fn done(version: u64, client: u64, counter: u64) -> Outcome {
    Outcome::Accepted { version, events: vec![event(version, appended(client, counter, 1, 1))] }
}

/// The acknowledgement of copies, the last of them at `version`.
fn done_many(version: u64, client: u64, counter: u64, copies: u64) -> Outcome {
    let copy = |copy| event(version - copies + copy, appended(client, counter, copy, copies));
    Outcome::Accepted { version, events: (1..=copies).map(copy).collect() }
}

fn out_of_turn(version: u64, expected: u64) -> Outcome {
    let rejection = json!({"out-of-turn": {"expected": expected}});
    Outcome::Rejected { version, rejection }
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "the connection was lost".to_owned() }
}

fn refused() -> Outcome {
    Outcome::Refused { code: "unavailable".to_owned() }
}

/// A log of events, each with the id that its client gave: `CLIENT-COUNTER`.
fn log(data: impl IntoIterator<Item = Value>) -> Vec<LoggedEvent> {
    let logged = |(data, version): (Value, u64)| LoggedEvent {
        version,
        name: "appended".to_owned(),
        at: 0,
        command: format!("{}-{}", data["client"], data["counter"]),
        data,
    };
    data.into_iter().zip(1..).map(logged).collect()
}

fn single(events: &[(u64, u64)]) -> Vec<LoggedEvent> {
    log(events.iter().map(|(client, counter)| appended(*client, *counter, 1, 1)))
}

fn logs(log: Vec<LoggedEvent>) -> Logs {
    Logs { actors: [(ACTOR.to_owned(), log)].into() }
}

fn kinds(operations: &[Operation], log: Vec<LoggedEvent>) -> Vec<Kind> {
    let found = check(operations, &logs(log.clone()));
    let general = general::actor_is_linearizable::<Journal>(operations, &log);
    assert_eq!(general, Some(found.is_empty()), "the search disagrees: {found:#?}");
    found.into_iter().map(|violation| violation.kind).collect()
}

/// Two clients, one after the other, then a rejection and a read.
fn clean() -> Vec<Operation> {
    vec![
        append(1, 1, (0, 10), done(1, 1, 1)),
        append(2, 1, (20, 30), done(2, 2, 1)),
        append(1, 3, (40, 50), out_of_turn(2, 2)),
        read((60, 70), 2, &[(1, 1), (2, 1)]),
    ]
}

#[test]
fn a_true_history_has_no_violations() {
    assert_eq!(kinds(&clean(), single(&[(1, 1), (2, 1)])), []);
    assert_eq!(kinds(&[], Vec::new()), []);
}

#[test]
fn a_lost_write_is_found() {
    let operations = [append(1, 1, (0, 10), done(1, 1, 1)), append(2, 1, (20, 30), done(2, 2, 1))];
    assert_eq!(kinds(&operations, single(&[(1, 1)])), [Kind::Lost]);
    assert_eq!(kinds(&operations[..1], single(&[])), [Kind::Lost]);
}

#[test]
fn an_altered_event_is_lost() {
    let operations = [append(1, 1, (0, 10), done(1, 1, 1))];
    let mut altered = single(&[(1, 1)]);
    altered[0].data["counter"] = 2.into();
    assert_eq!(kinds(&operations, altered), [Kind::Lost]);
}

#[test]
fn a_stale_read_is_found() {
    let mut operations = clean();
    operations[3] = read((60, 70), 1, &[(1, 1)]);
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::StaleRead]);
    operations[3] = read((15, 70), 1, &[(1, 1)]);
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), []);
}

#[test]
fn reads_that_go_back_are_found() {
    let operations = [
        append(1, 1, (0, 100), done(1, 1, 1)),
        read((10, 20), 1, &[(1, 1)]),
        read((30, 40), 0, &[]),
    ];
    assert_eq!(kinds(&operations, single(&[(1, 1)])), [Kind::StaleRead]);
}

#[test]
fn a_stale_rejection_is_found() {
    let mut operations = clean();
    operations[2] = append(1, 3, (40, 50), out_of_turn(1, 2));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::StaleRejection]);
}

#[test]
fn a_rejection_for_no_reason_is_found() {
    let mut operations = clean();
    operations[2] = append(1, 2, (40, 50), out_of_turn(2, 3));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::WrongAnswer]);
}

#[test]
fn a_stale_answer_without_events_is_found() {
    let nothing = |version| Outcome::Accepted { version, events: Vec::new() };
    let mut operations = clean();
    operations[2] = append_many(1, 2, 0, (40, 50), nothing(2));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), []);
    operations[2] = append_many(1, 2, 0, (40, 50), nothing(1));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::StaleAnswer]);
}

#[test]
fn a_doubled_command_is_found() {
    let operations = clean();
    for events in [[(1, 1), (2, 1), (1, 1)], [(1, 1), (2, 1), (2, 1)]] {
        assert_eq!(kinds(&operations, single(&events)), [Kind::Doubled]);
    }
    // The same counter under another id.
    let mut disguised = single(&[(1, 1), (2, 1), (2, 1)]);
    disguised[2].command = "made-by-the-host".to_owned();
    assert_eq!(kinds(&operations, disguised), [Kind::Doubled]);
}

#[test]
fn a_reordered_pair_is_found() {
    let operations = [append(1, 1, (0, 10), done(2, 1, 1)), append(2, 1, (20, 30), done(1, 2, 1))];
    assert_eq!(kinds(&operations, single(&[(2, 1), (1, 1)])), [Kind::Reordered]);
    let together = [append(1, 1, (0, 20), done(2, 1, 1)), append(2, 1, (20, 30), done(1, 2, 1))];
    assert_eq!(kinds(&together, single(&[(2, 1), (1, 1)])), []);
}

#[test]
fn a_torn_turn_is_found() {
    let operations = [append_many(1, 1, 3, (0, 10), done_many(3, 1, 1, 3))];
    let whole = log((1..=3).map(|copy| appended(1, 1, copy, 3)));
    assert_eq!(kinds(&operations, whole.clone()), []);
    assert_eq!(kinds(&operations, whole[..2].to_vec()), [Kind::Torn]);
    let unknown = [append_many(1, 1, 3, (0, 10), unknown())];
    assert_eq!(kinds(&unknown, whole.clone()), []);
    assert_eq!(kinds(&unknown, whole[..1].to_vec()), [Kind::Torn]);
    assert_eq!(kinds(&unknown, Vec::new()), []);
}

#[test]
fn a_turn_with_another_inside_is_torn() {
    let copy = |copy| appended(1, 1, copy, 2);
    let operations =
        [append_many(1, 1, 2, (0, 10), unknown()), append(2, 1, (0, 10), done(2, 2, 1))];
    let mixed = log([copy(1), appended(2, 1, 1, 1), copy(2)]);
    assert_eq!(kinds(&operations, mixed), [Kind::Torn]);
}

#[test]
fn a_read_between_the_events_of_a_turn_is_torn() {
    let operations =
        [append_many(1, 1, 2, (0, 10), done_many(2, 1, 1, 2)), read((0, 10), 1, &[(1, 1)])];
    assert_eq!(kinds(&operations, log([1, 2].map(|n| appended(1, 1, n, 2)))), [Kind::Torn]);
}

#[test]
fn a_wrong_version_in_a_reply_is_found() {
    let mut operations = clean();
    operations.truncate(2);
    operations[1] = append(2, 1, (20, 30), done(3, 2, 1));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::WrongVersion]);
    let Outcome::Accepted { version, .. } = &mut operations[1].outcome else { unreachable!() };
    *version = 2;
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::WrongVersion]);
}

#[test]
fn an_invented_event_is_found() {
    let operations = clean();
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1), (3, 1)])), [Kind::Invented]);
}

#[test]
fn a_read_from_the_future_is_found() {
    let mut operations = clean();
    operations.push(read((12, 15), 2, &[(1, 1), (2, 1)]));
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::Future]);
    operations[4] = read((80, 90), 3, &[(1, 1), (2, 1), (3, 1)]);
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::Future]);
}

#[test]
fn a_state_that_no_log_gives_is_found() {
    let mut operations = clean();
    operations[3] = read((60, 70), 2, &[(1, 2)]);
    assert_eq!(kinds(&operations, single(&[(1, 1), (2, 1)])), [Kind::WrongState]);
}

#[test]
fn an_event_that_this_state_forbids_is_found() {
    let operations = [append(1, 2, (0, 10), done(1, 1, 2))];
    assert_eq!(kinds(&operations, single(&[(1, 2)])), [Kind::Unlawful]);
}

#[test]
fn a_gap_is_found() {
    let mut log = single(&[(1, 1), (2, 1)]);
    log[1].version = 3;
    assert_eq!(kinds(&[append(1, 1, (0, 10), done(1, 1, 1))], log), [Kind::Gap]);
}

#[test]
fn a_refused_command_must_not_be_in_the_log() {
    let operations = [append(1, 1, (0, 10), refused())];
    assert_eq!(kinds(&operations, Vec::new()), []);
    assert_eq!(kinds(&operations, single(&[(1, 1)])), [Kind::RefusedStored]);
    let tried_again = [operations[0].clone(), append(1, 1, (20, 30), unknown())];
    assert_eq!(kinds(&tried_again, single(&[(1, 1)])), []);
}

#[test]
fn an_unknown_outcome_may_come_true_later_or_never() {
    let operations = [
        append(1, 1, (0, 10), unknown()),
        read((100, 110), 0, &[]),
        read((200, 210), 1, &[(1, 1)]),
    ];
    assert_eq!(kinds(&operations, single(&[(1, 1)])), []);
    assert_eq!(kinds(&operations[..2], single(&[(1, 1)])), []);
    assert_eq!(kinds(&operations[..2], Vec::new()), []);
    let early = [append(1, 1, (50, 60), unknown()), read((10, 20), 1, &[(1, 1)])];
    assert_eq!(kinds(&early, single(&[(1, 1)])), [Kind::Future]);
}

#[test]
fn a_retry_is_told_what_the_first_try_did() {
    let first = append(1, 1, (0, 10), unknown());
    let other = append(2, 1, (20, 30), done(2, 2, 1));
    // At the version of then, although a later one was told before.
    let retry = append(1, 1, (40, 50), done(1, 1, 1));
    let log = || single(&[(1, 1), (2, 1)]);
    assert_eq!(kinds(&[first.clone(), other.clone(), retry], log()), []);
    let again = append(1, 1, (40, 50), out_of_turn(2, 2));
    assert_eq!(kinds(&[first, other.clone(), again], log()), [Kind::Retried]);
    // The retry alone cannot have stored what others were told of before it began.
    let alone = append(1, 1, (40, 50), done(1, 1, 1));
    assert_eq!(kinds(&[other, alone], log()), [Kind::Reordered]);
    // What was rejected once left no trace.
    let early = append(1, 2, (0, 1), out_of_turn(0, 1));
    let then = [early, append(1, 1, (5, 6), done(1, 1, 1)), append(1, 2, (7, 8), done(2, 1, 2))];
    assert_eq!(kinds(&then, single(&[(1, 1), (1, 2)])), []);
}

#[test]
fn an_id_with_other_fields_is_not_answered_with_what_it_did() {
    let first = append(1, 1, (0, 10), done(1, 1, 1));
    let with_other_fields = |outcome| {
        let mut other = append(7, 1, (20, 30), outcome);
        let Request::Command { id, .. } = &mut other.request else { unreachable!() };
        *id = first.id().map(str::to_owned);
        [first.clone(), other]
    };
    let log = || single(&[(1, 1)]);
    let invalid = Outcome::Refused { code: "invalid".to_owned() };
    assert_eq!(kinds(&with_other_fields(invalid), log()), []);
    assert_eq!(kinds(&with_other_fields(done(1, 1, 1)), log()), [Kind::Reused]);
    assert_eq!(kinds(&with_other_fields(out_of_turn(1, 1)), log()), [Kind::Reused]);
}

#[test]
fn a_version_that_the_caller_did_not_expect_is_found() {
    let mut operations = [append(1, 1, (0, 10), done(1, 1, 1))];
    let Request::Command { expected_version, .. } = &mut operations[0].request else {
        unreachable!()
    };
    *expected_version = Some(4);
    assert_eq!(kinds(&operations, single(&[(1, 1)])), [Kind::Unlawful]);
}

#[test]
fn commands_without_ids_are_found_by_what_they_did() {
    let nameless = |mut operation: Operation| {
        let Request::Command { id, .. } = &mut operation.request else { unreachable!() };
        *id = None;
        operation
    };
    let operations = [
        nameless(append(1, 1, (0, 10), done(1, 1, 1))),
        nameless(append(2, 1, (20, 30), unknown())),
    ];
    let both = single(&[(1, 1), (2, 1)]);
    assert_eq!(kinds(&operations, both.clone()), []);
    assert_eq!(kinds(&operations, both[..1].to_vec()), []);
    assert_eq!(kinds(&operations[..1], both), [Kind::Invented]);
    assert_eq!(kinds(&operations, Vec::new()), [Kind::Lost]);
}

#[test]
fn an_actor_without_a_specification_is_no_free_pass() {
    let mut operation = read((0, 1), 0, &[]);
    operation.actor = "hostile/counter/c".to_owned();
    let found = check(&[operation], &Logs::default());
    assert_eq!(found.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Unspecified]);
}

#[test]
fn made_and_vanished_money_is_found() {
    let logged = |version, name: &str, data: Value| LoggedEvent {
        version,
        name: name.to_owned(),
        data,
        at: 0,
        command: version.to_string(),
    };
    let account = |amount: u64| {
        let opened = logged(1, "opened", json!({"owner": "o"}));
        vec![opened, logged(2, "deposited", json!({"amount": amount}))]
    };
    let actors = [("bank/account/a", account(60)), ("bank/account/b", account(40))];
    let logs = Logs { actors: actors.map(|(name, log)| (name.to_owned(), log)).into() };
    assert_eq!(balances(&logs, 100), None);
    assert_eq!(balances(&logs, 101).map(|it| it.kind), Some(Kind::Sum));
}

#[test]
fn an_actor_that_is_not_served_again_in_time_is_found() {
    let operations = [
        append(1, 1, (0, 10), done(1, 1, 1)),
        append(2, 1, (5, 900), unknown()),
        append(2, 1, (910, 1500), done(2, 2, 1)),
    ];
    assert_eq!(longest_unavailability(&operations), at(1490));
    let stalled = |bound| liveness(&operations, at(905), at(bound)).len();
    assert_eq!((stalled(500), stalled(595)), (1, 0));
    assert_eq!(liveness(&operations[..2], at(905), at(500)), [], "nobody asked");
}

#[test]
fn a_run_is_counted() {
    let mut operations = clean();
    operations.push(append(3, 1, (80, 90), unknown()));
    operations.push(append(4, 1, (80, 90), unknown()));
    operations.push(append(5, 1, (80, 90), refused()));
    let tally = Tally::of(&operations, &logs(single(&[(1, 1), (2, 1), (3, 1)])), 7);
    let expected = Tally {
        acknowledged: 2,
        rejected: 1,
        reads: 1,
        refused: [("unavailable".to_owned(), 1)].into(),
        unknown: 2,
        unknown_stored: 1,
        conflicts: 7,
    };
    assert_eq!(tally, expected);
}

#[test]
fn texts_and_lists_are_bounded() {
    let violation = Violation::new(Kind::Lost, ACTOR, None, 0..1000, &"x".repeat(10_000));
    assert!(violation.to_string().chars().count() < 600, "{violation}");
}
