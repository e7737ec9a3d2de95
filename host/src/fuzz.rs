//! What is fuzzed: whatever reads bytes that somebody else wrote.
//!
//! Each function takes any bytes, reads them as one of the readers does, and checks what must hold
//! of every input: no panic, and what has been read comes back the same when it is written. The
//! crate in `fuzz/` calls them with bytes that libFuzzer finds; the tests here call them with its
//! seeds and with every input that was found to break them (`fuzz/corpus`, `fuzz/found`).

use std::{sync::LazyLock, time::Duration};

use crate::{
    address::{Address, decode_id, encode_id},
    clock,
    config::Limits,
    gateway::{
        http::{query::Parameters, route::Route},
        nats::subject,
        problem::Problem,
        request::{self, Headers},
    },
    json::{Packed, Plan, Reader, Writer, canonical, write},
    record::{Chain, Position, Record, Stored, parse},
};

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("model", model),
    ("json_read", json_read),
    ("json_write", json_write),
    ("record", record),
    ("address", address),
    ("http", http),
    ("nats", nats),
];

/// The model reader, and all that is made of a model.
pub fn model(data: &[u8]) {
    let Ok((model, _)) = aether_wit::read("fuzz.storm.yaml", data) else { return };
    let _ = aether_wit::wit::package(&model);
    for aggregate in model.aggregates.keys() {
        assert!(aether_wit::wit::guest(&model, aggregate).is_some());
    }
    let _ = aether_wit::openapi::openapi(&[&model]);
    let _ = aether_wit::board::svg(&model);
    assert!(aether_wit::diff::diff(&model, &model).is_empty(), "a model differs from itself");
    for aggregate in model.aggregates.values() {
        let _ = crate::json::AggregatePlans::new(&model, aggregate);
    }
}

/// A record with a field of every type.
static EVERYTHING: LazyLock<Plan> = LazyLock::new(|| {
    let text = include_bytes!("fuzz/everything.storm.yaml");
    let read = aether_wit::read("everything.storm.yaml", text);
    let (model, _) = read.unwrap_or_else(|report| panic!("{report}"));
    let aggregate = model.aggregates.values().next();
    Plan::record(&model, aggregate.map_or(&[], |aggregate| &aggregate.state))
});

/// JSON to a value of every type, and back.
pub fn json_read(data: &[u8]) {
    let plan = &*EVERYTHING;
    if let Ok(value) = Reader::Log.read(plan, data) {
        comes_back(plan, &value);
    }
    let Ok(value) = Reader::Caller.read(plan, data) else {
        assert_eq!(canonical(plan, data), None);
        return;
    };
    comes_back(plan, &value);
    let Some(text) = canonical(plan, data) else { panic!("what was read has its text") };
    assert_eq!(canonical(plan, text.as_bytes()).as_ref(), Some(&text), "canonical once is for all");
    assert_eq!(Reader::Caller.read(plan, text.as_bytes()).as_ref(), Ok(&value), "{text}");
}

/// A value of every type to JSON, and back.
pub fn json_write(data: &[u8]) {
    let plan = &*EVERYTHING;
    let mut writer = Writer::default();
    value(plan, &mut data.iter().copied(), &mut writer);
    comes_back(plan, &writer.finish());
}

fn comes_back(plan: &Plan, value: &Packed) {
    let text = write(plan, value);
    for reader in [Reader::Caller, Reader::Log] {
        assert_eq!(reader.read(plan, text.get().as_bytes()).as_ref(), Ok(value), "{text}");
    }
}

/// Any value of `plan`: each choice is a byte, and zeros when there are no more.
fn value(plan: &Plan, from: &mut impl Iterator<Item = u8>, to: &mut Writer) {
    let mut number = || {
        let bytes = from.by_ref().next().unwrap_or(0) % 9;
        (0..bytes).fold(0_u64, |n, _| (n << 8) | u64::from(from.next().unwrap_or(0)))
    };
    match plan {
        Plan::Bool => to.byte((number() & 1) as u8),
        Plan::S8 | Plan::U8 => to.byte(number() as u8),
        Plan::S16 => to.signed(i64::from(number() as i16)),
        Plan::S32 => to.signed(i64::from(number() as i32)),
        Plan::S64 => to.signed(number() as i64),
        Plan::U16 => to.unsigned(u64::from(number() as u16)),
        Plan::U32 => to.unsigned(u64::from(number() as u32)),
        Plan::U64 => to.unsigned(number()),
        Plan::F32 => to.f32(f32::from_bits(number() as u32)),
        Plan::F64 => to.f64(f64::from_bits(number())),
        Plan::Char => to.unsigned(u64::from(char::from_u32(number() as u32).unwrap_or('x'))),
        Plan::String => {
            let count = number() % 20;
            let text: String = (0..count).filter_map(|_| char::from_u32(number() as u32)).collect();
            to.bytes(text.as_bytes());
        }
        Plan::Bytes => {
            let count = number() % 20;
            let bytes: Vec<u8> = (0..count).map(|_| number() as u8).collect();
            to.bytes(&bytes);
        }
        Plan::List(item) => {
            let count = number() % 4;
            to.unsigned(count);
            (0..count).for_each(|_| value(item, from, to));
        }
        Plan::Option(some) => {
            let is_some = number() & 1;
            to.byte(is_some as u8);
            if is_some == 1 {
                value(some, from, to);
            }
        }
        Plan::Tuple(parts) => parts.iter().for_each(|part| value(part, from, to)),
        Plan::Result { ok, err } => {
            let failed = number() & 1;
            to.byte(failed as u8);
            if let Some(payload) = if failed == 1 { err } else { ok } {
                value(payload, from, to);
            }
        }
        Plan::Record(fields) => fields.iter().for_each(|field| value(&field.plan, from, to)),
        Plan::Variant(cases) => {
            let case = number() % cases.len() as u64;
            to.unsigned(case);
            if let Some(payload) = cases.get(case as usize).and_then(|case| case.payload.as_ref()) {
                value(payload, from, to);
            }
        }
        Plan::Enum(names) => to.unsigned(number() % names.len() as u64),
        Plan::Flags(names) => {
            let set = number();
            for first in (0..names.len()).step_by(8) {
                let used = (names.len() - first).min(8);
                to.byte((set >> first) as u8 & (0xff_u16 >> (8 - used)) as u8);
            }
        }
    }
}

/// Records as a store holds them.
pub fn record(data: &[u8]) {
    let stored = Stored { position: Position(1), bytes: data.to_vec().into() };
    let Ok(read) = parse(&stored) else { return };
    // Most records are read by hand.
    let by_serde = serde_json::from_slice::<Record>(data).map(|record| format!("{record:?}"));
    assert_eq!(by_serde.ok(), Some(format!("{read:?}")), "serde reads the same");
    let Ok(bytes) = read.encode() else { panic!("what was read can be written") };
    let again = parse(&Stored { position: Position(1), bytes: bytes.clone() });
    let again = again.unwrap_or_else(|damage| panic!("{damage}"));
    assert_eq!(again.encode().ok(), Some(bytes), "written twice, it is the same");
    if let Ok(actor) = read.actor.parse::<Address>() {
        let mut chain = Chain::start(&actor);
        if chain.accept(&stored).is_ok() {
            assert!(read.first == 1 && read.prev.is_none(), "the first record of its actor");
            assert!(chain.accept(&stored).is_err(), "a record cannot follow itself");
        }
    }
}

/// Addresses, the tokens of ids, and subjects.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = text.parse::<Address>() {
        assert!(address.to_string() == text && address.is_written(text));
        let subject = address.log_subject("aether", 8);
        assert_eq!(subject.split('.').count(), 6, "{subject}");
        assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"._=-".contains(&b)));
        let token = address.id_token();
        assert_eq!(decode_id(&token).as_deref(), Ok(address.id()));
        let name = format!("p.cmd.{}.{}.{token}.x", address.context(), address.aggregate());
        assert_eq!(subject::parse("p", &name).ok(), Some((address, "x".to_owned())));
    }
    if let Ok(id) = decode_id(text) {
        assert_eq!(encode_id(&id), text, "an id has one token");
    }
    if let Ok((to, _)) = subject::parse("p", text) {
        assert!(text.contains(&to.id_token()));
    }
    if subject::is_callers("aether", text) {
        assert!(!text.starts_with("aether.") && !text.starts_with('$'));
    }
    assert!(text.starts_with(subject::caller(Some(text))));
}

/// Lines of a request's head: method, path and parameters, then headers.
pub fn http(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    if let Ok(method) = method.parse()
        && let Ok(route) = Route::of(&method, path)
    {
        let known = route.parameters();
        match Parameters::read(query, known) {
            Ok(read) => {
                let _ = (read.number("version"), read.limit(100, 1000), read.consistency());
            }
            Err(failure) => assert!(!failure.detail.is_empty()),
        }
    }
    headers(lines);
}

/// A request on NATS: its subject and where its answer goes, headers, and after an empty line the
/// body.
pub fn nats(data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let (head, body) = data.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n');
    let subjects = lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (subject, reply) = subjects.split_once(' ').unwrap_or((subjects, ""));
    let _ = subject::is_callers("aether", reply);
    if let Err(failure) = subject::parse("aether", subject) {
        is_told(&failure);
    }
    headers(lines);
    match request::fields(body, 1 << 10) {
        Ok(fields) => assert!(fields.get().starts_with('{')),
        Err(failure) => is_told(&failure),
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) {
    let pairs = lines.filter_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        Some((std::str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
    });
    let limits = Limits::default();
    let now = clock::now();
    match Headers::read(pairs, &limits, now) {
        Ok(read) => {
            assert!(read.deadline <= now + limits.max_timeout);
            assert!(read.deadline > now + Duration::ZERO);
            for word in [read.id, read.correlation].into_iter().flatten() {
                assert!((1..=request::MAX_COMMAND_ID_BYTES).contains(&word.len()));
                assert!(word.bytes().all(|b| (0x20..0x7f).contains(&b)));
            }
        }
        Err(failure) => is_told(&failure),
    }
}

/// A failure can be told: as JSON.
fn is_told(failure: &crate::failure::Failure) {
    let text = Problem::of_failure(failure).to_json();
    let told: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(told.get("code").is_some() && told.get("detail").is_some(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Every file in `fuzz/FOLDER/TARGET`.
    fn inputs(folder: &str, target: &str) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let Ok(files) = fs::read_dir(root.join(folder).join(target)) else { return vec![] };
        files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn seeds_and_what_was_found_do_no_harm() {
        for (name, target) in TARGETS {
            let seeds = inputs("corpus", name);
            assert!(!seeds.is_empty(), "{name} has seeds");
            for input in seeds.iter().chain(&inputs("found", name)) {
                target(input);
                // What is cut off, and what has another byte in the middle.
                target(&input[..input.len() / 2]);
                let mut other = input.clone();
                if let Some(byte) = other.get_mut(input.len() / 3) {
                    *byte ^= 0x20;
                }
                target(&other);
            }
        }
    }
}
