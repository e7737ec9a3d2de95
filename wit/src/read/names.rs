//! Names: their form, and the one namespace that the elements of an aggregate share in WIT.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::{Reader, problems::Span, tree::Scalar};
use crate::{
    model::{Aggregate, Field, Location, Type, TypeDef},
    report::quoted,
    wit::upcasts_name,
};

/// Longest name, in bytes: names stand in subjects, paths and generated code.
const MAX_NAME_BYTES: usize = 64;

/// What the contract itself calls things in the interface of every aggregate.
const CONTRACT: [&str; 8] =
    ["state", "command", "event", "rejection", "context", "initial", "decide", "evolve"];

/// Elements and types of these names become Rust types that hide those of Rust's prelude or of
/// the guest SDK, so that a guest's own code no longer compiles.
const BREAKS_RUST: [&str; 7] = ["self", "vec", "string", "result", "option", "box", "aggregate"];

/// Whether `text` is `[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*`.
pub(super) fn is_kebab(text: &str) -> bool {
    text.split('-').all(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    })
}

/// The name that `text` was probably meant to be.
fn proposal(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut ends_word = false;
    for c in text.chars().take(2 * MAX_NAME_BYTES) {
        if c.is_ascii_uppercase() {
            if ends_word {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        } else if c.is_ascii_lowercase() || c.is_ascii_digit() {
            // A word starts with a letter: `line-2` is written `line2`.
            if c.is_ascii_digit() && name.ends_with('-') {
                name.pop();
            }
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        ends_word = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    let name = name.trim_end_matches('-').to_string();
    (is_kebab(&name) && name.len() <= MAX_NAME_BYTES && name != text).then_some(name)
}

impl Reader<'_, '_> {
    /// Checks the form of a name; `what` is what it names, e.g. "event".
    pub(super) fn name(&mut self, scalar: &Scalar, what: &str) {
        let text = scalar.text.as_str();
        if text.len() > MAX_NAME_BYTES {
            let length = text.len();
            self.problems.error(
                scalar.span,
                format!("the {what} name is {length} bytes long, at most {MAX_NAME_BYTES}"),
            );
        } else if !is_kebab(text) {
            let help = match proposal(text) {
                Some(name) => format!("write `{name}`"),
                None => "lower-case letters and digits, words joined by `-`, each starting with a \
                     letter, e.g. `line-item`"
                    .into(),
            };
            let message = format!("{} is not a name for {}", quoted(text), article(what));
            self.problems.error_help(scalar.span, message, help);
        }
    }

    /// Refuses elements of one aggregate that would have the same name in WIT.
    pub(super) fn check_namespaces(&mut self, aggregates: &IndexMap<String, Aggregate>) {
        self.check_worlds(aggregates);
        for aggregate in aggregates.values() {
            let mut taken: HashMap<&str, &str> =
                CONTRACT.iter().map(|name| (*name, "name of the contract")).collect();
            let reached = self.reached(aggregate);
            let elements = aggregate
                .commands
                .iter()
                .map(|(name, c)| ("command", name, c.at, !c.fields.is_empty()))
                .chain(
                    (aggregate.events.iter())
                        .map(|(name, e)| ("event", name, e.at, !e.fields.is_empty())),
                )
                .chain(
                    (aggregate.rejections.iter())
                        .map(|(name, r)| ("rejection", name, r.at, !r.fields.is_empty())),
                )
                .chain(reached.iter().map(|(name, at)| ("type", name, *at, true)));
            for (kind, name, at, is_type) in elements {
                if let Some(first) = taken.get(name.as_str()) {
                    self.clash(aggregate, kind, name, at, first);
                    continue;
                }
                taken.insert(name, kind);
                let breaks = BREAKS_RUST.contains(&name.as_str())
                    || (name == "upcasts" && aggregate.component_upcasts());
                if name == "self" || (is_type && breaks) {
                    self.problems.warn(
                        Span::of(at, name),
                        format!("the {kind} `{name}` takes the name of a Rust type"),
                        "guests in Rust will not compile: choose another name".to_string(),
                    );
                }
            }
        }
    }

    fn clash(&mut self, of: &Aggregate, kind: &str, name: &str, at: Location, first: &str) {
        let message = if first == "name of the contract" {
            format!("the {kind} `{name}` of `{}` takes a name of the contract", of.name)
        } else {
            format!("`{name}` is already the name of {} of `{}`", article(first), of.name)
        };
        let is_free = |proposed: &String| {
            proposed.len() <= MAX_NAME_BYTES
                && !of.commands.contains_key(proposed)
                && !of.events.contains_key(proposed)
                && !of.rejections.contains_key(proposed)
                && !self.declared.contains(proposed)
        };
        let proposals = match kind {
            "event" => [format!("{name}-done"), format!("{}-{name}", of.name)],
            "rejection" if name.ends_with("ed") => {
                [format!("already-{name}"), format!("{name}-refused")]
            }
            "rejection" => [format!("{name}-refused"), format!("{}-{name}", of.name)],
            _ => [format!("{}-{name}", of.name), format!("{name}-{kind}")],
        };
        let help = "commands, events, rejections and types of one aggregate share their names";
        let help = match proposals.into_iter().find(is_free) {
            Some(free) => format!("{help}: call this one e.g. `{free}`"),
            None => help.to_string(),
        };
        self.problems.error_help(Span::of(at, name), message, help);
    }

    /// Interfaces and worlds share one namespace per package.
    fn check_worlds(&mut self, aggregates: &IndexMap<String, Aggregate>) {
        for (name, aggregate) in aggregates {
            let of = name.strip_suffix("-guest").filter(|of| aggregates.contains_key(*of));
            if let Some(of) = of {
                self.problems.error_help(
                    Span::of(aggregate.at, name),
                    format!("`{name}` is what the component of aggregate `{of}` is called in WIT"),
                    "choose another name".to_string(),
                );
            }
            let upcasts = upcasts_name(name);
            if aggregate.component_upcasts()
                && let Some(taken) = aggregates.get(&upcasts)
            {
                self.problems.error_help(
                    Span::of(taken.at, &upcasts),
                    format!(
                        "`{upcasts}` is what the upcasts of aggregate `{name}` are called in WIT"
                    ),
                    "choose another name".to_string(),
                );
            }
        }
    }

    /// The named types that an aggregate's elements hold, directly or in each other.
    fn reached(&self, aggregate: &Aggregate) -> Vec<(String, Location)> {
        let mut open: Vec<&Type> = Vec::new();
        let add = |fields: &[Field]| -> Vec<Type> {
            fields.iter().map(|field| field.ty.clone()).collect()
        };
        let roots: Vec<Type> = std::iter::once(add(&aggregate.state))
            .chain(aggregate.commands.values().map(|c| add(&c.fields)))
            .chain(aggregate.events.values().map(|e| add(&e.fields)))
            .chain(aggregate.rejections.values().map(|r| add(&r.fields)))
            .flatten()
            .collect();
        open.extend(&roots);
        let mut seen = HashSet::new();
        let mut reached = Vec::new();
        while let Some(ty) = open.pop() {
            match ty {
                Type::List(inner) | Type::Option(inner) => open.push(inner),
                Type::Tuple(members) => open.extend(members),
                Type::Result { ok, err } => {
                    open.extend(ok.iter().chain(err).map(AsRef::as_ref));
                }
                Type::Named(name) => {
                    let Some(decl) = self.types.get(name) else { continue };
                    if !seen.insert(name.as_str()) {
                        continue;
                    }
                    reached.push((name.clone(), decl.at));
                    match &decl.def {
                        TypeDef::Record(fields) => open.extend(fields.iter().map(|f| &f.ty)),
                        TypeDef::Variant(cases) => {
                            open.extend(cases.iter().filter_map(|case| case.payload.as_ref()));
                        }
                        TypeDef::Alias(ty) => open.push(ty),
                        TypeDef::Enum(_) | TypeDef::Flags(_) => {}
                    }
                }
                _ => {}
            }
        }
        reached.sort_by_key(|(_, at)| *at);
        reached
    }
}

/// "a command", "an event".
pub(super) fn article(what: &str) -> String {
    let an = what.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {what}", if an { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kebab_case_is_told_from_other_text() {
        for good in ["a", "open", "set-limits", "a1-b2", "line2"] {
            assert!(is_kebab(good), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "a--b", "A", "a_b", "1a", "a-1", "a b", "é"] {
            assert!(!is_kebab(bad), "{bad}");
        }
    }

    #[test]
    fn names_are_proposed() {
        let cases = [
            ("InsufficientFunds", Some("insufficient-funds")),
            ("insufficient_funds", Some("insufficient-funds")),
            ("line-2", Some("line2")),
            ("HTTPCall", Some("httpcall")),
            ("not open!", Some("not-open")),
            ("1a", None),
            ("é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(proposal(text).as_deref(), expected, "{text}");
        }
    }
}
