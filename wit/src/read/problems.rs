//! The mistakes found so far, bounded in number and in the work spent on suggestions.

use crate::{
    model::Location,
    report::{self, Problem, Severity},
};

/// Most problems that a report shows: nobody reads further.
const SHOWN: usize = 100;

/// Most problems that are kept to be sorted; those beyond are only counted, so that a file made of
/// mistakes costs bounded memory.
const KEPT: usize = 10_000;

/// Most names that are compared for "did you mean" in one file: a file with many mistakes among
/// many names would take a quadratic number of comparisons.
const COMPARISONS: usize = 20_000;

/// A part of one line of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// Where it starts.
    pub at: Location,
    /// How many characters of that line it covers.
    pub width: usize,
}

impl Span {
    /// The width of what goes on in the next line.
    pub const TO_LINE_END: usize = usize::MAX;

    /// The first character of the file, for what concerns all of it.
    pub const fn default_start() -> Self {
        Self { at: Location { line: 1, column: 1 }, width: 1 }
    }

    /// The span of `name` written at `at`.
    pub fn of(at: Location, name: &str) -> Self {
        Self { at, width: name.chars().count() }
    }
}

/// Collects mistakes.
#[derive(Debug)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    errors: usize,
    dropped: usize,
    comparisons_left: usize,
}

impl Problems {
    pub fn new() -> Self {
        Self { kept: Vec::new(), errors: 0, dropped: 0, comparisons_left: COMPARISONS }
    }

    /// Notes an error without advice.
    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), None);
    }

    /// Notes an error and what to do about it.
    pub fn error_help(
        &mut self,
        span: Span,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Error, span, message.into(), help.into());
    }

    /// Notes something that does not refuse the model.
    pub fn warn(
        &mut self,
        span: Span,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    /// "did you mean …?", if a candidate is close.
    pub fn did_you_mean<'a>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let left = &mut self.comparisons_left;
        let candidates = candidates.into_iter().take_while(|_| {
            let go_on = *left > 0;
            *left = left.saturating_sub(1);
            go_on
        });
        report::nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
    }

    /// How many errors were noted so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether an error was noted so far.
    pub fn any_error(&self) -> bool {
        self.errors > 0
    }

    /// The problems in the order of the text, each once, and how many were left out. Errors go
    /// before warnings where not all can be kept. Widths end where the line ends.
    pub fn finish(mut self, source: &str) -> (Vec<Problem>, usize) {
        let place = |p: &Problem| (p.at, p.severity);
        self.kept.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message)));
        self.kept.dedup();
        let found = self.kept.len();
        if found > SHOWN {
            self.kept.sort_by_key(|problem| problem.severity);
            self.kept.truncate(SHOWN);
            self.kept.sort_by_key(place);
        }
        let more = found - self.kept.len() + self.dropped;
        let lines = report::lines(source);
        for problem in &mut self.kept {
            let line = lines.get(problem.at.line.saturating_sub(1)).copied().unwrap_or_default();
            let rest = line.chars().skip(problem.at.column.saturating_sub(1));
            let covered: String = rest.take(problem.width).collect();
            problem.width = covered.trim_end().chars().count().max(1);
        }
        (self.kept, more)
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, help: Option<String>) {
        self.errors += usize::from(severity == Severity::Error);
        if self.kept.len() >= KEPT {
            self.dropped += 1;
            return;
        }
        self.kept.push(Problem { severity, at: span.at, width: span.width.max(1), message, help });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Span {
        Span { at: Location { line, column: 1 }, width: 1 }
    }

    #[test]
    fn problems_come_out_sorted_and_once() {
        let mut problems = Problems::new();
        problems.error(at(3), "c");
        problems.warn(at(1), "a", None);
        problems.error(at(3), "c");
        let (found, more) = problems.finish("");
        assert_eq!(found.iter().map(|p| p.message.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(more, 0);
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_errors_stay() {
        let mut problems = Problems::new();
        for line in 0..150 {
            problems.warn(at(line), "w", None);
        }
        for line in 150..200 {
            problems.error(at(line), "e");
        }
        let (found, more) = problems.finish("");
        assert_eq!((found.len(), more), (100, 100));
        assert_eq!(found.iter().filter(|p| p.severity == Severity::Error).count(), 50);

        let mut problems = Problems::new();
        for line in 0..20_000 {
            problems.error(at(line), "e");
        }
        assert_eq!(problems.finish("").1, 19_900);
    }
}
