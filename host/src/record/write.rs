//! The bytes of a record: what serde writes, to the letter, at a quarter of the cost.
//!
//! Every turn writes one. Most of a record are keys, digests and numbers, in which nothing can need
//! an escape, and how long it will be is known well enough to make room once.

use aether_wit::Digest;
use bytes::Bytes;

use super::{CommandMeta, EventData, Kind, Record, Turn};

/// Bytes of a record beside its actor, its turns and what varies in length.
const RECORD_BYTES: usize = 384;

/// The same of a turn.
const TURN_BYTES: usize = 256;

/// The same of an event.
const EVENT_BYTES: usize = 24;

/// The bytes of `record`.
///
/// # Errors
/// None but serde's own.
pub(super) fn write(record: &Record) -> Result<Bytes, serde_json::Error> {
    let Record {
        format,
        kind: Kind::Turns,
        actor,
        first,
        prev,
        deployment,
        model,
        component,
        turns,
        repair: None,
    } = record
    else {
        return serde_json::to_vec(record).map(Bytes::from);
    };
    let mut out = Out(String::with_capacity(RECORD_BYTES + actor.len() + turns_bytes(turns)));
    out.number(r#"{"format":"#, u64::from(*format));
    out.text(r#","kind":"turns","actor":"#, actor)?;
    out.number(r#","first":"#, *first);
    match prev {
        Some(prev) => out.digest(r#","prev":"#, prev),
        None => out.raw(r#","prev":null"#),
    }
    out.number(r#","deployment":"#, *deployment);
    out.digest(r#","model":"#, model);
    out.digest(r#","component":"#, component);
    out.raw(r#","turns":"#);
    out.list(turns, Out::turn)?;
    out.raw("}");
    Ok(Bytes::from(out.0))
}

/// About how many bytes the turns take, escapes left out.
fn turns_bytes(turns: &[Turn]) -> usize {
    let event = |event: &EventData| EVENT_BYTES + event.name.len() + event.data.get().len();
    let turn = |Turn { command, events }: &Turn| {
        let CommandMeta { id, name, by, correlation, causation, .. } = command;
        let texts = [Some(id), Some(name), by.as_ref(), Some(correlation), causation.as_ref()];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        TURN_BYTES + texts + events.iter().map(event).sum::<usize>()
    };
    turns.iter().map(turn).sum()
}

/// JSON as far as it is written. Each value comes with what stands before it.
struct Out(String);

impl Out {
    fn raw(&mut self, json: &str) {
        self.0.push_str(json);
    }

    fn number(&mut self, before: &str, number: u64) {
        self.raw(before);
        self.raw(&number.to_string());
    }

    fn digest(&mut self, before: &str, digest: &Digest) {
        self.raw(before);
        self.raw("\"");
        digest.push_to(&mut self.0);
        self.raw("\"");
    }

    fn text(&mut self, before: &str, text: &str) -> Result<(), serde_json::Error> {
        self.raw(before);
        // Without a branch for each byte: there hardly ever is one that needs an escape.
        let plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
        if text.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.raw("\"");
            self.raw(text);
            self.raw("\"");
        } else {
            self.raw(&serde_json::to_string(text)?);
        }
        Ok(())
    }

    fn optional_text(&mut self, before: &str, text: Option<&str>) -> Result<(), serde_json::Error> {
        match text {
            Some(text) => self.text(before, text),
            None => {
                self.raw(before);
                self.raw("null");
                Ok(())
            }
        }
    }

    fn list<T>(
        &mut self,
        items: &[T],
        item: impl Fn(&mut Self, &T) -> Result<(), serde_json::Error>,
    ) -> Result<(), serde_json::Error> {
        let mut before = "[";
        for one in items {
            self.raw(before);
            item(self, one)?;
            before = ",";
        }
        self.raw(if items.is_empty() { "[]" } else { "]" });
        Ok(())
    }

    fn turn(&mut self, turn: &Turn) -> Result<(), serde_json::Error> {
        let Turn { command, events } = turn;
        let CommandMeta { id, name, digest, at, by, correlation, causation, seed } = command;
        self.text(r#"{"command":{"id":"#, id)?;
        self.text(r#","name":"#, name)?;
        self.digest(r#","digest":"#, digest);
        self.number(r#","at":"#, *at);
        self.optional_text(r#","by":"#, by.as_deref())?;
        self.text(r#","correlation":"#, correlation)?;
        self.optional_text(r#","causation":"#, causation.as_deref())?;
        self.text(r#","seed":"#, seed)?;
        self.raw(r#"},"events":"#);
        self.list(events, |out, EventData { name, data }| {
            out.text(r#"{"type":"#, name)?;
            out.raw(r#","data":"#);
            out.raw(data.get());
            out.raw("}");
            Ok(())
        })?;
        self.raw("}");
        Ok(())
    }
}
