//! `aether bindings`: what a language needs from a model, so that nobody installs a generator.
//!
//! C and Go come from the generators of wit-bindgen, TypeScript's types from the model itself;
//! Python's tool makes its own from WIT; Rust's macro reads the model, so it gets the SDK. Files are
//! the same for the same model, and a file that this command did not write is never overwritten.

pub mod c;
pub mod contract;
pub mod folder;
pub mod go;
pub mod names;
pub mod python;
pub mod rust;
pub mod typescript;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use self::{contract::Contract, folder::Files};
use super::print;

/// A language that components are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// The SDK: `aether-guest`, its macro and the model compiler, as crates.
    Rust,
    /// A declaration file per aggregate, and the WIT for componentize-js.
    #[value(alias = "typescript", alias = "js")]
    Ts,
    /// The WIT for componentize-py.
    #[value(alias = "py")]
    Python,
    /// Packages below the folder's import path, with the runtime that they need.
    Go,
    /// A header, a source file and the object with the component's type.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Ts, Self::Python, Self::Go, Self::C];

    /// As `--lang` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Ts => "ts",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }
}

/// Write what a language needs to implement a model
///
/// Files that this command wrote before are replaced, or removed if they are no longer made; the
/// list of them is OUT/.aether-bindings. Any other file in the way is an error, and then nothing is
/// written. Exit status 2: the model, the aggregate or the folder must change.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model, e.g. bank.storm.yaml
    pub model: PathBuf,

    /// The language
    #[arg(long, value_enum)]
    pub lang: Language,

    /// The aggregate that the component implements [default: all of the model]
    #[arg(long)]
    pub aggregate: Option<String>,

    /// The folder to write to; made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "bindings")]
    pub out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the model has mistakes or lacks the aggregate, or the files cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let contract = Contract::read(&args.model, args.aggregate.as_deref())?;
    let files = generate(&contract, args.lang, &args.out)?;
    let written = folder::write(&args.out, &files)?;
    for path in &written.left {
        eprintln!("{} is no longer made, and was changed: it stays", args.out.join(path).display());
    }
    let shown = args.out.display();
    print::line(&format!(
        "{shown}: {} files for {}, {} changed",
        files.len(),
        contract.aggregates.join(", "),
        written.changed
    ));
    Ok(ExitCode::SUCCESS)
}

/// The files of a language, by their path below `out`.
///
/// # Errors
/// If the generator refuses the model, or `out` is no place for them.
pub fn generate(contract: &Contract, lang: Language, out: &Path) -> anyhow::Result<Files> {
    let files = match lang {
        Language::Rust => rust::files(),
        Language::Ts => Ok(typescript::files(contract)),
        Language::Python => Ok(python::files(contract)),
        Language::Go => go::files(contract, &go::import_path(out)?),
        Language::C => c::files(contract),
    };
    files.with_context(|| {
        format!("the bindings of {} for {} cannot be made", contract.file, lang.as_str())
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use super::contract::Contract;

    /// The example of the repository.
    pub(crate) const BANK: &str = include_str!("../../../examples-guests/bank/bank.storm.yaml");

    /// The contract of a model's text.
    pub(crate) fn contract(text: &str, aggregate: Option<&str>) -> Contract {
        let (model, _) = aether_wit::read("bank.storm.yaml", text.as_bytes()).unwrap();
        Contract::new("bank.storm.yaml", Arc::new(model), aggregate).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::contract, *};

    /// Every kind of type, keywords as names, an aggregate without rejections, and upcasts.
    const KINDS: &str = include_str!("bindings/kinds.storm.yaml");

    #[test]
    fn every_language_takes_every_type_and_gives_the_same_bytes_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("go.mod"), "module kinds\n").unwrap();
        for aggregate in [None, Some("type")] {
            let contract = contract(KINDS, aggregate);
            for lang in Language::ALL {
                let files = generate(&contract, lang, folder.path()).unwrap();
                assert!(!files.is_empty(), "{lang:?}");
                assert_eq!(generate(&contract, lang, folder.path()).unwrap(), files, "{lang:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_aggregate_that_is_not_there_is_told_with_those_that_are() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("bank.storm.yaml");
        std::fs::write(&model, testing::BANK).unwrap();
        let args = |aggregate: &str, model: &Path| Args {
            model: model.to_owned(),
            lang: Language::C,
            aggregate: Some(aggregate.to_owned()),
            out: folder.path().join("out"),
        };
        let error = run(args("acount", &model)).await.unwrap_err().to_string();
        assert!(error.contains("no aggregate `acount`; it has: account"), "{error}");
        let error = run(args("account", Path::new("/nowhere/a"))).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/a cannot be read"), "{error}");
        std::fs::write(&model, testing::BANK.replace("context:", "contxt:")).unwrap();
        let error = run(args("account", &model)).await.unwrap_err();
        assert!(error.downcast_ref::<aether_wit::Report>().is_some(), "{error}");
        assert!(!folder.path().join("out").exists());
    }
}
