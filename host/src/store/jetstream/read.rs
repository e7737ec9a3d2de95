//! Reading a stream: pages by direct get, and the proof that a replica is fresh enough.
//!
//! A direct get is answered by any replica, and a replica may lag; even the leader may be one that
//! was voted out and has not heard of it. On a replicated stream a fresh read therefore begins
//! with a *fence*: a message on a subject of the stream that a majority has acknowledged as number
//! F. A replica that has F has everything that was acknowledged before the fence was sent. The
//! request for the newest messages (`multi_last`) tells up to which number the replica has looked;
//! an answer below F is asked for again.
//!
//! Cost: without replicas one round trip per page (0.1–0.25 ms for ten records). With replicas a
//! fresh read adds one quorum write, shared by all who asked before it was sent, and one small
//! request; records that lie scattered over a large stream are found one block at a time
//! (1,000 in a million: 50–140 ms), which snapshots avoid.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use async_nats::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::timeout_at};

use super::{
    append::publish,
    connection::{ApiFailure, Failure, Link, Pauses},
    layout::FENCE_TTL,
    streams::{Info, State},
};
use crate::{
    clock,
    step::step,
    store::{Freshness, StoreError},
};

/// Messages of one page.
const PAGE: usize = 256;

/// Bytes of one page, unless one record alone has more.
const PAGE_BYTES: usize = 4 << 20;

/// Most messages that the server gives for one `multi_last`.
const NEWEST: usize = 1024;

/// Longest wait for the next message of a page.
const TRY: Duration = Duration::from_secs(2);

/// How long a consumer stays that was only asked where it would begin, in ns.
const CONSUMER_NS: u64 = 5_000_000_000;

/// "no message found".
const NO_MESSAGE: u64 = 10_037;

/// One message of a stream.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// Some messages in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Found>,
    /// How many follow.
    pub(super) pending: u64,
    /// Up to which number the replica has looked, if it tells.
    up_to: Option<u64>,
}

/// The two connections of a store. A server answers a direct get inside the loop that reads the
/// connection's requests, so reading has its own: a long page must not delay an append.
#[derive(Debug, Clone)]
pub(super) struct Links {
    pub(super) writing: Link,
    pub(super) reading: Link,
}

/// A stream as something to read from.
#[derive(Debug)]
pub(super) struct Source {
    stream: String,
    fence: Option<Fence>,
}

/// Where a stream's fences are written, and the newest of them.
#[derive(Debug)]
struct Fence {
    subject: String,
    /// Fences that were begun.
    begun: AtomicU64,
    /// The newest that was acknowledged. Held while one is written.
    done: Mutex<Done>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Done {
    /// Which of the begun ones it is, counted from 1.
    round: u64,
    sequence: u64,
}

impl Source {
    /// A stream with so many replicas whose fences go to `fence`.
    pub(super) fn new(stream: String, replicas: u64, fence: String) -> Self {
        let fence = (replicas > 1).then(|| Fence {
            subject: fence,
            begun: AtomicU64::new(0),
            done: Mutex::new(Done::default()),
        });
        Self { stream, fence }
    }

    /// A stream whose answers may be old: for caches.
    pub(super) const fn unfenced(stream: String) -> Self {
        Self { stream, fence: None }
    }

    /// Whether several servers hold the stream.
    pub(super) const fn is_replicated(&self) -> bool {
        self.fence.is_some()
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// A page of the messages of `subject` from number `from` on.
    pub(super) async fn page(
        &self,
        links: &Links,
        subject: &str,
        from: u64,
        freshness: Freshness,
        until: Instant,
    ) -> Result<Batch, StoreError> {
        let last = match (freshness, &self.fence) {
            (Freshness::Leader, Some(_)) => self.last_fenced(links, subject, until).await?,
            _ => None,
        };
        let last = last.map_or(0, |found| found.sequence);
        let mut pauses = Pauses::until(until);
        loop {
            let batch = self.batch(links, &by_subject(subject, from), until).await?;
            let end = batch.messages.last().map_or(0, |found| found.sequence);
            if (batch.pending > 0 && end > 0) || end >= last || from > last {
                return Ok(batch);
            }
            if !pauses.wait().await {
                return Err(lagging(&self.stream));
            }
        }
    }

    /// The newest message of `subject`, at least as new as any acknowledged before the call.
    pub(super) async fn last(
        &self,
        links: &Links,
        subject: &str,
        until: Instant,
    ) -> Result<Option<Found>, StoreError> {
        if self.fence.is_some() {
            return self.last_fenced(links, subject, until).await;
        }
        Ok(self.newest(links, subject, 0, until).await?.pop())
    }

    /// The newest message of each subject that `filter` takes, at most 1,024, from a replica that
    /// has looked up to number `at_least`.
    pub(super) async fn newest(
        &self,
        links: &Links,
        filter: &str,
        at_least: u64,
        until: Instant,
    ) -> Result<Vec<Found>, StoreError> {
        let query = json!({ "multi_last": [filter], "batch": NEWEST });
        let mut pauses = Pauses::until(until);
        loop {
            let batch = self.batch(links, &query, until).await?;
            if batch.up_to.unwrap_or(0) >= at_least {
                return Ok(batch.messages);
            }
            if !pauses.wait().await {
                return Err(lagging(&self.stream));
            }
        }
    }

    /// The newest message of each of `subjects`, from any replica.
    pub(super) async fn newest_of(
        &self,
        links: &Links,
        subjects: &[String],
        until: Instant,
    ) -> Result<Vec<Found>, StoreError> {
        let query = json!({ "multi_last": subjects, "batch": subjects.len() });
        Ok(self.batch(links, &query, until).await?.messages)
    }

    /// The number of the newest message whose subject `filter` takes, at least as new as any
    /// acknowledged before the call, as the stream's leader has it; 0 = there is none.
    pub(super) async fn tail(
        &self,
        links: &Links,
        filter: &str,
        until: Instant,
    ) -> Result<u64, StoreError> {
        self.led(links, until).await?;
        let found = self.original(links, &json!({ "last_by_subj": filter }), until).await?;
        Ok(found.map_or(0, |found| found.sequence))
    }

    /// Waits until who answers for the stream's leader has all that was acknowledged before: one
    /// that was voted out has not.
    async fn led(&self, links: &Links, until: Instant) -> Result<(), StoreError> {
        let fence = self.fenced(links, until).await?;
        let mut pauses = Pauses::until(until);
        while fence > 0 && self.end(links, until).await? < fence {
            if !pauses.wait().await {
                return Err(lagging(&self.stream));
            }
        }
        Ok(())
    }

    /// The number of the newest message of `subject`, as [`Self::last`]; 0 = there is none.
    /// Without replicas the leader alone answers, whatever becomes of the stream's settings.
    pub(super) async fn head(
        &self,
        links: &Links,
        subject: &str,
        until: Instant,
    ) -> Result<u64, StoreError> {
        if self.fence.is_some() {
            return match self.last_fenced(links, subject, until).await? {
                Some(found) => Ok(found.sequence),
                None => self.index(links, subject, until).await,
            };
        }
        #[derive(Deserialize)]
        struct Answer {
            message: Head,
        }
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
        }
        let call = format!("STREAM.MSG.GET.{}", self.stream);
        let query = json!({ "last_by_subj": subject });
        let head = links.writing.api::<Answer>(&call, &query, until);
        match step!("jetstream.head", head.await) {
            Ok(answer) => Ok(answer.message.seq),
            Err(ApiFailure::Refused(error)) if error.number == NO_MESSAGE => {
                self.index(links, subject, until).await
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The number of the newest message of `subject` as the server's index has it, which counts
    /// messages that cannot be read any more; its version check takes those for none. Told by a
    /// consumer that would begin there.
    pub(super) async fn index(
        &self,
        links: &Links,
        subject: &str,
        until: Instant,
    ) -> Result<u64, StoreError> {
        #[derive(Deserialize)]
        struct Answer {
            delivered: Begin,
        }
        #[derive(Deserialize)]
        struct Begin {
            stream_seq: u64,
        }
        if self.subjects(links, subject, until).await?.is_empty() {
            return Ok(0);
        }
        let call = format!("CONSUMER.CREATE.{}", self.stream);
        let config = json!({
            "filter_subject": subject,
            "deliver_policy": "last",
            "ack_policy": "none",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": CONSUMER_NS,
        });
        let query = json!({ "stream_name": self.stream, "config": config });
        let asked = links.writing.api::<Answer>(&call, &query, until);
        Ok(step!("jetstream.ask-index", asked.await)?.delivered.stream_seq + 1)
    }

    /// A page of the messages of `subject` from number `from` on, one by one as the stream's
    /// leader has them: what a replica lost or has otherwise does not show.
    pub(super) async fn proof(
        &self,
        links: &Links,
        subject: &str,
        from: u64,
        until: Instant,
    ) -> Result<Batch, StoreError> {
        self.led(links, until).await?;
        let mut batch = Batch::default();
        let (mut next, mut bytes) = (from.max(1), 0);
        while batch.messages.len() < PAGE && bytes < PAGE_BYTES {
            let query = json!({ "seq": next, "next_by_subj": subject });
            let Some(found) = self.original(links, &query, until).await? else {
                return Ok(batch);
            };
            next = found.sequence + 1;
            bytes += found.payload.len();
            batch.messages.push(found);
        }
        // Whether one more follows, the next page tells.
        batch.pending = 1;
        Ok(batch)
    }

    /// Whether the stream's leader has had a message at `position` and cannot give it: the server
    /// leaves out what fails its own checks.
    pub(super) async fn has_lost(
        &self,
        links: &Links,
        position: u64,
        until: Instant,
    ) -> Result<bool, StoreError> {
        let fence = self.fenced(links, until).await?;
        let end = self.end(links, until).await?;
        if end < position || end < fence {
            return Ok(false);
        }
        Ok(self.original(links, &json!({ "seq": position }), until).await?.is_none())
    }

    /// One message as the stream's leader has it.
    async fn original(
        &self,
        links: &Links,
        query: &Value,
        until: Instant,
    ) -> Result<Option<Found>, StoreError> {
        #[derive(Deserialize)]
        struct Answer {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            subject: String,
            seq: u64,
            #[serde(default)]
            data: String,
        }
        let call = format!("STREAM.MSG.GET.{}", self.stream);
        let asked = links.writing.api::<Answer>(&call, query, until);
        let message = match step!("jetstream.read-original", asked.await) {
            Ok(answer) => answer.message,
            Err(ApiFailure::Refused(error)) if error.number == NO_MESSAGE => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        let payload = BASE64.decode(message.data).map_err(|error| {
            StoreError(format!("nats gave message {} as no base64: {error}", message.seq))
        })?;
        Ok(Some(Found {
            subject: message.subject,
            sequence: message.seq,
            headers: HeaderMap::new(),
            payload: payload.into(),
        }))
    }

    /// All messages whose subjects `filter` takes, oldest first, with everything acknowledged
    /// before the call.
    pub(super) async fn all(
        &self,
        links: &Links,
        filter: &str,
        until: Instant,
    ) -> Result<Vec<Found>, StoreError> {
        let expected = match &self.fence {
            Some(_) => self.subjects(links, filter, until).await?.into_values().sum(),
            None => 0,
        };
        let mut pauses = Pauses::until(until);
        let mut messages: Vec<Found> = Vec::new();
        loop {
            let from = messages.last().map_or(0, |found| found.sequence) + 1;
            let batch = self.batch(links, &by_subject(filter, from), until).await?;
            messages.extend(batch.messages);
            if batch.pending > 0 {
                continue;
            }
            if messages.len() as u64 >= expected {
                return Ok(messages);
            }
            if !pauses.wait().await {
                return Err(lagging(&self.stream));
            }
        }
    }

    /// The subjects that `filter` takes and their numbers of messages, with everything
    /// acknowledged before the call. Cost: all of them in one answer per 100,000.
    pub(super) async fn subjects(
        &self,
        links: &Links,
        filter: &str,
        until: Instant,
    ) -> Result<HashMap<String, u64>, StoreError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            total: usize,
            state: State,
        }
        let fence = self.fenced(links, until).await?;
        let call = format!("STREAM.INFO.{}", self.stream);
        let mut pauses = Pauses::until(until);
        let mut subjects = HashMap::new();
        let mut offset = 0;
        loop {
            let query = json!({ "subjects_filter": filter, "offset": offset });
            let page: Page =
                step!("jetstream.subjects", links.writing.api(&call, &query, until).await)?;
            if page.state.last_seq < fence {
                if !pauses.wait().await {
                    return Err(lagging(&self.stream));
                }
                continue;
            }
            let got = page.state.subjects.unwrap_or_default();
            offset += got.len();
            let more = !got.is_empty() && offset < page.total;
            subjects.extend(got);
            if !more {
                return Ok(subjects);
            }
        }
    }

    /// How many of the stream's messages are gone; none is known where fences come and go.
    pub(super) async fn gone(&self, links: &Links, until: Instant) -> Result<u64, StoreError> {
        #[derive(Deserialize)]
        struct Answer {
            state: Gone,
        }
        #[derive(Deserialize)]
        struct Gone {
            #[serde(default)]
            first_seq: u64,
            #[serde(default)]
            num_deleted: u64,
        }
        if self.fence.is_some() {
            return Ok(0);
        }
        let call = format!("STREAM.INFO.{}", self.stream);
        let asked = links.writing.api::<Answer>(&call, &Value::Null, until);
        let Gone { first_seq, num_deleted } = step!("jetstream.ask-gone", asked.await)?.state;
        Ok(first_seq.saturating_sub(1) + num_deleted)
    }

    /// The number of the stream's last message.
    pub(super) async fn end(&self, links: &Links, until: Instant) -> Result<u64, StoreError> {
        let call = format!("STREAM.INFO.{}", self.stream);
        let info = links.writing.api::<Info>(&call, &Value::Null, until);
        Ok(step!("jetstream.end", info.await)?.state.last_seq)
    }

    async fn last_fenced(
        &self,
        links: &Links,
        subject: &str,
        until: Instant,
    ) -> Result<Option<Found>, StoreError> {
        let mut pauses = Pauses::until(until);
        loop {
            let fence = self.fenced(links, until).await?;
            // With the fence's own subject the answer is never empty: an empty one does not tell
            // how far the replica has looked.
            let own = self.fence.as_ref().map(|fence| fence.subject.as_str());
            let query = json!({ "multi_last": [Some(subject), own], "batch": 2 });
            let batch = self.batch(links, &query, until).await?;
            if batch.up_to.is_some_and(|up_to| up_to >= fence) {
                return Ok(batch.messages.into_iter().find(|found| found.subject == subject));
            }
            if !pauses.wait().await {
                return Err(lagging(&self.stream));
            }
        }
    }

    /// Number of a fence that was sent after the call began; 0 if the stream needs none.
    async fn fenced(&self, links: &Links, until: Instant) -> Result<u64, StoreError> {
        let Some(fence) = &self.fence else { return Ok(0) };
        let before = fence.begun.load(Ordering::SeqCst);
        let late = |_| StoreError(format!("no fence was written to `{}` in time", self.stream));
        let mut done = timeout_at(until.into(), fence.done.lock()).await.map_err(late)?;
        if done.round > before {
            return Ok(done.sequence);
        }
        let round = fence.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", FENCE_TTL);
        let sequence = step!(
            "jetstream.fence",
            publish(&links.writing, &fence.subject, None, headers, Bytes::new(), until).await
        )?;
        *done = Done { round, sequence };
        Ok(sequence)
    }

    /// Asks a replica until one answers.
    async fn batch(
        &self,
        links: &Links,
        query: &Value,
        until: Instant,
    ) -> Result<Batch, StoreError> {
        let mut pauses = Pauses::until(until);
        loop {
            match direct_get(&links.reading, &self.stream, query, until).await {
                Ok(batch) => return Ok(batch),
                Err(failure) if !pauses.wait().await => return Err(failure.into()),
                Err(_) => {}
            }
        }
    }
}

fn by_subject(subject: &str, from: u64) -> Value {
    json!({ "seq": from.max(1), "next_by_subj": subject, "batch": PAGE, "max_bytes": PAGE_BYTES })
}

fn lagging(stream: &str) -> StoreError {
    StoreError(format!("no replica of `{stream}` has caught up in time"))
}

/// One request for messages, and all messages of the answer. Each names the one before it
/// (`Nats-Last-Sequence`, 0 at first), so one that the client had no room for is missed.
async fn direct_get(
    link: &Link,
    stream: &str,
    query: &Value,
    until: Instant,
) -> Result<Batch, Failure> {
    if !link.connected(until).await {
        return Err(Failure::Unsent("there is no connection to NATS".to_owned()));
    }
    let lost = |reason: String| Failure::Unanswered(reason);
    let mut losses = link.losses();
    losses.mark_unchanged();
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let asked = link.request_all(&subject, query.to_string().into());
    let asked = step!("nats.get", timeout_at(until.into(), asked).await);
    let late = |_| lost(format!("the stream `{stream}` was not asked in time"));
    let mut answers = asked.map_err(late)??;

    let (mut batch, mut last) = (Batch::default(), 0);
    loop {
        let wait = until.min(clock::now() + TRY);
        let message = step!(
            "nats.page",
            tokio::select! {
                message = timeout_at(wait.into(), answers.next()) => message,
                Ok(()) = losses.changed() => {
                    return Err(lost("the connection to NATS was lost".to_owned()));
                }
            }
        );
        let Ok(message) = message else {
            return Err(lost(format!("no answer from the stream `{stream}` within {TRY:?}")));
        };
        let message = message?;
        let headers = message.headers.unwrap_or_default();
        if !follows(&headers, last) {
            return Err(lost(format!("a part of an answer of the stream `{stream}` was lost")));
        }
        match message.status.map(|status| status.as_u16()) {
            None => {
                batch.pending = number(&headers, "Nats-Num-Pending").unwrap_or(0);
                let found = found(headers, message.payload).map_err(lost)?;
                last = found.sequence;
                batch.messages.push(found);
            }
            Some(204) => {
                batch.pending = number(&headers, "Nats-Num-Pending").unwrap_or(0);
                batch.up_to = number(&headers, "Nats-UpTo-Sequence");
                return Ok(batch);
            }
            Some(404) => return Ok(batch),
            Some(503) => {
                return Err(Failure::Unsent(format!("nobody serves the stream `{stream}` now")));
            }
            Some(status) => {
                let said = message.description.unwrap_or_default();
                return Err(lost(format!("the stream `{stream}` answered {status} {said}")));
            }
        }
    }
}

fn found(headers: HeaderMap, payload: Bytes) -> Result<Found, String> {
    let sequence = number(&headers, "Nats-Sequence");
    let subject = headers.get("Nats-Subject").map(|subject| subject.as_str().to_owned());
    match (sequence, subject) {
        (Some(sequence), Some(subject)) => Ok(Found { subject, sequence, headers, payload }),
        _ => Err("an answer of nats lacks its sequence number or its subject".to_owned()),
    }
}

/// Whether a message of an answer comes right behind the one numbered `last`, 0 if it is the first; true
/// if the server does not say.
fn follows(headers: &HeaderMap, last: u64) -> bool {
    number(headers, "Nats-Last-Sequence").is_none_or(|before| before == last)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_its_number_is_not_a_record() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Subject", "aether.log.bank.0.account.alice");
        assert!(found(headers.clone(), Bytes::new()).is_err());
        headers.insert("Nats-Sequence", "x");
        assert!(found(headers.clone(), Bytes::new()).is_err());
        headers.insert("Nats-Sequence", "9");
        let found = found(headers, Bytes::from_static(b"r")).unwrap();
        assert_eq!((found.sequence, &found.payload[..]), (9, &b"r"[..]));
    }

    #[test]
    fn a_message_that_was_dropped_is_missed() {
        let mut headers = HeaderMap::new();
        assert!(follows(&headers, 7));
        headers.insert("Nats-Last-Sequence", "3");
        assert!(follows(&headers, 3));
        assert!(!follows(&headers, 0), "the first ones were dropped");
        assert!(!follows(&headers, 2));
    }

    #[test]
    fn a_page_begins_at_one() {
        assert_eq!(by_subject("a.b", 0)["seq"], 1);
        assert_eq!(by_subject("a.b", 7)["seq"], 7);
    }
}
