//! More actors awake than there are instances, in the language whose instances are the largest.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    languages::{self, Language},
    measure::{Latencies, metric},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

/// Actors that are awake.
const ACTORS: u64 = 1000;

/// Instances for all of them.
const INSTANCES: u64 = 200;

/// Clients at once: enough for two cores. On a slow machine the last of many would wait behind the
/// others for longer than a command may take.
const CLIENTS: u64 = 8;

/// Commands to actors of any number, behind the first one to each.
const COMMANDS: u64 = 2000;

/// After how many commands a client looks at the number of instances.
const LOOK: u64 = 25;

/// Most memory of an instance of Python, in bytes: 1.4 MB were measured, with a margin for the
/// allocators' rests.
const PER_INSTANCE: u64 = 2 << 20;

/// Most memory of an actor that is awake without one, in bytes: 1.3 KB were measured.
const PER_ACTOR: u64 = 16 << 10;

/// Most memory of a host of any number of actors, in bytes: its code, that of Python, stacks.
const HOST: u64 = 256 << 20;

/// `count` commands by many clients at once: what `command` gives for each number.
fn send(host: &HostProcess, count: u64, command: impl Fn(u64) -> (u64, &'static str) + Sync) {
    let begun = clock::now();
    let next = AtomicU64::new(0);
    let mut all = Latencies::new().unwrap();
    thread::scope(|scope| {
        let client = || {
            let client = host.client();
            let mut times = Latencies::new().unwrap();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return times;
                }
                let (actor, name) = command(number);
                let fields = match name {
                    "open" => json!({ "owner": "Alice" }),
                    _ => json!({ "amount": 1 }),
                };
                let sent = clock::now();
                let actor = format!("bank/account/many-{actor}");
                let reply = client.command(&actor, name, &fields).unwrap();
                times.add(sent.elapsed());
                assert_eq!(reply.status, 200, "{actor}: {}", reply.text());
                if number.is_multiple_of(LOOK) {
                    let alive = metric(&client, "aether_instances", &[]).unwrap();
                    assert!(alive <= INSTANCES as f64, "{alive} instances");
                }
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().for_each(|client| all.merge(&client.join().unwrap()).unwrap());
    });
    println!(
        "{} commands in {:.1?}, median {:?}, p99 {:?}; {} MiB in RAM",
        all.count(),
        begun.elapsed(),
        all.median(),
        all.p99(),
        host.proportional_bytes().unwrap() >> 20
    );
}

#[test]
fn a_thousand_python_actors_share_two_hundred_instances() {
    if !Language::there().unwrap().contains(&Language::Python) {
        return;
    }
    let model = Language::Python.bank().unwrap();
    languages::compile(&[Language::Python.account().unwrap(), languages::transfer().unwrap()])
        .unwrap();
    let options = HostOptions::new().unwrap().model(model);
    let options = options.args(["--max-instances", &INSTANCES.to_string()]);
    let cache = languages::cache().unwrap();
    let host = options.env("AETHER_CACHE_DIR", cache.to_str().unwrap()).start().unwrap();

    send(&host, INSTANCES, |number| (number, "open"));
    let before = host.proportional_bytes().unwrap();
    send(&host, ACTORS - INSTANCES, |number| (INSTANCES + number, "open"));
    let any = |number| StdRng::seed_from_u64(number).random_range(0..ACTORS);
    send(&host, COMMANDS, |number| (any(number), "deposit"));

    let client = host.client();
    let count = |name: &str| metric(&client, name, &[]).unwrap();
    assert_eq!(count("aether_awake_actors"), ACTORS as f64);
    assert_eq!(count("aether_wakes_total"), ACTORS as f64, "none had to be woken again");
    let resident = host.proportional_bytes().unwrap();
    let most = HOST + INSTANCES * PER_INSTANCE + ACTORS * PER_ACTOR;
    assert!(resident <= most, "{resident} bytes in RAM, at most {most} are expected");
    // With all instances in use, only the actors themselves come on top.
    let grown = resident.saturating_sub(before);
    let most = ACTORS * PER_ACTOR + INSTANCES * PER_INSTANCE / 4;
    assert!(grown <= most, "{grown} bytes more than with {INSTANCES} actors");

    let mut deposits = vec![0_u64; usize::try_from(ACTORS).unwrap()];
    (0..COMMANDS).for_each(|number| deposits[usize::try_from(any(number)).unwrap()] += 1);
    for (number, sum) in deposits.into_iter().enumerate() {
        let url = format!("/v1/bank/account/many-{number}");
        let state = client.get(&url).unwrap().json().unwrap();
        assert_eq!(state["state"]["balance"], sum, "{number}: {state}");
    }
}
