//! A caller over NATS.

use std::time::Duration;

use aether_tests::{
    host_process::{HostOptions, HostProcess},
    nats_server::NatsServer,
};
use async_nats::{Client, ConnectOptions, HeaderMap, Message};
use serde_json::Value;

/// Longest wait for what must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// Where the hosts of most tests find their server, without the bank's model.
pub fn options(server: &NatsServer) -> HostOptions {
    HostOptions::new().unwrap().nats(server.url())
}

/// A host with the bank on `server`.
pub fn bank(server: &NatsServer) -> HostProcess {
    HostOptions::bank().unwrap().nats(server.url()).start().unwrap()
}

pub async fn connect(url: &str) -> Client {
    let options = ConnectOptions::new().request_timeout(Some(SOON));
    options.connect(url).await.unwrap()
}

/// Asks `PREFIX.cmd.bank.account.ID.COMMAND` for an answer.
pub async fn ask(client: &Client, to: &str, headers: &[(&str, &str)], fields: &Value) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let subject = format!("aether.cmd.bank.account.{to}");
    let answer = client.request_with_headers(subject, map, fields.to_string().into()).await;
    Answer(answer.unwrap())
}

/// What a host said.
#[derive(Debug)]
pub struct Answer(Message);

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// The code in its header.
    pub fn status(&self) -> &str {
        self.header("Aether-Status").expect("every answer has a status")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.payload).unwrap()
    }

    /// The version after a command that must have been accepted.
    #[track_caller]
    pub fn accepted(&self) -> u64 {
        assert_eq!(self.status(), "ok", "{}", self.json());
        assert_eq!(self.header("Nats-Service-Error"), None);
        self.json()["version"].as_u64().expect("a reply has a version")
    }

    /// The body of a problem with this code, whose headers say the same.
    #[track_caller]
    pub fn refused(&self, code: &str, status: u16) -> Value {
        let body = self.json();
        assert_eq!(self.status(), code, "{body}");
        assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{body}");
        let number = status.to_string();
        assert_eq!(self.header("Nats-Service-Error-Code"), Some(number.as_str()));
        assert!(self.header("Nats-Service-Error").is_some_and(|said| !said.is_empty()));
        body
    }
}
