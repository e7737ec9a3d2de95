//! Every kind of mistake, made in a sound model, and the exact words that it gets.
//!
//! The words stand in `testdata/mistakes.txt`; with `AETHER_BLESS=1` the test writes them anew.

use std::fmt::Write as _;

use super::{BANK, refused};
use crate::{read, report};

/// An upcast in the bank, which gets two events with money for it.
macro_rules! upcasts {
    ($title:literal, $upcast:literal) => {
        (
            $title,
            "    rejections:\n",
            concat!(
                "      paid: { fields: { price: money, fee: money }, was: was-paid }\n    upcasts:\n      ",
                $upcast,
                "\n    rejections:\n"
            ),
        )
    };
}

const GOLDEN: &str = include_str!("../testdata/mistakes.txt");

/// A title, a piece of the sound model, and what stands there instead.
const MISTAKES: &[(&str, &str, &str)] = &[
    // The file
    ("yaml: not closed", "types:\n", "types: {\n"),
    ("yaml: colon in text", "Money came in.", "Money: it came in."),
    ("yaml: tab", "    state: { owner", "\tstate: { owner"),
    ("yaml: indentation", "    commands:", "   commands:"),
    ("duplicate key", "version: 0.1.0 ", "context: bank2 "),
    ("anchor", "state: { owner", "state: &state { owner"),
    ("alias", "opened:    { owner: string }", "opened: *state"),
    ("tag", "about: Accounts", "about: !!str Accounts"),
    ("merge key", "opened:    { owner: string }", "opened: { <<: { owner: string } }"),
    ("second document", "scenarios:", "---\nscenarios:"),
    ("key that is a list", "types:\n", "types:\n  [a, b]: string\n"),
    // The head
    ("unknown section", "scenarios:", "scenario:"),
    ("reserved section", "scenarios:", "policies: []\nscenarios:"),
    ("missing section", "context: bank\n", ""),
    ("bad name", "context: bank", "context: My_Bank"),
    (
        "long name",
        "context: bank",
        "context: bankbankbankbankbankbankbankbankbankbankbankbankbankbankbankbankbank",
    ),
    ("bad version", "0.1.0", "1.10"),
    ("list expected", "[account.wasm]", "account.wasm"),
    ("absolute component", "[account.wasm]", "[/account.wasm, a.wasm, a.wasm]"),
    ("description that steers", "about: Money came in.", "about: \"\\u202eMoney\""),
    // Types
    ("unknown type", "balance: u64, open", "balance: monye, open"),
    ("foreign type", "balance: u64, open", "balance: integer, open"),
    ("type cut by a comma", "balance: u64, open", "pair: tuple<u64, string>, open"),
    ("type cut in a long field", "type: u64, was: sum", "type: tuple<u64, string>, was: sum"),
    (
        "type cut in a variant",
        "{ enum: [basic, gold] }",
        "{ variant: { a: result<_, string>, b: u8 } }",
    ),
    ("type cut by two commas", "balance: u64, open", "pair: list<tuple<u64, string, bool>>, open"),
    ("type not closed", "balance: u64, open", "balance: \"list<u64\", open"),
    ("list of what", "balance: u64, open", "balance: list, open"),
    ("resource", "balance: u64, open", "balance: stream<u8>, open"),
    (
        "cycle",
        "tier: {",
        "a: { record: { b: b } }\n  b: { variant: { none: null, c: list<c> } }\n  c: { record: { a: option<a> } }\n  tier: {",
    ),
    ("alias of itself", "tier: {", "a: a\n  tier: {"),
    ("type of wit", "tier: {", "list: { enum: [a] }\n  tier: {"),
    ("type called null", "tier: {", "null: { enum: [a] }\n  tier: {"),
    ("type without shape", "tier: {", "a:\n  tier: {"),
    ("two shapes", "{ enum: [basic, gold] }", "{ enum: [basic], flags: [gold] }"),
    ("no shape", "{ enum: [basic, gold] }", "{ enums: [basic] }"),
    ("empty record", "{ enum: [basic, gold] }", "{ record: {} }"),
    ("empty variant", "{ enum: [basic, gold] }", "{ variant: {} }"),
    ("empty enum", "{ enum: [basic, gold] }", "{ enum: [] }"),
    ("case twice", "[basic, gold]", "[basic, basic]"),
    (
        "payload takes a name",
        "tier: {",
        "money-a: u8\n  tip: { variant: { a: { record: { x: u8 } } } }\n  tip-a: u8\n  tier: {",
    ),
    ("bad payload", "{ enum: [basic, gold] }", "{ variant: { a: [u8], b: { recrod: {} } } }"),
    // Fields
    ("field without name", "balance: u64, open", "\"\": u64, open"),
    ("field without type", "balance: u64, open", "balance:, open"),
    ("unknown key of a field", "type: u64, was: sum", "type: u64, wass: sum"),
    ("personal", "type: u64, was: sum", "type: u64, personal: true"),
    (
        "was of a sibling",
        "{ amount: { type: u64, was: sum } }",
        "{ amount: { type: u64, was: sum }, sum: u64 }",
    ),
    (
        "was twice",
        "{ amount: { type: u64, was: sum } }",
        "{ amount: { type: u64, was: sum }, b: { type: u64, was: sum } }",
    ),
    ("default that does not fit", "type: u64, was: sum", "type: u64, default: many"),
    // Aggregates
    ("taken aggregate name", "  account:\n", "  events:\n"),
    ("taken command name", "      deposit: ", "      wake: "),
    (
        "world name",
        "aggregates:\n",
        "aggregates:\n  account-guest: { state: { a: u8 }, commands: { b: { emits: [c] } }, events: { c: {} } }\n",
    ),
    ("empty state", "{ owner: string, balance: u64, open: bool }", "{}"),
    (
        "empty commands",
        "      open:     { fields: { owner: string },  emits: [opened],    rejects: [already-open] }\n      deposit:  { fields: { amount: u64 },    emits: [deposited], rejects: [not-open] }\n      withdraw: { fields: { amount: u64 },    emits: [withdrawn], rejects: [not-open, insufficient-funds] }\n",
        "",
    ),
    ("missing events", "    events:\n", "    event:\n"),
    ("unknown event", "emits: [deposited]", "emits: [deposted]"),
    ("unknown rejection", "rejects: [not-open] ", "rejects: [shut]"),
    ("event twice", "emits: [deposited]", "emits: [deposited, deposited]"),
    ("no emits", "emits: [deposited],", ""),
    (
        "event like a command",
        "opened:    { owner: string }",
        "deposit: {}\n      opened: { owner: string }",
    ),
    (
        "event like a rejection",
        "opened:    { owner: string }",
        "already-open: {}\n      opened: { owner: string }",
    ),
    (
        "event of the contract",
        "opened:    { owner: string }",
        "state: {}\n      opened: { owner: string }",
    ),
    (
        "type like a command",
        "  tier: { enum: [basic, gold] }\naggregates:\n  account:\n    state: {",
        "  deposit: { enum: [basic, gold] }\naggregates:\n  account:\n    state: { t: list<deposit>,",
    ),
    (
        "short form with about",
        "opened:    { owner: string }",
        "opened: { owner: string, about: It began. }",
    ),
    ("unknown key in the long form", "about: Money came in. }", "abuot: Money came in. }"),
    // Upcasts
    ("upcasts of a model", "scenarios:", "upcasts: {}\nscenarios:"),
    upcasts!("upcast of nobody", "deposited: host"),
    upcasts!("upcast that says nothing", "deposited: {}"),
    upcasts!("unknown key of an upcast", "deposited: { renames: { sum: amount } }"),
    upcasts!("upcast of an unknown event", "deposted: { rename: { sum: amount } }"),
    upcasts!("upcast of a strange event", "refunded: { rename: { sum: amount } }"),
    upcasts!("upcast to an unknown event", "paid: { to: deposted }"),
    upcasts!("upcast of an event that stays", "opened: { to: deposited }"),
    upcasts!("upcast to a new name of it", "was-paid: { to: paid }"),
    upcasts!("upcast of a bad name", "Deposited: component"),
    upcasts!("rename to an unknown field", "deposited: { rename: { sum: amout } }"),
    upcasts!("rename as a list", "deposited: { rename: [sum, amount] }"),
    upcasts!("two of one field", "deposited: { rename: { a: amount, b: amount } }"),
    upcasts!("set beside rename", "deposited: { rename: { a: amount }, set: { amount: 1 } }"),
    upcasts!("drop beside rename", "deposited: { drop: [a], rename: { a: amount } }"),
    upcasts!("drop twice", "deposited: { drop: [a, a, B] }"),
    upcasts!("constant that does not fit", "deposited: { set: { amount: many } }"),
    upcasts!(
        "default of a part",
        "paid: { default: { cents: -1 }, into: { price: [cents, currency] } }"
    ),
    upcasts!("into what is no record", "deposited: { into: { amount: [a] } }"),
    upcasts!("into an unknown field", "paid: { into: { prise: [cents, currency] } }"),
    upcasts!("into a part that is not there", "paid: { into: { price: [cents, currencies] } }"),
    upcasts!("into without a part", "paid: { into: { price: [cents] } }"),
    upcasts!(
        "into two records",
        "paid: { into: { price: [cents, currency], fee: [cents, currency] } }"
    ),
    (
        "upcasts take a name",
        "scenarios:\n",
        "    upcasts: { old: component }\n  account-upcasts: { state: { a: u8 }, commands: { b: { emits: [c] } }, events: { c: {} } }\nscenarios:\n",
    ),
    // Runtime
    ("unknown setting", "mailbox: 256", "mail-box: 256"),
    ("no unit", "idle: 5m", "idle: 300"),
    ("unknown unit", "64MiB", "64MB"),
    ("no quantity", "100ms", "soon"),
    ("out of range", "64MiB", "1B"),
    ("zero", "mailbox: 256", "mailbox: 0"),
    ("isolation", "isolation: actor", "isolation: actors"),
    // Scenarios
    ("actor without id", "account/alice", "account"),
    ("unknown aggregate", "account/alice", "acount/alice"),
    ("actor with context", "account/alice", "bank/account/alice"),
    ("unknown event in given", "{ opened: { owner: Alice } }", "{ openend: { owner: Alice } }"),
    ("unknown command", "withdraw: { amount: 20 }", "withdrew: { amount: 20 }"),
    ("two commands", "withdraw: { amount: 20 }", "withdraw: { amount: 20 }, open: {}"),
    ("no command", "withdraw: { amount: 20 }, ", ""),
    ("unknown field", "withdraw: { amount: 20 }", "withdraw: { amout: 20 }"),
    ("missing field", "withdraw: { amount: 20 }", "withdraw: {}"),
    ("text for a number", "withdraw: { amount: 20 }", "withdraw: { amount: many }"),
    ("leading zeros", "withdraw: { amount: 20 }", "withdraw: { amount: 007 }"),
    ("number with marks", "withdraw: { amount: 20 }", "withdraw: { amount: 1_000 }"),
    (
        "number out of range",
        "withdraw: { amount: 20 }",
        "withdraw: { amount: 18446744073709551616 }",
    ),
    ("text cut by a comma", "{ owner: Alice }", "{ owner: Smith, Alice }"),
    ("bad time", "2026-01-01T00:00:00Z", "yesterday"),
    ("bad seed", "seed: 7", "seed: -7"),
    (
        "rejection that the command does not use",
        "{ rejected: { insufficient-funds: { balance: 10 } } }",
        "{ rejected: already-open }",
    ),
    (
        "event that the command does not emit",
        "{ rejected: { insufficient-funds: { balance: 10 } } }",
        "[deposited: { amount: 20 }]",
    ),
    (
        "rejected beside events",
        "{ rejected: { insufficient-funds: { balance: 10 } } }",
        "{ rejected: not-open, events: [] }",
    ),
    ("then that says nothing", "{ rejected: { insufficient-funds: { balance: 10 } } }", "{}"),
    ("then as text", "{ rejected: { insufficient-funds: { balance: 10 } } }", "rejected"),
    (
        "unknown part of the state",
        "{ rejected: { insufficient-funds: { balance: 10 } } }",
        "{ state: { balanse: 3 } }",
    ),
    ("steps beside when", "    when:", "    steps: [ { when: open } ]\n    when:"),
    ("scenario without then", "    then:", "    than:"),
    (
        "two of one name",
        "scenarios:\n",
        "scenarios:\n  - { name: an account cannot be overdrawn, actor: account/a, when: { open: { owner: a } }, then: [] }\n",
    ),
];

#[test]
fn every_mistake_gets_its_words() {
    let mut all = String::new();
    for (title, from, to) in MISTAKES {
        assert!(BANK.contains(from), "{title}: `{from}` is not in the model");
        let rendered = refused(&BANK.replacen(from, to, 1));
        write!(all, "## {title}\n{rendered}\n").unwrap();
    }
    if std::env::var_os("AETHER_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/read/testdata/mistakes.txt");
        std::fs::write(path, &all).unwrap();
        return;
    }
    for (found, expected) in all.split("## ").zip(GOLDEN.split("## ")) {
        assert_eq!(found, expected);
    }
    assert_eq!(all.len(), GOLDEN.len());
}

#[test]
fn all_mistakes_come_in_one_run_in_the_order_of_the_text() {
    let text = BANK
        .replace("0.1.0", "1")
        .replace("cents: u64", "cents: u46")
        .replace("emits: [opened]", "emits: [open]")
        .replace("idle: 5m", "idle: 5")
        .replace("amount: 20", "amount: -1");
    let expected = "\
m.yaml:2:10: error: `1` is not a version: unexpected end of input while parsing major version number
  2 | version: 1                       # SemVer, for people; the digest identifies
    |          ^
  help: write three numbers, e.g. `1.10.0` (SemVer)

m.yaml:6:29: error: unknown type `u46`
  6 |   money: { record: { cents: u46, currency: string } }
    |                             ^^^
  help: did you mean `u64`?
";
    let report = refused(&text);
    assert!(report.starts_with(expected), "{report}");
    let places: Vec<&str> = report.lines().filter(|line| line.starts_with("m.yaml:")).collect();
    let lines = places.iter().map(|line| line.split(':').nth(1).unwrap());
    assert_eq!(lines.collect::<Vec<_>>(), ["2", "6", "12", "23", "28"], "{report}");
}

#[test]
fn warnings_stand_beside_the_model() {
    let text = BANK
        .replace(
            "opened:    { owner: string }",
            "opened: { owner: string }\n      vec: { a: u8 }\n      self: {}",
        )
        .replace("[not-open] }", "[] }")
        .replace("emits: [deposited]", "emits: []")
        .replace("not-open, ", "");
    let (_, warnings) =
        super::accepted(&text.replace("given: [ { opened", "given: [ vec: { a: 1 }, { opened"));
    let mut rendered = String::new();
    report::render(&mut rendered, "m.yaml", &text, &warnings).unwrap();
    let firsts: Vec<&str> = rendered.lines().filter(|line| line.starts_with("m.yaml")).collect();
    assert_eq!(
        firsts,
        [
            "m.yaml:13:47: warning: the command `deposit` emits nothing",
            "m.yaml:17:7: warning: no command emits the event `vec`",
            "m.yaml:17:7: warning: the event `vec` takes the name of a Rust type",
            "m.yaml:18:7: warning: no command emits the event `self`",
            "m.yaml:18:7: warning: the event `self` takes the name of a Rust type",
            "m.yaml:19:7: warning: no command emits the event `deposited`",
            "m.yaml:23:7: warning: no command uses the rejection `not-open`",
        ],
        "{rendered}"
    );
}

/// Types `t0` to `tN`, each of which holds the next by `body`.
fn chain(count: usize, body: impl Fn(usize) -> String) -> String {
    let types: String = (0..count).map(|i| format!("  t{i}: {}\n", body(i + 1))).collect();
    BANK.replacen("types:\n", &format!("types:\n{types}  t{count}: u8\n"), 1)
}

#[test]
fn types_are_limited_in_depth_and_parts() {
    super::accepted(&chain(30, |next| format!("list<t{next}>")));
    let report = refused(&chain(40, |next| format!("{{ record: {{ a: t{next} }} }}")));
    assert!(report.contains("nests deeper than 32 levels"), "{report}");

    let double = |next| format!("{{ record: {{ a: t{next}, b: t{next} }} }}");
    super::accepted(&chain(14, double));
    let report = refused(&chain(20, double));
    assert!(report.contains("has more than 100000 parts"), "{report}");
}

#[test]
fn one_mistake_is_told_once() {
    // Each of these is used in many places.
    for (from, to) in [
        ("deposited: { fields: { amount: u64 }", "deposited: { fields: { amount: u46 }"),
        ("state: { owner: string, balance: u64", "state: { owner: string, balance: u46"),
        ("withdrawn: { amount", "withdrawn: { Amount"),
    ] {
        let report = read("m.yaml", BANK.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert_eq!(report.problems.len(), 1, "{report}");
    }
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let mut text = BANK.to_string();
    (0..500).for_each(|i| writeln!(text, "unknown{i}: 1").unwrap());
    let report = refused(&text);
    assert!(report.ends_with("\nand 400 more\n"), "{report}");
}
