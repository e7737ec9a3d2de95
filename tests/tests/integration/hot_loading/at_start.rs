//! A host that is started with a new model: it passes the gates of a deploy, or nothing changes.

use aether::{deploy::replay::sample::Rest, store::EventStore as _};
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    in_process,
};
use serde_json::json;

use super::kit::{aether, rollouts};
use crate::replay::kit;

/// What the second version of the till cannot take.
const POISON: &str = "shop/till/poison";

/// More actors than are replayed whatever the budget: the longest pasts and the newest.
const OTHERS: usize = 40;

fn sell(host: &HostProcess, till: &str, item: &str) -> u16 {
    let reply = host.client().command(till, "sell", &json!({"item": item, "count": 1}));
    reply.unwrap().status
}

/// A store with the first version, in which `items` were sold, each at a till of its name.
fn sold(items: &[&str]) -> HostOptions {
    let options = HostOptions::new().unwrap();
    let mut host = options.clone().model(kit::first()).start().unwrap();
    for item in items {
        // What has the shortest past is replayed last.
        let times = if *item == "poison" { 1 } else { 2 };
        for _ in 0..times {
            assert_eq!(sell(&host, &format!("shop/till/{item}"), item), 200);
        }
    }
    host.terminate().unwrap();
    options
}

#[test]
fn a_component_that_cannot_take_the_past_is_refused_at_start() {
    let options = sold(&["tea", "poison"]);
    let (status, said) = options.clone().model(kit::second()).start_refused().unwrap();
    assert!(!status.success(), "{said}");
    for word in ["not deployed over deployment 1", POISON, "nothing was changed", "aether deploy"] {
        assert!(said.contains(word), "`{word}` is not said: {said}");
    }
    let host = options.start().unwrap();
    assert_eq!(rollouts(&host)["deployments"].as_array().map(Vec::len), Some(1));
    assert_eq!(sell(&host, POISON, "tea"), 200);
}

#[test]
fn states_change_at_start_only_if_they_may() {
    let options = sold(&["tea", "loud"]).model(kit::second());
    let (status, said) = options.start_refused().unwrap();
    assert!(!status.success() && said.contains("--accept-state-changes"), "{said}");
    let host = options.args(["--accept-state-changes"]).start().unwrap();
    assert_eq!(rollouts(&host)["deployments"][0]["number"], 2);
    let state = host.client().get("/v1/shop/till/loud").unwrap().json().unwrap();
    assert_eq!(state["state"]["last"], "LOUD", "{state}");
}

#[test]
fn what_was_not_replayed_at_start_is_checked_when_it_wakes() {
    let others: Vec<_> = (0..OTHERS).map(|n| format!("tea-{n}")).collect();
    let mut items = vec!["poison"];
    items.extend(others.iter().map(String::as_str));
    let options = sold(&items).model(kit::second()).args(["--start-budget", "1ms"]);
    let host = options.start().unwrap();
    let told = rollouts(&host);
    let rest = told["deployments"][0]["rest"].as_str().expect("what was left out is recorded");
    assert!(rest.parse::<Rest>().unwrap().holds(&POISON.parse().unwrap()), "{rest}");
    assert_eq!(sell(&host, POISON, "tea"), 500);
    assert_eq!(sell(&host, "shop/till/tea-1", "tea"), 200);
    aether(&host, &["deployments"]).expect(0, &["not served: shop/till/poison at version 1: trap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_while_a_start_replays_is_replayed_too() {
    let store = in_process::faulty_store().await.unwrap();
    let host = in_process::start(store.clone(), &kit::first()).await.unwrap();
    let first = host.deployments().remove(0);
    in_process::send(&host, "shop/till/tea", "sell", json!({"item": "tea", "count": 1}))
        .await
        .unwrap();
    drop(host);
    let ground = kit::Ground::on(store.clone());
    let mut late = kit::Log::new(&ground, &kit::till("late"), first.model);
    store.append_behind_scan(late.next(&[("sold", json!({"item": "poison", "count": 1}))]));
    let refused = in_process::start(store.clone(), &kit::second()).await.unwrap_err().to_string();
    for word in ["not deployed over deployment 1", "shop/till/late", "nothing was changed"] {
        assert!(refused.contains(word), "`{word}` is not said: {refused}");
    }
    assert_eq!(store.deployments("shop").await.unwrap(), [first]);
}
