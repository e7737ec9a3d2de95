//! What a component is to implement: one aggregate of a model or all, as a WIT world.

use std::{path::Path, sync::Arc};

use aether_wit::{Model, wit};
use anyhow::{Context as _, bail};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
/// One aggregate of a model, or all, to be implemented by one component.
#[derive(Debug)]
pub struct Contract {
    /// The model's file, for messages.
    pub file: String,
    /// The model.
    pub model: Arc<Model>,
    /// Names of the aggregates, in the model's order.
    pub aggregates: Vec<String>,
    /// The name of the world that exports them.
    pub world: String,
    /// WIT with this world and all that it needs.
    pub wit: String,
}

impl Contract {
    /// The contract of one aggregate of the model in `file`, or of all.
    ///
    /// # Errors
    /// If the model cannot be read, has mistakes, or lacks the aggregate.
    pub fn read(file: &Path, aggregate: Option<&str>) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let text =
            std::fs::read(file).with_context(|| format!("the model {name} cannot be read"))?;
        let (model, _) =
            aether_wit::read(&name, &text).map_err(|report| anyhow::Error::new(*report))?;
        Self::new(&name, Arc::new(model), aggregate)
    }

    /// The contract of one aggregate of `model`, or of all.
    ///
    /// # Errors
    /// If the model lacks the aggregate.
    pub fn new(file: &str, model: Arc<Model>, aggregate: Option<&str>) -> anyhow::Result<Self> {
        let known: Vec<String> = model.aggregates.keys().cloned().collect();
        let file = file.to_owned();
        let only = match (aggregate, known.as_slice()) {
            (Some(name), _) => Some(name.to_owned()),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        };
        let Some(name) = only else {
            let wit = wit::all(&model);
            return Ok(Self { file, model, aggregates: known, world: "all".to_owned(), wit });
        };
        let Some(wit) = wit::guest(&model, &name) else {
            bail!("{file} has no aggregate `{name}`; it has: {}", known.join(", "));
        };
        let world = format!("{name}-guest");
        Ok(Self { file, model, aggregates: vec![name], world, wit })
    }

    /// The world, as the generators take it.
    ///
    /// # Errors
    /// If the WIT cannot be read: a bug of the compiler's.
    pub fn resolve(&self) -> anyhow::Result<(Resolve, WorldId)> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str(format!("{}.wit", self.model.context), &self.wit)?;
        let world = resolve.select_world(&[package], Some(&self.world))?;
        Ok((resolve, world))
    }
}
