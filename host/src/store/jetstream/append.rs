//! Writing one message with a version check, until it is settled.
//!
//! Anything but a clean acknowledgement leaves the outcome unknown: the server may have stored the
//! message and the answer was lost. The same bytes are sent again with the same expectation until
//! the server acknowledges or refuses them; the expectation makes a second copy impossible. There
//! is no `Nats-Msg-Id`: on a replicated stream a duplicate is acknowledged before the expectation
//! is checked, and that answer would be mistaken for a commit.
//!
//! A refusal of one server is not that of all. While a cluster is apart, a leader that its peers have
//! replaced goes on refusing, and a server between the two passes a message to both: the answer comes
//! from the one, and the other stores it. So only where one server holds the stream does a refusal
//! prove that nothing was stored.
//!
//! Cost: one round trip (35–50 µs on an idle machine, `R1`; 0.4 ms, `R3`), nothing more unless
//! something fails.

use std::time::Instant;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;

use super::connection::{ApiError, Failure, Link, Pauses};
use crate::{
    record::Position,
    store::{AppendError, StoreError},
};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// "wrong last sequence: N": the version check failed.
const WRONG_LAST: u64 = 10_071;

/// Refusals by which a server says that it has stored nothing, and that may pass: no room (10023,
/// 10028, 10047), JetStream off (10039, 10076), no leader (10008), the stream is offline (10118),
/// another message of the subject is still on its way through the replicas (10164), the message is
/// too large for the stream (10054), the stream is sealed (10109). All others stay doubtful.
const NOTHING_STORED: [u64; 10] =
    [10_008, 10_023, 10_028, 10_039, 10_047, 10_054, 10_076, 10_109, 10_118, 10_164];

/// Why a message was not acknowledged.
#[derive(Debug, Clone)]
pub(super) enum PublishError {
    /// The subject's last message is another than the expected one.
    Conflict(Option<Position>),
    /// It never reached a server that could have stored it.
    Unsent(StoreError),
    /// No server that answered has stored it. There may be others, if the stream has replicas.
    Refused(StoreError),
    /// It may be stored, now or soon.
    Unresolved(StoreError),
}

impl PublishError {
    /// What it says of a record on a stream that several servers hold, or one.
    pub(super) fn of_append(self, is_replicated: bool) -> AppendError {
        match self {
            Self::Conflict(last) => AppendError::Conflict { last },
            Self::Refused(error) if is_replicated => AppendError::Unresolved(error),
            Self::Unsent(error) | Self::Refused(error) => AppendError::Unavailable(error),
            Self::Unresolved(error) => AppendError::Unresolved(error),
        }
    }
}

impl From<PublishError> for StoreError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Conflict(_) => Self("another host wrote at the same time".to_owned()),
            PublishError::Unsent(error)
            | PublishError::Refused(error)
            | PublishError::Unresolved(error) => error,
        }
    }
}

/// What the server said to one try.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Stored(u64),
    Conflict(Option<Position>),
    /// This try reached no server that could have stored it.
    Unsent(String),
    /// Who answered has not stored it.
    Refused(String),
    /// This try may have been stored.
    Unclear(String),
}

/// What became of all tries, the worst of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    Refused,
    Unclear,
}

/// Publishes `payload` on `subject` and gives its sequence number. With `expected`, only if that
/// is the number of the subject's last message (0 = there is none).
pub(super) async fn publish(
    link: &Link,
    subject: &str,
    expected: Option<u64>,
    mut headers: HeaderMap,
    payload: Bytes,
    until: Instant,
) -> Result<u64, PublishError> {
    if let Some(expected) = expected {
        headers.insert(EXPECTED, expected.to_string());
    }
    let headers = Some(headers).filter(|headers| !headers.is_empty());
    let mut pauses = Pauses::until(until);
    let mut doubt = Doubt::None;
    loop {
        let answer = link.request(subject, headers.clone(), payload.clone(), until).await;
        let reason = match said(answer.map(|message| message.payload)) {
            Said::Stored(sequence) => return Ok(sequence),
            Said::Conflict(last) => return Err(PublishError::Conflict(last)),
            Said::Unsent(reason) => reason,
            Said::Refused(reason) => {
                doubt = doubt.max(Doubt::Refused);
                reason
            }
            Said::Unclear(reason) => {
                doubt = Doubt::Unclear;
                reason
            }
        };
        if !pauses.wait().await {
            let error = StoreError(reason);
            return Err(match doubt {
                Doubt::None => PublishError::Unsent(error),
                Doubt::Refused => PublishError::Refused(error),
                Doubt::Unclear => PublishError::Unresolved(error),
            });
        }
    }
}

fn said(answered: Result<Bytes, Failure>) -> Said {
    // One reading of what `answer` reads twice: this is the way of every commit.
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        seq: u64,
        error: Option<ApiError>,
    }
    let payload = match answered {
        Ok(payload) => payload,
        Err(Failure::Unsent(reason)) => return Said::Unsent(reason),
        Err(Failure::Unanswered(reason)) => return Said::Unclear(reason),
    };
    let answer: Answer = match serde_json::from_slice(&payload) {
        Ok(answer) => answer,
        Err(error) => {
            return Said::Unclear(format!("the answer of nats cannot be read: {error}"));
        }
    };
    match answer.error {
        None if answer.seq > 0 => Said::Stored(answer.seq),
        None => Said::Unclear("nats acknowledged without a sequence number".to_owned()),
        Some(error) if error.number == WRONG_LAST => Said::Conflict(last_sequence(&error)),
        Some(error) => {
            let reason = format!("nats refused: {} (error {})", error.description, error.number);
            if NOTHING_STORED.contains(&error.number) {
                Said::Refused(reason)
            } else {
                Said::Unclear(reason)
            }
        }
    }
}

/// The number in "wrong last sequence: N".
fn last_sequence(error: &ApiError) -> Option<Position> {
    let (_, number) = error.description.rsplit_once(' ')?;
    number.parse().ok().map(Position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(number: u64, description: &str) -> Said {
        let error = serde_json::json!({
            "error": {"code": 400, "err_code": number, "description": description}, "seq": 0
        });
        said(Ok(Bytes::from(error.to_string())))
    }

    #[test]
    fn only_a_sequence_number_is_an_acknowledgement() {
        let stored = Bytes::from_static(br#"{"stream":"L","seq":12}"#);
        assert_eq!(said(Ok(stored)), Said::Stored(12));
        for strange in ["", "{}", "null", "[]", r#"{"stream":"L"}"#, r#"{"seq":0}"#, "+ACK"] {
            assert!(matches!(said(Ok(Bytes::from(strange))), Said::Unclear(_)), "{strange}");
        }
    }

    #[test]
    fn a_refusal_names_the_last_record_if_it_can() {
        assert_eq!(
            refusal(WRONG_LAST, "wrong last sequence: 42"),
            Said::Conflict(Some(Position(42)))
        );
        assert_eq!(refusal(WRONG_LAST, "wrong last sequence"), Said::Conflict(None));
    }

    #[test]
    fn what_is_not_known_to_be_harmless_stays_in_doubt() {
        assert!(matches!(refusal(10_164, "wrong last sequence"), Said::Refused(_)));
        assert!(matches!(refusal(10_047, "no room"), Said::Refused(_)));
        assert!(matches!(refusal(10_077, "store failed"), Said::Unclear(_)));
        assert!(matches!(refusal(99_999, "news"), Said::Unclear(_)));
        assert!(matches!(said(Err(Failure::Unanswered(String::new()))), Said::Unclear(_)));
        assert!(matches!(said(Err(Failure::Unsent(String::new()))), Said::Unsent(_)));
    }

    #[test]
    fn one_server_of_several_does_not_speak_for_all() {
        let why = || StoreError(String::new());
        let unavailable = |error| matches!(error, AppendError::Unavailable(_));
        let unresolved = |error| matches!(error, AppendError::Unresolved(_));
        assert!(unavailable(PublishError::Refused(why()).of_append(false)));
        assert!(unresolved(PublishError::Refused(why()).of_append(true)));
        for is_replicated in [false, true] {
            assert!(unavailable(PublishError::Unsent(why()).of_append(is_replicated)));
            assert!(unresolved(PublishError::Unresolved(why()).of_append(is_replicated)));
        }
    }
}
