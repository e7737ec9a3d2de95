//! A model that is edited and started again on the same data: what is compatible goes on with the
//! old events, what is not is refused by name, and nothing of the data changes.

use std::{fs, path::PathBuf};

use aether_tests::{
    guest_project::GuestProject,
    host_process::{HostOptions, HostProcess},
    http::Client,
    workspace,
};
use anyhow::Result;
use serde_json::{Value, json};

pub(crate) const FIRST: &str = "\
context: shop
version: 1.0.0
components: [shop.wasm]
aggregates:
  till:
    state: { count: u64, last: string }
    commands:
      sell: { fields: { item: string, count: u32 }, emits: [sold] }
    events:
      sold: { item: string, count: u32 }
scenarios:
  - name: a sale is counted
    actor: till/one
    when: { sell: { item: tea, count: 2 } }
    then: { events: [ { sold: { item: tea, count: 2 } } ], state: { count: 2, last: tea } }
";

/// Every kind of compatible change: an event and a field renamed, an integer widened, a field with
/// a default, an optional field, another state, a new command with a new event.
const SECOND: &str = "\
context: shop
version: 1.1.0
components: [shop.wasm]
aggregates:
  till:
    state: { count: u64, last: string, channel: string, coupons: u64, closed: bool }
    commands:
      sell: { fields: { item: string, count: u32, coupon: option<string> }, emits: [sale] }
      close: { emits: [closed] }
    events:
      sale:
        was: sold
        fields:
          product: { type: string, was: item }
          count: u64
          channel: { type: string, default: counter }
          coupon: option<string>
      closed: {}
scenarios:
  - name: a sale is counted
    actor: till/one
    when: { sell: { item: tea, count: 2, coupon: spring } }
    then:
      events: [ { sale: { product: tea, count: 2, channel: web, coupon: spring } } ]
      state: { count: 2, last: tea, coupons: 1 }
  - name: a till is closed
    actor: till/one
    when: { close: {} }
    then: [ { closed: {} } ]
";

pub(crate) const FIRST_CODE: &str = r#"//! A till.

aether_guest::aggregate!("shop.storm.yaml", "till", Till);

/// A till.
pub struct Till;

impl Aggregate for Till {
    fn initial(_id: String) -> State {
        State { count: 0, last: String::new() }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        let Command::Sell(Sell { item, count }) = command;
        Ok(vec![Event::Sold(Sold { item, count })])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, Event::Sold(Sold { item, count })| State {
            count: state.count + u64::from(count),
            last: item,
        })
    }
}
"#;

const SECOND_CODE: &str = r#"//! A till.

aether_guest::aggregate!("shop.storm.yaml", "till", Till);

/// A till.
pub struct Till;

impl Aggregate for Till {
    fn initial(_id: String) -> State {
        State { count: 0, last: String::new(), channel: String::new(), coupons: 0, closed: false }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        Ok(vec![match command {
            Command::Sell(Sell { item, count, coupon }) => Event::Sale(Sale {
                product: item,
                count: u64::from(count),
                channel: "web".into(),
                coupon,
            }),
            Command::Close => Event::Closed,
        }])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |mut state, event| {
            match event {
                Event::Sale(Sale { product, count, channel, coupon }) => {
                    state.count += count;
                    state.last = product;
                    state.channel = channel;
                    state.coupons += u64::from(coupon.is_some());
                }
                Event::Closed => state.closed = true,
            }
            state
        })
    }
}
"#;

pub(crate) fn first() -> Result<PathBuf> {
    let project = GuestProject::new("shop-first", "shop.storm.yaml", FIRST);
    project.source("lib.rs", FIRST_CODE).build("shop.wasm")
}

pub(crate) fn second() -> Result<PathBuf> {
    let project = GuestProject::new("shop-second", "shop.storm.yaml", SECOND);
    project.source("lib.rs", SECOND_CODE).build("shop.wasm")
}

fn sell(client: &Client, fields: &Value) -> Value {
    let reply = client.command("shop/till/one", "sell", fields).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()
}

fn state(client: &Client, query: &str) -> Value {
    let reply = client.get(&format!("/v1/shop/till/one{query}")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()["state"].clone()
}

fn events(client: &Client) -> Value {
    client.get("/v1/shop/till/one/events").unwrap().json().unwrap()["events"].clone()
}

fn deployment(host: &HostProcess) -> Value {
    let all = host.client().get("/admin/deployments").unwrap().json().unwrap();
    let contexts = all["deployments"].as_array().unwrap().iter().map(|d| &d["context"]);
    assert!(contexts.clone().all(|context| context == "shop"), "{all}");
    all["deployments"][0]["number"].clone()
}

/// A till with two sales of the first model, in the data of `options`.
pub(crate) fn with_old_sales(options: &HostOptions) -> Value {
    let host = options.clone().model(first().unwrap()).start().unwrap();
    assert_eq!(deployment(&host), 1);
    sell(&host.client(), &json!({"item": "tea", "count": 2}));
    sell(&host.client(), &json!({"item": "milk", "count": 4_000_000_000_u32}));
    events(&host.client())
}

#[test]
fn a_compatible_edit_goes_on_with_the_old_events() {
    let options = HostOptions::new().unwrap();
    let old_events = with_old_sales(&options);

    let host = options.clone().model(second().unwrap()).start().unwrap();
    let client = host.client();
    assert_eq!(deployment(&host), 2);
    let folded = |count: u64, last: &str, coupons: u64, channel: &str, closed: bool| {
        let (count, last) = (json!(count), json!(last));
        json!({"count": count, "last": last, "channel": channel, "coupons": coupons, "closed": closed})
    };
    assert_eq!(state(&client, ""), folded(4_000_000_002, "milk", 0, "counter", false));
    assert_eq!(state(&client, "?version=1"), folded(2, "tea", 0, "counter", false));
    assert_eq!(events(&client), old_events, "what is stored stays as it was written");

    let sold = sell(&client, &json!({"item": "tea", "count": 1, "coupon": "spring"}));
    assert_eq!(sold["version"], 3);
    let data = json!({"product": "tea", "count": 1, "channel": "web", "coupon": "spring"});
    assert_eq!(sold["events"][0], json!({"version": 3, "type": "sale", "data": data}));
    // A caller of the first model, who knows of no coupons.
    sell(&client, &json!({"item": "jam", "count": 1}));
    let closed = client.command("shop/till/one", "close", &json!({})).unwrap();
    assert_eq!(closed.json().unwrap()["version"], 5);
    let now = folded(4_000_000_004, "jam", 1, "web", true);
    assert_eq!(state(&client, ""), now);
    drop(host);

    // Without a model it serves what is stored.
    let host = options.start().unwrap();
    assert_eq!(deployment(&host), 2);
    assert_eq!(state(&host.client(), ""), now);
    assert_eq!(sell(&host.client(), &json!({"item": "tea", "count": 1}))["version"], 6);
}

#[test]
fn an_earlier_model_does_not_come_back_by_a_start() {
    let options = HostOptions::new().unwrap();
    with_old_sales(&options);
    drop(options.clone().model(second().unwrap()).start().unwrap());

    let host = options.model(first().unwrap()).start().unwrap();
    assert_eq!(deployment(&host), 2);
    assert_eq!(state(&host.client(), "")["channel"], "counter", "it is the second that answers");
    let said = "deployment 2 is active and is served instead";
    let line = host.wait_for_line(said, std::time::Duration::ZERO).unwrap();
    assert!(line.contains("this is deployment 1 of context `shop`"), "{line}");
}

/// The second model with `text` replaced by `other`, beside the second component.
pub(crate) fn edited(text: &str, other: &str) -> (tempfile::TempDir, PathBuf) {
    assert!(SECOND.contains(text), "`{text}` is in the model");
    let folder = tempfile::TempDir::new().unwrap();
    let model = folder.path().join("shop.storm.yaml");
    fs::write(&model, SECOND.replace(text, other)).unwrap();
    fs::copy(second().unwrap().with_file_name("shop.wasm"), folder.path().join("shop.wasm"))
        .unwrap();
    (folder, model)
}

#[test]
fn a_breaking_edit_is_refused_by_name_and_the_data_is_untouched() {
    let options = HostOptions::new().unwrap();
    with_old_sales(&options);
    let host = options.clone().model(second().unwrap()).start().unwrap();
    sell(&host.client(), &json!({"item": "tea", "count": 1, "coupon": "spring"}));
    let (then, history) = (state(&host.client(), ""), events(&host.client()));
    drop(host);

    for (text, other, said) in [
        // The component need not change for these: only the model knows the old names and values.
        ("was: item", "about: the product", ["needs upcast: till.events.sale.product", "`item`"]),
        ("        was: sold\n", "", ["needs upcast: till.events.", "sold"]),
        (", default: counter", "", ["needs upcast: till.events.sale.channel", "default"]),
        // It was built for another model than these.
        ("count: u64\n", "count: string\n", ["`till.event.sale.count`", "`u64`"]),
        ("context: shop", "context: store", ["`store:model/till`", "shop.wasm"]),
    ] {
        let (_folder, model) = edited(text, other);
        let (status, output) = options.clone().model(model).start_refused().unwrap();
        assert!(!status.success(), "{text}: {output}");
        assert!(said.iter().all(|words| output.contains(words)), "{said:?} is not in\n{output}");
    }

    let host = options.model(second().unwrap()).start().unwrap();
    assert_eq!(deployment(&host), 2);
    assert_eq!((state(&host.client(), ""), events(&host.client())), (then, history));
}

#[test]
fn a_retyped_field_is_refused_even_with_a_component_that_was_built_for_it() {
    let options = HostOptions::bank().unwrap();
    let host = options.start().unwrap();
    let open = host.client().command("bank/account/alice", "open", &json!({"owner": "Alice"}));
    assert_eq!(open.unwrap().status, 200);
    drop(host);

    let bank = fs::read_to_string(workspace::bank_model().unwrap()).unwrap();
    let folder = workspace::root().join("examples-guests/bank");
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let renamed = |text: &str| text.replace("owner", "holder");
    let model = GuestProject::new("bank-of-holders", "bank.storm.yaml", &renamed(&bank))
        .source("lib.rs", &read("src/lib.rs"))
        .source("transfer.rs", &read("src/transfer.rs"))
        .source("account.rs", &renamed(&read("src/account.rs")))
        .build("bank.wasm")
        .unwrap();
    let data = options.data_folder().unwrap();
    let edited = HostOptions::new().unwrap().data(data).model(model);
    let (status, output) = edited.start_refused().unwrap();
    assert!(!status.success(), "{output}");
    for said in [
        "breaking: account.commands.open.owner: the field was removed",
        "needs upcast: account.events.opened.owner: the field was removed",
        "nothing was changed",
    ] {
        assert!(output.contains(said), "`{said}` is not in\n{output}");
    }

    let host = options.start().unwrap();
    let alice = host.client().get("/v1/bank/account/alice").unwrap().json().unwrap();
    assert_eq!((&alice["version"], &alice["state"]["owner"]), (&json!(1), &json!("Alice")));
}
