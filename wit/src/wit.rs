//! WIT: what a component of a model exports.
//!
//! A model becomes one package, `CONTEXT:model`, without a version: whether a component fits is
//! decided by its types, not by names. The package holds one interface per aggregate, in which
//! each event, command and rejection with fields is a record of its own and a case of the variant
//! `event`, `command` or `rejection`; those without fields are bare cases. Named types of the
//! model stand in the interface `types`, and each aggregate's interface uses all that it reaches,
//! so that a guest's bindings find every type in one place.
//!
//! Where the model lists events that the component upcasts, the interface `AGGREGATE-upcasts` stands
//! beside that of the aggregate, and is exported with it.
//!
//! Every identifier is escaped with `%`, so that WIT's keywords are legal names in a model.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::{
    Model,
    model::{Aggregate, Case, Field, Type, TypeDecl, TypeDef},
};

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

/// The contract that does not depend on a model: package `aether:host`.
pub const CONTRACT: &str = include_str!("../aether.wit");

/// The line of [`CONTRACT`] that opens its package.
const CONTRACT_PACKAGE: &str = "package aether:host";

/// The name of the interface by which an aggregate's component reads old events; it is there only
/// if the model lists events that the component upcasts.
#[must_use]
pub fn upcasts_name(aggregate: &str) -> String {
    format!("{aggregate}-upcasts")
}

/// The model's package as WIT text: an interface per aggregate, worlds `AGGREGATE-guest` and
/// `all`. Together with [`CONTRACT`] it is complete.
#[must_use]
pub fn package(model: &Model) -> String {
    let mut out = Text::new();
    open_package(&mut out, model);
    types(&mut out, model, |_| true);
    for aggregate in model.aggregates.values() {
        interface(&mut out, model, aggregate);
        upcasts(&mut out, aggregate);
    }
    for aggregate in model.aggregates.values() {
        world(&mut out, &format!("{}-guest", aggregate.name), [aggregate]);
    }
    world(&mut out, "all", model.aggregates.values());
    out.0
}

/// One WIT document that holds everything world `AGGREGATE-guest` needs, the contract as a nested
/// package included: what a bindings generator takes.
///
/// `None` if the model has no such aggregate.
#[must_use]
pub fn guest(model: &Model, aggregate: &str) -> Option<String> {
    let aggregate = model.aggregates.get(aggregate)?;
    let reached = types_of(model, aggregate);
    let mut out = Text::new();
    open_package(&mut out, model);
    types(&mut out, model, |name| reached.contains(&name));
    interface(&mut out, model, aggregate);
    upcasts(&mut out, aggregate);
    world(&mut out, &format!("{}-guest", aggregate.name), [aggregate]);
    nest_contract(&mut out);
    Some(out.0)
}

/// One WIT document with everything that world `all` needs, the contract as a nested package
/// included: what [`guest`] is for one aggregate.
#[must_use]
pub fn all(model: &Model) -> String {
    let mut out = Text(package(model));
    nest_contract(&mut out);
    out.0
}

/// A type as the model spells it, e.g. `list<option<money>>`.
pub(crate) fn spell(ty: &Type) -> String {
    spell_with(ty, "")
}

/// The type behind any chain of aliases.
#[must_use]
pub fn resolve<'m>(model: &'m Model, mut ty: &'m Type) -> &'m Type {
    while let Type::Named(name) = ty
        && let Some(TypeDecl { def: TypeDef::Alias(target), .. }) = model.types.get(name)
    {
        ty = target;
    }
    ty
}

/// The fields of a type that is a record, or an option of one, through any chain of aliases.
pub(crate) fn record_of<'m>(
    types: &'m IndexMap<String, TypeDecl>,
    mut ty: &'m Type,
) -> Option<&'m [Field]> {
    let mut optional = false;
    // Longer chains of aliases go in circles: that is told elsewhere.
    for _ in 0..=types.len() {
        ty = match ty {
            Type::Option(some) if !optional => {
                optional = true;
                some
            }
            Type::Named(name) => match &types.get(name)?.def {
                TypeDef::Record(fields) => return Some(fields),
                TypeDef::Alias(target) => target,
                _ => return None,
            },
            _ => return None,
        };
    }
    None
}

/// The named types that `aggregate` uses, directly or through other types, in the model's order.
#[must_use]
pub fn types_of<'m>(model: &'m Model, aggregate: &'m Aggregate) -> Vec<&'m str> {
    let mut open: Vec<&Type> = Vec::new();
    let field_lists = aggregate
        .events
        .values()
        .map(|event| &event.fields)
        .chain(aggregate.commands.values().map(|command| &command.fields))
        .chain(aggregate.rejections.values().map(|rejection| &rejection.fields))
        .chain([&aggregate.state]);
    open.extend(field_lists.flatten().map(|field| &field.ty));
    let seen = reached_from(model, open);
    model.types.keys().map(String::as_str).filter(|name| seen.contains(name)).collect()
}

/// The named types that these types use, directly or through other types.
pub(crate) fn reached_from<'m>(model: &'m Model, mut open: Vec<&'m Type>) -> HashSet<&'m str> {
    let mut seen = HashSet::new();
    while let Some(ty) = open.pop() {
        match ty {
            Type::List(item) | Type::Option(item) => open.push(item),
            Type::Tuple(items) => open.extend(items),
            Type::Result { ok, err } => {
                open.extend(ok.as_deref());
                open.extend(err.as_deref());
            }
            Type::Named(name) if seen.insert(name.as_str()) => {
                if let Some(decl) = model.types.get(name) {
                    open.extend(parts(&decl.def));
                }
            }
            _ => {}
        }
    }
    seen
}

/// The types that stand directly in a definition.
fn parts(def: &TypeDef) -> Vec<&Type> {
    match def {
        TypeDef::Record(fields) => fields.iter().map(|field| &field.ty).collect(),
        TypeDef::Variant(cases) => cases.iter().filter_map(|case| case.payload.as_ref()).collect(),
        TypeDef::Enum(_) | TypeDef::Flags(_) => Vec::new(),
        TypeDef::Alias(ty) => vec![ty],
    }
}

fn open_package(out: &mut Text, model: &Model) {
    out.doc(0, model.about.as_deref());
    out.line(0, &format!("package {}:model;", id(&model.context)));
}

/// The interface of the model's named types, those that are `wanted`; nothing if there are none.
fn types(out: &mut Text, model: &Model, wanted: impl Fn(&str) -> bool) {
    let mut decls = model.types.iter().filter(|(name, _)| wanted(name)).peekable();
    if decls.peek().is_none() {
        return;
    }
    out.line(0, "");
    out.line(0, &format!("interface {} {{", id("types")));
    for (index, (name, decl)) in decls.enumerate() {
        if index > 0 {
            out.line(0, "");
        }
        out.doc(1, decl.about.as_deref());
        match &decl.def {
            TypeDef::Record(fields) => record(out, name, fields),
            TypeDef::Variant(cases) => {
                out.block("variant", name, cases.iter().map(|case| (None, case_text(case))));
            }
            TypeDef::Enum(names) => {
                out.block("enum", name, names.iter().map(|name| (None, id(name))));
            }
            TypeDef::Flags(names) => {
                out.block("flags", name, names.iter().map(|name| (None, id(name))));
            }
            TypeDef::Alias(ty) => out.line(1, &format!("type {} = {};", id(name), wit_type(ty))),
        }
    }
    out.line(0, "}");
}

fn case_text(case: &Case) -> String {
    match &case.payload {
        Some(payload) => format!("{}({})", id(&case.name), wit_type(payload)),
        None => id(&case.name),
    }
}

fn interface(out: &mut Text, model: &Model, aggregate: &Aggregate) {
    out.line(0, "");
    out.doc(0, aggregate.about.as_deref());
    out.line(0, &format!("interface {} {{", id(&aggregate.name)));
    out.line(1, "use aether:host/types.{context};");
    let used: Vec<String> = types_of(model, aggregate).into_iter().map(id).collect();
    if !used.is_empty() {
        out.line(1, &format!("use {}.{{{}}};", id("types"), used.join(", ")));
    }
    let events = aggregate.events.iter();
    out.notes("event", events.map(|(name, it)| (name, it.about.as_deref(), it.fields.as_slice())));
    let commands = aggregate.commands.iter();
    out.notes(
        "command",
        commands.map(|(name, it)| (name, it.about.as_deref(), it.fields.as_slice())),
    );
    let rejections = aggregate.rejections.iter();
    out.notes(
        "rejection",
        rejections.map(|(name, it)| (name, it.about.as_deref(), it.fields.as_slice())),
    );
    out.line(0, "");
    record(out, "state", &aggregate.state);
    functions(out, aggregate);
    out.line(0, "}");
}

fn functions(out: &mut Text, aggregate: &Aggregate) {
    let outcome = if aggregate.rejections.is_empty() {
        "result<list<%event>>"
    } else {
        "result<list<%event>, %rejection>"
    };
    out.line(0, "");
    out.line(1, "/// The state of an actor that nothing has happened to yet.");
    out.line(1, "%initial: func(%id: string) -> %state;");
    out.line(0, "");
    out.line(1, "/// What a command does: the events to store, or the reason why it is refused.");
    out.line(
        1,
        &format!(
            "%decide: func(%context: %context, %state: %state, %command: %command) -> {outcome};"
        ),
    );
    out.line(0, "");
    out.line(1, "/// The state after these events; the same for any split of them.");
    out.line(1, "%evolve: func(%state: %state, %events: list<%event>) -> %state;");
}

/// The interface by which the component reads old events, if the model lists any for it.
fn upcasts(out: &mut Text, aggregate: &Aggregate) {
    if !aggregate.component_upcasts() {
        return;
    }
    out.line(0, "");
    out.line(0, &format!("interface {} {{", id(&upcasts_name(&aggregate.name))));
    out.line(1, &format!("use {}.{{{}}};", id(&aggregate.name), id("event")));
    out.line(0, "");
    out.line(
        1,
        "/// The event that a stored one is today, or why it is none. `model` is the digest of",
    );
    out.line(
        1,
        "/// the model that it was stored under, `event-type` its name and `data` its fields as",
    );
    out.line(1, "/// JSON, as they are stored.");
    out.line(
        1,
        "%upcast: func(%model: string, %event-type: string, %data: string) -> result<%event, \
         string>;",
    );
    out.line(0, "}");
}

fn record(out: &mut Text, name: &str, fields: &[Field]) {
    let lines = fields.iter().map(|field| {
        (field.about.as_deref(), format!("{}: {}", id(&field.name), wit_type(&field.ty)))
    });
    out.block("record", name, lines);
}

fn world<'m>(out: &mut Text, name: &str, aggregates: impl IntoIterator<Item = &'m Aggregate>) {
    out.line(0, "");
    out.line(0, &format!("world {} {{", id(name)));
    for aggregate in aggregates {
        out.line(1, &format!("export {};", id(&aggregate.name)));
        if aggregate.component_upcasts() {
            out.line(1, &format!("export {};", id(&upcasts_name(&aggregate.name))));
        }
    }
    out.line(0, "}");
}

/// [`CONTRACT`] as a package inside the document.
fn nest_contract(out: &mut Text) {
    out.line(0, "");
    let mut depth = 0;
    for line in CONTRACT.lines() {
        if line.strip_suffix(';') == Some(CONTRACT_PACKAGE) {
            out.line(0, &format!("{CONTRACT_PACKAGE} {{"));
            depth = 1;
        } else if depth == 0 || !line.is_empty() {
            out.line(depth, line);
        }
    }
    out.line(0, "}");
}

/// An identifier that is none of WIT's keywords, whatever its name.
fn id(name: &str) -> String {
    format!("%{name}")
}

fn wit_type(ty: &Type) -> String {
    spell_with(ty, "%")
}

/// A type's spelling, with `escape` before the names of the model's own types.
fn spell_with(ty: &Type, escape: &str) -> String {
    let inner = |ty: &Type| spell_with(ty, escape);
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::S16 => "s16".into(),
        Type::S32 => "s32".into(),
        Type::S64 => "s64".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::F32 => "f32".into(),
        Type::F64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(item) => format!("list<{}>", inner(item)),
        Type::Option(item) => format!("option<{}>", inner(item)),
        Type::Tuple(items) => {
            format!("tuple<{}>", items.iter().map(inner).collect::<Vec<_>>().join(", "))
        }
        Type::Result { ok, err } => match (ok, err) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", inner(ok)),
            (None, Some(err)) => format!("result<_, {}>", inner(err)),
            (Some(ok), Some(err)) => format!("result<{}, {}>", inner(ok), inner(err)),
        },
        Type::Named(name) => format!("{escape}{name}"),
    }
}

/// WIT text that grows line by line.
struct Text(String);

impl Text {
    const fn new() -> Self {
        Self(String::new())
    }

    /// One line, two spaces deep per level; an empty one gets no spaces.
    fn line(&mut self, depth: usize, text: &str) {
        if !text.is_empty() {
            self.0.push_str(&"  ".repeat(depth));
            self.0.push_str(text);
        }
        self.0.push('\n');
    }

    /// A doc comment, one `///` per line of `about`.
    fn doc(&mut self, depth: usize, about: Option<&str>) {
        for line in about.unwrap_or_default().trim().lines() {
            self.line(depth, format!("/// {}", printable(line)).trim_end());
        }
    }

    /// `KIND %NAME { … }` with one line per item, each with its doc comment.
    fn block<'m>(
        &mut self,
        kind: &str,
        name: &str,
        items: impl Iterator<Item = (Option<&'m str>, String)>,
    ) {
        self.line(1, &format!("{kind} {} {{", id(name)));
        for (about, text) in items {
            self.doc(2, about);
            self.line(2, &format!("{text},"));
        }
        self.line(1, "}");
    }

    /// One kind of the board's notes: a record for each that has fields, and their variant;
    /// nothing if there are none.
    fn notes<'m>(
        &mut self,
        kind: &str,
        notes: impl Iterator<Item = (&'m String, Option<&'m str>, &'m [Field])>,
    ) {
        let mut cases = Vec::new();
        for (name, about, fields) in notes {
            if fields.is_empty() {
                cases.push((about, id(name)));
            } else {
                self.line(0, "");
                self.doc(1, about);
                record(self, name, fields);
                cases.push((about, format!("{0}({0})", id(name))));
            }
        }
        if !cases.is_empty() {
            self.line(0, "");
            self.block("variant", kind, cases.into_iter());
        }
    }
}

/// `text` without the characters that WIT forbids even in comments: controls, those that change
/// the direction of writing, and a few that Unicode discourages.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => c,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
            '\u{149}' | '\u{673}' | '\u{f77}' | '\u{f79}' => ' ',
            '\u{17a3}' | '\u{17a4}' | '\u{17b4}' | '\u{17b5}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}
