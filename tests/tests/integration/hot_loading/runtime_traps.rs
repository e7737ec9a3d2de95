//! A component that no gate finds out: it traps on a command that no scenario gives.

use serde_json::json;

use super::{
    kit::{Stage, aether, deploy, on_both, rollouts},
    versions::{TRAP_AT, Version},
};
use crate::crash_points::place::Kind;

const ALICE: &str = "bank/account/alice";

#[test]
fn faults_are_counted_and_a_rollback_heals_them() {
    on_both(healed);
}

fn healed(kind: Kind<'_>) {
    let stage = Stage::start(kind, "traps");
    let host = &stage.hosts[0];
    let limits = json!({"overdraft": TRAP_AT});
    let command = |actor: &str, name: &str, fields| {
        let reply = host.client().command(actor, name, &fields).unwrap();
        (reply.status, reply.json().unwrap())
    };
    for actor in [ALICE, "bank/account/bob"] {
        assert_eq!(command(actor, "open", json!({"owner": "Alice"})).0, 200);
    }
    deploy(host, Version::Trap, &[]).expect(0, &["deployment #2"]);
    assert_eq!(command(ALICE, "deposit", json!({"amount": 5})).0, 200);
    for actor in [ALICE, ALICE, "bank/account/bob"] {
        let (status, said) = command(actor, "set-limits", limits.clone());
        assert_eq!((status, &said["code"]), (500, &json!("component-fault")), "{said}");
    }
    assert_eq!(command(ALICE, "deposit", json!({"amount": 6})).0, 200, "other commands go on");
    let shown = aether(host, &["deployments"]);
    shown.expect(0, &["failed 3 times, with 2 actors", "nobody thought of this overdraft"]);
    let component = &rollouts(host)["deployments"][0]["components"]["account"];
    shown.expect(0, &[component.as_str().expect("the component's digest")]);

    aether(host, &["rollback"]).expect(0, &["deployment #3", "#1 again"]);
    assert_eq!(stage.await_agreement(), 3);
    for host in &stage.hosts {
        let reply = host.client().command(ALICE, "set-limits", &limits).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let state = host.client().get(&format!("/v1/{ALICE}")).unwrap().json().unwrap();
        assert_eq!(
            (&state["state"]["balance"], &state["state"]["overdraft"]),
            (&json!(11), &json!(TRAP_AT))
        );
    }
    stage.audit();
}
