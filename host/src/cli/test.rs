//! `aether test`: runs a model's scenarios against its components.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use aether_wit::{Digest, Model, report::render};
use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{bundle::HOW_TO_BUILD, past};
use crate::{
    scenario::{
        self, Results,
        report::{self, Colour},
    },
    vm::{Behaviour, Component, Sandbox, SandboxConfig},
};

/// Exit status when the scenarios could not be run.
const USAGE: u8 = 2;

/// Most instances at once; actors of earlier scenarios give theirs back.
const MAX_INSTANCES: usize = 64;

/// Run a model's scenarios against its components, without any server
///
/// Each scenario is played with fresh and with kept instances, and its events are applied in one
/// call and in two: what differs is named. Exit status: 0 = all passed, 1 = some failed, 2 = they
/// could not be run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model, e.g. bank.storm.yaml
    pub model: PathBuf,

    /// Components to test in the place of those that the model names beside its file; what none
    /// of them implements is tested with those
    pub components: Vec<PathBuf>,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,

    /// Also write the results as JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Only if the results cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let file = args.model.display().to_string();
    let prepared = match prepare(&args, &file).await {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let results = scenario::run(&prepared.model, &prepared.brains).await;
    if let Some(path) = &args.junit {
        let xml = report::junit(&results, &prepared.model.context, &file).to_string();
        let xml = xml.context("the JUnit report cannot be made")?;
        std::fs::write(path, xml)
            .with_context(|| format!("the JUnit report cannot be written to {}", path.display()))?;
    }
    print(&args, &file, &prepared, &results)?;
    Ok(if results.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A model with the code of its aggregates.
struct Prepared {
    model: Arc<Model>,
    components: Vec<ComponentData>,
    brains: HashMap<String, Arc<Behaviour>>,
}

/// A component as `--json` shows it.
#[derive(Serialize)]
struct ComponentData {
    file: String,
    digest: Digest,
    aggregates: Vec<String>,
}

async fn prepare(args: &Args, file: &str) -> anyhow::Result<Prepared> {
    let text = std::fs::read(&args.model).with_context(|| format!("{file} cannot be read"))?;
    let (model, warnings) = aether_wit::read(file, &text)?;
    let mut shown = String::new();
    render(&mut shown, file, &model.source, &warnings)?;
    eprint!("{shown}");

    let model = Arc::new(model);
    let folder = args.model.parent().unwrap_or(Path::new(""));
    let named: Vec<_> = model.components.iter().map(|path| folder.join(path)).collect();
    let mut prepared =
        Prepared { model: Arc::clone(&model), components: Vec::new(), brains: HashMap::new() };
    if args.components.is_empty() && named.is_empty() {
        return Ok(prepared);
    }
    let sandbox = Sandbox::new(past::sandbox(&model)?)?;
    for paths in [&args.components, &named] {
        let served: Vec<_> = prepared.brains.keys().cloned().collect();
        if served.len() == model.aggregates.len() {
            break;
        }
        for path in paths {
            prepared.add(&sandbox, path, file, &served).await?;
        }
    }
    Ok(prepared)
}

impl Prepared {
    /// Adds the component at `path`, with what it implements beside the aggregates `served`.
    async fn add(
        &mut self,
        sandbox: &Sandbox,
        path: &Path,
        file: &str,
        served: &[String],
    ) -> anyhow::Result<()> {
        let shown = path.display().to_string();
        let component = load(sandbox, path).await?;
        let mut aggregates = component.aggregates(&self.model.context);
        if aggregates.is_empty() {
            bail!("{shown} implements no aggregate of the context `{}`", self.model.context);
        }
        aggregates.retain(|aggregate| !served.contains(aggregate));
        for aggregate in &aggregates {
            let behaviour = component
                .behaviour(&self.model, aggregate)
                .with_context(|| format!("{shown} does not fit {file}"))?;
            if self.brains.insert(aggregate.clone(), behaviour).is_some() {
                bail!("{shown} implements the aggregate `{aggregate}` a second time");
            }
        }
        if !aggregates.is_empty() {
            let digest = component.digest();
            self.components.push(ComponentData { file: shown, digest, aggregates });
        }
        Ok(())
    }
}

/// Limits of a sandbox for a model that is only tried.
pub(super) fn limits(model: &Model) -> SandboxConfig {
    let memory = model.aggregates.values().map(|aggregate| aggregate.runtime.memory).max();
    let defaults = SandboxConfig::default();
    SandboxConfig {
        max_guest_memory: memory
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(defaults.max_guest_memory),
        max_instances: Some(MAX_INSTANCES),
        ..defaults
    }
}

/// The component in a file. Its compiled code is kept for the next time.
pub(super) async fn load(sandbox: &Sandbox, path: &Path) -> anyhow::Result<Arc<Component>> {
    let shown = path.display();
    if !path.exists() {
        bail!("the component {shown} is missing: build it ({HOW_TO_BUILD})");
    }
    let bytes = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
    let component = sandbox.load(bytes.into()).await;
    let component = component.with_context(|| format!("{shown} is not taken"))?;
    component.keep().await;
    Ok(component)
}

/// What `--json` prints: the results as [`report::data`] has them, and what was tested.
#[derive(Serialize)]
struct Output<'a, R: Serialize> {
    model: &'a str,
    digest: Digest,
    context: &'a str,
    components: &'a [ComponentData],
    #[serde(flatten)]
    results: R,
}

fn print(args: &Args, file: &str, prepared: &Prepared, results: &Results) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let model = &prepared.model;
        serde_json::to_writer(
            &mut out,
            &Output {
                model: file,
                digest: model.digest,
                context: &model.context,
                components: &prepared.components,
                results: report::data(results),
            },
        )?;
        writeln!(out)?;
        return Ok(());
    }
    let colour = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        Colour::Terminal
    } else {
        Colour::Plain
    };
    out.write_all(report::human(results, file, colour).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "
context: bank
version: 0.1.0
components: [bank.wasm]
aggregates:
  account:
    state: { open: bool }
    commands: { open: { emits: [opened] } }
    events: { opened: {} }
scenarios:
  - name: an account is opened
    actor: account/alice
    when: { open: {} }
    then: [ { opened: {} } ]
";

    /// What [`prepare`] gives for this model in a folder of its own.
    async fn prepared(model: &str) -> Result<Prepared, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.storm.yaml");
        std::fs::write(&path, model).unwrap();
        let args = Args { model: path, components: Vec::new(), json: false, junit: None };
        prepare(&args, "bank.storm.yaml").await.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_component_that_is_not_there_is_to_be_built() {
        let error = prepared(MODEL).await.err().unwrap();
        assert!(error.contains("bank.wasm is missing: build it (`make`"), "{error}");
    }

    #[tokio::test]
    async fn a_model_with_a_mistake_is_shown_with_its_place() {
        let error = prepared(&MODEL.replace("[opened]", "[openedd]")).await.err().unwrap();
        assert!(error.starts_with("bank.storm.yaml:8:"), "{error}");
    }

    #[tokio::test]
    async fn scenarios_without_a_component_fail() {
        let prepared = prepared(&MODEL.replace("components: [bank.wasm]\n", "")).await.unwrap();
        let results = scenario::run(&prepared.model, &prepared.brains).await;
        assert_eq!((results.passed(), results.failed()), (0, 1));
    }

    #[tokio::test]
    async fn a_model_that_cannot_be_read_is_named() {
        let model = PathBuf::from("no-such-folder/bank.storm.yaml");
        let args = Args { model, components: Vec::new(), json: true, junit: None };
        assert_eq!(run(args).await.unwrap(), ExitCode::from(USAGE));
    }
}
