//! The NATS face in front of the fake service, over a real server.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::*;
use crate::gateway::fake::Fake;

/// A server on a free port; ends with the value.
struct Server {
    child: Child,
    config: NatsConfig,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The server chooses the port itself: one found free before could be taken by a neighbour.
async fn server() -> (Server, Client) {
    let binary = std::env::var("NATS_SERVER").unwrap_or_else(|_| {
        format!("{}/../.tools/venv/bin/nats-server", env!("CARGO_MANIFEST_DIR"))
    });
    let folder = tempfile::tempdir().unwrap();
    let child = std::process::Command::new(&binary)
        .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{binary}: {error}: `make tools` installs it"));
    let mut config = NatsConfig {
        url: String::new(),
        credentials: None,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        replicas: 1,
        partitions: 8,
    };
    let ports = folder.path().join(format!("nats-server_{}.ports", child.id()));
    let mut server = Server { child, config: config.clone() };
    for _ in 0..1200 {
        let text = std::fs::read_to_string(&ports).unwrap_or_default();
        if let Ok(told) = serde_json::from_str::<Value>(&text) {
            told["nats"][0].as_str().unwrap().clone_into(&mut config.url);
            let client = connect(&config).await.unwrap();
            server.config = config;
            return (server, client);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nats-server does not tell its port in {}", ports.display())
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

#[tokio::test]
async fn commands_are_requests() {
    let (server, client) = server().await;
    let fake = Fake::new();
    let face = start(&server.config, "t", Limits::default(), fake.clone()).await.unwrap();
    let ask = |subject: &str, headers: &[(&'static str, &'static str)], body: &'static str| {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, *value));
        client.request_with_headers(subject.to_owned(), map, body.into())
    };
    let headers = [("Idempotency-Key", "k"), ("If-Match", "\"0\"")];
    let opened = ask("t.cmd.bank.account.a=2Fb.open", &headers, r#"{"owner":"A"}"#).await.unwrap();
    assert_eq!(header(&opened, STATUS), Some(OK));
    assert_eq!(header(&opened, NATS_SERVICE_ERROR), None);
    let expected = r#"{"actor":"bank/account/a/b","version":1,"command":"k","events":[{"version":1,"type":"open","data":{"owner":"A"}}]}"#;
    assert_eq!(opened.payload, expected);
    let seen = fake.seen().remove(0);
    assert_eq!((seen.expected_version, seen.by), (Some(0), None));

    let refused = ask("t.cmd.bank.account.a.refuse", &[], "").await.unwrap();
    assert_eq!(header(&refused, STATUS), Some("rejected"));
    assert_eq!(header(&refused, NATS_SERVICE_ERROR), Some("insufficient-funds"));
    assert_eq!(header(&refused, NATS_SERVICE_ERROR_CODE), Some("422"));
    assert_eq!(json(&refused)["rejection"]["insufficient-funds"]["balance"], 50);

    for (subject, headers, body, code) in [
        ("t.cmd.bank.account.a.open", &[("Aether-Timout", "1s")][..], "", "invalid"),
        ("t.cmd.bank.account.a.open", &[], "[]", "invalid"),
        ("t.cmd.bank.account.=2e.open", &[], "", "invalid"),
        ("t.cmd.shop.cart.a.open", &[], "", "unknown"),
        ("t.cmd.bank.account.a.fail-quarantined", &[], "", "quarantined"),
    ] {
        let failed = ask(subject, headers, body).await.unwrap();
        assert_eq!(header(&failed, STATUS), Some(code), "{subject}");
        assert_eq!(json(&failed)["code"], code);
        assert!(header(&failed, NATS_SERVICE_ERROR).is_some());
    }
    face.drain().await;
}

#[tokio::test]
async fn one_of_several_hosts_answers_and_the_service_is_found() {
    let (server, client) = server().await;
    let fakes = [Fake::new(), Fake::new()];
    let mut faces = Vec::new();
    for fake in &fakes {
        faces.push(start(&server.config, "t", Limits::default(), fake.clone()).await.unwrap());
    }
    for n in 0..20 {
        let subject = format!("t.cmd.bank.account.a{n}.open");
        client.request(subject, "".into()).await.unwrap();
    }
    assert_eq!(fakes[0].seen().len() + fakes[1].seen().len(), 20);
    let info = client.request("$SRV.INFO.aether", "".into()).await.unwrap();
    assert_eq!(json(&info)["endpoints"][0]["subject"], "t.cmd.*.*.*.*");
    assert_eq!(json(&info)["version"], env!("CARGO_PKG_VERSION"));
    for face in faces {
        face.drain().await;
    }
}

#[tokio::test]
async fn beyond_the_limit_is_overloaded_and_draining_answers_what_was_taken() {
    let (server, client) = server().await;
    let fake = Fake::new();
    let limits = Limits { max_nats_requests: 1, ..Limits::default() };
    let face = start(&server.config, "t", limits, fake.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Aether-Timeout", "300ms");
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { client.request_with_headers("t.cmd.bank.account.a.hang", headers, "".into()).await }
    });
    while fake.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let more = client.request("t.cmd.bank.account.b.open", "".into()).await.unwrap();
    assert_eq!(header(&more, STATUS), Some("overloaded"));
    assert!(fake.metrics().render().contains("aether_drops_total{at=\"max-nats-requests\"} 1"));
    face.drain().await;
    let answered = hanging.await.unwrap().unwrap();
    assert_eq!(header(&answered, STATUS), Some("unresolved"));
}

#[tokio::test]
async fn without_a_reply_subject_it_is_done_and_nothing_is_sent() {
    let (server, client) = server().await;
    let fake = Fake::new();
    let face = start(&server.config, "t", Limits::default(), fake.clone()).await.unwrap();
    client.publish("t.cmd.bank.account.a.open", "".into()).await.unwrap();
    client.flush().await.unwrap();
    while fake.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    face.drain().await;
    assert_eq!(fake.seen()[0].name, "open");
}

#[test]
fn subjects_are_read_to_the_letter() {
    let (to, name) = parse("a-b", "a-b.cmd.bank.account.a=2Eb=2A.open").unwrap();
    assert_eq!((to.id(), name.as_str()), ("a.b*", "open"));
    for bad in
        ["a-b.cmd.bank.account.open", "x.cmd.bank.account.a.open", "a-b.cmd.bank.account.=zz.o"]
    {
        assert_eq!(parse("a-b", bad).unwrap_err().code, Code::Invalid, "{bad}");
    }
    assert_eq!(parse("a", "a.cmd.Bank.account.x.open").unwrap_err().code, Code::Unknown);
}

#[test]
fn answers_go_to_callers_only() {
    for taken in ["_INBOX.a.b", "shop.answers", "aetherial.log", "aether"] {
        assert!(is_callers("aether", taken), "{taken}");
    }
    for refused in [
        "aether.log.bank.0.account.a",
        "aether.cmd.x",
        "$JS.API.STREAM.DELETE.x",
        "*.log.bank.0.account.a",
        "_INBOX.>",
        "_INBOX..a",
        "",
    ] {
        assert!(!is_callers("aether", refused), "{refused}");
    }
}

#[test]
fn callers_are_told_apart_by_where_their_answers_go() {
    for (reply, expected) in [
        (Some("_INBOX.abc.1"), "_INBOX.abc"),
        (Some("_INBOX.shop.abc.1"), "_INBOX.shop"),
        (Some("_INBOX.shop"), "_INBOX.shop"),
        (Some("answers"), "answers"),
        (None, ""),
    ] {
        assert_eq!(caller(reply), expected);
    }
}
