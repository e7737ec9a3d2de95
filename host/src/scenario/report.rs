//! Results for people, for programs and for build servers.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::value::RawValue;
use similar::{ChangeTag, TextDiff};

use super::{Problem, Results, ScenarioResult, What, difference};
use crate::vm::FaultKind;

/// Lines that are the same, shown around those that differ.
const CONTEXT_LINES: usize = 3;

/// How text for people is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With the terminal's colours.
    Terminal,
    /// Plain.
    Plain,
}

/// The results for people: a line per scenario, what is wrong below it, elements that no scenario
/// touches, and a summary as the last line. `file` is the model's name for the user.
#[must_use]
pub fn human(results: &Results, file: &str, colour: Colour) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    for scenario in &results.scenarios {
        let name = one_line(&scenario.name);
        if scenario.passed() {
            out += &format!("{}  {name}\n", paint.green("pass"));
            continue;
        }
        let at = scenario.at;
        out += &format!("{}  {name}  ({file}:{}:{})\n", paint.red("FAIL"), at.line, at.column);
        for problem in &scenario.problems {
            for line in explain(problem, scenario, paint).lines() {
                out += &format!("      {line}\n");
            }
        }
    }
    let untouched: Vec<_> = results
        .untouched
        .iter()
        .map(|element| format!("{} {} `{}`", element.aggregate, element.kind, element.name))
        .collect();
    if !untouched.is_empty() {
        out += &format!("\nno scenario touches: {}\n", untouched.join(", "));
    }
    if !results.scenarios.is_empty() {
        out.push('\n');
    }
    out += &format!("{}\n", summary(results));
    out
}

/// E.g. `12 scenarios, 11 passed, 1 failed`.
#[must_use]
pub fn summary(results: &Results) -> String {
    let count = results.scenarios.len();
    let s = if count == 1 { "" } else { "s" };
    format!("{count} scenario{s}, {} passed, {} failed", results.passed(), results.failed())
}

/// The results for programs:
///
/// ```json
/// {"scenarios": [{"name": "…", "aggregate": "account", "actor": "bank/account/alice",
///    "line": 61, "column": 5, "passed": false, "micros": 412,
///    "problems": [{"kind": "outcome", "step": 1, "message": "…",
///      "path": "balance", "expected": {}, "got": {}, "state": {}}]}],
///  "untouched": [{"aggregate": "account", "kind": "event", "name": "closed"}],
///  "passed": 0, "failed": 1}
/// ```
///
/// `kind` is `no-component`, `misfit`, `fault`, `unlawful`, `outcome`, `state` or `impure`. `step`
/// (from 1), `path`, `expected`, `got` and `state` (before the step) are `null` where they do not
/// apply; for `impure`, `expected` and `got` are the two answers.
#[must_use]
pub fn data(results: &Results) -> impl Serialize + '_ {
    Data {
        scenarios: results.scenarios.iter().map(ScenarioData::new).collect(),
        untouched: results
            .untouched
            .iter()
            .map(|element| UntouchedData {
                aggregate: &element.aggregate,
                kind: element.kind,
                name: &element.name,
            })
            .collect(),
        passed: results.passed(),
        failed: results.failed(),
    }
}

/// The results for build servers: a suite per aggregate, named `CONTEXT.AGGREGATE`.
#[must_use]
pub fn junit(results: &Results, context: &str, file: &str) -> quick_junit::Report {
    let mut report = quick_junit::Report::new(format!("aether test {file}"));
    let mut suites: Vec<(&str, TestSuite)> = Vec::new();
    for scenario in &results.scenarios {
        let suite = format!("{context}.{}", scenario.aggregate);
        let mut status = TestCaseStatus::success();
        if !scenario.passed() {
            let texts: Vec<_> = scenario
                .problems
                .iter()
                .map(|problem| explain(problem, scenario, Paint(Colour::Plain)))
                .collect();
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let first = texts.first().and_then(|text| text.lines().next()).unwrap_or_default();
            status.set_message(first);
            status.set_type(scenario.problems.first().map_or("", |problem| kind(&problem.what)));
            status.set_description(texts.join("\n"));
        }
        let mut case = TestCase::new(scenario.name.as_str(), status);
        case.set_classname(suite.as_str()).set_time(scenario.took);
        match suites.iter_mut().find(|(name, _)| *name == scenario.aggregate) {
            Some((_, suite)) => suite.add_test_case(case),
            None => {
                suites.push((&scenario.aggregate, TestSuite::new(suite)));
                let Some((_, suite)) = suites.last_mut() else { continue };
                suite.add_test_case(case)
            }
        };
    }
    report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    report
}

/// What is wrong, in lines; the first says it in short.
fn explain(problem: &Problem, scenario: &ScenarioResult, paint: Paint) -> String {
    let step = problem.step.map(|step| format!("step {step}: ")).unwrap_or_default();
    let mut out = match &problem.what {
        What::NoComponent => format!(
            "no component implements the aggregate `{}`: name one in `components` or on the \
             command line\n",
            scenario.aggregate
        ),
        What::Misfit(detail) => format!("the scenario does not fit the model: {detail}\n"),
        What::Fault { function, kind, detail } => {
            format!("{step}`{function}` gave no answer ({}): {}\n", fault(*kind), lines_of(detail))
        }
        What::Unlawful(detail) => format!("{step}the model does not allow this: {detail}\n"),
        What::Outcome { expected, got } => {
            format!("{step}another outcome (- expected, + got)\n{}", diff(expected, got, paint))
        }
        What::State { path, expected, got } => format!(
            "{step}the state after it differs in `{path}` (- expected, + got)\n{}",
            diff(expected, got, paint)
        ),
        What::Impure { question, path, one, other } => {
            let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
            format!(
                "not pure: the answers differ{place} (- the first, + the other)\n  {question}\n{}",
                diff(one, other, paint)
            )
        }
    };
    if let Some(state) = &problem.state {
        let _ = writeln!(out, "state before: {state}");
    }
    out
}

/// The lines of two JSON texts side by side.
fn diff(expected: &str, got: &str, paint: Paint) -> String {
    let (expected, got) = (difference::lines(expected), difference::lines(got));
    let diff = TextDiff::from_lines(expected.as_str(), got.as_str());
    let mut out = String::new();
    for (n, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if n > 0 {
            out.push_str("  …\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            let line = match change.tag() {
                ChangeTag::Delete => paint.red(&format!("- {line}")),
                ChangeTag::Insert => paint.green(&format!("+ {line}")),
                ChangeTag::Equal => format!("  {line}"),
            };
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

fn kind(what: &What) -> &'static str {
    match what {
        What::NoComponent => "no-component",
        What::Misfit(_) => "misfit",
        What::Fault { .. } => "fault",
        What::Unlawful(_) => "unlawful",
        What::Outcome { .. } => "outcome",
        What::State { .. } => "state",
        What::Impure { .. } => "impure",
    }
}

fn fault(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Trap => "trap",
        FaultKind::Deadline => "deadline",
        FaultKind::Memory => "memory",
        FaultKind::Contract => "contract",
        FaultKind::NoInstance => "no instance",
    }
}

/// `text` without characters that move a terminal's cursor or change its colours.
fn lines_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct Paint(Colour);

impl Paint {
    fn red(self, text: &str) -> String {
        self.sgr("31", text)
    }

    fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        match self.0 {
            Colour::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Plain => text.to_owned(),
        }
    }
}

#[derive(Serialize)]
struct Data<'a> {
    scenarios: Vec<ScenarioData<'a>>,
    untouched: Vec<UntouchedData<'a>>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize)]
struct ScenarioData<'a> {
    name: &'a str,
    aggregate: &'a str,
    actor: &'a str,
    line: usize,
    column: usize,
    passed: bool,
    micros: u64,
    problems: Vec<ProblemData<'a>>,
}

#[derive(Serialize)]
struct ProblemData<'a> {
    kind: &'static str,
    step: Option<usize>,
    message: String,
    path: Option<&'a str>,
    expected: Option<Box<RawValue>>,
    got: Option<Box<RawValue>>,
    state: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct UntouchedData<'a> {
    aggregate: &'a str,
    kind: &'static str,
    name: &'a str,
}

impl<'a> ScenarioData<'a> {
    fn new(scenario: &'a ScenarioResult) -> Self {
        let problem = |problem: &'a Problem| {
            let (path, expected, got) = match &problem.what {
                What::Outcome { expected, got } => (None, Some(expected), Some(got)),
                What::State { path, expected, got } => (Some(path), Some(expected), Some(got)),
                What::Impure { path, one, other, .. } => (Some(path), Some(one), Some(other)),
                _ => (None, None, None),
            };
            let raw = |json: &String| RawValue::from_string(json.clone()).ok();
            ProblemData {
                kind: kind(&problem.what),
                step: problem.step,
                message: explain(problem, scenario, Paint(Colour::Plain)),
                path: path.map(String::as_str),
                expected: expected.and_then(raw),
                got: got.and_then(raw),
                state: problem.state.as_ref().and_then(raw),
            }
        };
        Self {
            name: &scenario.name,
            aggregate: &scenario.aggregate,
            actor: &scenario.actor,
            line: scenario.at.line,
            column: scenario.at.column,
            passed: scenario.passed(),
            micros: u64::try_from(scenario.took.as_micros()).unwrap_or(u64::MAX),
            problems: scenario.problems.iter().map(problem).collect(),
        }
    }
}
