//! What became of the rounds: a line for each, a table of all, and the verdict.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    check::{self, Column, Violation},
    cluster::StoreKind,
    history::{Operation, Tally},
    nemesis::{Nemesis, Strike},
    schedule::Round,
    workload::Workload,
};

/// What became of a round.
#[derive(Clone, Debug)]
pub struct Played {
    /// The round.
    pub round: Round,
    /// The faults that struck.
    pub strikes: Vec<Strike>,
    /// What clients were told.
    pub tally: Tally,
    /// What is wrong with it, by column.
    pub wrong: BTreeMap<Column, usize>,
    /// The first few violations, in words.
    pub said: Vec<String>,
    /// The longest time without any answer.
    pub unavailable: Duration,
    /// Why it could not be played to its end.
    pub broken: Option<String>,
    /// Where its history is, if it went wrong.
    pub kept: Option<PathBuf>,
}

/// Violations that a line shows.
const SHOWN: usize = 5;

impl Played {
    /// A round of which nothing is known yet.
    #[must_use]
    pub fn of(round: &Round) -> Self {
        Self {
            round: round.clone(),
            strikes: Vec::new(),
            tally: Tally::default(),
            wrong: BTreeMap::new(),
            said: Vec::new(),
            unavailable: Duration::ZERO,
            broken: None,
            kept: None,
        }
    }

    /// Counts what is wrong with it.
    pub fn count(&mut self, violations: &[Violation], operations: &[Operation]) {
        for violation in violations {
            *self.wrong.entry(violation.kind.column()).or_default() += 1;
        }
        self.said = violations.iter().take(SHOWN).map(ToString::to_string).collect();
        self.unavailable = check::longest_unavailability(operations);
    }

    /// Whether it counts as played: commands were acknowledged, and every fault struck while
    /// commands were under way.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.tally.acknowledged > 0
            && self.strikes.len() == self.round.strikes
            && self.strikes.iter().all(|strike| strike.in_flight > 0)
    }

    /// Whether it was played and nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_none() && self.counts() && self.wrong.is_empty()
    }

    fn wrong(&self, column: Column) -> usize {
        self.wrong.get(&column).copied().unwrap_or(0)
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { acknowledged, rejected, reads, unknown, unknown_stored, conflicts, .. } =
            self.tally;
        let verdict = if self.is_good() { "ok " } else { "BAD" };
        let in_flight: Vec<String> =
            self.strikes.iter().map(|strike| strike.in_flight.to_string()).collect();
        let refused: u64 = self.tally.refused.values().sum();
        write!(
            f,
            "{verdict} {} | {acknowledged:>5} acknowledged, {rejected} rejected, {reads} read, \
             {refused} refused, {unknown} unknown ({unknown_stored} of them stored), {conflicts} \
             conflicts | {} under way | {:.1} s without an answer",
            self.round,
            in_flight.join("+"),
            self.unavailable.as_secs_f64()
        )?;
        for strike in &self.strikes {
            write!(f, " | {}", strike.what)?;
        }
        if self.is_good() {
            return Ok(());
        }
        if let Some(broken) = &self.broken {
            write!(f, "\n    {broken}")?;
        } else if !self.counts() {
            write!(f, "\n    nothing was acknowledged, or no command was under way at a fault")?;
        }
        for said in &self.said {
            write!(f, "\n    {said}")?;
        }
        if let Some(kept) = &self.kept {
            write!(f, "\n    history and logs: {}", kept.display())?;
        }
        Ok(())
    }
}

/// All rounds of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rounds: Vec<Played>,
}

/// Rounds of the same nemesis, workload and store.
#[derive(Clone, Debug, Default)]
struct Cell {
    rounds: usize,
    faults: usize,
    acknowledged: u64,
    unknown: u64,
    conflicts: u64,
    wrong: BTreeMap<Column, usize>,
    unavailable: Duration,
}

/// The columns of the verdict, and what they are called.
const VERDICT: [(Column, &str); 4] = [
    (Column::Lost, "lost"),
    (Column::Doubled, "doubled"),
    (Column::Torn, "torn"),
    (Column::NonLinearizable, "non-linearizable"),
];

impl Report {
    /// Adds a round.
    pub fn add(&mut self, played: Played) {
        self.rounds.push(played);
    }

    /// Whether every round was played to its end and nothing is wrong with any.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.rounds.is_empty() && self.rounds.iter().all(Played::is_good)
    }

    /// How many faults struck.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.rounds.iter().map(|played| played.strikes.len()).sum()
    }

    /// Rounds that did not go well, in a few words each; empty if all did.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let bad = self.rounds.iter().filter(|played| !played.is_good());
        bad.map(ToString::to_string).collect()
    }

    /// The last line: how many acknowledged events were lost, and so on.
    #[must_use]
    pub fn verdict(&self) -> String {
        let count = |column| self.rounds.iter().map(|played| played.wrong(column)).sum::<usize>();
        VERDICT.map(|(column, name)| format!("{name} {}", count(column))).join(", ")
    }

    /// The table of nemesis × workload × store as Markdown, with its totals.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| nemesis | workload | store | rounds | faults | acknowledged | unknown | conflicts \
             | lost | doubled | torn | non-linearizable | longest unavailability |\n\
             |---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        let mut all = Cell::default();
        for ((nemesis, workload, store), cell) in self.cells() {
            all.add(&cell);
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {nemesis} | {workload} | {store} {cell}");
        }
        let _ = writeln!(table, "| **all** | | {all}");
        table
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self, seed: u64) -> Value {
        let rounds: Vec<Value> = self.rounds.iter().map(round).collect();
        json!({"seed": seed, "good": self.is_good(), "faults": self.faults(),
               "verdict": self.verdict(), "rounds": rounds})
    }

    /// What was covered: rounds that count, by cell.
    fn cells(&self) -> BTreeMap<(Nemesis, Workload, StoreKind), Cell> {
        let mut cells: BTreeMap<_, Cell> = BTreeMap::new();
        for played in self.rounds.iter().filter(|played| played.counts()) {
            let Round { nemesis, workload, store, .. } = played.round;
            cells.entry((nemesis, workload, store)).or_default().add(&Cell {
                rounds: 1,
                faults: played.strikes.len(),
                acknowledged: played.tally.acknowledged,
                unknown: played.tally.unknown,
                conflicts: played.tally.conflicts,
                wrong: played.wrong.clone(),
                unavailable: played.unavailable,
            });
        }
        cells
    }
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.faults += other.faults;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.conflicts += other.conflicts;
        for (column, count) in &other.wrong {
            *self.wrong.entry(*column).or_default() += count;
        }
        self.unavailable = self.unavailable.max(other.unavailable);
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, faults, acknowledged, unknown, conflicts, .. } = self;
        write!(f, "| {rounds} | {faults} | {acknowledged} | {unknown} | {conflicts} ")?;
        for (column, _) in VERDICT {
            write!(f, "| {} ", self.wrong.get(&column).copied().unwrap_or(0))?;
        }
        write!(f, "| {:.1} s |", self.unavailable.as_secs_f64())
    }
}

fn round(played: &Played) -> Value {
    let Played { round, tally, .. } = played;
    let strikes: Vec<Value> = played
        .strikes
        .iter()
        .map(|it| {
            json!({"what": it.what, "at": it.at.as_secs_f64(), "mended": it.mended.as_secs_f64(),
                   "in-flight": it.in_flight})
        })
        .collect();
    let wrong = |column| played.wrong(column);
    json!({
        "round": round.number, "store": round.store.to_string(),
        "workload": round.workload.to_string(), "nemesis": round.nemesis.to_string(),
        "clients": round.clients, "seed": round.seed.to_string(), "good": played.is_good(),
        "strikes": strikes, "acknowledged": tally.acknowledged, "rejected": tally.rejected,
        "reads": tally.reads, "refused": tally.refused, "unknown": tally.unknown,
        "unknown-stored": tally.unknown_stored, "conflicts": tally.conflicts,
        "lost": wrong(Column::Lost), "doubled": wrong(Column::Doubled),
        "torn": wrong(Column::Torn), "non-linearizable": wrong(Column::NonLinearizable),
        "stalled": wrong(Column::Stalled), "violations": played.said, "broken": played.broken,
        "longest-unavailability": played.unavailable.as_secs_f64(),
    })
}
