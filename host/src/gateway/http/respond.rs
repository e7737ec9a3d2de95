//! Responses: statuses, headers and bodies.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    command::{Outcome, Reply, StateView},
    failure::{Code, Failure},
    gateway::{
        problem::{self, Problem},
        reply, request,
    },
};

/// The content type of answers.
pub const JSON: &str = "application/json";

/// When to try again after `overloaded` or `unavailable`, in seconds: both pass within moments.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request gets no answer from the service.
#[derive(Debug)]
pub enum Refusal {
    /// It failed.
    Failed(Box<Failure>),
    /// The path takes other methods.
    Method {
        /// The methods that it takes.
        allow: &'static str,
    },
    /// The body did not arrive in time.
    Slow {
        /// The time that it had.
        waited: Duration,
    },
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Failed(failure) => failed(&failure),
            Self::Method { allow } => {
                let failure = request::invalid(format!("this path takes {allow}"));
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let mut response = with_status(Problem::of_failure(&failure), status);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                response
            }
            Self::Slow { waited } => {
                let detail = format!("the body did not arrive within {waited:?}");
                let failure = request::invalid(detail);
                with_status(Problem::of_failure(&failure), StatusCode::REQUEST_TIMEOUT)
            }
        }
    }
}

/// The problem body of a failure.
pub fn failed(failure: &Failure) -> Response {
    let problem = Problem::of_failure(failure);
    let status = StatusCode::from_u16(problem.status);
    let mut response = with_status(problem, status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    let headers = response.headers_mut();
    match failure.code {
        Code::Overloaded | Code::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        Code::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

/// The domain's answer to a command.
pub fn answered(answer: &Reply) -> Response {
    match &answer.outcome {
        Outcome::Accepted(events) => {
            let actor = answer.actor.to_string();
            let body = reply::accepted(&actor, answer.version, &answer.command, events);
            tagged(body, answer.version)
        }
        Outcome::Rejected { name, fields } => {
            let problem = Problem::of_rejection(answer, name, fields);
            with_status(problem, StatusCode::UNPROCESSABLE_ENTITY)
        }
    }
}

/// An actor's state.
pub fn state(view: &StateView) -> Response {
    tagged(reply::state(view), view.version)
}

/// A JSON body.
pub fn json(body: String) -> Response {
    typed(JSON, body.into())
}

/// A body of another content type.
pub fn typed(content: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

fn tagged(body: String, version: u64) -> Response {
    let mut response = json(body);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn with_status(mut problem: Problem<'_>, status: StatusCode) -> Response {
    problem.status = status.as_u16();
    let mut response = typed(problem::CONTENT_TYPE, problem.to_json().into());
    *response.status_mut() = status;
    response
}
