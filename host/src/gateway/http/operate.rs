//! What operators ask: an audit, and the release of an actor.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{query::Parameters, respond};
use crate::{
    address::Address,
    audit::{Items, Scope, release::Order},
    failure::Failure,
    gateway::{problem::Problem, reply, request::invalid},
    record::Position,
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
            Ok(item) => reply::json(&item),
            Err(failure) => format!("{{\"problem\":{}}}", Problem::of_failure(&failure).to_json()),
        };
        Some((Ok::<_, Infallible>(format!("{line}\n")), items))
    });
    let lines = lines.take_until(stop.cancelled_owned());
    let mut response = respond::typed("application/x-ndjson", Body::from_stream(lines));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
