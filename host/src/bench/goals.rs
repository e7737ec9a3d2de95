//! What is wanted: one line for each goal, with what must be and what would be good.

use serde::{Deserialize, Serialize};

use super::report::{About, Figure, Results};

/// A goal and how far it was met.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Goal {
    /// What is measured.
    pub goal: String,
    /// What it must be.
    pub must: String,
    /// What would be good.
    pub aim: String,
    /// What it was; of several parts the worst.
    pub measured: Option<f64>,
    /// The unit of all three.
    pub unit: String,
    /// How far it was met.
    pub met: Met,
    /// Why not, or why it was not measured.
    pub why: String,
}

/// How far a goal was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// As far as would be good.
    Aim,
    /// As far as it must be.
    Must,
    /// Not.
    No,
    /// Not measured.
    Skipped,
}

impl Met {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Must => "must",
            Self::No => "no",
            Self::Skipped => "skipped",
        }
    }
}

/// On which side of a bound a figure must be.
#[derive(Clone, Copy)]
enum Side {
    AtLeast,
    AtMost,
}

/// What of a figure counts.
#[derive(Clone, Copy)]
enum Part {
    Value,
    Ratio,
}

/// A line of the table.
struct Line {
    goal: &'static str,
    side: Side,
    must: f64,
    aim: f64,
    unit: &'static str,
    part: Part,
    /// The figures; the worst counts.
    figures: &'static [&'static str],
}

const LINES: &[Line] = &[
    Line {
        goal: "commands on JetStream at 256 in flight, 1,000 actors",
        side: Side::AtLeast,
        must: 0.70,
        aim: 0.85,
        unit: "× raw",
        part: Part::Ratio,
        figures: &["turn-jetstream/256-in-flight-1000-actors"],
    },
    Line {
        goal: "one command in process on JetStream, p50",
        side: Side::AtMost,
        must: 1.5,
        aim: 1.25,
        unit: "× raw publish + ack",
        part: Part::Ratio,
        figures: &["ask-latency/in-process"],
    },
    Line {
        goal: "commands on the embedded store at 256 in flight, fsync, empty and with 1 M records",
        side: Side::AtLeast,
        must: 0.70,
        aim: 0.9,
        unit: "× bare group commit",
        part: Part::Ratio,
        figures: &["turn-embedded/256-in-flight-empty", "turn-embedded/256-in-flight-large"],
    },
    Line {
        goal: "commands over NATS, 64 clients",
        side: Side::AtLeast,
        must: 0.35,
        aim: 0.5,
        unit: "× raw at 64",
        part: Part::Ratio,
        figures: &["gateway/nats-64-clients"],
    },
    Line {
        goal: "one hot actor on JetStream, 256 clients",
        side: Side::AtLeast,
        must: 0.8,
        aim: 3.0,
        unit: "× (1 / raw round trip)",
        part: Part::Ratio,
        figures: &["hot-actor/jetstream-256-clients"],
    },
    Line {
        goal: "wake of a new actor, no I/O, instance included",
        side: Side::AtMost,
        must: 40.0,
        aim: 15.0,
        unit: "µs",
        part: Part::Value,
        figures: &["wake/new-without-io"],
    },
    Line {
        goal: "wake with 10 events, on both stores",
        side: Side::AtMost,
        must: 2.0,
        aim: 1.3,
        unit: "× the raw read",
        part: Part::Ratio,
        figures: &["wake/embedded-10-events-1-at-once", "wake/jetstream-10-events-1-at-once"],
    },
    Line {
        goal: "replay, batches of 256",
        side: Side::AtLeast,
        must: 2_000_000.0,
        aim: 4_000_000.0,
        unit: "events/s",
        part: Part::Value,
        figures: &["replay/batches-of-256"],
    },
    Line {
        goal: "an awake actor without an instance, RSS",
        side: Side::AtMost,
        must: 1024.0,
        aim: 512.0,
        unit: "B",
        part: Part::Value,
        figures: &["awake/actor-without-instance"],
    },
    Line {
        goal: "100,000 awake, 1,000 instances, RSS",
        side: Side::AtMost,
        must: 400.0,
        aim: 200.0,
        unit: "MB",
        part: Part::Value,
        figures: &["awake/100000-awake-1000-instances"],
    },
    Line {
        goal: "idle host, 100,000 awake",
        side: Side::AtMost,
        must: 1.0,
        aim: 0.1,
        unit: "% of a core",
        part: Part::Value,
        figures: &["awake/idle-cpu-100000-awake"],
    },
    Line {
        goal: "reads in process, local",
        side: Side::AtLeast,
        must: 500_000.0,
        aim: 1_000_000.0,
        unit: "reads/s",
        part: Part::Value,
        figures: &["reads/local"],
    },
    Line {
        goal: "embedded over HTTP, 256 connections, fsync",
        side: Side::AtLeast,
        must: 5.0,
        aim: 10.0,
        unit: "× Restate",
        part: Part::Ratio,
        figures: &["beside-restate/aether-256-connections"],
    },
    Line {
        goal: "p99 of 1,000 normal actors beside a hot one",
        side: Side::AtMost,
        must: 2.0,
        aim: 1.2,
        unit: "× without it",
        part: Part::Ratio,
        figures: &["hot-actor/others-beside-it"],
    },
];

/// Every goal, as far as `results` tell.
#[must_use]
pub fn goals(results: &Results, about: &[About]) -> Vec<Goal> {
    LINES.iter().map(|line| line.judge(results, about)).collect()
}

impl Line {
    fn judge(&self, results: &Results, about: &[About]) -> Goal {
        let goal = |measured, met, why| Goal {
            goal: self.goal.to_owned(),
            must: self.bound(self.must),
            aim: self.bound(self.aim),
            measured,
            unit: self.unit.to_owned(),
            met,
            why,
        };
        let mut worst: Option<(&str, f64)> = None;
        for name in self.figures {
            let Some(value) = results.get(*name).and_then(|figure| self.part.of(figure)) else {
                return goal(None, Met::Skipped, missing(name, about));
            };
            if worst.is_none_or(|(_, before)| !self.side.holds(value, before)) {
                worst = Some((name, value));
            }
        }
        let Some((name, value)) = worst else {
            return goal(None, Met::Skipped, "nothing measures it".to_owned());
        };
        let met = if self.side.holds(value, self.aim) {
            Met::Aim
        } else if self.side.holds(value, self.must) {
            Met::Must
        } else {
            Met::No
        };
        let worst_of = self.figures.len() > 1 || met == Met::No;
        goal(Some(value), met, if worst_of { format!("`{name}`") } else { String::new() })
    }

    fn bound(&self, bound: f64) -> String {
        let sign = match self.side {
            Side::AtLeast => "≥",
            Side::AtMost => "≤",
        };
        format!("{sign} {} {}", super::report::shown(bound), self.unit)
    }
}

impl Side {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
        }
    }
}

impl Part {
    fn of(self, figure: &Figure) -> Option<f64> {
        let value = match self {
            Self::Value => Some(figure.value),
            Self::Ratio => figure.ratio,
        };
        value.filter(|value| value.is_finite())
    }
}

/// Why a figure is missing.
fn missing(figure: &str, about: &[About]) -> String {
    let benchmark = figure.split('/').next().unwrap_or(figure);
    match about.iter().find(|about| about.name == benchmark) {
        Some(about) if !about.skipped.is_empty() => about.skipped.clone(),
        Some(_) => format!("`{figure}` is not measured in runs of this size"),
        None => format!("`{benchmark}` was not run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(figures: &[(&str, Figure)], goal: usize) -> Goal {
        let figures = figures.iter().map(|(name, figure)| ((*name).to_owned(), figure.clone()));
        goals(&figures.collect(), &[]).swap_remove(goal)
    }

    #[test]
    fn a_goal_of_two_parts_is_judged_by_the_worse_one() {
        let ratio = |ratio| Figure::of(1.0, "x").beside("y", ratio);
        let (empty, large) =
            ("turn-embedded/256-in-flight-empty", "turn-embedded/256-in-flight-large");
        let found = judged(&[(empty, ratio(0.95)), (large, ratio(0.75))], 2);
        assert_eq!((found.met, found.measured), (Met::Must, Some(0.75)));
        let found = judged(&[(empty, ratio(0.5)), (large, ratio(0.95))], 2);
        assert_eq!(found.met, Met::No);
        assert!(found.why.contains("empty"), "{}", found.why);
        let found = judged(&[(empty, ratio(0.95))], 2);
        assert_eq!((found.met, found.measured), (Met::Skipped, None));
    }

    #[test]
    fn less_is_better_where_it_says_so() {
        let wake = "wake/new-without-io";
        assert_eq!(judged(&[(wake, Figure::of(14.0, "µs"))], 5).met, Met::Aim);
        assert_eq!(judged(&[(wake, Figure::of(39.0, "µs"))], 5).met, Met::Must);
        assert_eq!(judged(&[(wake, Figure::of(41.0, "µs"))], 5).met, Met::No);
        assert_eq!(judged(&[(wake, Figure::of(f64::NAN, "µs"))], 5).met, Met::Skipped);
    }
}
