//! The conformance suite of stores on JetStream.

use std::sync::Arc;

use aether::{
    address::Address,
    config::NatsConfig,
    record::Position,
    store::{
        EventStore, StoreError,
        conformance::{self, Subject, Tamper},
    },
};
use aether_tests::nats_server::{NatsCluster, NatsServer};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::FutureExt as _;
use serde_json::{Value, json};

use super::kit::{self, PARTITIONS};

#[tokio::test(flavor = "multi_thread")]
async fn one_server_does_what_every_store_must_do() {
    let server = Arc::new(NatsServer::start().unwrap());
    conformance::run(|| {
        let (config, server) = (kit::config(&server.url()), server.clone());
        let subject = Below { config, prefix: kit::fresh_prefix(), server: Some(server) };
        async { Box::new(subject) as Box<dyn Subject> }.boxed()
    })
    .await;
}

/// The checks that damage a log from outside run on one server only: replicas would first have
/// to agree on the damage.
#[tokio::test(flavor = "multi_thread")]
async fn three_servers_do_what_every_store_must_do() {
    let cluster = NatsCluster::start().unwrap();
    for check in conformance::checks() {
        if check.name.starts_with("damage::") {
            continue;
        }
        let config = NatsConfig { replicas: 3, ..kit::config(&cluster.url()) };
        let subject = Below { config, prefix: kit::fresh_prefix(), server: None };
        let task = tokio::spawn((check.run)(Arc::new(subject)));
        task.await.unwrap_or_else(|error| panic!("{} fails on replicas: {error}", check.name));
    }
}

/// Everything below one prefix of a server.
struct Below {
    config: NatsConfig,
    prefix: String,
    /// The server whose streams can be damaged.
    server: Option<Arc<NatsServer>>,
}

#[async_trait]
impl Subject for Below {
    async fn open(&self) -> Result<Arc<dyn EventStore>, StoreError> {
        match kit::open(&self.config, &self.prefix).await {
            Ok(store) => Ok(store),
            Err(error) => Err(StoreError(error.to_string())),
        }
    }

    async fn tamper(&self, actor: &Address, position: Position, how: Tamper) {
        let server = self.server.clone().expect("damage is done on one server only");
        let partition = actor.partition(PARTITIONS);
        let stream = format!("{}_LOG_{}_{partition}", self.prefix, actor.context());
        let fence = format!("{}.fence.{}.{partition}", self.prefix, actor.context());
        tokio::task::spawn_blocking(move || rebuild(&server, &stream, &fence, position.0, &how))
            .await
            .unwrap();
    }

    fn keeps_command_ids(&self) -> bool {
        false
    }
}

/// Makes the stream anew with the same messages at the same numbers, but for one: a stream as
/// aether makes it lets nobody change what is in it.
fn rebuild(server: &NatsServer, stream: &str, fence: &str, position: u64, how: &Tamper) {
    let call = |call: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        server.api(&format!("{call}.{stream}"), &body).unwrap()
    };
    let mut config = call("STREAM.INFO", &Value::Null)["config"].take();
    let last = call("STREAM.INFO", &Value::Null)["state"]["last_seq"].as_u64().unwrap();
    let messages: Vec<Option<Value>> = (1..=last)
        .map(|n| call("STREAM.MSG.GET", &json!({ "seq": n })).get_mut("message").map(Value::take))
        .collect();
    assert!(call("STREAM.DELETE", &Value::Null)["error"].is_null());
    for setting in ["deny_delete", "deny_purge"] {
        config[setting] = json!(false);
    }
    assert!(call("STREAM.CREATE", &config)["error"].is_null());

    for (n, message) in (1_u64..).zip(messages) {
        let Some(message) = message.filter(|_| n != position || *how != Tamper::Remove) else {
            assert_eq!(server.publish(fence, "", "").unwrap(), n);
            assert!(call("STREAM.MSG.DELETE", &json!({ "seq": n }))["error"].is_null());
            continue;
        };
        let data = message["data"].as_str().unwrap_or_default();
        let mut bytes = STANDARD.decode(data).unwrap();
        if n == position {
            let half = bytes.len() / 2;
            match how {
                Tamper::Corrupt => bytes[half] ^= 1,
                Tamper::Truncate => bytes.truncate(half),
                Tamper::Remove => {}
            }
        }
        let subject = message["subject"].as_str().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(server.publish(subject, "", &text).unwrap(), n);
    }
    for setting in ["deny_delete", "deny_purge"] {
        config[setting] = json!(true);
    }
    let updated = call("STREAM.UPDATE", &config);
    assert!(updated["error"].is_null(), "{updated}");
}
