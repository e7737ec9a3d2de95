//! What was measured, for machines and for people.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use aether::bench::{self, Figure, Frame, Results, bars, median, shown};
use anyhow::{Context as _, Result};
use serde_json::json;

use super::{FIGURES, Language};

/// Widths of a chart in the picture, in pixels.
const FRAME: Frame = Frame { labels: 90, bars: 220, values: 90 };

/// Charts beside each other in the picture.
const COLUMNS: usize = 2;

/// A whole run.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Settings and versions, a name and a value each.
    pub settings: Vec<(String, String)>,
    /// What was measured, and what made it.
    pub languages: Vec<(Language, String)>,
    /// What was not, and why.
    pub missing: Vec<(Language, String)>,
    /// What each round gave, by figure and language.
    pub rounds: BTreeMap<(String, &'static str), Vec<f64>>,
}

impl Report {
    /// Writes `summary.json`, `report.md` and `cost.svg` into `out`.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let tools: BTreeMap<_, _> =
            self.languages.iter().map(|(language, tools)| (language.name(), tools)).collect();
        let settings: BTreeMap<_, _> = self.settings.iter().cloned().collect();
        let summary =
            json!({ "settings": settings, "toolchains": tools, "results": self.results() });
        put(out, "summary.json", &(serde_json::to_string_pretty(&summary)? + "\n"))?;
        put(out, "report.md", &self.markdown())?;
        put(out, "cost.svg", &self.picture())
    }

    /// The medians of the rounds, as `FIGURE/LANGUAGE`.
    fn results(&self) -> Results {
        let mut results = Results::new();
        for (name, unit, _) in FIGURES {
            for (language, _) in &self.languages {
                if let Some(figure) = self.figure(name, unit, *language) {
                    results.insert(format!("{name}/{}", language.name()), figure);
                }
            }
        }
        results
    }

    fn figure(&self, name: &str, unit: &str, language: Language) -> Option<Figure> {
        let rounds = self.rounds.get(&(name.to_owned(), language.name()))?;
        let (min, max) = rounds
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(min, max), it| (min.min(*it), max.max(*it)));
        let (min, max, count) = (Some(min), Some(max), Some(rounds.len()));
        let value = median(rounds.iter().copied());
        Some(Figure { min, max, rounds: count, ..Figure::of(value, unit) })
    }

    /// The table, what its columns mean, and the settings.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("| |");
        for (name, ..) in FIGURES {
            let _ = write!(text, " {name} |");
        }
        let _ = write!(text, "\n|---|{}\n", "---:|".repeat(FIGURES.len()));
        for (language, _) in &self.languages {
            let _ = write!(text, "| {} |", language.title());
            for (name, unit, _) in FIGURES {
                let figure = self.figure(name, unit, *language);
                let value = figure.map_or_else(|| "–".to_owned(), |it| shown(it.value));
                let _ = write!(text, " {value} {unit} |");
            }
            text.push('\n');
        }
        text.push('\n');
        for (name, _, says) in FIGURES {
            let _ = writeln!(text, "- **{name}**: {says}");
        }
        for (language, why) in &self.missing {
            let _ = writeln!(text, "\nNot measured: {}: {why}", language.title());
        }
        text.push_str("\n| | |\n|---|---|\n");
        let tools = self.languages.iter().map(|(language, tools)| (language.title(), tools));
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in tools.chain(settings) {
            let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|"));
        }
        text
    }

    /// A chart for each figure, in two columns.
    fn picture(&self) -> String {
        let high = Frame::height(self.languages.len());
        let (width, height) = (COLUMNS * FRAME.width(), FIGURES.len().div_ceil(COLUMNS) * high);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        for (place, (name, unit, _)) in FIGURES.iter().enumerate() {
            let figures = self.languages.iter().filter_map(|(language, _)| {
                Some((language.title(), self.figure(name, unit, *language)?))
            });
            let figures: Vec<_> = figures.collect();
            let figures: Vec<_> = figures.iter().map(|(title, figure)| (*title, figure)).collect();
            if let Some(chart) = bars(name, &figures, FRAME) {
                let (x, y) = (place % COLUMNS * FRAME.width(), place / COLUMNS * high);
                let _ = write!(svg, "<g transform=\"translate({x} {y})\">\n{chart}</g>\n");
            }
        }
        svg + "</svg>\n"
    }
}

/// Puts the table of the last run in `out` between the marks of a document, and the picture beside.
pub(super) fn put_into(out: &Path, document: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = out.join(name);
        let text = fs::read_to_string(&path);
        text.with_context(|| {
            format!("{} cannot be read: run `make bench-languages` first", path.display())
        })
    };
    bench::put_into(document, &read("report.md")?, &[("cost".to_owned(), read("cost.svg")?)])
}

fn put(out: &Path, name: &str, text: &str) -> Result<()> {
    let path = out.join(name);
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}
