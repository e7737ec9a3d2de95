//! The HTTP face.
//!
//! Every answer has a body of ours, whatever went wrong. The way of a request: [`route`] says what
//! is asked, [`super::auth`] who asks, [`query`] and [`super::request`] how, the service answers,
//! [`respond`] writes it down. A client that goes away cancels its wait and nothing else.
//!
//! Connections are bounded in number, in the size of a request's head, in the bytes of all bodies,
//! and in the time that a head, a body or the reading of an answer may take; one over the number
//! is told 503 and closed. HTTP/1.1 only: a plain-text HTTP/2 would have to wait for its preface
//! without a time limit.

mod body;
pub mod deploy;
pub mod feed;
pub mod operate;
pub mod query;
pub mod respond;
pub mod route;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    body::{BodyLimit, MAX_DISCARDED_BYTES, Pieces, collect},
    query::Parameters,
    respond::Refusal,
    route::Route,
};
use super::{
    Service,
    admission::{Bodies, Held},
    auth::Tokens,
    problem::{self, Problem},
    reply,
    request::{self, Headers},
};
use crate::{
    address::Address,
    aside::Worker,
    clock,
    command::Query,
    config::Limits,
    failure::{Code, Failure},
    metrics,
};

/// Most bytes of a request's head: fits an id of 256 bytes in percent-encoding many times over.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Events or actors that a page holds if nobody says.
const PAGE: usize = 100;

/// Most events or actors that a page holds.
const MAX_PAGE: usize = 1000;

/// How long the accept loop rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Forms of deploys that are read at once, each on a thread of its own; more wait for their turn.
static FORMS: Semaphore = Semaphore::const_new(2);

/// What the HTTP face needs to answer.
pub struct Face {
    /// Who answers.
    pub service: Arc<dyn Service>,
    /// Who may ask; none = everybody.
    pub tokens: Option<Tokens>,
    /// The host's limits.
    pub limits: Limits,
    /// Time between two signs of life on a feed, see [`feed::HEARTBEAT`].
    pub heartbeat: Duration,
    /// Room for bodies.
    pub bodies: Bodies,
    /// Ends feeds and accepting.
    pub stop: CancellationToken,
}

/// Takes connections until `face.stop`, then lets those that are open finish their request.
/// Returns when the last one is closed.
pub async fn serve(listener: TcpListener, face: Arc<Face>) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(face.limits.max_connections));
    let router = Router::new().fallback(handle).with_state(Arc::clone(&face));
    loop {
        let accepted = tokio::select! {
            () = face.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match (accepted, Arc::clone(&permits).try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) => {
                let (router, face) = (router.clone(), Arc::clone(&face));
                connections.spawn(async move {
                    face.service.metrics().connection(true);
                    converse(stream, router, &face).await;
                    face.service.metrics().connection(false);
                    drop(permit);
                });
            }
            (Ok((stream, _)), Err(_)) => turn_away(&stream, &face).await,
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn converse(stream: TcpStream, router: Router, face: &Face) {
    // Without it, small answers may wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client is gone");
        return;
    }
    end_if_unread(&stream, face.limits.write_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(face.limits.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = face.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Has the kernel end the connection when its client takes nothing of what is sent for so long.
fn end_if_unread(stream: &TcpStream, limit: Duration) {
    #[cfg(target_os = "linux")]
    {
        let ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, ms) {
            tracing::debug!(%error, "a client that does not read is not noticed");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, limit);
}

async fn turn_away(stream: &TcpStream, face: &Face) {
    face.service.metrics().dropped("max-connections");
    // A fresh socket has room; if this one has not, closing it says enough.
    let written: io::Result<usize> = match stream.writable().await {
        Ok(()) => stream.try_write(full().as_bytes()),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::debug!(%error, "a connection over the limit could not be told");
    }
}

/// A whole response for a connection that gets no handler.
fn full() -> String {
    let detail = "the host is at its limit of connections (`max-connections`)";
    let body = Problem::of_failure(&Failure::new(Code::Unavailable, detail)).to_json();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        problem::CONTENT_TYPE,
        body.len()
    )
}

async fn handle(State(face): State<Arc<Face>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let response = match face.answer(parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    tracing::debug!(%method, %uri, status = response.status().as_u16(), "http");
    response
}

/// A request whose words are understood.
struct Asked {
    parts: Parts,
    parameters: Parameters,
    headers: Headers,
    by: Option<Arc<str>>,
    at: u64,
}

impl Face {
    async fn answer(&self, parts: Parts, body: Body) -> Result<Response, Refusal> {
        let route = Route::of(&parts.method, parts.uri.path());
        let is_open = route.as_ref().is_ok_and(Route::is_open);
        let by = match &self.tokens {
            Some(tokens) if !is_open => {
                let header = parts.headers.get(header::AUTHORIZATION);
                Some(tokens.caller(header.map(|value| value.as_bytes()))?)
            }
            _ => None,
        };
        let route = route?;
        let (at, now) = (clock::unix_ms(), clock::now());
        let parameters = Parameters::read(parts.uri.query(), route.parameters())?;
        let named = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers = Headers::read(named, &self.limits, now)?;
        self.dispatch(route, Asked { parts, parameters, headers, by, at }, body).await
    }

    async fn dispatch(&self, route: Route, asked: Asked, body: Body) -> Result<Response, Refusal> {
        let service = &self.service;
        let deadline = asked.headers.deadline;
        let page = || asked.parameters.limit(PAGE, MAX_PAGE);
        let answer = match route {
            Route::Command { to, name } => return self.command(to, name, asked, body).await,
            Route::State(actor) => return self.state(actor, &asked).await,
            Route::Feed { context } => return self.feed(&context, &asked).await,
            Route::Events(actor) => {
                let from = asked.parameters.number("from")?.unwrap_or(1).max(1);
                reply::events(&service.events(&actor, from, page()?, deadline).await?)
            }
            Route::Wake(actor) => {
                reply::woken(&actor.to_string(), service.wake(&actor, deadline).await?)
            }
            Route::Sleep(actor) => {
                reply::asleep(&actor.to_string(), service.sleep(&actor, deadline).await?)
            }
            Route::Actors { context, aggregate } => {
                let after = asked.parameters.get("after").filter(|after| !after.is_empty());
                reply::actors(&service.actors(&context, &aggregate, after, page()?).await?)
            }
            Route::Awake => reply::awake(&service.awake(page()?)),
            Route::Quarantined => {
                reply::quarantined(&service.quarantines(asked.parameters.get("context")).await?)
            }
            Route::Release => return self.release(asked, body).await,
            Route::Audit => {
                let scope = operate::scope(&asked.parameters)?;
                return Ok(operate::audit(service.audit(scope), self.stop.clone()));
            }
            Route::Deploy | Route::Rollback => return self.deploy(route, asked, body).await,
            Route::Deployments => reply::json(&service.rollouts().await?),
            Route::Records(actor) => {
                let records = service.records(&actor, asked.parameters.number("until")?)?;
                return Ok(operate::records(records, self.stop.clone()));
            }
            Route::Blob(digest) => {
                let bytes = service.blob(&digest, deadline).await?;
                return Ok(respond::typed("application/octet-stream", bytes.into()));
            }
            Route::Health => r#"{"alive":true}"#.to_owned(),
            Route::Ready => match service.ready().await {
                Ok(()) => r#"{"ready":true}"#.to_owned(),
                Err(why) => return Err(Failure::new(Code::Unavailable, why).into()),
            },
            Route::OpenApi => service.openapi(),
            Route::Metrics => {
                let text = service.metrics().render();
                return Ok(respond::typed(metrics::CONTENT_TYPE, text.into()));
            }
        };
        Ok(respond::json(answer))
    }

    async fn command(
        &self,
        to: Address,
        name: String,
        asked: Asked,
        body: Body,
    ) -> Result<Response, Refusal> {
        let limit = BodyLimit { bytes: self.limits.body_bytes, name: "body-bytes" };
        let (body, held) = self.body(&asked.parts, body, asked.headers.deadline, limit).await?;
        let fields = request::fields(&body.whole(), self.limits.body_bytes)?;
        let command = asked.headers.command(to, name, fields, asked.by, asked.at);
        // A client that goes away does not take its command along, nor the room that it takes.
        let service = Arc::clone(&self.service);
        let answered = tokio::spawn(async move {
            let answered = service.send(command).await;
            drop(held);
            answered
        });
        match answered.await {
            Ok(answered) => Ok(respond::answered(&answered?)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => {
                    Err(Failure::new(Code::Unresolved, "the host was stopped meanwhile").into())
                }
            },
        }
    }

    async fn release(&self, asked: Asked, body: Body) -> Result<Response, Refusal> {
        let deadline = asked.headers.deadline;
        let limit = BodyLimit { bytes: self.limits.body_bytes, name: "body-bytes" };
        let (body, _held) = self.body(&asked.parts, body, deadline, limit).await?;
        let order = operate::order(&body.whole(), asked.by, deadline)?;
        Ok(respond::json(reply::released(&self.service.release(order).await?)))
    }

    async fn deploy(&self, route: Route, asked: Asked, body: Body) -> Result<Response, Refusal> {
        let deadline = asked.headers.deadline;
        let limit = match route {
            Route::Rollback => BodyLimit { bytes: self.limits.body_bytes, name: "body-bytes" },
            _ => BodyLimit { bytes: self.limits.deploy_bytes, name: "deploy-bytes" },
        };
        let (body, _held) = self.body(&asked.parts, body, deadline, limit).await?;
        let order = match route {
            Route::Rollback => deploy::again(&body.whole(), asked.by)?,
            _ => {
                let _turn = FORMS.acquire().await;
                let (headers, by) = (asked.parts.headers, asked.by);
                let read = async move { deploy::order(&headers, body, by).await };
                Worker::start("aether-form", read)?.result().await??
            }
        };
        Ok(deploy::words(self.service.deploy(order), self.stop.clone()))
    }

    async fn state(&self, actor: Address, asked: &Asked) -> Result<Response, Refusal> {
        let query = Query {
            actor,
            version: asked.parameters.number("version")?,
            min_version: asked.parameters.number("min-version")?,
            consistency: asked.parameters.consistency()?,
            deadline: asked.headers.deadline,
        };
        Ok(respond::state(&self.service.state(query).await?))
    }

    async fn feed(&self, context: &str, asked: &Asked) -> Result<Response, Refusal> {
        // A browser that reconnects sends the last id that it saw: it is newer than the address.
        let last = asked.parts.headers.get("last-event-id");
        let last = last.map(|value| value.to_str()).transpose().map_err(|_| {
            request::invalid("the header `last-event-id` is not a cursor: expected one of a feed")
        })?;
        let cursor = last.or_else(|| asked.parameters.get("after"));
        let feed = self.service.feed(context, cursor.filter(|c| !c.is_empty())).await?;
        let format = feed::Format::wanted(&asked.parts.headers);
        Ok(feed::response(feed, format, self.heartbeat, self.stop.clone()))
    }

    fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        self.bodies.add(held, bytes).inspect_err(|_| {
            *held = Held::nothing();
            self.service.metrics().dropped("max-request-bytes");
        })
    }

    async fn body(
        &self,
        parts: &Parts,
        body: Body,
        deadline: std::time::Instant,
        most: BodyLimit,
    ) -> Result<(Pieces, Held), Refusal> {
        let declared = parts.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|bytes| bytes > most.bytes.saturating_add(MAX_DISCARDED_BYTES)) {
            return Err(most.exceeded().into());
        }
        // However long a caller is ready to wait for its answer, its body must come.
        let waited = deadline.saturating_duration_since(clock::now());
        let waited = waited.min(self.limits.header_timeout);
        let mut held = Held::nothing();
        let collected = collect(body, most, |bytes| self.hold(&mut held, bytes));
        let read = tokio::time::timeout(waited, collected).await;
        match read {
            Ok(read) => Ok((read?, held)),
            Err(_) => Err(Refusal::Slow { waited }),
        }
    }
}
