//! The story of an account over NATS, and the same account over HTTP.

use aether_tests::{http::Client as Http, nats_server::NatsServer};
use serde_json::{Value, json};

use super::kit::{SOON, ask, bank, connect};

fn state(http: &Http, id: &str, query: &str) -> Value {
    let reply = http.get(&format!("/v1/bank/account/{id}{query}")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_alice_by_nats_request() {
    let server = NatsServer::start().unwrap();
    let mut host = bank(&server);
    let nats = connect(&server.url()).await;

    let opened = ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await;
    assert_eq!(opened.accepted(), 1);
    let event = json!([{"version": 1, "type": "opened", "data": {"owner": "Alice"}}]);
    assert_eq!(opened.json()["events"], event);
    assert_eq!(opened.json()["actor"], "bank/account/alice");

    let key = [("Idempotency-Key", "pay-day")];
    let first = ask(&nats, "alice.deposit", &key, &json!({"amount": 50})).await;
    assert_eq!((first.accepted(), &first.json()["command"]), (2, &json!("pay-day")));
    let again = ask(&nats, "alice.deposit", &key, &json!({"amount": 50})).await;
    assert_eq!(again.json(), first.json());
    ask(&nats, "alice.deposit", &key, &json!({"amount": 51})).await.refused("invalid", 400);

    let refused = ask(&nats, "alice.withdraw", &[], &json!({"amount": 80})).await;
    let body = refused.refused("rejected", 422);
    assert_eq!(body["rejection"], json!({"insufficient-funds": {"balance": 50}}));
    assert_eq!(body["version"], 2);
    assert_eq!(refused.header("Nats-Service-Error"), Some("insufficient-funds"));

    let old = [("If-Match", "\"1\"")];
    ask(&nats, "alice.deposit", &old, &json!({"amount": 1})).await.refused("conflict", 412);
    ask(&nats, "alice.deposit", &[], &json!({"amount": "x"})).await.refused("invalid", 400);
    ask(&nats, "alice.explode", &[], &json!({})).await.refused("unknown", 404);

    let now = state(&host.client(), "alice", "");
    assert_eq!((&now["version"], &now["state"]["balance"]), (&json!(2), &json!(50)));
    let then = state(&host.client(), "alice", "?version=1");
    assert_eq!((&then["version"], &then["state"]["balance"]), (&json!(1), &json!(0)));

    host.kill().unwrap();
    host.restart().unwrap();
    assert_eq!(state(&host.client(), "alice", ""), now);
    assert_eq!(ask(&nats, "alice.deposit", &[], &json!({"amount": 1})).await.accepted(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_tokens_and_mean_the_same_over_http() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    for (token, id, encoded) in [
        ("a=2Fb=2Ec", "a/b.c", "a%2Fb%2Ec"),
        ("=2A=3E=20", "*> ", "%2A%3E%20"),
        ("=F0=9F=A6=80", "🦀", "%F0%9F%A6%80"),
    ] {
        let opened = ask(&nats, &format!("{token}.open"), &[], &json!({"owner": "O"})).await;
        assert_eq!(opened.accepted(), 1, "{id}");
        assert_eq!(opened.json()["actor"], format!("bank/account/{id}"));
        assert_eq!(state(&host.client(), encoded, "")["state"]["owner"], "O");
    }
    // One actor has one name: what need not be written as a number must not be.
    ask(&nats, "=61.open", &[], &json!({"owner": "O"})).await.refused("invalid", 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_reply_subject_is_done() {
    let server = NatsServer::start().unwrap();
    let host = bank(&server);
    let nats = connect(&server.url()).await;
    let fields = json!({"owner": "Bob"}).to_string();
    nats.publish("aether.cmd.bank.account.bob.open", fields.into()).await.unwrap();
    nats.flush().await.unwrap();
    let bob = host.client().get("/v1/bank/account/bob?min-version=1").unwrap();
    assert_eq!(bob.status, 200, "{}", bob.text());
    assert_eq!(bob.json().unwrap()["state"]["owner"], "Bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_as_a_micro_service_and_share_the_work() {
    let server = NatsServer::start().unwrap();
    let hosts = [bank(&server), bank(&server)];
    let nats = connect(&server.url()).await;
    let info = nats.request("$SRV.INFO.aether", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["name"], "aether");
    assert_eq!(info["endpoints"][0]["subject"], "aether.cmd.*.*.*.*");
    for n in 0..40 {
        let to = format!("a{n}.open");
        assert_eq!(ask(&nats, &to, &[], &json!({"owner": "O"})).await.accepted(), 1);
    }
    for host in &hosts {
        let awake = host.client().get("/admin/awake").unwrap().json().unwrap();
        let awake = awake["actors"].as_array().expect("a list of actors").len();
        assert!((1..40).contains(&awake), "one host did all of it: {awake} of 40");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_never_goes_where_only_hosts_may_write() {
    let server = NatsServer::start().unwrap();
    let mut host = bank(&server);
    let nats = connect(&server.url()).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();

    let alice = aether::address::Address::new("bank", "account", "alice").unwrap();
    let log = alice.log_subject("aether", 8);
    let stream = format!("aether_LOG_bank_{}", alice.partition(8));
    let delete = format!("$JS.API.STREAM.DELETE.{stream}");
    let fields = json!({"amount": 5}).to_string();
    for reply in [log, delete] {
        let subject = "aether.cmd.bank.account.alice.deposit";
        nats.publish_with_reply(subject, reply, fields.clone().into()).await.unwrap();
    }
    nats.flush().await.unwrap();
    host.wait_for_line("its answer would go to", SOON).unwrap();
    // The next request of this caller is taken after those two.
    assert_eq!(ask(&nats, "alice.deposit", &[], &json!({"amount": 1})).await.accepted(), 2);
    host.kill().unwrap();
    host.restart().unwrap();
    let alice = state(&host.client(), "alice", "");
    assert_eq!((&alice["version"], &alice["state"]["balance"]), (&json!(2), &json!(1)));
}
