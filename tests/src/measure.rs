//! What a host counts and how long its answers take, as numbers to compare.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::http::Client;

/// The sum of a host's samples of the metric `name` whose labels hold each of `labels`, e.g.
/// `outcome="accepted"`; 0 if it has counted none yet.
///
/// # Errors
/// If the host gives no metrics.
pub fn metric(client: &Client, name: &str, labels: &[&str]) -> Result<f64> {
    let text = client.get("/metrics")?.text();
    let samples = text.lines().filter_map(|line| {
        let (sample, value) = line.rsplit_once(' ')?;
        let (found, with) = sample.split_once('{').unwrap_or((sample, ""));
        (found == name && labels.iter().all(|label| with.contains(label))).then_some(value)
    });
    samples.map(|value| value.parse::<f64>().with_context(|| format!("{name}: {value}"))).sum()
}

/// Longest time that is told apart from a longer one, in µs: more than any client waits.
const LONGEST_MICROS: u64 = 600_000_000;

/// Times of answers, to the microsecond.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// No times yet.
    ///
    /// # Errors
    /// None: the bounds are constants that fit.
    pub fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, 3);
        Ok(Self(histogram.context("the bounds fit")?))
    }

    /// Adds one time.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds the times of another.
    ///
    /// # Errors
    /// None: both have the same bounds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("the bounds grow")
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that 99 % of them do not exceed.
    #[must_use]
    pub fn p99(&self) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(0.99))
    }

    /// The time that half of them do not exceed.
    #[must_use]
    pub fn median(&self) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(0.5))
    }
}
