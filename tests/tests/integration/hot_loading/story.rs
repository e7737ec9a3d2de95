//! The life of the example bank under load: two versions deployed, two refused, one rollback
//! refused, one accepted. `docs/hot-loading.md` tells the same story.

use aether::clock;
use aether_tests::host_process::HostProcess;
use serde_json::json;

use super::{
    kit::{Stage, active, aether, deploy, on_both},
    load::{Load, accounts},
    versions::{MOST, UNBEARABLE, Version},
};
use crate::crash_points::place::Kind;

/// An account whose past the fifth version cannot fold.
const ODD: &str = "bank/account/odd";

/// Clients; each has an account of its own.
const CLIENTS: usize = 8;

/// Answers between two deploys.
const SOME: usize = 100;

#[test]
fn a_bank_goes_through_its_versions_and_no_client_notices() {
    on_both(a_life);
}

fn a_life(kind: Kind<'_>) {
    let stage = Stage::start(kind, "story");
    let load = Load::start(&stage.clients(), CLIENTS);
    load.await_answers(SOME);
    let (first, other) = (&stage.hosts[0], &stage.hosts[stage.hosts.len() - 1]);
    let accepted = |name: &str, fields| {
        let reply = other.client().command(ODD, name, &fields).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    accepted("open", json!({"owner": "Odd"}));
    accepted("deposit", json!({"amount": UNBEARABLE}));
    accepted("deposit", json!({"amount": 1}));
    let begun = clock::now();

    deploy(first, Version::V2, &["--because", "accounts change hands"])
        .expect(0, &["new event", "deployment #2 of context bank", "is active"]);
    load.await_answers(SOME);
    accepted("rename", json!({"owner": "Even"}));
    accepted("deposit", json!({"amount": MOST + 1}));

    deploy(other, Version::V3, &[]).expect(0, &["new rejection", "deployment #3", "is active"]);
    load.await_answers(SOME);
    for host in &stage.hosts {
        let refused = host.client().command(ODD, "deposit", &json!({"amount": MOST + 1})).unwrap();
        assert_eq!(refused.json().unwrap()["rejection"], "ask-first", "{}", refused.text());
    }

    // The line of the model that knew the field, and how many events have it.
    let lost = [
        "deployment 3, line ",
        "account.events.opened.owner: the field was removed",
        &format!("; {} stored events `opened` are concerned", accounts(CLIENTS) + 1),
        "refused at the gate `diff`: nothing was changed",
    ];
    deploy(first, Version::V4, &[]).expect(1, &lost);
    // The actor whose past the new code does not survive.
    let trap = [ODD, "refused at the gate `replay`: nothing was changed"];
    deploy(other, Version::V5, &[]).expect(1, &trap);
    what_if(other);
    // The events that the old types cannot read, and how many there are.
    let needed = ["; 1 stored event `renamed` is concerned", "refused at the gate `diff`"];
    aether(first, &["rollback", "--to", "1"]).expect(1, &needed);
    assert_eq!(active(first), 3, "what was refused has changed something");

    aether(other, &["rollback", "bank", "--to", "2", "--because", "the rule was too strict"])
        .expect(0, &["deployment #4 of context bank", "#2 again", "is active"]);
    load.await_answers(SOME);
    for _ in &stage.hosts {
        accepted("deposit", json!({"amount": MOST + 1}));
    }
    assert_eq!(stage.await_agreement(), 4);
    let ended = clock::now();
    load.finish().report(&format!("the life of a bank, {kind}"), begun, ended);
    for line in ["* bank  #4", "#2 again", "`the rule was too strict`", "`accounts change hands`"] {
        aether(first, &["deployments"]).expect(0, &[line]);
    }
    stage.audit();
}

/// The same without an order: as a report, of all actors and of one.
fn what_if(host: &HostProcess) {
    let (same, worse) = (Version::V3.model(), Version::V5.model());
    let (same, worse) = (same.to_str().unwrap(), worse.to_str().unwrap());
    aether(host, &["what-if", worse]).expect(1, &["replay     REFUSED", ODD]);
    aether(host, &["what-if", worse, "--actor", ODD]).expect(1, &["the new code fails at version"]);
    aether(host, &["what-if", same]).expect(0, &["is active already"]);
    // All of them: a sample of more than there are.
    let sample = ["what-if", worse, "--sample", "100000", "--seed", "7"];
    aether(host, &sample).expect(1, &[ODD, "`--sample 100000 --seed 7` takes the same"]);
    let some = aether(host, &["what-if", worse, "--sample", "1"]);
    let seed = some.said.split("--seed ").nth(1).and_then(|it| it.split('`').next());
    let again = ["what-if", worse, "--sample", "1", "--seed", seed.expect("a seed")];
    let again = aether(host, &again);
    assert!(some.said.contains("1 of ") && again.status == some.status, "{some:?} {again:?}");
    aether(host, &["what-if", worse, "--sample", "0"]).expect(2, &["expected 1 to 100000"]);
    let first = Version::V2.model();
    let first = first.to_str().unwrap();
    aether(host, &["what-if", first, "--actor", ODD]).expect(0, &["nothing differs"]);
    let component = Version::V5.model().with_file_name("bank.wasm");
    let component = component.to_str().unwrap();
    aether(host, &["what-if", worse, "--component", component]).expect(1, &[ODD]);
    let foreign = ["what-if", worse, "--actor", "shop/till/one"];
    aether(host, &foreign).expect(2, &["is not of context `bank`"]);
    aether(host, &["deploy", worse, "--force", "everything"]).expect(2, &["is no gate"]);
}
