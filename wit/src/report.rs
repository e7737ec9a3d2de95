//! Mistakes in a model, told so that a person can mend them.
//!
//! A mistake names the place, what was found and what was expected; rendering shows the line with
//! the text underlined, cut to a window around the mistake where the line is long, with tabs as
//! blanks and control characters made visible, so that a hostile file cannot steer a terminal.

use std::{borrow::Cow, fmt};

use crate::model::Location;

/// Most characters of a source line that are shown.
const SHOWN_COLUMNS: usize = 100;

/// Characters kept before a mistake that stands far to the right.
const SHOWN_BEFORE: usize = 30;

/// Most characters of a user's text that a message repeats.
const QUOTED_CHARS: usize = 64;

/// Longest name, in bytes, that [`nearest`] looks at: longer ones are not names.
const NEAREST_BYTES: usize = 64;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The model is refused.
    Error,
    /// The model is taken, but somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake: where, what was found, what was expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it starts.
    pub at: Location,
    /// How many characters of that line it covers; at least 1.
    pub width: usize,
    /// What is wrong, e.g. "unknown event `deposted`".
    pub message: String,
    /// What to do, e.g. "did you mean `deposited`?".
    pub help: Option<String>,
}

/// All mistakes of one model, in the order of the text.
#[derive(Debug, Clone)]
pub struct Report {
    /// The model's file, as the user named it.
    pub file: String,
    /// The model's text, to show the lines in question.
    pub source: String,
    /// The mistakes; at least one of them is an error.
    pub problems: Vec<Problem>,
    /// How many further mistakes were found and left out of `problems`.
    pub more: usize,
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(f, &self.file, &self.source, &self.problems)?;
        if self.more > 0 {
            writeln!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Writes `problems` as `FILE:LINE:COL: error: …` with the line underlined; a blank line stands
/// between two of them.
///
/// # Errors
/// Only those of `out`.
pub fn render(
    out: &mut impl fmt::Write,
    file: &str,
    source: &str,
    problems: &[Problem],
) -> fmt::Result {
    let lines = lines(source);
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let Location { line, column } = problem.at;
        writeln!(out, "{file}:{line}:{column}: {}: {}", problem.severity, problem.message)?;
        if let Some(text) = lines.get(line.saturating_sub(1)).filter(|text| !text.is_empty()) {
            excerpt(out, text, problem)?;
        }
        if let Some(help) = &problem.help {
            writeln!(out, "  help: {help}")?;
        }
    }
    Ok(())
}

/// The candidate that `word` was probably meant to be, if one is close: few letters apart, in any
/// case, `_` for `-`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > NEAREST_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let word = plain(word);
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= NEAREST_BYTES)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most * 4)
        .map(|candidate| {
            let name = plain(candidate);
            let (short, long) =
                if name.len() < word.len() { (&name, &word) } else { (&word, &name) };
            // `open` for `opened`: a word and its forms differ in more letters than a slip does.
            let is_form = short.len() >= 3 && long.starts_with(short.as_str());
            let distance = strsim::osa_distance(&word, &name);
            (if is_form { distance.min(most) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `text` in back quotes for a message: cut after 64 characters, control characters escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("`");
    for c in text.chars().take(QUOTED_CHARS) {
        if shown(c) == c { out.push(c) } else { out.extend(c.escape_default()) }
    }
    if text.chars().nth(QUOTED_CHARS).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

/// The lines of a text as YAML counts them: `\n`, `\r\n` and a lone `\r` end one.
pub(crate) fn lines(source: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = source;
    while let Some(end) = rest.find(['\n', '\r']) {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..)).unwrap_or_default();
    }
    lines.push(rest);
    lines
}

/// The line in question with a gutter, and the underline below it.
fn excerpt(out: &mut impl fmt::Write, line: &str, problem: &Problem) -> fmt::Result {
    let column = problem.at.column.saturating_sub(1);
    let long = line.chars().nth(SHOWN_COLUMNS).is_some();
    let from = if long { column.saturating_sub(SHOWN_BEFORE) } else { 0 };
    let window: Vec<char> = line.chars().skip(from).take(SHOWN_COLUMNS).collect();
    let cut = line.chars().nth(from + SHOWN_COLUMNS).is_some();

    let mut text = String::new();
    let mut under = String::new();
    if from > 0 {
        text.push('…');
        under.push(' ');
    }
    let marked = (column - from)..(column - from).saturating_add(problem.width.max(1));
    for (index, c) in window.iter().enumerate() {
        text.push(shown(*c));
        let mark = if marked.contains(&index) { "^" } else { " " };
        under.push_str(&mark.repeat(columns(*c)));
    }
    // A mistake at the end of the line has nothing under it to mark but the end itself.
    if marked.start >= window.len() {
        under.push('^');
    }
    if cut {
        text.push('…');
    }
    let number = problem.at.line.to_string();
    let gutter: Cow<'_, str> = " ".repeat(number.len()).into();
    writeln!(out, "  {number} | {}", text.trim_end())?;
    writeln!(out, "  {gutter} | {}", under.trim_end())
}

/// What is written for a character: a blank for a tab, `\u{FFFD}` for what could steer a terminal.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}' | '\u{200f}' => {
            char::REPLACEMENT_CHARACTER
        }
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// How many columns a terminal gives a character: two for the East Asian wide blocks and emoji,
/// none for combining marks.
fn columns(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, line: usize, column: usize, width: usize) -> String {
        let problem = Problem {
            severity: Severity::Error,
            at: Location { line, column },
            width,
            message: "no".into(),
            help: None,
        };
        let mut out = String::new();
        render(&mut out, "f", source, &[problem]).unwrap();
        out
    }

    #[test]
    fn the_text_is_underlined() {
        let expected = "f:2:3: error: no\n  2 | a bc d\n    |   ^^\n";
        assert_eq!(rendered("x\na bc d\ny", 2, 3, 2), expected);
        assert_eq!(rendered("x\r\na bc d\r\ny", 2, 3, 2), expected);
        assert_eq!(rendered("x\ra bc d\ry", 2, 3, 2), expected);
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_underline_in_place() {
        assert_eq!(rendered("\tab", 1, 2, 1), "f:1:2: error: no\n  1 |  ab\n    |  ^\n");
        assert_eq!(rendered("日本ab", 1, 3, 2), "f:1:3: error: no\n  1 | 日本ab\n    |     ^^\n");
        assert_eq!(rendered("日本", 1, 2, 1), "f:1:2: error: no\n  1 | 日本\n    |   ^^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let source = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let expected = format!(
            "f:1:501: error: no\n  1 | …{}HERE{}…\n    |  {}^^^^\n",
            "a".repeat(30),
            "b".repeat(66),
            " ".repeat(30)
        );
        assert_eq!(rendered(&source, 1, 501, 4), expected);
        let wide = rendered(&source, 1, 1, 10_000);
        assert!(wide.lines().all(|line| line.chars().count() < 120), "{wide}");
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        assert_eq!(rendered("ab", 1, 3, 1), "f:1:3: error: no\n  1 | ab\n    |   ^\n");
        assert_eq!(rendered("ab", 9, 9, 9), "f:9:9: error: no\n");
        assert_eq!(rendered("ab", 0, 0, 0), "f:0:0: error: no\n  0 | ab\n    | ^\n");
        assert_eq!(rendered("ab", 1, usize::MAX, usize::MAX).lines().count(), 3);
    }

    #[test]
    fn what_could_steer_a_terminal_is_made_visible() {
        assert!(!rendered("a\u{1b}[31mb\u{202e}", 1, 1, 1).contains(['\u{1b}', '\u{202e}']));
        assert_eq!(quoted("a\u{1b}b\nc"), "`a\\u{1b}b\\nc`");
        assert_eq!(quoted(&"é".repeat(70)), format!("`{}…`", "é".repeat(64)));
    }

    #[test]
    fn the_nearest_name_is_found() {
        let known = ["opened", "deposited", "withdrawn"];
        assert_eq!(nearest("deposted", known), Some("deposited"));
        assert_eq!(nearest("Opened", known), Some("opened"));
        assert_eq!(nearest("open", known), Some("opened"));
        assert_eq!(nearest("closed", known), None);
        assert_eq!(
            nearest("insufficient_funds", ["insufficient-funds"]),
            Some("insufficient-funds")
        );
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }
}
