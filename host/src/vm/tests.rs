//! The sandbox as its callers see it, with a component in WAT whose commands misbehave.

mod calls;
mod load;

use std::{sync::Arc, time::Duration};

use aether_wit::{
    Digest, Model,
    model::{Aggregate, Command, Event, Field, Isolation, Location, Rejection, Runtime, Type},
};
use indexmap::IndexMap;

use super::*;
use crate::{
    address::Address,
    json::{Packed, Writer},
};

/// The WIT of the counter.
const WIT: &str = include_str!("tests/counter.wit");

/// The code of the counter.
const WAT: &str = include_str!("tests/counter.wat");

/// The counter's commands, in order, and whether each has the field `n`.
const COMMANDS: [(&str, bool); 14] = [
    ("add", true),
    ("refuse", false),
    ("spin", false),
    ("trap", false),
    ("grow", false),
    ("recurse", false),
    ("many", true),
    ("junk", false),
    ("wall", false),
    ("random", false),
    ("ticks", false),
    ("see", false),
    ("work", true),
    ("udp", false),
];

/// A component of `wit` with the code `wat`.
fn component(wit: &str, wat: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("counter.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(wat).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&module).unwrap().encode().unwrap()
}

fn sandbox(max_instances: usize) -> Sandbox {
    let max_instances = Some(max_instances);
    Sandbox::new(SandboxConfig { max_instances, ..SandboxConfig::default() }).unwrap()
}

fn fields(ty: &[(&str, Type)]) -> Vec<Field> {
    let field = |(name, ty): &(&str, Type)| Field {
        at: Location::default(),
        name: (*name).to_owned(),
        ty: ty.clone(),
        default: None,
        was: None,
        about: None,
    };
    ty.iter().map(field).collect()
}

/// The counter's model.
fn model(runtime: Runtime) -> Model {
    let at = Location::default();
    let n = || fields(&[("n", Type::U64)]);
    let commands = COMMANDS.iter().map(|(name, has_n)| {
        let fields = if *has_n { n() } else { vec![] };
        let emits = vec!["added".to_owned()];
        let rejects = vec!["too-much".to_owned()];
        ((*name).to_owned(), Command { at, about: None, fields, emits, rejects })
    });
    let event = Event { at, about: None, was: None, fields: n() };
    let rejection = Rejection { at, about: None, was: None, fields: fields(&[("by", Type::U64)]) };
    let counter = Aggregate {
        at,
        name: "counter".into(),
        about: None,
        state: fields(&[("count", Type::U64)]),
        commands: commands.collect(),
        events: IndexMap::from([("added".to_owned(), event)]),
        rejections: IndexMap::from([("too-much".to_owned(), rejection)]),
        upcasts: IndexMap::new(),
        runtime,
    };
    Model {
        digest: Digest::of("counter"),
        source: "".into(),
        places: aether_wit::model::Places::default(),
        context: "test".into(),
        version: "0.1.0".parse().unwrap(),
        about: None,
        components: vec![],
        types: IndexMap::new(),
        aggregates: IndexMap::from([("counter".to_owned(), counter)]),
        scenarios: vec![],
    }
}

/// The counter in `sandbox`.
async fn counter(sandbox: &Sandbox, runtime: Runtime) -> Arc<Behaviour> {
    let component = sandbox.load(component(WIT, WAT).into()).await.unwrap();
    component.behaviour(&Arc::new(model(runtime)), "counter").unwrap()
}

fn guest(behaviour: &Arc<Behaviour>, id: &str) -> Guest {
    behaviour.guest(&Address::new("test", "counter", id).unwrap())
}

fn number(n: u64) -> Packed {
    let mut writer = Writer::default();
    writer.unsigned(n);
    writer.finish()
}

fn added(n: u64) -> PackedCase {
    PackedCase { case: 0, fields: number(n) }
}

/// Enough for everything that ends.
fn plenty() -> Budget {
    Budget::new(Duration::from_secs(30))
}

fn turn_isolation() -> Runtime {
    Runtime { isolation: Isolation::Turn, ..Runtime::default() }
}

/// Sends a command by name at count 5, at 1234567 ms, with seed 3.
async fn send(guest: &mut Guest, name: &str, n: u64, budget: Duration) -> Result<Decision, Fault> {
    let case = COMMANDS.iter().position(|(known, _)| *known == name).unwrap();
    let fields = if COMMANDS[case].1 { number(n) } else { Packed::default() };
    let context = Context {
        version: 1,
        command_id: "c".into(),
        correlation_id: "c".into(),
        at: 1_234_567,
        by: None,
        seed: 3,
    };
    let command = PackedCase { case, fields };
    guest.decide(&context, &number(5), &command, &mut Budget::new(budget)).await
}

/// The number of the one event that a command gives.
async fn answer(guest: &mut Guest, name: &str, n: u64) -> PackedCase {
    match send(guest, name, n, Duration::from_secs(30)).await.unwrap() {
        Decision::Events(events) if events.len() == 1 => events[0].clone(),
        other => panic!("{name}: {other:?}"),
    }
}

/// How a command fails.
async fn fault(guest: &mut Guest, name: &str, n: u64) -> Fault {
    let budget = if name == "spin" { Duration::from_millis(50) } else { plenty().left() };
    send(guest, name, n, budget).await.unwrap_err()
}
