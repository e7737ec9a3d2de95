//! A context's records in order per actor: one ordered consumer per partition, merged; for a feed,
//! which goes on, and for a scan, which ends.
//!
//! The cursor holds, per partition, the number of the last record that was given, so a feed goes
//! on exactly behind any record. A consumer is a passing thing: when the connection or the server
//! goes away it is made anew behind the last record, and what comes twice is left out.
//!
//! Cost: P small consumers in the server's memory for each feed; nothing when nothing happens but
//! a heartbeat.

use std::time::{Duration, Instant};

use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull},
};
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, Fuse},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{connection::Link, layout::Names};
use crate::{
    address::{Address, decode_id},
    clock,
    record::{Position, Stored},
    step::step,
    store::{FeedRecord, Reach, Scan, Scanned, StoreError},
};

/// How long a partition may be unreachable before the feed ends with an error, so that its
/// readers can look for another host.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause after a consumer failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Most records of a page of a scan.
const PAGE: usize = 512;

/// Bytes from which on a page of a scan takes no more records.
const PAGE_BYTES: usize = 1 << 20;

/// Longest wait for an answer about a consumer.
const TRY: Duration = Duration::from_secs(3);

/// What one partition gives: which one it is, and the record.
type Item = Result<(usize, Address, Stored), StoreError>;

/// The records of `context` behind `after`, the last number of each partition, until `closed`.
pub(super) fn open(
    link: &Link,
    names: &Names,
    context: &str,
    after: Vec<u64>,
    closed: CancellationToken,
) -> BoxStream<'static, Result<FeedRecord, StoreError>> {
    let bounds = after.iter().map(|after| (*after, u64::MAX));
    let partitions = partitions(link, names, context, bounds);
    let merged = stream::select_all(partitions.map(|partition| partition.records().boxed()));
    let state = (after, false);
    merged
        .scan(state, |(seen, failed), item| {
            let next = (!*failed).then(|| match item {
                Ok((partition, actor, stored)) => {
                    if let Some(seen) = seen.get_mut(partition) {
                        *seen = stored.position.0;
                    }
                    Ok(FeedRecord { cursor: encode(seen), actor, stored })
                }
                Err(error) => {
                    *failed = true;
                    Err(error)
                }
            });
            std::future::ready(next)
        })
        .take_until(closed.cancelled_owned())
        .boxed()
}

/// The records of `context` behind `after` up to `end`, page by page.
pub(super) fn scan(
    link: &Link,
    names: &Names,
    context: &str,
    after: &[Position],
    end: Reach,
    closed: CancellationToken,
) -> Scan {
    let bounds = after.iter().zip(&end.0).map(|(after, end)| (after.0, end.0));
    let about = bounds.clone().map(|(after, end)| end.saturating_sub(after)).sum();
    let partitions = partitions(link, names, context, bounds);
    let pages = stream::select_all(partitions.map(|partition| pages(partition.records().boxed())));
    let cut = closed.cancelled_owned();
    let cut = cut.map(|()| Err(StoreError("the store was closed".to_owned())));
    let pages = pages.take_until(cut.boxed());
    // A scan that ends early must not look like one that has read everything.
    let pages = stream::unfold(Some(pages), |pages| async move {
        let mut pages = pages?;
        match step!("jetstream.scan", pages.next().await) {
            Some(page) => {
                let go_on = page.is_ok().then_some(pages);
                Some((page, go_on))
            }
            None => pages.take_result().map(|cut| (cut, None)),
        }
    });
    Scan { end, about, pages: pages.boxed() }
}

/// What `records` gives, many at a time: as many as are there.
fn pages(
    records: BoxStream<'static, Item>,
) -> BoxStream<'static, Result<Vec<Scanned>, StoreError>> {
    let state = (records.fuse(), None);
    let page = |(mut records, failed): (Fuse<BoxStream<'static, Item>>, _)| async move {
        if let Some(error) = failed {
            return Some((Err(error), (records, None)));
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut next = step!("jetstream.scan-page", records.next().await);
        while let Some(item) = next {
            let (partition, actor, stored) = match item {
                Ok(record) => record,
                Err(error) if page.is_empty() => return Some((Err(error), (records, None))),
                Err(error) => return Some((Ok(page), (records, Some(error)))),
            };
            bytes += stored.bytes.len();
            page.push(Scanned { partition, actor, stored });
            if page.len() >= PAGE || bytes >= PAGE_BYTES {
                break;
            }
            next = records.next().now_or_never().flatten();
        }
        (!page.is_empty()).then_some((Ok(page), (records, None)))
    };
    stream::unfold(state, page).boxed()
}

/// The readers of all partitions between these numbers.
fn partitions(
    link: &Link,
    names: &Names,
    context: &str,
    bounds: impl Iterator<Item = (u64, u64)>,
) -> impl Iterator<Item = Partition> {
    let mut js = jetstream::new(link.client().clone());
    js.set_timeout(TRY);
    (0_u32..).zip(bounds).map(move |(partition, (last, until))| Partition {
        js: js.clone(),
        losses: link.losses(),
        index: partition as usize,
        stream: names.log_stream(context, partition),
        filter: names.log_filter(context, partition),
        last,
        until,
        messages: None,
    })
}

/// The last number of each partition in a cursor; nothing if it is none of `partitions`.
pub(super) fn decode(cursor: &str, partitions: u32) -> Option<Vec<u64>> {
    let seen: Vec<u64> = cursor.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    (seen.len() == partitions as usize && encode(&seen) == cursor).then_some(seen)
}

fn encode(seen: &[u64]) -> String {
    seen.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Reads one partition.
struct Partition {
    js: jetstream::Context,
    losses: watch::Receiver<u64>,
    index: usize,
    stream: String,
    filter: String,
    /// Number of the last record that was given.
    last: u64,
    /// Number of the record behind which it ends.
    until: u64,
    messages: Option<pull::Ordered>,
}

impl Partition {
    fn records(self) -> impl futures::Stream<Item = Item> {
        stream::unfold(Some(self), |partition| async move {
            let mut partition = partition?;
            let item = partition.record().await?;
            let go_on = item.is_ok().then_some(partition);
            Some((item, go_on))
        })
    }

    /// The next record; none if it has come to its end.
    async fn record(&mut self) -> Option<Item> {
        let mut trouble: Option<Instant> = None;
        while self.last < self.until {
            let failure = match self.message().await {
                Ok(Some((actor, stored))) => return Some(Ok((self.index, actor, stored))),
                Ok(None) => continue,
                Err(failure) => failure,
            };
            self.messages = None;
            let since = *trouble.get_or_insert_with(clock::now);
            if clock::now().duration_since(since) > PATIENCE {
                let stream = &self.stream;
                let error = format!("the feed of `{stream}` is broken: {failure}");
                return Some(Err(StoreError(error)));
            }
            tracing::debug!(stream = self.stream, failure, "the feed begins anew");
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// The next message, if it is a record that was not given before.
    async fn message(&mut self) -> Result<Option<(Address, Stored)>, String> {
        if self.messages.is_none() {
            self.losses.mark_unchanged();
            let js = self.js.clone();
            self.messages = Some(consume(js, &self.stream, &self.filter, self.last).await?);
        }
        let Some(messages) = &mut self.messages else { return Ok(None) };
        // A feed waits for what comes; what a scan waits for is there.
        let (is_due, due) = (self.until < u64::MAX, clock::now() + PATIENCE);
        let message = step!(
            "jetstream.feed",
            tokio::select! {
                message = messages.next() => message,
                Ok(()) = self.losses.changed() => return Err("the connection was lost".to_owned()),
                () = tokio::time::sleep_until(due.into()), if is_due => {
                    return Err(format!("nothing came for {PATIENCE:?}"));
                }
            }
        );
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the consumer ended".to_owned()),
        };
        let sequence = message.info().map_err(|error| error.to_string())?.stream_sequence;
        if sequence <= self.last {
            return Ok(None);
        }
        self.last = sequence;
        let actor = actor(&message.subject);
        if actor.is_none() {
            tracing::warn!(subject = %message.subject, sequence, "not the subject of an actor");
        }
        let stored = Stored { position: Position(sequence), bytes: message.message.payload };
        Ok(actor.map(|actor| (actor, stored)))
    }
}

/// The records of a partition behind number `last`.
async fn consume(
    js: jetstream::Context,
    stream: &str,
    filter: &str,
    last: u64,
) -> Result<pull::Ordered, String> {
    let config = pull::OrderedConfig {
        filter_subject: filter.to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        ..pull::OrderedConfig::default()
    };
    let consumer =
        step!("jetstream.make-consumer", js.create_consumer_on_stream(config, stream).await);
    let consumer = consumer.map_err(|error| error.to_string())?;
    step!("jetstream.consume", consumer.messages().await).map_err(|error| error.to_string())
}

/// The actor whose log has this subject.
pub(super) fn actor(subject: &str) -> Option<Address> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let [_, "log", context, _, aggregate, id] = tokens.as_slice() else { return None };
    Address::new(context, aggregate, &decode_id(id).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_stores_own_cursors_are_taken() {
        assert_eq!(decode("0.12.3", 3), Some(vec![0, 12, 3]));
        for foreign in ["", "x", "-1", "1.2", "1.2.3.4", "1.+2.3", "1.02.3", "1.2.", "1..3"] {
            assert_eq!(decode(foreign, 3), None, "{foreign}");
        }
    }

    #[test]
    fn a_subject_gives_back_its_actor() {
        let address: Address = "bank/account/a.b*>é ".parse().unwrap();
        assert_eq!(actor(&address.log_subject("aether", 8)), Some(address));
        for foreign in ["aether.fence.bank.0", "aether.log.bank.0.account", "aether.log.bank.0.A.x"]
        {
            assert_eq!(actor(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(seen in prop::collection::vec(any::<u64>(), 1..32)) {
            let cursor = encode(&seen);
            prop_assert_eq!(decode(&cursor, u32::try_from(seen.len()).unwrap()), Some(seen));
        }
    }
}
