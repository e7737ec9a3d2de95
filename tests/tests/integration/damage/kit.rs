//! Accounts with a known past, and what an operator does about damage.

use std::collections::BTreeSet;

use aether_tests::host_process::{self, HostOptions, HostProcess};
use serde_json::{Value, json};

/// Amounts of the deposits of each account's past: any part of them has a sum of its own.
pub const AMOUNTS: [u64; 4] = [1, 2, 4, 8];

/// What is paid in after the release.
pub const MORE: u64 = 1000;

pub fn address(id: &str) -> String {
    format!("bank/account/{id}")
}

/// Opens the accounts and pays in, in turns, so that their records lie among each other.
pub fn fill(host: &HostProcess, accounts: &[&str]) {
    let client = host.client();
    for id in accounts {
        let opened = client.command(&address(id), "open", &json!({ "owner": id })).unwrap();
        assert_eq!(opened.status, 200, "{}", opened.text());
    }
    for amount in AMOUNTS {
        for id in accounts {
            pay(host, id, amount).expect("a sound account");
        }
    }
}

/// Pays in; the version after it, or the code of the refusal.
pub fn pay(host: &HostProcess, id: &str, amount: u64) -> Result<u64, String> {
    let amount = json!({ "amount": amount });
    let reply = host.client().command(&address(id), "deposit", &amount).unwrap();
    match reply.status {
        200 => Ok(reply.json().unwrap()["version"].as_u64().unwrap()),
        _ => Err(reply.code().unwrap()),
    }
}

/// Version and balance.
pub fn state(host: &HostProcess, id: &str, query: &str) -> Result<(u64, u64), String> {
    let reply = host.client().get(&format!("/v1/{}{query}", address(id))).unwrap();
    if reply.status != 200 {
        return Err(reply.code().unwrap());
    }
    let body = reply.json().unwrap();
    Ok((body["version"].as_u64().unwrap(), body["state"]["balance"].as_u64().unwrap()))
}

/// Has an account write its snapshot.
pub fn sleep(host: &HostProcess, id: &str) {
    let path = format!("/v1/{}/sleep", address(id));
    assert_eq!(host.client().send("POST", &path, &[], b"").unwrap().status, 200);
}

/// `aether ARGUMENTS` at a host: status, stdout, stderr.
pub fn aether(host: &HostOptions, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = host_process::aether(host.folder()).unwrap();
    let output = command.env("AETHER_URL", url).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub fn at(host: &HostProcess, arguments: &[&str]) -> (i32, String, String) {
    aether(host.options(), &host.url(), arguments)
}

/// What an audit tells: the status, the findings, and the actors with notes.
#[derive(Debug, PartialEq, Eq)]
pub struct Audited {
    pub status: i32,
    /// Actor, position, kind.
    pub findings: BTreeSet<(String, u64, String)>,
    pub notes: BTreeSet<String>,
    pub summary: Value,
}

pub fn audit(host: &HostOptions, url: &str, arguments: &[&str]) -> Audited {
    let arguments = [&["audit", "--json"], arguments].concat();
    let (status, out, err) = aether(host, url, &arguments);
    assert_eq!(err, "", "{out}");
    let mut audited =
        Audited { status, findings: BTreeSet::new(), notes: BTreeSet::new(), summary: Value::Null };
    for line in out.lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        if let Some(found) = item.get("finding") {
            let word = |key: &str| found[key].as_str().unwrap().to_owned();
            let position = found["position"].as_u64().unwrap_or(0);
            assert!(!word("reason").is_empty());
            audited.findings.insert((word("actor"), position, word("kind")));
        } else if let Some(note) = item.get("note") {
            audited.notes.insert(note["actor"].as_str().unwrap().to_owned());
        } else {
            audited.summary = item["summary"].clone();
        }
    }
    audited
}

/// Damage of one account, and what becomes of it.
#[derive(Debug)]
pub struct Case {
    pub id: &'static str,
    /// Position and kind of each damage; the first is what quarantines.
    pub found: Vec<(u64, &'static str)>,
    /// Through where is skipped, as the host proposes.
    pub skip: Vec<u64>,
    /// The last version before the damage, and the balance there.
    pub before: (u64, u64),
    /// Version and balance when that is skipped.
    pub after: (u64, u64),
}

/// Every case is quarantined at its next use, told, refused, and goes on without what is skipped;
/// neighbours go on all the time.
pub fn all_are_found_and_released(host: &mut HostProcess, cases: &[Case], neighbours: &[&str]) {
    for id in neighbours {
        pay(host, id, MORE).expect("a neighbour");
    }
    for case in cases {
        assert_eq!(pay(host, case.id, MORE), Err("quarantined".to_owned()), "{case:?}");
        assert_eq!(state(host, case.id, ""), Err("quarantined".to_owned()), "{case:?}");
        let (version, _) = case.before;
        let before = state(host, case.id, &format!("?version={version}"));
        assert_eq!(before, Ok(case.before), "{case:?}");
    }
    listed(host, cases);
    let expected: BTreeSet<_> = cases
        .iter()
        .flat_map(|case| case.found.iter().map(move |(at, kind)| (case, at, kind)))
        .map(|(case, at, kind)| (address(case.id), *at, (*kind).to_owned()))
        .collect();
    let found = audit(host.options(), &host.url(), &[]);
    assert_eq!((found.status, &found.findings), (1, &expected));

    for case in cases {
        release(host, case);
    }
    let after = |host: &HostProcess| {
        for case in cases {
            let (version, balance) = case.after;
            let now = state(host, case.id, "");
            assert_eq!(now, Ok((version + 1, balance + MORE)), "{case:?}");
        }
    };
    after(host);
    listed(host, &[]);
    for _ in 0..2 {
        // Without snapshots, and with them.
        clean(host, cases);
        host.terminate().unwrap();
        host.restart().unwrap();
        after(host);
    }
    host.kill().unwrap();
    host.restart().unwrap();
    after(host);
}

/// The audit has nothing against the store, and tells the repairs.
fn clean(host: &HostProcess, cases: &[Case]) {
    let audited = audit(host.options(), &host.url(), &[]);
    assert_eq!((audited.status, &audited.findings), (0, &BTreeSet::new()));
    assert_eq!(audited.notes, cases.iter().map(|case| address(case.id)).collect());
}

fn listed(host: &HostProcess, cases: &[Case]) {
    let (status, out, _) = at(host, &["actors", "--quarantined", "--json"]);
    assert_eq!(status, 0);
    let told: Value = serde_json::from_str(&out).unwrap();
    let told = told["quarantined"].as_array().unwrap().iter();
    let told: BTreeSet<_> = told
        .map(|mark| {
            assert!(
                mark["at"].as_u64().unwrap() > 0 && !mark["reason"].as_str().unwrap().is_empty()
            );
            let word = |key: &str| mark[key].as_str().unwrap().to_owned();
            (word("actor"), mark["position"].as_u64().unwrap(), word("kind"))
        })
        .collect();
    let expected = cases.iter().map(|case| {
        let (at, kind) = case.found[0];
        (address(case.id), at, kind.to_owned())
    });
    assert_eq!(told, expected.collect());
}

fn release(host: &HostProcess, case: &Case) {
    let actor = address(case.id);
    let (status, _, said) = at(host, &["release", &actor]);
    let skips: Vec<String> = case.skip.iter().map(|at| format!("--skip {at}")).collect();
    let proposed = format!("release '{actor}' {} --because", skips.join(" "));
    assert!(status == 4 && said.contains(&proposed), "{case:?}: {said}");
    assert_eq!(pay(host, case.id, MORE), Err("quarantined".to_owned()), "{case:?}");

    let positions: Vec<String> = case.skip.iter().map(u64::to_string).collect();
    let mut arguments = vec!["release", &actor, "--because", "the test broke it"];
    arguments.extend(positions.iter().flat_map(|at| ["--skip", at.as_str()]));
    let (status, out, said) = at(host, &arguments);
    assert_eq!(status, 0, "{case:?}: {said}");
    assert!(out.starts_with(&format!("{actor} goes on at version {}; ", case.after.0)), "{out}");
    assert_eq!(state(host, case.id, ""), Ok(case.after), "{case:?}");
    let then = state(host, case.id, &format!("?version={}", case.after.0));
    assert_eq!(then, Ok(case.after), "{case:?}");
    assert_eq!(pay(host, case.id, MORE), Ok(case.after.0 + 1), "{case:?}");
    let (status, _, said) = at(host, &arguments);
    assert!(status == 2 && said.contains("nothing is to be skipped"), "{said}");
}
