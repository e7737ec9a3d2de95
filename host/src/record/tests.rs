use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ONE_EVENT: &[u8] = include_bytes!("../../golden/record-1/one-event.json");
const SEVERAL_EVENTS: &[u8] = include_bytes!("../../golden/record-1/several-events.json");
const SEVERAL_TURNS: &[u8] = include_bytes!("../../golden/record-1/several-turns.json");
const REPAIR: &[u8] = include_bytes!("../../golden/record-1/repair.json");
const REPAIR_OF_THE_FIRST: &[u8] = include_bytes!("../../golden/record-1/repair-of-the-first.json");
const ODD_NAMES: &[u8] = include_bytes!("../../golden/record-1/odd-names.json");

fn stored(position: u64, bytes: impl Into<Vec<u8>>) -> Stored {
    Stored { position: Position(position), bytes: bytes.into().into() }
}

fn alice() -> Address {
    "bank/account/alice".parse().unwrap()
}

/// The whole log of `bank/account/alice`: versions 1, 2–4 and 5–7.
fn log() -> Vec<Stored> {
    let records = [ONE_EVENT, SEVERAL_EVENTS, SEVERAL_TURNS];
    (1..).zip(records).map(|(n, bytes)| stored(n * 10, bytes)).collect()
}

/// The damage found on the way through `log`, and at which of its records.
fn damage(log: &[Stored]) -> Option<(usize, Damage)> {
    let mut chain = Chain::start(&alice());
    for (n, record) in log.iter().enumerate() {
        let before = chain.clone();
        if let Err(damage) = chain.accept(record) {
            assert_eq!(chain, before, "a refused record must not move the chain");
            assert_eq!(damage.position(), record.position);
            return Some((n, damage));
        }
    }
    None
}

/// The kind of damage found in a log whose second record was changed by `change`.
fn kind_after(change: impl FnOnce(&mut Value)) -> Option<(usize, &'static str)> {
    let mut log = log();
    let mut record: Value = serde_json::from_slice(&log[1].bytes).unwrap();
    change(&mut record);
    log[1].bytes = serde_json::to_vec(&record).unwrap().into();
    damage(&log).map(|(n, damage)| (n, damage.kind()))
}

#[test]
fn golden_records_are_read_and_written_to_the_letter() {
    let repairs = [REPAIR, REPAIR_OF_THE_FIRST];
    for bytes in [ONE_EVENT, SEVERAL_EVENTS, SEVERAL_TURNS, ODD_NAMES].into_iter().chain(repairs) {
        let record = parse(&stored(1, bytes)).unwrap();
        assert_eq!(record.encode().unwrap(), bytes);
    }
}

#[test]
fn what_this_build_writes_is_read_by_hand() {
    for bytes in [ONE_EVENT, SEVERAL_EVENTS, SEVERAL_TURNS] {
        assert_eq!(read::read(bytes).unwrap().encode().unwrap(), bytes);
    }
    // Whatever else is a record, and what is none, is left to serde.
    let text = std::str::from_utf8(ONE_EVENT).unwrap();
    for (member, instead, is_record) in [
        (r#"{"format":1,"#, r#" {"format":1,"#, true),
        (r#"{"format":1,"#, r#"{"format": 1,"#, true),
        (r#"{"format":1,"kind":"turns","#, r#"{"kind":"turns","format":1,"#, true),
        (r#""kind":"turns""#, r#""kind":"tu\u0072ns""#, true),
        (r#"{"format":1,"#, r#"{"format":01,"#, false),
        (r#"{"format":1,"#, r#"{"format":-1,"#, false),
        (r#"{"format":1,"#, r#"{"format":1.0,"#, false),
        (r#"{"format":1,"#, r#"{"format":4294967297,"#, false),
        (r#""first":1,"#, r#""first":18446744073709551616,"#, false),
        (r#""prev":null"#, r#""prev":"null""#, false),
        (r#""kind":"turns""#, "\"kind\":\"turns\u{1}\"", false),
        (r#""turns":[{"#, r#""turns":[],"turns":[{"#, false),
    ] {
        assert_eq!(text.matches(member).count(), 1, "{member}");
        let other = text.replace(member, instead);
        assert!(read::read(other.as_bytes()).is_none(), "{instead}");
        assert_eq!(parse(&stored(1, other)).is_ok(), is_record, "{instead}");
    }
    for behind in [" ", "}", ",", "\u{0}"] {
        let other = [ONE_EVENT, behind.as_bytes()].concat();
        assert!(read::read(&other).is_none(), "{behind}");
    }
}

#[test]
fn digests_of_golden_records_are_fixed() {
    for (bytes, digest) in [
        (ONE_EVENT, "sha256:7e2c25e9ec593e4189e975f008a6cf4baa2680490ebd74539b97a9e12e7e8316"),
        (SEVERAL_EVENTS, "sha256:0d995b63782ae512c12a15e8bf9b1aed1e2f7f052d179c33403c31cc8b2c2d45"),
        (SEVERAL_TURNS, "sha256:c6147addcafbf102599fc188a4a7e8450a27c02a441856786ce2e87265a68a4a"),
        (REPAIR, "sha256:d69ee5595522fae6eab30fcaf3fb7dbfb057ca3d47659258c0a796ad5cfd6567"),
        (
            REPAIR_OF_THE_FIRST,
            "sha256:c59d57c888eb7baf71b9ef2eacb9ae9172af6bcc1e52cecf68eef4e35acaa540",
        ),
        (ODD_NAMES, "sha256:a6ca738f20b8f946d95e1fc72dad4801cf94787318887a69b4c8c493e0e1542c"),
    ] {
        assert_eq!(Digest::of(bytes).to_string(), digest);
    }
}

#[test]
fn golden_records_say_what_they_said() {
    let record = parse(&stored(20, SEVERAL_EVENTS)).unwrap();
    assert_eq!((record.first, record.last(), record.event_count()), (2, 4, 3));
    let command = &record.turns[0].command;
    assert_eq!((command.id.as_str(), command.name.as_str()), ("order-17/close", "close"));
    assert_eq!((command.by.as_deref(), command.at), (Some("alice"), 1_767_225_601_500));
    assert_eq!(command.seed.parse(), Ok(u64::MAX));
    let events: Vec<_> = record
        .events()
        .map(|(version, _, event)| (version, &*event.name, event.data.get()))
        .collect();
    assert_eq!(
        events,
        [
            (2, "withdrawn", r#"{"amount":20}"#),
            (3, "limits-set", r#"{"daily":"9007199254740993","note":null}"#),
            (4, "closed", "{}"),
        ]
    );

    let record = parse(&stored(30, SEVERAL_TURNS)).unwrap();
    assert_eq!(record.deployment, u64::MAX);
    let commands: Vec<_> =
        record.events().map(|(version, command, _)| (version, &*command.id)).collect();
    assert_eq!(commands, [(5, "a"), (6, "b"), (7, "b")]);

    let record = parse(&stored(1, ODD_NAMES)).unwrap();
    assert_eq!(record.actor, "bank/account/a.b*>/é 😀\"\\\t");
    assert_eq!(record.turns[0].command.id, "\"\\/\u{1}\u{7f}\u{2028} 日本");
    assert_eq!(record.turns[0].command.causation.as_deref(), Some(""));
}

#[test]
fn a_sound_chain_is_accepted() {
    let mut chain = Chain::start(&alice());
    let versions: Vec<_> = log()
        .iter()
        .map(|record| {
            chain.accept(record).unwrap();
            assert!(chain.stands_on(record));
            chain.version
        })
        .collect();
    assert_eq!(versions, [1, 4, 7]);
    assert_eq!((chain.position, chain.digest), (Position(30), Some(Digest::of(SEVERAL_TURNS))));

    let mut from_snapshot = Chain::at(&alice(), 4, Position(20), Digest::of(SEVERAL_EVENTS));
    assert!(from_snapshot.stands_on(&log()[1]));
    from_snapshot.accept(&log()[2]).unwrap();
    assert_eq!(from_snapshot, chain);
}

#[test]
fn a_chain_stands_on_one_record_only() {
    let chain = Chain::at(&alice(), 4, Position(20), Digest::of(SEVERAL_EVENTS));
    assert!(!chain.stands_on(&stored(21, SEVERAL_EVENTS)));
    assert!(!chain.stands_on(&stored(20, SEVERAL_TURNS)));
    assert!(!Chain::start(&alice()).stands_on(&stored(0, "")));
}

#[test]
fn every_altered_member_is_found() {
    let other = Digest::of("other").to_string();
    let members: &[(&str, Value, (usize, &str))] = &[
        ("/format", json!(2), (1, "format")),
        ("/format", json!(0), (1, "format")),
        ("/format", json!("1"), (1, "unreadable")),
        ("/kind", json!("repair"), (1, "unreadable")),
        ("/actor", json!("bank/account/bob"), (1, "foreign")),
        ("/first", json!(3), (1, "gap")),
        ("/first", json!(1), (1, "gap")),
        ("/first", json!(0), (1, "unreadable")),
        ("/first", json!(u64::MAX), (1, "unreadable")),
        ("/prev", json!(other), (1, "chain")),
        ("/prev", Value::Null, (1, "chain")),
        ("/prev", json!("sha256:00"), (1, "unreadable")),
        ("/deployment", json!(2), (2, "chain")),
        ("/model", json!(other), (2, "chain")),
        ("/component", json!(other), (2, "chain")),
        ("/component", json!("none"), (1, "unreadable")),
        ("/turns", json!([]), (1, "unreadable")),
        ("/turns/0/events", json!([]), (1, "unreadable")),
        ("/turns/0/command/id", json!("x"), (2, "chain")),
        ("/turns/0/command/name", json!("x"), (2, "chain")),
        ("/turns/0/command/digest", json!(other), (2, "chain")),
        ("/turns/0/command/at", json!(1), (2, "chain")),
        ("/turns/0/command/at", json!(-1), (1, "unreadable")),
        ("/turns/0/command/by", Value::Null, (2, "chain")),
        ("/turns/0/command/correlation", json!("x"), (2, "chain")),
        ("/turns/0/command/correlation", Value::Null, (1, "unreadable")),
        ("/turns/0/command/causation", Value::Null, (2, "chain")),
        ("/turns/0/command/seed", json!("1"), (2, "chain")),
        ("/turns/0/command/seed", json!(1), (1, "unreadable")),
        ("/turns/0/command/seed", json!("0x1"), (1, "unreadable")),
        ("/turns/0/command/seed", json!("+1"), (1, "unreadable")),
        ("/turns/0/events/0/type", json!("x"), (2, "chain")),
        ("/turns/0/events/0/data", json!({"amount": 21}), (2, "chain")),
    ];
    for (member, value, found) in members {
        let kind = kind_after(|record| *record.pointer_mut(member).unwrap() = value.clone());
        assert_eq!(kind, Some(*found), "{member} = {value}");
    }
}

#[test]
fn every_missing_or_unknown_member_is_found() {
    for object in ["", "/turns/0", "/turns/0/command", "/turns/0/events/0"] {
        let golden: Value = serde_json::from_slice(SEVERAL_EVENTS).unwrap();
        let members: Vec<_> =
            golden.pointer(object).unwrap().as_object().unwrap().keys().cloned().collect();
        for member in members {
            let kind = kind_after(|record| {
                let object = record.pointer_mut(object).unwrap().as_object_mut().unwrap();
                object.remove(&member);
            });
            assert_eq!(kind, Some((1, "unreadable")), "{object}/{member}");
        }
        for unknown in ["enc", "x"] {
            let kind = kind_after(|record| {
                let object = record.pointer_mut(object).unwrap().as_object_mut().unwrap();
                object.insert(unknown.to_owned(), Value::Null);
            });
            assert_eq!(kind, Some((1, "unreadable")), "{object}/{unknown}");
        }
    }
}

#[test]
fn a_newer_format_is_named_whatever_else_it_holds() {
    let damage = parse(&stored(5, r#"{"format": 2, "entries": [1, {"a": null}]}"#)).unwrap_err();
    assert_eq!(damage, Damage::Format { position: Position(5), found: 2 });
    for bytes in ["", "{}", "null", "[]", "{\"format\":1}", "{\"format\":1,\"format\":1}"] {
        assert_eq!(parse(&stored(5, bytes)).unwrap_err().kind(), "unreadable", "{bytes}");
    }
    let twice =
        String::from_utf8_lossy(ONE_EVENT).replacen("\"first\":1", "\"first\":1,\"first\":1", 1);
    assert_eq!(parse(&stored(5, twice)).unwrap_err().kind(), "unreadable");
    let two = [ONE_EVENT, ONE_EVENT].concat();
    assert_eq!(parse(&stored(5, two)).unwrap_err().kind(), "unreadable");
}

#[test]
fn records_of_others_lost_repeated_and_swapped_ones_are_found() {
    let sound = log();
    let order =
        |order: &[usize]| -> Vec<Stored> { order.iter().map(|n| sound[*n].clone()).collect() };
    for (log, at) in [
        (order(&[1]), 0),
        (order(&[2]), 0),
        (order(&[0, 2]), 1),
        (order(&[0, 0]), 1),
        (order(&[0, 1, 1]), 2),
        (order(&[0, 2, 1]), 1),
        (order(&[1, 0, 2]), 0),
    ] {
        let (found, damage) = damage(&log).unwrap();
        assert_eq!((found, damage.kind()), (at, "chain"), "{damage}");
    }
    let foreign = [sound[0].clone(), stored(20, ODD_NAMES)];
    assert_eq!(damage(&foreign).map(|(n, damage)| (n, damage.kind())), Some((1, "foreign")));
    // Lost at the end: no record tells, only who stood on it, see `Chain::stands_on`.
    assert_eq!(damage(&order(&[0, 1])), None);
}

fn record(events: &[(String, String)], ids: (String, String), at: u64, seed: u64) -> Record {
    let data = |text: &str| RawValue::from_string(json!({ "text": text }).to_string()).unwrap();
    let events =
        events.iter().map(|(name, text)| EventData { name: name.clone(), data: data(text) });
    let command = CommandMeta {
        id: ids.0.clone(),
        name: "x".to_owned(),
        digest: Digest::of(&ids.0),
        at,
        by: at.is_multiple_of(2).then_some(ids.0),
        correlation: ids.1.clone(),
        causation: seed.is_multiple_of(2).then_some(ids.1),
        seed: seed.to_string(),
    };
    Record {
        format: FORMAT,
        kind: Kind::Turns,
        actor: alice().to_string(),
        first: 1,
        prev: None,
        deployment: at,
        model: Digest::of("model"),
        component: Digest::of("component"),
        turns: vec![Turn { command, events: events.collect() }],
        repair: None,
    }
}

/// What a reader makes of `log` that knows all repairs in it: the versions of the events, or the
/// damage.
fn folded(log: &[Stored]) -> Result<Vec<u64>, Damage> {
    let mut repairs = Repairs::default();
    log.iter().for_each(|stored| repairs.note(&alice(), stored));
    let mut chain = Chain::start(&alice()).with_repairs(repairs);
    let mut versions = Vec::new();
    for stored in log {
        let record = chain.accept(stored)?;
        versions.extend(record.iter().flat_map(Record::events).map(|(version, ..)| version));
        assert_eq!(chain.read, stored.position);
    }
    Ok(versions)
}

/// The log of the golden repair: its second record is cut.
fn repaired() -> Vec<Stored> {
    let mut log = log();
    log[1].bytes = log[1].bytes.slice(..100);
    log.push(stored(40, REPAIR));
    log
}

#[test]
fn golden_repairs_skip_what_they_say() {
    assert_eq!(folded(&repaired()).unwrap(), [1, 5, 6, 7]);
    let record = parse(&stored(40, REPAIR)).unwrap();
    assert_eq!((record.first, record.last(), record.event_count()), (8, 7, 0));
    assert_eq!(record.repair.unwrap().by.as_deref(), Some("ops"));
    let first = [stored(10, &ONE_EVENT[..50]), stored(13, REPAIR_OF_THE_FIRST)];
    assert_eq!(folded(&first).unwrap(), [0; 0]);
}

#[test]
fn a_repair_that_a_reader_does_not_know_is_told() {
    let mut chain = Chain::start(&alice());
    for stored in log() {
        chain.accept(&stored).unwrap();
    }
    let before = chain.clone();
    let damage = chain.accept(&stored(40, REPAIR)).unwrap_err();
    assert_eq!(damage, Damage::Repaired { position: Position(40) });
    assert_eq!(chain, before);
}

#[test]
fn a_repair_covers_the_very_record_that_it_names() {
    let sound = repaired();
    // The lost record is back: it counts, and the repair has nothing to skip.
    let mut back = sound.clone();
    back[1] = log()[1].clone();
    assert_eq!(folded(&back).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    // Other bytes, another position, another neighbour.
    let mut other = sound.clone();
    other[1].bytes = other[1].bytes.slice(..99);
    assert_eq!(folded(&other).unwrap_err().kind(), "unreadable");
    let mut moved = sound.clone();
    moved[1].position = Position(21);
    assert_eq!(folded(&moved).unwrap_err().kind(), "unreadable");
    let mut without = sound.clone();
    without.remove(0);
    assert_eq!(folded(&without).unwrap_err().position(), Position(20));
    let mut altered = sound;
    altered[2].bytes = String::from_utf8_lossy(SEVERAL_TURNS)
        .replace("\"amount\":1}", "\"amount\":2}")
        .into_bytes()
        .into();
    assert_eq!(folded(&altered).unwrap_err().kind(), "chain");
}

/// A repair leaves out the versions that were told already; a record of turns never does.
#[test]
fn only_a_repair_that_is_known_leaves_out_versions() {
    let mut log = repaired();
    let mut repair: Value = serde_json::from_slice(REPAIR).unwrap();
    repair["first"] = json!(11);
    log[3].bytes = repair.to_string().into_bytes().into();
    assert_eq!(folded(&log).unwrap(), [1, 5, 6, 7]);
    let mut repairs = Repairs::default();
    log.iter().for_each(|stored| repairs.note(&alice(), stored));
    let mut chain = Chain::start(&alice()).with_repairs(repairs);
    log.iter().for_each(|stored| drop(chain.accept(stored).unwrap()));
    assert_eq!(chain.version, 10);
    let mut turns: Value = serde_json::from_slice(SEVERAL_TURNS).unwrap();
    turns["prev"] = json!(chain.digest.unwrap().to_string());
    for (first, kind) in [(8, Some("gap")), (12, Some("gap")), (11, None)] {
        turns["first"] = json!(first);
        let accepted = chain.clone().accept(&stored(50, turns.to_string()));
        assert_eq!(accepted.err().map(|damage| damage.kind()), kind);
    }
    repair["first"] = json!(7);
    log[3].bytes = repair.to_string().into_bytes().into();
    assert_eq!(folded(&log).unwrap_err().kind(), "gap");
}

/// Numbers of lost records that a store gives away again belong to the new records.
#[test]
fn a_repair_passes_over_its_stretch_and_no_number_elsewhere() {
    let place = |at: u64| Place { position: Position(at), digest: Digest::of(at.to_string()) };
    let lost = |at: u64| Skipped { position: Some(Position(at)), digest: Some(Digest::of("lost")) };
    let repair = |resumes| Repair {
        skips: vec![Skip {
            after: Some(place(10)),
            skipped: vec![lost(8), lost(12), lost(30)],
            resumes,
        }],
        reason: "a test".to_owned(),
        by: None,
        at: 0,
    };
    let passed = |repairs: &Repairs| -> Vec<u64> {
        (1..40).filter(|at| repairs.pass(Position(*at))).collect()
    };
    assert_eq!(
        passed(&Repairs::default().with(repair(Some(place(20))))),
        (11..20).collect::<Vec<_>>()
    );
    assert_eq!(passed(&Repairs::default().with(repair(None))), [12, 30]);
}

#[test]
fn a_repair_of_another_form_is_no_record() {
    for (member, value) in [
        ("/repair/skips", json!([])),
        ("/repair/skips/0/skipped", json!([])),
        ("/repair", Value::Null),
        ("/repair/by", json!(1)),
        ("/kind", json!("turns")),
        ("/kind", json!("erase")),
        ("/repair/skips/0/skipped/1/digest", Value::Null),
    ] {
        let mut record: Value = serde_json::from_slice(REPAIR).unwrap();
        *record.pointer_mut(member).unwrap() = value;
        let damage = parse(&stored(1, record.to_string())).unwrap_err();
        assert_eq!(damage.kind(), "unreadable", "{member}");
    }
    for (object, member) in [
        ("", "repair"),
        ("/repair", "by"),
        ("/repair/skips/0", "after"),
        ("/repair/skips/0", "resumes"),
        ("/repair/skips/0/skipped/0", "position"),
    ] {
        let mut record: Value = serde_json::from_slice(REPAIR).unwrap();
        record.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(member);
        assert!(parse(&stored(1, record.to_string())).is_err(), "{object}/{member}");
    }
    let mut both: Value = serde_json::from_slice(ONE_EVENT).unwrap();
    let repair: Value = serde_json::from_slice(REPAIR).unwrap();
    both["repair"] = repair["repair"].clone();
    assert!(parse(&stored(1, both.to_string())).is_err());
}

proptest! {
    #[test]
    fn every_record_comes_back(
        events in prop::collection::vec(any::<(String, String)>(), 1..5),
        ids: (String, String), at: u64, seed: u64,
    ) {
        let bytes = record(&events, ids, at, seed).encode().unwrap();
        let read = parse(&Stored { position: Position(1), bytes: bytes.clone() }).unwrap();
        prop_assert_eq!(read.event_count(), events.len() as u64);
        prop_assert_eq!(read.encode().unwrap(), bytes);
    }

    /// What writes records by hand writes what serde would.
    #[test]
    fn a_record_is_written_as_serde_writes_it(
        events in prop::collection::vec(any::<(String, String)>(), 1..5),
        ids: (String, String), at: u64, seed: u64, first: bool, texts: [Option<String>; 2],
    ) {
        let mut record = record(&events, ids, at, seed);
        let [by, causation] = texts;
        for turn in &mut record.turns {
            (turn.command.by, turn.command.causation) = (by.clone(), causation.clone());
        }
        record.prev = (!first).then(|| Digest::of("previous"));
        prop_assert_eq!(&record.encode().unwrap()[..], &serde_json::to_vec(&record).unwrap()[..]);
        record.turns[0].events.clear();
        prop_assert_eq!(&record.encode().unwrap()[..], &serde_json::to_vec(&record).unwrap()[..]);
        record.turns.clear();
        prop_assert_eq!(&record.encode().unwrap()[..], &serde_json::to_vec(&record).unwrap()[..]);
    }

    /// What reads records by hand reads what serde would, or nothing.
    #[test]
    fn a_record_is_read_as_serde_reads_it(
        events in prop::collection::vec(any::<(String, String)>(), 1..5),
        ids in ("[ -~]{0,9}", any::<String>()), number: u64, texts: [Option<String>; 2],
        at: usize, byte: u8,
    ) {
        let mut record = record(&events, ids, number, number);
        let [by, causation] = texts;
        record.turns[0].command.by = by;
        record.turns[0].command.causation = causation;
        record.prev = (number % 2 == 0).then(|| Digest::of("previous"));
        let bytes = record.encode().unwrap();
        let mut changed = bytes.to_vec();
        changed[at % bytes.len()] = byte;
        for bytes in [&bytes[..], &changed] {
            if let Some(read) = read::read(bytes) {
                let by_serde: Record = serde_json::from_slice(bytes).unwrap();
                prop_assert_eq!(format!("{read:?}"), format!("{by_serde:?}"));
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_found_there_or_at_the_next_record(which in 0..2_usize, at: usize, mask in 1..=255_u8) {
        let mut log = log();
        let mut bytes = log[which].bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= mask;
        log[which].bytes = bytes.into();
        let found = damage(&log).map(|(n, _)| n);
        prop_assert!(found == Some(which) || found == Some(which + 1), "{:?}", found);
    }

    #[test]
    fn a_record_cut_short_is_unreadable(which in 0..3_usize, length: usize) {
        let bytes = &log()[which].bytes;
        let cut = bytes.slice(..length % bytes.len());
        let damage = parse(&Stored { position: Position(1), bytes: cut }).unwrap_err();
        prop_assert_eq!(damage.kind(), "unreadable");
    }

    /// Any one record damaged, and the repair that skips it: the rest is folded.
    #[test]
    fn the_right_skip_gives_the_fold_of_the_rest(which in 0..3_usize, cut: usize, named: bool) {
        let mut log = log();
        let lost = Digest::of(&log[which].bytes);
        log[which].bytes = log[which].bytes.slice(..cut % log[which].bytes.len());
        prop_assert_eq!(folded(&log).unwrap_err().position(), log[which].position);
        let after = which.checked_sub(1).map(|n| Place::from(&log[n]));
        let resumes = log.get(which + 1).map(Place::from);
        let found = Place::from(&log[which]);
        // A repair that names other bytes covers nothing.
        let digest = if named { found.digest } else { Digest::of("other") };
        let mut skipped = vec![Skipped { position: Some(found.position), digest: Some(digest) }];
        skipped.extend(resumes.map(|_| Skipped { position: None, digest: Some(lost) }));
        let last = if which == 2 { &log[1] } else { &log[2] };
        let mut repair: Record = serde_json::from_slice(REPAIR).unwrap();
        repair.first = if which == 2 { 5 } else { 8 };
        repair.prev = Some(Digest::of(&last.bytes));
        repair.repair = Some(Repair {
            skips: vec![Skip { after, skipped, resumes }],
            reason: "a test".to_owned(),
            by: None,
            at: 0,
        });
        log.push(Stored { position: Position(40), bytes: repair.encode().unwrap() });
        let rest: Vec<u64> = [vec![1], vec![2, 3, 4], vec![5, 6, 7]]
            .into_iter()
            .enumerate()
            .filter(|(n, _)| *n != which)
            .flat_map(|(_, versions)| versions)
            .collect();
        match folded(&log) {
            Ok(versions) => prop_assert!(named && versions == rest),
            Err(damage) => prop_assert!(!named && damage.position() == found.position),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        prop_assert!(parse(&stored(1, bytes)).is_err());
    }
}
