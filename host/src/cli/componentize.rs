//! `aether componentize`: a core module becomes a component that fits its model, or the reason why
//! it cannot is told while it is built.

mod sections;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use aether_wit::Digest;
use anyhow::{Context as _, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding};

use self::sections::Kind;
use super::{bindings::contract::Contract, past, print};
use crate::vm::Sandbox;

/// Make a component of a core module
///
/// The world is that of `aether bindings`; a module that imports WASI preview 1 gets the adapter that
/// it needs. The result is checked as `aether deploy` checks it: what it imports, and what it exports
/// against the model. Exit status 2: the module or the model must change; nothing was written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The core module, as a compiler for wasm32-wasi or wasm32-unknown-unknown makes it
    pub module: PathBuf,

    /// The model, e.g. bank.storm.yaml
    #[arg(long)]
    pub model: PathBuf,

    /// The aggregate that the component implements [default: all of the model]
    #[arg(long)]
    pub aggregate: Option<String>,

    /// The component [default: the only one that the model names, beside the model]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Leave out names and debug information: smaller, but traps tell fewer function names
    #[arg(long)]
    pub strip: bool,
}

/// Runs the command.
///
/// # Errors
/// If the module cannot become a component of the model.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let contract = Contract::read(&args.model, args.aggregate.as_deref())?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => only_component(&contract, &args.model)?,
    };
    let shown = args.module.display().to_string();
    let core = std::fs::read(&args.module)
        .with_context(|| format!("the module {shown} cannot be read: build it first"))?;
    expect_module(&contract, &shown, &core)?;
    if same_file(&args.module, &out) {
        bail!(
            "{shown} is the module, and the component would replace it: name another file with -o"
        );
    }
    let component = encode(&contract, &shown, core, args.strip)?;
    let size = component.len();
    let digest = Digest::of(&component);
    check(&contract, &shown, component.clone()).await?;
    write(&out, &component)?;
    print::line(&format!(
        "{}: {} KiB, implements {}, {}",
        out.display(),
        size.div_ceil(1024),
        contract.aggregates.join(", "),
        digest.short()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The file of the only component that the model names.
fn only_component(contract: &Contract, model: &Path) -> anyhow::Result<PathBuf> {
    match contract.model.components.as_slice() {
        [one] => Ok(model.parent().unwrap_or(Path::new("")).join(one)),
        [] => bail!(
            "{}: no `components:` to say where the component goes: name it there, or with -o",
            contract.file
        ),
        several => bail!(
            "{}: `components:` names several ({}): say with -o which one this is",
            contract.file,
            several.join(", ")
        ),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// # Errors
/// If `core` is no core module.
fn expect_module(contract: &Contract, shown: &str, core: &[u8]) -> anyhow::Result<()> {
    match sections::kind(core) {
        Kind::Module => Ok(()),
        Kind::Component => bail!(
            "{shown} is a component already: name it under `components:` of {}, and run `aether test {}`",
            contract.file,
            contract.file
        ),
        Kind::Other => bail!(
            "{shown} is not WebAssembly: expected a core module, as a compiler makes it for wasm32"
        ),
    }
}

/// Makes the component.
fn encode(
    contract: &Contract,
    shown: &str,
    mut core: Vec<u8>,
    strip: bool,
) -> anyhow::Result<Vec<u8>> {
    // Also where nothing is stripped: the encoder trusts the lengths of sections.
    let stripped = sections::strip(&core).with_context(|| {
        format!("{shown} is damaged: it ends in the middle of a section; build it anew")
    })?;
    if strip {
        core = stripped;
    }
    let (own, _) = wit_component::metadata::decode(&core)
        .with_context(|| format!("{shown} cannot be read"))?;
    if own.is_none() {
        let (resolve, world) = contract.resolve()?;
        let utf8 = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut core, &resolve, world, utf8, false)?;
    }
    let adapter = (WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER);
    let mut encoder = ComponentEncoder::default();
    // An adapter for what nobody imports is left out.
    let encoded = encoder
        .module(&core)
        .and_then(|encoder| encoder.adapter(adapter.0, adapter.1))
        .and_then(|encoder| encoder.validate(true).encode());
    encoded.with_context(|| {
        let world = &contract.world;
        format!(
            "{shown} cannot become a component of world `{world}` of {}; it must export {}, as the bindings of `aether bindings` do when they are linked in",
            contract.file,
            expected(contract)
        )
    })
}

/// The exports that the world asks for.
fn expected(contract: &Contract) -> String {
    let context = &contract.model.context;
    let names = contract.aggregates.iter().flat_map(|name| {
        let functions = ["initial", "decide", "evolve"];
        functions.map(|function| format!("`{context}:model/{name}#{function}`"))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Checks imports and exports as a deploy does.
async fn check(contract: &Contract, shown: &str, component: Vec<u8>) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(past::sandbox(&contract.model)?)?;
    let component = sandbox.load(component.into()).await;
    let component =
        component.with_context(|| format!("the component of {shown} would not be taken"))?;
    for aggregate in &contract.aggregates {
        component.behaviour(&contract.model, aggregate).with_context(|| {
            format!(
                "{shown} does not fit {}: run `aether bindings` again and build it anew",
                contract.file
            )
        })?;
    }
    component.keep().await;
    Ok(())
}

/// Writes the component aside and renames it: who watches the file sees the old one or the new one.
fn write(out: &Path, component: &[u8]) -> anyhow::Result<()> {
    let mut aside = out.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = std::fs::write(&aside, component).and_then(|()| std::fs::rename(&aside, out));
    if written.is_err() {
        drop(std::fs::remove_file(&aside));
    }
    written.with_context(|| format!("the component cannot be written to {}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bindings::testing::contract;

    const MODEL: &str = "
context: shop
version: 0.1.0
components: [counter.wasm]
aggregates:
  counter:
    state: { count: u32 }
    commands: { add: { fields: { amount: u32 }, emits: [added] } }
    events: { added: { amount: u32 } }
";

    /// A counter that exports these functions, and imports what `import` says.
    fn counter(import: &str, functions: &[&str]) -> Vec<u8> {
        let bodies = [
            ("initial", "(param i32 i32) (result i32) (i32.const 0)"),
            (
                "decide",
                "(param i32 i32 i64 i32 i32 i32 i32 i64 i32 i32 i32 i64 i32 i32 i32) (result i32) unreachable",
            ),
            ("evolve", "(param i32 i32 i32) (result i32) (i32.const 0)"),
        ];
        let functions: String = bodies
            .iter()
            .filter(|(name, _)| functions.contains(name))
            .map(|(name, body)| format!("(func (export \"shop:model/counter#{name}\") {body})\n"))
            .collect();
        let text = format!(
            "(module {import} (memory (export \"memory\") 1)
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 64))
            {functions})"
        );
        wat::parse_str(text).unwrap()
    }

    const ALL: [&str; 3] = ["initial", "decide", "evolve"];

    const CLOCK: &str = "(import \"wasi_snapshot_preview1\" \"clock_time_get\"
        (func (param i32 i64 i32) (result i32)))";

    /// Runs the command on a module and a model in a folder of their own; gives the component.
    async fn componentize(
        model: &str,
        core: &[u8],
        aggregate: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let [model_file, module] =
            ["shop.storm.yaml", "core.wasm"].map(|it| folder.path().join(it));
        std::fs::write(&model_file, model).unwrap();
        std::fs::write(&module, core).unwrap();
        let aggregate = aggregate.map(str::to_owned);
        let args = Args { module, model: model_file, aggregate, out: None, strip: true };
        match run(args).await {
            Ok(_) => Ok(std::fs::read(folder.path().join("counter.wasm")).unwrap()),
            Err(error) => {
                assert!(!folder.path().join("counter.wasm").exists());
                Err(format!("{error:#}"))
            }
        }
    }

    #[tokio::test]
    async fn a_module_with_the_exports_becomes_a_component() {
        let component = componentize(MODEL, &counter("", &ALL), None).await.unwrap();
        assert_eq!(sections::kind(&component), Kind::Component);
        let error = componentize(MODEL, &component, None).await.unwrap_err();
        assert!(error.contains("is a component already"), "{error}");
    }

    #[tokio::test]
    async fn preview_1_gets_its_adapter() {
        let plain = componentize(MODEL, &counter("", &ALL), None).await.unwrap();
        let adapted = componentize(MODEL, &counter(CLOCK, &ALL), Some("counter")).await.unwrap();
        let has = |bytes: &[u8]| bytes.windows(10).any(|it| it == b"wasi:clock");
        assert!(has(&adapted) && !has(&plain));
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_named() {
        let error = componentize(MODEL, &counter("", &ALL[..2]), None).await.unwrap_err();
        assert!(error.contains("must export `shop:model/counter#initial`"), "{error}");
        assert!(error.contains("evolve"), "{error}");
        let foreign = "(import \"env\" \"now\" (func))";
        let error = componentize(MODEL, &counter(foreign, &ALL), None).await.unwrap_err();
        assert!(error.contains("env"), "{error}");
        let error = componentize(MODEL, b"#!/bin/sh\n", None).await.unwrap_err();
        assert!(error.contains("is not WebAssembly"), "{error}");
        let error = componentize(MODEL, b"\0asm\x01\0\0\0\x01\xff", None).await.unwrap_err();
        assert!(error.contains("is damaged"), "{error}");
        let error = componentize(MODEL, &counter("", &ALL), Some("meter")).await.unwrap_err();
        assert!(error.contains("no aggregate `meter`; it has: counter"), "{error}");
        let several = MODEL.replace("[counter.wasm]", "[a.wasm, b.wasm]");
        let error = componentize(&several, &counter("", &ALL), None).await.unwrap_err();
        assert!(error.contains("names several (a.wasm, b.wasm)"), "{error}");
    }

    #[test]
    fn a_module_that_was_cut_is_told_whatever_is_missing() {
        let mut core = counter("", &ALL);
        let of = contract(MODEL, None);
        let (resolve, world) = of.resolve().unwrap();
        let utf8 = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut core, &resolve, world, utf8, false).unwrap();
        let mut damaged = 0;
        for end in 8..core.len() {
            // Between two sections it is a module that lacks something.
            if let Err(error) = encode(&of, "core.wasm", core[..end].to_vec(), false) {
                damaged += usize::from(error.to_string().contains("is damaged"));
            }
        }
        assert!(damaged > core.len() - 20, "{damaged} of {}", core.len());
    }

    #[tokio::test]
    async fn types_of_another_model_are_told() {
        let mut core = counter("", &ALL);
        let of = contract(MODEL, None);
        let (resolve, world) = of.resolve().unwrap();
        let utf8 = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut core, &resolve, world, utf8, false).unwrap();
        let other = MODEL.replace("{ count: u32 }", "{ count: u32, most: u64 }");
        let error = componentize(&other, &core, None).await.unwrap_err();
        assert!(error.contains("run `aether bindings` again"), "{error}");
        assert!(error.contains("`counter.state` has no field `most`"), "{error}");
    }
}
