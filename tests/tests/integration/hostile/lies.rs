//! A component that breaks the rules by which values cross the border, in every function that it
//! gives: what it hands over is no value, or its helpers and its start run wild.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aether_tests::host_process::{HostOptions, HostProcess};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{is_fault, serve_until};

/// What the host may take for all that is done here: an idle host has about 100 MiB, one instance
/// has at most 64 MiB and one answer takes at most 64 MiB.
const MAX_RESIDENT_BYTES: u64 = 700 << 20;

/// The type of the component, for the model [`model`].
const WIT: &str = "\
package CONTEXT:model;
interface liar {
  enum mood { glad, sad }
  record said { text: string, mood: mood, marks: list<u32> }
  variant event { said(said) }
  record say { lie: u64 }
  record hear { text: string }
  record count { marks: list<u32> }
  variant command { say(say), hear(hear), count(count) }
  record state { told: u64 }
  record context { at: u64 }
  initial: func(id: string) -> state;
  decide: func(context: context, state: state, command: command) -> result<list<event>>;
  evolve: func(state: state, events: list<event>) -> state;
}
world liar-guest { export liar; }
";

/// Its code. An answer lies at address 16: case, pointer and count of the events at 20 and 24. The
/// event lies at 64: case, text at 68 and 72, mood at 76, marks at 80 and 84.
const WAT: &str = r#"
(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 32768))
  (global $after (mut i32) (i32.const 0))
  (table 1 funcref)
  (type $nothing (func))
  (data (i32.const 1024) "ok\ff\fe")
  (func $spin (loop $again (br $again)))
  (func $trap unreachable)
  (func $recurse (param i64) (result i64)
    (i64.add (i64.const 1) (call $recurse (i64.add (local.get 0) (i64.const 1)))))
  (func $deep (drop (call $recurse (i64.const 0))))
  (func $grow (if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)))
  (func $creep
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)
  START
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (if (i32.eq (local.get $size) (i32.const 201)) (then (call $spin)))
    (if (i32.eq (local.get $size) (i32.const 202)) (then (call $trap)))
    (if (i32.eq (local.get $size) (i32.const 203)) (then (call $deep)))
    (if (i32.eq (local.get $size) (i32.const 204)) (then (call $grow)))
    (if (i32.eq (local.get $size) (i32.const 205)) (then (call $creep)))
    (if (i32.eq (local.get $size) (i32.const 206)) (then (return (i32.const 0x7fff0000))))
    (if (i32.eq (local.get $size) (i32.const 208)) (then (return (i32.const 4097))))
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "CONTEXT:model/liar#initial") (param i32 i32) (result i64)
    (global.set $top (i32.const 32768))
    (i64.const 0))
  (func (export "CONTEXT:model/liar#evolve") (param $told i64) (param i32 i32) (result i64)
    (global.set $top (i32.const 32768))
    (i64.add (local.get $told) (i64.const 1)))
  (func (export "CONTEXT:model/liar#decide")
    (param i64 i64) (param $case i32) (param $lie i64) (param i32) (result i32)
    (local $at i32)
    (global.set $top (i32.const 32768))
    (global.set $after (i32.const 0))
    (i64.store (i32.const 16) (i64.const 0))
    (i32.store (i32.const 20) (i32.const 64))
    (i32.store (i32.const 24) (i32.const 1))
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (i32.const 1024))
    (i32.store (i32.const 72) (i32.const 2))
    (i32.store8 (i32.const 76) (i32.const 1))
    (i32.store (i32.const 80) (i32.const 2048))
    (i32.store (i32.const 84) (i32.const 0))
    (if (local.get $case) (then (return (i32.const 16))))
    LIES
    (i32.const 16))
  (func (export "cabi_post_CONTEXT:model/liar#decide") (param i32)
    (if (i32.eq (global.get $after) (i32.const 1)) (then (call $spin)))
    (if (i32.eq (global.get $after) (i32.const 2)) (then (call $trap)))
    (if (i32.eq (global.get $after) (i32.const 3)) (then (call $deep)))
    (if (i32.eq (global.get $after) (i32.const 4)) (then (call $creep)))))
"#;

/// One lie: what it is, the code that tells it, and the reason that the caller hears.
type Lie = (&'static str, &'static str, &'static str);

/// A thousand events that share one text and one list: 24 KiB in the component, 350 MB out of it.
const MANY: &str = "
  (local.set $at (i32.const 4096))
  (loop $next
    (i32.store (i32.add (local.get $at) (i32.const 4)) (i32.const 32768))
    (i32.store (i32.add (local.get $at) (i32.const 8)) (i32.const 32768))
    (i32.store (i32.add (local.get $at) (i32.const 16)) (i32.const 32768))
    (i32.store (i32.add (local.get $at) (i32.const 20)) (i32.const 8192))
    (local.set $at (i32.add (local.get $at) (i32.const 24)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 28096))))
  (i32.store (i32.const 20) (i32.const 4096))
  (i32.store (i32.const 24) (i32.const 1000))";

const LIES: &[Lie] = &[
    ("text that is not UTF-8", "(i32.store (i32.const 68) (i32.const 1026))", "contract"),
    ("text beyond memory", "(i32.store (i32.const 68) (i32.const 0x10000000))", "contract"),
    ("text without end", "(i32.store (i32.const 72) (i32.const -1))", "contract"),
    ("an enum's case that is none", "(i32.store8 (i32.const 76) (i32.const 7))", "contract"),
    ("a variant's case that is none", "(i32.store8 (i32.const 64) (i32.const 9))", "contract"),
    ("a result that is neither", "(i32.store8 (i32.const 16) (i32.const 2))", "contract"),
    (
        "a list between two addresses",
        "(i32.store (i32.const 80) (i32.const 2049)) (i32.store (i32.const 84) (i32.const 1))",
        "contract",
    ),
    ("a list without end", "(i32.store (i32.const 84) (i32.const 0x3fffffff))", "contract"),
    (
        "ten million events of nothing",
        "(i32.store (i32.const 24) (i32.const 10000000))",
        "contract",
    ),
    ("an answer between two addresses", "(return (i32.const 17))", "contract"),
    ("an answer beyond memory", "(return (i32.const 0x10000000))", "contract"),
    ("an answer where memory ends", "(return (i32.const 65532))", "contract"),
    ("the same values a thousand times", MANY, "contract"),
    ("a division by zero", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", "trap"),
    ("a read beyond memory", "(drop (i32.load (i32.const 0x7ffffff0)))", "trap"),
    ("a call of nothing", "(call_indirect (type $nothing) (i32.const 0))", "trap"),
    ("memory in one step", "(call $grow)", "memory"),
    ("memory step by step", "(call $creep)", "memory"),
    ("a depth without end", "(call $deep)", "trap"),
    ("a loop behind the answer", "(global.set $after (i32.const 1))", "deadline"),
    ("a trap behind the answer", "(global.set $after (i32.const 2))", "trap"),
    ("a depth behind the answer", "(global.set $after (i32.const 3))", "trap"),
    ("memory behind the answer", "(global.set $after (i32.const 4))", "memory"),
];

/// What the component's allocator does when it is asked for so many bytes, for a text that the
/// host brings.
const ALLOCATIONS: [(usize, &str); 6] = [
    (201, "deadline"),
    (202, "trap"),
    (203, "trap"),
    (204, "memory"),
    (205, "memory"),
    (206, "contract"),
];

fn model(context: &str) -> String {
    format!(
        "\
context: {context}
version: 0.1.0
components: [guest.wasm]
types:
  mood: {{ enum: [glad, sad] }}
aggregates:
  liar:
    state: {{ told: u64 }}
    commands:
      say: {{ fields: {{ lie: u64 }}, emits: [said] }}
      hear: {{ fields: {{ text: string }}, emits: [said] }}
      count: {{ fields: {{ marks: list<u32> }}, emits: [said] }}
    events:
      said: {{ text: string, mood: mood, marks: list<u32> }}
"
    )
}

/// The component of `context`; `start` is the function that runs when an instance is made.
fn component(context: &str, start: &str) -> Vec<u8> {
    let start = if start.is_empty() { String::new() } else { format!("(start ${start})") };
    let lies: String = LIES
        .iter()
        .enumerate()
        .map(|(n, (_, code, _))| {
            format!("(if (i64.eq (local.get $lie) (i64.const {})) (then {code}))\n", n + 1)
        })
        .collect();
    let wat = WAT.replace("START", &start).replace("LIES", &lies).replace("CONTEXT", context);
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("liar.wit", &WIT.replace("CONTEXT", context)).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&module).unwrap().encode().unwrap()
}

/// What the start of each context's component does, and the reason that its callers hear.
const STARTS: [(&str, &str, &[&str]); 6] = [
    ("honest", "", &[]),
    ("loops", "spin", &["deadline"]),
    ("traps", "trap", &["trap"]),
    ("deep", "deep", &["trap"]),
    ("grows", "grow", &["memory"]),
    ("creeps", "creep", &["memory"]),
];

/// The same host with a liar of each kind, and where they lie.
pub fn with_liars(mut options: HostOptions) -> (Vec<TempDir>, HostOptions) {
    let mut folders = vec![];
    for (context, start, _) in STARTS {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("liar.storm.yaml");
        fs::write(&file, model(context)).unwrap();
        fs::write(folder.path().join("guest.wasm"), component(context, start)).unwrap();
        options = options.model(file);
        folders.push(folder);
    }
    (folders, options)
}

/// Everything that liars do wrong, those that are slow to start last: the beginning of an address,
/// a command and its fields.
pub fn attacks() -> Vec<(String, &'static str, Value)> {
    let honest = || "honest/liar/s".to_owned();
    let lies = (1..=LIES.len()).map(|lie| (honest(), "say", json!({"lie": lie})));
    let text = |(bytes, _): (usize, _)| json!({"text": "x".repeat(bytes)});
    let allocations = ALLOCATIONS.map(|it| (honest(), "hear", text(it)));
    let starts = STARTS.iter().filter(|(_, start, _)| !start.is_empty());
    let starts =
        starts.map(|(context, ..)| (format!("{context}/liar/s"), "say", json!({"lie": 0})));
    lies.chain(allocations).chain(starts).collect()
}

#[test]
fn no_lie_is_believed_and_no_helper_runs_wild() {
    let (_folders, options) = with_liars(HostOptions::bank().unwrap());
    let host = options.start().unwrap();
    let neighbour = host.client();
    let opened = neighbour.command("bank/account/n", "open", &json!({"owner": "N"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let served = scope.spawn(|| serve_until(&neighbour, "bank/account/n", &over));
        // Told in any case: a lie that is believed must fail the test, not leave it waiting.
        let lied = panic::catch_unwind(AssertUnwindSafe(|| all_lies(&host)));
        over.store(true, Ordering::Relaxed);
        lied.unwrap_or_else(|failed| panic::resume_unwind(failed));
        let served = served.join().unwrap();
        assert!(served > 20, "the neighbour was served {served} times only");
    });
    let resident = host.resident_bytes().unwrap();
    assert!(resident < MAX_RESIDENT_BYTES, "the host has {resident} bytes of memory");
}

fn all_lies(host: &HostProcess) {
    // A start may take 5 s of processor time, which is more by the clock where others work too.
    let client = host.client().with("aether-timeout", "50s");
    let fails = |actor: &str, command: &str, fields: Value, what: &str, reasons: &[&str]| {
        let reply = client.command(actor, command, &fields).unwrap();
        is_fault(&reply, what, reasons, "");
    };
    for (n, (what, _, reason)) in LIES.iter().enumerate() {
        fails("honest/liar/a", "say", json!({"lie": n + 1}), what, &[reason]);
    }
    for (bytes, reason) in ALLOCATIONS {
        let text = "x".repeat(bytes);
        let what = format!("room for {bytes} bytes");
        fails("honest/liar/a", "hear", json!({"text": text}), &what, &[reason]);
        // The id of an actor is the first text that a component gets.
        let id = format!("honest/liar/{text}");
        fails(&id, "say", json!({"lie": 0}), &format!("{what} for an id"), &[reason]);
    }
    let marks = vec![7; 52];
    fails("honest/liar/a", "count", json!({"marks": marks}), "room between", &["contract"]);
    for (context, _, reasons) in STARTS.iter().filter(|(.., reasons)| !reasons.is_empty()) {
        fails(&format!("{context}/liar/a"), "say", json!({"lie": 0}), context, reasons);
    }
    for (context, ..) in STARTS {
        let list = client.get(&format!("/v1/{context}/liar")).unwrap().json().unwrap();
        assert_eq!(list["actors"], json!([]), "{context}: something was stored");
    }
    let reply = client.command("honest/liar/a", "say", &json!({"lie": 0})).unwrap();
    assert_eq!(reply.status, 200, "the same actor serves on: {}", reply.text());
    let said = json!({"text": "ok", "mood": "sad", "marks": []});
    assert_eq!(reply.json().unwrap()["events"][0]["data"], said);
}
