//! Files that are no component, or one that is made to cost its host dear when it is loaded: each
//! is refused by name, in bounded time and memory, and nothing of it is stored.

use std::{fs, time::Duration};

use aether_tests::{host_process::HostOptions, http::Client, workspace};
use rand::{RngExt as _, SeedableRng as _};

use super::bundle;

/// Longest that a host may take to refuse a file, unoptimised and on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Most memory that it may have meanwhile: an idle host has about 100 MiB, and the largest file of
/// 50 MB is held once.
const MAX_PEAK_BYTES: u64 = 400 << 20;

/// A model with which nothing here fits.
const MODEL: &str = "\
context: thief
version: 0.1.0
components: [guest.wasm]
aggregates:
  hand: { state: { n: u64 }, commands: { grab: { emits: [grabbed] } }, events: { grabbed: {} } }
";

/// Starts a host with `bytes` as its component. It must refuse with these words and store nothing.
#[track_caller]
fn is_refused(what: &str, bytes: &[u8], said: &str) {
    let (_folder, model) = bundle(MODEL, bytes);
    let options = HostOptions::new().unwrap();
    let refused = options.clone().model(model).start_refused_at_cost().unwrap();
    let told: String = refused.output.chars().take(2000).collect();
    assert_eq!(refused.status.code(), Some(2), "{what}: {}\n{told}", refused.status);
    assert!(refused.output.contains(said), "{what}: `{said}` is not in\n{told}");
    assert!(refused.output.contains("guest.wasm"), "{what}: the file is not named in\n{told}");
    assert!(refused.output.len() < 4000, "{what}: the message has {}", refused.output.len());
    assert!(refused.took < MAX_TIME, "{what}: it took {:?}", refused.took);
    let peak = refused.peak_bytes;
    assert!(peak < MAX_PEAK_BYTES, "{what}: it took {peak} bytes of memory");
    println!("{what}: {:?}, {} MiB", refused.took, peak >> 20);

    // A host on the same folder finds nothing of it.
    let host = options.start().unwrap();
    let deployments = host.client().get("/admin/deployments").unwrap().text();
    assert!(!deployments.contains("thief"), "{what}: {deployments}");
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A component of these sections.
fn component(sections: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", sections].concat()
}

/// A component around a module with `count` functions of the code `body`, without parameters.
fn code(count: usize, body: &[u8]) -> Vec<u8> {
    let types = section(1, b"\x01\x60\0\0");
    let functions = section(3, &[leb(count), vec![0; count]].concat());
    let body = [&leb(body.len())[..], body].concat();
    let bodies = section(10, &[leb(count), body.repeat(count)].concat());
    let module = [&b"\0asm\x01\0\0\0"[..], &types, &functions, &bodies].concat();
    component(&[section(1, &module), section(2, b"\x01\0\0\0")].concat())
}

/// `count` times a number that is dropped.
fn numbers(count: usize) -> Vec<u8> {
    [&[0][..], &[0x41, 0, 0x1a].repeat(count), &[0x0b]].concat()
}

/// An order to deploy a component that must be refused, as a client sends it.
pub struct Order {
    /// The form up to the end of the component.
    form: Vec<u8>,
    /// What is said of it.
    said: &'static str,
    /// Whether another component is sent each time, so that none is known from before.
    differs: bool,
}

/// What goes before a form. It may take its time on a busy machine.
const HEADERS: [(&str, &str); 2] =
    [("content-type", "multipart/form-data; boundary=part"), ("aether-timeout", "50s")];

/// Orders for neighbours: what costs little to send and to refuse, and if `dear` also what costs
/// much: files of 50 and 30 MB, and one that is refused only when all of it was compiled, which
/// takes seconds.
pub fn orders(dear: bool) -> Vec<Order> {
    let million = 1_000_000;
    let mut orders = vec![
        Order::new(code(100_000, &numbers(1)), "max-component-functions"),
        Order::new(vec![0; million], "is not a WebAssembly component"),
    ];
    if dear {
        let compiled = code(50_000, &numbers(1));
        let compiled = Order::new(compiled, "no component exports `thief:model/hand`");
        orders.extend([
            Order::new(code(8, &numbers(50 * million / 24)), "max-component-bytes"),
            Order::new(code(300, &numbers(33_000)), "max-component-cost"),
            Order { differs: true, ..compiled },
        ]);
    }
    orders
}

impl Order {
    fn new(component: Vec<u8>, said: &'static str) -> Self {
        let part = |name: &str, file: &str| {
            format!(
                "--part\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n"
            )
        };
        let model = part("model", "guest.storm.yaml") + MODEL + "\r\n";
        let head = model + &part("component", "guest.wasm");
        Self { form: [head.into_bytes(), component].concat(), said, differs: false }
    }

    /// Sends it, for the `turn`th time. It must be refused by name.
    #[track_caller]
    pub fn is_refused(&self, client: &Client, turn: usize) {
        // A section that means nothing: its name, and the number.
        let differs = section(0, &[&[1, b'n'][..], &leb(turn)].concat());
        let differs = if self.differs { differs } else { Vec::new() };
        let form = [&self.form[..], &differs, b"\r\n--part--\r\n"].concat();
        let reply = client.send("POST", "/admin/deploy", &HEADERS, &form);
        let reply = reply.unwrap();
        let told = reply.text();
        assert_eq!(reply.status, 200, "{told}");
        for words in [self.said, "guest.wasm", r#"{"refused":"exports"}"#] {
            assert!(told.contains(words), "`{words}` is not in\n{told}");
        }
    }
}

#[test]
fn what_is_no_component_is_refused() {
    let whole = fs::read(workspace::hostile_model().unwrap().with_file_name("hostile.wasm"));
    let whole = whole.unwrap();
    let mut random = vec![0; 1 << 20];
    rand::rngs::StdRng::seed_from_u64(3).fill(&mut random[..]);
    let headed = [&b"\0asm\x0d\0\x01\0"[..], &random].concat();
    for (what, bytes) in [
        ("an empty file", &[][..]),
        ("zeros", &vec![0; 1 << 20]),
        ("random bytes", &random),
        ("random bytes behind the first eight", &headed),
        ("half a component", &whole[..whole.len() / 2]),
        ("all but the last byte", &whole[..whole.len() - 1]),
        ("the first eight bytes and one", &whole[..9]),
    ] {
        is_refused(what, bytes, "is not a WebAssembly component");
    }
}

#[test]
fn too_much_code_is_refused_before_it_is_compiled() {
    let million = 1_000_000;
    let file = code(8, &numbers(50 * million / 24));
    assert!(file.len() > 49 * million, "{}", file.len());
    is_refused("50 MB of code", &file, "max-component-bytes");
    is_refused("30 MB of code", &code(300, &numbers(33_000)), "max-component-cost");
    is_refused("one large function", &code(1, &numbers(2 * million)), "max-function-cost");
    is_refused("100,000 functions", &code(100_000, &numbers(1)), "max-component-functions");
    // Every variable may have another value behind every jump: 50,000 × 10,000 values.
    let variables = [&b"\x01"[..], &leb(49_999), b"\x7e"].concat();
    let jumps = [&[0x03, 0x40].repeat(5000)[..], &[0x41, 0, 0x0d, 0, 0x0b].repeat(5000)].concat();
    let tangle = [&variables[..], &jumps, &[0x0b]].concat();
    is_refused("variables and jumps", &code(1, &tangle), "max-function-cost");
}

#[test]
fn what_lies_too_deep_in_itself_is_refused() {
    let deep = 600_000;
    let types = [&[0x42, 1, 1].repeat(deep)[..], &[0x42, 0]].concat();
    let types = component(&section(7, &[&[1], &types[..]].concat()));
    is_refused("types within types", &types, "types within each other");

    let mut nested = component(&[]);
    for _ in 0..2000 {
        nested = component(&section(4, &nested));
    }
    is_refused("components within components", &nested, "components within each other");

    // Four times a thousand of the next: a million million instances in 12 KB.
    let mut doubled = code(0, &[]);
    for _ in 0..4 {
        let many = [&leb(1000)[..], &[0, 0, 0].repeat(1000)].concat();
        doubled = component(&[section(4, &doubled), section(5, &many)].concat());
    }
    is_refused("instances of instances", &doubled, "instances of modules");
}

#[test]
fn what_is_long_but_no_harm_is_refused_for_what_it_lacks() {
    let exports: String = (0..10_000).map(|n| format!("(export \"e{n}\" (func $f))")).collect();
    let wat = format!(
        "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
         (func $f (canon lift (core func $i \"f\"))) {exports})"
    );
    is_refused("10,000 exports", &wat::parse_str(wat).unwrap(), "`thief:model/hand`");
    is_refused("50,000 functions", &code(50_000, &numbers(1)), "`thief:model/hand`");
}
