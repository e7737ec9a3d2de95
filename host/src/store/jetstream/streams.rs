//! Makes streams, or checks those that are there. Nothing that exists is ever changed: a setting
//! that differs may be an operator's mistake or their wish, and only they can tell.

use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::{
    connection::{ApiFailure, Link, Pauses},
    layout,
};
use crate::{step::step, store::StoreError};

/// "stream not found".
const NOT_FOUND: u64 = 10_059;

/// "stream name already in use with a different configuration": another host may have made it
/// between our look and our creation.
const NAME_IN_USE: u64 = 10_058;

/// Why a stream cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum StreamError {
    /// It has other settings than it must.
    #[error(
        "the stream `{stream}` has other settings than aether needs; aether does not change them, use `nats stream edit` or remove what made it: {}",
        .differences.join("; ")
    )]
    Settings { stream: String, differences: Vec<String> },
    /// It was there before and is not now.
    #[error(
        "the stream `{0}` is missing, though its context has been used: restore it from a backup; a new one would be an empty past"
    )]
    Missing(String),
    /// No answer.
    #[error("the stream `{stream}` cannot be made or checked: {reason}")]
    Silent { stream: String, reason: StoreError },
}

impl From<StreamError> for StoreError {
    fn from(error: StreamError) -> Self {
        Self(error.to_string())
    }
}

/// Whether a missing stream is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMissing {
    Make,
    Refuse,
}

/// What is known of a stream.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    config: Value,
    pub(super) state: State,
}

/// How full a stream is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct State {
    pub(super) last_seq: u64,
    /// Messages per subject, if they were asked for.
    #[serde(default)]
    pub(super) subjects: Option<std::collections::HashMap<String, u64>>,
}

impl Info {
    /// Copies of the stream.
    pub(super) fn replicas(&self) -> u64 {
        self.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1)
    }
}

/// Makes the stream with these settings, or checks that the one of this name has them.
pub(super) async fn ensure(
    link: &Link,
    wanted: &Value,
    if_missing: IfMissing,
    until: Instant,
) -> Result<Info, StreamError> {
    let stream = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let silent = |failure: ApiFailure| StreamError::Silent {
        stream: stream.to_owned(),
        reason: failure.into(),
    };
    let mut pauses = Pauses::until(until);
    loop {
        let call = format!("STREAM.INFO.{stream}");
        let info = link.api::<Info>(&call, &Value::Null, until);
        match step!("jetstream.stream-info", info.await) {
            Ok(info) => return checked(stream, wanted, info),
            Err(ApiFailure::Refused(error)) if error.number == NOT_FOUND => {}
            Err(failure) => return Err(silent(failure)),
        }
        if if_missing == IfMissing::Refuse {
            return Err(StreamError::Missing(stream.to_owned()));
        }
        let call = format!("STREAM.CREATE.{stream}");
        match step!("jetstream.make-stream", link.api::<Info>(&call, wanted, until).await) {
            Ok(info) => return checked(stream, wanted, info),
            Err(ApiFailure::Refused(error)) if error.number == NAME_IN_USE => {}
            Err(failure) => return Err(silent(failure)),
        }
        if !pauses.wait().await {
            let reason = StoreError("it is made and not found in turns".to_owned());
            return Err(StreamError::Silent { stream: stream.to_owned(), reason });
        }
    }
}

fn checked(stream: &str, wanted: &Value, info: Info) -> Result<Info, StreamError> {
    let differences = layout::setting_differences(wanted, &info.config);
    if differences.is_empty() {
        Ok(info)
    } else {
        Err(StreamError::Settings { stream: stream.to_owned(), differences })
    }
}
