//! What a candidate must pass before it is activated.

use std::{collections::BTreeSet, fmt, str::FromStr};

use aether_wit::{
    Model,
    diff::{self, Impact, Side},
};
use serde::{Deserialize, Serialize};

use super::{
    Candidate,
    replay::{
        self,
        difference::Difference,
        findings::{DifferenceKind, Failed, Verdict as Found},
        report::Report,
    },
    tally::Tally,
};
use crate::{
    address::Address,
    scenario::{self, report},
};

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

/// A model that is to follow another.
#[derive(Debug)]
pub struct Step<'a> {
    /// The file of the new one, for messages.
    pub file: &'a str,
    /// The model that is active.
    pub old: &'a Model,
    /// The number of its deployment.
    pub active: u64,
    /// The model that is to follow.
    pub new: &'a Model,
    /// What the new one cannot read of what is stored.
    pub stored: &'a Tally,
    /// Whether it is known to callers already: then what it takes back from them is only told.
    pub again: bool,
}

/// What changes; refused if stored events or callers would not survive it.
#[must_use]
pub fn diff(step: &Step<'_>) -> Verdict {
    // What refuses is told first, whatever else changes.
    let (mut refusing, mut lines) = (Vec::new(), Vec::new());
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    let changes = diff::diff(step.old, step.new);
    for change in &changes {
        let (line, column) = (change.at.line, change.at.column);
        let mut text = match change.side {
            Side::New => format!("{}:{line}:{column}: {change}", step.file),
            Side::Old => format!("deployment {}, line {line}: {change}", step.active),
        };
        if change.impact != Impact::Compatible {
            let mut concerned = 0;
            for event in &change.stored {
                let key = (event.aggregate.clone(), event.event.clone());
                if let Some(stored) = step.stored.get(&key) {
                    told.insert((&event.aggregate, &event.event));
                    concerned += stored.count;
                    let (events, are) = counted(stored.count, &event.event);
                    let e_g = stored.actor.as_str();
                    text.push_str(&format!("; {events} {are} concerned, e.g. of {e_g}"));
                }
            }
            if !change.stored.is_empty() && concerned == 0 {
                text.push_str("; no stored event is concerned");
            }
            // What is not stored does not matter, and callers have seen what comes back.
            let harmless = if change.stored.is_empty() { step.again } else { concerned == 0 };
            if !harmless {
                refusing.push(text);
                continue;
            }
        }
        lines.push(text);
    }
    for ((aggregate, event), stored) in step.stored {
        if !told.contains(&(aggregate.as_str(), event.as_str())) {
            refusing.push(format!(
                "{}: {} of `{aggregate}` cannot be read, e.g. of {}: keep them readable with an option, a default, `was:` or `upcasts:` (docs/model.md)",
                step.file, counted(stored.count, event).0, stored.actor
            ));
        }
    }
    if refusing.is_empty() && step.stored.is_empty() {
        return Verdict::passed(Gate::Diff, lines);
    }
    refusing.append(&mut lines);
    Verdict::refused(Gate::Diff, refusing)
}

/// E.g. `1 stored event `opened`` and `is`.
fn counted(count: u64, event: &str) -> (String, &'static str) {
    let (plural, are) = if count == 1 { ("", "is") } else { ("s", "are") };
    (format!("{count} stored event{plural} `{event}`"), are)
}

/// What shadow replay found; `accepted`: states may differ.
#[must_use]
pub fn replay(report: &Report, old: &Model, new: &Model, accepted: bool) -> Verdict {
    let mut lines: Vec<String> = report.human().lines().map(str::to_owned).collect();
    let both = |kind: &DifferenceKind| {
        let field = kind.place.split(['.', '[']).next().unwrap_or_default();
        let has = |model: &Model| {
            let aggregate = model.aggregates.get(&kind.aggregate);
            aggregate.is_some_and(|it| it.state.iter().any(|known| known.name == field))
        };
        field.is_empty() || (has(old) && has(new))
    };
    let refused = match report.outcome() {
        replay::report::Outcome::Passed => false,
        replay::report::Outcome::Refused => true,
        // Fields that only one of the models has were told by the gate before.
        replay::report::Outcome::StateChanges => report.findings.differences.keys().any(both),
    };
    let failed = report.outcome() == replay::report::Outcome::Refused;
    if refused && !failed && !accepted {
        lines.push("states would change: `--accept-state-changes` lets them".to_owned());
    }
    if refused && (failed || !accepted) {
        Verdict::refused(Gate::Replay, lines)
    } else {
        Verdict::passed(Gate::Replay, lines)
    }
}

/// What shadow replay found of one actor.
#[must_use]
pub fn replay_of_one(actor: &Address, found: &Found) -> Verdict {
    let fails = |who: &str, failed: &Failed| {
        format!("{actor}: {who} at version {}: {}: {}", failed.version, failed.kind, failed.detail)
    };
    match found {
        Found::Same => Verdict::passed(Gate::Replay, vec![format!("{actor}: nothing differs")]),
        Found::Healed => {
            let line = format!("{actor}: the new code takes a past that the old one does not");
            Verdict::passed(Gate::Replay, vec![line])
        }
        Found::BothFail(failed) => {
            Verdict::passed(Gate::Replay, vec![fails("both codes fail", failed)])
        }
        Found::Fails(failed) => {
            Verdict::refused(Gate::Replay, vec![fails("the new code fails", failed)])
        }
        Found::Differs(version, differences) => {
            let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
            let line = |it: &Difference| {
                let place = if it.path.is_empty() { "the whole state" } else { &it.path };
                format!("  {place}: {} becomes {}", said(&it.old), said(&it.new))
            };
            let head = format!("{actor} at version {version}:");
            let lines = std::iter::once(head).chain(differences.iter().map(line)).collect();
            Verdict::refused(Gate::Replay, lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
context: shop
version: 1.0.0
aggregates:
  till:
    state: { count: u64 }
    commands:
      sell: { fields: { item: string }, emits: [sold] }
    events:
      sold: { item: string }
";

    #[test]
    fn what_refuses_is_told_first_and_counted_in_words() {
        let new = OLD.replace("1.0.0", "2.0.0").replace("sold: { item: string }", "sold: {}");
        let new = new.replace("state: { count: u64 }", "state: { count: u32 }");
        let read = |text: &str| aether_wit::read("shop.storm.yaml", text.as_bytes()).unwrap().0;
        let (old, new) = (read(OLD), read(&new));
        for (count, words) in [(1, "1 stored event `sold` is"), (2, "2 stored events `sold` are")] {
            let stored = super::super::tally::Stored { count, actor: "shop/till/a".to_owned() };
            let stored = [(("till".to_owned(), "sold".to_owned()), stored)].into();
            let change = Step {
                file: "shop.storm.yaml",
                old: &old,
                active: 1,
                new: &new,
                stored: &stored,
                again: false,
            };
            let Verdict { outcome, lines, .. } = diff(&change);
            assert_eq!(outcome, Outcome::Refused);
            assert!(lines[0].contains("the field was removed"), "{lines:#?}");
            assert!(lines[0].contains(&format!("{words} concerned, e.g. of shop/till/a")));
            let version = "shop.storm.yaml:2:1: compatible: version";
            assert!(lines.iter().any(|line| line.starts_with(version)), "{lines:#?}");
        }
    }

    #[test]
    fn gates_are_read_by_name() {
        for gate in Gate::ALL {
            assert_eq!(gate.to_string().parse(), Ok(gate));
        }
        assert!("all".parse::<Gate>().unwrap_err().contains("`all`"));
    }
}
