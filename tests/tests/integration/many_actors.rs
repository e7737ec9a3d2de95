//! Twenty times more actors awake than instances: an actor keeps its state when its instance is
//! taken back, so none of them has to be woken again.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    measure::{Latencies, metric},
    workspace,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

const ACTORS: u64 = 20_000;

const INSTANCES: u64 = 1000;

/// Clients at once, so that records share their way to the disk.
const CLIENTS: u64 = 64;

/// Sends `add 1` to each actor that `actors` names, split among the clients; says how long it
/// took.
fn add_to(host: &HostProcess, what: &str, actors: impl Fn(u64) -> u64 + Sync) {
    let begun = clock::now();
    let next = AtomicU64::new(0);
    let mut all = Latencies::new().unwrap();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = host.client();
                let (next, actors) = (&next, &actors);
                scope.spawn(move || {
                    let mut times = Latencies::new().unwrap();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= ACTORS {
                            return times;
                        }
                        let to = format!("hostile/counter/c{}", actors(number));
                        let sent = clock::now();
                        let reply = client.command(&to, "add", &json!({"amount": 1})).unwrap();
                        times.add(clock::now() - sent);
                        assert_eq!(reply.status, 200, "{to}: {}", reply.text());
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| all.merge(&client.join().unwrap()).unwrap());
    });
    let (took, resident) = (clock::now() - begun, host.resident_bytes().unwrap() >> 20);
    println!(
        "{what}: {} commands in {took:.1?}, median {:?}, p99 {:?}; {resident} MiB resident",
        all.count(),
        all.median(),
        all.p99(),
    );
}

#[test]
fn actors_stay_awake_without_an_instance() {
    let max = INSTANCES.to_string();
    let options = HostOptions::new().unwrap().model(workspace::hostile_model().unwrap());
    let host = options.args(["--max-instances", &max]).start().unwrap();
    let client = host.client();
    let count = |name: &str| metric(&client, name, &[]).unwrap();
    println!("before: {} MiB resident", host.resident_bytes().unwrap() >> 20);

    add_to(&host, "one command to each of 20,000 actors", |number| number);
    assert_eq!(count("aether_awake_actors"), ACTORS as f64);
    assert_eq!(count("aether_wakes_total"), ACTORS as f64);
    // Two who wait at once may both be left the place of one, so a few may be free.
    let instances = count("aether_instances");
    assert!(instances <= INSTANCES as f64, "{instances}");
    assert!(instances >= (INSTANCES - CLIENTS) as f64, "{instances}");

    let chosen = |number| StdRng::seed_from_u64(number).random_range(0..ACTORS);
    add_to(&host, "20,000 commands to actors at random", chosen);
    assert_eq!(count("aether_wakes_total"), ACTORS as f64, "an actor was woken in between");
    assert_eq!(count("aether_awake_actors"), ACTORS as f64);
    assert!(count("aether_instances") <= INSTANCES as f64);

    // None has missed a command, and none has one too many.
    let mut sums = vec![1_u64; usize::try_from(ACTORS).unwrap()];
    (0..ACTORS).for_each(|number| sums[usize::try_from(chosen(number)).unwrap()] += 1);
    for (number, sum) in sums.iter().enumerate().step_by(97) {
        let state = client.get(&format!("/v1/hostile/counter/c{number}")).unwrap();
        assert_eq!(state.json().unwrap()["state"]["sum"], *sum, "c{number}");
    }
}
