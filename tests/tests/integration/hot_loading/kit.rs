//! Hosts with the bank, and the commands that an operator types.

use std::{path::Path, process::Output, thread, time::Duration};

use aether::clock;
use aether_tests::{
    host_process::{self, HostProcess},
    http::Client,
    nats_server::NatsServer,
};
use serde_json::Value;

use super::versions::Version;
use crate::crash_points::place::{Kind, Place};

/// Longest wait for what must happen: more than the 20 s after which a host that is gone is no
/// longer waited for.
pub const SOON: Duration = Duration::from_secs(40);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// How a command of the operator ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    /// What it printed, stderr behind stdout.
    pub said: String,
}

impl Ended {
    /// It ended with `status` and said each of `words`.
    #[track_caller]
    pub fn expect(&self, status: i32, words: &[&str]) -> &Self {
        assert_eq!(self.status, status, "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "`{word}` is not said: {}", self.said);
        }
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        Self { status: output.status.code().unwrap_or(-1), said }
    }
}

/// Runs `aether ARGUMENTS` against `host`.
pub fn aether(host: &HostProcess, arguments: &[&str]) -> Ended {
    let url = host.url();
    let arguments = [arguments, &["--url", url.as_str()]].concat();
    host_process::run_cli(host.options().folder(), arguments).unwrap().into()
}

/// `aether deploy` of a version.
pub fn deploy(host: &HostProcess, version: Version, more: &[&str]) -> Ended {
    deploy_file(host, &version.model(), more)
}

/// `aether deploy` of a model's file.
pub fn deploy_file(host: &HostProcess, model: &Path, more: &[&str]) -> Ended {
    let model = model.to_str().unwrap();
    aether(host, &[&["deploy", model], more].concat())
}

/// Hosts on one place.
pub struct Stage<'a> {
    pub place: Place<'a>,
    pub hosts: Vec<HostProcess>,
}

impl<'a> Stage<'a> {
    /// As many hosts as `kind` bears, two at the most, with the bank as it is in the example.
    pub fn start(kind: Kind<'a>, prefix: &str) -> Self {
        let place = Place::new(kind, prefix.to_owned()).unwrap();
        let mut hosts = vec![place.options.start().unwrap()];
        if matches!(kind, Kind::JetStream(_)) {
            let another = Place::new(kind, prefix.to_owned()).unwrap();
            hosts.push(another.options.without_models().start().unwrap());
        }
        Self { place, hosts }
    }

    pub fn clients(&self) -> Vec<Client> {
        self.hosts.iter().map(HostProcess::client).collect()
    }

    /// Waits until every host serves the newest deployment of the bank, and gives its number.
    pub fn await_agreement(&self) -> u64 {
        let mut seen = Value::Null;
        let until = clock::now() + SOON;
        while clock::now() < until {
            let told: Vec<Value> = self.hosts.iter().map(rollouts).collect();
            let newest = |told: &Value| told["deployments"][0]["number"].as_u64();
            let number = told.first().and_then(newest);
            let agreed = number.is_some()
                && told.iter().all(|told| {
                    let own = told["hosts"].as_array().into_iter().flatten();
                    let own = own.filter(|host| self.lives(host));
                    newest(told) == number
                        && own.clone().count() == self.hosts.len()
                        && own.clone().all(|host| host["serves"]["bank"].as_u64() == number)
                });
            if agreed {
                return number.unwrap_or_default();
            }
            seen = told.into();
            thread::sleep(LOOK);
        }
        panic!("the hosts do not agree: {seen}")
    }

    /// Whether what a host told of itself came from one that is still there.
    fn lives(&self, presence: &Value) -> bool {
        let place = presence["place"].as_str().unwrap_or_default();
        self.hosts.iter().any(|host| place.contains(&format!("process {} ", host.pid())))
    }

    /// Nothing is wrong with what is stored.
    #[track_caller]
    pub fn audit(&self) {
        aether(&self.hosts[0], &["audit"]).expect(0, &[]);
    }
}

/// What `host` tells of deployments.
pub fn rollouts(host: &HostProcess) -> Value {
    let reply = host.client().get("/admin/deployments").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

/// The number of the bank's active deployment.
pub fn active(host: &HostProcess) -> u64 {
    let told = rollouts(host);
    let all = told["deployments"].as_array().unwrap();
    let of_bank = all.iter().find(|deployment| deployment["context"] == "bank");
    of_bank.and_then(|deployment| deployment["number"].as_u64()).expect("the bank is deployed")
}

/// Runs `body` on the embedded store, and on JetStream with two hosts.
pub fn on_both(body: impl Fn(Kind<'_>)) {
    body(Kind::Embedded);
    let server = NatsServer::start().unwrap();
    body(Kind::JetStream(&server));
}

/// How many of a thing are done: `few`, or `many` with `AETHER_TEST_HOT=long`.
pub fn amount<T>(few: T, many: T) -> T {
    if std::env::var("AETHER_TEST_HOT").is_ok_and(|it| it == "long") { many } else { few }
}
