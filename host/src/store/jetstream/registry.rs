//! The stream `PREFIX_META`: the manifest, the contexts that were used, deployments, marks of
//! quarantined actors and notes of repaired ones. Each is one message on a subject of its own,
//! written with the expectation that the subject is empty: the first writer wins, and what is
//! there never changes. Only a mark is taken back, by an empty message behind it.

use std::{collections::BTreeMap, time::Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use serde::de::DeserializeOwned;

use super::{
    append::{PublishError, publish},
    connection::Link,
    layout::{Manifest, Names},
    read::{Found, Links, Source},
};
use crate::{
    address::{Address, decode_id},
    clock,
    step::step,
    store::{ActivateError, Closing, Deployment, Quarantine, StoreError},
};

/// The header of the empty message that takes a mark back: when, in ms since 1970.
const RELEASED_AT: &str = "Aether-At";

/// What is kept beside the logs.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) source: Source,
    pub(super) names: Names,
}

impl Registry {
    /// Writes the manifest if there is none, and names what the one that is there says otherwise.
    pub(super) async fn agree(
        &self,
        links: &Links,
        manifest: &Manifest,
        until: Instant,
    ) -> Result<Vec<String>, StoreError> {
        let subject = self.names.meta("manifest");
        let stored = match self.source.last(links, &subject, until).await? {
            Some(found) => found.payload,
            None => {
                let ours = encode(manifest)?;
                step!("jetstream.manifest", self.create(links, &subject, &ours, until).await)?
            }
        };
        Ok(manifest.differences(&stored))
    }

    /// Whether the manifest can be read, by a round trip through the stream.
    pub(super) async fn check(&self, links: &Links, until: Instant) -> Result<(), StoreError> {
        let head = self.source.head(links, &self.names.meta("manifest"), until).await?;
        if head == 0 {
            let stream = self.source.stream();
            return Err(StoreError(format!("the stream `{stream}` has lost its manifest")));
        }
        Ok(())
    }

    /// Notes that a context's streams were made: from now on a missing one is a loss.
    pub(super) async fn note_context(
        &self,
        links: &Links,
        context: &str,
        until: Instant,
    ) -> Result<(), StoreError> {
        let subject = self.names.meta(&format!("context.{context}"));
        let note = Bytes::from_static(b"{}");
        step!("jetstream.note-context", self.create(links, &subject, &note, until).await)?;
        Ok(())
    }

    pub(super) async fn is_noted(
        &self,
        links: &Links,
        context: &str,
        until: Instant,
    ) -> Result<bool, StoreError> {
        let subject = self.names.meta(&format!("context.{context}"));
        Ok(self.source.last(links, &subject, until).await?.is_some())
    }

    /// The contexts whose streams were made.
    pub(super) async fn noted_contexts(
        &self,
        links: &Links,
        until: Instant,
    ) -> Result<Vec<String>, StoreError> {
        let found = self.source.all(links, &self.names.meta("context.*"), until).await?;
        Ok(found.iter().filter_map(|found| token(found, 3)).map(str::to_owned).collect())
    }

    pub(super) async fn deployments(
        &self,
        links: &Links,
        context: &str,
        until: Instant,
    ) -> Result<Vec<Deployment>, StoreError> {
        let filter = self.names.meta(&format!("deployment.{context}.*"));
        let found = self.source.all(links, &filter, until).await?;
        let mut deployments: Vec<Deployment> =
            found.iter().map(decode).collect::<Result<_, _>>()?;
        deployments.sort_by_key(|deployment| deployment.number);
        Ok(deployments)
    }

    pub(super) async fn contexts(
        &self,
        links: &Links,
        until: Instant,
    ) -> Result<Vec<String>, StoreError> {
        let found = self.source.all(links, &self.names.meta("deployment.*.1"), until).await?;
        let mut contexts: Vec<String> =
            found.iter().filter_map(|found| token(found, 3)).map(str::to_owned).collect();
        contexts.sort();
        Ok(contexts)
    }

    pub(super) async fn activate(
        &self,
        links: &Links,
        deployment: &Deployment,
        until: Instant,
    ) -> Result<(), ActivateError> {
        let (context, number) = (&deployment.context, deployment.number);
        let subject = |number: u64| self.names.meta(&format!("deployment.{context}.{number}"));
        let before = match number {
            0 => false,
            1 => true,
            _ => self.source.last(links, &subject(number - 1), until).await?.is_some(),
        };
        if !before {
            return Err(ActivateError::Taken);
        }
        let ours = encode(deployment)?;
        // After a lost answer the one that is there may be ours.
        let subject = subject(number);
        let stored = step!("jetstream.activate", self.create(links, &subject, &ours, until).await)?;
        if stored == ours { Ok(()) } else { Err(ActivateError::Taken) }
    }

    /// Tells all hosts of a closing; the first one for a number counts.
    pub(super) async fn close_events(
        &self,
        links: &Links,
        closing: &Closing,
        until: Instant,
    ) -> Result<(), ActivateError> {
        let subject = self.closing_subject(&closing.context, closing.number);
        let ours = encode(closing)?;
        let stored = step!("jetstream.close", self.create(links, &subject, &ours, until).await)?;
        if stored == ours { Ok(()) } else { Err(ActivateError::Taken) }
    }

    pub(super) async fn closing(
        &self,
        links: &Links,
        context: &str,
        number: u64,
        until: Instant,
    ) -> Result<Option<Closing>, StoreError> {
        let found = self.source.last(links, &self.closing_subject(context, number), until).await?;
        found.as_ref().map(decode).transpose()
    }

    fn closing_subject(&self, context: &str, number: u64) -> String {
        self.names.meta(&format!("closing.{context}.{number}"))
    }

    /// Marks an actor that has no mark, whose mark was taken back, or whose mark tells less.
    pub(super) async fn quarantine(
        &self,
        links: &Links,
        actor: &Address,
        mark: &Quarantine,
        until: Instant,
    ) -> Result<(), StoreError> {
        let subject = self.mark_subject(actor);
        loop {
            let former = self.source.last(links, &subject, until).await?;
            if let Some(former) = &former {
                let stays = match read_mark(former)? {
                    Some(known) => !mark.adds_to(&known),
                    // It could not be recorded in time. Only a lost tail is not found again.
                    None => mark.digest.is_none() && released_at(former) > Some(mark.at),
                };
                if stays {
                    return Ok(());
                }
            }
            let expected = Some(former.map_or(0, |former| former.sequence));
            let (headers, payload) = (HeaderMap::new(), encode(mark)?);
            let written = publish(&links.writing, &subject, expected, headers, payload, until);
            match step!("jetstream.quarantine", written.await) {
                Ok(_) => return Ok(()),
                Err(PublishError::Conflict(_)) if clock::now() < until => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a mark back, if it is this one.
    pub(super) async fn release(
        &self,
        links: &Links,
        actor: &Address,
        mark: &Quarantine,
        until: Instant,
    ) -> Result<(), StoreError> {
        let subject = self.mark_subject(actor);
        let Some(found) = self.source.last(links, &subject, until).await? else { return Ok(()) };
        if read_mark(&found)?.as_ref() != Some(mark) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(RELEASED_AT, clock::unix_ms().to_string());
        let expected = Some(found.sequence);
        let written = publish(&links.writing, &subject, expected, headers, Bytes::new(), until);
        match step!("jetstream.release", written.await) {
            // Who wrote behind it has taken it back too, or marks what is not released.
            Ok(_) | Err(PublishError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn quarantined(
        &self,
        links: &Links,
        actor: &Address,
        until: Instant,
    ) -> Result<Option<Quarantine>, StoreError> {
        let found = self.source.last(links, &self.mark_subject(actor), until).await?;
        Ok(found.as_ref().map(read_mark).transpose()?.flatten())
    }

    pub(super) async fn quarantines(
        &self,
        links: &Links,
        context: &str,
        until: Instant,
    ) -> Result<Vec<(Address, Quarantine)>, StoreError> {
        let filter = self.names.meta(&format!("quarantine.{context}.*.*"));
        let mut marks = BTreeMap::new();
        for found in self.source.all(links, &filter, until).await? {
            let Some(actor) = actor_of(&found, context) else {
                tracing::warn!(subject = found.subject, "not the mark of an actor");
                continue;
            };
            // The newest message of the subject counts.
            match read_mark(&found)? {
                Some(mark) => drop(marks.insert(actor, mark)),
                None => drop(marks.remove(&actor)),
            }
        }
        Ok(marks.into_iter().collect())
    }

    /// Notes that an actor's log may hold a repair.
    pub(super) async fn note_repaired(
        &self,
        links: &Links,
        actor: &Address,
        until: Instant,
    ) -> Result<(), StoreError> {
        let subject = self.actor_subject("repaired", actor);
        let empty = Bytes::from_static(b"{}");
        let noted = self.create(links, &subject, &empty, until);
        step!("jetstream.note-repaired", noted.await)?;
        Ok(())
    }

    /// The actors that were noted so.
    pub(super) async fn repaired(
        &self,
        links: &Links,
        context: &str,
        until: Instant,
    ) -> Result<Vec<Address>, StoreError> {
        let filter = self.names.meta(&format!("repaired.{context}.*.*"));
        let found = self.source.all(links, &filter, until).await?;
        let mut actors: Vec<_> = found.iter().filter_map(|f| actor_of(f, context)).collect();
        actors.sort();
        Ok(actors)
    }

    /// Writes the first message of `subject`, and gives what is there then.
    async fn create(
        &self,
        links: &Links,
        subject: &str,
        payload: &Bytes,
        until: Instant,
    ) -> Result<Bytes, StoreError> {
        let headers = HeaderMap::new();
        let written = step!(
            "jetstream.create",
            publish(&links.writing, subject, Some(0), headers, payload.clone(), until).await
        );
        match written {
            Ok(_) => return Ok(payload.clone()),
            Err(PublishError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let found = self.source.last(links, subject, until).await?;
        found.map(|found| found.payload).ok_or_else(|| {
            StoreError(format!("`{subject}` is not there, though nats says that it is"))
        })
    }

    fn mark_subject(&self, actor: &Address) -> String {
        self.actor_subject("quarantine", actor)
    }

    fn actor_subject(&self, what: &str, actor: &Address) -> String {
        let (context, aggregate) = (actor.context(), actor.aggregate());
        self.names.meta(&format!("{what}.{context}.{aggregate}.{}", actor.id_token()))
    }
}

/// Something comes whenever a host deploys or closes something: what is written to a stream is
/// also told to whoever listens to its subject.
pub(super) fn hints(link: &Link, names: &Names) -> BoxStream<'static, ()> {
    let subjects = ["deployment.>", "closing.>"].map(|what| names.meta(what));
    let listen = |subject: String| {
        let client = link.client().clone();
        let heard = async move {
            match step!("jetstream.listen", client.subscribe(subject.clone()).await) {
                Ok(messages) => messages.map(|_| ()).boxed(),
                Err(error) => {
                    tracing::warn!(%subject, %error, "deployments of other hosts are noticed later: this host cannot listen");
                    stream::empty().boxed()
                }
            }
        };
        stream::once(heard).flatten()
    };
    let heard = stream::select_all(subjects.map(|subject| listen(subject).boxed()));
    heard.chain(stream::pending()).boxed()
}

/// The actor of `PREFIX.meta.WHAT.CONTEXT.AGGREGATE.ID`.
fn actor_of(found: &Found, context: &str) -> Option<Address> {
    let id = decode_id(token(found, 5)?).ok()?;
    Address::new(context, token(found, 4)?, &id).ok()
}

/// A mark; none if it was taken back.
fn read_mark(found: &Found) -> Result<Option<Quarantine>, StoreError> {
    if found.payload.is_empty() { Ok(None) } else { decode(found).map(Some) }
}

/// When a mark was taken back, as the host said that did it.
fn released_at(found: &Found) -> Option<u64> {
    found.headers.get(RELEASED_AT)?.as_str().parse().ok()
}

fn encode(value: &impl serde::Serialize) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| StoreError(error.to_string()))
}

fn decode<T: DeserializeOwned>(found: &Found) -> Result<T, StoreError> {
    serde_json::from_slice(&found.payload)
        .map_err(|error| StoreError(format!("`{}` cannot be read: {error}", found.subject)))
}

/// A token of the message's subject, counted from 0; the prefix is 0.
fn token(found: &Found, n: usize) -> Option<&str> {
    found.subject.split('.').nth(n)
}
