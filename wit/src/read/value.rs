//! Values in the model, read by their declared type from what was typed, as JSON.
//!
//! The JSON is the one mapping of WIT values that all of aether uses: integers beyond ±(2^53 − 1)
//! as decimal strings, `list<u8>` as base64, none as `null`, cases by name. A plain `no`, `~`,
//! `007` or `1.10` is text where text is declared, and nothing is guessed.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use indexmap::IndexMap;
use serde_json::{Map as Object, Value, json};

use super::{
    problems::{Problems, Span},
    section::listed,
    tree::{Map, Node, Scalar, Style},
    types::REFUSED,
};
use crate::{
    model::{Case, Field, Type, TypeDecl, TypeDef},
    report::quoted,
};

/// Largest integer, either side of zero, that every reader of JSON takes exactly.
const MAX_JSON_INTEGER: i128 = (1 << 53) - 1;

/// Reads values by the types of one model, which must be free of cycles.
pub(super) struct Values<'a, 'p> {
    pub types: &'a IndexMap<String, TypeDecl>,
    pub problems: &'p mut Problems,
}

impl<'a> Values<'a, '_> {
    /// `node` as a value of `ty`, or `None` with the mistakes noted.
    pub fn value(&mut self, node: &Node, ty: &Type) -> Option<Value> {
        if matches!(node, Node::Broken(_)) {
            return None;
        }
        match self.opened(ty) {
            Opened::Type(Type::Option(inner)) => self.option(node, inner),
            Opened::Type(Type::List(inner)) if self.is_u8(inner) => self.bytes(node),
            Opened::Type(Type::List(inner)) => {
                let items = self.items(node, "a list")?;
                collect(items.iter().map(|item| self.value(item, inner))).map(Value::Array)
            }
            Opened::Type(Type::Tuple(members)) => self.tuple(node, members),
            Opened::Type(Type::Result { ok, err }) => {
                self.result(node, ok.as_deref(), err.as_deref())
            }
            Opened::Type(ty) => self.scalar(node, ty),
            Opened::Def(name, TypeDef::Record(fields)) => {
                let what = format!("the record `{name}`");
                let Node::Map(map) = node else { return self.unexpected(node, &what) };
                self.record(map, fields, &what, map.span)
            }
            Opened::Def(name, TypeDef::Variant(cases)) => self.variant(node, name, cases),
            Opened::Def(name, TypeDef::Enum(cases)) => self.label(node, name, cases, "case"),
            Opened::Def(name, TypeDef::Flags(flags)) => self.flags(node, name, flags),
            Opened::Def(_, TypeDef::Alias(_)) => None,
        }
    }

    /// The fields of a record, command, event or rejection as a JSON object. `what` is named where
    /// a field is missing, which is reported at `at`.
    pub fn record(&mut self, map: &Map, fields: &[Field], what: &str, at: Span) -> Option<Value> {
        let known = self.only_fields(map, fields, what);
        let mut sound = known;
        let mut object = Object::new();
        let mut missing = Vec::new();
        for field in fields {
            match map.get(&field.name) {
                Some((_, node)) => match self.value(node, &field.ty) {
                    Some(value) => drop(object.insert(field.name.clone(), value)),
                    None => sound = false,
                },
                None if field.default.is_some() || self.may_be_left_out(&field.ty) => {}
                // A field that is not known by its name was told already.
                None if !known || field.ty == REFUSED => {}
                None => missing.push(field.name.as_str()),
            }
        }
        if !missing.is_empty() {
            let s = if missing.len() == 1 { "" } else { "s" };
            // A long list helps nobody, and a hostile file could make it long.
            missing.truncate(8);
            let message = format!("{what} lacks the field{s} {}", listed(&missing));
            self.problems.error(at, message);
            return None;
        }
        sound.then_some(Value::Object(object))
    }

    /// A part of a record: the fields that are named.
    pub fn part(&mut self, map: &Map, fields: &[Field], what: &str) -> Option<Value> {
        let mut sound = self.only_fields(map, fields, what);
        let mut object = Object::new();
        for field in fields {
            let Some((_, node)) = map.get(&field.name) else { continue };
            match self.value(node, &field.ty) {
                Some(value) => drop(object.insert(field.name.clone(), value)),
                None => sound = false,
            }
        }
        sound.then_some(Value::Object(object))
    }

    /// An integer of a plain type, for what is not part of the domain's own types.
    pub fn integer(&mut self, node: &Node, ty: &Type) -> Option<i128> {
        let scalar = match node {
            Node::Scalar(scalar) => scalar,
            _ => return self.unexpected(node, &name_of(ty)),
        };
        let (least, most) = range(ty)?;
        let text = scalar.text.as_str();
        let refused = |values: &mut Self, help: Option<String>| {
            let message = format!("expected {}, found {}", name_of(ty), node.found());
            values.problems.error_help(scalar.span, message, help);
            None
        };
        if !is_integer(text) {
            return refused(self, integer_help(text));
        }
        match text.parse::<i128>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => refused(self, Some(format!("{} is from {least} to {most}", name_of(ty)))),
        }
    }

    /// Refuses keys that are no fields.
    fn only_fields(&mut self, map: &Map, fields: &[Field], what: &str) -> bool {
        if fields.iter().any(|field| field.ty == REFUSED) {
            // A field list with a mistake in it may lack what is used here.
            return true;
        }
        let mut sound = true;
        let mut before: Option<&Node> = None;
        for (key, node) in &map.entries {
            if !fields.iter().any(|field| field.name == key.text) {
                sound = false;
                let names = fields.iter().map(|field| field.name.as_str());
                let help = self.problems.did_you_mean(&key.text, names.clone());
                let help = help.or_else(|| cut_by_comma(key, node, before)).unwrap_or_else(|| {
                    let names: Vec<&str> = names.take(8).collect();
                    match names.as_slice() {
                        [] => format!("{what} has no fields"),
                        names => format!("{what} has {}", listed(names)),
                    }
                });
                let message = format!("unknown field {}", quoted(&key.text));
                self.problems.error_help(key.span, message, help);
            }
            before = Some(node);
        }
        sound
    }

    fn option(&mut self, node: &Node, inner: &Type) -> Option<Value> {
        if node.is_null() {
            return Some(Value::Null);
        }
        if !self.may_be_left_out(inner) {
            return self.value(node, inner);
        }
        match node {
            Node::Map(map) if map.entries.len() == 1 && map.get("some").is_some() => {
                let (_, value) = map.get("some")?;
                Some(json!({ "some": self.value(value, inner)? }))
            }
            _ => self.unexpected(node, "`null` or `{ some: … }` (an option inside an option)"),
        }
    }

    fn bytes(&mut self, node: &Node) -> Option<Value> {
        let what = "bytes as base64 text";
        let Node::Scalar(scalar) = node else { return self.unexpected(node, what) };
        if BASE64.decode(&scalar.text).is_err() {
            let message = format!("expected {what}, found {}", node.found());
            let help = "standard alphabet with padding, e.g. `aGVsbG8=`; `\"\"` for none";
            self.problems.error_help(scalar.span, message, help.to_string());
            return None;
        }
        Some(scalar.text.clone().into())
    }

    fn tuple(&mut self, node: &Node, members: &[Type]) -> Option<Value> {
        if members.is_empty() {
            return None;
        }
        let what = format!("a list of {} values", members.len());
        let items = self.items(node, &what)?;
        if items.len() != members.len() {
            let message = format!("expected {what}, found {}", items.len());
            self.problems.error(node.span(), message);
            return None;
        }
        collect(items.iter().zip(members).map(|(item, ty)| self.value(item, ty))).map(Value::Array)
    }

    fn result(&mut self, node: &Node, ok: Option<&Type>, err: Option<&Type>) -> Option<Value> {
        let what = "`{ ok: … }` or `{ err: … }`";
        let (key, node) = match node {
            Node::Map(map) => match map.entries.as_slice() {
                [(key, value)] => (key, Some(value)),
                _ => return self.unexpected(node, what),
            },
            Node::Scalar(scalar) => (scalar, None),
            _ => return self.unexpected(node, what),
        };
        let ty = match key.text.as_str() {
            "ok" => ok,
            "err" => err,
            _ => {
                let message = format!("expected {what}, found {}", quoted(&key.text));
                self.problems.error(key.span, message);
                return None;
            }
        };
        let payload = self.payload(key, node, ty)?;
        Some(json!({ key.text.clone(): payload }))
    }

    fn variant(&mut self, node: &Node, name: &str, cases: &[Case]) -> Option<Value> {
        let what = format!("a case of `{name}`");
        let (key, payload) = match node {
            Node::Map(map) => match map.entries.as_slice() {
                [(key, value)] => (key, Some(value)),
                _ => return self.unexpected(node, &what),
            },
            Node::Scalar(scalar) if !scalar.is_absent() => (scalar, None),
            _ => return self.unexpected(node, &what),
        };
        let Some(case) = cases.iter().find(|case| case.name == key.text) else {
            return self.unknown_label(key, &what, cases.iter().map(|case| case.name.as_str()));
        };
        let value = self.payload(key, payload, case.payload.as_ref())?;
        match case.payload {
            Some(_) => Some(json!({ case.name.clone(): value })),
            None => Some(case.name.clone().into()),
        }
    }

    /// What stands behind a case: a value, or nothing.
    fn payload(&mut self, case: &Scalar, node: Option<&Node>, ty: Option<&Type>) -> Option<Value> {
        match (node, ty) {
            (None, None) => Some(Value::Null),
            (Some(node), None) if node.is_null() => Some(Value::Null),
            (Some(node), None) => {
                let message = format!("`{}` carries nothing, found {}", case.text, node.found());
                self.problems.error(node.span(), message);
                None
            }
            (Some(node), Some(ty)) => self.value(node, ty),
            (None, Some(ty)) if self.may_be_left_out(ty) => Some(Value::Null),
            (None, Some(ty)) => {
                let message = format!("`{}` carries {}", case.text, name_of(ty));
                let help = format!("write `{{ {}: … }}`", case.text);
                self.problems.error_help(case.span, message, help);
                None
            }
        }
    }

    fn label(&mut self, node: &Node, name: &str, cases: &[String], kind: &str) -> Option<Value> {
        let what = format!("a {kind} of `{name}`");
        match node {
            Node::Scalar(scalar) if cases.contains(&scalar.text) => {
                Some(scalar.text.clone().into())
            }
            Node::Scalar(scalar) if !scalar.is_absent() => {
                self.unknown_label(scalar, &what, cases.iter().map(String::as_str))
            }
            _ => self.unexpected(node, &what),
        }
    }

    fn flags(&mut self, node: &Node, name: &str, flags: &[String]) -> Option<Value> {
        let items = self.items(node, &format!("a list of flags of `{name}`"))?;
        let mut seen = HashSet::new();
        let mut values = Vec::new();
        let mut sound = true;
        for item in items {
            match self.label(item, name, flags, "flag") {
                Some(flag) if !seen.insert(flag.clone()) => {
                    self.problems.error(item.span(), format!("{} stands twice", item.found()));
                    sound = false;
                }
                Some(flag) => values.push(flag),
                None => sound = false,
            }
        }
        sound.then_some(Value::Array(values))
    }

    fn scalar(&mut self, node: &Node, ty: &Type) -> Option<Value> {
        let what = name_of(ty);
        let scalar = match node {
            Node::Scalar(scalar) if !scalar.is_absent() => scalar,
            Node::Scalar(scalar) if *ty == Type::String => {
                let message = format!("expected {what}, found nothing");
                self.problems.error_help(scalar.span, message, "write `\"\"`".to_string());
                return None;
            }
            _ => return self.unexpected(node, &what),
        };
        let text = scalar.text.as_str();
        match ty {
            Type::String => Some(text.into()),
            Type::Char => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(_), None) => Some(text.into()),
                    _ => self.unexpected(node, "one character"),
                }
            }
            Type::Bool => match text {
                "true" => Some(true.into()),
                "false" => Some(false.into()),
                _ => self.unexpected(node, "`true` or `false`"),
            },
            Type::F32 | Type::F64 => self.float(scalar, ty),
            _ => self.integer(node, ty).map(integer_json),
        }
    }

    fn float(&mut self, scalar: &Scalar, ty: &Type) -> Option<Value> {
        let text = scalar.text.as_str();
        match text {
            "NaN" | ".nan" | ".NaN" => return Some("NaN".into()),
            "Infinity" | ".inf" => return Some("Infinity".into()),
            "-Infinity" | "-.inf" => return Some("-Infinity".into()),
            _ => {}
        }
        let number = if *ty == Type::F32 {
            // The shortest text of the nearest f32 is what JSON shows, not its digits as f64.
            let nearest = text.parse::<f32>().ok().filter(|number| number.is_finite());
            nearest.and_then(|number| number.to_string().parse().ok())
        } else {
            text.parse::<f64>().ok().filter(|number| number.is_finite())
        };
        let number = number.filter(|_| is_decimal(text)).and_then(serde_json::Number::from_f64);
        if number.is_none() {
            self.problems.error_help(
                scalar.span,
                format!("expected {}, found {}", name_of(ty), quoted(text)),
                "a number such as `-1.5e3`, `NaN`, `Infinity` or `-Infinity`".to_string(),
            );
        }
        number.map(Value::Number)
    }

    fn items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match node {
            Node::List(list) => Some(&list.items),
            _ => self.unexpected(node, what),
        }
    }

    fn unexpected<T>(&mut self, node: &Node, what: &str) -> Option<T> {
        if !matches!(node, Node::Broken(_)) {
            let message = format!("expected {what}, found {}", node.found());
            self.problems.error(node.span(), message);
        }
        None
    }

    fn unknown_label<'n, T>(
        &mut self,
        found: &Scalar,
        what: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<T> {
        let help = self.problems.did_you_mean(&found.text, known.clone());
        let help = help.unwrap_or_else(|| {
            let names: Vec<&str> = known.take(8).collect();
            format!("there is {}", listed(&names))
        });
        let message = format!("expected {what}, found {}", quoted(&found.text));
        self.problems.error_help(found.span, message, help);
        None
    }

    /// Whether nothing is a value of `ty`.
    fn may_be_left_out(&self, ty: &Type) -> bool {
        matches!(self.opened(ty), Opened::Type(Type::Option(_)))
    }

    fn is_u8(&self, ty: &Type) -> bool {
        matches!(self.opened(ty), Opened::Type(Type::U8))
    }

    /// `ty` with aliases resolved.
    fn opened<'s>(&self, ty: &'s Type) -> Opened<'s>
    where
        'a: 's,
    {
        let types: &'a IndexMap<String, TypeDecl> = self.types;
        let mut ty = ty;
        while let Type::Named(name) = ty {
            match types.get_key_value(name) {
                Some((_, TypeDecl { def: TypeDef::Alias(target), .. })) => ty = target,
                Some((name, decl)) => return Opened::Def(name, &decl.def),
                None => return Opened::Type(&REFUSED_REF),
            }
        }
        Opened::Type(ty)
    }
}

/// A type with aliases resolved: one of WIT's own, or the name and shape of a declared one.
enum Opened<'s> {
    Type(&'s Type),
    Def(&'s str, &'s TypeDef),
}

/// [`REFUSED`] with a place in memory.
static REFUSED_REF: Type = REFUSED;

/// All values, if all are there; every one is read before, so that all mistakes are found.
fn collect(values: impl Iterator<Item = Option<Value>>) -> Option<Vec<Value>> {
    let values: Vec<Option<Value>> = values.collect();
    values.into_iter().collect()
}

fn integer_json(number: i128) -> Value {
    match i64::try_from(number) {
        Ok(small) if number.abs() <= MAX_JSON_INTEGER => small.into(),
        _ => number.to_string().into(),
    }
}

fn range(ty: &Type) -> Option<(i128, i128)> {
    Some(match ty {
        Type::S8 => (i8::MIN.into(), i8::MAX.into()),
        Type::S16 => (i16::MIN.into(), i16::MAX.into()),
        Type::S32 => (i32::MIN.into(), i32::MAX.into()),
        Type::S64 => (i64::MIN.into(), i64::MAX.into()),
        Type::U8 => (0, u8::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        Type::U64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn name_of(ty: &Type) -> String {
    match ty {
        Type::Named(name) => format!("`{name}`"),
        Type::List(_) => "a list".into(),
        Type::Tuple(_) => "a tuple".into(),
        Type::Option(_) => "an option".into(),
        Type::Result { .. } => "a result".into(),
        simple => format!("{simple:?}").to_lowercase(),
    }
}

/// `-?(0|[1-9][0-9]*)`
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}

/// An integer with an optional fraction and exponent.
fn is_decimal(text: &str) -> bool {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent),
        None => (text, "0"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_integer(whole) && digits(fraction) && digits(exponent)
}

/// What to do about a text that is nearly an integer.
fn integer_help(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let bare: String = digits.chars().filter(|c| !matches!(c, '_' | ',' | '.')).collect();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if text.starts_with('+') {
            return Some("leave the `+` out".into());
        }
        return Some(
            "numbers have no leading zeros; if they matter, the type should be `string`".into(),
        );
    }
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        return Some("a whole number is written with digits alone, e.g. `1000`".into());
    }
    if digits.starts_with("0x") || digits.starts_with("0o") || digits.starts_with("0b") {
        return Some("write the number in decimal digits".into());
    }
    None
}

/// The advice for text that a comma cut: `{ owner: Smith, John }` is read as two fields.
fn cut_by_comma(key: &Scalar, node: &Node, before: Option<&Node>) -> Option<String> {
    let cut = matches!(node, Node::Scalar(scalar) if scalar.is_absent());
    match before {
        Some(Node::Scalar(text)) if cut && text.style == Style::Plain => {
            let whole = format!("{}, {}", text.text, key.text);
            let whole = quoted(&whole);
            Some(format!(
                "inside `{{ }}` a comma ends the value: if it belongs to the text, write `\"{}\"`",
                whole.trim_matches('`')
            ))
        }
        _ => None,
    }
}
