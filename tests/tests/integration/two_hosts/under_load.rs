//! Two hosts that write to the same actors at once, alone and while something dies.

use std::{thread, time::Duration};

use aether_tests::nats_server::NatsServer;

use super::{
    kit::bank,
    load::{Load, assert_told_is_stored, conflicts, open_accounts},
};

/// Accounts that all clients share.
const ACTORS: usize = 10;

/// Seconds of load; `LOAD_SECONDS` sets another number.
fn seconds() -> Duration {
    let set = std::env::var("LOAD_SECONDS").ok().map(|text| text.parse().expect("a number"));
    Duration::from_secs(set.unwrap_or(5))
}

#[test]
fn two_hosts_share_actors_and_every_answer_is_right() {
    let server = NatsServer::start().unwrap();
    let hosts = [bank(&server), bank(&server)];
    let clients = [hosts[0].client(), hosts[1].client()];
    open_accounts(&clients[0], ACTORS);
    let load = Load::start(clients.clone(), 64, ACTORS);
    thread::sleep(seconds());
    let told = load.finish();

    let answered = told.accepted.len() + told.rejected.len();
    let of_first = told.accepted.iter().filter(|accepted| accepted.host == 0).count();
    let conflicts: Vec<u64> = clients.iter().map(conflicts).collect();
    println!(
        "{answered} of {} commands answered, {} accepted, {of_first} of them by the first host; \
         conflicts {conflicts:?}; tries answered otherwise: {:?}",
        told.commands(),
        told.accepted.len(),
        told.codes
    );
    assert!(answered * 100 >= told.commands() * 99, "{:?}", told.codes);
    let share = of_first * 100 / told.accepted.len();
    assert!((20..=80).contains(&share), "the first host has {share} % of the records");
    assert!(conflicts.iter().sum::<u64>() > 0, "the hosts never met");
    for client in &clients {
        assert_told_is_stored(client, ACTORS, &told);
    }
}

#[test]
fn a_host_that_is_killed_takes_nothing_with_it() {
    let server = NatsServer::start().unwrap();
    let mut hosts = [bank(&server), bank(&server)];
    let clients = [hosts[0].client(), hosts[1].client()];
    open_accounts(&clients[0], ACTORS);
    let load = Load::start(clients.clone(), 32, ACTORS);
    load.await_accepted(0, 100);
    load.await_accepted(1, 100);
    hosts[0].kill().unwrap();
    load.await_accepted(1, 300);
    let told = load.finish();

    println!("{} accepted; tries answered otherwise: {:?}", told.accepted.len(), told.codes);
    assert!(told.codes.contains_key("no answer"), "nobody noticed the kill: {:?}", told.codes);
    assert!(told.given_up.is_empty(), "never told: {:?}", told.given_up);
    assert_told_is_stored(&clients[1], ACTORS, &told);
    hosts[0].restart().unwrap();
    assert_told_is_stored(&hosts[0].client(), ACTORS, &told);
}

#[test]
fn a_nats_server_that_is_killed_is_waited_for() {
    let mut server = NatsServer::start().unwrap();
    let hosts = [bank(&server), bank(&server)];
    let clients = [hosts[0].client(), hosts[1].client()];
    open_accounts(&clients[0], ACTORS);
    let load = Load::start(clients.clone(), 32, ACTORS);
    load.await_accepted(0, 100);
    load.await_accepted(1, 100);
    server.kill();
    load.await_code(&["unavailable", "unresolved"]);
    server.restart().unwrap();
    for host in [0, 1] {
        load.await_accepted(host, 100);
    }
    // Once more, and back before anybody has given up.
    server.restart().unwrap();
    for host in [0, 1] {
        load.await_accepted(host, 100);
    }
    let told = load.finish();

    println!("{} accepted; tries answered otherwise: {:?}", told.accepted.len(), told.codes);
    for code in told.codes.keys() {
        // `contended` is the hosts' own contest, with the server or without; `overloaded` is who
        // waited to the end behind a command that was waiting for the server.
        let honest = ["unavailable", "unresolved", "contended", "overloaded"];
        let honest = honest.contains(&code.as_str());
        assert!(honest, "{code}: {:?}", told.codes);
    }
    assert!(told.given_up.is_empty(), "never told: {:?}", told.given_up);
    for client in &clients {
        assert_told_is_stored(client, ACTORS, &told);
    }
}
