//! What was wrong, told so that the sender can mend it.

use std::fmt::Write as _;

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::JsonError;
use crate::json::Plan;

/// Most characters of the sender's text in a message.
const SHOWN_CHARS: usize = 60;

/// Most names that a message lists.
const SHOWN_NAMES: usize = 12;

/// One step of a path.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// What is known of an error while it is on its way out.
#[derive(Debug, Default)]
pub(super) struct Problem {
    /// Innermost step first.
    steps: Vec<Step>,
    expected: Option<String>,
    found: Option<String>,
}

impl Problem {
    /// The innermost value that was being read; later calls, from those around it, say nothing.
    pub(super) fn within(&mut self, plan: &Plan) {
        if self.expected.is_none() {
            self.expected = Some(describe(plan));
        }
    }

    /// What was expected where the type alone does not say it.
    pub(super) fn expected(&mut self, expected: impl Into<String>) {
        self.expected = Some(expected.into());
    }

    /// What the type wants beyond its name.
    pub(super) fn detail(&mut self, detail: &str) {
        if let Some(expected) = &mut self.expected {
            let _ = write!(expected, " ({detail})");
        }
    }

    /// A name that is none of `known`; `kind` is their word, e.g. `fields`.
    pub(super) fn unknown<'a>(
        &mut self,
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
        renamed_to: Option<&str>,
    ) {
        let mut expected = list(kind, known.clone());
        if let Some(near) = renamed_to.or_else(|| nearest(name, known)) {
            let _ = write!(expected, " (did you mean `{near}`?)");
        }
        self.expected = Some(expected);
        self.found = Some(format!("`{}`", shorten(name)));
    }

    /// A key that must be there and is not.
    pub(super) fn missing(&mut self, name: &str, plan: &Plan) {
        self.expected = Some(describe(plan));
        self.found = Some("nothing: the field is missing".to_owned());
        self.at_key(name);
    }

    /// A key that stands there a second time.
    pub(super) fn duplicate(&mut self, name: &str) {
        self.expected = Some("the field once".to_owned());
        self.found = Some("it a second time".to_owned());
        self.at_key(name);
    }

    /// The error was found under this key.
    pub(super) fn at_key(&mut self, name: &str) {
        self.steps.push(Step::Key(name.to_owned()));
    }

    /// The error was found in this item.
    pub(super) fn at_index(&mut self, index: usize) {
        self.steps.push(Step::Index(index));
    }

    /// The error as the sender is told, `error` being the reader's and `json` the whole text.
    pub(super) fn explain(self, error: &serde_json::Error, json: &str) -> JsonError {
        let path = self.path();
        if !error.is_data() {
            return JsonError {
                path,
                expected: "JSON".to_owned(),
                found: format!("a mistake in it: {error}"),
            };
        }
        let found = self.found.or_else(|| {
            let mut steps = self.steps.iter().rev();
            steps.try_fold(json, |json, step| step.find(json)).map(shorten)
        });
        JsonError {
            path,
            expected: self.expected.unwrap_or_else(|| "another value".to_owned()),
            found: found.unwrap_or_else(|| error.to_string()),
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            let _ = match step {
                Step::Key(name) if path.is_empty() => write!(path, "{name}"),
                Step::Key(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        path
    }
}

impl Step {
    /// The text of the value that this step leads to.
    fn find<'j>(&self, json: &'j str) -> Option<&'j str> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let mut found = None;
        // The rest of the text may be broken: what was found before it still stands.
        let _ = match self {
            Self::Key(_) => deserializer.deserialize_map(Find { step: self, found: &mut found }),
            Self::Index(_) => deserializer.deserialize_seq(Find { step: self, found: &mut found }),
        };
        found
    }
}

struct Find<'s, 'j> {
    step: &'s Step,
    found: &'s mut Option<&'j str>,
}

impl<'j> Visitor<'j> for Find<'_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_it) = map.next_key_seed(Name(|name: &str| match self.step {
            Step::Key(key) => key == name,
            Step::Index(_) => false,
        }))? {
            if is_it {
                *self.found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if matches!(self.step, Step::Index(at) if *at == index) {
                *self.found = Some(item.get());
                return Ok(());
            }
            index += 1;
        }
        Ok(())
    }
}

/// Reads a string and gives what the function makes of it, without keeping it.
pub(super) struct Name<F>(pub(super) F);

impl<'de, R, F: FnOnce(&str) -> R> DeserializeSeed<'de> for Name<F> {
    type Value = R;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<R, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<R, F: FnOnce(&str) -> R> Visitor<'_> for Name<F> {
    type Value = R;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<R, E> {
        Ok((self.0)(name))
    }
}

/// The plan in the words of a message.
fn describe(plan: &Plan) -> String {
    match plan {
        Plan::Bool => "bool",
        Plan::S8 => "s8",
        Plan::S16 => "s16",
        Plan::S32 => "s32",
        Plan::S64 => "s64",
        Plan::U8 => "u8",
        Plan::U16 => "u16",
        Plan::U32 => "u32",
        Plan::U64 => "u64",
        Plan::F32 => "f32",
        Plan::F64 => "f64",
        Plan::Char => "char: a string of one character",
        Plan::String => "string",
        Plan::Bytes => "list<u8>: a string of padded base64",
        Plan::List(_) => "an array",
        Plan::Record(_) => "an object",
        Plan::Tuple(items) => return format!("an array of {} items", items.len()),
        Plan::Option(some) if matches!(**some, Plan::Option(_)) => "null or {\"some\": value}",
        Plan::Option(some) => return format!("{} or null", describe(some)),
        Plan::Result { ok, err } => {
            let value = |plan: &Option<_>| if plan.is_some() { "value" } else { "null" };
            return format!("{{\"ok\": {}}} or {{\"err\": {}}}", value(ok), value(err));
        }
        Plan::Variant(cases) => return list("cases", cases.iter().map(|case| &*case.name)),
        Plan::Enum(cases) => return list("cases", cases.iter().map(|case| &**case)),
        Plan::Flags(flags) => {
            return format!("an array of {}", list("flags", flags.iter().map(|flag| &**flag)));
        }
    }
    .to_owned()
}

/// `one of the fields `a`, `b``.
fn list<'a>(kind: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut text = match names.clone().count() {
        0 => return format!("no {kind}"),
        _ => format!("one of the {kind} "),
    };
    for (n, name) in names.enumerate() {
        match n {
            0 => {}
            SHOWN_NAMES => return text + ", …",
            _ => text.push_str(", "),
        }
        let _ = write!(text, "`{name}`");
    }
    text
}

/// The name that the sender may have meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(SHOWN_CHARS).collect();
    let allowed = 1 + name.chars().count() / 4;
    known
        .map(|known| (strsim::damerau_levenshtein(&name, known), known))
        .filter(|(distance, known)| *distance <= allowed && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// At most [`SHOWN_CHARS`] characters of `text`, on one line.
fn shorten(text: &str) -> String {
    let mut short: String =
        text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    short
}
