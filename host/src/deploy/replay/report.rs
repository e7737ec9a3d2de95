//! What shadow replay says, for programs and for people.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{
    difference::Change,
    findings::{
        DifferenceKind, Differing, Example, Failed, FailureKind, Failures, Findings, Skipped,
    },
    ground::Kept,
    sample::Rest,
    survey::{Events, Pair},
};
use crate::store::Reach;

/// Failures, and actors left out, that people are shown; programs get all that were kept.
const SHOWN: usize = 10;

/// What was found, and how far it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The context.
    pub context: String,
    /// Number of the deployment that is served.
    pub old: u64,
    /// Number of the deployment that would be.
    pub new: u64,
    /// Aggregates whose model and component are the same in both.
    pub unchanged: Vec<String>,
    /// Records that were looked at.
    pub records: u64,
    /// Actors that there are.
    pub actors: u64,
    /// The types of events that there are, each by the model that wrote it.
    pub pairs: BTreeMap<Pair, Events>,
    /// What was found.
    pub findings: Findings,
    /// What became of the new code's snapshots.
    pub kept: Kept,
    /// The actors that were not covered; none if all were.
    pub rest: Option<Rest>,
    /// Up to where each partition was read: all that is said holds up to there at least.
    pub reached: Reach,
    /// How often the whole log was read.
    pub readings: u64,
    /// How long it took.
    pub took: Duration,
}

/// What the findings mean for a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was found that stands against it.
    Passed,
    /// States differ: somebody must say that they may.
    StateChanges,
    /// The new code cannot take what the old one takes.
    Refused,
}

impl Report {
    /// What the findings mean for a deploy.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.findings.failures.count() > 0 {
            Outcome::Refused
        } else if self.findings.differing > 0 {
            Outcome::StateChanges
        } else {
            Outcome::Passed
        }
    }

    /// The report for people; its last line is the summary.
    #[must_use]
    pub fn human(&self) -> String {
        let mut out = String::new();
        let found = &self.findings;
        failures(&mut out, &found.failures, "the new code fails where the old one does not");
        differences(&mut out, &found.differences);
        failures(&mut out, &found.shared, "no fault of the new code: the old one fails too");
        if found.healed > 0 {
            let _ = writeln!(out, "{} can be read again by the new code", actors(found.healed));
        }
        if found.skipped > 0 {
            let _ = writeln!(out, "{} left out:", actors(found.skipped));
            for skipped in found.first_skipped.iter().take(SHOWN) {
                let _ = writeln!(out, "  {}  {}: {}", skipped.actor, skipped.kind, skipped.reason);
            }
            more(&mut out, found.skipped, SHOWN);
        }
        if let Some(rest) = self.rest {
            let percent = rest.share() * 100.0;
            let _ = writeln!(out, "not covered in the time: {percent:.1} % of the actors");
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// E.g. `12 of 12 actors, 340 events in 0.4 s: 1 fails, 3 differ`.
    #[must_use]
    pub fn summary(&self) -> String {
        let found = &self.findings;
        let seconds = self.took.as_secs_f64();
        let result = match (found.failures.count(), found.differing) {
            (0, 0) => "nothing differs".to_owned(),
            (failed, differing) => format!("{failed} fail, {differing} differ"),
        };
        format!(
            "{} of {}, {} events in {seconds:.1} s: {result}",
            found.covered,
            actors(self.actors),
            found.events
        )
    }
}

fn actors(count: u64) -> String {
    format!("{count} actor{}", if count == 1 { "" } else { "s" })
}

fn more(out: &mut String, all: u64, shown: usize) {
    let left = all.saturating_sub(shown as u64);
    if left > 0 {
        let _ = writeln!(out, "  … and {left} more");
    }
}

fn failures(out: &mut String, failures: &Failures, what: &str) {
    let count = failures.count();
    if count == 0 {
        return;
    }
    let _ = writeln!(out, "{what}: {}", actors(count));
    for (FailureKind { aggregate, kind, event }, count) in &failures.kinds {
        let event = event.as_ref().map_or_else(String::new, |event| format!(" at `{event}`"));
        let _ = writeln!(out, "  {kind} of `{aggregate}`{event}: {}", actors(*count));
    }
    for Failed { actor, version, detail, .. } in failures.first.iter().take(SHOWN) {
        let _ = writeln!(out, "  {actor} at version {version}: {detail}");
    }
    more(out, count, SHOWN);
}

fn differences(out: &mut String, differences: &BTreeMap<DifferenceKind, Differing>) {
    for (DifferenceKind { aggregate, place, change }, differing) in differences {
        let word = match change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        };
        let place = if place.is_empty() { "the whole state" } else { place };
        let count = actors(differing.actors);
        let _ = writeln!(out, "state of `{aggregate}`: {place} {word} in {count} (- old, + new)");
        for Example { actor, version, difference } in &differing.examples {
            let _ = writeln!(out, "  {actor} at version {version}, {}:", difference.path);
            for (sign, value) in [('-', &difference.old), ('+', &difference.new)] {
                if let Some(value) = value {
                    let _ = writeln!(out, "    {sign} {value}");
                }
            }
        }
    }
}

#[derive(Serialize)]
struct CountedFailures<'a> {
    actors: u64,
    kinds: Vec<CountedKind<'a>>,
    first: Vec<&'a Failed>,
}

#[derive(Serialize)]
struct CountedKind<'a> {
    #[serde(flatten)]
    kind: &'a FailureKind,
    actors: u64,
}

#[derive(Serialize)]
struct CountedDifference<'a> {
    #[serde(flatten)]
    kind: &'a DifferenceKind,
    actors: u64,
    examples: Vec<&'a Example>,
}

#[derive(Serialize)]
struct CountedPair<'a> {
    aggregate: &'a str,
    event: &'a str,
    model: String,
    events: u64,
    covered: bool,
}

impl<'a> From<&'a Failures> for CountedFailures<'a> {
    fn from(failures: &'a Failures) -> Self {
        let kind = |(kind, actors): (&'a FailureKind, &u64)| CountedKind { kind, actors: *actors };
        Self {
            actors: failures.count(),
            kinds: failures.kinds.iter().map(kind).collect(),
            first: failures.first.iter().collect(),
        }
    }
}

impl Report {
    fn counted_pairs(&self) -> Vec<CountedPair<'_>> {
        let left_out = |actor: &str| {
            self.findings.first_skipped.iter().any(|skipped: &Skipped| skipped.actor == actor)
        };
        let counted = self.pairs.iter().map(|(pair, events)| CountedPair {
            aggregate: &pair.aggregate,
            event: &pair.event,
            model: pair.model.to_string(),
            events: events.count,
            covered: !left_out(&events.example.1.to_string()),
        });
        counted.collect()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = &self.findings;
        let differences = found.differences.iter().map(|(kind, differing)| CountedDifference {
            kind,
            actors: differing.actors,
            examples: differing.examples.iter().collect(),
        });
        let mut out = serializer.serialize_struct("Report", 22)?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("context", &self.context)?;
        out.serialize_field("old", &self.old)?;
        out.serialize_field("new", &self.new)?;
        out.serialize_field("unchanged", &self.unchanged)?;
        out.serialize_field("records", &self.records)?;
        out.serialize_field("actors", &self.actors)?;
        out.serialize_field("covered", &found.covered)?;
        out.serialize_field("events", &found.events)?;
        out.serialize_field("pairs", &self.counted_pairs())?;
        out.serialize_field("failures", &CountedFailures::from(&found.failures))?;
        out.serialize_field("shared-failures", &CountedFailures::from(&found.shared))?;
        out.serialize_field("healed", &found.healed)?;
        out.serialize_field("differing", &found.differing)?;
        out.serialize_field("differences", &differences.collect::<Vec<_>>())?;
        out.serialize_field("skipped", &found.skipped)?;
        out.serialize_field("first-skipped", &found.first_skipped)?;
        out.serialize_field("snapshots", &self.kept)?;
        out.serialize_field("rest", &self.rest)?;
        out.serialize_field("reached", &self.reached)?;
        out.serialize_field("readings", &self.readings)?;
        out.serialize_field("took-ms", &u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX))?;
        out.end()
    }
}
