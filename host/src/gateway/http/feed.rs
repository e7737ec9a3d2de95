//! A context's feed as a body that ends only with the feed, the client or the host.
//!
//! A line is asked of the feed when the client has room for it, so a slow client slows its own
//! feed and nothing else. A heartbeat shows both sides that the other one lives.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::respond;
use crate::{
    command::FeedEvent,
    failure::Failure,
    gateway::{Feed, problem::Problem, reply},
};

/// Time between two signs of life on a feed without events: below the idle limit of common
/// proxies.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How a feed is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line; empty lines are heartbeats.
    Lines,
    /// Server-sent events, whose id is the cursor.
    Sse,
}

impl Format {
    /// What the client asks for.
    #[must_use]
    pub fn wanted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter();
        let sse = accepts
            .filter_map(|accept| accept.to_str().ok())
            .any(|accept| accept.to_ascii_lowercase().contains("text/event-stream"));
        if sse { Self::Sse } else { Self::Lines }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }

    const fn heartbeat(self) -> &'static str {
        match self {
            Self::Lines => "\n",
            Self::Sse => ": heartbeat\n\n",
        }
    }

    fn event(self, event: &FeedEvent) -> String {
        let line = reply::feed(event);
        match self {
            Self::Lines => format!("{line}\n"),
            Self::Sse => format!("id: {}\ndata: {line}\n\n", event.cursor),
        }
    }

    /// The last line of a feed that cannot go on.
    fn failure(self, failure: &Failure) -> String {
        let problem = Problem::of_failure(failure).to_json();
        match self {
            Self::Lines => format!("{{\"problem\":{problem}}}\n"),
            Self::Sse => format!("event: problem\ndata: {problem}\n\n"),
        }
    }
}

/// The response that tells `feed`, until `stop`.
#[must_use]
pub fn response(feed: Feed, format: Format, every: Duration, stop: CancellationToken) -> Response {
    let mut heartbeat = interval_at(Instant::now() + every, every);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let teller = Teller { feed, format, heartbeat, stop, ended: false };
    let chunks = stream::unfold(teller, |mut teller| async move {
        let chunk = teller.next().await?;
        Some((Ok::<_, Infallible>(chunk), teller))
    });
    let mut response = respond::typed(format.content_type(), Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Teller {
    feed: Feed,
    format: Format,
    heartbeat: Interval,
    stop: CancellationToken,
    ended: bool,
}

impl Teller {
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            told = self.feed.next() => match told? {
                Ok(event) => {
                    self.heartbeat.reset();
                    Some(self.format.event(&event))
                }
                Err(failure) => {
                    self.ended = true;
                    Some(self.format.failure(&failure))
                }
            },
            _ = self.heartbeat.tick() => Some(self.format.heartbeat().to_owned()),
        }
    }
}
