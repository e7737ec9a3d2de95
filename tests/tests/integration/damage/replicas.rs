//! One of three replicas is damaged while its server is away. Whichever server a host talks to,
//! and whichever leads: an answer is right, or the actor is quarantined by name. It is never the
//! past without the damaged record, told as if it were all. From the two others the past comes
//! back whole.

use std::fs;

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::{NatsCluster, NatsServer},
};
use serde_json::json;

use super::{
    jetstream::{Records, STREAM, block, find},
    kit::{self, address, audit, pay, state},
};

/// Longest wait for an election, and for a replica to be there again.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// The server whose replica is damaged.
const DAMAGED: usize = 1;

/// A record of the middle, the last record with a snapshot and without, and nothing.
const ACCOUNTS: [&str; 5] = ["middle", "last", "last-kept", "neighbour", "neighbour-kept"];

const SUM: u64 = 15;

/// Rounds in which every host is asked for everything: any replica may answer.
const ROUNDS: usize = 5;

/// How the server with the damaged replica went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// Told to: its index counts what it cannot read any more.
    Stopped,
    /// Killed: it reads its blocks anew.
    Killed,
}

/// For each server a host that knows no other.
fn hosts(cluster: &NatsCluster) -> Vec<HostProcess> {
    let start = |node: &NatsServer| {
        let options = HostOptions::bank().unwrap().nats(node.url());
        options.args(["--partitions", "1", "--replicas", "3"]).start().unwrap()
    };
    cluster.nodes.iter().map(start).collect()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = clock::now() + SOON;
    while !done() {
        assert!(clock::now() < until, "waited in vain until {what}");
        std::thread::sleep(LOOK);
    }
}

/// Waits until all replicas are there and have everything.
fn are_current(cluster: &NatsCluster) {
    wait("all replicas are current", || {
        cluster.health().is_ok()
            && cluster.leader(STREAM).is_some_and(|leader| peers_are_current(cluster, leader))
    });
}

fn peers_are_current(cluster: &NatsCluster, leader: usize) -> bool {
    let info = cluster.nodes[leader].api(&format!("STREAM.INFO.{STREAM}"), "").unwrap();
    let peers = info["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
    peers.len() == 2
        && peers.iter().all(|peer| {
            let lag = peer["lag"].as_u64().unwrap_or(0);
            peer["current"] == true && peer["offline"] != true && lag == 0
        })
}

/// Has this server lead the log, or any other.
fn let_lead(cluster: &NatsCluster, node: usize, lead: bool) {
    let step_down = format!("STREAM.LEADER.STEPDOWN.{STREAM}");
    let preferred = if lead { node } else { (node + 1) % 3 };
    let body = json!({"placement": {"preferred": cluster.nodes[preferred].name()}}).to_string();
    let (until, mut said) = (clock::now() + SOON, None);
    while cluster.leader(STREAM) != Some(preferred) {
        assert!(
            clock::now() < until,
            "{preferred} does not lead, the servers say {said:?}, {:?}",
            cluster.nodes[0].api(&format!("STREAM.INFO.{STREAM}"), "")
        );
        // Who copies from the leader never ends if each new one is told to step down at once.
        // Refused around an election: it is asked again.
        said = Some(cluster.health().and_then(|()| cluster.nodes[0].api(&step_down, &body)));
        std::thread::sleep(LOOK * 10);
    }
}

/// Flips a byte in the middle of these records in the replica of a server that is away.
fn flip(cluster: &NatsCluster, records: &[&str]) {
    let path = block(&cluster.nodes[DAMAGED]);
    let mut bytes = fs::read(&path).unwrap();
    for record in records {
        let at = find(&bytes, record);
        bytes[at + record.len() / 2] ^= 0x20;
    }
    fs::write(&path, bytes).unwrap();
}

/// How often answers were right, and how often there was none.
#[derive(Debug, Default)]
struct Heard {
    right: usize,
    quarantined: usize,
    /// Writes only.
    blind: usize,
}

impl Heard {
    #[track_caller]
    fn add<T: PartialEq + std::fmt::Debug>(
        &mut self,
        told: Result<T, String>,
        right: &T,
        writes: bool,
    ) {
        match told {
            Ok(told) => {
                assert_eq!(&told, right);
                self.right += 1;
            }
            Err(code) if code == "quarantined" => self.quarantined += 1,
            // A leader that cannot see the last record refuses the next one: `old or damaged`.
            Err(code) => {
                assert!(writes && code == "unresolved", "{code}, not {right:?}");
                self.blind += 1;
            }
        }
    }
}

fn a_damaged_replica_is_never_served_short(went: Went, leads: bool) {
    let mut cluster = NatsCluster::start().unwrap();
    let mut before = hosts(&cluster);
    kit::fill(&before[0], &ACCOUNTS);
    for id in ACCOUNTS.iter().filter(|id| id.ends_with("-kept")) {
        kit::sleep(&before[0], id);
    }
    before.iter_mut().for_each(|host| host.kill().unwrap());
    are_current(&cluster);
    let_lead(&cluster, DAMAGED, false);
    are_current(&cluster);
    let records = Records::read(&cluster.nodes[0]);
    let hurt = [records.of("middle", 3), records.of("last", 5), records.of("last-kept", 5)];
    let texts = hurt.map(|(_, text)| text);
    wait("the replica is on disk", || {
        let bytes = fs::read(block(&cluster.nodes[DAMAGED])).unwrap_or_default();
        texts.iter().all(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
    });
    match went {
        Went::Stopped => cluster.nodes[DAMAGED].stop().unwrap(),
        Went::Killed => cluster.nodes[DAMAGED].kill(),
    }
    flip(&cluster, &texts);
    cluster.nodes[DAMAGED].restart().unwrap();
    are_current(&cluster);
    let_lead(&cluster, DAMAGED, leads);

    let hosts = hosts(&cluster);
    let mut heard = Heard::default();
    let mut paid = [0; ACCOUNTS.len()];
    for round in 0..ROUNDS {
        for host in &hosts {
            for (id, paid) in ACCOUNTS.iter().zip(&mut paid) {
                heard.add(state(host, id, ""), &(5 + *paid, SUM + *paid), false);
                heard.add(state(host, id, "?version=5"), &(5, SUM), false);
                heard.add(events(host, id), &(5 + *paid), false);
                if round % 2 == 1 {
                    let told = pay(host, id, 1);
                    *paid += u64::from(told.is_ok());
                    heard.add(told, &(5 + *paid), true);
                }
            }
        }
    }
    println!("{went:?}, leads: {leads}: {heard:?}");
    let marks = quarantined(&hosts[0]);
    // A past that the leader cannot show is refused where it is asked for, without a mark.
    assert!(heard.quarantined == 0 || leads, "{heard:?}");
    assert!(marks.iter().all(|mark| !mark.contains("neighbour")), "{marks:?}");
    assert!(heard.right > ROUNDS * hosts.len() * 6, "{heard:?}");
    assert!(heard.blind == 0 || leads, "{heard:?}");
    comes_back_whole(&mut cluster, &hosts, &paid);
}

/// How many events an account has. Those before damage may be shown: then more are said to follow,
/// and asking for these says what is wrong.
fn events(host: &HostProcess, id: &str) -> Result<u64, String> {
    let page = |from: u64| {
        let path = format!("/v1/{}/events?from={from}", address(id));
        let reply = host.client().get(&path).unwrap();
        if reply.status == 200 { Ok(reply.json().unwrap()) } else { Err(reply.code().unwrap()) }
    };
    let (mut events, mut from) = (0, Some(1));
    while let Some(next) = from {
        let page = page(next)?;
        events += page["events"].as_array().unwrap().len() as u64;
        from = page["next"].as_u64();
    }
    Ok(events)
}

/// Addresses of the quarantined actors; each has a reason.
fn quarantined(host: &HostProcess) -> Vec<String> {
    let told = host.client().get("/admin/quarantined").unwrap().json().unwrap();
    let marks = told["quarantined"].as_array().unwrap().iter();
    marks
        .map(|mark| {
            assert!(!mark["reason"].as_str().unwrap().is_empty());
            println!("{mark}");
            mark["actor"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// The operator has the damaged server copy all from the others, and releases the actors.
fn comes_back_whole(cluster: &mut NatsCluster, hosts: &[HostProcess], paid: &[u64]) {
    let store = cluster.nodes[DAMAGED].dir().join("store/jetstream");
    cluster.nodes[DAMAGED].stop().unwrap();
    fs::remove_dir_all(store).unwrap();
    cluster.nodes[DAMAGED].restart().unwrap();
    are_current(cluster);
    for actor in quarantined(&hosts[0]) {
        let (status, out, said) = kit::at(&hosts[0], &["release", &actor]);
        assert_eq!(status, 0, "{out}{said}");
    }
    for lead in [true, false] {
        let_lead(cluster, DAMAGED, lead);
        for host in hosts {
            for (id, paid) in ACCOUNTS.iter().zip(paid) {
                // Others hear of a release within 5 s.
                wait("the release is heard of", || {
                    state(host, id, "") != Err("quarantined".to_owned())
                });
                assert_eq!(state(host, id, ""), Ok((5 + *paid, SUM + *paid)), "{id}");
                assert_eq!(state(host, id, "?version=5"), Ok((5, SUM)), "{}", address(id));
            }
            let found = audit(host.options(), &host.url(), &[]);
            assert_eq!((found.status, found.findings.len()), (0, 0), "{found:?}");
        }
    }
}

#[test]
fn a_replica_damaged_while_stopped_that_follows() {
    a_damaged_replica_is_never_served_short(Went::Stopped, false);
}

#[test]
fn a_replica_damaged_while_stopped_that_leads() {
    a_damaged_replica_is_never_served_short(Went::Stopped, true);
}

#[test]
fn a_replica_damaged_after_a_kill_that_follows() {
    a_damaged_replica_is_never_served_short(Went::Killed, false);
}

#[test]
fn a_replica_damaged_after_a_kill_that_leads() {
    a_damaged_replica_is_never_served_short(Went::Killed, true);
}
