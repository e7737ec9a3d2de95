//! Problem bodies (RFC 9457): how a request without the wished answer is told, on every face.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    command::Reply,
    failure::{Code, Failure},
};

/// The content type of problem bodies.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The word of a command that the domain refused. Not a [`Code`]: the request was answered.
pub const REJECTED: &str = "rejected";

/// The HTTP status of a command that the domain refused.
pub const REJECTED_STATUS: u16 = 422;

/// Every code, in the order of the table of codes.
pub const CODES: [Code; 11] = [
    Code::Invalid,
    Code::TooLarge,
    Code::Unknown,
    Code::Unauthenticated,
    Code::Conflict,
    Code::ComponentFault,
    Code::Overloaded,
    Code::Contended,
    Code::Unavailable,
    Code::Unresolved,
    Code::Quarantined,
];

/// The exit status of the command line for a code's word, `rejected` included. A word that this
/// build does not know is treated as a request that must change.
#[must_use]
pub fn exit_status(word: &str) -> u8 {
    if word == REJECTED {
        return 1;
    }
    let code = CODES.into_iter().find(|code| code.as_str() == word);
    code.unwrap_or(Code::Invalid).exit_status()
}

/// A problem body. Members that say nothing are left out.
#[derive(Debug, Serialize)]
pub struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    /// The HTTP status, on NATS too.
    pub status: u16,
    detail: String,
    /// What the caller must do, in one word.
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<Box<RawValue>>,
}

impl<'a> Problem<'a> {
    /// The problem of a failed request.
    #[must_use]
    pub fn of_failure(failure: &'a Failure) -> Self {
        let code = failure.code.as_str();
        Self {
            kind: kind(code),
            title: title(failure.code),
            status: failure.code.http_status(),
            detail: failure.detail.clone(),
            code,
            reason: failure.reason,
            actor: failure.actor.as_ref().map(ToString::to_string),
            version: failure.version,
            command: failure.command.as_deref(),
            component: failure.component.as_ref().map(ToString::to_string),
            rejection: None,
        }
    }

    /// The problem of a command that the domain refused with the rejection `name`.
    #[must_use]
    pub fn of_rejection(reply: &'a Reply, name: &str, fields: &RawValue) -> Self {
        Self {
            kind: kind(REJECTED),
            title: "the domain said no",
            status: REJECTED_STATUS,
            detail: match fields.get() {
                "{}" => format!("{} refused the command: {name}", reply.actor),
                fields => format!("{} refused the command: {name} {fields}", reply.actor),
            },
            code: REJECTED,
            reason: None,
            actor: Some(reply.actor.to_string()),
            version: Some(reply.version),
            command: Some(&reply.command),
            component: None,
            rejection: case(name, fields),
        }
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        super::reply::json(self)
    }
}

/// A rejection as §5 writes a variant's case: `"name"`, or `{"name": fields}`.
fn case(name: &str, fields: &RawValue) -> Option<Box<RawValue>> {
    let quoted = serde_json::to_string(name).ok()?;
    let text = match fields.get() {
        "{}" => quoted,
        fields => format!("{{{quoted}:{fields}}}"),
    };
    RawValue::from_string(text).ok()
}

fn kind(code: &str) -> String {
    format!("urn:aether:code:{code}")
}

const fn title(code: Code) -> &'static str {
    match code {
        Code::Invalid => "the request does not fit",
        Code::TooLarge => "the request is too large",
        Code::Unknown => "there is nothing by that name",
        Code::Unauthenticated => "no token, or a wrong one",
        Code::Conflict => "the actor is at another version",
        Code::ComponentFault => "the component failed; nothing was stored",
        Code::Overloaded => "too much waits already; nothing was stored",
        Code::Contended => "others kept writing to this actor; nothing was stored",
        Code::Unavailable => "something that is needed is away; nothing was stored",
        Code::Unresolved => "it is not known whether it was stored; ask again with the same id",
        Code::Quarantined => "the actor's log is damaged; an operator must look",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::command::Outcome;

    fn parsed(problem: &Problem<'_>) -> Value {
        serde_json::from_str(&problem.to_json()).unwrap()
    }

    #[test]
    fn every_code_has_its_status_and_title() {
        for (code, status) in [
            (Code::Invalid, 400),
            (Code::TooLarge, 413),
            (Code::Unknown, 404),
            (Code::Unauthenticated, 401),
            (Code::Conflict, 412),
            (Code::ComponentFault, 500),
            (Code::Overloaded, 429),
            (Code::Contended, 409),
            (Code::Unavailable, 503),
            (Code::Unresolved, 504),
            (Code::Quarantined, 423),
        ] {
            let failure = Failure::new(code, "why");
            let body = parsed(&Problem::of_failure(&failure));
            let expected = json!({
                "type": format!("urn:aether:code:{}", code.as_str()), "title": title(code),
                "status": status, "detail": "why", "code": code.as_str(),
            });
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn a_failure_tells_all_it_knows() {
        let mut failure = Failure::new(Code::ComponentFault, "d");
        failure.reason = Some("trap");
        failure.actor = "bank/account/alice".parse().ok();
        failure.command = Some("c1".to_owned());
        failure.version = Some(4);
        failure.component = Some(aether_wit::Digest::of("x"));
        let body = parsed(&Problem::of_failure(&failure));
        assert_eq!(body["reason"], "trap");
        assert_eq!(body["actor"], "bank/account/alice");
        assert_eq!((&body["command"], &body["version"]), (&json!("c1"), &json!(4)));
        assert!(body["component"].as_str().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn a_rejection_is_written_as_a_variant() {
        let fields = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let reply = Reply {
            actor: "bank/account/alice".parse().unwrap(),
            command: "c1".to_owned(),
            version: 2,
            outcome: Outcome::Rejected { name: "n".to_owned(), fields: fields("{}") },
        };
        let with = fields(r#"{"balance":50}"#);
        let body = parsed(&Problem::of_rejection(&reply, "insufficient-funds", &with));
        assert_eq!(body["rejection"], json!({"insufficient-funds": {"balance": 50}}));
        assert_eq!((&body["code"], &body["status"]), (&json!("rejected"), &json!(422)));
        assert_eq!((&body["version"], &body["command"]), (&json!(2), &json!("c1")));
        let body = parsed(&Problem::of_rejection(&reply, "not-open", &fields("{}")));
        assert_eq!(body["rejection"], "not-open");
    }
}
