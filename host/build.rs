//! Lists the sources of the guest SDK, which the binary carries for `aether new` and `aether
//! bindings`: no registry has them.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Where the sources lie, and where they are written in the folder of the SDK.
const SOURCES: [(&str, &str); 7] = [
    ("guest-sdk/doc/counter.storm.yaml", "doc/counter.storm.yaml"),
    ("guest-sdk/src", "src"),
    ("guest-sdk/macros/src", "macros/src"),
    ("wit/src", "wit/src"),
    ("wit/aether.wit", "wit/aether.wit"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
];

/// Modules that are compiled for tests only.
const TESTS: [&str; 3] = ["tests", "testing", "samples"];

fn main() -> Result<(), Box<dyn Error>> {
    // Build scripts run in the folder of their package.
    let root = Path::new("..");
    let mut list = String::from("[\n");
    for (from, to) in SOURCES {
        println!("cargo::rerun-if-changed=../{from}");
        add(&mut list, &root.join(from), to)?;
    }
    list.push_str("]\n");
    println!("cargo::rerun-if-changed=build.rs");
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("sdk.rs"), list)?;
    Ok(())
}

/// Adds a file, or the Rust files of a folder, in the order of their names.
fn add(list: &mut String, from: &Path, to: &str) -> Result<(), Box<dyn Error>> {
    if from.is_file() {
        // From where the package lies when it is compiled: the checkout may move meanwhile.
        let place = format!("/{}", from.display());
        let place = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {place:?})");
        writeln!(list, "    ({to:?}, include_str!({place})),")?;
        return Ok(());
    }
    let mut entries = fs::read_dir(from)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let of_tests = path.file_stem().is_some_and(|stem| TESTS.iter().any(|name| stem == *name));
        let is_source = path.is_dir() || path.extension().is_some_and(|it| it == "rs");
        if is_source && !of_tests {
            add(list, &path, &format!("{to}/{}", entry.file_name().to_string_lossy()))?;
        }
    }
    Ok(())
}
