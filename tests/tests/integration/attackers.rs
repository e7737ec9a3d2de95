//! Callers who mean harm, over NATS and over HTTP, with a real server and a real host: what they
//! forge is not believed, what they flood with is bounded, and the others are served.
//!
//! `AETHER_TEST_ATTACK=full` sends all that an attacker with one machine can: 10,000 connections
//! and 100,000 requests on one of them. By default it is a part, for a machine that runs other
//! tests.

mod over_http;
mod over_nats;

use aether_tests::host_process::HostProcess;

/// Environment variable: `full` for the whole attack.
const ATTACK_VARIABLE: &str = "AETHER_TEST_ATTACK";

/// Most memory that a host may have had at the end: an idle one has about 100 MiB; what it holds
/// of requests is bounded by the limits of the faces.
const MAX_PEAK_BYTES: u64 = 600 << 20;

/// The whole number, or a part for an ordinary run.
fn full_or(full: usize, part: usize) -> usize {
    match std::env::var(ATTACK_VARIABLE).as_deref() {
        Ok("full") => full,
        Ok(other) => panic!("{ATTACK_VARIABLE} is `{other}`: expected `full`, or nothing"),
        Err(_) => part,
    }
}

#[track_caller]
fn memory_is_bounded(host: &HostProcess) {
    let peak = host.peak_bytes().unwrap();
    println!("the host had at most {} MiB", peak >> 20);
    assert!(peak < MAX_PEAK_BYTES, "the host had {peak} bytes of memory");
}
