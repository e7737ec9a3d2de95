//! The rules of this house, as tests: a map that nobody checks is soon wrong.
//!
//! Each rule reads the files that git knows, or would if they were added, and names every place
//! that breaks it. The rules look at text, not at syntax: cheap, and strict enough.

mod steps;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aether_tests::workspace;

/// Longest source file, in lines: beyond it a reader no longer knows where to look.
const MAX_LINES: usize = 800;

/// A crate that only some files may name: what stands behind the wall can be replaced.
struct Wall {
    name: &'static str,
    /// Where it may be named; a folder ends with `/`.
    inside: &'static [&'static str],
}

const WALLS: &[Wall] = &[
    Wall { name: "wasmtime", inside: &["host/src/vm.rs", "host/src/vm/"] },
    Wall { name: "wasmparser", inside: &["host/src/vm.rs", "host/src/vm/"] },
    Wall { name: "wasmtime_wasi", inside: &["host/src/vm.rs", "host/src/vm/"] },
    Wall {
        name: "async_nats",
        inside: &[
            "host/src/store/jetstream.rs",
            "host/src/store/jetstream/",
            "host/src/gateway/nats.rs",
            "host/src/gateway/nats/",
            "host/src/cli/doctor.rs",
            "host/src/cli/doctor/",
            // What the host is measured beside must not go through its store.
            "host/src/bench/nats.rs",
            "tests/",
        ],
    },
    Wall {
        name: "rusqlite",
        inside: &[
            "host/src/store/embedded.rs",
            "host/src/store/embedded/",
            // As above.
            "host/src/bench/sqlite.rs",
            "tests/",
        ],
    },
    Wall { name: "axum", inside: &["host/src/gateway/http.rs", "host/src/gateway/http/"] },
];

/// What the model compiler must not need: it is pure.
const IMPURE: &[&str] = &["tokio", "wasmtime", "async-nats", "rusqlite", "axum", "ureq"];

/// What must not be left in the code. Written apart, so that this file may name them.
const LEFTOVERS: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[", "ignore"),
];

/// Where the paths of somebody's machine begin.
const MACHINE_PATHS: &[&str] =
    &[concat!("/", "home/"), concat!("/", "Users/"), concat!("/", "work/"), concat!("/", "root/")];

struct Source {
    /// From the root of the workspace, with `/`.
    path: String,
    text: String,
}

/// The text files that git knows or would know.
fn files() -> Vec<Source> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace::root())
        .output();
    let paths = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .expect("paths are UTF-8")
            .lines()
            .map(str::to_owned)
            .collect(),
        // A source archive has no git: all files but what is built.
        _ => walk(workspace::root()),
    };
    let sources: Vec<Source> = paths
        .into_iter()
        .filter_map(|path: String| {
            let text = fs::read_to_string(workspace::root().join(&path)).ok()?;
            Some(Source { path, text })
        })
        .collect();
    assert!(sources.iter().any(|file| file.path == "host/src/lib.rs"), "the sources are found");
    sources
}

fn walk(root: &Path) -> Vec<String> {
    let mut folders = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read");
            let path = folder.join(entry.file_name());
            let name = entry.file_name();
            if entry.path().is_dir() {
                if !["target", ".git", ".tools", "data", "node_modules"]
                    .iter()
                    .any(|it| name == *it)
                {
                    folders.push(path);
                }
            } else {
                found.push(path.to_str().expect("paths are UTF-8").replace('\\', "/"));
            }
        }
    }
    found
}

fn rust() -> Vec<Source> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Places where `wrong` holds of a line, as `PATH:LINE: TEXT`.
fn places(files: &[Source], wrong: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if wrong(file, line) {
                places.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    places
}

fn none(places: &[String], rule: &str) {
    assert!(places.is_empty(), "{rule}:\n{}", places.join("\n"));
}

/// Whether code on the line, comments aside, names the crate as a path.
fn names(line: &str, name: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let word = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '"'));
        let import = code.trim_start().trim_start_matches("pub ").starts_with("use ");
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        word && whole && (after.starts_with("::") || import)
    })
}

#[test]
fn the_walls_stand() {
    let files = rust();
    for wall in WALLS {
        let inside = |path: &str| {
            wall.inside.iter().any(|it| path == *it || (it.ends_with('/') && path.starts_with(it)))
        };
        let broken = places(&files, |file, line| !inside(&file.path) && names(line, wall.name));
        none(&broken, &format!("only {} may name {}", wall.inside.join(", "), wall.name));
    }
}

#[test]
fn a_wall_is_seen_in_any_spelling() {
    for line in [
        "use brick::component::Val;",
        "pub use brick::Engine;",
        "let e = brick::Engine::default();",
        "use {brick, serde};",
        "fn f(e: &::brick::Engine) {}",
    ] {
        assert!(names(line, "brick"), "{line}");
    }
    for line in [
        "// brick::Engine is elsewhere",
        "use brick_layer::Wall;",
        "let brick = version();",
        "let text = \"brick::Engine\";",
    ] {
        assert!(!names(line, "brick"), "{line}");
    }
}

#[test]
fn the_model_compiler_is_pure() {
    let manifest =
        fs::read_to_string(workspace::root().join("wit/Cargo.toml")).expect("it is there");
    let needs =
        |line: &str| line.split(['.', ' ', '=']).next().is_some_and(|it| IMPURE.contains(&it));
    let broken: Vec<String> =
        manifest.lines().filter(|line| needs(line)).map(str::to_owned).collect();
    none(&broken, "aether-wit stands on no runtime, store or network");

    let sources: Vec<Source> =
        rust().into_iter().filter(|file| file.path.starts_with("wit/src/")).collect();
    let broken = places(&sources, |file, line| {
        let effects = ["std::fs", "std::net", "std::env", "std::process", "std::thread"];
        !file.path.contains("test") && effects.iter().any(|it| names(line, it))
    });
    none(&broken, "aether-wit reads no files, network or environment");
}

#[test]
fn nothing_is_left_unfinished() {
    let broken = places(&rust(), |_, line| LEFTOVERS.iter().any(|it| line.contains(it)));
    none(&broken, "finish it, or take it out");
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let long: Vec<String> = rust()
        .into_iter()
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none(&long, &format!("split files of more than {MAX_LINES} lines by topic"));
}

#[test]
fn every_exception_from_a_lint_has_its_reason() {
    let mut broken = Vec::new();
    for file in rust() {
        for (at, _) in file.text.match_indices("#[").chain(file.text.match_indices("#![")) {
            let attribute = &file.text[at..];
            let body = attribute.trim_start_matches(['#', '!', '[']);
            let excepts = ["allow(", "expect("].iter().any(|it| body.starts_with(it));
            let end = attribute.find(")]").unwrap_or(attribute.len());
            if excepts && !attribute[..end].contains("reason = ") {
                let line = file.text[..at].lines().count();
                broken.push(format!("{}:{line}", file.path));
            }
        }
    }
    none(&broken, "say why: `#[expect(LINT, reason = \"…\")]`");
}

#[test]
fn every_crate_is_under_both_licences_and_the_lint_floor() {
    let root = workspace::root();
    for (name, words) in [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")] {
        let text = fs::read_to_string(root.join(name)).unwrap_or_default();
        assert!(text.contains(words), "{name} is missing or is not the {words}");
    }
    let workspace = fs::read_to_string(root.join("Cargo.toml")).expect("it is there");
    assert!(workspace.contains("license = \"MIT OR Apache-2.0\""), "both licences, at choice");

    let crates: Vec<Source> =
        files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml")).collect();
    for rule in ["license.workspace = true", "[lints]\nworkspace = true"] {
        let broken: Vec<String> = crates
            .iter()
            .filter(|file| !file.text.contains(rule))
            .map(|file| file.path.clone())
            .collect();
        none(&broken, &format!("every Cargo.toml has `{rule}`"));
    }
}

#[test]
fn no_path_of_a_developers_machine_is_written_down() {
    let broken = places(&files(), |_, line| MACHINE_PATHS.iter().any(|it| line.contains(it)));
    none(&broken, "write paths from the root of the workspace");
}

#[test]
fn files_end_with_a_newline_and_lines_without_spaces() {
    let sources: Vec<Source> = files()
        .into_iter()
        .filter(|file| {
            [".rs", ".toml", ".md", ".yaml", ".wit", "Makefile"]
                .iter()
                .any(|it| file.path.ends_with(it))
        })
        .collect();
    let mut broken = places(&sources, |_, line| line.ends_with([' ', '\t', '\r']));
    broken.extend(
        sources.iter().filter(|file| !file.text.ends_with('\n')).map(|file| file.path.clone()),
    );
    none(&broken, "see .editorconfig");
}
