//! Where things are in this workspace, and how they come to be there.
//!
//! `cargo test` alone must do on a clean checkout, so the harness builds what it runs: the binary
//! `aether` and the components of the guests. Cargo does so outside any build script, once per
//! test process, and finds nothing to do when `make test` was there before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};

/// Folders of the guests: each is a crate `NAME` with a model that names `NAME.wasm`.
const GUESTS: [&str; 5] = [
    "examples-guests/bank",
    "tests/guests/conformance",
    "tests/guests/hostile",
    "tests/guests/impure",
    "tests/guests/journal",
];

/// What guests are compiled for.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Beginnings of the environment variables by which cargo tells a test what package it is in.
const ABOUT_THE_TEST: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_"];

/// Environment variable with a binary to test in place of the one that the harness builds.
const BINARY_VARIABLE: &str = "AETHER_TEST_BINARY";

/// The root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The binary `aether`, built if need be.
///
/// # Errors
/// If it does not build.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BINARY, || match std::env::var_os(BINARY_VARIABLE) {
        Some(path) => Ok(PathBuf::from(path)),
        None => build_binary(),
    })
    .map(PathBuf::as_path)
}

/// The model of the example bank, its component built if need be.
///
/// # Errors
/// If it does not build.
pub fn bank_model() -> Result<PathBuf> {
    guests()?;
    Ok(root().join("examples-guests/bank/bank.storm.yaml"))
}

/// The model with every type that all languages are held to, its component in Rust built if need
/// be.
///
/// # Errors
/// If it does not build.
pub fn conformance_model() -> Result<PathBuf> {
    guests()?;
    Ok(root().join("tests/guests/conformance/conformance.storm.yaml"))
}

/// The model of the guest that misbehaves on command, its component built if need be. It also has
/// the aggregate `counter`, which does no harm.
///
/// # Errors
/// If it does not build.
pub fn hostile_model() -> Result<PathBuf> {
    guests()?;
    Ok(root().join("tests/guests/hostile/hostile.storm.yaml"))
}

/// The model of the guest whose state depends on how often it is called, its component built if
/// need be.
///
/// # Errors
/// If it does not build.
pub fn impure_model() -> Result<PathBuf> {
    guests()?;
    Ok(root().join("tests/guests/impure/impure.storm.yaml"))
}

/// The model of the journal that clients append to under faults, its component built if need be.
///
/// # Errors
/// If it does not build.
pub fn journal_model() -> Result<PathBuf> {
    guests()?;
    Ok(root().join("tests/guests/journal/journal.storm.yaml"))
}

/// Builds all components and puts them beside the models that name them, as `make guests` does.
///
/// # Errors
/// If one does not build.
pub fn guests() -> Result<()> {
    static GUESTS_BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    once(&GUESTS_BUILT, build_guests).copied()
}

/// Cargo's target folder.
///
/// # Errors
/// If this process was not started from one.
pub fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    Ok(profile.parent().context("cargo's target folder has a parent")?.to_owned())
}

/// Builds the guest in `folder`, a crate outside the workspace, into the target folder `target`,
/// without fetching anything; gives the folder with what was built.
pub(crate) fn build_guest(folder: &Path, target: &Path) -> Result<PathBuf> {
    let arguments =
        ["build", "--offline", "--profile", "guest", "--target", GUEST_TARGET, "--target-dir"];
    let target = target.to_str().context("cargo's target folder is no UTF-8")?;
    cargo(folder, &[&arguments, [target].as_slice()].concat())?;
    Ok(Path::new(target).join(GUEST_TARGET).join("guest"))
}

/// The profile folder that this test or program runs from, e.g. `target/debug`.
fn profile_folder() -> Result<PathBuf> {
    let test = std::env::current_exe().context("cannot tell where this test is")?;
    let folder = test.parent().and_then(|folder| match folder.file_name() {
        Some(name) if name == "deps" => folder.parent(),
        _ => Some(folder),
    });
    let folder = folder.map(Path::to_owned);
    folder.ok_or_else(|| anyhow!("{} is not in a profile folder of cargo", test.display()))
}

fn build_binary() -> Result<PathBuf> {
    let folder = profile_folder()?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    // With all packages and a test among the targets, cargo unifies features as `cargo test
    // --workspace` does; else it would build wasmtime a second time.
    let targets = ["--workspace", "--bin", "aether", "--test", "integration"];
    cargo(root(), &[&["build", "--profile", profile], targets.as_slice()].concat())?;
    Ok(folder.join("aether"))
}

fn build_guests() -> Result<()> {
    let names = GUESTS.map(|folder| folder.rsplit('/').next().unwrap_or(folder));
    let mut arguments = vec!["build", "--profile", "guest", "--target", GUEST_TARGET];
    for name in names {
        arguments.extend(["-p", name]);
    }
    cargo(root(), &arguments)?;
    let target = target_folder()?;
    for (folder, name) in GUESTS.into_iter().zip(names) {
        let file = format!("{name}.wasm");
        let built = target.join(GUEST_TARGET).join("guest").join(&file);
        place(&built, &root().join(folder).join(&file))?;
    }
    Ok(())
}

/// Copies `from` to `to` unless they are equal, so that no reader ever sees a part of it.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let aside = to.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&aside, bytes).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, to).with_context(|| format!("cannot write {}", to.display()))
}

/// A command for cargo, as if typed into a shell. What cargo tells a test about its own package
/// would be news to the build scripts of dependencies: each such build would build them again, as
/// would the next one outside.
#[must_use]
pub fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if ABOUT_THE_TEST.iter().any(|prefix| told.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = cargo_command().args(arguments).current_dir(folder).output();
    let output = output.context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "`cargo {}` failed\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// What `make` gave the first time, or why it failed then.
fn once<T>(
    cell: &'static OnceLock<Result<T, String>>,
    make: impl FnOnce() -> Result<T>,
) -> Result<&'static T> {
    let made = cell.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow!("{error}"))
}
