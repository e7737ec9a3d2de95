//! Type expressions such as `list<option<money>>`: WIT's types by their WIT names.

use crate::model::Type;

/// Deepest nesting of one expression; component runtimes refuse types far before stacks end.
const MAX_DEPTH: usize = 16;

/// Most members of a tuple: Rust's own traits stop there, and nobody can read more.
const MAX_TUPLE: usize = 12;

/// Why a text is not a type, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Characters before the mistake.
    pub offset: usize,
    /// Characters that it covers.
    pub width: usize,
    pub what: What,
}

/// What is wrong with a type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A name that stands for no type.
    Unknown(String),
    /// Anything else, with advice.
    Other(String, Option<String>),
}

/// The names of WIT's own types, for suggestions (of those equally near, the first) and so that no
/// type of a model hides one.
pub(super) const BUILTIN: [&str; 17] = [
    "u64", "u32", "u16", "u8", "s64", "s32", "s16", "s8", "f64", "f32", "bool", "char", "string",
    "list", "option", "tuple", "result",
];

/// Reads `text` as a type; `known` says which named types there are.
pub(super) fn parse(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Type, Fault> {
    let mut parser = Parser { text: text.chars().collect(), next: 0, known };
    let ty = parser.ty(0)?;
    parser.blanks();
    if parser.next < parser.text.len() {
        let rest: String = parser.text.iter().skip(parser.next).take(20).collect();
        let message = format!("expected the end of the type, found `{rest}`");
        return Err(parser.fault(parser.next, 1, message, None));
    }
    Ok(ty)
}

/// How many `<` in `text` are not closed.
pub(super) fn unclosed(text: &str) -> isize {
    text.chars().fold(0, |open, c| match c {
        '<' => open + 1,
        '>' => open - 1,
        _ => open,
    })
}

/// A WIT type without parameters.
pub(super) fn simple(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "s8" => Type::S8,
        "s16" => Type::S16,
        "s32" => Type::S32,
        "s64" => Type::S64,
        "u8" => Type::U8,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "u64" => Type::U64,
        "f32" => Type::F32,
        "f64" => Type::F64,
        "char" => Type::Char,
        "string" => Type::String,
        _ => return None,
    })
}

/// What a type of another language is here.
pub(super) fn foreign(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "int" | "integer" | "long" | "i64" => "`s64` (or `u64`, never below zero)",
        "i8" => "`s8`",
        "i16" | "short" => "`s16`",
        "i32" => "`s32`",
        "uint" | "usize" => "`u64`",
        "byte" => "`u8`",
        "float" | "double" | "number" | "float64" => "`f64` (money: whole cents in `u64`)",
        "float32" => "`f32`",
        "decimal" => "a record of whole cents and a currency, or `string`",
        "boolean" => "`bool`",
        "str" | "text" | "uuid" | "varchar" => "`string`",
        "bytes" | "blob" | "binary" => "`list<u8>`",
        "array" | "vec" | "set" | "sequence" => "`list<..>`",
        "map" | "dict" | "object" => "a record, or `list<tuple<string, ..>>`",
        "optional" | "maybe" | "nullable" => "`option<..>`",
        "date" | "datetime" | "time" | "timestamp" | "instant" => {
            "`u64` (milliseconds since 1970) or `string`"
        }
        "any" | "json" => "a record or variant that says what it may be",
        _ => return None,
    })
}

struct Parser<'k> {
    text: Vec<char>,
    next: usize,
    known: &'k dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn ty(&mut self, depth: usize) -> Result<Type, Fault> {
        let (start, name) = self.word();
        if depth >= MAX_DEPTH {
            let message = format!("the type nests deeper than {MAX_DEPTH} levels");
            return Err(self.fault(start, 1, message, Some("give its parts names".into())));
        }
        let width = name.chars().count();
        if name.is_empty() {
            let message = match self.text.get(start) {
                Some(c) => format!("expected a type, found `{c}`"),
                None => "expected a type, found nothing".into(),
            };
            return Err(self.fault(start, 1, message, None));
        }
        if let Some(ty) = simple(&name) {
            self.no_parameters(&name)?;
            return Ok(ty);
        }
        match name.as_str() {
            "list" => Ok(Type::List(Box::new(self.one_parameter(start, &name, depth)?))),
            "option" => Ok(Type::Option(Box::new(self.one_parameter(start, &name, depth)?))),
            "tuple" => self.tuple(start, depth),
            "result" => self.result(depth),
            _ if (self.known)(&name) => {
                self.no_parameters(&name)?;
                Ok(Type::Named(name))
            }
            "resource" | "stream" | "future" | "own" | "borrow" | "error-context" => {
                let message = format!("`{name}` cannot stand in a model");
                let help = "state, commands and events are data: numbers, text, lists, records";
                Err(self.fault(start, width, message, Some(help.into())))
            }
            _ => Err(Fault { offset: start, width, what: What::Unknown(name) }),
        }
    }

    fn one_parameter(&mut self, start: usize, name: &str, depth: usize) -> Result<Type, Fault> {
        if !self.take('<') {
            let message = format!("`{name}` needs the type of what it holds");
            let help = format!("write e.g. `{name}<u64>`");
            return Err(self.fault(start, name.len(), message, Some(help)));
        }
        let ty = self.ty(depth + 1)?;
        self.close()?;
        Ok(ty)
    }

    fn tuple(&mut self, start: usize, depth: usize) -> Result<Type, Fault> {
        if !self.take('<') || self.peek() == Some('>') {
            let message = "`tuple` needs the types of its members".to_string();
            return Err(self.fault(
                start,
                5,
                message,
                Some("write e.g. `tuple<u64, bool>`".into()),
            ));
        }
        let mut members = vec![self.ty(depth + 1)?];
        while self.take(',') {
            members.push(self.ty(depth + 1)?);
            if members.len() > MAX_TUPLE {
                let message = format!("a tuple has at most {MAX_TUPLE} members");
                let help = "name the members: use a record";
                return Err(self.fault(start, 5, message, Some(help.into())));
            }
        }
        self.close()?;
        Ok(Type::Tuple(members))
    }

    fn result(&mut self, depth: usize) -> Result<Type, Fault> {
        if !self.take('<') {
            return Ok(Type::Result { ok: None, err: None });
        }
        let (start, word) = self.word();
        let ok = if word == "_" {
            None
        } else {
            self.next = start;
            Some(Box::new(self.ty(depth + 1)?))
        };
        let err = if self.take(',') { Some(Box::new(self.ty(depth + 1)?)) } else { None };
        if self.peek().is_none() {
            self.close()?;
        }
        if ok.is_none() && err.is_none() {
            let message = "`_` stands only before an error type".to_string();
            let help = "write `result`, `result<u64>`, `result<_, string>` or \
                        `result<u64, string>`";
            return Err(self.fault(start, 1, message, Some(help.into())));
        }
        self.close()?;
        Ok(Type::Result { ok, err })
    }

    fn close(&mut self) -> Result<(), Fault> {
        if self.take('>') {
            return Ok(());
        }
        let message = match self.peek() {
            Some(',') => "too many types between `<` and `>`".to_string(),
            Some(c) => format!("expected `>`, found `{c}`"),
            None => "the type has no closing `>`".to_string(),
        };
        Err(self.fault(self.next, 1, message, None))
    }

    fn no_parameters(&mut self, name: &str) -> Result<(), Fault> {
        if self.peek() == Some('<') {
            let message = format!("`{name}` takes no types between `<` and `>`");
            return Err(self.fault(self.next, 1, message, None));
        }
        Ok(())
    }

    /// The characters up to the next blank, `<`, `>` or `,`, and where they start.
    fn word(&mut self) -> (usize, String) {
        self.blanks();
        let start = self.next;
        let ends = |c: &char| c.is_whitespace() || matches!(c, '<' | '>' | ',');
        let word: String = self.text.iter().skip(start).take_while(|c| !ends(c)).collect();
        self.next += word.chars().count();
        (start, word)
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.next += usize::from(found);
        found
    }

    fn peek(&mut self) -> Option<char> {
        self.blanks();
        self.text.get(self.next).copied()
    }

    fn blanks(&mut self) {
        while self.text.get(self.next).is_some_and(|c| c.is_whitespace()) {
            self.next += 1;
        }
    }

    fn fault(&self, at: usize, width: usize, message: String, help: Option<String>) -> Fault {
        let offset = at.min(self.text.len());
        Fault { offset, width, what: What::Other(message, help) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Type, Fault> {
        parse(text, &|name| name == "money")
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(read("u64"), Ok(Type::U64));
        assert_eq!(read(" list < money > "), Ok(Type::List(Box::new(Type::Named("money".into())))));
        assert_eq!(read("option<u8>"), Ok(Type::Option(Box::new(Type::U8))));
        assert_eq!(read("tuple<u64,string>"), Ok(Type::Tuple(vec![Type::U64, Type::String])));
        assert_eq!(read("result"), Ok(Type::Result { ok: None, err: None }));
        let error = Some(Box::new(Type::String));
        assert_eq!(read("result<_, string>"), Ok(Type::Result { ok: None, err: error.clone() }));
        let ok = Some(Box::new(Type::U8));
        assert_eq!(read("result<u8>"), Ok(Type::Result { ok: ok.clone(), err: None }));
        assert_eq!(read("result<u8, string>"), Ok(Type::Result { ok, err: error }));
    }

    #[test]
    fn other_texts_are_refused_at_their_place() {
        let cases = [
            ("", 0),
            ("list", 0),
            ("list<", 5),
            ("list<u8", 7),
            ("list<u8,u8>", 7),
            ("tuple<>", 0),
            ("result<_>", 7),
            ("u8 u8", 3),
            ("u8<u8>", 2),
            ("list<mony>", 5),
            ("stream<u8>", 0),
            ("money<u8>", 5),
            (">", 0),
            ("list<u8>>", 8),
            ("list<u8, 4>", 7),
        ];
        for (text, offset) in cases {
            assert_eq!(read(text).unwrap_err().offset, offset, "{text}");
        }
        assert_eq!(read("mony").unwrap_err().what, What::Unknown("mony".into()));
        assert!(read(&"list<".repeat(100_000)).is_err());
        assert!(read(&format!("tuple<{}u8>", "u8,".repeat(12))).is_err());
    }
}
