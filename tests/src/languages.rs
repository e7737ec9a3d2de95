//! Components in other languages than Rust, as `make guests` builds them.
//!
//! The tools of these languages come from package registries, and a machine may reach none of them.
//! What is not there is told on stderr with the reason, and is not tested; with `CI=true` that is a
//! failure.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use aether::vm::{Sandbox, SandboxConfig};
use anyhow::{Context as _, Result, anyhow, bail};

use crate::{guest_project::GuestProject, workspace};

/// A language that components are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Built by cargo, always there.
    Rust,
    /// On SpiderMonkey.
    TypeScript,
    /// On CPython.
    Python,
    /// The compiler and runtime of Go itself.
    Go,
    /// clang and wasi-libc.
    C,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Language {
    /// All of them, Rust first.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Python, Self::Go, Self::TypeScript, Self::C];

    /// As folders are called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "ts",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// The languages whose components are there.
    ///
    /// # Errors
    /// If a component of Rust does not build; with `CI=true` also if one of another language is
    /// not there.
    pub fn there() -> Result<Vec<Self>> {
        let mut there = Vec::new();
        for language in Self::ALL {
            if language.is_there()? {
                there.push(language);
            }
        }
        Ok(there)
    }

    fn is_there(self) -> Result<bool> {
        let lacks = [self.account()?, self.conformance()?];
        if lacks.iter().all(|component| component.exists()) {
            return Ok(true);
        }
        let note = workspace::root().join(".tools/missing").join(self.name());
        let why = fs::read_to_string(note).unwrap_or_else(|_| "run `make guests`".to_owned());
        let told = format!("components in {self} are not there, and not tested: {}", why.trim());
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            bail!(told);
        }
        eprintln!("{told}");
        Ok(false)
    }

    /// The component with the bank's account; that of Rust holds the transfer too.
    ///
    /// # Errors
    /// If it is in Rust and does not build.
    pub fn account(self) -> Result<PathBuf> {
        let bank = workspace::bank_model()?;
        Ok(match self {
            Self::Rust => bank.with_file_name("bank.wasm"),
            other => bank.with_file_name(format!("account-{other}")).join("account.wasm"),
        })
    }

    /// The component of the conformance model.
    ///
    /// # Errors
    /// If it is in Rust and does not build.
    pub fn conformance(self) -> Result<PathBuf> {
        let model = workspace::conformance_model()?;
        Ok(match self {
            Self::Rust => model.with_file_name("conformance.wasm"),
            other => model.with_file_name(other.name()).join("conformance.wasm"),
        })
    }

    /// The model of the bank with the account in this language, in a folder with its components.
    /// The transfer is always in Rust.
    ///
    /// # Errors
    /// If a component of Rust does not build, or a file cannot be written.
    pub fn bank(self) -> Result<PathBuf> {
        let model = workspace::bank_model()?;
        if self == Self::Rust {
            return Ok(model);
        }
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().map_err(|_| anyhow!("another test panicked here"))?;
        let text = read(&model)?;
        let transfer = transfer()?;
        let named = "components: [bank.wasm]";
        anyhow::ensure!(text.matches(named).count() == 1, "`{named}` is not once in the example");
        let folder = folder()?.join(format!("bank-{self}"));
        fs::create_dir_all(&folder).context("a folder for the bank")?;
        let own = folder.join("bank.storm.yaml");
        let text = text.replace(named, "components: [account.wasm, transfer.wasm]");
        if !fs::read_to_string(&own).is_ok_and(|there| there == text) {
            fs::write(&own, text).context("the model of the bank")?;
        }
        workspace::place(&transfer, &folder.join("transfer.wasm"))?;
        workspace::place(&self.account()?, &folder.join("account.wasm"))?;
        Ok(own)
    }
}

/// A component with the bank's transfer alone, in Rust.
///
/// # Errors
/// If it does not build.
pub fn transfer() -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().map_err(|_| anyhow!("another test panicked here"))?;
    let model = workspace::bank_model()?;
    let built = GuestProject::new("bank-transfer", "bank.storm.yaml", &read(&model)?)
        .source("lib.rs", "//! Transfers alone.\n\npub mod transfer;\n")
        .source("transfer.rs", &read(&model.with_file_name("src").join("transfer.rs"))?)
        .build("transfer.wasm")?;
    Ok(built.with_file_name("transfer.wasm"))
}

/// Where compiled code is kept: the components of JavaScript and Python take some 15 s each, so all
/// tests share it.
///
/// # Errors
/// If this process was not started from cargo's target folder.
pub fn cache() -> Result<PathBuf> {
    Ok(folder()?.join("compiled"))
}

/// A sandbox with the limits of a host, and compiled code in [`cache`].
///
/// # Errors
/// If the machine cannot give it.
pub fn sandbox() -> Result<Sandbox> {
    let config = SandboxConfig {
        cache_dir: Some(cache()?),
        max_instances: Some(100),
        ..SandboxConfig::default()
    };
    Ok(Sandbox::new(config)?)
}

/// Compiles components into [`cache`], one after the other, so that no host of a test has to.
///
/// # Errors
/// If one is not taken.
pub fn compile(components: &[PathBuf]) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().map_err(|_| anyhow!("another test panicked here"))?;
    let sandbox = sandbox()?;
    let run = || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for path in components {
            let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
            runtime.block_on(async {
                sandbox.load(bytes.into()).await?.keep().await;
                anyhow::Ok(())
            })?;
        }
        Ok(())
    };
    // The caller may be on a thread of another runtime.
    let joined = std::thread::scope(|scope| scope.spawn(run).join());
    joined.map_err(|_| anyhow!("compiling panicked"))?
}

/// A folder below cargo's target folder.
fn folder() -> Result<PathBuf> {
    Ok(workspace::target_folder()?.join("languages"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
