//! The steps of the host, read from its source: `step!("NAME", CALL)`, see `host/src/step.rs`.
//!
//! This looks at text, not at syntax: comments and the contents of texts are blanked, then
//! brackets are counted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// What a step begins with.
const OPENING: &str = "step!(";

/// A place where the host waits for a store, or a store for what lies behind it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// `PATH:LINE`, from the root of the workspace.
    pub place: String,
    /// Where it begins and ends in the text, in bytes.
    pub span: (usize, usize),
}

/// One file without its comments, the contents of its texts, and its unit tests.
#[derive(Debug, Clone)]
pub struct Code {
    /// From the root of the workspace, with `/`.
    pub path: String,
    /// The code; every byte stands where it stood.
    pub text: String,
    /// The steps in it.
    pub steps: Vec<Step>,
}

/// All steps of the host.
///
/// # Errors
/// If the source cannot be read or holds a step without a name.
pub fn all() -> Result<Vec<Step>> {
    Ok(host_code()?.into_iter().flat_map(|code| code.steps).collect())
}

/// The source of the host.
///
/// # Errors
/// As [`all`].
pub fn host_code() -> Result<Vec<Code>> {
    let mut files = Vec::new();
    collect(&workspace::root().join("host/src"), &mut files)?;
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Code> {
    let source = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let path = path.strip_prefix(workspace::root())?.to_string_lossy().replace('\\', "/");
    code(path, &source)
}

/// The code of a source text.
///
/// # Errors
/// If a step has no name or no end.
pub fn code(path: String, source: &str) -> Result<Code> {
    let tests = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    let source = source.get(..tests).unwrap_or(source);
    let text = blank(source);
    let mut steps = Vec::new();
    for (start, _) in text.match_indices(OPENING) {
        let line = source.get(..start).unwrap_or_default().lines().count();
        let place = format!("{path}:{line}");
        let open = start + OPENING.len() - 1;
        let end = closing(&text, open).with_context(|| format!("{place}: no end"))?;
        let inside = source.get(open + 1..end).unwrap_or_default().trim_start();
        let name = inside.strip_prefix('"').and_then(|rest| Some(rest.split_once('"')?.0));
        let name =
            name.with_context(|| format!("{place}: a step begins with its name"))?.to_owned();
        steps.push(Step { name, place, span: (start, end) });
    }
    ensure!(text.len() == source.len(), "{path}: blanking moved the text");
    Ok(Code { path, text, steps })
}

/// Where the bracket that opens at `open` is closed.
#[must_use]
pub fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The source with spaces in place of comments and of what stands in texts and characters.
fn blank(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = opaque(rest, text.chars().next_back()).unwrap_or(0);
        let (hidden, after) = rest.split_at(length.max(first.len_utf8()));
        if length == 0 {
            text.push(first);
        } else {
            text.extend(hidden.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    text
}

/// How many bytes at the beginning of `rest` are a comment, a text or a character.
fn opaque(rest: &str, before: Option<char>) -> Option<usize> {
    let end = |of: Option<usize>, more: usize| of.map_or(rest.len(), |at| at + more);
    if rest.starts_with("//") {
        return Some(end(rest.find('\n'), 0));
    }
    if rest.starts_with("/*") {
        return Some(end(rest.find("*/"), 2));
    }
    let word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !word || before == Some('b')) {
        let marks = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(marks..)?.starts_with('"') {
            let close = format!("\"{}", "#".repeat(marks));
            let body = raw.get(marks + 1..)?;
            return Some(end(body.find(&close).map(|at| at + marks + 2), close.len()));
        }
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let body = rest.get(1..)?;
    if quote == '\'' && !body.starts_with('\\') {
        // A lifetime has no end.
        let character = body.chars().next()?.len_utf8();
        return body.get(character..)?.starts_with('\'').then_some(character + 2);
    }
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 2),
            _ => {}
        }
    }
    Some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_comments_hide_nothing_and_move_nothing() {
        let source = "a(\"é)\\\"\"); // step!(\nb('(', b'\\'', r#\"(\"\"#, &'a x)/* ( */ c";
        let found = code("x".to_owned(), source).unwrap();
        assert_eq!(found.text.len(), source.len());
        let words: Vec<_> = found.text.split_whitespace().collect();
        assert_eq!(words.concat(), "a();b(,b,,&'ax)c");
        assert!(found.steps.is_empty());
    }

    #[test]
    fn a_step_is_found_with_its_name_and_its_end() {
        let source = "fn f() {\n    step!(\n        \"a.b\",\n        g(\")\").await\n    )?;\n}\n#[cfg(test)]\nmod tests {\n step!(x)";
        let found = code("x.rs".to_owned(), source).unwrap();
        let [step] = found.steps.as_slice() else { panic!("{:?}", found.steps) };
        assert_eq!((step.name.as_str(), step.place.as_str()), ("a.b", "x.rs:2"));
        assert_eq!(&source[step.span.1..step.span.1 + 2], ")?");
        assert!(code("x.rs".to_owned(), "step!(name, x)").is_err());
    }
}
