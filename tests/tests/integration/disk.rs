//! A disk that takes no more: the host says so, loses nothing that it had acknowledged, and serves
//! again when there is room.

use std::{fs, time::Duration};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    http::Reply,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(30);

/// No file of the host may grow beyond `bytes`: the nearest thing to a full disk that a test may
/// do to a machine.
fn limit_files(host: &HostProcess, bytes: Option<u64>) {
    let pid = i32::try_from(host.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

fn open(host: &HostProcess, number: usize) -> Reply {
    let fields = json!({"owner": "x".repeat(50_000)});
    host.client().command(&format!("bank/account/a{number}"), "open", &fields).unwrap()
}

fn state(host: &HostProcess, number: usize) -> Value {
    let reply = host.client().get(&format!("/v1/bank/account/a{number}")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

#[test]
fn a_full_disk_is_told_and_loses_nothing_and_is_left_behind() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let file = host.options().data_folder().unwrap().join("store.db");
    let log = file.with_file_name("store.db-wal");
    let size = fs::metadata(&file).unwrap().len().max(fs::metadata(&log).unwrap().len());
    limit_files(&host, Some(size + (512 << 10)));

    let full = |number: &usize| {
        let reply = open(&host, *number);
        if reply.status == 200 {
            return false;
        }
        assert_eq!((reply.status, reply.code().unwrap().as_str()), (503, "unavailable"));
        let detail = reply.json().unwrap()["detail"].to_string();
        assert!(detail.contains("the store") && detail.contains("nothing was stored"), "{detail}");
        true
    };
    let refused = (0..1000).find(full).expect("the disk fills");
    assert!(refused > 2, "only {refused} accounts had room");

    limit_files(&host, None);
    let until = clock::now() + SOON;
    while open(&host, refused).status != 200 {
        assert!(clock::now() < until, "it does not serve again:\n{}", host.output());
    }
    let check = |host: &HostProcess| {
        for number in 0..=refused {
            assert_eq!(state(host, number)["version"], 1, "account {number}");
        }
    };
    check(&host);
    host.kill().unwrap();
    host.restart().unwrap();
    check(&host);
}

#[test]
fn a_store_that_is_moved_away_under_a_host_takes_nothing_until_it_is_back() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let file = host.options().data_folder().unwrap().join("store.db");
    assert_eq!(open(&host, 0).status, 200);
    // Awake, so that nothing needs to be read for it.
    let add =
        |amount| host.client().command("bank/account/a0", "deposit", &json!({"amount": amount}));
    let refuses = || {
        let refused = add(1).unwrap();
        assert_eq!((refused.status, refused.code().unwrap().as_str()), (503, "unavailable"));
        assert!(refused.text().contains("removed or replaced"), "{}", refused.text());
    };
    for (number, name) in ["store.db", "store.db-wal"].into_iter().enumerate() {
        let (there, away) = (file.with_file_name(name), file.with_file_name("elsewhere"));
        fs::rename(&there, &away).unwrap();
        refuses();
        // Another file of that name is not the store either.
        fs::copy(&away, &there).unwrap();
        refuses();
        fs::rename(&away, &there).unwrap();
        assert_eq!(add(1).unwrap().json().unwrap()["version"], number + 2);
    }
    host.kill().unwrap();
    host.restart().unwrap();
    assert_eq!(state(&host, 0)["version"], 3);
}
