//! Every wait for a store has a name, so that the tests can kill the host there.

use std::collections::{BTreeMap, BTreeSet};

use aether_tests::steps::{self, Code};

/// Where waits need names; a folder ends with `/`.
const CHECKED: &[&str] = &[
    "host/src/turn.rs",
    "host/src/turn/",
    "host/src/wake.rs",
    "host/src/env.rs",
    "host/src/mailbox.rs",
    "host/src/deploy.rs",
    "host/src/deploy/",
    "host/src/host/rollout.rs",
    "host/src/upcast.rs",
    "host/src/store/embedded.rs",
    "host/src/store/embedded/",
    "host/src/store/jetstream.rs",
    "host/src/store/jetstream/",
];

/// Functions of the checked files that stand for one message to a store or a server. They are
/// steps wherever they are awaited; all others of these files are looked into instead.
const OUTWARD: &[&str] = &["ask", "publish", "api"];

/// Waits for something else than a store.
const NO_STORE: &[&str] = &[
    "initial",             // the component
    "decide",              // the component
    "evolve",              // the component
    "upcast",              // the component
    "sleep",               // time
    "consume_budget",      // the other tasks
    "run_until_cancelled", // calls that are looked at themselves
    "try_collect",         // calls that are looked at themselves
    "for_each_concurrent", // calls that are looked at themselves
    "yield_now",           // the other tasks
    "notified",            // somebody who has heard of a deployment
    "send",                // whoever ordered a deployment
    "credentials_file",    // a file of the operator
];

/// The SQLite calls that change the file. They do not wait, but a host may die there too.
const CHANGES: &[&str] = &[".execute(", ".execute_batch("];

fn is_checked(path: &str) -> bool {
    CHECKED.iter().any(|it| path == *it || (it.ends_with('/') && path.starts_with(it)))
}

/// The names of the functions in `code` that are awaited.
fn own_functions(code: &Code) -> impl Iterator<Item = String> {
    code.text.match_indices("async fn ").map(|(at, opening)| {
        let name = code.text[at + opening.len()..].chars();
        name.take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    })
}

/// The last word of `text`, and what stands before it.
fn last_word(text: &str) -> (&str, &str) {
    let text = text.trim_end();
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    (&text[start..], &text[..start])
}

/// Whether what `before` ends with may be awaited without being a step.
fn may_be_bare(before: &str, own: &BTreeSet<String>) -> bool {
    let before = before.trim_end();
    if before.ends_with('}') {
        // A block: what is awaited in it is looked at itself.
        return true;
    }
    let Some(call) = before.strip_suffix(')') else { return false };
    let mut depth = 1;
    let open = call.rfind(|c| {
        depth += i32::from(c == ')') - i32::from(c == '(');
        depth == 0
    });
    let Some(open) = open else { return false };
    let (called, arguments) = (&call[..open], &call[open..]);
    let called =
        called.rsplit_once("::<").filter(|_| called.ends_with('>')).map_or(called, |it| it.0);
    let (name, before) = last_word(called);
    let (receiver, _) = last_word(before.trim_end().strip_suffix('.').unwrap_or_default());
    let ours = own.contains(name) && !OUTWARD.contains(&name) && receiver != "store";
    ours || NO_STORE.contains(&name) || (name == "timeout_at" && arguments.ends_with(".lock()"))
}

/// Waits of `code` that must be steps and are not, as `PATH:LINE: TEXT`.
fn bare(code: &Code, own: &BTreeSet<String>) -> Vec<String> {
    let inside = |at: usize| code.steps.iter().any(|step| (step.span.0..step.span.1).contains(&at));
    let waits = code.text.match_indices(".await");
    let waits = waits.filter(|(at, _)| !may_be_bare(&code.text[..*at], own));
    let choices = code.text.match_indices("select!");
    let changes = CHANGES.iter().flat_map(|call| code.text.match_indices(call));
    let all = waits.chain(choices).chain(changes).map(|(at, _)| at);
    all.filter(|at| !inside(*at))
        .map(|at| {
            let line = code.text[..at].matches('\n').count();
            let shown = code.text.lines().nth(line).unwrap_or_default().trim();
            format!("{}:{}: {shown}", code.path, line + 1)
        })
        .collect()
}

#[test]
fn every_wait_for_a_store_is_a_step() {
    let mut files = steps::host_code().expect("the source can be read");
    files.retain(|code| is_checked(&code.path));
    assert!(files.len() > 20, "only {} files are checked", files.len());
    let own = files.iter().flat_map(own_functions).collect();
    let broken: Vec<_> = files.iter().flat_map(|code| bare(code, &own)).collect();
    super::none(&broken, "write `step!(\"PLACE.NAME\", CALL.await)`, see host/src/step.rs");
}

#[test]
fn every_step_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in steps::all().expect("the source can be read") {
        places.entry(step.name).or_default().push(step.place);
    }
    let word = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let formed = |name: &str| name.split_once('.').is_some_and(|(a, b)| word(a) && word(b));
    let broken: Vec<_> = places
        .iter()
        .filter(|(name, places)| places.len() > 1 || !formed(name))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    super::none(&broken, "each step has one name, PLACE.NAME, that no other step has");
}

#[test]
fn only_the_tests_build_a_host_that_can_be_made_to_fail() {
    let manifests: Vec<_> =
        super::files().into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    let named = super::places(&manifests, |_, line| line.contains("faults"));
    let expected = ["host/Cargo.toml:", "tests/Cargo.toml:"];
    let known = named.len() == expected.len()
        && named.iter().zip(expected).all(|(place, file)| place.starts_with(file));
    assert!(known, "the feature is made in one place and used in one: {named:?}");
}

#[test]
fn a_bare_wait_is_seen_in_any_spelling() {
    let own = BTreeSet::from(["settle", "append", "ask", "query"].map(str::to_owned));
    let look = |source: &str| {
        let code = steps::code("x.rs".to_owned(), source).expect("it is code");
        bare(&code, &own).len()
    };
    for wrong in [
        "env.store.append(append).await?",
        "self.store\n    .append(append)\n    .await",
        "env.ask(\"read\", deadline, read).await?",
        "answered.await",
        "client.flush().await",
        "timeout_at(deadline, queue.send(job)).await",
        "stream.next::<T>().await",
        "tokio::select! { a = b => a }",
        "insert.execute(row)?",
        "step!(\"a.b\", x.await); y.await",
    ] {
        assert_eq!(look(wrong), 1, "{wrong}");
    }
    for right in [
        "step!(\"a.b\", env.store.append(append).await)?",
        "append(env, vm).await?",
        "vm.settle(env, deadline).await",
        "self.query(move |db| (db, 1)).await",
        "async { step!(\"a.b\", x.await) }.await",
        "timeout_at(until.into(), self.making.lock()).await",
        "stream.try_collect::<()>().await",
        "// client.flush().await",
        "step!(\"a.b\", tokio::select! { a = b.await => a })",
    ] {
        assert_eq!(look(right), 0, "{right}");
    }
}
