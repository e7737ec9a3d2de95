//! Go: what wit-bindgen makes, as packages of the author's own module.
//!
//! The generator's code needs a runtime of a few files. Its module would have to be downloaded, so the
//! files are written beside the generated ones and imported from there: the author's `go.mod` needs
//! no line for them. The component exports whatever the author gives to `Export` of the package that
//! is written here for each aggregate; so the generated folder holds no code of the author's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wit_bindgen_core::Files as Generated;

use super::{contract::Contract, folder::Files, names::snake};

/// Where the generator expects its runtime.
const REMOTE: &str = "\"go.bytecodealliance.org/pkg/wit/";

/// Most folders above that may hold a `go.mod`.
const MAX_ABOVE: usize = 64;

macro_rules! runtime {
    ($($path:literal),*) => {
        [$((concat!("wit/", $path), include_str!(concat!("go_runtime/", $path)))),*]
    };
}

/// What has the garbage collector run in the author's functions only, and there to its end.
const COLLECTOR: (&str, &str) = ("collector/collector.go", include_str!("go_runtime/collector.go"));

/// The runtime: `src/pkg/wit` of the generator's crate as it is, below its own licence.
const RUNTIME: [(&str, &str); 11] = runtime![
    "LICENSE",
    "async/async.go",
    "async/empty.s",
    "runtime/empty.s",
    "runtime/runtime.go",
    "types/future.go",
    "types/option.go",
    "types/result.go",
    "types/stream.go",
    "types/tuple.go",
    "types/unit.go"
];

/// The import path of the folder `out`: that of the module that it is in, and the way from there.
///
/// # Errors
/// If no folder above has a `go.mod` that names a module.
pub fn import_path(out: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(out).with_context(|| format!("no path: {}", out.display()))?;
    let whole = normal(&whole);
    for above in whole.ancestors().take(MAX_ABOVE) {
        let Ok(text) = std::fs::read_to_string(above.join("go.mod")) else { continue };
        let Some(module) = module(&text) else {
            bail!("{} names no module", above.join("go.mod").display());
        };
        let way = whole.strip_prefix(above).unwrap_or(Path::new(""));
        let way: Vec<_> = way.iter().map(|part| part.to_string_lossy()).collect();
        let parts = std::iter::once(module.into()).chain(way);
        return Ok(parts.collect::<Vec<_>>().join("/"));
    }
    bail!(
        "{} is in no Go module, and its packages need an import path: run `go mod init NAME` in the folder of your code, or name a folder inside it with --out",
        out.display()
    )
}

/// A path without `.` and `..`; links are not followed.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// The module that a `go.mod` names.
fn module(text: &str) -> Option<String> {
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    let name = lines.find_map(|line| line.strip_prefix("module "))?.trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

/// The packages below the import path `package`.
///
/// # Errors
/// If the generator refuses the model.
pub fn files(contract: &Contract, package: &str) -> anyhow::Result<Files> {
    let (mut resolve, world) = contract.resolve()?;
    let options = wit_bindgen_go::Opts {
        // Whether a machine has gofmt must not change the files.
        format: wit_bindgen_go::Format::False,
        pkg_name: Some(package.to_owned()),
        quiet: true,
        ..Default::default()
    };
    let mut generated = Generated::default();
    options.build().generate(&mut resolve, world, &mut generated)?;
    let runtime = format!("\"{package}/wit/");
    let mut files = Files::new();
    let texts = generated.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
    let runtime_files = RUNTIME
        .iter()
        .chain([&COLLECTOR])
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    for (path, bytes) in texts.chain(runtime_files) {
        let text = String::from_utf8(bytes)?.replace(REMOTE, &runtime);
        files.insert(path, signed_tags(&text).into_bytes());
    }
    for name in &contract.aggregates {
        let Some(aggregate) = contract.model.aggregates.get(name) else { continue };
        let context = &contract.model.context;
        let (path, text) = exports(package, context, name, !aggregate.rejections.is_empty());
        files.insert(path, text.into_bytes());
        if aggregate.component_upcasts() {
            let (path, text) = upcasts(package, context, name);
            files.insert(path, text.into_bytes());
        }
    }
    Ok(files)
}

/// `text` with the tags of large variants as Go takes them. The generator writes each as a signed
/// byte, `int8(int32(128))`, and 128 is none.
fn signed_tags(text: &str) -> String {
    const OPEN: &str = "int8(int32(";
    let mut signed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        signed.push_str(before);
        let literal = after.split_once("))");
        let literal = literal.and_then(|(number, after)| Some((number.parse::<u8>().ok()?, after)));
        match literal.filter(|_| !signed.ends_with('u')) {
            Some((tag, after)) => {
                signed.push_str(&format!("int8({})", tag.cast_signed()));
                rest = after;
            }
            None => {
                signed.push_str(OPEN);
                rest = after;
            }
        }
    }
    signed + rest
}

/// The package that takes the author's functions of an aggregate.
fn exports(package: &str, context: &str, aggregate: &str, rejects: bool) -> (String, String) {
    let types = format!("{}_model_{}", snake(context), snake(aggregate));
    let (refused, decided, rejection, answer) = wording(&types, rejects);
    let text = format!(
        "// Generated by `aether bindings`. DO NOT EDIT!

// Package export_{types} takes the functions of the aggregate `{aggregate}` that the component
// exports.
package export_{types}

import (
	\"{package}/collector\"
	\"{package}/imports/{types}\"
	wit_types \"{package}/wit/types\"
)

type (
	Command   = {types}.Command
	Context   = {types}.Context
	Event     = {types}.Event
{rejection}	State     = {types}.State
)

// Aggregate is what the component does.
type Aggregate struct {{
	// Initial gives the state of an actor that nothing has happened to yet.
	Initial func(id string) State
	// Decide gives the events of a command{refused}.
	Decide func(context Context, state State, command Command) {decided}
	// Evolve gives the state after these events; the same for any split of them.
	Evolve func(state State, events []Event) State
}}

var exported Aggregate

// Export makes these functions those of the component. It is to be called in an init function of
// package main.
func Export(aggregate Aggregate) {{
	exported = aggregate
	collector.Stop()
}}

// Initial is what the host calls.
func Initial(id string) State {{
	defer collector.Run()()
	return exported.Initial(id)
}}

// Decide is what the host calls.
func Decide(context Context, state State, command Command) wit_types.Result[[]Event, Rejection] {{
	defer collector.Run()()
	{answer}
}}

// Evolve is what the host calls.
func Evolve(state State, events []Event) State {{
	defer collector.Run()()
	return exported.Evolve(state, events)
}}
"
    );
    (format!("exports/export_{types}/export.go"), text)
}

/// What differs where commands can be refused: the end of a sentence, the result of the author's
/// `Decide`, the type of rejections, and the code that calls it.
fn wording(types: &str, rejects: bool) -> (&'static str, &'static str, String, &'static str) {
    if rejects {
        (
            ", or the reason why it is refused",
            "([]Event, *Rejection)",
            format!("\tRejection = {types}.Rejection\n"),
            "events, rejection := exported.Decide(context, state, command)
	if rejection != nil {
		return wit_types.Err[[]Event, Rejection](*rejection)
	}
	return wit_types.Ok[[]Event, Rejection](events)",
        )
    } else {
        (
            "",
            "[]Event",
            "\tRejection = wit_types.Unit\n".to_owned(),
            "return wit_types.Ok[[]Event, Rejection](exported.Decide(context, state, command))",
        )
    }
}

/// The package that takes the author's function that reads old events.
fn upcasts(package: &str, context: &str, aggregate: &str) -> (String, String) {
    let types = format!("{}_model_{}", snake(context), snake(aggregate));
    let text = format!(
        "// Generated by `aether bindings`. DO NOT EDIT!

// Package export_{types}_upcasts takes the function by which the component reads old events of the
// aggregate `{aggregate}`.
package export_{types}_upcasts

import (
	\"{package}/collector\"
	\"{package}/imports/{types}\"
	wit_types \"{package}/wit/types\"
)

type Event = {types}.Event

var exported func(model, eventType, data string) (Event, error)

// Export makes this function that of the component: what a stored event is today, or why it is none.
// `model` is the digest of the model that it was stored under, `eventType` its name and `data` its
// fields as JSON. It is to be called in an init function of package main.
func Export(upcast func(model, eventType, data string) (Event, error)) {{
	exported = upcast
	collector.Stop()
}}

// Upcast is what the host calls.
func Upcast(model string, eventType string, data string) wit_types.Result[Event, string] {{
	defer collector.Run()()
	event, err := exported(model, eventType, data)
	if err != nil {{
		return wit_types.Err[Event, string](err.Error())
	}}
	return wit_types.Ok[Event, string](event)
}}
"
    );
    (format!("exports/export_{types}_upcasts/export.go"), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bindings::testing::{BANK, contract};

    #[test]
    fn everything_is_imported_from_the_authors_own_module() {
        let files = files(&contract(BANK, None), "bank.example/host/bindings").unwrap();
        let text: String =
            files.values().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
        assert!(!text.contains("go.bytecodealliance.org/pkg/wit/"), "{text}");
        for path in [
            "exports/wit_exports/wit_exports.go",
            "exports/export_bank_model_account/export.go",
            "imports/bank_model_account/wit_bindings.go",
            "collector/collector.go",
            "wit/types/result.go",
            "wit/LICENSE",
        ] {
            assert!(files.contains_key(path), "{path}: {:?}", files.keys());
        }
        assert!(text.contains("\"bank.example/host/bindings/exports/export_bank_model_account\""));
        assert_eq!(text.matches("defer collector.Run()()").count(), 3 * 2, "not in every function");
    }

    #[test]
    fn the_runtime_is_the_one_that_the_generator_means() {
        assert_eq!(wit_bindgen_go::remote_pkg_version(), "go.bytecodealliance.org/pkg v0.4.0");
    }

    #[test]
    fn tags_of_large_variants_are_signed_bytes() {
        assert_eq!(
            signed_tags("int8(int32(127)) int8(int32(128)) uint8(int32(255)) int8(int32(x.F))"),
            "int8(127) int8(-128) uint8(int32(255)) int8(int32(x.F))"
        );
    }

    #[test]
    fn the_import_path_is_that_of_the_module() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("sub/../bindings/go");
        let error = import_path(&out).unwrap_err().to_string();
        assert!(error.contains("go mod init"), "{error}");
        std::fs::write(folder.path().join("go.mod"), "// m\nmodule example.com/bank // x\n")
            .unwrap();
        assert_eq!(import_path(&out).unwrap(), "example.com/bank/bindings/go");
        assert_eq!(import_path(folder.path()).unwrap(), "example.com/bank");
    }
}
