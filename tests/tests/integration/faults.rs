//! A short run under faults, and that the faults are real.

mod interrupted;

use std::{thread, time::Duration};

use aether::clock;
use aether_tests::{
    faults::{
        cluster::{Cluster, StoreKind},
        proxy::Mode,
        runner,
        schedule::{Length, schedule},
    },
    nats_server::NatsCluster,
    workspace,
};
use serde_json::json;
use tokio::runtime::Runtime;

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(30);

/// Like `make faults`, with four rounds on each store and short faults.
#[test]
fn plugs_are_pulled_and_every_answer_is_true() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |it| it.parse().unwrap());
    println!("SEED={seed} repeats it");
    let rounds = schedule(seed, Length::Short, false);
    let folder = workspace::target_folder().unwrap().join("faults/short");
    let report = runner::run(&rounds, &folder).unwrap();
    assert!(report.is_good(), "seed {seed}:\n{}", report.failures().join("\n"));
    assert_eq!(report.verdict(), "lost 0, doubled 0, torn 0, non-linearizable 0");
    assert_eq!(report.faults(), rounds.len());
}

#[test]
fn a_partition_leaves_no_way_past_it() {
    let runtime = Runtime::new().unwrap();
    let cluster = Cluster::start(StoreKind::R3, runtime.handle()).unwrap();
    let actor = "faults/journal/partitioned";
    let append = |host: usize, counter: u64| {
        let client = cluster.client(host).unwrap().with("aether-timeout", "1s");
        let reply = client.command(actor, "append", &json!({"client": 1, "counter": counter}));
        reply.unwrap()
    };
    assert_eq!(append(0, 1).status, 200);

    // A host without its links reaches nobody, another one does.
    let links: Vec<_> = cluster.links(0).unwrap().iter().collect();
    Cluster::sever(&links, Mode { refuse: true, ..Mode::default() });
    let code = append(0, 2).code().unwrap();
    assert!(["unavailable", "unresolved"].contains(&code.as_str()), "{code}");
    cluster.heal();

    // A leader without its routes is replaced by the others, and follows them when it is back.
    let leader = cluster.leader(actor).unwrap();
    let apart = cluster.routes(|from, to| from == leader || to == leader);
    assert_eq!(apart.len(), 4);
    assert!(apart.iter().any(|route| route.open() > 0), "the routes do not lead through proxies");
    Cluster::sever(&apart, Mode { refuse: true, ..Mode::default() });
    let others = |cluster: &Cluster| {
        let stream = cluster.log_of(actor).unwrap();
        let nodes = cluster.nodes().iter().enumerate();
        let mut others = nodes.filter(|(index, _)| *index != leader).map(|(_, node)| node);
        others.find_map(|node| NatsCluster::leader_among(std::slice::from_ref(node), &stream))
    };
    wait("another server leads", || others(&cluster).is_some());
    cluster.heal();
    let mut counter = 2;
    wait("the hosts append again", || {
        let reply = append(1, counter);
        counter += u64::from(reply.status == 200);
        reply.status == 200 || reply.text().contains("out-of-turn")
    });
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, SOON, || done().then_some(()));
}

/// What `look` finds in the end.
fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = clock::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() < until, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
