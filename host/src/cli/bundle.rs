//! A model with its components, as they lie on disk.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;

use crate::host::Bundle;

/// A model's text and its components' bytes.
///
/// # Errors
/// If a file cannot be read, or the model has mistakes.
pub fn bundle(file: &Path) -> anyhow::Result<Bundle> {
    let name = file.display().to_string();
    let text = std::fs::read(file).with_context(|| format!("the model {name} cannot be read"))?;
    let (model, _) =
        aether_wit::read(&name, &text).map_err(|report| anyhow::Error::new(*report))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let components = model.components.iter().map(|component| {
        let path = folder.join(component);
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "the component {} of the model {name} cannot be read; `make guests` builds those of the examples",
                path.display()
            )
        })?;
        Ok((component.clone(), Bytes::from(bytes)))
    });
    let components = components.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Bundle { file: name, model: text.into(), components })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_there_is_named() {
        let said = bundle(Path::new("/nowhere/a.storm.yaml")).unwrap_err().to_string();
        assert!(said.contains("/nowhere/a.storm.yaml"), "{said}");
    }
}
