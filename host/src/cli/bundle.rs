//! A model with its components, as they lie on disk.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;

use crate::host::Bundle;

/// A model's text and its components' bytes.
///
/// # Errors
/// If a file cannot be read, or the model has mistakes.
pub fn bundle(file: &Path) -> anyhow::Result<Bundle> {
    bundle_with(file, &[])
}

/// The same with `components` in the place of those that the model names, if there are any.
///
/// # Errors
/// As [`bundle`].
pub fn bundle_with(file: &Path, components: &[PathBuf]) -> anyhow::Result<Bundle> {
    let name = file.display().to_string();
    let text = std::fs::read(file).with_context(|| format!("the model {name} cannot be read"))?;
    let (model, _) =
        aether_wit::read(&name, &text).map_err(|report| anyhow::Error::new(*report))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let named =
        model.components.iter().map(|component| (component.clone(), folder.join(component)));
    let given = components.iter().map(|path| (path.display().to_string(), path.clone()));
    let files: Vec<_> = if components.is_empty() { named.collect() } else { given.collect() };
    let components = files.into_iter().map(|(component, path)| {
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "the component {} of the model {name} cannot be read: build it ({HOW_TO_BUILD})",
                path.display()
            )
        })?;
        Ok((component, Bytes::from(bytes)))
    });
    let components = components.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Bundle { file: name, model: text.into(), components })
}

/// What builds the component of a model.
pub const HOW_TO_BUILD: &str =
    "`make` in a project of `aether new`, `make guests` for the examples";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_there_is_named() {
        let said = bundle(Path::new("/nowhere/a.storm.yaml")).unwrap_err().to_string();
        assert!(said.contains("/nowhere/a.storm.yaml"), "{said}");
    }
}
