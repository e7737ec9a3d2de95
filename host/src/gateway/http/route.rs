//! From method and path to what is asked.
//!
//! Paths are split before they are decoded, so an id may hold any character: `/` as `%2F`, `.`
//! and `*` as they are. Nothing is normalised.

use aether_wit::{Digest, digest::NotADigest};
use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::{
    address::{Address, is_name},
    failure::{Code, Failure},
    gateway::{http::respond::Refusal, request::invalid},
};

/// What a path and method ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Give a command to an actor.
    Command {
        /// The actor.
        to: Address,
        /// The command.
        name: String,
    },
    /// An actor's state.
    State(Address),
    /// An actor's events.
    Events(Address),
    /// Wake an actor.
    Wake(Address),
    /// Put an actor to sleep.
    Sleep(Address),
    /// The actors of an aggregate.
    Actors {
        /// The context.
        context: String,
        /// The aggregate.
        aggregate: String,
    },
    /// The events of a context.
    Feed {
        /// The context.
        context: String,
    },
    /// The actors awake in this host.
    Awake,
    /// The actors that are quarantined.
    Quarantined,
    /// Let a quarantined actor go on.
    Release,
    /// Read everything and tell what is wrong.
    Audit,
    /// What was ever deployed, and where it is served.
    Deployments,
    /// Deploy a model.
    Deploy,
    /// Deploy again what was deployed before.
    Rollback,
    /// The stored records of an actor.
    Records(Address),
    /// A model or a component that a deployment names.
    Blob(Digest),
    /// Whether the process lives.
    Health,
    /// Whether commands can be taken.
    Ready,
    /// What the host counts.
    Metrics,
    /// The models as OpenAPI.
    OpenApi,
}

impl Route {
    /// The route of a request.
    ///
    /// # Errors
    /// If there is none, or a part of the path cannot be what it stands for.
    pub fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let get = *method == Method::GET || *method == Method::HEAD;
        let post = *method == Method::POST;
        let read =
            |route: Self| if get { Ok(route) } else { Err(Refusal::Method { allow: "GET, HEAD" }) };
        match parts.as_slice() {
            ["healthz"] => read(Self::Health),
            ["readyz"] => read(Self::Ready),
            ["metrics"] => read(Self::Metrics),
            ["openapi.json"] => read(Self::OpenApi),
            ["admin", "awake"] => read(Self::Awake),
            ["admin", "deployments"] => read(Self::Deployments),
            ["admin", "quarantined"] => read(Self::Quarantined),
            ["admin", "audit"] => read(Self::Audit),
            ["admin", "blobs", digest] => read(Self::Blob(blob(digest)?)),
            ["admin", "records", context, aggregate, id] => {
                read(Self::Records(address(context, aggregate, id)?))
            }
            ["admin", "release"] if post => Ok(Self::Release),
            ["admin", "deploy"] if post => Ok(Self::Deploy),
            ["admin", "rollback"] if post => Ok(Self::Rollback),
            ["admin", "release" | "deploy" | "rollback"] => Err(Refusal::Method { allow: "POST" }),
            ["v1", context, "events"] => read(Self::Feed { context: name(context)? }),
            ["v1", context, aggregate] => {
                read(Self::Actors { context: name(context)?, aggregate: name(aggregate)? })
            }
            ["v1", context, aggregate, id] => read(Self::State(address(context, aggregate, id)?)),
            ["v1", context, aggregate, id, last] => {
                let to = address(context, aggregate, id)?;
                match *last {
                    "events" if get => Ok(Self::Events(to)),
                    "wake" if post => Ok(Self::Wake(to)),
                    "sleep" if post => Ok(Self::Sleep(to)),
                    last if post => Ok(Self::Command { to, name: name(last)? }),
                    "events" => Err(Refusal::Method { allow: "GET, HEAD, POST" }),
                    _ => Err(Refusal::Method { allow: "POST" }),
                }
            }
            _ => Err(nothing_here(path).into()),
        }
    }

    /// The parameters that may follow the path.
    #[must_use]
    pub const fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::State(_) => &["version", "min-version", "consistency"],
            Self::Events(_) => &["from", "limit"],
            Self::Actors { .. } => &["after", "limit"],
            Self::Feed { .. } => &["after"],
            Self::Awake => &["limit"],
            Self::Quarantined => &["context"],
            Self::Audit => &["context", "actor"],
            Self::Records(_) => &["until"],
            _ => &[],
        }
    }

    /// Whether it is open without a token: what watches the process has none.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }
}

fn nothing_here(path: &str) -> Failure {
    let shown: String = path.chars().take(80).collect();
    Failure::new(
        Code::Unknown,
        format!(
            "nothing is at `{shown}`: expected /v1/CONTEXT/AGGREGATE/ID or /v1/CONTEXT/AGGREGATE/ID/COMMAND with `/` in ids written as %2F; /openapi.json lists all"
        ),
    )
}

/// A part of a path as text.
fn decode(part: &str) -> Result<String, Failure> {
    let mut rest = part.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let escape = rest.get(at + 1..at + 3).unwrap_or_default();
        if escape.len() != 2 || !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(invalid(format!(
                "`{part}` holds a `%` without two hex digits: write it as %25"
            )));
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    let text = percent_decode_str(part).decode_utf8().map_err(|_| {
        invalid(format!("`{part}` is not UTF-8: expected the percent-encoding of UTF-8"))
    })?;
    Ok(text.into_owned())
}

/// A name of the model. One that no model can have is unknown like one that no model has.
fn name(part: &str) -> Result<String, Failure> {
    let name = decode(part)?;
    if is_name(&name) {
        return Ok(name);
    }
    let shown: String = name.chars().take(80).collect();
    Err(Failure::new(
        Code::Unknown,
        format!(
            "there is no context, aggregate or command `{shown}`: names are lower-case words joined by `-`"
        ),
    ))
}

fn blob(part: &str) -> Result<Digest, Failure> {
    let digest = decode(part)?;
    digest.parse().map_err(|error: NotADigest| invalid(error.to_string()))
}

fn address(context: &str, aggregate: &str, id: &str) -> Result<Address, Failure> {
    let (context, aggregate) = (name(context)?, name(aggregate)?);
    Address::new(&context, &aggregate, &decode(id)?).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<Route, Refusal> {
        Route::of(&Method::GET, path)
    }

    fn post(path: &str) -> Result<Route, Refusal> {
        Route::of(&Method::POST, path)
    }

    fn failed(result: Result<Route, Refusal>) -> Failure {
        match result {
            Err(Refusal::Failed(failure)) => *failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_may_hold_anything() {
        for (path, id) in [
            ("a.b", "a.b"),
            ("*", "*"),
            ("%3E", ">"),
            ("a%2Fb", "a/b"),
            ("a%20b", "a b"),
            ("%F0%9F%A6%8A", "🦊"),
            ("..", ".."),
            ("%25", "%"),
            ("events", "events"),
            ("a+b", "a+b"),
        ] {
            let actor = Address::new("bank", "account", id).unwrap();
            let path = format!("/v1/bank/account/{path}");
            assert_eq!(get(&path).unwrap(), Route::State(actor.clone()));
            let name = "open".to_owned();
            let command = Route::Command { to: actor.clone(), name };
            assert_eq!(post(&format!("{path}/open")).unwrap(), command);
            assert_eq!(get(&format!("{path}/events")).unwrap(), Route::Events(actor));
        }
    }

    #[test]
    fn wrong_ids_are_invalid_and_wrong_names_unknown() {
        let long = "x".repeat(300);
        for id in ["", "%", "%4", "%zz", "%FF", "%C3", &long] {
            let failure = failed(get(&format!("/v1/bank/account/{id}")));
            assert_eq!(failure.code, Code::Invalid, "{id}");
        }
        for path in
            ["/", "", "/v1", "/v2/a/b/c", "/v1/Bank/account/x", "/v1//account/x", "/v1/a/b/c/d/e"]
        {
            assert_eq!(failed(get(path)).code, Code::Unknown, "{path}");
        }
        assert_eq!(failed(post("/v1/bank/account/a/Open")).code, Code::Unknown);
    }

    #[test]
    fn wrong_methods_are_told_the_right_ones() {
        let allow = |method: Method, path: &str| match Route::of(&method, path) {
            Err(Refusal::Method { allow }) => allow,
            other => panic!("{other:?}"),
        };
        assert_eq!(allow(Method::POST, "/healthz"), "GET, HEAD");
        assert_eq!(allow(Method::DELETE, "/v1/bank/account/a"), "GET, HEAD");
        assert_eq!(allow(Method::GET, "/v1/bank/account/a/open"), "POST");
        assert_eq!(allow(Method::PUT, "/v1/bank/account/a/events"), "GET, HEAD, POST");
    }

    #[test]
    fn the_other_paths() {
        let context = || "bank".to_owned();
        let actor = Address::new("bank", "account", "a").unwrap();
        assert_eq!(get("/v1/bank/events").unwrap(), Route::Feed { context: context() });
        let aggregate = "account".to_owned();
        assert_eq!(
            get("/v1/bank/account").unwrap(),
            Route::Actors { context: context(), aggregate }
        );
        assert_eq!(post("/v1/bank/account/a/wake").unwrap(), Route::Wake(actor.clone()));
        assert_eq!(post("/v1/bank/account/a/sleep").unwrap(), Route::Sleep(actor.clone()));
        let name = "events".to_owned();
        assert_eq!(post("/v1/bank/account/a/events").unwrap(), Route::Command { to: actor, name });
        assert_eq!(get("/admin/quarantined").unwrap(), Route::Quarantined);
        assert_eq!(get("/admin/audit").unwrap(), Route::Audit);
        assert_eq!(post("/admin/release").unwrap(), Route::Release);
        assert_eq!(post("/admin/deploy").unwrap(), Route::Deploy);
        assert_eq!(post("/admin/rollback").unwrap(), Route::Rollback);
        assert!(matches!(get("/admin/deploy"), Err(Refusal::Method { allow: "POST" })));
        let records = get("/admin/records/bank/account/a%2Fb").unwrap();
        assert_eq!(records, Route::Records(Address::new("bank", "account", "a/b").unwrap()));
        let digest = Digest::of("x");
        assert_eq!(get(&format!("/admin/blobs/{digest}")).unwrap(), Route::Blob(digest));
        assert_eq!(failed(get("/admin/blobs/sha256:12")).code, Code::Invalid);
        assert!(matches!(get("/admin/release"), Err(Refusal::Method { allow: "POST" })));
        assert!(get("/readyz").unwrap().is_open() && !get("/metrics").unwrap().is_open());
    }
}
