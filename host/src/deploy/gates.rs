//! What a candidate must pass before it is activated.

use std::{fmt, str::FromStr};

use aether_wit::{
    Model,
    diff::{self, Impact, Side},
};
use serde::{Deserialize, Serialize};

use super::Candidate;
use crate::scenario::{self, report};

/// A check before activation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The components export what the model's types say, and import nothing beyond the contract.
    Exports,
    /// What is stored can still be read, and callers are still served.
    Diff,
    /// The model's scenarios hold, and the components are pure.
    Scenarios,
    /// The histories of the real actors fold, and to the same states.
    Replay,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Exports, Self::Diff, Self::Scenarios, Self::Replay];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exports => "exports",
            Self::Diff => "diff",
            Self::Scenarios => "scenarios",
            Self::Replay => "replay",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|gate| gate.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no gate: expected exports, diff, scenarios or replay")
        })
    }
}

/// How a gate was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is as it must be.
    Passed,
    /// Something is not.
    Refused,
    /// Something is not, and whoever deploys takes that on.
    Forced,
    /// There is nothing to compare with.
    Skipped,
}

/// What a gate found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The gate.
    pub gate: Gate,
    /// How it was left.
    pub outcome: Outcome,
    /// What was found, for people, a line each.
    pub lines: Vec<String>,
}

impl Verdict {
    /// A gate where everything is as it must be.
    #[must_use]
    pub const fn passed(gate: Gate, lines: Vec<String>) -> Self {
        Self { gate, outcome: Outcome::Passed, lines }
    }

    /// A gate where something is not.
    #[must_use]
    pub const fn refused(gate: Gate, lines: Vec<String>) -> Self {
        Self { gate, outcome: Outcome::Refused, lines }
    }
}

/// The model's scenarios and the purity check, on the candidate's own components.
pub async fn scenarios(candidate: &Candidate) -> Verdict {
    let brains = candidate.behaviours.iter().map(|(name, code)| (name.clone(), code.clone()));
    let results = scenario::run(&candidate.model, &brains.collect()).await;
    if results.failed() == 0 {
        let count = candidate.model.scenarios.len();
        let line = format!("{count} scenarios, each also in kept and in fresh instances");
        return Verdict::passed(Gate::Scenarios, vec![line]);
    }
    let shown = report::human(&results, &candidate.file, report::Colour::Plain);
    Verdict::refused(Gate::Scenarios, shown.lines().map(str::to_owned).collect())
}

/// What changed from the model of deployment `active` to that of `file`; refused if stored events
/// or callers would not survive it.
#[must_use]
pub fn diff(file: &str, old: &Model, new: &Model, active: u64) -> Verdict {
    let changes = diff::diff(old, new);
    let line = |change: &diff::Change| {
        let (line, column) = (change.at.line, change.at.column);
        match change.side {
            Side::New => format!("{file}:{line}:{column}: {change}"),
            Side::Old => format!("deployment {active}, line {line}: {change}"),
        }
    };
    let lines = changes.iter().map(line).collect();
    if changes.iter().all(|change| change.impact == Impact::Compatible) {
        Verdict::passed(Gate::Diff, lines)
    } else {
        Verdict::refused(Gate::Diff, lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_by_name() {
        for gate in Gate::ALL {
            assert_eq!(gate.to_string().parse(), Ok(gate));
        }
        assert!("all".parse::<Gate>().unwrap_err().contains("`all`"));
    }
}
