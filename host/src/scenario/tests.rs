use std::sync::Mutex;

use aether_wit::model::{
    Aggregate, Command, Event, Field, Named, Rejection, Runtime, Scenario, Step, Type,
};
use serde_json::{Value, json};

use super::{
    report::{Colour, data, human, junit},
    *,
};
use crate::json::{
    Plan, Reader,
    plan::tests::{field, model as empty_model},
    write,
};

/// What is wrong with the account under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    Overdraws,
    EmitsForeign,
    RejectsForeign,
    TrapsInDecide,
    TrapsInEvolve,
    TrapsWhenKept,
    /// Hidden state of the instance gets into the state.
    CountsEvolves,
    /// Hidden state that only shows after many calls: another scenario's.
    TiresOfDeciding,
    /// The state depends on how events are cut.
    FeelsBatches,
    EvolvesOnNothing,
    InitialCounts,
    ForgetsBalance,
}

/// An account in Rust in place of a component.
struct Account {
    plans: AggregatePlans,
    flaw: Flaw,
    asked: Mutex<Vec<Context>>,
}

struct AccountActor {
    account: Arc<Account>,
    calls: u64,
}

impl Brain for Arc<Account> {
    type Actor = AccountActor;

    fn plans(&self) -> &AggregatePlans {
        &self.plans
    }

    fn actor(&self, _: &Address) -> AccountActor {
        AccountActor { account: Self::clone(self), calls: 0 }
    }
}

fn trap() -> Fault {
    Fault { kind: FaultKind::Trap, detail: "unreachable\u{1b}[31m".to_owned() }
}

fn packed(plan: &Plan, value: &Value) -> Packed {
    Reader::Caller.read(plan, value.to_string().as_bytes()).unwrap()
}

fn unpacked(plan: &Plan, value: &Packed) -> Value {
    serde_json::from_str(write(plan, value).get()).unwrap()
}

fn case(cases: &crate::json::Cases, name: &str, fields: Value) -> PackedCase {
    let case = cases.index_of(name).unwrap();
    PackedCase { case, fields: packed(cases.get(case).unwrap().1, &fields) }
}

impl Actor for AccountActor {
    async fn initial(&mut self, _: Duration) -> Result<Packed, Fault> {
        self.calls += 1;
        let balance = if self.account.flaw == Flaw::InitialCounts { self.calls - 1 } else { 0 };
        let state = json!({"owner": "", "balance": balance, "tags": []});
        Ok(packed(&self.account.plans.state, &state))
    }

    async fn decide(
        &mut self,
        context: &Context,
        state: &Packed,
        command: &PackedCase,
        _: Duration,
    ) -> Result<Decision, Fault> {
        self.calls += 1;
        let Account { plans, flaw, asked } = &*self.account;
        asked.lock().unwrap().push(context.clone());
        let (name, plan) = plans.commands.get(command.case).unwrap();
        let fields = unpacked(plan, &command.fields);
        let balance = unpacked(&plans.state, state)["balance"].as_u64().unwrap();
        let event = |name, fields| Ok(Decision::Events(vec![case(&plans.events, name, fields)]));
        match &**name {
            _ if *flaw == Flaw::TrapsInDecide => Err(trap()),
            _ if *flaw == Flaw::TrapsWhenKept && self.calls > 1 => Err(trap()),
            _ if *flaw == Flaw::RejectsForeign => {
                Ok(Decision::Rejected(case(&plans.rejections, "already-open", json!({}))))
            }
            _ if *flaw == Flaw::TiresOfDeciding && self.calls > 5 => {
                event("deposited", json!({"amount": 0}))
            }
            "open" => event("opened", fields),
            "deposit" if *flaw == Flaw::EmitsForeign => event("opened", json!({"owner": "x"})),
            "deposit" if fields["amount"] == 0 => Ok(Decision::Events(Vec::new())),
            "deposit" => event("deposited", fields),
            _ if *flaw != Flaw::Overdraws && fields["amount"].as_u64().unwrap() > balance => {
                let fields = json!({ "balance": balance });
                Ok(Decision::Rejected(case(&plans.rejections, "insufficient-funds", fields)))
            }
            _ => event("withdrawn", fields),
        }
    }

    async fn evolve(
        &mut self,
        state: &Packed,
        events: &[PackedCase],
        _: Duration,
    ) -> Result<Packed, Fault> {
        self.calls += 1;
        let Account { plans, flaw, .. } = &*self.account;
        let mut state = unpacked(&plans.state, state);
        let mut balance = state["balance"].as_u64().unwrap();
        for event in events {
            let (name, plan) = plans.events.get(event.case).unwrap();
            let fields = unpacked(plan, &event.fields);
            match &**name {
                "opened" => state["owner"] = fields["owner"].clone(),
                "deposited" => balance += fields["amount"].as_u64().unwrap(),
                _ if *flaw == Flaw::TrapsInEvolve => return Err(trap()),
                _ => balance = balance.saturating_sub(fields["amount"].as_u64().unwrap()),
            }
        }
        match flaw {
            Flaw::CountsEvolves => state["tags"] = json!(["x", format!("{}", self.calls)]),
            Flaw::FeelsBatches if events.len() > 1 => balance += 1,
            Flaw::EvolvesOnNothing if events.is_empty() => balance += 1,
            Flaw::ForgetsBalance => balance = 0,
            _ => {}
        }
        state["balance"] = json!(balance);
        Ok(packed(&plans.state, &state))
    }
}

fn named(name: &str, fields: Value) -> Named {
    Named { at: Location::default(), name: name.to_owned(), fields }
}

fn aggregate() -> Aggregate {
    let at = Location::default();
    let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let command = |fields: Vec<Field>, emits: &[&str], rejects: &[&str]| Command {
        at,
        about: None,
        fields,
        emits: strings(emits),
        rejects: strings(rejects),
    };
    let event = |fields| Event { at, about: None, was: None, fields };
    let rejection = |fields| Rejection { at, about: None, was: None, fields };
    let (owner, amount) =
        (|| vec![field("owner", Type::String)], || vec![field("amount", Type::U64)]);
    Aggregate {
        at,
        name: "account".to_owned(),
        about: None,
        state: vec![
            field("owner", Type::String),
            field("balance", Type::U64),
            field("tags", Type::List(Box::new(Type::String))),
        ],
        commands: [
            ("open", command(owner(), &["opened"], &["already-open"])),
            ("deposit", command(amount(), &["deposited"], &[])),
            ("withdraw", command(amount(), &["withdrawn"], &["insufficient-funds"])),
        ]
        .map(|(name, command)| (name.to_owned(), command))
        .into(),
        events: [
            ("opened", event(owner())),
            ("deposited", event(amount())),
            ("withdrawn", event(amount())),
        ]
        .map(|(name, event)| (name.to_owned(), event))
        .into(),
        rejections: [
            ("already-open", rejection(Vec::new())),
            ("insufficient-funds", rejection(vec![field("balance", Type::U64)])),
        ]
        .map(|(name, rejection)| (name.to_owned(), rejection))
        .into(),
        upcasts: [].into(),
        runtime: Runtime::default(),
    }
}

fn step(when: Named, then: Then) -> Step {
    Step { when, when_at: None, by: None, seed: None, then }
}

fn scenario(name: &str, given: Vec<Named>, steps: Vec<Step>) -> Scenario {
    Scenario {
        at: Location { line: 61, column: 5 },
        name: name.to_owned(),
        aggregate: "account".to_owned(),
        id: "alice".to_owned(),
        given,
        steps,
    }
}

fn events(events: Vec<Named>) -> Then {
    Then::Accepted { events: Some(events), state: None }
}

fn model() -> Model {
    let mut model = empty_model([]);
    model.context = "bank".to_owned();
    model.aggregates.insert("account".to_owned(), aggregate());
    let deposited = |amount: u64| named("deposited", json!({ "amount": amount }));
    model.scenarios = vec![
        scenario(
            "an account is opened",
            vec![],
            vec![step(
                named("open", json!({"owner": "Alice"})),
                events(vec![named("opened", json!({"owner": "Alice"}))]),
            )],
        ),
        scenario(
            "an account cannot be overdrawn",
            vec![named("opened", json!({"owner": "Alice"})), deposited(10)],
            vec![
                Step {
                    when_at: Some(5),
                    by: Some("alice".to_owned()),
                    seed: Some(7),
                    ..step(
                        named("withdraw", json!({"amount": 20})),
                        Then::Rejected(named("insufficient-funds", json!({"balance": 10}))),
                    )
                },
                step(
                    named("deposit", json!({"amount": 5})),
                    Then::Accepted {
                        events: None,
                        state: Some(json!({"balance": 15, "owner": "Alice"})),
                    },
                ),
                step(named("deposit", json!({"amount": 0})), events(vec![])),
                step(
                    named("withdraw", json!({"amount": 15})),
                    events(vec![named("withdrawn", json!({"amount": 15}))]),
                ),
            ],
        ),
    ];
    model
}

fn account(model: &Model, flaw: Flaw) -> Arc<Account> {
    let plans = AggregatePlans::new(model, &model.aggregates["account"]);
    Arc::new(Account { plans, flaw, asked: Mutex::default() })
}

async fn run_with(model: &Model, flaw: Flaw) -> Results {
    run(model, &HashMap::from([("account".to_owned(), account(model, flaw))])).await
}

/// The problems of the scenario that is to show the flaw.
async fn problems(flaw: Flaw) -> Vec<Problem> {
    run_with(&model(), flaw).await.scenarios[1].problems.clone()
}

#[tokio::test]
async fn a_component_that_does_as_the_model_says_passes() {
    let results = run_with(&model(), Flaw::None).await;
    assert_eq!((results.passed(), results.failed()), (2, 0), "{results:?}");
    assert_eq!(
        results.untouched,
        [Untouched {
            aggregate: "account".to_owned(),
            kind: "rejection",
            name: "already-open".to_owned()
        }]
    );
    assert_eq!(
        human(&results, "bank.storm.yaml", Colour::Plain),
        "pass  an account is opened\npass  an account cannot be overdrawn\n\n\
         no scenario touches: account rejection `already-open`\n\n\
         2 scenarios, 2 passed, 0 failed\n"
    );
}

#[tokio::test]
async fn the_component_sees_what_the_scenario_says_and_the_same_every_time() {
    let model = model();
    let account = account(&model, Flaw::None);
    run(&model, &HashMap::from([("account".to_owned(), Arc::clone(&account))])).await;
    let asked = account.asked.lock().unwrap();
    // Five commands in each of three plays; the last play is in the opposite order.
    assert_eq!(asked.len(), 15);
    assert_eq!(asked[..5], asked[5..10]);
    assert_eq!(asked[1..5], asked[10..14]);
    let expected = Context {
        version: 2,
        command_id: "scenario-2-1".to_owned(),
        correlation_id: "scenario-2-1".to_owned(),
        at: 5,
        by: Some("alice".into()),
        seed: 7,
    };
    assert_eq!(asked[1], expected);
    let second = Context {
        version: 2,
        command_id: "scenario-2-2".to_owned(),
        correlation_id: "scenario-2-2".to_owned(),
        at: DEFAULT_AT,
        by: None,
        seed: 0,
    };
    assert_eq!(asked[2], second);
    assert_eq!(asked[3].version, 3);
    assert_eq!(asked[4].version, 3);
}

#[tokio::test]
async fn another_outcome_is_shown_with_the_state_before() {
    let results = run_with(&model(), Flaw::Overdraws).await;
    assert_eq!(results.failed(), 1);
    assert_eq!(
        results.scenarios[1].problems,
        [Problem {
            step: Some(1),
            what: What::Outcome {
                expected: r#"{"rejected":{"insufficient-funds":{"balance":10}}}"#.to_owned(),
                got: r#"[{"withdrawn":{"amount":20}}]"#.to_owned(),
            },
            state: Some(r#"{"owner":"Alice","balance":10,"tags":[]}"#.to_owned()),
        }]
    );
    let text = human(&results, "bank.storm.yaml", Colour::Plain);
    for line in [
        "FAIL  an account cannot be overdrawn  (bank.storm.yaml:61:5)\n",
        "      step 1: another outcome (- expected, + got)\n",
        "      -   \"rejected\": {\n",
        "      +   {\n",
        "      state before: {\"owner\":\"Alice\",\"balance\":10,\"tags\":[]}\n",
        "\n2 scenarios, 1 passed, 1 failed\n",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
    assert!(human(&results, "m", Colour::Terminal).contains("\u{1b}[31mFAIL"));
}

#[tokio::test]
async fn another_state_is_shown_by_its_field() {
    let problems = problems(Flaw::ForgetsBalance).await;
    let [Problem { step: Some(1), what: What::Outcome { got, .. }, .. }] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert!(got.contains("\"balance\":0"), "{got}");

    let mut model = model();
    model.scenarios[1].steps.remove(0);
    let results = run_with(&model, Flaw::ForgetsBalance).await;
    assert_eq!(
        results.scenarios[1].problems[0].what,
        What::State { path: "balance".to_owned(), expected: "15".to_owned(), got: "0".to_owned() }
    );
}

#[tokio::test]
async fn the_model_is_the_law() {
    let unlawful = problems(Flaw::EmitsForeign).await;
    assert_eq!(
        unlawful[0].what,
        What::Unlawful(
            "`deposit` gave the event `opened`, which is not in its `emits`: [deposited]"
                .to_owned()
        )
    );
    let unlawful = problems(Flaw::RejectsForeign).await;
    let What::Unlawful(text) = &unlawful[0].what else { panic!("{unlawful:?}") };
    assert!(text.contains("`withdraw` gave the rejection `already-open`"), "{text}");
}

#[tokio::test]
async fn an_unwanted_rejection_is_an_outcome_too() {
    let mut model = model();
    model.scenarios[1].steps[0].then = Then::Accepted { events: None, state: None };
    let results = run_with(&model, Flaw::None).await;
    let What::Outcome { expected, got } = &results.scenarios[1].problems[0].what else {
        panic!("{results:?}")
    };
    assert_eq!(expected, "\"accepted\"");
    assert!(got.contains("insufficient-funds"));
}

#[tokio::test]
async fn faults_are_named_and_other_scenarios_go_on() {
    for (flaw, step, function) in
        [(Flaw::TrapsInDecide, Some(1), "decide"), (Flaw::TrapsInEvolve, Some(4), "evolve")]
    {
        let problems = problems(flaw).await;
        let fault = Problem {
            step,
            what: What::Fault { function, kind: FaultKind::Trap, detail: trap().detail },
            state: problems[0].state.clone(),
        };
        assert_eq!(problems, [fault], "{flaw:?}");
        assert!(problems[0].state.is_some());
    }
    let results = run_with(&model(), Flaw::TrapsInEvolve).await;
    assert!(results.scenarios[0].passed());
    let text = human(&results, "m", Colour::Plain);
    assert!(text.contains("step 4: `evolve` gave no answer (trap): unreachable[31m\n"), "{text}");
}

/// The place and both values of the impurity that was found, and the question.
async fn impurity(flaw: Flaw) -> (String, String, String, String) {
    let problems = problems(flaw).await;
    let [Problem { what: What::Impure { question, path, one, other }, .. }] = &problems[..] else {
        panic!("{flaw:?}: {problems:?}")
    };
    (path.clone(), one.clone(), other.clone(), question.clone())
}

#[tokio::test]
async fn hidden_state_of_an_instance_is_found() {
    let (path, one, other, question) = impurity(Flaw::CountsEvolves).await;
    assert_eq!((&*path, &*one), ("tags[1]", "\"1\""));
    assert_ne!(one, other);
    assert!(question.contains("new instance") && question.contains("one that is kept"));

    let (path, _, _, question) = impurity(Flaw::InitialCounts).await;
    assert_eq!(path, "balance");
    assert!(question.starts_with("initial"), "{question}");

    let problems = problems(Flaw::TrapsWhenKept).await;
    assert!(matches!(problems[..], [Problem { what: What::Fault { .. }, .. }]), "{problems:?}");
}

#[tokio::test]
async fn what_one_scenario_leaves_for_another_is_found() {
    let results = run_with(&model(), Flaw::TiresOfDeciding).await;
    assert!(results.failed() > 0);
    let problems: Vec<_> = results.scenarios.iter().flat_map(|s| &s.problems).collect();
    assert!(problems.iter().all(|p| matches!(p.what, What::Impure { .. })), "{problems:?}");
}

#[tokio::test]
async fn a_state_that_depends_on_how_events_are_cut_is_found() {
    let (path, one, other, question) = impurity_without_given().await;
    assert_eq!((&*path, &*one, &*other), ("balance", "1", "0"));
    assert_eq!(question, "evolve of all 3 events: at once, and one by one");

    let (path, one, other, question) = impurity(Flaw::EvolvesOnNothing).await;
    assert_eq!((&*path, &*one, &*other), ("balance", "0", "1"));
    assert!(question.ends_with("cut in two after event 0"), "{question}");
}

/// As [`impurity`], for a component that gives a batch of events one more, and a scenario with a
/// step for each event.
async fn impurity_without_given() -> (String, String, String, String) {
    let mut model = model();
    let any = || Then::Accepted { events: None, state: None };
    model.scenarios[1].given.clear();
    model.scenarios[1].steps = vec![
        step(named("open", json!({"owner": "A"})), any()),
        step(named("deposit", json!({"amount": 1})), any()),
        step(named("withdraw", json!({"amount": 1})), any()),
    ];
    let results = run_with(&model, Flaw::FeelsBatches).await;
    let problems = &results.scenarios[1].problems;
    let [Problem { what: What::Impure { question, path, one, other }, .. }] = &problems[..] else {
        panic!("{problems:?}")
    };
    (path.clone(), one.clone(), other.clone(), question.clone())
}

#[tokio::test]
async fn long_histories_are_cut_at_some_places_only() {
    let mut model = model();
    let deposited = named("deposited", json!({"amount": 1}));
    model.scenarios[1].given = vec![deposited; 10 * MAX_CUTS];
    model.scenarios[1].steps.clear();
    assert_eq!(run_with(&model, Flaw::None).await.failed(), 0);
    assert_eq!(run_with(&model, Flaw::EvolvesOnNothing).await.failed(), 2);
}

#[tokio::test]
async fn a_missing_component_and_a_misfit_are_failures() {
    let model = model();
    let results = run(&model, &HashMap::<String, Arc<Account>>::new()).await;
    assert_eq!((results.passed(), results.failed()), (0, 2));
    assert_eq!(results.scenarios[0].problems[0].what, What::NoComponent);
    let text = human(&results, "m", Colour::Plain);
    assert!(text.contains("no component implements the aggregate `account`"), "{text}");

    let mut model = model;
    model.scenarios[0].steps[0].when.fields = json!({"owner": 5});
    let results = run_with(&model, Flaw::None).await;
    let What::Misfit(text) = &results.scenarios[0].problems[0].what else { panic!("{results:?}") };
    assert_eq!(text, "line 0: `open`: owner: expected string, found 5");
    assert_eq!(results.failed(), 1);
}

#[tokio::test]
async fn results_are_data_too() {
    let results = run_with(&model(), Flaw::Overdraws).await;
    let data = serde_json::to_value(data(&results)).unwrap();
    assert_eq!(data["passed"], 1);
    assert_eq!(data["failed"], 1);
    assert_eq!(data["untouched"][0]["name"], "already-open");
    assert_eq!(data["scenarios"][0]["problems"], json!([]));
    let failed = &data["scenarios"][1];
    assert_eq!(
        (&failed["actor"], &failed["line"], &failed["passed"]),
        (&json!("bank/account/alice"), &json!(61), &json!(false))
    );
    let problem = &failed["problems"][0];
    assert_eq!((&problem["kind"], &problem["step"]), (&json!("outcome"), &json!(1)));
    assert_eq!(problem["expected"], json!({"rejected": {"insufficient-funds": {"balance": 10}}}));
    assert_eq!(problem["got"], json!([{"withdrawn": {"amount": 20}}]));
    assert_eq!(problem["state"]["balance"], 10);
    assert_eq!(problem["path"], Value::Null);
    assert!(problem["message"].as_str().unwrap().starts_with("step 1: another outcome"));
}

#[tokio::test]
async fn build_servers_get_a_suite_per_aggregate() {
    let results = run_with(&model(), Flaw::Overdraws).await;
    let report = junit(&results, "bank", "bank.storm.yaml");
    assert_eq!((report.tests, report.failures), (2, 1));
    let xml = report.to_string().unwrap();
    for part in [
        "<testsuite name=\"bank.account\" tests=\"2\"",
        "<testcase name=\"an account is opened\" classname=\"bank.account\"",
        "<failure message=\"step 1: another outcome (- expected, + got)\" type=\"outcome\">",
    ] {
        assert!(xml.contains(part), "{part} in\n{xml}");
    }
}
