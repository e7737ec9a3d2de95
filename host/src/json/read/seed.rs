//! The walk over text and plan together.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize as _, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Reader,
    error::{Name, Problem},
    number,
};
use crate::json::{
    Plan, Writer,
    plan::{Case, Field},
};

/// One text on its way to packed bytes.
pub(super) struct Reading {
    pub(super) writer: Writer,
    pub(super) problem: Problem,
    reader: Reader,
    /// See [`super::sparse`].
    sparse: bool,
    /// Where the values of the fields stand that were read of the records that are still open:
    /// a stack, so that records need no memory of their own.
    spans: Vec<Span>,
}

/// Room for a reading, empty.
#[derive(Default)]
pub(super) struct Room {
    writer: Writer,
    spans: Vec<Span>,
}

/// The value of a field in what has been written: `start..end`.
#[derive(Clone, Copy)]
struct Span {
    field: usize,
    start: usize,
    end: usize,
}

/// Reads one value of `plan`.
pub(super) struct Seed<'r> {
    pub(super) plan: &'r Plan,
    pub(super) reading: &'r mut Reading,
}

impl Reading {
    /// A reading in `room`.
    pub(super) fn new(reader: Reader, sparse: bool, room: Room) -> Self {
        let Room { writer, spans } = room;
        Self { writer, problem: Problem::default(), reader, sparse, spans }
    }

    /// Its room, for the next one. What was written has been taken out.
    pub(super) fn into_room(self) -> Room {
        Room { writer: self.writer, spans: self.spans }
    }

    /// The error that ends the reading; what it is stands in [`Self::problem`].
    fn refuse<E: de::Error>(&mut self, expected: impl Into<String>) -> E {
        self.problem.expected(expected);
        E::custom("misfit")
    }

    /// The field that `name` means and whether it is its former name. `next` is the field that
    /// stands there if all are in order.
    fn field(&mut self, fields: &[Field], next: usize, name: &str) -> Option<(usize, bool)> {
        if fields.get(next).is_some_and(|field| *field.name == *name) {
            return Some((next, false));
        }
        if let Some(index) = fields.iter().position(|field| *field.name == *name) {
            return Some((index, false));
        }
        let former = fields.iter().position(|field| field.was.as_deref() == Some(name));
        if let (Some(index), Reader::Log) = (former, self.reader) {
            return Some((index, true));
        }
        let renamed_to = former.and_then(|index| fields.get(index)).map(|field| &*field.name);
        let names = fields.iter().map(|field| &*field.name);
        self.problem.unknown("fields", name, names, renamed_to);
        None
    }

    fn case(&mut self, cases: &[Case], name: &str) -> Option<usize> {
        let index = cases.iter().position(|case| *case.name == *name);
        if index.is_none() {
            self.problem.unknown("cases", name, cases.iter().map(|case| &*case.name), None);
        }
        index
    }

    fn label(&mut self, kind: &str, labels: &[std::sync::Arc<str>], name: &str) -> Option<usize> {
        let index = labels.iter().position(|label| **label == *name);
        if index.is_none() {
            self.problem.unknown(kind, name, labels.iter().map(|label| &**label), None);
        }
        index
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { plan, reading } = self;
        let visit = Visit { plan, reading: &mut *reading };
        let result = match plan {
            Plan::Bool => deserializer.deserialize_bool(visit),
            Plan::Char | Plan::String | Plan::Bytes => deserializer.deserialize_str(visit),
            Plan::List(_) | Plan::Tuple(_) | Plan::Flags(_) => deserializer.deserialize_seq(visit),
            Plan::Record(_) | Plan::Result { .. } => deserializer.deserialize_map(visit),
            Plan::Variant(_) | Plan::Enum(_) => deserializer.deserialize_any(visit),
            Plan::Option(_) => deserializer.deserialize_option(visit),
            Plan::S8
            | Plan::S16
            | Plan::S32
            | Plan::S64
            | Plan::U8
            | Plan::U16
            | Plan::U32
            | Plan::U64
            | Plan::F32
            | Plan::F64 => read_number(plan, reading, deserializer),
        };
        result.inspect_err(|_| reading.problem.within(plan))
    }
}

fn read_number<'de, D: Deserializer<'de>>(
    plan: &Plan,
    reading: &mut Reading,
    deserializer: D,
) -> Result<(), D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    number::write(plan, json, &mut reading.writer).map_err(|refusal| {
        reading.problem.within(plan);
        if let Some(detail) = refusal {
            reading.problem.detail(detail);
        }
        D::Error::custom("misfit")
    })
}

struct Visit<'r> {
    plan: &'r Plan,
    reading: &'r mut Reading,
}

impl Visit<'_> {
    /// The error for a value that `plan` does not take in this form.
    fn misfit<E: de::Error>(self) -> E {
        self.reading.problem.within(self.plan);
        E::custom("misfit")
    }
}

impl<'de> Visitor<'de> for Visit<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the model's type")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        let Plan::Bool = self.plan else { return Err(self.misfit()) };
        self.reading.writer.byte(u8::from(value));
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let Self { plan, reading } = self;
        match plan {
            Plan::String => reading.writer.bytes(text.as_bytes()),
            Plan::Char => {
                let mut chars = text.chars();
                let (Some(char), None) = (chars.next(), chars.next()) else {
                    return Err(Visit { plan, reading }.misfit());
                };
                reading.writer.unsigned(u64::from(u32::from(char)));
            }
            Plan::Bytes => match STANDARD.decode(text) {
                Ok(bytes) => reading.writer.bytes(&bytes),
                Err(_) => return Err(Visit { plan, reading }.misfit()),
            },
            Plan::Enum(cases) => {
                let case = reading.label("cases", cases, text).ok_or_else(|| E::custom("case"))?;
                reading.writer.unsigned(case as u64);
            }
            Plan::Variant(cases) => {
                let index = reading.case(cases, text).ok_or_else(|| E::custom("case"))?;
                if cases.get(index).is_some_and(|case| case.payload.is_some()) {
                    return Err(reading.refuse(format!("{{\"{text}\": value}}")));
                }
                reading.writer.unsigned(index as u64);
            }
            _ => return Err(Visit { plan, reading }.misfit()),
        }
        Ok(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        let Plan::Option(_) = self.plan else { return Err(self.misfit()) };
        self.reading.writer.byte(0);
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { plan, reading } = self;
        let Plan::Option(some) = plan else { return Err(Visit { plan, reading }.misfit()) };
        reading.writer.byte(1);
        match &**some {
            Plan::Option(_) => deserializer.deserialize_map(Wrapped { some, reading }),
            plain => Seed { plan: plain, reading }.deserialize(deserializer),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let Self { plan, reading } = self;
        match plan {
            Plan::List(item) => read_list(item, reading, seq),
            Plan::Tuple(items) => read_tuple(items, reading, seq),
            Plan::Flags(flags) => read_flags(flags, reading, seq),
            _ => Err(Visit { plan, reading }.misfit()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { plan, reading } = self;
        // None: the object is empty. Some(None): its first key is unknown.
        let case = match plan {
            Plan::Record(fields) => return read_record(fields, reading, map),
            Plan::Variant(cases) => {
                let key = map.next_key_seed(Name(|name: &str| reading.case(cases, name)))?;
                let case = |index: usize| {
                    let case = cases.get(index)?;
                    Some((index, &*case.name, case.payload.as_ref()))
                };
                key.map(|key| key.and_then(case))
            }
            Plan::Enum(cases) => {
                let key =
                    map.next_key_seed(Name(|name: &str| reading.label("cases", cases, name)))?;
                key.map(|key| key.and_then(|index| Some((index, &**cases.get(index)?, None))))
            }
            Plan::Result { ok, err } => map.next_key_seed(Name(|name: &str| match name {
                "ok" => Some((0, "ok", ok.as_deref())),
                "err" => Some((1, "err", err.as_deref())),
                _ => None,
            }))?,
            _ => None,
        };
        let Some(Some((index, name, payload))) = case else {
            return Err(Visit { plan, reading }.misfit());
        };
        reading.writer.unsigned(index as u64);
        let read = match payload {
            Some(payload) => map.next_value_seed(Seed { plan: payload, reading: &mut *reading }),
            None => map.next_value::<()>().map_err(|_| reading.refuse("null")),
        };
        read.inspect_err(|_| reading.problem.at_key(name))?;
        close(reading, map)
    }
}

/// The `{"some": value}` of an option that is directly inside an option.
struct Wrapped<'r> {
    some: &'r Plan,
    reading: &'r mut Reading,
}

impl<'de> Visitor<'de> for Wrapped<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"some\": value}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { some, reading } = self;
        match map.next_key_seed(Name(|name: &str| name == "some"))? {
            Some(true) => {
                let seed = Seed { plan: some, reading: &mut *reading };
                map.next_value_seed(seed).inspect_err(|_| reading.problem.at_key("some"))?;
                close(reading, map)
            }
            _ => Err(A::Error::custom("misfit")),
        }
    }
}

/// The end of an object that holds one key.
fn close<'de, A: MapAccess<'de>>(reading: &mut Reading, mut map: A) -> Result<(), A::Error> {
    match map.next_key_seed(Name(|_: &str| ()))? {
        None => Ok(()),
        Some(()) => Err(reading.refuse("an object with one key")),
    }
}

fn read_list<'de, A: SeqAccess<'de>>(
    item: &Plan,
    reading: &mut Reading,
    mut seq: A,
) -> Result<(), A::Error> {
    let at = reading.writer.leave_count();
    let mut count = 0;
    while seq
        .next_element_seed(Seed { plan: item, reading: &mut *reading })
        .inspect_err(|_| reading.problem.at_index(count))?
        .is_some()
    {
        count += 1;
    }
    reading.writer.fill_count(at, count);
    Ok(())
}

fn read_tuple<'de, A: SeqAccess<'de>>(
    items: &[Plan],
    reading: &mut Reading,
    mut seq: A,
) -> Result<(), A::Error> {
    for (index, plan) in items.iter().enumerate() {
        let item = seq.next_element_seed(Seed { plan, reading: &mut *reading });
        let item = item.inspect_err(|_| reading.problem.at_index(index))?;
        item.ok_or_else(|| A::Error::custom("too few"))?;
    }
    match seq.next_element::<de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("too many")),
    }
}

fn read_flags<'de, A: SeqAccess<'de>>(
    flags: &[std::sync::Arc<str>],
    reading: &mut Reading,
    mut seq: A,
) -> Result<(), A::Error> {
    let at = reading.writer.len();
    for _ in 0..flags.len().div_ceil(8) {
        reading.writer.byte(0);
    }
    let mut count = 0;
    loop {
        let next = seq.next_element_seed(Name(|name: &str| reading.label("flags", flags, name)));
        let flag = match next {
            Ok(None) => return Ok(()),
            Ok(Some(Some(flag))) => flag,
            Ok(Some(None)) => {
                reading.problem.at_index(count);
                return Err(A::Error::custom("unknown flag"));
            }
            Err(error) => {
                reading.problem.expected("the name of a flag");
                reading.problem.at_index(count);
                return Err(error);
            }
        };
        if reading.writer.set_flag(at, flag) {
            let error = reading.refuse("each flag once");
            reading.problem.at_index(count);
            return Err(error);
        }
        count += 1;
    }
}

fn read_record<'de, A: MapAccess<'de>>(
    fields: &[Field],
    reading: &mut Reading,
    mut map: A,
) -> Result<(), A::Error> {
    let (base, start) = (reading.spans.len(), reading.writer.len());
    let (mut next, mut ordered) = (0, true);
    while let Some(known) =
        map.next_key_seed(Name(|name: &str| reading.field(fields, next, name)))?
    {
        let found = known.and_then(|(index, former)| Some((index, former, fields.get(index)?)));
        let (index, former, field) = found.ok_or_else(|| A::Error::custom("unknown field"))?;
        if index != next || !ordered {
            let mut read = reading.spans.iter().skip(base);
            ordered &= read.clone().next_back().is_none_or(|last| last.field < index);
            if !ordered && read.any(|span| span.field == index) {
                reading.problem.duplicate(&field.name);
                return Err(A::Error::custom("duplicate field"));
            }
        }
        let from = reading.writer.len();
        if reading.sparse && field.default.is_some() {
            reading.writer.byte(1);
        }
        map.next_value_seed(Seed { plan: &field.plan, reading: &mut *reading }).inspect_err(
            |_| {
                let name = if former { field.was.as_ref() } else { None };
                reading.problem.at_key(name.unwrap_or(&field.name));
            },
        )?;
        reading.spans.push(Span { field: index, start: from, end: reading.writer.len() });
        next = index + 1;
    }
    if !ordered || reading.spans.len() - base != fields.len() {
        arrange(fields, reading, base, start).map_err(A::Error::custom)?;
    }
    reading.spans.truncate(base);
    Ok(())
}

/// Puts the values of a record, read from span `base` and byte `start` on, into declared order
/// and adds those that were left out.
fn arrange(
    fields: &[Field],
    reading: &mut Reading,
    base: usize,
    start: usize,
) -> Result<(), &'static str> {
    let values = reading.writer.cut(start);
    let mut spans = reading.spans.split_off(base);
    spans.sort_unstable_by_key(|span| span.field);
    let mut spans = spans.into_iter().peekable();
    for (index, field) in fields.iter().enumerate() {
        let written = spans.next_if(|span| span.field == index);
        match (written, &field.default, &field.plan) {
            (Some(span), ..) => {
                let value = values.get(span.start - start..span.end - start);
                reading.writer.raw(value.unwrap_or_default());
            }
            (None, Some(_), _) if reading.sparse => reading.writer.byte(0),
            (None, Some(default), _) => reading.writer.packed(default),
            (None, None, Plan::Option(_)) => reading.writer.byte(0),
            (None, None, plan) => {
                reading.problem.missing(&field.name, plan);
                return Err("missing field");
            }
        }
    }
    Ok(())
}
