//! The `runtime` settings of an aggregate: numbers with units.

use std::time::Duration;

use super::{
    Reader, section,
    tree::{Map, Node, Scalar},
};
use crate::{
    model::{Isolation, Runtime},
    report::quoted,
};

/// Units of time, in milliseconds.
const TIME: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of memory, in bytes.
const MEMORY: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Shortest and longest duration, in milliseconds: a year stands for "never".
const DURATIONS: (u64, u64) = (1, 366 * 86_400_000);

/// Least and most memory, in bytes: one WebAssembly page, and the whole 32-bit address space.
const MEMORIES: (u64, u64) = (64 << 10, 4 << 30);

/// Largest count of commands or turns that is kept in memory for one actor.
const MOST_KEPT: u64 = 1_000_000;

impl Reader<'_, '_> {
    /// Reads the settings; those left out are the defaults.
    pub(super) fn runtime(&mut self, map: &Map) -> Runtime {
        let known =
            ["snapshot-every", "idle", "mailbox", "memory", "deadline", "dedupe", "isolation"];
        self.keys(map, "the runtime settings", &known);
        let mut runtime = Runtime::default();
        for (key, node) in &map.entries {
            match key.text.as_str() {
                "snapshot-every" => {
                    let most = u64::from(u32::MAX);
                    runtime.snapshot_every = self.count(node, most).unwrap_or_default();
                }
                "idle" => runtime.idle = self.duration(node).unwrap_or_default(),
                "deadline" => runtime.deadline = self.duration(node).unwrap_or_default(),
                "memory" => {
                    let read = self.quantity(node, &MEMORY, MEMORIES, "an amount", "64MiB");
                    runtime.memory = read.unwrap_or_default();
                }
                "mailbox" => runtime.mailbox = self.small_count(node),
                "dedupe" => runtime.dedupe = self.small_count(node),
                "isolation" => runtime.isolation = self.isolation(node),
                _ => {}
            }
        }
        runtime
    }

    fn isolation(&mut self, node: &Node) -> Isolation {
        match section::text(self.problems, node, "`actor` or `turn`") {
            Some(scalar) if scalar.text == "turn" => Isolation::Turn,
            Some(scalar) if scalar.text != "actor" => {
                let help = self.problems.did_you_mean(&scalar.text, ["actor", "turn"]);
                let message = format!("expected `actor` or `turn`, found {}", quoted(&scalar.text));
                self.problems.error_help(scalar.span, message, help);
                Isolation::Actor
            }
            _ => Isolation::Actor,
        }
    }

    fn small_count(&mut self, node: &Node) -> u32 {
        let count = self.count(node, MOST_KEPT).and_then(|count| u32::try_from(count).ok());
        count.unwrap_or_default()
    }

    fn count(&mut self, node: &Node, most: u64) -> Option<u64> {
        let scalar = section::text(self.problems, node, "a number")?;
        match digits(&scalar.text) {
            Some(count) if (1..=most).contains(&count) => Some(count),
            _ => {
                let found = quoted(&scalar.text);
                let message = format!("expected a number from 1 to {most}, found {found}");
                self.problems.error(scalar.span, message);
                None
            }
        }
    }

    fn duration(&mut self, node: &Node) -> Option<Duration> {
        let ms = self.quantity(node, &TIME, DURATIONS, "a duration", "100ms")?;
        Some(Duration::from_millis(ms))
    }

    fn quantity(
        &mut self,
        node: &Node,
        units: &[(&str, u64)],
        (least, most): (u64, u64),
        what: &str,
        example: &str,
    ) -> Option<u64> {
        let scalar = section::text(self.problems, node, what)?;
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let Some((number, unit)) = split(scalar) else {
            let message = format!("expected {what}, found {}", quoted(&scalar.text));
            let help = format!("a whole number and a unit without a blank, e.g. `{example}`");
            self.problems.error_help(scalar.span, message, help);
            return None;
        };
        let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
            let message = match unit {
                "" => format!("{what} needs a unit, found {}", quoted(&scalar.text)),
                _ => format!("unknown unit {}", quoted(unit)),
            };
            let help = format!("units are {}, e.g. `{example}`", section::listed(&names));
            self.problems.error_help(scalar.span, message, help);
            return None;
        };
        let amount = number.checked_mul(*factor);
        let fits = amount.filter(|amount| (least..=most).contains(amount));
        if fits.is_none() {
            let message = format!(
                "{} is out of range: at least {}, at most {}",
                quoted(&scalar.text),
                written(least, units),
                written(most, units)
            );
            self.problems.error(scalar.span, message);
        }
        fits
    }
}

/// A number and what follows it.
fn split(scalar: &Scalar) -> Option<(u64, &str)> {
    let end = scalar.text.find(|c: char| !c.is_ascii_digit()).unwrap_or(scalar.text.len());
    let (number, unit) = scalar.text.split_at(end);
    let is_unit = unit.chars().all(|c| c.is_ascii_alphabetic());
    Some((digits(number)?, unit)).filter(|_| is_unit)
}

fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// An amount in the largest unit that it is whole in.
fn written(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, factor)| amount.is_multiple_of(*factor));
    whole.map_or_else(|| amount.to_string(), |(name, factor)| format!("{}{name}", amount / factor))
}
