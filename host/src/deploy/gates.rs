//! What a candidate must pass before it is activated.

use super::Candidate;
use crate::{
    host::StartError,
    scenario::{self, report},
};

/// The model's scenarios and the purity check, on the candidate's own components.
///
/// # Errors
/// Names what failed.
pub async fn scenarios(candidate: &Candidate) -> Result<(), StartError> {
    let brains = candidate.behaviours.iter().map(|(name, code)| (name.clone(), code.clone()));
    let results = scenario::run(&candidate.model, &brains.collect()).await;
    if results.failed() == 0 {
        return Ok(());
    }
    let shown = report::human(&results, &candidate.file, report::Colour::Plain);
    Err(StartError(format!("{shown}\nit is not deployed: nothing was changed")))
}
