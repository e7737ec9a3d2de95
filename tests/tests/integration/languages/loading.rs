//! Components that bring a runtime of 10 MB and more: compiled once, while the host serves, and
//! mapped from then on.

use std::{collections::BTreeMap, fs, time::Duration};

use aether::{
    clock,
    vm::{Sandbox, SandboxConfig},
};
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    languages::Language,
};
use aether_wit::Digest;
use tempfile::TempDir;

use super::one_log::{SOME, asked_for_all, deploy};
use crate::hot_loading::{kit::active, load::Load};

/// Clients of the host that compiles meanwhile.
const CLIENTS: usize = 4;

/// Answers that clients get while a component is compiled: some for each second that it takes.
const MEANWHILE: usize = 20;

/// Longest that code may take from the cache: a bound for broken tests, far below the time of
/// compiling. What it really takes is told by `make bench-languages`.
const FROM_CACHE: Duration = Duration::from_secs(3);

/// The largest runtime; with `make languages` also the next one, for each is compiled here.
fn large() -> Vec<Language> {
    let is_large = |it: &Language| match it {
        Language::Python => true,
        Language::TypeScript => asked_for_all(),
        _ => false,
    };
    Language::there().unwrap().into_iter().filter(is_large).collect()
}

/// How often a host says that it compiled each component.
fn compiled(host: &HostProcess) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for line in host.output().lines().filter(|line| line.contains("component compiled")) {
        let at = line.find("sha256:").expect("which one");
        *times.entry(line[at..at + Digest::of(b"").to_string().len()].to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn a_large_component_is_compiled_once_per_host_beside_the_commands() {
    for language in large() {
        let cache = TempDir::new().unwrap();
        let code = cache.path().join("code");
        let options = HostOptions::bank().unwrap().args(["--cache-dir", code.to_str().unwrap()]);
        let mut host = options.start().unwrap();
        let load = Load::start(&[host.client()], CLIENTS);
        load.await_answers(SOME);
        let begun = clock::now();
        deploy(&host.url(), language);
        let ended = clock::now();
        assert_eq!(active(&host), 2, "{language}");
        load.await_answers(SOME);
        let answers = load.finish();
        answers.report(&format!("{language} is compiled and deployed"), begun, ended);
        let meanwhile = answers.0.iter().filter(|it| it.sent > begun && it.sent + it.took < ended);
        assert!(meanwhile.count() >= MEANWHILE, "{language}: nobody was served meanwhile");

        let digest = Digest::of(fs::read(language.account().unwrap()).unwrap()).to_string();
        let times = compiled(&host);
        assert_eq!(times.get(&digest), Some(&1), "{language}: {times:?}");
        host.terminate().unwrap();
        host.restart().unwrap();
        assert_eq!(active(&host), 2, "{language}");
        assert_eq!(compiled(&host), BTreeMap::new(), "{language}: it is kept");

        mapped(language, &code);
    }
}

/// Loads the account from the cache, in a sandbox that does not know it.
fn mapped(language: Language, code: &std::path::Path) {
    let config = SandboxConfig { cache_dir: Some(code.to_owned()), ..SandboxConfig::default() };
    let sandbox = Sandbox::new(SandboxConfig { max_instances: Some(1), ..config }).unwrap();
    let bytes: bytes::Bytes = fs::read(language.account().unwrap()).unwrap().into();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let begun = clock::now();
    runtime.block_on(sandbox.load(bytes)).unwrap();
    let took = begun.elapsed();
    eprintln!("{language} from the cache: {took:?}");
    assert!(took < FROM_CACHE, "{language}: {took:?}");
}
