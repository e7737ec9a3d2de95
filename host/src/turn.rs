//! One command's way through a VM: the screen that is the product.
//!
//! ledger → decide → the model's law → evolve on a copy → append with a version check → only now
//! the VM moves → reply. A command that loses the race for its actor's log is decided again on
//! what the winner left. An answer that stores nothing (a rejection, no events) is given only at
//! the log's last version. Commands that wait behind one another go this way together
//! (`turn/group.rs`): each is decided on what the one before it leaves, and one append stores all.

mod group;

use std::time::Instant;

pub use self::group::{MOST, Pace, turns};
use crate::{
    clock,
    command::{Event, Outcome, Reply},
    env::Env,
    failure::{Code, Failure},
    json::{Packed, PackedCase, write},
    prepare::Prepared,
    record::{CommandMeta, EventData, FORMAT, Kind, Position, Record, Stored, Turn},
    step::step,
    store::{Append, AppendError, Freshness},
    vm::{Budget, Context, Decision},
    wake::{Standing, Vm, repairs},
};

/// Takes one command through `vm`.
///
/// # Errors
/// Every [`Code`] but `unknown`, `unauthenticated`. Unless the code is `unresolved`, nothing of
/// the command is stored.
pub async fn turn(env: &Env, vm: &mut Vm, command: &Prepared) -> Result<Reply, Failure> {
    let mut blind = None;
    for _ in 0..=env.limits.conflict_retries {
        if let Some(reply) = recall(env, vm, command).await? {
            return Ok(reply);
        }
        command.doubt.not_in_log();
        if !expected(env, vm, command).await? {
            continue;
        }
        let (turn, state) = match decide(env, vm, None, command).await? {
            Decided::Turn(turn, state) => (turn, state),
            Decided::Nothing(outcome) => {
                if vm.is_current(env, command.deadline).await? {
                    return Ok(reply(vm, command, outcome));
                }
                continue;
            }
        };
        let record = record(vm, vec![turn]);
        let ids = ids(&[command]);
        let appended = append(env, vm, ids, &record, command.deadline).await;
        note_doubt(&appended, &[command]);
        match appended? {
            Appended::Stored(stored) => {
                adopt(vm, state, &record, &stored);
                let outcome = Outcome::Accepted(record.events().map(shown).collect());
                return Ok(reply(vm, command, outcome));
            }
            Appended::Refused { blind: at } => blind = at,
        }
    }
    // The last try may have been refused because of an earlier one of its own that was stored.
    if let Some(reply) = recall(env, vm, command).await? {
        return Ok(reply);
    }
    command.doubt.not_in_log();
    Err(contended(env, vm, blind))
}

/// Notes on `commands` what is not known of the record that holds them.
fn note_doubt(appended: &Result<Appended, Failure>, commands: &[&Prepared]) {
    for command in commands {
        match appended {
            Ok(Appended::Stored(_)) => {}
            Ok(Appended::Refused { blind: None }) => command.doubt.log_tells(),
            Ok(Appended::Refused { blind: Some(_) }) => command.doubt.may_come(),
            Err(failure) if failure.code == Code::Unresolved => command.doubt.may_come(),
            Err(_) => {}
        }
    }
}

/// Every try was refused.
fn contended(env: &Env, vm: &Vm, blind: Option<Position>) -> Failure {
    let Some(position) = blind else {
        let tries = env.limits.conflict_retries + 1;
        return vm.fail(
            Code::Contended,
            &format!("others wrote to it {tries} times while this command was being decided; nothing was stored, try again"),
        );
    };
    vm.fail(
        Code::Unresolved,
        &format!(
            "nobody else wrote, and yet the store refuses the next record: its version check names position {position}, the log ends at position {}; the replica that leads may be old or damaged; it is not known whether the command is stored: ask again with the same id; if it stays so, see `Damage below the records` in docs/operations.md",
            vm.chain.position
        ),
    )
}

/// The answer to a command that this actor has seen before: what it did then.
async fn recall(env: &Env, vm: &mut Vm, command: &Prepared) -> Result<Option<Reply>, Failure> {
    let unsettled = matches!(vm.standing, Standing::Unsettled | Standing::Waking { unsure: true });
    // While it is not known what became of an append, it may have been this very command's.
    let doubtful = |failure: Failure| if unsettled { unresolved(failure) } else { failure };
    vm.settle(env, command.deadline).await.map_err(doubtful)?;
    let mut candidates = search(env, vm, command).await.map_err(doubtful)?;
    // It may be of a past that does not count any more: what stands behind it tells.
    if !candidates.is_empty() && !vm.is_current(env, command.deadline).await.map_err(unresolved)? {
        candidates = search(env, vm, command).await.map_err(unresolved)?;
    }
    for position in candidates {
        let read = vm.record_at(env, position, command.deadline).await;
        let Some(record) = read.map_err(unresolved)? else { continue };
        if let Some(reply) = recalled(vm, command, &record)? {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// Where the command may be stored, as the ledger or the store's index knows.
async fn search(env: &Env, vm: &Vm, command: &Prepared) -> Result<Vec<Position>, Failure> {
    let mut candidates: Vec<Position> = vm.ledger.find(&command.id).collect();
    // Also if the ledger knows one: it may be of another id with the same fingerprint.
    if command.id_by_caller && !vm.ledger.is_complete() {
        let (actor, deadline) = (&vm.actor, command.deadline);
        let find = env.store.find_command(actor, &command.id);
        let mut older = step!("turn.find-command", env.ask("find-command", deadline, find).await)?;
        if !older.is_empty() && env.is_repaired(actor) {
            // The index keeps what a repair skips: a command there has done nothing.
            let repairs = repairs(env, actor, deadline).await.map_err(unresolved)?;
            older.retain(|position| !repairs.pass(*position));
        }
        older.retain(|position| !candidates.contains(position));
        candidates.append(&mut older);
    }
    Ok(candidates)
}

/// The same failure, where it is not known whether the command is stored. Damage stays damage.
pub fn unresolved(mut failure: Failure) -> Failure {
    if !matches!(failure.code, Code::Quarantined | Code::Unresolved) {
        failure.code = Code::Unresolved;
        failure.reason = None;
        failure.detail = format!(
            "it is not known whether the command is stored: ask again with the same id; {}",
            failure.detail.replace("nothing was stored, ", "")
        );
    }
    failure
}

/// What `record` says of a command with this id.
fn recalled(vm: &Vm, command: &Prepared, record: &Record) -> Result<Option<Reply>, Failure> {
    let same = |meta: &CommandMeta| meta.id == command.id;
    let events: Vec<_> = record.events().filter(|(_, meta, _)| same(meta)).map(shown).collect();
    let Some((version, turn)) = events
        .last()
        .map(|event| event.version)
        .zip(record.turns.iter().find(|t| same(&t.command)))
    else {
        return Ok(None);
    };
    if turn.command.digest != command.digest || *turn.command.name != *command.name {
        let mut failure = vm.fail(
            Code::Invalid,
            &format!(
                "the command id `{}` was used before for `{}` with other fields; use a new id for a new command",
                command.id, turn.command.name
            ),
        );
        failure.command = Some(command.id.clone());
        return Err(failure);
    }
    let outcome = Outcome::Accepted(events);
    Ok(Some(Reply { actor: vm.actor.clone(), command: command.id.clone(), version, outcome }))
}

/// Whether the actor is at the version that the caller expects; `false`: look again, it has moved.
async fn expected(env: &Env, vm: &mut Vm, command: &Prepared) -> Result<bool, Failure> {
    let Some(wanted) = command.expected_version.filter(|wanted| *wanted != vm.chain.version) else {
        return Ok(true);
    };
    if !vm.is_current(env, command.deadline).await? {
        return Ok(false);
    }
    let found = vm.chain.version;
    Err(vm.fail(
        Code::Conflict,
        &format!("the caller expected version {wanted}; it is at version {found}: read it again and decide anew"),
    ))
}

/// What a command does.
enum Decided {
    /// Events, lawful and not yet stored, and the state behind them.
    Turn(Turn, Packed),
    /// A rejection, or no events.
    Nothing(Outcome),
}

/// What stands ahead of the log: a state behind turns that are not stored, and its version.
struct Ahead {
    state: Packed,
    version: u64,
}

/// Has the component decide, on what stands ahead if something does, and evolve a copy.
async fn decide(
    env: &Env,
    vm: &mut Vm,
    ahead: Option<&Ahead>,
    command: &Prepared,
) -> Result<Decided, Failure> {
    let version = ahead.map_or(vm.chain.version, |ahead| ahead.version);
    let context = context(version, command);
    let mut budget = Budget::new(vm.realm.runtime.deadline);
    let state = ahead.map_or(&vm.state, |ahead| &ahead.state);
    let decision = vm.guest.decide(&context, state, &command.case, &mut budget).await;
    let events = match decision.map_err(|fault| vm.faulted(env, &fault))? {
        Decision::Events(events) if !events.is_empty() => events,
        nothing_to_store => return outcome(vm, command, nothing_to_store).map(Decided::Nothing),
    };
    vm.realm.permit_events(command.case.case, &events).map_err(|e| unlawful(vm, &e))?;
    let state = ahead.map_or(&vm.state, |ahead| &ahead.state);
    let state = vm.guest.evolve(state, &events, &mut budget).await;
    let state = state.map_err(|fault| vm.faulted(env, &fault))?;
    if let Some(event) = vm.realm.closed_among(&events) {
        return Err(closed(vm, event));
    }
    Ok(Decided::Turn(kept(vm, command, &events), state))
}

fn context(version: u64, command: &Prepared) -> Context {
    Context {
        version,
        command_id: command.id.clone(),
        correlation_id: command.correlation.clone(),
        at: command.at,
        by: command.by.clone(),
        seed: command.seed,
    }
}

/// A decision that stores nothing, as the caller is told it.
fn outcome(vm: &Vm, command: &Prepared, decision: Decision) -> Result<Outcome, Failure> {
    let rejection = match decision {
        Decision::Events(_) => return Ok(Outcome::Accepted(Vec::new())),
        Decision::Rejected(rejection) => rejection,
    };
    let lawful = vm.realm.permit_rejection(command.case.case, rejection.case);
    lawful.map_err(|error| unlawful(vm, &error))?;
    let (name, plan) =
        vm.realm.plans().rejections.get(rejection.case).ok_or_else(|| {
            vm.fail(Code::ComponentFault, "the rejection is not one of the model's")
        })?;
    Ok(Outcome::Rejected { name: name.to_string(), fields: write(plan, &rejection.fields) })
}

/// A turn as its record keeps it.
fn kept(vm: &Vm, command: &Prepared, events: &[PackedCase]) -> Turn {
    let cases = &vm.realm.plans().events;
    let events = events.iter().filter_map(|event| {
        let (name, plan) = cases.get(event.case)?;
        Some(EventData { name: name.to_string(), data: write(plan, &event.fields) })
    });
    Turn {
        command: CommandMeta {
            id: command.id.clone(),
            name: command.name.to_string(),
            digest: command.digest,
            at: command.at,
            by: command.by.as_deref().map(str::to_owned),
            correlation: command.correlation.clone(),
            causation: command.causation.clone(),
            seed: command.seed.to_string(),
        },
        events: events.collect(),
    }
}

/// The record of these turns.
fn record(vm: &Vm, turns: Vec<Turn>) -> Record {
    let realm = &vm.realm;
    Record {
        format: FORMAT,
        kind: Kind::Turns,
        actor: vm.actor.to_string(),
        first: vm.chain.version + 1,
        prev: vm.chain.digest,
        deployment: realm.deployment,
        model: realm.model,
        component: realm.behaviour.component(),
        turns,
        repair: None,
    }
}

/// The ids by which callers may send these commands again.
fn ids(commands: &[&Prepared]) -> Vec<String> {
    let by_callers = commands.iter().filter(|command| command.id_by_caller);
    by_callers.map(|command| command.id.clone()).collect()
}

/// Moves the VM behind its record, which is stored.
fn adopt(vm: &mut Vm, state: Packed, record: &Record, stored: &Stored) {
    vm.state = state;
    vm.chain.advance(record, stored);
    vm.ledger.remember(record, stored.position, vm.realm.runtime.dedupe as usize);
}

/// What became of a record.
enum Appended {
    /// It is the log's last.
    Stored(Stored),
    /// Others wrote first, and the VM has caught up with them; the record itself may be among what
    /// it read, the ledger knows.
    Refused {
        /// Where the version check sees the log end, if nothing new was found: nobody wrote.
        blind: Option<Position>,
    },
}

/// Writes the record with the version check.
async fn append(
    env: &Env,
    vm: &mut Vm,
    command_ids: Vec<String>,
    record: &Record,
    deadline: Instant,
) -> Result<Appended, Failure> {
    let stood = vm.chain.position;
    let bytes =
        record.encode().map_err(|error| vm.fail(Code::ComponentFault, &error.to_string()))?;
    let append = Append {
        actor: vm.actor.clone(),
        expected: stood,
        first: record.first,
        events: record.event_count(),
        command_ids,
        bytes: bytes.clone(),
        deadline,
    };
    let begun = clock::now();
    let answer = step!("turn.append", env.store.append(append).await);
    env.metrics.store("append", answer.is_ok(), begun.elapsed());
    match answer {
        Ok(position) => Ok(Appended::Stored(Stored { position, bytes })),
        Err(AppendError::Conflict { last }) => {
            env.metrics.conflict(&vm.realm.context, &vm.realm.aggregate);
            let at_least = last.unwrap_or_default();
            // An earlier try of this record may be what moved the log: until that is read, the
            // outcome is not known.
            vm.standing = Standing::Unsettled;
            let read = vm.catch_up(env, Freshness::Leader, at_least, deadline).await;
            read.map_err(unresolved)?;
            let moved = vm.chain.position != stood;
            // Who refused may be one that its peers have replaced: then the record may still come.
            // Behind a newer one it cannot.
            if moved {
                vm.standing = Standing::Settled;
            }
            Ok(Appended::Refused { blind: if moved { None } else { Some(at_least) } })
        }
        Err(AppendError::TooLarge { bytes, limit }) => Err(vm.fail(
            Code::TooLarge,
            &format!("the record of this command would have {bytes} bytes; the limit is {limit}; nothing was stored, send less at once"),
        )),
        Err(AppendError::Unavailable(error)) => Err(vm.fail(
            Code::Unavailable,
            &format!("the store cannot write: {error}; nothing was stored, try again later"),
        )),
        Err(AppendError::Unresolved(error)) => {
            vm.standing = Standing::Unsettled;
            Err(vm.fail(
                Code::Unresolved,
                &format!("the store did not say whether the events were stored: {error}; ask again with the same command id"),
            ))
        }
    }
}

fn reply(vm: &Vm, command: &Prepared, outcome: Outcome) -> Reply {
    Reply {
        actor: vm.actor.clone(),
        command: command.id.clone(),
        version: vm.chain.version,
        outcome,
    }
}

/// One event of a record as callers see it.
pub fn shown((version, command, event): (u64, &CommandMeta, &EventData)) -> Event {
    Event {
        version,
        name: event.name.clone(),
        data: event.data.clone(),
        at: command.at,
        command: command.id.clone(),
    }
}

/// What is about to be deployed could not read this event: nothing may write it any more.
fn closed(vm: &Vm, event: &str) -> Failure {
    vm.fail(
        Code::Unavailable,
        &format!("a deployment is under way whose model has no such event as `{event}`; nothing was stored, try again in a moment"),
    )
}

fn unlawful(vm: &Vm, error: &crate::served::Unlawful) -> Failure {
    let mut failure = vm.fail(Code::ComponentFault, &format!("{error}; nothing was stored"));
    failure.reason = Some("contract");
    failure.component = Some(vm.realm.behaviour.component());
    failure
}
