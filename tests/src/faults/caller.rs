//! One client of several hosts: over HTTP to a host of its choice, a connection at a time, or over
//! NATS to whichever host takes it. Everything is noted that it asks and is told.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aether::clock;
use anyhow::{Context as _, Result};
use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, StatusCode,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::history::{Event, Operation, Outcome, Request};

/// How long a host may take for one request, as the caller says.
const DEADLINE: &str = "2s";

/// How long the caller waits before it gives up: more than it has told the host.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_millis(500);

/// One in so many commands goes over NATS, where there is one.
const OVER_NATS: u64 = 5;

/// Pause after a host could not be reached.
const AGAIN: Duration = Duration::from_millis(20);

/// What all clients of a round share.
#[derive(Debug)]
pub struct Shared {
    /// Where the hosts' fronts are.
    pub fronts: Vec<SocketAddr>,
    /// A connection to the nats-servers, if there are any.
    pub nats: Option<async_nats::Client>,
    /// When the round began.
    pub began: Instant,
    /// Set when clients are to finish.
    pub stop: AtomicBool,
    /// Requests on their way, by host.
    pub in_flight: Vec<AtomicUsize>,
    /// Who has answered since it was last asked for.
    service: Mutex<Service>,
}

#[derive(Debug, Default)]
struct Service {
    since: Duration,
    hosts: BTreeSet<usize>,
    /// Actors that have accepted a command.
    actors: BTreeSet<String>,
}

impl Shared {
    /// Nothing on its way yet; the round begins now.
    #[must_use]
    pub fn new(fronts: Vec<SocketAddr>, nats: Option<async_nats::Client>) -> Arc<Self> {
        let in_flight = fronts.iter().map(|_| AtomicUsize::new(0)).collect();
        let (stop, service) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { fronts, nats, began: clock::now(), stop, in_flight, service })
    }

    /// Time since the round began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether clients are to finish.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From now on it is noted which hosts and actors answer what is asked from now on.
    pub fn expect_service(&self) {
        *self.service() = Service { since: self.now(), ..Service::default() };
    }

    /// Which hosts have answered nothing that was asked since then, and which of `actors` have
    /// accepted no command.
    #[must_use]
    pub fn unserved(&self, actors: &[String]) -> Vec<String> {
        let service = self.service();
        let hosts = (0..self.fronts.len()).filter(|host| !service.hosts.contains(host));
        let actors = actors.iter().filter(|actor| !service.actors.contains(*actor)).cloned();
        hosts.map(|host| format!("host {host}")).chain(actors).collect()
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests are on their way, to one host or to all.
    #[must_use]
    pub fn in_flight(&self, host: Option<usize>) -> usize {
        let counts = self.in_flight.iter().enumerate();
        let counted = counts.filter(|(index, _)| host.is_none_or(|host| host == *index));
        counted.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }
}

/// A client.
pub struct Caller {
    /// Its number.
    pub me: usize,
    /// The host that it asks next.
    pub host: usize,
    shared: Arc<Shared>,
    connection: Option<(usize, SendRequest<Full<Bytes>>)>,
    asked: u64,
    history: Vec<Operation>,
}

/// What came back on the wire.
struct Answer {
    /// Whether it tells what was asked for, not why not.
    good: bool,
    body: Value,
}

/// Why nothing came back.
enum Silence {
    /// The request did not leave this process.
    Unsent,
    /// It may have been acted on.
    Unanswered(String),
}

impl Caller {
    /// A client that begins at the host of its number.
    #[must_use]
    pub fn new(me: usize, shared: Arc<Shared>) -> Self {
        let host = me % shared.fronts.len().max(1);
        Self { me, host, shared, connection: None, asked: 0, history: Vec::new() }
    }

    /// Everything that it asked and was told, in that order.
    #[must_use]
    pub fn into_history(self) -> Vec<Operation> {
        self.history
    }

    /// What it shares with the other clients of the round.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether it is to finish.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.shared.stopped()
    }

    /// Asks the next host from now on.
    pub fn fail_over(&mut self) {
        self.host = (self.host + 1) % self.shared.fronts.len().max(1);
    }

    /// Sends a command with an id and notes it.
    pub async fn command(&mut self, actor: &str, id: &str, name: &str, fields: Value) -> Outcome {
        let (id, name) = (Some(id.to_owned()), name.to_owned());
        let request = Request::Command { id, name, fields, expected_version: None };
        self.ask(actor, request).await
    }

    /// Asks for an actor's state and notes it.
    pub async fn read(&mut self, actor: &str) -> Outcome {
        self.ask(actor, Request::Read).await
    }

    /// Asks and notes. A request that never left is not noted, and is refused with the code
    /// `unsent`; after that, and when no answer came, the next host is asked next.
    pub async fn ask(&mut self, actor: &str, request: Request) -> Outcome {
        let (begun, host) = (self.shared.now(), self.host);
        self.asked += 1;
        let nats = self.shared.nats.clone().filter(|_| self.asked.is_multiple_of(OVER_NATS));
        let (answer, host) = match (&request, nats) {
            (
                Request::Command { id: Some(id), name, fields, expected_version: None },
                Some(nats),
            ) => (over_nats(&nats, actor, id, name, fields).await, None),
            _ => (self.exchange(actor, &request).await, Some(host)),
        };
        let outcome = match answer {
            Ok(answer) => answer.outcome(&request),
            Err(Silence::Unsent) => {
                self.fail_over();
                tokio::time::sleep(AGAIN).await;
                return Outcome::Refused { code: "unsent".to_owned() };
            }
            Err(Silence::Unanswered(why)) => {
                self.fail_over();
                tokio::time::sleep(AGAIN).await;
                Outcome::Unknown { why }
            }
        };
        let ended = self.shared.now();
        if !matches!(outcome, Outcome::Refused { .. } | Outcome::Unknown { .. }) {
            let mut service = self.shared.service();
            if begun >= service.since {
                service.hosts.extend(host);
                if matches!(outcome, Outcome::Accepted { .. }) {
                    service.actors.insert(actor.to_owned());
                }
            }
        }
        self.history.push(Operation {
            client: self.me,
            actor: actor.to_owned(),
            request,
            begun,
            ended,
            outcome: outcome.clone(),
        });
        outcome
    }

    async fn exchange(&mut self, actor: &str, request: &Request) -> Result<Answer, Silence> {
        let host = self.host;
        let mut connection = match self.connection.take() {
            Some((to, connection)) if to == host && connection.is_ready() => connection,
            _ => self.connect(host).await.map_err(|_| Silence::Unsent)?,
        };
        let request = wire(actor, request).map_err(|_| Silence::Unsent)?;
        let count = self.shared.in_flight.get(host);
        count.inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        let answer = async {
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        count.inspect(|count| _ = count.fetch_sub(1, Ordering::Relaxed));
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Silence::Unanswered(format!("{error:?}"))),
            Err(_) => return Err(Silence::Unanswered("no answer in time".to_owned())),
        };
        let body = serde_json::from_slice(&body)
            .map_err(|error| Silence::Unanswered(format!("{status}, no JSON: {error}")))?;
        self.connection = Some((host, connection));
        Ok(Answer { good: status == StatusCode::OK, body })
    }

    async fn connect(&self, host: usize) -> Result<SendRequest<Full<Bytes>>> {
        let at = self.shared.fronts.get(host).context("there is no such host")?;
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(at)).await??;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How the connection ends is told to the request that was on it.
        tokio::spawn(connection);
        sender.ready().await?;
        Ok(sender)
    }
}

/// Sends a command as a request over NATS.
async fn over_nats(
    nats: &async_nats::Client,
    actor: &str,
    id: &str,
    name: &str,
    fields: &Value,
) -> Result<Answer, Silence> {
    let mut headers = HeaderMap::new();
    headers.insert("Idempotency-Key", id);
    headers.insert("Aether-Timeout", DEADLINE);
    // The ids of this harness need no encoding.
    let subject = format!("aether.cmd.{}.{name}", actor.replace('/', "."));
    let asked = nats.request_with_headers(subject, headers, fields.to_string().into());
    let message = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            return Err(Silence::Unsent);
        }
        Ok(Err(error)) => return Err(Silence::Unanswered(format!("over NATS: {error}"))),
        Err(_) => return Err(Silence::Unanswered("no answer over NATS in time".to_owned())),
    };
    let status = message.headers.as_ref().and_then(|headers| headers.get("Aether-Status"));
    let good = status.is_some_and(|status| status.as_str() == "ok");
    let body = serde_json::from_slice(&message.payload)
        .map_err(|error| Silence::Unanswered(format!("over NATS, no JSON: {error}")))?;
    Ok(Answer { good, body })
}

/// The request as HTTP.
fn wire(actor: &str, request: &Request) -> Result<hyper::Request<Full<Bytes>>> {
    let built =
        hyper::Request::builder().header("host", "aether").header("aether-timeout", DEADLINE);
    let built = match request {
        Request::Read => built.uri(format!("/v1/{actor}")).body(Full::default())?,
        Request::Command { id, name, fields, expected_version } => {
            let mut built = built.method(Method::POST).uri(format!("/v1/{actor}/{name}"));
            built = built.header("content-type", "application/json");
            if let Some(id) = id {
                built = built.header("idempotency-key", id);
            }
            if let Some(version) = expected_version {
                built = built.header("if-match", format!("\"{version}\""));
            }
            built.body(Full::from(fields.to_string()))?
        }
    };
    Ok(built)
}

impl Answer {
    fn outcome(self, request: &Request) -> Outcome {
        self.judged(request).unwrap_or_else(|| Outcome::Unknown {
            why: format!("an answer that makes no sense: {}", self.body),
        })
    }

    fn judged(&self, request: &Request) -> Option<Outcome> {
        let body = &self.body;
        let version = || body.get("version")?.as_u64();
        if self.good {
            return Some(match request {
                Request::Read => {
                    Outcome::State { version: version()?, state: body.get("state")?.clone() }
                }
                Request::Command { .. } => {
                    let events = body.get("events")?.as_array()?.iter().map(event);
                    Outcome::Accepted {
                        version: version()?,
                        events: events.collect::<Option<_>>()?,
                    }
                }
            });
        }
        Some(match body.get("code")?.as_str()? {
            "rejected" => {
                Outcome::Rejected { version: version()?, rejection: body.get("rejection")?.clone() }
            }
            "unresolved" => Outcome::Unknown { why: "unresolved".to_owned() },
            code => Outcome::Refused { code: code.to_owned() },
        })
    }
}

fn event(told: &Value) -> Option<Event> {
    Some(Event {
        version: told.get("version")?.as_u64()?,
        name: told.get("type")?.as_str()?.to_owned(),
        data: told.get("data")?.clone(),
    })
}
