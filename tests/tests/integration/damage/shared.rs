//! Two hosts on one store, while an operator lets an actor go on at one of them: the other one
//! must notice that what it holds in memory does not count any more.

use std::{pin::pin, sync::Arc, time::Duration};

use aether::{
    address::Address,
    audit::release::{Order, Released},
    clock,
    command::{Command, Consistency, Query},
    config::Limits,
    env::Env,
    failure::{Code, Failure},
    host::Host,
    metrics::Metrics,
    record::{Damage, Position},
    store::{EventStore, Freshness},
};
use aether_tests::{
    faulty_store::FaultyStore,
    in_process::{PATIENCE, command, faulty_store, send, start, state},
    workspace,
};
use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::poll;
use serde_json::{Value, json};

const ALICE: &str = "bank/account/alice";

/// The account is opened at position 1; behind it lie deposits of 1, 2, 4, 8 and 16.
const LAST: u64 = 6;

fn alice() -> Address {
    ALICE.parse().unwrap()
}

/// The deposit whose record stands at `position`, as it was sent and may be sent again.
fn deposit(position: u64) -> Command {
    let amount = 1 << (position - 2);
    let mut deposit = command(ALICE, "deposit", &json!({ "amount": amount })).unwrap();
    deposit.id = Some(format!("d-{position}"));
    deposit
}

/// A store and two hosts on it; only the second one has had to do with the account.
async fn two_hosts() -> Result<(Arc<FaultyStore>, Host, Host)> {
    let store = faulty_store().await?;
    let model = workspace::bank_model()?;
    let (first, second) =
        (start(store.clone(), &model).await?, start(store.clone(), &model).await?);
    send(&second, ALICE, "open", json!({"owner": "Alice"})).await?;
    for position in 2..=LAST {
        assert_eq!(second.send(deposit(position)).await?.version, position);
    }
    Ok((store, first, second))
}

fn garbage(store: &FaultyStore, position: u64) {
    store.alter(Position(position), Bytes::from_static(b"garbage"));
}

async fn alter_amount(store: &FaultyStore, position: u64) -> Result<()> {
    let page = store.read(&alice(), Position(position), Freshness::Leader).await?;
    let text = String::from_utf8(page.records[0].bytes.to_vec())?;
    let amount = format!("\"amount\":{}}}", 1 << (position - 2));
    ensure!(text.matches(&amount).count() == 1, "{text}");
    store.alter(Position(position), text.replace(&amount, "\"amount\":9}").into());
    Ok(())
}

async fn release(host: &Host, skip: &[u64]) -> Result<Released, Failure> {
    let because = if skip.is_empty() { "" } else { "the test broke it" };
    let order = Order {
        actor: alice(),
        skip: skip.iter().copied().map(Position).collect(),
        because: because.to_owned(),
        by: None,
        deadline: clock::now() + PATIENCE,
    };
    host.release(order).await
}

async fn local(host: &Host) -> Result<(u64, Value), Failure> {
    let query = Query {
        actor: alice(),
        version: None,
        min_version: None,
        consistency: Consistency::Local,
        deadline: clock::now() + PATIENCE,
    };
    let view = host.state(query).await?;
    let state: Value = serde_json::from_str(view.state.get()).unwrap();
    Ok((view.version, state["balance"].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_skipped_is_not_answered_from_anothers_memory() -> Result<()> {
    let (store, first, second) = two_hosts().await?;
    garbage(&store, 3);
    // The records at 4 and 5 can be read; the operator skips them with the damaged one.
    assert_eq!(release(&first, &[5]).await?.version, 6);
    let again = second.send(deposit(4)).await?;
    assert_eq!(again.version, 7, "it counts for nothing where it was: it is done again");
    assert_eq!(second.send(deposit(4)).await?.version, 7);
    assert_eq!(second.send(deposit(2)).await?.version, 2);
    let (version, state) = state(&first, ALICE).await?;
    assert_eq!((version, &state["balance"]), (7, &json!(1 + 16 + 4)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_host_holds_in_memory_is_given_up_when_it_hears_of_the_release() -> Result<()>
{
    let (store, first, second) = two_hosts().await?;
    garbage(&store, 3);
    release(&first, &[5]).await?;
    assert_eq!(local(&second).await?, (6, json!(31)), "it has not heard");
    assert_eq!(second.quarantines(None).await?, []);
    // No snapshot of the past that does not count.
    assert!(second.sleep(&alice(), clock::now() + PATIENCE).await?);
    assert_eq!(store.newest_snapshot(&alice()).await?, None);
    assert_eq!(local(&second).await?, (6, json!(1 + 16)));
    // And none of it in memory, with a mark that came and went.
    assert_eq!(local(&first).await?, (6, json!(1 + 16)));
    garbage(&store, 2);
    assert_eq!(release(&second, &[]).await.unwrap_err().code, Code::Quarantined);
    assert_eq!(release(&second, &[5]).await?.version, 6);
    assert_eq!(local(&second).await?, (6, json!(16)));
    assert_eq!(state(&first, ALICE).await?.1["balance"], 16);
    Ok(())
}

/// The record that the second host stands on was altered: a repair names only what was found there.
#[tokio::test(flavor = "multi_thread")]
async fn who_stands_on_the_original_of_a_skipped_record_begins_anew() -> Result<()> {
    let (store, first, second) = two_hosts().await?;
    garbage(&store, LAST);
    release(&first, &[LAST]).await?;
    let (version, state) = state(&second, ALICE).await?;
    assert_eq!((version, &state["balance"]), (5, &json!(15)));
    assert_eq!(store.quarantines("bank").await?, []);
    assert_eq!(second.send(deposit(LAST)).await?.version, 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_snapshot_on_the_original_of_a_skipped_record_is_no_damage() -> Result<()> {
    let (store, first, second) = two_hosts().await?;
    garbage(&store, LAST);
    release(&first, &[LAST]).await?;
    // It has not heard yet.
    second.sleep(&alice(), clock::now() + PATIENCE).await?;
    ensure!(store.newest_snapshot(&alice()).await?.is_some(), "the stale snapshot is there");
    for host in [&first, &second] {
        assert_eq!(state(host, ALICE).await?.1["balance"], 15);
    }
    assert_eq!(store.quarantines("bank").await?, []);
    Ok(())
}

/// However far it comes before the store is away, nobody is shown a version on the way.
#[tokio::test(flavor = "multi_thread")]
async fn who_begins_anew_shows_nothing_before_it_is_done() -> Result<()> {
    for answered in 0.. {
        let (store, first, second) = two_hosts().await?;
        garbage(&store, LAST);
        release(&first, &[LAST]).await?;
        store.answer_reads(answered);
        let done = state(&second, ALICE).await;
        let shown = local(&second).await;
        if let Ok((version, state)) = done {
            assert_eq!((version, &state["balance"]), (5, &json!(15)));
            assert_eq!(shown?, (5, json!(15)));
            ensure!(answered > 3, "it read before it began anew");
            return Ok(());
        }
        let whole = [(6, json!(31)), (5, json!(15))];
        assert!(
            shown.as_ref().is_ok_and(|shown| whole.contains(shown)) || shown.is_err(),
            "{shown:?}"
        );
        store.answer_reads(u64::MAX);
        assert_eq!(local(&second).await?.0, if shown.is_ok() { 6 } else { 5 });
        assert_eq!(state(&second, ALICE).await?.0, 5);
    }
    Ok(())
}

/// A replica has lost the repair: that is no reason for a quarantine.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_a_replica_does_not_show_still_counts() -> Result<()> {
    let (store, first, second) = two_hosts().await?;
    garbage(&store, LAST);
    let repair = release(&first, &[LAST]).await?.repair.unwrap();
    store.make_hole(repair);
    assert_eq!(state(&second, ALICE).await?.1["balance"], 15);
    assert_eq!(store.quarantines("bank").await?, []);
    Ok(())
}

/// Whether it is asked again at once or every time: another replica, or the leader itself, shows
/// what one replica leaves out, and nothing before it is left out in turn.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_whole_though_a_replica_has_a_hole() -> Result<()> {
    for reads in [1, u64::MAX] {
        let (store, first, _second) = two_hosts().await?;
        store.make_hole_for(Position(3), reads);
        let query = Query {
            actor: alice(),
            version: Some(LAST),
            min_version: None,
            consistency: Consistency::Linearizable,
            deadline: clock::now() + PATIENCE,
        };
        let view = first.state(query).await?;
        let state: Value = serde_json::from_str(view.state.get())?;
        assert_eq!(state["balance"], 31, "a hole in {reads} reads");
        store.make_hole_for(Position(3), reads);
        let page = first.events(&alice(), 1, 100, clock::now() + PATIENCE).await?;
        assert_eq!((page.events.len() as u64, page.next), (LAST, None));
    }
    Ok(())
}

/// The fields of a readable record were altered behind the back of an awake actor.
#[tokio::test(flavor = "multi_thread")]
async fn an_altered_record_is_not_told_as_what_a_command_did() -> Result<()> {
    for (position, kind) in [(3, "follows"), (LAST, "log-behind")] {
        let (store, _first, second) = two_hosts().await?;
        assert_eq!(second.send(deposit(position)).await?.version, position);
        alter_amount(&store, position).await?;
        let refused = second.send(deposit(position)).await.unwrap_err();
        assert!(refused.code == Code::Quarantined && refused.detail.contains(kind), "{refused}");
    }
    Ok(())
}

/// A host's knowledge of quarantines, without the host.
async fn env() -> Result<(Arc<FaultyStore>, Env)> {
    let store = faulty_store().await?;
    let env = Env::new(store.clone(), Arc::new(Metrics::default()), Limits::default());
    Ok((store, env))
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_hear_of_marks_however_often_they_ask() -> Result<()> {
    let (store, env) = env().await?;
    let other = Env::new(store, Arc::new(Metrics::default()), Limits::default());
    let contexts = ["bank".to_owned()];
    let damage = Damage::Missing { position: Position(4) };
    other.quarantine(&alice(), &damage).await;
    let mut one = pin!(env.learn_marks(&contexts));
    let mut two = pin!(env.learn_marks(&contexts));
    ensure!(poll!(&mut one).is_pending() && poll!(&mut two).is_pending(), "both ask at once");
    tokio::time::timeout(Duration::from_secs(30), one).await??;
    assert!(env.quarantined(&alice()).is_some(), "the first one has its answer");
    two.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_is_remembered_whoever_marked_the_actor_before() -> Result<()> {
    let (store, env) = env().await?;
    let other = Env::new(store.clone(), Arc::new(Metrics::default()), Limits::default());
    let contexts = ["bank".to_owned()];
    other.quarantine(&alice(), &Damage::Missing { position: Position(4) }).await;
    let digest = aether_wit::Digest::of("lost");
    env.quarantine(&alice(), &Damage::LogBehind { position: Position(10), digest }).await;
    other.quarantine(&alice(), &Damage::Missing { position: Position(5) }).await;
    for known in [&env, &other] {
        known.learn_marks(&contexts).await?;
        let mark = known.quarantined(&alice()).unwrap();
        assert_eq!((mark.position, mark.digest), (Position(10), Some(digest)));
    }
    Ok(())
}
