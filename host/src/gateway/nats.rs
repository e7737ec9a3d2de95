//! The NATS face: commands as requests on `PREFIX.cmd.CONTEXT.AGGREGATE.ID.COMMAND`.
//!
//! Registered as the micro service `aether`, so `nats micro` finds it. All hosts share a queue
//! group: one of them answers. Body, headers and answers are those of HTTP; `Aether-Status` tells
//! the code (`ok` on success). `by` is none: NATS does not tell a service who asked; its own
//! permissions say who may. A request without a reply subject is done and not answered.
//!
//! A host may write where callers may not, and an answer goes where the caller says. So a request
//! whose answer would go to the log, to another subject of the host's own prefix, to the server's
//! API (`$…`) or to no plain subject is not done: else any caller could forge records and delete
//! streams.
//!
//! At most `max-nats-requests` are at work at once, of one caller `max-caller-requests`, and their
//! bodies hold at most `max-request-bytes`; one more is `overloaded`. Of a request only its command
//! is kept: a megabyte of headers takes many times that as a map. A host that drains
//! answers what it has taken; a request that was on its way to it in that moment gets no answer,
//! which means the same as always: ask again with the same id.

pub mod subject;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_nats::{
    Client, HeaderMap, Message,
    service::{
        NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service as MicroService,
        ServiceExt as _, endpoint::Endpoint,
    },
};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::subject::{caller, is_callers, parse};
use super::{
    Service,
    admission::{Bodies, Full, Held, Place, Places},
    problem::Problem,
    reply,
    request::{self, Headers},
};
use crate::{
    clock,
    command::{Command, Outcome, Reply},
    config::{Limits, NatsConfig},
    failure::{Code, Failure},
    gather::gather,
    store::jetstream::identified,
};

/// The header that tells the code of an answer.
pub const STATUS: &str = "Aether-Status";

/// The word in [`STATUS`] on success.
pub const OK: &str = "ok";

/// The queue group of all hosts of a prefix.
const QUEUE: &str = "aether";

/// Requests that have come and were not looked at yet; beyond it the client library drops them
/// without an answer, those of all callers. Looking at one takes a few microseconds, so this is a
/// moment's worth.
const BACKLOG: usize = 64 << 10;

/// Refusals on their way out. A server that does not take them in time gets no more of them, and
/// their callers no answer: that is bounded too.
const MAX_REFUSALS: usize = 4096;

/// Answers that may wait to leave before those who made them are held back.
const ANSWERS: usize = 256;

/// How long the server may take to confirm that it has what it was sent.
const CONFIRM: Duration = Duration::from_secs(10);

/// A running NATS face.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    /// Takes no more requests and waits until those at work are answered.
    pub async fn drain(self) {
        self.stop.cancel();
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the NATS face broke");
        }
    }
}

/// Connects and begins to take commands.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub async fn start(
    server: &NatsConfig,
    prefix: &str,
    limits: Limits,
    service: Arc<dyn Service>,
) -> anyhow::Result<Running> {
    let client = connect(server).await?;
    let micro = client
        .service_builder()
        .description("Commands to event-sourced actors")
        .queue_group(QUEUE)
        .start("aether", env!("CARGO_PKG_VERSION"))
        .await;
    let micro = micro.map_err(|error| anyhow::anyhow!("the micro service is refused: {error}"))?;
    let subject = format!("{prefix}.cmd.*.*.*.*");
    let endpoint = micro.endpoint_builder().name("command").add(&subject).await;
    let endpoint =
        endpoint.map_err(|error| anyhow::anyhow!("cannot subscribe to {subject}: {error}"))?;
    // The subscription must be known to the server before the host says that it listens.
    tokio::time::timeout(CONFIRM, confirm(&client))
        .await
        .context("the subscription is not confirmed")??;
    let stop = CancellationToken::new();
    let (answers, leaving) = mpsc::channel(ANSWERS);
    let face = Arc::new(Face {
        service,
        answers,
        prefix: prefix.to_owned(),
        places: Places::new(limits.max_nats_requests, limits.max_caller_requests),
        bodies: Bodies::new(limits.max_request_bytes),
        refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        limits,
    });
    let answered = tokio::spawn(answer(leaving));
    let served = tokio::spawn(serve(client, micro, endpoint, face, answered, stop.clone()));
    Ok(Running { stop, served })
}

/// A connection by the settings of the store, but of its own: commands must not wait behind
/// records.
///
/// # Errors
/// If the server cannot be reached, or a file of the settings cannot be read.
pub async fn connect(server: &NatsConfig) -> anyhow::Result<Client> {
    let options = identified(server).await.map_err(anyhow::Error::msg)?.name("aether");
    let options = options.subscription_capacity(BACKLOG);
    let urls: Vec<&str> = server.url.split(',').map(str::trim).collect();
    options.connect(urls).await.context("NATS cannot be reached")
}

/// Waits until the server has done all that was sent before: it takes a connection's requests in
/// their order, so a message to ourselves comes back after them. A flush only hands them over.
async fn confirm(client: &Client) -> anyhow::Result<()> {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, "".into()).await?;
    echo.next().await.context("the connection ended")?;
    echo.unsubscribe().await?;
    Ok(())
}

struct Face {
    service: Arc<dyn Service>,
    prefix: String,
    limits: Limits,
    places: Places,
    bodies: Bodies,
    refusals: Arc<Semaphore>,
    answers: mpsc::Sender<Leaving>,
}

/// An answer on its way out.
struct Leaving {
    request: Request,
    answer: Answer,
    _room: Room,
}

/// What a request takes until its answer has left.
enum Room {
    Admitted { _place: Place, _held: Held },
    Refused { _permit: OwnedSemaphorePermit },
}

async fn serve(
    client: Client,
    micro: MicroService,
    mut endpoint: Endpoint,
    face: Arc<Face>,
    answered: JoinHandle<()>,
    stop: CancellationToken,
) {
    let requests = TaskTracker::new();
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            request = endpoint.next() => request,
        };
        let Some(request) = request else { break };
        take(request, &face, &requests);
    }
    if let Err(error) = endpoint.stop().await {
        tracing::debug!(%error, "the subscription is gone already");
    }
    // What was delivered before is in the endpoint's buffer.
    while let Some(request) = endpoint.next().await {
        take(request, &face, &requests);
    }
    requests.close();
    requests.wait().await;
    // Nobody else has the way out any more, so it ends with the last answer.
    drop(face);
    if let Err(error) = answered.await {
        tracing::error!(%error, "the way out of answers broke");
    }
    if let Err(error) = micro.stop().await {
        tracing::debug!(%error, "the micro service is gone already");
    }
    // A flush would only hand the last answers to the kernel of a process that is about to end.
    let confirmed = tokio::time::timeout(CONFIRM, confirm(&client)).await;
    if !matches!(confirmed, Ok(Ok(()))) {
        tracing::warn!("the last answers may not have reached NATS");
    }
}

/// Takes a request on or refuses it, without waiting for anything: those behind it must not wait
/// either, for each takes memory.
fn take(mut request: Request, face: &Arc<Face>, requests: &TaskTracker) {
    if let Some(reply) = &request.message.reply
        && !is_callers(&face.prefix, reply)
    {
        face.service.metrics().dropped("nats-reply-subject");
        tracing::warn!(%reply, subject = %request.message.subject, "a request is ignored: its answer would go to a subject that is not for callers");
        return;
    }
    let taken = face.admit(&request.message).and_then(|room| {
        let command = face.command(&request.message)?;
        Ok((room, command))
    });
    // What it said has been read; where the answer goes is what is still needed.
    request.message.headers = None;
    request.message.payload = Bytes::new();
    let face = Arc::clone(face);
    match taken {
        Ok((room, command)) => {
            requests.spawn(async move {
                let answer = match face.service.send(command).await {
                    Ok(reply) => Answer::of(&reply),
                    Err(failure) => Answer::failed(&failure),
                };
                face.send(request, answer, room).await;
            });
        }
        Err(failure) => match Arc::clone(&face.refusals).try_acquire_owned() {
            Ok(permit) => {
                requests.spawn(async move {
                    let room = Room::Refused { _permit: permit };
                    face.send(request, Answer::failed(&failure), room).await;
                });
            }
            Err(_) => face.service.metrics().dropped("nats-refusals"),
        },
    }
}

/// Sends what leaves, as much together as there is.
async fn answer(mut leaving: mpsc::Receiver<Leaving>) {
    let mut batch = Vec::new();
    while gather(&mut leaving, &mut batch, || false).await {
        for Leaving { request, answer, _room } in batch.drain(..) {
            let Answer { headers, body } = answer;
            let sent = request.respond_with_headers(Ok(body.into()), headers).await;
            if let Err(error) = sent {
                tracing::warn!(%error, "an answer could not be sent");
            }
        }
    }
}

/// An answer as it goes to NATS.
#[derive(Debug)]
struct Answer {
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn of(reply: &Reply) -> Self {
        match &reply.outcome {
            Outcome::Accepted(events) => {
                let mut headers = HeaderMap::new();
                headers.insert(STATUS, OK);
                let actor = reply.actor.to_string();
                let body = reply::accepted(&actor, reply.version, &reply.command, events);
                Self { headers, body }
            }
            Outcome::Rejected { name, fields } => {
                Self::problem(&Problem::of_rejection(reply, name, fields), name)
            }
        }
    }

    fn failed(failure: &Failure) -> Self {
        Self::problem(&Problem::of_failure(failure), &failure.detail)
    }

    fn problem(problem: &Problem<'_>, said: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(STATUS, problem.code);
        // A header is one line; the body has it all.
        let line: String =
            said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect();
        headers.insert(NATS_SERVICE_ERROR, line.as_str());
        headers.insert(NATS_SERVICE_ERROR_CODE, problem.status.to_string().as_str());
        Self { headers, body: problem.to_json() }
    }
}

impl Face {
    /// Has an answer sent, if one is wanted.
    async fn send(&self, request: Request, answer: Answer, room: Room) {
        if request.message.reply.is_some() {
            let leaving = Leaving { request, answer, _room: room };
            // Its end is waited for after all requests, so it is there.
            let _ = self.answers.send(leaving).await;
        }
    }

    /// Room for the request, until it is answered.
    fn admit(&self, message: &Message) -> Result<Room, Box<Failure>> {
        let place = self.places.take(caller(message.reply.as_deref())).map_err(|full| {
            let (at, whose) = match full {
                Full::All => ("max-nats-requests", "from NATS"),
                Full::Caller => ("max-caller-requests", "of one caller"),
            };
            self.service.metrics().dropped(at);
            let detail = format!("the host is at its limit of requests {whose} (`{at}`)");
            Failure::new(Code::Overloaded, detail)
        })?;
        let mut held = Held::nothing();
        self.bodies.add(&mut held, message.payload.len()).inspect_err(|_| {
            self.service.metrics().dropped("max-request-bytes");
        })?;
        Ok(Room::Admitted { _place: place, _held: held })
    }

    fn command(&self, message: &Message) -> Result<Command, Box<Failure>> {
        let (to, name) = parse(&self.prefix, &message.subject)?;
        let (at, now) = (clock::unix_ms(), clock::now());
        let headers = message.headers.iter().flat_map(HeaderMap::iter);
        let headers = headers.flat_map(|(name, values)| {
            values.iter().map(move |value| (name.as_ref(), value.as_str().as_bytes()))
        });
        let headers = Headers::read(headers, &self.limits, now)?;
        let fields = request::fields(&message.payload, self.limits.body_bytes)?;
        Ok(headers.command(to, name, fields, None, at))
    }
}

#[cfg(test)]
mod tests;
