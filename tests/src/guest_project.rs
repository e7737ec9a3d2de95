//! Guests that a test makes up: a model, the Rust beside it, and the component built from both.
//!
//! Each is a crate of its own below cargo's target folder, outside the workspace, so a test can
//! break the example or take it from one version to the next without touching it. It shares the
//! target folder, the lock file and the profile of the workspace's guests: what they depend on is
//! compiled once, and nothing is fetched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::workspace;

/// A guest to be built. Its crate, and the folder of it, are named `name`.
#[derive(Clone, Debug)]
pub struct GuestProject {
    name: String,
    model: (String, String),
    sources: Vec<(String, String)>,
}

impl GuestProject {
    /// A guest `name` (words joined by `-`, used by one test only) with the model `text` in a file
    /// called `file`.
    #[must_use]
    pub fn new(name: &str, file: &str, text: &str) -> Self {
        Self { name: name.into(), model: (file.into(), text.into()), sources: Vec::new() }
    }

    /// Adds a file of Rust below `src/`; one must be `lib.rs`.
    #[must_use]
    pub fn source(mut self, file: &str, text: &str) -> Self {
        self.sources.push((file.into(), text.into()));
        self
    }

    /// Builds the component and puts it beside the model as `component`; gives the model's path.
    ///
    /// # Errors
    /// If it does not build.
    pub fn build(&self, component: &str) -> Result<PathBuf> {
        // Fetches and compiles what all guests depend on.
        workspace::guests()?;
        let target = workspace::target_folder()?;
        let folder = target.join("guest-projects").join(&self.name);
        write(&folder.join("Cargo.toml"), &self.manifest()?)?;
        write(&folder.join("Cargo.lock"), &read(&workspace::root().join("Cargo.lock"))?)?;
        let model = folder.join(&self.model.0);
        write(&model, &self.model.1)?;
        for (file, text) in &self.sources {
            write(&folder.join("src").join(file), text)?;
        }
        let built = workspace::build_guest(&folder, &target)?;
        let file = format!("{}.wasm", self.name.replace('-', "_"));
        workspace::place(&built.join(file), &folder.join(component))?;
        Ok(model)
    }

    fn manifest(&self) -> Result<String> {
        let root = workspace::root();
        let workspace = read(&root.join("Cargo.toml"))?;
        let start = workspace.find("[profile.guest]").context("there is no profile for guests")?;
        let profile = workspace.get(start..).unwrap_or_default();
        let profile = profile.split("\n[").next().unwrap_or_default();
        Ok(format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n\
             [dependencies]\naether-guest = {{ path = {:?} }}\n\n\
             [workspace]\n\n{profile}\n",
            self.name,
            root.join("guest-sdk"),
        ))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file unless it holds `text` already: cargo looks at the time of writing.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
