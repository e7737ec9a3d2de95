//! Old events under a new model: by steps that the model tells, and by the component where it says
//! so; read in every way that there is, on both stores.

use std::{path::PathBuf, thread, time::Duration};

use aether::clock;
use aether_tests::{guest_project::GuestProject, host_process::HostProcess};
use serde_json::{Value, json};

use super::kit::{SOON, aether, deploy_file, on_both, rollouts};
use crate::{
    crash_points::place::{Kind, Place},
    looking_back::fork::forked,
};

const FILE: &str = "desk.storm.yaml";

/// A bill with all that was ever stored of bills.
const BILL: &str = "desk/bill/one";

/// A bill with a label that the second version does not know how to take apart.
const ODD: &str = "desk/bill/odd";

/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);

const HEAD: &str = "\
context: desk
version: 1.0.0
components: [desk.wasm]
aggregates:
  bill:
    state: { cents: u64, currency: string, channel: string, labels: list<string> }
    commands:
      charge: { fields: { amount: u64 }, emits: [charged] }
      label: { fields: { labels: string }, emits: [labelled] }
    events:
";

const FIRST_EVENTS: &str = "\x20     billed: { amount: u64, note: string }
      labelled: { labels: string }
";

/// Renamed, with a constant, a default, a field less, and two moved into a record; and what only
/// the component can take apart.
const SECOND_EVENTS: &str = "\x20     charged: { price: money, channel: string }
      labelled: { labels: list<string> }
    upcasts:
      billed:
        to: charged
        drop: [note]
        rename: { amount: cents }
        set: { currency: EUR }
        default: { channel: counter }
        into: { price: [cents, currency] }
      labelled: component
types:
  money: { record: { cents: u64, currency: string } }
";

const FIRST_CODE: &str = r#"//! Bills.

aether_guest::aggregate!("desk.storm.yaml", "bill", Bill);

/// A bill.
pub struct Bill;

impl Aggregate for Bill {
    fn initial(_id: String) -> State {
        State {
            cents: 0,
            currency: String::new(),
            channel: String::new(),
            labels: Vec::new(),
        }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        Ok(vec![match command {
            Command::Charge(Charge { amount }) => {
                Event::Billed(Billed { amount, note: "by hand".into() })
            }
            Command::Label(Label { labels }) => Event::Labelled(Labelled { labels }),
        }])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |mut state, event| {
            match event {
                Event::Billed(Billed { amount, .. }) => {
                    state.cents += amount;
                    state.currency = "EUR".into();
                    state.channel = "counter".into();
                }
                Event::Labelled(Labelled { labels }) => {
                    state.labels.extend(labels.split(',').map(str::to_owned));
                }
            }
            state
        })
    }
}
"#;

const SECOND_CODE: &str = r#"//! Bills.

aether_guest::aggregate!("desk.storm.yaml", "bill", Bill);

/// A bill.
pub struct Bill;

impl Aggregate for Bill {
    fn initial(_id: String) -> State {
        State {
            cents: 0,
            currency: String::new(),
            channel: String::new(),
            labels: Vec::new(),
        }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        Ok(vec![match command {
            Command::Charge(Charge { amount }) => Event::Charged(Charged {
                price: Money { cents: amount, currency: "EUR".into() },
                channel: "web".into(),
            }),
            Command::Label(Label { labels }) => {
                Event::Labelled(Labelled { labels: labels.split(',').map(str::to_owned).collect() })
            }
        }])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |mut state, event| {
            match event {
                Event::Charged(Charged { price, channel }) => {
                    state.cents += price.cents;
                    state.currency = price.currency;
                    state.channel = channel;
                }
                Event::Labelled(Labelled { labels }) => state.labels.extend(labels),
            }
            state
        })
    }
}

impl Upcasts for Bill {
    fn upcast(_model: String, event_type: String, data: String) -> Result<Event, String> {
        let labels = data.strip_prefix("{\"labels\":\"").and_then(|it| it.strip_suffix("\"}"));
        match (event_type.as_str(), labels) {
            ("labelled", Some(labels)) if labels != ODD => Ok(Event::Labelled(Labelled {
                labels: labels.split(',').map(str::to_owned).collect(),
            })),
            _ => Err(format!("no bill has had {event_type} {data}")),
        }
    }
}
"#;

fn built(name: &str, events: &str, code: &str) -> PathBuf {
    let model = format!("{HEAD}{events}");
    GuestProject::new(name, FILE, &model).source("lib.rs", code).build("desk.wasm").unwrap()
}

fn first() -> PathBuf {
    let head = HEAD.replace("emits: [charged]", "emits: [billed]");
    GuestProject::new("desk-first", FILE, &format!("{head}{FIRST_EVENTS}"))
        .source("lib.rs", FIRST_CODE)
        .build("desk.wasm")
        .unwrap()
}

/// It does not know one of the labels.
fn second() -> PathBuf {
    built("desk-second", SECOND_EVENTS, &SECOND_CODE.replace("ODD", "\"??\""))
}

/// It knows all of them.
fn third() -> PathBuf {
    built("desk-third", SECOND_EVENTS, &SECOND_CODE.replace("if labels != ODD ", ""))
}

fn command(host: &HostProcess, bill: &str, name: &str, fields: Value) -> Value {
    let reply = host.client().command(bill, name, &fields).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

fn get(host: &HostProcess, path: &str) -> (u16, Value) {
    let reply = host.client().get(&format!("/v1/{path}")).unwrap();
    (reply.status, reply.json().unwrap())
}

/// Waits until `host` answers `status` for a state, and gives the answer.
fn await_state(host: &HostProcess, bill: &str, status: u16) -> Value {
    let until = clock::now() + SOON;
    loop {
        let (found, said) = get(host, bill);
        if found == status {
            return said;
        }
        assert!(clock::now() < until, "expected {status}, found {found}: {said}");
        thread::sleep(PAUSE);
    }
}

fn hosts(kind: Kind<'_>) -> Vec<HostProcess> {
    let options = || Place::new(kind, "desk".to_owned()).unwrap().options.without_models();
    let mut hosts = vec![options().model(first()).start().unwrap()];
    if matches!(kind, Kind::JetStream(_)) {
        hosts.push(options().start().unwrap());
    }
    hosts
}

/// What every host tells of a bill whose first two events are of the first model.
fn reads(host: &HostProcess) {
    let (_, old) = get(host, &format!("{BILL}?version=1"));
    let charged = json!({"cents": 5, "currency": "EUR", "channel": "counter", "labels": []});
    assert_eq!(old["state"], charged);
    let (_, now) = get(host, BILL);
    let labels = json!(["red", "blue", "green"]);
    let all = json!({"cents": 12, "currency": "EUR", "channel": "web", "labels": labels});
    assert_eq!((&now["version"], &now["state"]), (&json!(4), &all));
    let (_, told) = get(host, &format!("{BILL}/events"));
    let data = |n: usize| (&told["events"][n]["type"], &told["events"][n]["data"]);
    assert_eq!(data(0), (&json!("billed"), &json!({"amount": 5, "note": "by hand"})));
    assert_eq!(data(1), (&json!("labelled"), &json!({"labels": "red,blue"})));
    let price = json!({"price": {"cents": 7, "currency": "EUR"}, "channel": "web"});
    assert_eq!(data(2), (&json!("charged"), &price));
    aether(host, &["replay", BILL]).expect(0, &["billed", "charged"]);
    let (out, _) = forked(host, &[BILL, "desk/bill/copy"], "charge amount=1\nstate\n");
    assert!(out.contains("version 4") && out.contains("13"), "{out}");
}

fn old_events_are_read(kind: Kind<'_>) {
    let mut hosts = hosts(kind);
    let [host, ..] = hosts.as_slice() else { panic!("there is a host") };
    command(host, BILL, "charge", json!({"amount": 5}));
    command(host, BILL, "label", json!({"labels": "red,blue"}));
    command(host, ODD, "label", json!({"labels": "??"}));
    let refused = ["replay     REFUSED", ODD, "no bill has had labelled"];
    let (second, third) = (second(), third());
    deploy_file(host, &second, &[]).expect(1, &refused);
    deploy_file(host, &second, &["--force", "replay"]).expect(0, &["deployment #2", "is active"]);
    let last = hosts.last().unwrap();
    let gone_over = |host: &HostProcess| {
        let until = clock::now() + SOON;
        while rollouts(host)["hosts"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["serves"]["desk"] != 2)
        {
            assert!(clock::now() < until, "the hosts do not go over");
            thread::sleep(PAUSE);
        }
    };
    gone_over(host);
    command(last, BILL, "charge", json!({"amount": 7}));
    command(host, BILL, "label", json!({"labels": "green"}));
    hosts.iter().for_each(reads);
    // What nobody can read is for an operator, or for better code.
    let host = &hosts[0];
    let quarantined = await_state(host, ODD, 423);
    assert!(quarantined["detail"].as_str().unwrap().contains("no upcast"), "{quarantined}");
    for host in &hosts {
        await_state(host, ODD, 423);
    }
    deploy_file(host, &third, &[]).expect(0, &["deployment #3", "is active"]);
    for host in &hosts {
        let read = await_state(host, ODD, 200);
        assert_eq!(read["state"]["labels"], json!(["??"]), "released: the new code reads it");
        reads(host);
    }
    aether(&hosts[0], &["audit"]).expect(0, &[]);
    for host in &mut hosts {
        host.kill().unwrap();
        host.restart().unwrap();
        reads(host);
        assert_eq!(command(host, ODD, "label", json!({"labels": "x"}))["actor"], ODD);
    }
}

#[test]
fn old_events_are_read_by_steps_and_by_the_component() {
    on_both(old_events_are_read);
}
