//! From a model's text to a [`Model`], or to every mistake in it.
//!
//! Three passes, each of which goes on after a mistake: the text becomes a tree that keeps places
//! (`read/tree.rs`); types and aggregates are read from it and checked against each other; then defaults
//! and scenarios become JSON by the types they are declared with. A part that was refused is
//! remembered as broken, so that one mistake is told once.
//!
//! The text may come from a stranger. Size, nesting, number of values, types and aggregates, depth
//! and size of types, and the work spent on suggestions are limited, so that every input is
//! answered within a second and in bounded memory.

mod aggregate;
mod fields;
mod names;
mod problems;
mod runtime;
mod scenario;
mod section;
mod tree;
mod type_text;
mod types;
mod upcast;
mod value;

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};

use self::{
    problems::{Problems, Span},
    tree::{Map, Node},
};
use crate::{
    Digest, Model, Problem, Report,
    model::{Aggregate, Location, Places, Scenario, Type, TypeDecl},
    report::quoted,
};

/// Largest model text, in bytes: a board that people can still read is far below it.
pub const MAX_MODEL_BYTES: usize = 1 << 20;

/// Reads and checks a model. `file` is its name in messages.
///
/// # Errors
/// Every mistake of the text, if there is one that is not a warning.
pub fn read(file: &str, text: &[u8]) -> Result<(Model, Vec<Problem>), Box<Report>> {
    let mut problems = Problems::new();
    let text = utf8(text, &mut problems);
    let model = text.and_then(|text| {
        let root = tree::parse(text, &mut problems);
        let root = root.or_else(|| {
            if !problems.any_error() {
                problems.error(Span::default_start(), "the file is empty: expected a model");
            }
            None
        })?;
        model(text, &root, &mut problems)
    });
    let refused = problems.any_error();
    let source = text.unwrap_or_default();
    let (problems, more) = problems.finish(source);
    match model {
        Some(model) if !refused => Ok((model, problems)),
        _ => Err(Box::new(Report { file: file.into(), source: source.into(), problems, more })),
    }
}

/// The bytes as text, unless they are too many or not UTF-8.
fn utf8<'t>(bytes: &'t [u8], problems: &mut Problems) -> Option<&'t str> {
    if bytes.len() > MAX_MODEL_BYTES {
        problems.error_help(
            Span::default_start(),
            format!("the file is too large: {} bytes, at most {MAX_MODEL_BYTES}", bytes.len()),
            "a model is one bounded context: split it".to_string(),
        );
        return None;
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        problems.error_help(
            Span::default_start(),
            "the file is UTF-16",
            "save it as UTF-8".to_string(),
        );
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let before = String::from_utf8_lossy(before);
            let lines = crate::report::lines(&before);
            let column = 1 + lines.last().map_or(0, |line| line.chars().count());
            let at = Location { line: lines.len(), column };
            let message = format!("not UTF-8: byte {} is not part of a character", before.len());
            problems.error_help(Span { at, width: 1 }, message, "save it as UTF-8".to_string());
            return None;
        }
    };
    if text.starts_with('\u{feff}') {
        problems.error_help(
            Span::default_start(),
            "the file starts with a byte order mark",
            "save it as UTF-8 without BOM".to_string(),
        );
        return None;
    }
    Some(text)
}

/// What is being read.
struct Reader<'t, 'p> {
    problems: &'p mut Problems,
    /// The types read so far, those from inline payloads included.
    types: IndexMap<String, TypeDecl>,
    /// The names of all types, those not yet read included.
    declared: IndexSet<String>,
    /// Defaults as written, by the place of their field, until all types are known.
    defaults: Vec<(Location, Type, &'t Node)>,
    /// The values that upcasts give, as written, until all types are known.
    given: Vec<upcast::Given<'t>>,
}

/// The model in `root`; what comes out is only good if no error was noted.
fn model(text: &str, root: &Node, problems: &mut Problems) -> Option<Model> {
    let mut reader = Reader {
        problems,
        types: IndexMap::new(),
        declared: IndexSet::new(),
        defaults: Vec::new(),
        given: Vec::new(),
    };
    let map = reader.map(root, "the model")?;
    reader.keys(
        map,
        "a model",
        &["context", "version", "about", "components", "types", "aggregates", "scenarios"],
    );
    let context = reader.context(map);
    let version = reader.version(map);
    let about = reader.about(map);
    let components = reader.components(map);
    reader.type_declarations(map);
    let mut aggregates = reader.aggregates(map);
    let sound = reader.check_types();
    reader.check_namespaces(&aggregates);

    let Reader { problems, mut types, defaults, given, .. } = reader;
    let mut scenarios = Vec::new();
    if sound {
        let mut values = value::Values { types: &types, problems };
        let defaults: HashMap<Location, serde_json::Value> = defaults
            .into_iter()
            .filter_map(|(at, ty, node)| Some((at, values.value(node, &ty)?)))
            .collect();
        upcast::set_given(&mut aggregates, given, &mut |node, ty| values.value(node, ty));
        scenarios = read_scenarios(map, context.as_deref(), &aggregates, &mut values);
        fields::set_defaults(&mut types, &mut aggregates, &defaults);
    }
    let at = |key: &str| map.get(key).map_or_else(Location::default, |(key, _)| key.span.at);
    Some(Model {
        digest: Digest::of(text),
        source: text.into(),
        places: Places {
            context: at("context"),
            version: at("version"),
            about: at("about"),
            components: at("components"),
        },
        context: context?,
        version: version?,
        about,
        components,
        types,
        aggregates,
        scenarios,
    })
}

fn read_scenarios(
    map: &Map,
    context: Option<&str>,
    aggregates: &IndexMap<String, Aggregate>,
    values: &mut value::Values<'_, '_>,
) -> Vec<Scenario> {
    let Some((_, node)) = map.get("scenarios") else { return Vec::new() };
    scenario::Scenarios { context, aggregates, values }.read(node)
}

impl<'t> Reader<'t, '_> {
    fn context(&mut self, map: &'t Map) -> Option<String> {
        let node = self.required(map, "the model", "context")?;
        let scalar = self.text(node, "the name of the bounded context")?;
        self.name(scalar, "context");
        Some(scalar.text.clone())
    }

    fn version(&mut self, map: &'t Map) -> Option<semver::Version> {
        let node = self.required(map, "the model", "version")?;
        let scalar = self.text(node, "a version")?;
        match semver::Version::parse(&scalar.text) {
            Ok(version) => Some(version),
            Err(error) => {
                self.problems.error_help(
                    scalar.span,
                    format!("{} is not a version: {error}", quoted(&scalar.text)),
                    "write three numbers, e.g. `1.10.0` (SemVer)".to_string(),
                );
                None
            }
        }
    }

    fn components(&mut self, map: &'t Map) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        let Some((_, node)) = map.get("components") else { return paths };
        if node.is_null() {
            return paths;
        }
        let Some(list) = self.list(node, "the component files") else { return paths };
        let mut seen = HashSet::new();
        for item in &list.items {
            let Some(scalar) = self.text(item, "the path of a component file") else { continue };
            let path = scalar.text.as_str();
            if path.is_empty() || path.chars().any(char::is_control) {
                let message = format!("{} is not a path", quoted(path));
                self.problems.error(scalar.span, message);
            } else if path.starts_with('/') {
                self.problems.error_help(
                    scalar.span,
                    format!("the path {} is absolute", quoted(path)),
                    "write it relative to the model's folder".to_string(),
                );
            } else if !seen.insert(path) {
                let message = format!("the component {} stands twice", quoted(path));
                self.problems.error(scalar.span, message);
            }
            paths.push(path.into());
        }
        paths
    }
}

#[cfg(test)]
mod tests;
