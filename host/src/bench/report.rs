//! What was measured, for machines and for people: `summary.json`, a Markdown table, SVG charts.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{
    chart::{self, Frame},
    goals::Goal,
    measure::Series,
};

/// Where the table of a run begins in a document.
const BEGIN: &str = "<!-- bench: begin -->";

/// Where it ends.
const END: &str = "<!-- bench: end -->";

/// What is called what it is, in the order in which it was measured.
pub type Results = IndexMap<String, Figure>;

/// One figure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figure {
    /// The median of the rounds.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Its ratio to what it is measured beside: the median of the rounds' own ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What it is measured beside: the name of another figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Median latency, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// Latency that one of a hundred exceeds, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// The lowest value of a round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The highest value of a round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// How many rounds counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
}

impl Figure {
    /// A plain value.
    #[must_use]
    pub fn of(value: f64, unit: &str) -> Self {
        Self { value, unit: unit.to_owned(), ..Self::default() }
    }

    /// The rate of a series, with its latencies.
    #[must_use]
    pub fn rate(series: &Series, unit: &str) -> Self {
        let (min, max) = series.rates();
        let (p50, p99) = (Some(series.micros(0.5)), Some(series.micros(0.99)));
        let (min, max, rounds) = (Some(min), Some(max), Some(series.rounds()));
        Self { p50, p99, min, max, rounds, ..Self::of(series.rate(), unit) }
    }

    /// The median latency of a series, in µs.
    #[must_use]
    pub fn latency(series: &Series) -> Self {
        let (p50, p99) = (series.micros(0.5), series.micros(0.99));
        let rounds = Some(series.rounds());
        Self { p50: Some(p50), p99: Some(p99), rounds, ..Self::of(p50, "µs") }
    }

    /// The same, measured beside another one.
    #[must_use]
    pub fn beside(self, name: &str, ratio: f64) -> Self {
        Self { ratio: Some(ratio), beside: Some(name.to_owned()), ..self }
    }
}

/// What a benchmark includes and leaves out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub says: String,
    /// The load average before it.
    pub load: String,
    /// Why it was not run; empty if it was.
    pub skipped: String,
}

/// A whole run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Settings and versions, a name and a value each.
    pub settings: Vec<(String, String)>,
    /// The benchmarks.
    pub about: Vec<About>,
    /// What they gave.
    pub results: Results,
    /// What is wanted.
    pub goals: Vec<Goal>,
}

impl Report {
    /// Writes `summary.json`, `report.md` and the charts into `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Summary<'a> {
            results: &'a Results,
            goals: &'a [Goal],
        }
        let summary = Summary { results: &self.results, goals: &self.goals };
        put(&dir.join("summary.json"), &(serde_json::to_string_pretty(&summary)? + "\n"))?;
        put(&dir.join("report.md"), &self.markdown())?;
        put(&dir.join("report.json"), &serde_json::to_string(self)?)?;
        for (name, svg) in self.charts() {
            put(&dir.join(format!("{name}.svg")), &svg)?;
        }
        Ok(())
    }

    /// The last run in `dir`.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("report.json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read: run `aether bench` first", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is no run", path.display()))
    }

    /// Puts the tables between the marks of the document at `path`, and the charts into a folder of
    /// its name beside it.
    ///
    /// # Errors
    /// If it has no marks, or cannot be written.
    pub fn put_into(&self, path: &Path) -> Result<()> {
        put_into(path, &self.markdown(), &self.charts())
    }

    /// Settings, goals, and a table for each benchmark.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("### Settings\n\n| | |\n|---|---|\n");
        for (name, value) in &self.settings {
            let _ = writeln!(text, "| {name} | {} |", cell(value));
        }
        text.push_str(
            "\n### Goals\n\n| goal | must | aim | measured | met |\n|---|---|---|---|---|\n",
        );
        for goal in &self.goals {
            let measured = goal
                .measured
                .map_or_else(|| "–".to_owned(), |value| format!("{} {}", shown(value), goal.unit));
            let met = if goal.why.is_empty() {
                goal.met.as_str().to_owned()
            } else {
                format!("{}: {}", goal.met.as_str(), goal.why)
            };
            let (must, aim) = (cell(&goal.must), cell(&goal.aim));
            let _ =
                writeln!(text, "| {} | {must} | {aim} | {measured} | {} |", goal.goal, cell(&met));
        }
        for about in &self.about {
            let _ = write!(text, "\n### {}\n\n{}\n", about.name, about.says);
            if !about.skipped.is_empty() {
                let _ = writeln!(text, "\nNot measured: {}.", about.skipped);
            }
            if self.of(&about.name).next().is_some() {
                let _ = writeln!(text, "\nLoad average before: {}.\n", about.load);
                text.push_str(&table(self.of(&about.name)));
            }
        }
        text
    }

    /// The figures of one benchmark.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Figure)> {
        let prefix = format!("{name}/");
        let mine = self.results.iter();
        mine.filter_map(move |(key, figure)| Some((key.strip_prefix(&prefix)?, figure)))
    }

    /// A chart for each benchmark that gave figures: name and SVG.
    fn charts(&self) -> Vec<(String, String)> {
        let charts = self.about.iter().filter_map(|about| {
            let figures: Vec<_> = self.of(&about.name).collect();
            let svg = chart::bars(&about.name, &figures, Frame::default())?;
            Some((about.name.clone(), svg))
        });
        charts.collect()
    }
}

/// Puts `text` between the marks of the document at `path`, and behind it `charts`, each with its
/// name, which go into a folder of the document's name beside it.
///
/// # Errors
/// If it has no marks, or cannot be written.
pub fn put_into(path: &Path, text: &str, charts: &[(String, String)]) -> Result<()> {
    let shown = path.display();
    let all = fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let marks = all.split_once(BEGIN).zip(all.split_once(END));
    let Some(((before, _), (_, after))) = marks else {
        anyhow::bail!("{shown} has no lines `{BEGIN}` and `{END}` to put the tables between");
    };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).context("it has a name")?;
    let folder = path.with_extension("");
    fs::create_dir_all(&folder)?;
    let mut shown = String::new();
    for (name, svg) in charts {
        put(&folder.join(format!("{name}.svg")), svg)?;
        writeln!(shown, "![{name}]({stem}/{name}.svg)\n")?;
    }
    put(path, &format!("{before}{BEGIN}\n\n{text}\n{shown}{END}{after}"))
}

/// The figures of one benchmark as a Markdown table.
pub fn table<'a>(figures: impl Iterator<Item = (&'a str, &'a Figure)>) -> String {
    let mut text = String::from(
        "| | value | rounds from … to | ratio | p50 µs | p99 µs |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let or = |value: Option<f64>| value.map_or_else(String::new, shown);
    for (variant, figure) in figures {
        let range = figure.min.zip(figure.max);
        let range =
            range.map_or_else(String::new, |(min, max)| format!("{} … {}", shown(min), shown(max)));
        let ratio = match (figure.ratio, &figure.beside) {
            (Some(ratio), Some(beside)) => format!("{} × {beside}", shown(ratio)),
            (ratio, _) => or(ratio),
        };
        let _ = writeln!(
            text,
            "| {variant} | {} {} | {range} | {ratio} | {} | {} |",
            shown(figure.value),
            figure.unit,
            or(figure.p50),
            or(figure.p99)
        );
    }
    text
}

/// A number with three figures that mean something, and groups of three digits.
#[must_use]
pub fn shown(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "?".to_owned();
    }
    if size < 1000.0 {
        let digits = if size >= 100.0 {
            0
        } else if size >= 10.0 {
            1
        } else {
            2
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{size:.0}");
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The names of what was asked for, or of all.
///
/// # Errors
/// If one is not among `all`.
pub fn chosen<'a>(all: &[&'a str], wanted: &[String]) -> Result<Vec<&'a str>> {
    for name in wanted {
        ensure!(
            all.contains(&name.as_str()),
            "there is no benchmark `{name}`; there are {}",
            all.join(", ")
        );
    }
    let is_wanted = |name: &&&str| wanted.is_empty() || wanted.iter().any(|it| it == **name);
    Ok(all.iter().filter(is_wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_figures_that_mean_something() {
        let all = [0.8234, 12.34, 123.4, 1234.5, 1_234_567.0, f64::NAN].map(shown);
        assert_eq!(all, ["0.82", "12.3", "123", "1,234", "1,234,567", "?"]);
    }

    #[test]
    fn a_document_keeps_what_stands_around_its_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("doc.md");
        fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        let mut report = Report::default();
        report.about.push(About {
            name: "raw".to_owned(),
            says: "It publishes.".to_owned(),
            load: "1 2 3".to_owned(),
            skipped: String::new(),
        });
        report.results.insert("raw/1".to_owned(), Figure::of(5.0, "commits/s"));
        for _ in 0..2 {
            report.put_into(&path).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
        assert!(text.contains("| 1 | 5.00 commits/s |") && !text.contains("old"), "{text}");
        assert!(text.contains("![raw](doc/raw.svg)"), "{text}");
        assert!(folder.path().join("doc/raw.svg").exists());
        fs::write(&path, "no marks").unwrap();
        assert!(report.put_into(&path).is_err());
    }

    #[test]
    fn only_benchmarks_that_exist_can_be_chosen() {
        assert_eq!(chosen(&["a", "b"], &[]).unwrap(), ["a", "b"]);
        assert_eq!(chosen(&["a", "b"], &["b".to_owned()]).unwrap(), ["b"]);
        assert!(chosen(&["a"], &["c".to_owned()]).unwrap_err().to_string().contains("there are a"));
    }
}
