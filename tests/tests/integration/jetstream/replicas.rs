//! Three replicas: the leader's death loses nothing, and a fresh read is fresh on every host.

use std::time::Duration;

use aether::{config::NatsConfig, record::Position, store::EventStore};
use aether_tests::nats_server::NatsCluster;
use futures::{StreamExt, future::join_all};

use super::kit::{self, PARTITIONS, account, append, assert_log, open, write_all};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_leader_loses_nothing() {
    let mut cluster = NatsCluster::start().unwrap();
    let config = NatsConfig { replicas: 3, ..kit::config(&cluster.url()) };
    let store = open(&config, "aether").await.unwrap();
    let other = open(&config, "aether").await.unwrap();
    let actors: Vec<_> = (0..6).map(|n| account(&n.to_string())).collect();
    // The streams are there before the leader of one is looked for.
    let warm = join_all(actors.iter().map(|actor| write_all(&store, actor, "warm", 1))).await;
    let writers: Vec<_> = actors
        .iter()
        .cloned()
        .map(|actor| {
            let store = store.clone();
            tokio::spawn(async move { write_all(&store, &actor, "w", 150).await })
        })
        .collect();
    let stream = format!("aether_LOG_bank_{}", actors[0].partition(PARTITIONS));
    while other.head(&actors[0]).await.unwrap() < Position(20) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let leader = cluster.leader(&stream).expect("the stream has a leader");
    cluster.nodes[leader].kill();
    let written = join_all(writers).await;
    for ((actor, written), warm) in actors.iter().zip(written).zip(warm) {
        let all: Vec<_> = warm.into_iter().chain(written.unwrap()).collect();
        assert_eq!(other.head(actor).await.unwrap(), all.last().unwrap().position);
        assert_log(&other, actor, &[all]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_host_wrote_the_other_sees_at_once() {
    let cluster = NatsCluster::start().unwrap();
    let config = NatsConfig { replicas: 3, ..kit::config(&cluster.url()) };
    let (one, two) =
        (open(&config, "aether").await.unwrap(), open(&config, "aether").await.unwrap());
    let actor = account("a");
    let mut last = Position(0);
    for n in 0..100 {
        last = one.append(append(&actor, last, n.to_string(), LONG)).await.unwrap();
        assert_eq!(two.head(&actor).await.unwrap(), last, "round {n}");
    }
    // Many that ask at once share fences, and none of them sees less.
    let heads = join_all((0..200).map(|_| two.head(&actor))).await;
    assert!(heads.into_iter().all(|head| head.unwrap() == last));

    // Fences are no records, and they go away although nothing can be deleted from the log.
    let mut feed = one.feed("bank", None).await.unwrap();
    for n in 0..100 {
        let record = tokio::time::timeout(LONG, feed.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(record.stored.bytes, n.to_string().as_bytes());
    }
    let stream = format!("aether_LOG_bank_{}", actor.partition(PARTITIONS));
    let messages = || {
        let info = cluster.nodes[0].api(&format!("STREAM.INFO.{stream}"), "").unwrap();
        info["state"]["messages"].as_u64().unwrap()
    };
    let numbers = last.0;
    assert!(numbers > 100, "there were fences between the records");
    let gone = async {
        while messages() > 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("the fences go away");
    assert_eq!(messages(), 100);
}
