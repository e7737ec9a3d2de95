//! Calls: what comes back, what fails how, where it runs, and who gets an instance.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;

#[tokio::test]
async fn a_command_is_decided_and_its_events_are_applied() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guest = guest(&counter, "a");
    assert_eq!(guest.initial(&mut plenty()).await.unwrap(), number(0));
    assert_eq!(answer(&mut guest, "add", 7).await, added(7));
    let events = [added(7), added(1)];
    assert_eq!(guest.evolve(&number(5), &events, &mut plenty()).await.unwrap(), number(13));
    let refused = send(&mut guest, "refuse", 0, Duration::from_secs(1)).await.unwrap();
    assert_eq!(refused, Decision::Rejected(PackedCase { case: 0, fields: number(5) }));
    assert_eq!(sandbox.instances(), 1, "one instance for all calls");
    drop(guest);
    assert_eq!(sandbox.instances(), 0);
}

#[tokio::test]
async fn every_call_sees_the_same_world() {
    let sandbox = sandbox(4);
    for runtime in [Runtime::default(), turn_isolation()] {
        let counter = counter(&sandbox, runtime).await;
        let (mut a, mut b) = (guest(&counter, "a"), guest(&counter, "b"));
        let random = answer(&mut a, "random", 0).await;
        for _ in 0..3 {
            assert_eq!(answer(&mut a, "wall", 0).await, added(1234));
            assert_eq!(answer(&mut a, "ticks", 0).await, added(1000));
            assert_eq!(answer(&mut a, "see", 0).await, added(1_234_567 + 3));
            assert_eq!(answer(&mut a, "udp", 0).await, added(1));
            assert_eq!(answer(&mut a, "random", 0).await, random);
            assert_ne!(answer(&mut b, "random", 0).await, random);
        }
        let mut clock = guest(&counter, "clock!");
        answer(&mut clock, "wall", 0).await;
        assert_eq!(clock.initial(&mut plenty()).await.unwrap(), number(0));
    }
}

#[tokio::test]
async fn every_failure_has_its_kind_and_costs_only_the_instance() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guest = guest(&counter, "a");
    for (command, n, kind, words) in [
        ("trap", 0, FaultKind::Trap, "unreachable"),
        ("recurse", 0, FaultKind::Trap, "call stack exhausted"),
        ("grow", 0, FaultKind::Memory, "bytes of memory"),
        ("spin", 0, FaultKind::Deadline, "deadline"),
        ("junk", 0, FaultKind::Contract, "discriminant"),
        ("many", 1025, FaultKind::Contract, "1025 events"),
        ("many", 10_000_000, FaultKind::Contract, "out of bounds"),
    ] {
        let fault = fault(&mut guest, command, n).await;
        assert_eq!(fault.kind, kind, "{command}: {fault}");
        assert!(fault.detail.contains(words), "{command}: {fault}");
        let digest = counter.component().short();
        assert!(
            fault.detail.contains("`decide` of test/counter") && fault.detail.contains(&digest)
        );
        assert_eq!(sandbox.instances(), 0, "{command}");
        assert_eq!(answer(&mut guest, "add", 1).await, added(1));
    }
    let many = send(&mut guest, "many", 1024, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(many, Decision::Events(events) if events.len() == 1024));
}

#[tokio::test]
async fn memory_is_what_the_model_says_up_to_the_slot() {
    let sandbox = sandbox(4);
    let runtime = Runtime { memory: 1 << 40, ..Runtime::default() };
    let capped = counter(&sandbox, runtime).await;
    let text = fault(&mut guest(&capped, "a"), "grow", 0).await.detail;
    assert!(text.contains(&(64 << 20).to_string()), "{text}");
    let larger = SandboxConfig {
        max_guest_memory: 256 << 20,
        max_instances: Some(2),
        ..SandboxConfig::default()
    };
    let larger = Sandbox::new(larger).unwrap();
    let runtime = Runtime { memory: 200 << 20, ..Runtime::default() };
    let roomy = counter(&larger, runtime).await;
    assert_eq!(answer(&mut guest(&roomy, "a"), "grow", 0).await, added(0));
    let kind =
        fault(&mut guest(&counter(&larger, Runtime::default()).await, "a"), "grow", 0).await.kind;
    assert_eq!(kind, FaultKind::Memory);
}

/// On one thread of the runtime: were it held for the deadline, the timers would stand still.
#[tokio::test]
async fn a_loop_in_any_function_ends_while_timers_go_on() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let beats = Arc::new(AtomicU64::new(0));
    let heart = tokio::spawn({
        let beats = Arc::clone(&beats);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                beats.fetch_add(1, Relaxed);
            }
        }
    });
    let budget = || Budget::new(Duration::from_millis(300));
    for function in ["initial", "decide", "evolve"] {
        let before = beats.load(Relaxed);
        let fault = match function {
            "initial" => guest(&counter, "loop").initial(&mut budget()).await.map(drop),
            "decide" => send(&mut guest(&counter, "a"), "spin", 0, budget().left()).await.map(drop),
            _ => {
                let mut guest = guest(&counter, "a");
                guest.evolve(&number(0), &[added(666)], &mut budget()).await.map(drop)
            }
        };
        let fault = fault.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Deadline);
        assert!(fault.detail.contains(&format!("`{function}`")), "{fault}");
        let beats = beats.load(Relaxed) - before;
        assert!(beats > 20, "{beats} beats in 300 ms of {function}");
    }
    heart.abort();
    for (id, events) in [("trap!", vec![]), ("a", vec![added(667)])] {
        let mut guest = guest(&counter, id);
        let fault = match events.is_empty() {
            true => guest.initial(&mut plenty()).await.unwrap_err(),
            false => guest.evolve(&number(0), &events, &mut plenty()).await.unwrap_err(),
        };
        assert_eq!(fault.kind, FaultKind::Trap, "{fault}");
    }
}

#[tokio::test]
async fn a_slow_call_is_run_again_with_all_its_time_and_leaves_the_others_inline() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guest = guest(&counter, "a");
    let (work, add) = (Kind(COMMANDS.len() - 2), Kind(0));
    assert!(counter.credit.inline(work.command()));
    // Longer than a slice on any machine, shorter than the budget on most.
    let mut iterations = 50_000_000;
    while counter.credit.inline(work.command()) {
        assert_eq!(answer(&mut guest, "work", iterations).await, added(iterations));
        iterations *= 2;
    }
    assert!(counter.credit.inline(add.command()));
    let mut calls = 0;
    while !counter.credit.inline(work.command()) {
        answer(&mut guest, "work", 1).await;
        calls += 1;
        assert!(calls < 10_000, "quick calls bring the credit back");
    }
    assert!(calls >= 16, "{calls}");
}

/// A command by its index.
struct Kind(usize);

impl Kind {
    fn command(&self) -> behaviour::Kind {
        let command = PackedCase { case: self.0, fields: Packed::default() };
        behaviour::Kind::of(&call::Call::Decide {
            context: std::borrow::Cow::Owned(Context {
                version: 0,
                command_id: String::new(),
                correlation_id: String::new(),
                at: 0,
                by: None,
                seed: 0,
            }),
            state: std::borrow::Cow::Owned(Packed::default()),
            command: std::borrow::Cow::Owned(command),
        })
    }
}

#[tokio::test]
async fn a_large_call_goes_to_the_slow_thread() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guest = guest(&counter, "a");
    let events = vec![added(1_000_000_000); 25_000];
    let state = guest.evolve(&number(0), &events, &mut plenty()).await.unwrap();
    assert_eq!(state, number(25_000 * 1_000_000_000));
}

#[tokio::test]
async fn an_answer_too_large_for_a_slice_is_asked_for_again_on_the_slow_thread() {
    // Every byte of a list takes a value of its own on the host.
    let wit = WIT.replace("record added { n: u64 }", "record added { n: list<u8> }");
    let wat = WAT
        .replace("(i64.store (i32.const 72) (local.get $n))", "(i32.store (i32.const 68) (i32.const 0)) (i32.store (i32.const 72) (i32.wrap_i64 (local.get $n)))")
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 100)");
    let mut model = model(Runtime::default());
    let bytes = Type::List(Box::new(Type::U8));
    model.aggregates["counter"].events["added"].fields = fields(&[("n", bytes)]);
    let sandbox = sandbox(4);
    let component = sandbox.load(component(&wit, &wat).into()).await.unwrap();
    let counter = component.behaviour(&Arc::new(model), "counter").unwrap();
    let mut guest = guest(&counter, "a");
    let add = Kind(0);
    assert!(answer(&mut guest, "add", 1000).await.fields.0.len() > 1000);
    assert!(counter.credit.inline(add.command()));
    assert!(answer(&mut guest, "add", 500_000).await.fields.0.len() > 500_000);
    assert!(!counter.credit.inline(add.command()));
    let fault = fault(&mut guest, "add", 5_000_000).await;
    assert_eq!(fault.kind, FaultKind::Contract, "{fault}");
}

#[tokio::test]
async fn decide_and_evolve_share_a_budget() {
    let sandbox = sandbox(4);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guest = guest(&counter, "a");
    let mut budget = Budget::new(Duration::from_millis(100));
    guest.evolve(&number(0), &[added(1)], &mut budget).await.unwrap();
    assert!(budget.left() < Duration::from_millis(100) && !budget.left().is_zero());
    guest.evolve(&number(0), &[added(666)], &mut budget).await.unwrap_err();
    assert!(budget.left().is_zero());
    let fault = guest.evolve(&number(0), &[added(1)], &mut budget).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
}

#[tokio::test]
async fn more_actors_than_instances_share_them() {
    let sandbox = sandbox(3);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut guests: Vec<_> = (0..20).map(|n| guest(&counter, &format!("g{n}"))).collect();
    let mut states = vec![number(0); guests.len()];
    for round in 1..=5 {
        for (guest, state) in guests.iter_mut().zip(&mut states) {
            *state = guest.evolve(state, &[added(1)], &mut plenty()).await.unwrap();
            assert_eq!(*state, number(round));
            assert!(sandbox.instances() <= 3);
        }
    }
    assert_eq!(sandbox.instances(), 3);
    drop(guests);
    assert_eq!(sandbox.instances(), 0);
}

#[tokio::test]
async fn isolation_turn_keeps_an_instance_for_one_command_only() {
    let sandbox = sandbox(3);
    let counter = counter(&sandbox, turn_isolation()).await;
    let mut guest = guest(&counter, "a");
    guest.initial(&mut plenty()).await.unwrap();
    assert_eq!(sandbox.instances(), 0);
    answer(&mut guest, "add", 1).await;
    assert_eq!(sandbox.instances(), 1, "for evolve of the same command");
    guest.evolve(&number(0), &[added(1)], &mut plenty()).await.unwrap();
    assert_eq!(sandbox.instances(), 0);
    send(&mut guest, "refuse", 0, Duration::from_secs(1)).await.unwrap();
    assert_eq!(sandbox.instances(), 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_breaks_nothing() {
    let sandbox = sandbox(1);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut gone = guest(&counter, "a");
    {
        let call = send(&mut gone, "spin", 0, Duration::from_millis(200));
        tokio::pin!(call);
        // The inline slice is over and the call waits for the slow thread.
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    assert_eq!(sandbox.instances(), 1, "the call that nobody waits for runs on");
    let mut other = guest(&counter, "b");
    assert_eq!(answer(&mut other, "add", 1).await, added(1));
    assert_eq!(answer(&mut gone, "add", 2).await, added(2));
}

#[tokio::test]
async fn without_a_free_instance_a_call_waits_and_then_says_so() {
    let sandbox = sandbox(1);
    let counter = counter(&sandbox, Runtime::default()).await;
    let mut busy = guest(&counter, "a");
    let call = send(&mut busy, "spin", 0, Duration::from_millis(1000));
    tokio::pin!(call);
    assert!(futures::poll!(call.as_mut()).is_pending());
    let mut other = guest(&counter, "b");
    let fault = send(&mut other, "add", 1, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NoInstance);
    assert!(fault.detail.contains("all 1 of this host are busy"), "{fault}");
    assert_eq!(call.await.unwrap_err().kind, FaultKind::Deadline);
    assert_eq!(answer(&mut other, "add", 1).await, added(1));
}
