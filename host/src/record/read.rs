//! The bytes of a record as this build writes them ([`super::write`]), read without looking members up
//! by their names: waking, replaying and auditing read every record of a log.
//!
//! Only that one form is known here. Whatever else is a record too (spaces, another order of the
//! members, escapes, a repair), and whatever is none, is left to serde, which also says what is wrong.

use std::str::FromStr as _;

use aether_wit::Digest;
use serde_json::value::RawValue;

use super::{CommandMeta, EventData, Kind, Record, Turn};

/// The record that `bytes` are, if they stand as [`super::write`] writes them.
pub(super) fn read(bytes: &[u8]) -> Option<Record> {
    let mut from = In(std::str::from_utf8(bytes).ok()?);
    let record = Record {
        format: from.number(r#"{"format":"#)?.try_into().ok()?,
        kind: Kind::Turns,
        actor: from.text(r#","kind":"turns","actor":"#)?,
        first: from.number(r#","first":"#)?,
        prev: from.optional(r#","prev":"#, In::digest)?,
        deployment: from.number(r#","deployment":"#)?,
        model: from.digest(r#","model":"#)?,
        component: from.digest(r#","component":"#)?,
        turns: from.list(r#","turns":"#, In::turn)?,
        repair: None,
    };
    from.skip("}")?;
    from.0.is_empty().then_some(record)
}

/// JSON as far as it is not read. Each value comes with what must stand before it.
struct In<'a>(&'a str);

impl<'a> In<'a> {
    fn skip(&mut self, json: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(json)?;
        Some(())
    }

    /// What stands before the first byte that `ends` it, which is left.
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> Option<&'a str> {
        let end = self.0.bytes().position(ends)?;
        let (found, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(found)
    }

    fn number(&mut self, before: &str) -> Option<u64> {
        self.skip(before)?;
        let digits = self.until(|byte| !byte.is_ascii_digit())?;
        // What goes on with a point or an exponent does not fit what must stand behind it.
        let is_canonical = digits.len() == 1 || !digits.starts_with('0');
        digits.parse().ok().filter(|_| is_canonical)
    }

    /// A text without escapes.
    fn plain(&mut self, before: &str) -> Option<&'a str> {
        self.skip(before)?;
        self.skip("\"")?;
        let text = self.until(|byte| byte < b' ' || byte == b'"' || byte == b'\\')?;
        self.skip("\"")?;
        Some(text)
    }

    fn text(&mut self, before: &str) -> Option<String> {
        self.plain(before).map(str::to_owned)
    }

    fn digest(&mut self, before: &str) -> Option<Digest> {
        Digest::from_str(self.plain(before)?).ok()
    }

    fn optional<T>(
        &mut self,
        before: &str,
        value: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        let start = self.0;
        self.skip(before)?;
        if self.skip("null").is_some() {
            return Some(None);
        }
        self.0 = start;
        value(self, before).map(Some)
    }

    fn list<T>(&mut self, before: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.skip(before)?;
        self.skip("[")?;
        // Hardly any list here has more than one item, and none is empty.
        let mut items = Vec::with_capacity(1);
        loop {
            items.push(item(self)?);
            if self.skip("]").is_some() {
                return Some(items);
            }
            self.skip(",")?;
        }
    }

    fn turn(&mut self) -> Option<Turn> {
        let command = CommandMeta {
            id: self.text(r#"{"command":{"id":"#)?,
            name: self.text(r#","name":"#)?,
            digest: self.digest(r#","digest":"#)?,
            at: self.number(r#","at":"#)?,
            by: self.optional(r#","by":"#, Self::text)?,
            correlation: self.text(r#","correlation":"#)?,
            causation: self.optional(r#","causation":"#, Self::text)?,
            seed: self.text(r#","seed":"#)?,
        };
        let events = self.list(r#"},"events":"#, Self::event)?;
        self.skip("}")?;
        Some(Turn { command, events })
    }

    fn event(&mut self) -> Option<EventData> {
        let event = EventData { name: self.text(r#"{"type":"#)?, data: self.json(r#","data":"#)? };
        self.skip("}")?;
        Some(event)
    }

    /// Any value, to the letter.
    fn json(&mut self, before: &str) -> Option<Box<RawValue>> {
        self.skip(before)?;
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        self.0 = self.0.get(values.byte_offset()..)?;
        Some(value.to_owned())
    }
}
