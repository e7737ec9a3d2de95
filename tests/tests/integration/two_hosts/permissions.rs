//! Who may write what in NATS: the permissions of `docs/guarantees.md` are given to a server as
//! they stand there, and are enough for hosts and callers and too little for forgers.

use std::{
    fs,
    io::BufRead,
    sync::{Arc, Mutex},
};

use aether_tests::{
    host_process::HostOptions,
    nats_server::{NatsServer, Settings},
    workspace,
};
use async_nats::{Client, ConnectOptions, Event};
use serde_json::json;

use super::kit::{SOON, ask};

const SECRET: &str = "not-to-be-shown";

/// The text blocks of the section on permissions: what hosts get and what callers get.
fn documented() -> [String; 2] {
    let text = fs::read_to_string(workspace::root().join("docs/guarantees.md")).unwrap();
    let (_, section) = text.split_once("## NATS permissions").expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```text\n").skip(1).map(|rest| {
        let block = rest.split("```").next().unwrap();
        block.replace("PREFIX", "aether").replace("NAME", "shop")
    });
    blocks.collect::<Vec<_>>().try_into().expect("one block for hosts, one for callers")
}

/// A server with the users `host` and `shop` as documented; without a password one is the test's
/// own user, who may do everything.
fn guarded() -> NatsServer {
    let [host, caller] = documented();
    let user = |name: &str, permissions: &str| {
        format!("{{ user: {name}, password: \"{SECRET}\", permissions: {{ {permissions} }} }}")
    };
    let extra = format!(
        "authorization {{ users: [ {}, {}, {{ user: judge, password: judge }} ] }}\nno_auth_user: judge",
        user("host", &host),
        user("shop", &caller)
    );
    NatsServer::start_with(Settings { extra, ..Settings::default() }).unwrap()
}

fn url(server: &NatsServer, user: &str, password: &str) -> String {
    server.url().replace("nats://", &format!("nats://{user}:{password}@"))
}

/// A caller, and what the server has forbidden it so far.
async fn caller(server: &NatsServer) -> (Client, Arc<Mutex<Vec<String>>>) {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&refused);
    let options = ConnectOptions::new()
        .user_and_password("shop".to_owned(), SECRET.to_owned())
        .custom_inbox_prefix("_INBOX.shop")
        .request_timeout(Some(SOON))
        .event_callback(move |event| {
            let seen = Arc::clone(&seen);
            async move {
                if let Event::ServerError(error) = event {
                    seen.lock().unwrap().push(error.to_string().to_lowercase());
                }
            }
        });
    (options.connect(server.url()).await.unwrap(), refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_for_hosts_and_callers() {
    let server = guarded();
    let options = HostOptions::bank().unwrap().nats(url(&server, "host", SECRET));
    let mut hosts = [options.start().unwrap(), options.start().unwrap()];
    let (nats, refused) = caller(&server).await;
    assert_eq!(ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted(), 1);
    // More than the bank's `snapshot-every`, so that snapshots are written.
    for n in 2..=150 {
        let answer = ask(&nats, "alice.deposit", &[], &json!({"amount": 1})).await;
        assert_eq!(answer.accepted(), n);
    }
    ask(&nats, "alice.withdraw", &[], &json!({"amount": 150})).await.refused("rejected", 422);
    for host in &hosts {
        let http = host.client();
        let alice = http.get("/v1/bank/account/alice").unwrap().json().unwrap();
        assert_eq!(alice["version"], 150);
        let then = http.get("/v1/bank/account/alice?version=3").unwrap().json().unwrap();
        assert_eq!(then["state"]["balance"], 2);
        let actors = http.get("/v1/bank/account").unwrap().json().unwrap();
        assert_eq!(actors["actors"].as_array().map(Vec::len), Some(1), "{actors}");
    }
    let feed = ureq::get(format!("{}/v1/bank/events", hosts[0].url())).call().unwrap();
    let feed = std::io::BufReader::new(feed.into_body().into_reader());
    let lines = feed.lines().map(Result::unwrap).filter(|line| line.contains("cursor"));
    assert_eq!(lines.take(150).count(), 150);
    for host in &mut hosts {
        assert!(host.terminate().unwrap().success());
        let said = host.output();
        assert!(!said.to_lowercase().contains("permissions violation"), "{said}");
        assert!(!said.contains(SECRET), "the password is shown:\n{said}");
    }
    assert_eq!(*refused.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_can_write_nothing_but_commands() {
    let server = guarded();
    let options = HostOptions::bank().unwrap().nats(url(&server, "host", SECRET));
    let mut host = options.start().unwrap();
    let (nats, refused) = caller(&server).await;
    ask(&nats, "alice.open", &[], &json!({"owner": "Alice"})).await.accepted();

    let alice = aether::address::Address::new("bank", "account", "alice").unwrap();
    let stream = format!("aether_LOG_bank_{}", alice.partition(8));
    let state = || {
        let told = server.api(&format!("STREAM.INFO.{stream}"), "").unwrap();
        told["state"]["last_seq"].as_u64().expect("the stream is there")
    };
    let before = state();
    let forbidden = [
        alice.log_subject("aether", 8),
        "aether.meta.deployment.bank.2".to_owned(),
        "aether.snap.bank.account.alice".to_owned(),
        format!("$JS.API.STREAM.DELETE.{stream}"),
    ];
    for subject in &forbidden {
        nats.publish(subject.clone(), "{}".into()).await.unwrap();
    }
    let mut log = nats.subscribe("aether.log.>").await.unwrap();
    nats.flush().await.unwrap();
    // Its answer comes behind the server's refusals.
    ask(&nats, "alice.withdraw", &[], &json!({"amount": 1})).await.refused("rejected", 422);
    let refused = refused.lock().unwrap().clone();
    for subject in &forbidden {
        let named = format!("publish to \"{}\"", subject.to_lowercase());
        assert!(refused.iter().any(|said| said.contains(&named)), "{named}: {refused:?}");
    }
    let named = "subscription to \"aether.log.>\"";
    assert!(refused.iter().any(|said| said.contains(named)), "{refused:?}");
    assert_eq!(state(), before, "something was written");
    log.unsubscribe().await.ok();

    host.kill().unwrap();
    host.restart().unwrap();
    let told = host.client().get("/v1/bank/account/alice").unwrap().json().unwrap();
    assert_eq!(told["version"], 1);
}

#[test]
fn a_wrong_password_is_refused_and_not_shown() {
    let server = guarded();
    let wrong = format!("{SECRET}-at-all");
    let options = HostOptions::bank().unwrap().nats(url(&server, "host", &wrong));
    let (status, said) = options.start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.to_lowercase().contains("authorization"), "{said}");
    assert!(!said.contains(SECRET), "the password is shown:\n{said}");
}

#[test]
fn a_server_with_tls_is_reached_by_its_authority_and_no_other() {
    let folder = workspace::root().join("tests/fixtures/tls");
    let file = |name: &str| folder.join(name).display().to_string();
    let extra = format!(
        // Without TLS only for the harness, which looks whether the server is up.
        "allow_non_tls: true\ntls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        file("server.pem"),
        file("server.key")
    );
    let server = NatsServer::start_with(Settings { extra, ..Settings::default() }).unwrap();
    let options = HostOptions::bank().unwrap().nats(server.url());
    let host = options.clone().args(["--nats-tls-ca".to_owned(), file("ca.pem")]).start().unwrap();
    let opened = host.client().command("bank/account/a", "open", &json!({"owner": "A"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());

    let other = options.args(["--nats-tls-ca".to_owned(), file("other-ca.pem")]);
    let (status, said) = other.start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("certificate"), "{said}");
}
