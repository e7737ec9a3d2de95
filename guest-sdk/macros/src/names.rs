//! Names of a model as `wit-bindgen` writes them in Rust, and where they meet Rust's own.

use aether_wit::{
    Model,
    model::{Aggregate, Field},
};

/// Words that Rust keeps for itself; `wit-bindgen` writes an underscore after them.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Types and traits that are in scope everywhere, and where they live.
const PRELUDE: &[(&str, &str)] = &[
    ("AsMut", "::core::convert::AsMut"),
    ("AsRef", "::core::convert::AsRef"),
    ("Box", "::std::boxed::Box"),
    ("Clone", "::core::clone::Clone"),
    ("Copy", "::core::marker::Copy"),
    ("Default", "::core::default::Default"),
    ("Drop", "::core::ops::Drop"),
    ("Eq", "::core::cmp::Eq"),
    ("Extend", "::core::iter::Extend"),
    ("Fn", "::core::ops::Fn"),
    ("FnMut", "::core::ops::FnMut"),
    ("FnOnce", "::core::ops::FnOnce"),
    ("From", "::core::convert::From"),
    ("Future", "::core::future::Future"),
    ("Into", "::core::convert::Into"),
    ("Iterator", "::core::iter::Iterator"),
    ("Option", "::core::option::Option"),
    ("Ord", "::core::cmp::Ord"),
    ("Result", "::core::result::Result"),
    ("Send", "::core::marker::Send"),
    ("Sized", "::core::marker::Sized"),
    ("String", "::std::string::String"),
    ("Sync", "::core::marker::Sync"),
    ("ToString", "::std::string::ToString"),
    ("Unpin", "::core::marker::Unpin"),
    ("Vec", "::std::vec::Vec"),
];

/// `money-in` as a module: `money_in`.
pub fn module(name: &str) -> String {
    let mut ident = name.replace('-', "_");
    if KEYWORDS.contains(&ident.as_str()) {
        ident.push('_');
    }
    ident
}

/// `money-in` as a type: `MoneyIn`.
pub fn type_name(name: &str) -> String {
    name.split('-')
        .flat_map(|word| {
            let mut chars = word.chars();
            chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars)
        })
        .collect()
}

/// Paths of Rust's own items that the aggregate's types would hide.
pub fn hidden_prelude(model: &Model, aggregate: &Aggregate) -> Vec<&'static str> {
    let names: Vec<String> = type_names(model, aggregate).map(type_name).collect();
    PRELUDE
        .iter()
        .filter(|(name, _)| names.iter().any(|ours| ours == name))
        .map(|(_, path)| *path)
        .collect()
}

/// A name that cannot be a type in Rust in any spelling.
pub fn impossible<'m>(model: &'m Model, aggregate: &'m Aggregate) -> Option<&'m str> {
    type_names(model, aggregate).find(|name| *name == "self")
}

/// The names of the aggregate that become types: those with fields, and the model's own types.
fn type_names<'m>(
    model: &'m Model,
    aggregate: &'m Aggregate,
) -> impl Iterator<Item = &'m str> + use<'m> {
    fn with_fields<'m>((name, fields): (&'m String, &'m Vec<Field>)) -> Option<&'m str> {
        (!fields.is_empty()).then_some(name)
    }
    let events = aggregate.events.iter().map(|(name, event)| (name, &event.fields));
    let commands = aggregate.commands.iter().map(|(name, command)| (name, &command.fields));
    let rejections = aggregate.rejections.iter().map(|(name, reason)| (name, &reason.fields));
    events
        .chain(commands)
        .chain(rejections)
        .filter_map(with_fields)
        .chain(model.types.keys().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::{module, type_name};

    #[test]
    fn names_are_written_as_wit_bindgen_writes_them() {
        assert_eq!(module("money-in"), "money_in");
        assert_eq!(module("type"), "type_");
        assert_eq!(type_name("insufficient-funds"), "InsufficientFunds");
        assert_eq!(type_name("v2-x"), "V2X");
    }
}
