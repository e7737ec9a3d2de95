//! What operators ask: an audit, the release of an actor, and what is stored to the letter.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use futures::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{query::Parameters, respond};
use crate::{
    address::Address,
    audit::{Items, Scope, release::Order},
    failure::Failure,
    gateway::{problem::Problem, reply, request::invalid},
    history::{Records, Told},
    record::{Position, Stored},
};

/// What the parameters of an audit say.
///
/// # Errors
/// `invalid` if the actor is no address.
pub fn scope(parameters: &Parameters) -> Result<Scope, Failure> {
    let actor = parameters.get("actor").map(str::parse::<Address>).transpose();
    let actor = actor.map_err(|error| invalid(error.to_string()))?;
    Ok(Scope { context: parameters.get("context").map(str::to_owned), actor })
}

/// What the body of a release says: `{"actor","skip":[position],"because"}`; the last two only
/// together.
///
/// # Errors
/// `invalid` if it says something else.
pub fn order(body: &[u8], by: Option<Arc<str>>, deadline: Instant) -> Result<Order, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Told {
        actor: String,
        #[serde(default)]
        skip: Vec<Position>,
        #[serde(default)]
        because: String,
    }
    let told: Told = serde_json::from_slice(body).map_err(|error| {
        invalid(format!(
            "the body is not an order to release: {error}; expected {{\"actor\": \"bank/account/alice\"}}, and `skip` with `because` to skip records"
        ))
    })?;
    let actor = told.actor.parse().map_err(|error| invalid(format!("{error}")))?;
    Ok(Order { actor, skip: told.skip, because: told.because, by, deadline })
}

/// The response that tells an audit, one JSON object per line: `{"finding":…}`, `{"note":…}`,
/// `{"progress":…}`, and `{"summary":…}` as the last, or `{"problem":…}` if it broke off. It ends with `stop`.
#[must_use]
pub fn audit(items: Items, stop: CancellationToken) -> Response {
    let lines = stream::unfold(items, |mut items| async move {
        let line = match items.recv().await? {
            Ok(item) => format!("{}\n", reply::json(&item)),
            Err(failure) => problem(&failure),
        };
        Some((Ok::<_, Infallible>(line), items))
    });
    told(lines, stop)
}

/// The response that tells an actor's records, one JSON object per line:
/// `{"record":{"position","stored"}}` for each; `{"anew":{}}` if all of them come again from the
/// first on, because a repair was met that changes what counts; and `{"end":{"version"}}` as the
/// last, or `{"problem":…}` if it broke off. It ends with `stop`.
#[must_use]
pub fn records(records: Records, stop: CancellationToken) -> Response {
    let lines = stream::unfold(records, |mut records| async move {
        let lines = match records.recv().await? {
            Ok(Told::Records(page)) => page.iter().map(record).collect(),
            Ok(Told::Anew) => "{\"anew\":{}}\n".to_owned(),
            Ok(Told::End(version)) => format!("{{\"end\":{{\"version\":{version}}}}}\n"),
            Err(failure) => problem(&failure),
        };
        Some((Ok::<_, Infallible>(lines), records))
    });
    told(lines, stop)
}

fn record(stored: &Stored) -> String {
    // A line break in JSON is a blank, but here it would end the line.
    let json = String::from_utf8_lossy(&stored.bytes).replace(['\n', '\r'], " ");
    format!("{{\"record\":{{\"position\":{},\"stored\":{json}}}}}\n", stored.position)
}

fn problem(failure: &Failure) -> String {
    format!("{{\"problem\":{}}}\n", Problem::of_failure(failure).to_json())
}

/// A response of lines that are told as they come.
fn told(
    lines: impl Stream<Item = Result<String, Infallible>> + Send + 'static,
    stop: CancellationToken,
) -> Response {
    let lines = lines.take_until(stop.cancelled_owned());
    let mut response = respond::typed("application/x-ndjson", Body::from_stream(lines));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
