//! The connection to NATS: how it is made, and one request with the one distinction that matters
//! to a store: did the request certainly reach nobody, or may it have been acted on?
//!
//! The client reconnects by itself and buffers what is sent meanwhile, so "it timed out" proves
//! nothing. A request is called unsent only if the client never had it or the server
//! itself says that nobody serves the subject.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, ServerAddr, StatusCode,
    connection::State,
};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::watch, time::timeout_at};

use super::exchange::{Answers, Exchange};
use crate::{clock, config::NatsConfig, step::step, store::StoreError};

/// Longest wait for one answer before the request is sent again.
const TRY: Duration = Duration::from_secs(2);

/// How often a missing connection is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Longest pause between two tries to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Requests that may wait in the client before senders are held back.
const QUEUE: usize = 1 << 14;

/// Why a connection could not be made.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) places: String,
    pub(super) reason: String,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It certainly reached nobody.
    Unsent(String),
    /// It may have been acted on.
    Unanswered(String),
}

/// What the server says instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ApiError {
    /// Like an HTTP status.
    #[serde(default)]
    pub(super) code: u64,
    /// The server's own number of the error.
    #[serde(default, rename = "err_code")]
    pub(super) number: u64,
    #[serde(default)]
    pub(super) description: String,
}

/// Why a call of the server's API failed.
#[derive(Debug, Clone)]
pub(super) enum ApiFailure {
    Refused(ApiError),
    Silent(String),
}

/// Growing pauses between tries, never beyond a deadline.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    pub(super) const fn until(until: Instant) -> Self {
        Self { next: PAUSES.0, until }
    }

    /// Waits before the next try; `false` at once if the deadline leaves no room for one.
    pub(super) async fn wait(&mut self) -> bool {
        if clock::now() + self.next >= self.until {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSES.1);
        true
    }
}

/// One connection.
#[derive(Debug, Clone)]
pub(super) struct Link {
    client: Client,
    exchange: Arc<Exchange>,
    /// Grows whenever the connection is lost: answers that were under way will not come.
    losses: watch::Receiver<u64>,
}

impl Link {
    /// Connects, trying again until `until` as long as nobody refused.
    pub(super) async fn open(
        config: &NatsConfig,
        name: &str,
        until: Instant,
    ) -> Result<Self, Refused> {
        let refused = |reason: String| Refused { places: places_of_text(&config.url), reason };
        let addresses = config
            .url
            .split(',')
            .map(|url| url.trim().parse::<ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused(error.to_string()))?;
        let mut pauses = Pauses::until(until);
        loop {
            let (losses, seen) = watch::channel(0);
            let options = options(config, losses).await.map_err(refused)?;
            let connected = options.name(name).connect(addresses.clone());
            let error = match step!("nats.connect", connected.await) {
                Ok(client) => {
                    let exchange = Exchange::open(&client).await.map_err(refused)?;
                    return Ok(Self { client, exchange: Arc::new(exchange), losses: seen });
                }
                Err(error) => error,
            };
            let passing = matches!(
                error.kind(),
                ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns
            );
            if !passing || !pauses.wait().await {
                return Err(refused(chain(&error)));
            }
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Counts losses of the connection.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.clone()
    }

    /// Waits until there is a connection; `false` if there is none at `until`.
    pub(super) async fn connected(&self, until: Instant) -> bool {
        while self.client.connection_state() != State::Connected {
            if clock::now() + LOOK >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Sends one request and waits for its answer, at most [`TRY`] and never beyond `until`.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        until: Instant,
    ) -> Result<Message, Failure> {
        if !self.connected(until).await {
            return Err(Failure::Unsent("there is no connection to NATS".to_owned()));
        }
        let begun = clock::now();
        let end = until.min(begun + TRY);
        let mut losses = self.losses();
        losses.mark_unchanged();
        let asked = timeout_at(end.into(), self.exchange.one(subject, headers, payload));
        let answer = step!(
            "nats.answer",
            tokio::select! {
                answer = asked => answer,
                // The sender lives as long as the client, so this ends only with a loss.
                Ok(()) = losses.changed() => {
                    return Err(Failure::Unanswered("the connection to NATS was lost".to_owned()));
                }
            }
        );
        match answer {
            Ok(Ok(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(Failure::Unsent(format!("nobody serves `{subject}` now")))
            }
            Ok(answer) => answer,
            Err(_) => {
                let wait = end.saturating_duration_since(begun);
                Err(Failure::Unanswered(format!("no answer on `{subject}` within {wait:?}")))
            }
        }
    }

    /// Sends one request that may have several answers.
    ///
    /// # Errors
    /// If it was not sent.
    pub(super) async fn request_all(
        &self,
        subject: &str,
        payload: Bytes,
    ) -> Result<Answers<'_>, Failure> {
        self.exchange.all(subject, payload).await
    }

    /// Calls the server's API until it answers. Every call made this way may be made twice.
    pub(super) async fn api<A: DeserializeOwned>(
        &self,
        call: &str,
        body: &Value,
        until: Instant,
    ) -> Result<A, ApiFailure> {
        let subject = format!("$JS.API.{call}");
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let mut pauses = Pauses::until(until);
        loop {
            let said = match self.request(&subject, None, body.clone(), until).await {
                Ok(message) => match answer(&message.payload) {
                    // The cluster has no leader now; it will say otherwise soon.
                    Err(ApiFailure::Refused(error)) if error.code == 503 && !is_final(&error) => {
                        error.description
                    }
                    answer => return answer,
                },
                Err(Failure::Unsent(said) | Failure::Unanswered(said)) => said,
            };
            if !pauses.wait().await {
                return Err(ApiFailure::Silent(said));
            }
        }
    }
}

impl From<ApiFailure> for StoreError {
    fn from(failure: ApiFailure) -> Self {
        Self(match failure {
            ApiFailure::Refused(error) => {
                format!("nats answered: {} (error {})", error.description, error.number)
            }
            ApiFailure::Silent(said) => said,
        })
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(said) | Failure::Unanswered(said) => Self(said),
        }
    }
}

/// The answer of an API call, or the error in it.
pub(super) fn answer<A: DeserializeOwned>(payload: &[u8]) -> Result<A, ApiFailure> {
    #[derive(Deserialize)]
    struct Head {
        error: Option<ApiError>,
    }
    let strange = |error: serde_json::Error| {
        ApiFailure::Silent(format!("the answer of nats cannot be read: {error}"))
    };
    let head: Head = serde_json::from_slice(payload).map_err(strange)?;
    match head.error {
        Some(error) => Err(ApiFailure::Refused(error)),
        None => serde_json::from_slice(payload).map_err(strange),
    }
}

/// `host:port` of each server, without user names and passwords.
pub(super) fn places_of_text(urls: &str) -> String {
    let place = |url: &str| {
        url.trim().parse::<ServerAddr>().map_or_else(
            |_| "an address that cannot be read".to_owned(),
            |address| format!("{}:{}", address.host(), address.port()),
        )
    };
    urls.split(',').map(place).collect::<Vec<_>>().join(", ")
}

/// JetStream is off, for the server (10076) or the account (10039): waiting will not change it.
const fn is_final(error: &ApiError) -> bool {
    matches!(error.number, 10_039 | 10_076)
}

async fn options(
    config: &NatsConfig,
    losses: watch::Sender<u64>,
) -> Result<ConnectOptions, String> {
    let options = identified(config).await?;
    Ok(options
        .client_capacity(QUEUE)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.min(10)).unwrap_or(10);
            (PAUSES.0 * 2_u32.pow(doublings)).min(RECONNECT_PAUSE)
        })
        .event_callback(move |event| {
            match &event {
                Event::Disconnected => losses.send_modify(|n| *n += 1),
                Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                    tracing::warn!(%event, "nats");
                }
                _ => {}
            }
            tracing::debug!(%event, "nats");
            std::future::ready(())
        }))
}

/// Options that say who the host is to the server and whom it trusts, as `config` tells.
///
/// # Errors
/// If a file cannot be read, or a certificate or its key is missing.
pub async fn identified(config: &NatsConfig) -> Result<ConnectOptions, String> {
    let mut options = ConnectOptions::new();
    if let Some(path) = &config.credentials {
        options = options.credentials_file(path).await.map_err(|error| {
            format!("the credentials file {} cannot be read: {error}", path.display())
        })?;
    } else {
        // The client itself takes no notice of who stands in a URL.
        match who(&config.url) {
            Some((user, Some(password))) => options = options.user_and_password(user, password),
            Some((token, None)) => options = options.token(token),
            None => {}
        }
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        (None, None) => {}
        _ => {
            return Err(
                "`nats-tls-cert` and `nats-tls-key` belong together: one is missing".to_owned()
            );
        }
    }
    Ok(options)
}

/// User and password of the first of the server URLs `urls` that has them: `nats://USER:PASSWORD@…`,
/// or a token alone, `nats://TOKEN@…`.
fn who(urls: &str) -> Option<(String, Option<String>)> {
    let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    urls.split(',').find_map(|url| {
        let address = url.trim().parse::<ServerAddr>().ok()?;
        Some((text(address.username()?), address.password().map(text)))
    })
}

/// An error with all its causes: the outermost alone often says only "IO error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let places = places_of_text("nats://user:secret@a:4222, tls://b:5222");
        assert_eq!(places, "a:4222, b:5222");
        assert!(!places_of_text("nats://user:sec ret@:x").contains("sec"));
    }

    #[test]
    fn a_url_can_say_who_connects() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned())));
        assert_eq!(who("nats://a:1, nats://us%40er:p%3Aw@b:2"), pair("us@er", "p:w"));
        assert_eq!(who("nats://token@a:1"), Some(("token".to_owned(), None)));
        assert_eq!(who("nats://a:1,a"), None);
    }

    #[test]
    fn an_error_in_an_answer_is_not_taken_for_an_answer() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Lenient {
            seq: u64,
        }
        let refused = answer::<Lenient>(
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"},"seq":0}"#,
        );
        assert!(matches!(refused, Err(ApiFailure::Refused(error)) if error.number == 10_071));
        assert_eq!(answer::<Lenient>(br#"{"stream":"L","seq":7}"#).unwrap().seq, 7);
        assert!(matches!(answer::<Lenient>(b"hello"), Err(ApiFailure::Silent(_))));
    }
}
