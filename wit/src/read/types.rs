//! The `types` section, type expressions in context, and what may not be: cycles and giants.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::{
    Reader,
    fields::broken_type,
    names::article,
    problems::Span,
    tree::{Map, Node, Scalar, Style},
    type_text::{self, BUILTIN, Fault, What},
};
use crate::{
    model::{Case, Location, Type, TypeDecl, TypeDef},
    report::quoted,
};

/// Most named types of a model. The types that each aggregate reaches are collected per aggregate.
const MAX_TYPES: usize = 4096;

/// Deepest nesting of a type, named types opened: component runtimes refuse about 100.
const MAX_DEPTH: usize = 32;

/// Most parts of a type, named types opened: doubling types (`a` holds `b` twice, `b` holds `c`
/// twice …) would otherwise grow without bound in a few lines.
const MAX_PARTS: usize = 100_000;

/// Most cases of a variant or enum: the most that one byte tells apart.
const MAX_CASES: usize = 256;

/// Most marks of a `flags` type, a limit of components.
const MAX_FLAGS: usize = 32;

/// Stands for a type that was refused. It never leaves the reader: a model with it is refused.
pub(super) const REFUSED: Type = Type::Tuple(Vec::new());

/// The shapes that a type may have.
const SHAPES: [&str; 4] = ["record", "variant", "enum", "flags"];

impl<'t> Reader<'t, '_> {
    /// Reads the `types` section.
    pub(super) fn type_declarations(&mut self, model: &'t Map) {
        let Some(map) = self.optional_map(model, "types", "the types") else { return };
        if map.entries.len() > MAX_TYPES {
            let span = Span { width: 1, ..map.span };
            self.problems.error(span, format!("more than {MAX_TYPES} types"));
            return;
        }
        for (key, node) in &map.entries {
            self.declared.insert(key.text.clone());
            self.declared.extend(inline_cases(node).map(|case| payload_name(key, case)));
        }
        for (key, node) in &map.entries {
            self.name(key, "type");
            self.refuse_taken_type(key);
            let (about, def) = self.type_declaration(key, node);
            self.declare(key, about, def);
        }
    }

    fn refuse_taken_type(&mut self, name: &Scalar) {
        let message = match name.text.as_str() {
            "null" => "`null` means nothing where a type stands".to_string(),
            text if BUILTIN.contains(&text) => format!("`{text}` is a type of WIT itself"),
            _ => return,
        };
        self.problems.error_help(name.span, message, "choose another name".to_string());
    }

    fn declare(&mut self, key: &Scalar, about: Option<String>, def: TypeDef) {
        let decl = TypeDecl { at: key.span.at, about, def };
        if self.types.insert(key.text.clone(), decl).is_some() {
            self.problems.error_help(
                key.span,
                format!("the type {} exists already", quoted(&key.text)),
                "an inline payload becomes a type named `TYPE-CASE`: rename one of them"
                    .to_string(),
            );
        }
    }

    fn type_declaration(&mut self, name: &'t Scalar, node: &'t Node) -> (Option<String>, TypeDef) {
        let refused = (None, TypeDef::Alias(REFUSED));
        let map = match node {
            Node::Scalar(scalar) if !scalar.is_null() => {
                return (None, TypeDef::Alias(self.ty(scalar)));
            }
            Node::Map(map) => map,
            Node::Broken(_) => return refused,
            Node::Scalar(_) | Node::List(_) => {
                self.problems.error_help(
                    node.span(),
                    format!("{} has no shape, found {}", quoted(&name.text), node.found()),
                    format!("write e.g. `{}: {{ record: {{ cents: u64 }} }}`", "money"),
                );
                return refused;
            }
        };
        self.keys(map, "a type", &["record", "variant", "enum", "flags", "about"]);
        let about = self.about(map);
        let shapes: Vec<_> =
            map.entries.iter().filter(|(key, _)| SHAPES.contains(&key.text.as_str())).collect();
        let [(shape, body)] = shapes.as_slice() else {
            let found = if shapes.is_empty() { "none" } else { "several" };
            self.problems.error(
                name.span,
                format!(
                    "a type has one of `record`, `variant`, `enum` and `flags`, {} has {found}",
                    quoted(&name.text)
                ),
            );
            return refused;
        };
        let def = match shape.text.as_str() {
            "record" => self.record(name, body),
            "variant" => self.variant(name, body),
            "enum" => self.labels(name, body, "case").map(TypeDef::Enum),
            _ => self.labels(name, body, "flag").map(TypeDef::Flags),
        };
        (about, def.unwrap_or(TypeDef::Alias(REFUSED)))
    }

    fn record(&mut self, name: &Scalar, body: &'t Node) -> Option<TypeDef> {
        let map = self.map(body, "the fields of a record")?;
        if map.entries.is_empty() {
            self.problems.error(name.span, format!("the record `{}` has no fields", name.text));
            return None;
        }
        Some(TypeDef::Record(self.fields(map)))
    }

    fn variant(&mut self, name: &'t Scalar, body: &'t Node) -> Option<TypeDef> {
        let map = self.map(body, "the cases of a variant")?;
        if map.entries.is_empty() {
            self.problems.error(name.span, format!("the variant `{}` has no cases", name.text));
            return None;
        }
        if self.too_many(name, map.entries.len(), MAX_CASES, "case") {
            return None;
        }
        let mut cases = Vec::new();
        let mut rest = map.entries.as_slice();
        while let Some(((case, node), tail)) = rest.split_first() {
            self.case_name(case, "case");
            let pieces = broken_type(node, tail);
            rest = tail.get(pieces.len()..).unwrap_or_default();
            let payload = match node {
                _ if !pieces.is_empty() => {
                    self.broken_by_comma(case, node, pieces);
                    Some(REFUSED)
                }
                Node::Map(inline) => Some(self.inline_payload(name, case, inline)),
                _ if node.is_null() => None,
                Node::Scalar(scalar) => Some(self.ty(scalar)),
                Node::Broken(_) => Some(REFUSED),
                Node::List(_) => {
                    let message =
                        "expected a type, `{ record: … }` or nothing, found a list".to_string();
                    self.problems.error(node.span(), message);
                    Some(REFUSED)
                }
            };
            cases.push(Case { at: case.span.at, name: case.text.clone(), payload });
        }
        Some(TypeDef::Variant(cases))
    }

    /// A payload that is written at its case becomes a type of its own.
    fn inline_payload(&mut self, variant: &Scalar, case: &'t Scalar, map: &'t Map) -> Type {
        self.keys(map, "the payload of a case", &["record", "about"]);
        let about = self.about(map);
        let Some(body) = self.required(map, "the payload of a case", "record") else {
            return REFUSED;
        };
        let name = payload_name(variant, case);
        let key = Scalar { text: name.clone(), ..case.clone() };
        if name.len() > 64 {
            self.name(&key, "type");
        }
        let def = self.record(&key, body).unwrap_or(TypeDef::Alias(REFUSED));
        self.declare(&key, about, def);
        Type::Named(name)
    }

    fn labels(&mut self, name: &Scalar, body: &'t Node, what: &str) -> Option<Vec<String>> {
        let list = self.list(body, &format!("the {what}s of `{}`", name.text))?;
        if list.items.is_empty() {
            self.problems.error(name.span, format!("`{}` has no {what}s", name.text));
            return None;
        }
        let most = if what == "flag" { MAX_FLAGS } else { MAX_CASES };
        if self.too_many(name, list.items.len(), most, what) {
            return None;
        }
        let mut labels = indexmap::IndexSet::new();
        for item in &list.items {
            let Some(scalar) = self.text(item, &article(what)) else { continue };
            self.case_name(scalar, what);
            if !labels.insert(scalar.text.clone()) {
                let message = format!("the {what} {} stands twice", quoted(&scalar.text));
                self.problems.error(scalar.span, message);
            }
        }
        Some(labels.into_iter().collect())
    }

    fn too_many(&mut self, name: &Scalar, found: usize, most: usize, what: &str) -> bool {
        if found > most {
            let message = format!("{} has {found} {what}s, at most {most}", quoted(&name.text));
            self.problems.error(name.span, message);
        }
        found > most
    }

    fn case_name(&mut self, case: &Scalar, what: &str) {
        self.name(case, what);
        if case.text == "self" {
            self.problems.warn(
                case.span,
                format!("the {what} `self` takes a word of Rust"),
                "guests in Rust will not compile: choose another name".to_string(),
            );
        }
    }

    /// Reads a type expression; a mistake in it is noted and gives [`REFUSED`].
    pub(super) fn ty(&mut self, scalar: &Scalar) -> Type {
        let fault = match type_text::parse(&scalar.text, &|name| self.declared.contains(name)) {
            Ok(ty) => return ty,
            Err(fault) => fault,
        };
        let span = within(scalar, &fault);
        match fault.what {
            What::Other(message, help) => {
                let open = scalar.style == Style::Plain && type_text::unclosed(&scalar.text) > 0;
                let help = help.or_else(|| {
                    open.then(|| {
                        "inside `{ }` a comma ends the value: put the type into quotes".into()
                    })
                });
                self.problems.error_help(span, message, help);
            }
            What::Unknown(name) => {
                let help = match type_text::foreign(&name) {
                    Some(here) => Some(format!("here this is {here}")),
                    None => {
                        let declared = self.declared.iter().map(String::as_str);
                        self.problems.did_you_mean(&name, BUILTIN.into_iter().chain(declared))
                    }
                };
                let help = help.unwrap_or_else(|| {
                    "expected a type of WIT, or one that the section `types` declares".into()
                });
                self.problems.error_help(span, format!("unknown type {}", quoted(&name)), help);
            }
        }
        REFUSED
    }

    /// Refuses types that hold themselves, or are too deep or too large. Gives whether values may
    /// be read by them.
    pub(super) fn check_types(&mut self) -> bool {
        let mut check = Check { types: &self.types, done: HashMap::new(), path: Vec::new() };
        let mut faults = Vec::new();
        for name in self.types.keys() {
            if let Err(fault) = check.named(name) {
                faults.push(fault);
            }
        }
        let sound = faults.is_empty();
        for (at, name, message, help) in faults {
            self.problems.error_help(Span::of(at, &name), message, help);
        }
        sound
    }
}

/// The cases of a variant whose payload is written at the case.
fn inline_cases(node: &Node) -> impl Iterator<Item = &Scalar> {
    let cases = match node {
        Node::Map(map) => match map.get("variant") {
            Some((_, Node::Map(cases))) => cases.entries.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    cases.iter().filter(|(_, payload)| matches!(payload, Node::Map(_))).map(|(case, _)| case)
}

fn payload_name(variant: &Scalar, case: &Scalar) -> String {
    format!("{}-{}", variant.text, case.text)
}

/// The place of a fault inside a scalar, if the scalar is written as it reads.
fn within(scalar: &Scalar, fault: &Fault) -> Span {
    let Span { at, width } = scalar.span;
    if scalar.style != Style::Plain || width != scalar.text.chars().count() {
        return scalar.span;
    }
    let at = Location { column: at.column + fault.offset, ..at };
    Span { at, width: fault.width }
}

/// Where, which type, what is wrong, what to do.
type TypeFault = (Location, String, String, Option<String>);

/// Walks the types depth first; each named type once.
struct Check<'a> {
    types: &'a IndexMap<String, TypeDecl>,
    /// Depth and parts of the types that are done; `None` for refused ones.
    done: HashMap<&'a str, Option<(usize, usize)>>,
    /// The types that are being opened, outermost first.
    path: Vec<&'a str>,
}

impl<'a> Check<'a> {
    /// Depth and parts of a named type.
    fn named(&mut self, name: &'a str) -> Result<(usize, usize), TypeFault> {
        if let Some(done) = self.done.get(name) {
            // A refused type was reported where it was found.
            return Ok(done.unwrap_or((0, 0)));
        }
        let Some(decl) = self.types.get(name) else { return Ok((0, 0)) };
        if let Some(first) = self.path.iter().position(|open| *open == name) {
            let mut cycle: Vec<&str> = self.path.iter().skip(first).copied().collect();
            cycle.push(name);
            self.done.insert(name, None);
            return Err((
                decl.at,
                name.into(),
                format!("the type `{name}` holds itself: {}", cycle.join(" → ")),
                Some("values of components are trees of known depth: refer by an id".into()),
            ));
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(too_deep(decl.at, name));
        }
        self.path.push(name);
        let measured = self.parts_of(&decl.def);
        self.path.pop();
        let result = measured.and_then(|(depth, parts)| {
            if depth > MAX_DEPTH {
                return Err(too_deep(decl.at, name));
            }
            if parts > MAX_PARTS {
                let message = format!("the type `{name}` has more than {MAX_PARTS} parts");
                return Err((decl.at, name.into(), message, None));
            }
            Ok((depth, parts))
        });
        self.done.insert(name, result.as_ref().ok().copied());
        result
    }

    fn parts_of(&mut self, def: &'a TypeDef) -> Result<(usize, usize), TypeFault> {
        let types: Vec<&'a Type> = match def {
            TypeDef::Record(fields) => fields.iter().map(|field| &field.ty).collect(),
            TypeDef::Variant(cases) => {
                cases.iter().filter_map(|case| case.payload.as_ref()).collect()
            }
            TypeDef::Enum(cases) | TypeDef::Flags(cases) => return Ok((1, cases.len())),
            TypeDef::Alias(ty) => return self.ty(ty),
        };
        self.all(types)
    }

    fn all(
        &mut self,
        types: impl IntoIterator<Item = &'a Type>,
    ) -> Result<(usize, usize), TypeFault> {
        let (mut deepest, mut sum) = (0, 1_usize);
        for ty in types {
            let (depth, parts) = self.ty(ty)?;
            deepest = deepest.max(depth);
            sum = sum.saturating_add(parts);
        }
        Ok((deepest + 1, sum))
    }

    fn ty(&mut self, ty: &'a Type) -> Result<(usize, usize), TypeFault> {
        match ty {
            Type::List(inner) | Type::Option(inner) => self.all([inner.as_ref()]),
            Type::Tuple(members) => self.all(members),
            Type::Result { ok, err } => self.all(ok.iter().chain(err).map(AsRef::as_ref)),
            Type::Named(name) => self.named(name),
            _ => Ok((0, 1)),
        }
    }
}

fn too_deep(at: Location, name: &str) -> TypeFault {
    (at, name.into(), format!("the type `{name}` nests deeper than {MAX_DEPTH} levels"), None)
}
