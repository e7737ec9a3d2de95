//! Python: componentize-py makes the classes itself, from WIT.

use super::{contract::Contract, folder::Files};

/// The WIT, as one file.
#[must_use]
pub fn files(contract: &Contract) -> Files {
    Files::from([(format!("{}.wit", contract.model.context), contract.wit.clone().into_bytes())])
}
