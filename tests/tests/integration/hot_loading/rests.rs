//! What a host keeps of actors that no replay covered, seen from inside its process.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use aether::{
    address::Address,
    clock,
    deploy::{
        order::{Order, What, Word},
        replay::sample::{Rest, place},
        rests::{Rests, UNCOVERED},
    },
    failure::Failure,
    host::Host,
    record::{Position, parse},
    served::{Realm, Served},
    store::{Deployment, EventStore as _, Freshness},
};
use aether_tests::in_process::{self, PATIENCE};
use serde_json::json;

use crate::replay::kit::{self, Ground, Log, till};

/// Actors that are covered whatever the budget: those with the longest pasts and the newest ones.
const COVERED: usize = 40;

/// How often a deployment follows another one.
const DEPLOYS: u64 = 20;

/// A deployment that covered nobody.
fn uncovered(like: &Deployment, number: u64) -> Deployment {
    Deployment { number, rest: Some(Rest::ALL.to_string()), ..like.clone() }
}

struct Check {
    ground: Ground,
    rests: Arc<Rests>,
    realm: Arc<Realm>,
}

impl Check {
    async fn of(&self, actor: &Address) -> Result<(), Failure> {
        let until = clock::now() + PATIENCE;
        self.rests.check(&self.ground.env, &self.realm, actor, until).await
    }
}

/// A repair is of the deployment that is active when an operator writes it, and decides nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_at_the_end_does_not_hide_who_decided_last() {
    let ground = Ground::in_memory().await;
    let first = Arc::new(ground.served(kit::first(), 1).await);
    let second = ground.served(kit::second(), 2).await;
    let (model, active) = (first.model.digest, uncovered(&second.deployment, 2));
    let mut before = Log::new(&ground, &till("before"), model);
    before.sell("poison", 1).await;
    before.deployment = 2;
    before.repair().await;
    let mut since = Log::new(&ground, &till("since"), model);
    since.sell("poison", 1).await;
    since.deployment = 2;
    since.sell("tea", 1).await;
    since.repair().await;

    let history = [first.deployment.clone(), active.clone()];
    let rests = Rests::of(&active, &history, Some(&first), &ground.sandbox).unwrap();
    let realm = second.realms["till"].clone();
    let check = Check { ground, rests, realm };
    let refused = check.of(&till("before")).await.unwrap_err();
    assert_eq!(refused.reason, Some(UNCOVERED), "{refused:?}");
    // The active code has decided it already: it is not compared any more.
    check.of(&till("since")).await.unwrap();
    assert_eq!(check.rests.told().failed, 1);
}

/// Each deployment knows the code before it, to compare with. None may keep all that ever served.
#[tokio::test]
async fn what_served_before_is_let_go_of() {
    let ground = Ground::in_memory().await;
    let Served { model, realms, deployment: like, .. } = ground.served(kit::first(), 1).await;
    let (behaviour, limits) = (realms["till"].behaviour.clone(), &ground.env.limits);
    let serve = |number: u64, rests: Option<Arc<Rests>>| {
        let (deployment, till) = (uncovered(&like, number), &model.aggregates["till"]);
        let actors = realms["till"].actors.clone();
        let code = behaviour.clone();
        let mut realm = Realm::new(&deployment, &model, till, code, limits, actors, &[]);
        realm.rests.clone_from(&rests);
        let realms = HashMap::from([("till".to_owned(), Arc::new(realm))]);
        Arc::new(Served { realms, model: model.clone(), deployment, rests })
    };
    let mut history = vec![like.clone()];
    let mut active = serve(1, None);
    let mut former: Vec<Weak<Served>> = Vec::new();
    for number in 2..2 + DEPLOYS {
        history.push(uncovered(&like, number));
        let newest = history.last().unwrap();
        let rests = Rests::of(newest, &history, Some(&active), &ground.sandbox);
        let next = serve(number, rests);
        // As a host does when it goes over.
        active.rests.iter().for_each(Rests::retire);
        active.realms["till"].succeed(next.realms["till"].clone());
        former.push(Arc::downgrade(&active));
        active = next;
    }
    let until = clock::now() + PATIENCE;
    let living = || former.iter().filter(|it| it.upgrade().is_some()).count();
    while living() > 1 && clock::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(living(), 1, "the one before the active one, which that is compared with");
    active.rests.iter().for_each(Rests::retire);
    while living() > 0 && clock::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(living(), 0);
}

/// Orders what is to become active, with hardly any time to replay. It must become so.
async fn deploy(host: &Host, what: What) {
    let order = Order {
        what,
        dry_run: false,
        what_if: false,
        actor: None,
        sample: None,
        force: BTreeSet::new(),
        accept_state_changes: true,
        budget: Duration::from_millis(1),
        all: false,
        by: "a test".to_owned(),
        because: String::new(),
    };
    let (mut words, mut said) = (host.deploy(order), Vec::new());
    while let Some(word) = words.recv().await {
        said.push(word.unwrap());
    }
    assert!(said.iter().any(|word| matches!(word, Word::Deployed(_))), "{said:#?}");
}

/// A check may take long. Who waits for it is served as soon as another deployment is.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_another_deployment_overtakes_holds_up_nobody() {
    let store = in_process::faulty_store().await.unwrap();
    let host = in_process::start(store.clone(), &kit::first()).await.unwrap();
    let sell = |till: String| {
        let (host, tea) = (host.clone(), json!({"item": "tea", "count": 1}));
        async move { in_process::send(&host, &till, "sell", tea).await }
    };
    let tills: Vec<_> = (0..COVERED).map(|n| format!("shop/till/{n}")).collect();
    // The first place stands for all that was sold; the longest and newest are others.
    let first = tills.iter().map(|till| place(&till.parse().unwrap())).min();
    let late = (0..).map(|n| till(&format!("late-{n}"))).find(|it| Some(place(it)) > first);
    let late = late.unwrap();
    sell(late.to_string()).await.unwrap();
    for till in &tills {
        sell(till.clone()).await.unwrap();
        sell(till.clone()).await.unwrap();
    }
    host.sleep(&late, clock::now() + PATIENCE).await.unwrap();
    deploy(&host, What::Bundle(in_process::bundle(&kit::second()).unwrap())).await;
    let rest = host.deployments().remove(0).rest.expect("some were left out");
    assert!(rest.parse::<Rest>().unwrap().holds(&late), "{late} was covered");

    store.hold_next_head(&late);
    let asked = tokio::spawn(sell(late.to_string()));
    let until = clock::now() + PATIENCE;
    while store.held_heads() == 0 {
        assert!(clock::now() < until, "it is not checked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let back = What::Again { context: "shop".to_owned(), to: None };
    deploy(&host, back).await;
    let reply = asked.await.unwrap().unwrap();
    assert_eq!(reply.version, 2);
    let page = store.read(&late, Position(1), Freshness::Leader).await.unwrap();
    let decided = parse(page.records.last().unwrap()).unwrap().deployment;
    assert_eq!(decided, 3, "decided by the code that serves now");
}
