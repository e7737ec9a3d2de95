//! `aether model`: checks a model, and makes from it what others need.

use std::{path::PathBuf, process::ExitCode};

use aether_wit::{
    Model, Problem,
    diff::{self, Impact},
    report::{self, Severity},
};
use anyhow::Context as _;
use serde_json::{Value, json};

use super::print;

/// Checks a model, and makes from it what others need.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Tell every mistake in a model.
    Check {
        /// The model.
        file: PathBuf,
        /// Print the mistakes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the contract of its components as WIT.
    Wit {
        /// The model.
        file: PathBuf,
    },
    /// Print its HTTP face as OpenAPI.
    Openapi {
        /// The model.
        file: PathBuf,
    },
    /// Print the board as an SVG picture.
    Board {
        /// The model.
        file: PathBuf,
    },
    /// Print the JSON Schema of the model language, for editors.
    Schema,
    /// Tell what changed between two models; exit status 1 if it breaks callers, or if stored events
    /// need an upcast that the new model does not have.
    Diff {
        /// The model as it was.
        old: PathBuf,
        /// The model as it is to be.
        new: PathBuf,
        /// Print the changes as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Check { file, json } => check(&Text::read(&file)?, json),
        What::Wit { file } => made(&Text::read(&file)?, aether_wit::wit::package),
        What::Openapi { file } => {
            made(&Text::read(&file)?, |model| aether_wit::openapi::openapi(&[model]))
        }
        What::Board { file } => made(&Text::read(&file)?, aether_wit::board::svg),
        What::Schema => {
            print::text(&aether_wit::schema::schema());
            Ok(ExitCode::SUCCESS)
        }
        What::Diff { old, new, json } => {
            let (old, new) = (Text::read(&old)?, Text::read(&new)?);
            let (Some(before), Some(after)) = (old.model(), new.model()) else {
                return Ok(ExitCode::from(super::INVALID));
            };
            let files = Files { old: &old.name, new: &new.name };
            Ok(compare(&files, &diff::diff(&before, &after), json))
        }
    }
}

/// The text of a model.
struct Text {
    name: String,
    bytes: Vec<u8>,
}

impl Text {
    fn read(file: &std::path::Path) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let bytes =
            std::fs::read(file).with_context(|| format!("the model {name} cannot be read"))?;
        Ok(Self { name, bytes })
    }

    /// The model, or none after its mistakes were printed.
    fn model(&self) -> Option<Model> {
        match aether_wit::read(&self.name, &self.bytes) {
            Ok((model, _)) => Some(model),
            Err(report) => {
                eprint!("{report}");
                None
            }
        }
    }
}

fn made(text: &Text, make: impl Fn(&Model) -> String) -> anyhow::Result<ExitCode> {
    let Some(model) = text.model() else { return Ok(ExitCode::from(super::INVALID)) };
    print::text(&make(&model));
    Ok(ExitCode::SUCCESS)
}

fn check(text: &Text, as_json: bool) -> anyhow::Result<ExitCode> {
    let (problems, model) = match aether_wit::read(&text.name, &text.bytes) {
        Ok((model, warnings)) => (warnings, Some(model)),
        Err(report) if !as_json => {
            eprint!("{report}");
            return Ok(ExitCode::from(super::INVALID));
        }
        Err(report) => (report.problems, None),
    };
    if as_json {
        print::line(&problems_json(&text.name, &problems).to_string());
    } else if let Some(model) = &model {
        let mut shown = String::new();
        report::render(&mut shown, &text.name, &model.source, &problems)?;
        eprint!("{shown}");
        print::line(&summary(&text.name, model));
    }
    let status = if model.is_some() { 0 } else { super::INVALID };
    Ok(ExitCode::from(status))
}

fn summary(file: &str, model: &Model) -> String {
    let sum = |count: fn(&aether_wit::model::Aggregate) -> usize| -> usize {
        model.aggregates.values().map(count).sum()
    };
    format!(
        "{file}: ok: context {} {}, {} aggregates, {} commands, {} events, {} rejections, {} scenarios, {}",
        model.context,
        model.version,
        model.aggregates.len(),
        sum(|aggregate| aggregate.commands.len()),
        sum(|aggregate| aggregate.events.len()),
        sum(|aggregate| aggregate.rejections.len()),
        model.scenarios.len(),
        model.digest
    )
}

fn problems_json(file: &str, problems: &[Problem]) -> Value {
    let problem = |problem: &Problem| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        json!({
            "severity": severity, "line": problem.at.line, "column": problem.at.column,
            "width": problem.width, "message": problem.message, "help": problem.help,
        })
    };
    json!({ "file": file, "problems": problems.iter().map(problem).collect::<Vec<_>>() })
}

/// The names of the two files that are compared.
struct Files<'a> {
    old: &'a str,
    new: &'a str,
}

impl Files<'_> {
    /// The file that a change points into.
    const fn of(&self, change: &diff::Change) -> &str {
        match change.side {
            diff::Side::Old => self.old,
            diff::Side::New => self.new,
        }
    }
}

fn compare(files: &Files<'_>, changes: &[diff::Change], as_json: bool) -> ExitCode {
    if as_json {
        print::line(&changes_json(files, changes).to_string());
    } else {
        for change in changes {
            print::line(&change_line(files, change));
        }
        if changes.is_empty() {
            print::line("nothing changed");
        }
    }
    let compatible = changes.iter().all(|change| change.impact == Impact::Compatible);
    ExitCode::from(u8::from(!compatible))
}

/// `FILE:LINE:COLUMN: impact: element: what`.
fn change_line(files: &Files<'_>, change: &diff::Change) -> String {
    let aether_wit::model::Location { line, column } = change.at;
    format!("{}:{line}:{column}: {change}", files.of(change))
}

fn changes_json(files: &Files<'_>, changes: &[diff::Change]) -> Value {
    let change = |change: &diff::Change| {
        let impact = match change.impact {
            Impact::Compatible => "compatible",
            Impact::NeedsUpcast => "needs-upcast",
            Impact::Breaking => "breaking",
        };
        let side = match change.side {
            diff::Side::New => "new",
            diff::Side::Old => "old",
        };
        let stored = change.stored.iter().map(|event| {
            json!({"aggregate": event.aggregate, "event": event.event, "field": event.field})
        });
        json!({
            "impact": impact, "element": change.element, "what": change.what, "in": side,
            "file": files.of(change), "line": change.at.line, "column": change.at.column,
            "stored": stored.collect::<Vec<_>>(),
        })
    };
    json!({ "changes": changes.iter().map(change).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use aether_wit::model::Location;

    use super::*;

    #[test]
    fn problems_and_changes_as_json() {
        let at = Location { line: 3, column: 5 };
        let problem = Problem {
            severity: Severity::Warning,
            at,
            width: 2,
            message: "m".to_owned(),
            help: None,
        };
        let expected = json!({"file": "f", "problems": [{"severity": "warning", "line": 3,
            "column": 5, "width": 2, "message": "m", "help": null}]});
        assert_eq!(problems_json("f", &[problem]), expected);
        let event = diff::EventRef {
            aggregate: "account".to_owned(),
            event: "deposited".to_owned(),
            field: Some("note".to_owned()),
        };
        let change = diff::Change {
            impact: Impact::NeedsUpcast,
            element: "account".to_owned(),
            what: "gone".to_owned(),
            side: diff::Side::Old,
            at,
            stored: vec![event],
        };
        let files = Files { old: "then", new: "now" };
        assert_eq!(change_line(&files, &change), "then:3:5: needs upcast: account: gone");
        let expected = json!({"changes": [{"impact": "needs-upcast", "element": "account",
            "what": "gone", "in": "old", "file": "then", "line": 3, "column": 5,
            "stored": [{"aggregate": "account", "event": "deposited", "field": "note"}]}]});
        assert_eq!(changes_json(&files, &[change]), expected);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Text::read(std::path::Path::new("/nowhere/a.storm.yaml")).err().unwrap();
        assert!(error.to_string().contains("/nowhere/a.storm.yaml"), "{error}");
    }
}
