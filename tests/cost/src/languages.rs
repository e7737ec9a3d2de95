//! What the example's account costs in each language: the table of `docs/languages.md`.
//!
//! A round takes the languages in turn, and each of them in two processes of its own: one compiles
//! the component, the other takes what was compiled and calls it. So no language meets a heap, a
//! pool or a cache that another has left. A figure is the median of the rounds.

mod calls;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
    time::Duration,
};

use aether::bench::this_machine;
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use self::report::Report;

/// What one language takes, by the names of [`FIGURES`].
type Figures = BTreeMap<String, f64>;

/// What is measured: its name, its unit, and what it says.
const FIGURES: [(&str, &str, &str); 7] = [
    ("component", "KiB", "the file"),
    ("compile", "s", "from its bytes to code that runs, on all cores; once per machine"),
    ("load", "ms", "the same code from the cache, by a process that has just begun"),
    ("new instance", "µs", "made, and called for the first time: `initial`"),
    ("memory", "KiB", "that an instance has to itself after 21 commands"),
    ("decide + evolve", "µs", "a deposit in a kept instance, without host and store; the mean"),
    ("replay", "events/s", "`evolve` in batches of 256"),
];

/// Figures for the table in `docs/languages.md`
///
/// Takes the components that `make guests` has built. Results go into --out: `summary.json`, the
/// table `report.md`, and the picture `cost.svg`.
#[derive(Debug, Parser)]
#[command(name = "aether-cost languages", disable_version_flag = true)]
struct Args {
    /// Only these [default: all]
    names: Vec<Language>,

    /// Where results go, and compiled code meanwhile
    #[arg(long, value_name = "DIR", default_value = "target/bench-languages")]
    out: PathBuf,

    /// Only see that everything works: one short round, whose figures mean nothing
    #[arg(long)]
    quick: bool,

    /// Measure nothing: put the last results in --out between the marks of this document
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    into: Option<PathBuf>,
}

/// A language that the account is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Ts,
    Python,
    Go,
    C,
}

impl Language {
    /// As folders and flags are called.
    const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Ts => "ts",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// As people call it.
    const fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Ts => "TypeScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::C => "C",
        }
    }

    /// The component with its account; that of Rust holds the transfer too.
    fn component(self) -> PathBuf {
        match self {
            Self::Rust => bank().join("bank.wasm"),
            other => bank().join(format!("account-{}", other.name())).join("account.wasm"),
        }
    }

    /// Why it is not measured; none if it can be.
    fn lack(self) -> Option<String> {
        if self.component().exists() {
            return None;
        }
        let note = root().join(".tools/missing").join(self.name());
        let why = fs::read_to_string(note).unwrap_or_else(|_| "run `make guests`".to_owned());
        Some(why.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The tools that made the component, with their versions.
    fn toolchain(self) -> Result<String> {
        let mut tell = match self {
            Self::Rust => Process::new("rustc"),
            _ => Process::new("make"),
        };
        match self {
            Self::Rust => tell.arg("--version"),
            other => tell
                .args(["--no-print-directory", "-s", "version", "-C"])
                .arg(bank().join(format!("account-{}", other.name())))
                .arg(format!("TOOLS={}", root().join(".tools").display())),
        };
        let output = tell.output().with_context(|| format!("the version of {}", self.title()))?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !told.trim().is_empty(),
            "the tools of {} tell no version: install them with `make tools`; they said: {}",
            self.title(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(told.lines().collect::<Vec<_>>().join(", "))
    }
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Instances that are made, at most half of which are to be there before memory is counted.
    instances: u64,
    /// How long calls are repeated.
    time: Duration,
}

impl Scale {
    const FULL: Self = Self { rounds: 3, instances: 100, time: Duration::from_secs(1) };
    const QUICK: Self = Self { rounds: 1, instances: 10, time: Duration::from_millis(20) };

    const fn of(quick: bool) -> Self {
        if quick { Self::QUICK } else { Self::FULL }
    }
}

/// Measures all languages, or does one part of one of them, as the process that does so is told.
pub fn run(arguments: &[&str]) -> Result<()> {
    if let ["part", part, name, cache, quick] = arguments {
        let language = Language::from_str(name, false).map_err(anyhow::Error::msg)?;
        let figures = part_of(part, language, Path::new(cache), Scale::of(*quick == "quick"))?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let args =
        match Args::try_parse_from(std::iter::once("languages").chain(arguments.iter().copied())) {
            Ok(args) => args,
            Err(error) => error.exit(),
        };
    if let Some(document) = &args.into {
        return report::put_into(&args.out, document);
    }
    let report = measure(&args)?;
    report.write(&args.out)?;
    println!(
        "{}\nsummary.json, report.md and cost.svg are in {}",
        report.markdown(),
        args.out.display()
    );
    Ok(())
}

/// All rounds.
fn measure(args: &Args) -> Result<Report> {
    let names = if args.names.is_empty() { Language::value_variants() } else { &args.names };
    let mut report = Report::default();
    for language in names {
        match language.lack() {
            None => report.languages.push((*language, language.toolchain()?)),
            Some(why) => report.missing.push((*language, why)),
        }
    }
    if report.languages.is_empty() {
        bail!("there is no component to measure: run `make guests`");
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("{} cannot be made", args.out.display()))?;
    let scale = Scale::of(args.quick);
    for round in 1..=scale.rounds {
        for (language, _) in &report.languages {
            eprintln!("round {round} of {}: {}", scale.rounds, language.title());
            let cache = tempfile::tempdir_in(&args.out).context("a folder for compiled code")?;
            // The sandbox makes it, and nobody else can enter.
            let code = cache.path().join("code");
            for part in ["compile", "calls"] {
                for (name, value) in of_a_process(part, *language, &code, args.quick)? {
                    report.rounds.entry((name, language.name())).or_default().push(value);
                }
            }
        }
    }
    let settings = [
        ("rounds", format!("{}, the languages in turn within each", scale.rounds)),
        (
            "calls",
            format!("repeated for {} ms, on {} instances", scale.time.as_millis(), scale.instances),
        ),
    ];
    report.settings = this_machine();
    report.settings.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    Ok(report)
}

/// What a process of its own says to one part.
fn of_a_process(part: &str, language: Language, cache: &Path, quick: bool) -> Result<Figures> {
    let mut process = Process::new(std::env::current_exe()?);
    process.args(["languages", "part", part, language.name()]).arg(cache);
    let output = process.arg(if quick { "quick" } else { "full" }).output()?;
    ensure!(
        output.status.success(),
        "{}, {part}: {}",
        language.title(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).with_context(|| format!("{part} says no figures"))
}

/// One part of one language, in this process.
fn part_of(part: &str, language: Language, cache: &Path, scale: Scale) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        match part {
            "compile" => calls::compile(&language.component(), cache).await,
            "calls" => calls::all(&language.component(), cache, scale).await,
            _ => bail!("there is no part `{part}`"),
        }
    })?;
    Ok(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The folder of the example.
fn bank() -> PathBuf {
    root().join("examples-guests/bank")
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_measured_and_shown() {
        aether_tests::workspace::bank_model().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        report.languages.push((Language::Rust, "rustc".to_owned()));
        report.missing.push((Language::C, "no registry".to_owned()));
        let cache = folder.path().join("code");
        for part in ["compile", "calls"] {
            for (name, value) in part_of(part, Language::Rust, &cache, Scale::QUICK).unwrap() {
                report.rounds.entry((name, "rust")).or_default().push(value);
            }
        }
        for (name, _, _) in FIGURES {
            let found = &report.rounds[&(name.to_owned(), "rust")];
            assert!(found.len() == 1 && found[0] > 0.0, "{name}: {found:?}");
        }
        report.write(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(summary["results"].as_object().unwrap().len(), FIGURES.len(), "{summary:#}");
        assert_eq!(summary["results"]["replay/rust"]["unit"], "events/s");

        let document = folder.path().join("doc.md");
        fs::write(&document, "before\n<!-- bench: begin -->\n<!-- bench: end -->\nafter\n")
            .unwrap();
        report::put_into(folder.path(), &document).unwrap();
        let text = fs::read_to_string(&document).unwrap();
        assert!(
            text.contains("| Rust | ") && text.contains("Not measured: C: no registry"),
            "{text}"
        );
        assert!(text.contains("![cost](doc/cost.svg)") && text.ends_with("after\n"), "{text}");
        let picture = fs::read_to_string(folder.path().join("doc/cost.svg")).unwrap();
        assert!(FIGURES.iter().all(|(name, ..)| picture.contains(name)), "{picture}");
    }

    #[test]
    fn a_language_without_component_says_why() {
        assert_eq!(Language::Rust.title(), "Rust");
        let known: Vec<_> = Language::value_variants().iter().map(|it| it.name()).collect();
        assert_eq!(known, ["rust", "ts", "python", "go", "c"]);
    }
}
