//! Loading: what is taken, and how what is not is told.

use super::*;

async fn refused(bytes: impl Into<bytes::Bytes>) -> LoadError {
    sandbox(1).load(bytes.into()).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_component_is_told_apart() {
    let module = wat::parse_str("(module)").unwrap();
    assert_eq!(refused(module).await, LoadError::CoreModule);
    assert!(matches!(refused("hello").await, LoadError::NotAComponent(_)));
    assert!(matches!(refused("").await, LoadError::NotAComponent(_)));
    let whole = component(WIT, WAT);
    let cut = whole[..whole.len() / 2].to_vec();
    assert!(matches!(refused(cut).await, LoadError::NotAComponent(_)));
    let small = SandboxConfig {
        max_component_bytes: 100,
        max_instances: Some(1),
        ..SandboxConfig::default()
    };
    let error = Sandbox::new(small).unwrap().load(whole.clone().into()).await.unwrap_err();
    assert_eq!(error, LoadError::TooLarge { bytes: whole.len(), limit: 100 });
}

#[tokio::test]
async fn the_same_bytes_are_loaded_once_while_somebody_holds_them() {
    let sandbox = sandbox(1);
    let load = |wat: &str| sandbox.load(component(WIT, wat).into());
    let first = load(WAT).await.unwrap();
    assert!(Arc::ptr_eq(&first, &load(WAT).await.unwrap()));
    let was = Arc::downgrade(&first);
    drop(first);
    assert!(was.upgrade().is_none(), "nobody else holds it");
    assert_eq!(load(WAT).await.unwrap().digest(), Digest::of(component(WIT, WAT)));
}

#[tokio::test]
async fn imports_that_are_not_given_are_refused_by_name() {
    for (import, name) in [
        (r#"(import "get-secret" (func))"#, "`get-secret`"),
        (r#"(import "evil:host/shell" (instance (export "run" (func))))"#, "`evil:host/shell`"),
        (r#"(import "aether:host/types" (instance (export "run" (func))))"#, "`aether:host/types`"),
        (r#"(import "wasi:http/types@0.2.6" (instance))"#, "`wasi:http/types@0.2.6`"),
        (r#"(import "wasi:cli/exit@0.3.0" (instance))"#, "`wasi:cli/exit@0.3.0`"),
        (r#"(import "wasi:cli/exit@0.2.0" (instance (export "nothing" (func))))"#, "nothing"),
    ] {
        let bytes = wat::parse_str(format!("(component {import})")).unwrap();
        let error = refused(bytes).await;
        let text = error.to_string();
        assert!(matches!(error, LoadError::Import { .. }) && text.contains(name), "{text}");
    }
    for import in [
        r#"(import "aether:host/types" (instance (type $c (record (field "at" u64))) (export "context" (type (eq $c)))))"#,
        r#"(import "bank:model/types" (instance (type $c (record (field "at" u64))) (export "money" (type (eq $c)))))"#,
        r#"(import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" (result))))))"#,
    ] {
        let bytes = wat::parse_str(format!("(component {import})")).unwrap();
        sandbox(1).load(bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn no_world_of_wasi_gives_more_than_the_virtual_one() {
    for interface in [
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:http/incoming-handler@0.2.6",
        "wasi:http/types@0.3.0",
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:blobstore/blobstore@0.2.0-draft",
        "wasi:config/store@0.2.0-draft",
        "wasi:config/runtime",
        "wasi:logging/logging",
        "wasi:messaging/producer@0.2.0-draft",
        "wasi:nn/graph@0.2.0-rc-2024-10-28",
        "wasi:tls/types@0.2.0-draft",
        "wasi:threads/threads",
        "wasi:cli/run@0.2.6",
        "wasi:cli/stdout@0.3.0",
        "wasi:clocks/monotonic-clock@0.3.0",
        "wasi:clocks/wall-clock",
        "wasi:filesystem/types@1.0.0",
        "wasi:sockets/tcp@0.3.0",
        "wasi:random/random@0.1.0",
    ] {
        let text = format!("(component (import {interface:?} (instance (export \"f\" (func)))))");
        let error = refused(wat::parse_str(text).unwrap()).await;
        let told = error.to_string();
        assert!(matches!(error, LoadError::Import { .. }), "{told}");
        assert!(told.contains(&format!("imports `{interface}`")), "{told}");
    }
    let many: String = (0..500)
        .map(|n| format!("(import \"evil:host/i{n}\" (instance (export \"f\" (func))))"))
        .collect();
    let told = refused(wat::parse_str(format!("(component {many})")).unwrap()).await.to_string();
    assert!(told.contains("`evil:host/i0`") && told.contains("and 488 more"), "{told}");
}

fn refused_by(limits: CompileLimits, wat: &str) -> LoadError {
    survey::survey(&wat::parse_str(wat).unwrap(), &limits).unwrap_err()
}

/// What there is too much of, how much, and the setting that says so.
#[track_caller]
fn too_much(error: LoadError) -> (u64, u64, Option<&'static str>) {
    match error {
        LoadError::TooCostly { found, limit, setting, .. } => (found, limit, setting),
        other => panic!("{other}"),
    }
}

#[test]
fn what_compiling_would_cost_is_counted() {
    let all = CompileLimits::default;
    let two = "(component (core module (func) (func)))";
    let limits = CompileLimits { functions: 1, ..all() };
    assert_eq!(too_much(refused_by(limits, two)), (2, 1, Some("max-component-functions")));
    // Each has three bytes and one jump: its end.
    let limits = CompileLimits { component: 3, ..all() };
    assert_eq!(too_much(refused_by(limits, two)).2, Some("max-component-cost"));
    survey::survey(&wat::parse_str(two).unwrap(), &all()).unwrap();
    let limits = CompileLimits { function: 10, ..all() };
    let long = format!("(component (core module (func {})))", "nop ".repeat(10));
    assert_eq!(too_much(refused_by(limits, &long)).2, Some("max-function-cost"));
    let limits = CompileLimits { structure_bytes: 10, ..all() };
    let exports: String = (0..5).map(|n| format!("(export \"e{n}\" (func $f))")).collect();
    let structured = format!("(component (core module (func $f) {exports}))");
    assert_eq!(too_much(refused_by(limits, &structured)).2, Some("max-component-structure"));
}

#[test]
fn variables_and_jumps_cost_their_product() {
    let function = |variables: usize, jumps: usize| {
        let locals = "i64 ".repeat(variables);
        let jumps = "br 0 ".repeat(jumps);
        format!("(component (core module (func (local {locals}) {jumps})))")
    };
    let limits = CompileLimits { function: 10_000, ..CompileLimits::default() };
    for (variables, jumps) in [(1000, 10), (10, 1000)] {
        let bytes = wat::parse_str(function(variables, jumps)).unwrap();
        survey::survey(&bytes, &limits).unwrap();
    }
    let loops = |n: usize| {
        let body = format!("{}{}", "loop ".repeat(n), "end ".repeat(n));
        format!("(component (core module (func (local i64) {body})))")
    };
    survey::survey(&wat::parse_str(loops(100)).unwrap(), &limits).unwrap();
    let error = refused_by(limits.clone(), &loops(1000));
    assert_eq!(too_much(error).2, Some("max-function-cost"), "loops within loops");
    let (found, ..) = too_much(refused_by(limits, &function(1000, 1000)));
    assert!((1000 * 1000 / 8..1000 * 1000 / 4).contains(&found), "{found}");
}

#[test]
fn instances_of_nested_components_count_as_often_as_they_are_made() {
    let inner = "(component $a (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))";
    let wat = |n: usize| format!("(component {inner} {})", "(instance (instantiate $a))".repeat(n));
    survey::survey(&wat::parse_str(wat(300)).unwrap(), &CompileLimits::default()).unwrap();
    let (found, limit, setting) = too_much(refused_by(CompileLimits::default(), &wat(400)));
    assert!(found > limit && setting.is_none(), "{found} {limit}");
    let given = "(component (component (import \"c\" (component))))";
    assert_eq!(too_much(refused_by(CompileLimits::default(), given)), (1, 0, None));
}

#[tokio::test]
async fn a_component_names_its_aggregates() {
    let loaded = sandbox(1).load(component(WIT, WAT).into()).await.unwrap();
    assert_eq!(loaded.aggregates("test"), ["counter"]);
    assert!(loaded.aggregates("bank").is_empty());
    assert!(loaded.pooled());
    assert_eq!(loaded.digest(), Digest::of(component(WIT, WAT)));
}

#[tokio::test]
async fn what_does_not_fit_the_pool_runs_on_demand() {
    let modules: String = (0..6)
        .map(|n| format!("(core module $m{n}) (core instance (instantiate $m{n}))"))
        .collect();
    let bytes = wat::parse_str(format!("(component {modules})")).unwrap();
    assert!(!sandbox(1).load(bytes.into()).await.unwrap().pooled());
}

#[tokio::test]
async fn memory_to_start_with_is_limited() {
    let wat = WAT.replace(r#"(export "memory") 2"#, r#"(export "memory") 2000"#);
    let bytes = component(WIT, &wat);
    let error = refused(bytes.clone()).await;
    assert_eq!(error, LoadError::Memory { needs: 2000 << 16, limit: 64 << 20 });
    let wat = WAT.replace(r#"(export "memory") 2"#, r#"(export "memory") 100"#);
    let loaded = sandbox(1).load(component(WIT, &wat).into()).await.unwrap();
    let model = model(Runtime { memory: 1 << 20, ..Runtime::default() });
    let error = loaded.behaviour(&Arc::new(model), "counter").unwrap_err();
    assert_eq!(error, LoadError::Memory { needs: 100 << 16, limit: 1 << 20 });
}

/// The message for the counter against a model that was changed.
async fn mismatch(change: impl Fn(&mut Aggregate)) -> String {
    let loaded = sandbox(1).load(component(WIT, WAT).into()).await.unwrap();
    let mut model = model(Runtime::default());
    change(&mut model.aggregates["counter"]);
    match loaded.behaviour(&Arc::new(model), "counter").unwrap_err() {
        error @ LoadError::Mismatch { .. } => error.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_element_that_differs_is_named_with_both_types() {
    let text = mismatch(|counter| counter.events["added"].fields[0].ty = Type::U32).await;
    assert!(text.ends_with("`counter.event.added.n` is `u64`, the model says `u32`"), "{text}");
    let text = mismatch(|counter| counter.state = fields(&[("total", Type::U64)])).await;
    assert!(text.contains("`counter.state` has the field `count: u64`"), "{text}");
    let text = mismatch(|counter| counter.state.extend(fields(&[("open", Type::Bool)]))).await;
    assert!(text.contains("`counter.state` has no field `open`"), "{text}");
    let text = mismatch(|counter| {
        counter.commands.shift_remove("spin");
    })
    .await;
    assert!(text.contains("`counter.command` has the case `spin`"), "{text}");
    let text = mismatch(|counter| counter.rejections.clear()).await;
    assert!(text.contains("`counter.decide`") && text.contains("`result<list<event>>`"), "{text}");
    let text = mismatch(|counter| counter.events["added"].fields.clear()).await;
    assert!(text.contains("`counter.event.added` carries `record { n: u64 }`"), "{text}");
    let text = mismatch(|counter| {
        counter.commands["spin"].fields = fields(&[("n", Type::List(Box::new(Type::U8)))]);
    })
    .await;
    assert!(text.contains("carries nothing, the model says `record { n: list<u8> }`"), "{text}");
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let loaded = sandbox(1).load(component(WIT, WAT).into()).await.unwrap();
    let mut model = model(Runtime::default());
    let counter = model.aggregates["counter"].clone();
    model.aggregates.insert("account".into(), counter);
    let model = Arc::new(model);
    let text = loaded.behaviour(&model, "account").unwrap_err().to_string();
    assert!(
        text.contains("`test:model/account`") && text.contains("`test:model/counter`"),
        "{text}"
    );
    assert!(loaded.behaviour(&model, "other").is_err());
}

#[tokio::test]
async fn the_context_may_be_any_part_of_what_the_host_knows() {
    let all = "record context { id: string, version: u64, command-id: string, correlation-id: string, at: u64, by: option<string>, seed: u64 }";
    let declared = "record context { at: u64, seed: u64 }";
    for (context, expected) in [
        ("record context { at: u64, seed: u64 }", None),
        ("record context { seed: u64, at: u64 }", None),
        ("record context { at: u64, mood: u64 }", Some("`mood`")),
        ("record context { at: u64, seed: s64 }", Some("`counter.context.seed` is `s64`")),
    ] {
        let bytes = component(&WIT.replace(declared, context), WAT);
        let loaded = sandbox(1).load(bytes.into()).await.unwrap();
        let result = loaded.behaviour(&Arc::new(model(Runtime::default())), "counter");
        match (result, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
            (result, _) => panic!("{context}: {result:?}"),
        }
    }
    // Twelve flat parameters instead of five: the same function with the rest ignored.
    let signature = "(param $clock i64) (param $seed i64) (param $state i64)";
    let longer = "(param i32 i32 i64 i32 i32 i32 i32) (param $clock i64) (param i32 i32 i32) (param $seed i64) (param $state i64)";
    let bytes = component(&WIT.replace(declared, all), &WAT.replace(signature, longer));
    let loaded = sandbox(1).load(bytes.into()).await.unwrap();
    let counter = loaded.behaviour(&Arc::new(model(Runtime::default())), "counter").unwrap();
    assert_eq!(answer(&mut guest(&counter, "a"), "see", 0).await, added(1_234_567 + 3));
}

#[tokio::test]
async fn a_sandbox_takes_compiled_code_from_its_folder_and_keeps_there_what_is_wanted() {
    let root = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(root.path().join("code")).unwrap().count();
    let config = SandboxConfig {
        cache_dir: Some(root.path().join("code")),
        max_instances: Some(1),
        ..SandboxConfig::default()
    };
    for kept_before in [0, 1] {
        let sandbox = Sandbox::new(config.clone()).unwrap();
        let counter = counter(&sandbox, Runtime::default()).await;
        assert_eq!(answer(&mut guest(&counter, "a"), "add", 1).await, added(1));
        assert_eq!(files(), kept_before);
        counter.component.keep().await;
        assert_eq!(files(), 1);
    }
}
