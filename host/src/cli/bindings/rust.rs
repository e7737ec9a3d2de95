//! Rust: the SDK as crates that stand alone, for no registry has them.
//!
//! The macro of the SDK reads the model itself, so nothing here depends on the model. The manifests
//! are those of this repository, with the values of its workspace written out and what only tests
//! need left out.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use super::folder::Files;

/// The sources: path in the SDK's folder, and text.
const SOURCES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The crate that authors name.
pub const SDK: &str = "aether-guest";

/// The names of all its crates.
pub const NAMES: [&str; 3] = [SDK, CRATES[0].0, CRATES[1].0];

/// The manifest that the others take their values from.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// The manifests: folder in the SDK's folder, and text.
const MANIFESTS: [(&str, &str); 3] = [
    ("", include_str!("../../../../guest-sdk/Cargo.toml")),
    ("macros/", include_str!("../../../../guest-sdk/macros/Cargo.toml")),
    ("wit/", include_str!("../../../../wit/Cargo.toml")),
];

/// The versions that this repository is tested with.
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// Where the crates of the SDK lie, seen from the SDK's folder.
const CRATES: [(&str, &str); 2] = [("aether-guest-macros", "macros"), ("aether-wit", "wit")];

/// What the manifests say about tests and lints.
const LEFT_OUT: [&str; 2] = ["dev-dependencies", "lints"];

/// The SDK: the crate `aether-guest`, and the two that it needs, in folders below it.
///
/// # Errors
/// If a manifest names what the workspace does not have: a bug of the build's.
pub fn files() -> anyhow::Result<Files> {
    let workspace: Table = WORKSPACE.parse()?;
    let workspace = workspace.get("workspace").context("the workspace has no table")?;
    let mut files: Files =
        SOURCES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    for (folder, text) in MANIFESTS {
        let text = manifest(text, folder, workspace)
            .with_context(|| format!("the manifest of {folder}"))?;
        files.insert(format!("{folder}Cargo.toml"), text.into_bytes());
    }
    Ok(files)
}

/// A `Cargo.lock` for a project that needs the SDK only, with the versions that this repository is
/// tested with. It lacks the project itself, and may hold what only tests need: cargo puts that right.
///
/// # Errors
/// If the lock file of this repository is none: a bug of the build's.
pub fn lock() -> anyhow::Result<String> {
    let mut lock: Table = LOCK.parse()?;
    let Some(Value::Array(packages)) = lock.get_mut("package") else { bail!("it locks nothing") };
    let name = |package: &Value| package.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut wanted = BTreeSet::from([SDK.to_owned()]);
    let mut open: Vec<String> = wanted.iter().cloned().collect();
    while let Some(next) = open.pop() {
        let found = packages.iter().filter(|package| name(package).as_ref() == Some(&next));
        let lists = found.filter_map(|package| package.get("dependencies")?.as_array());
        // A dependency is a name, with a version where there are several.
        let needed = lists.flatten().filter_map(|it| it.as_str()?.split(' ').next());
        open.extend(needed.filter(|it| wanted.insert((*it).to_owned())).map(str::to_owned));
    }
    packages.retain(|package| name(package).is_some_and(|name| wanted.contains(&name)));
    Ok(toml::to_string(&lock)?)
}

/// A manifest that needs no workspace.
fn manifest(text: &str, folder: &str, workspace: &Value) -> anyhow::Result<String> {
    let mut manifest: Table = text.parse()?;
    for name in LEFT_OUT {
        manifest.remove(name);
    }
    // Names that the sources ask for; what they would bring is left out.
    if let Some(Value::Table(features)) = manifest.get_mut("features") {
        features.iter_mut().for_each(|(_, needs)| *needs = Value::Array(Vec::new()));
    }
    let known = |table: &str, name: &str| {
        let found = workspace.get(table).and_then(|table| table.get(name)).cloned();
        found.with_context(|| format!("the workspace has no `{table}.{name}`"))
    };
    if let Some(Value::Table(package)) = manifest.get_mut("package") {
        for (name, value) in package.iter_mut().filter(|(_, value)| inherits(value)) {
            *value = known("package", name)?;
        }
    }
    let Some(Value::Table(dependencies)) = manifest.get_mut("dependencies") else {
        bail!("it has no dependencies")
    };
    dependencies.retain(|_, value| value.get("optional").is_none());
    for (name, value) in dependencies.iter_mut().filter(|(_, value)| inherits(value)) {
        *value = match CRATES.iter().find(|(ours, _)| ours == name) {
            Some((_, at)) => {
                let up = "../".repeat(folder.matches('/').count());
                Value::Table(Table::from_iter([("path".to_owned(), format!("{up}{at}").into())]))
            }
            None => known("dependencies", name)?,
        };
    }
    Ok(toml::to_string(&manifest)?)
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_holds_what_the_sdk_needs_and_no_host() {
        let lock: Table = lock().unwrap().parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let names: Vec<_> = packages.iter().map(|it| it["name"].as_str().unwrap()).collect();
        for name in [SDK, "aether-wit", "wit-bindgen", "saphyr-parser"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.contains(&"wasmtime") && !names.contains(&"aether"), "{names:?}");
    }

    #[test]
    fn the_manifests_stand_alone() {
        let files = files().unwrap();
        for path in ["Cargo.toml", "macros/Cargo.toml", "wit/Cargo.toml"] {
            let text = std::str::from_utf8(&files[path]).unwrap();
            assert!(!text.contains("workspace"), "{path}:\n{text}");
            assert!(!text.contains("proptest"), "{path}:\n{text}");
            let manifest: Table = text.parse().unwrap();
            assert!(manifest["package"]["version"].is_str(), "{text}");
        }
        let text = std::str::from_utf8(&files["macros/Cargo.toml"]).unwrap();
        assert!(text.contains("path = \"../wit\""), "{text}");
        assert!(files.contains_key("src/lib.rs") && files.contains_key("wit/aether.wit"));
        assert!(!files.keys().any(|path| path.contains("test")), "{:?}", files.keys());
    }
}
