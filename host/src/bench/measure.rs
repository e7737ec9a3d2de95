//! How something is measured: closed loops of clients, and rounds of two things in turn.
//!
//! A machine is faster in one minute than in the next. So what is compared is measured in turn, a
//! round of the one and a round of the other, and a ratio is the median of the rounds' own ratios.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use tokio::sync::Barrier;

use crate::clock;

/// Most latencies that one client keeps in one loop; later ones are counted and not kept.
const MAX_KEPT: usize = 1 << 20;

/// Longest latency that is told apart, in ns.
const LONGEST: u64 = 60_000_000_000;

/// What one loop gave.
#[derive(Debug, Clone)]
pub struct Load {
    /// Operations.
    pub count: u64,
    /// How long it took.
    pub took: Duration,
    /// Latencies in ns.
    pub latency: Histogram<u64>,
}

impl Load {
    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// A latency in µs; `quantile` between 0 and 1.
    #[must_use]
    pub fn micros(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The mean latency in µs.
    #[must_use]
    pub fn mean_micros(&self) -> f64 {
        self.latency.mean() / 1000.0
    }
}

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// How many rounds count; one more goes before them to warm up.
    pub count: usize,
    /// How long each lasts.
    pub time: Duration,
}

/// When the clients of a loop end.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After so many operations each.
    Count(u64),
    /// After so many operations of all together, evenly spread.
    Total(usize),
}

/// `clients` clients, each of which does `step(client, n)` for n = 0, 1, 2 … until it is over, the
/// next one when the one before is done. Of every `keep` operations one's latency is measured.
///
/// # Errors
/// The first error of a step.
pub async fn closed_loop<F, S>(clients: usize, until: Until, keep: u64, step: F) -> Result<Load>
where
    F: Fn(usize, u64) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Result<()>> + Send,
{
    let start = Arc::new(Barrier::new(clients + 1));
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (step, start) = (step.clone(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            let until = match until {
                Until::Total(total) => Until::Count(share(total, client, clients)),
                own => own,
            };
            one_client(client, until, keep.max(1), step).await
        });
    }
    start.wait().await;
    let begun = clock::now();
    let (mut count, mut latency) = (0, histogram()?);
    while let Some(ended) = tasks.join_next().await {
        let (done, latencies) = ended.context("a client broke")??;
        count += done;
        for nanos in latencies {
            latency.saturating_record(nanos);
        }
    }
    ensure!(count > 0, "nothing was done");
    Ok(Load { count, took: begun.elapsed(), latency })
}

async fn one_client<F, S>(
    client: usize,
    until: Until,
    keep: u64,
    step: F,
) -> Result<(u64, Vec<u64>)>
where
    F: Fn(usize, u64) -> S,
    S: Future<Output = Result<()>>,
{
    let (end, most) = match until {
        Until::Time(time) => (Some(clock::now() + time), u64::MAX),
        Until::Count(most) => (None, most),
        Until::Total(most) => (None, most as u64),
    };
    let (mut done, mut latencies) = (0, Vec::new());
    while done < most {
        if done % keep == 0 {
            let begun = clock::now();
            step(client, done).await?;
            let ended = clock::now();
            if latencies.len() < MAX_KEPT {
                latencies.push(nanos(ended - begun));
            }
            done += 1;
            if end.is_some_and(|end| ended >= end) {
                break;
            }
        } else {
            step(client, done).await?;
            done += 1;
        }
    }
    Ok((done, latencies))
}

/// How many of the numbers below `total` are `client`, `client + clients`, and so on.
const fn share(total: usize, client: usize, clients: usize) -> u64 {
    total.saturating_sub(client).div_ceil(clients) as u64
}

/// Does `step` once with each number below `total`, by so many clients at once.
///
/// # Errors
/// The first error of a step.
pub async fn once_each<F, S>(clients: usize, total: usize, step: F) -> Result<Load>
where
    F: Fn(usize) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Result<()>> + Send + 'static,
{
    let numbered = move |client, n| step(client + usize::try_from(n).unwrap_or(0) * clients);
    closed_loop(clients, Until::Total(total), 1, numbered).await
}

/// A time in ns.
#[must_use]
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An empty histogram of ns, exact to three figures.
///
/// # Errors
/// None: the bounds are sound.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

/// The rounds of one thing.
#[derive(Debug, Clone)]
pub struct Series(Vec<Load>);

impl Series {
    /// These rounds.
    #[must_use]
    pub const fn new(rounds: Vec<Load>) -> Self {
        Self(rounds)
    }

    /// The median rate, in operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        median(self.0.iter().map(Load::rate))
    }

    /// The lowest and the highest rate of a round.
    #[must_use]
    pub fn rates(&self) -> (f64, f64) {
        let rates = || self.0.iter().map(Load::rate);
        (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max))
    }

    /// The median of the rounds' latencies at `quantile`, in µs.
    #[must_use]
    pub fn micros(&self, quantile: f64) -> f64 {
        median(self.0.iter().map(|round| round.micros(quantile)))
    }

    /// How many rounds.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        self.0.len()
    }

    /// The median over the rounds of what `of` makes of this one's and the other's.
    #[must_use]
    pub fn beside(&self, other: &Self, of: impl Fn(&Load, &Load) -> f64) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(mine, others)| of(mine, others)))
    }

    /// The median ratio of the rates.
    #[must_use]
    pub fn rate_ratio(&self, other: &Self) -> f64 {
        self.beside(other, |mine, others| mine.rate() / others.rate())
    }

    /// The median ratio of the latencies at `quantile`.
    #[must_use]
    pub fn latency_ratio(&self, other: &Self, quantile: f64) -> f64 {
        self.beside(other, |mine, others| mine.micros(quantile) / others.micros(quantile))
    }
}

/// The median; NaN of nothing.
#[must_use]
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        middle(half)
    } else {
        f64::midpoint(middle(half.wrapping_sub(1)), middle(half))
    }
}

/// Something that is measured for a given time.
pub type Thing = Box<dyn FnMut(Duration) -> BoxFuture<'static, Result<Load>> + Send>;

/// A [`closed_loop`] as a thing to be measured.
pub fn looped<F, S>(clients: usize, keep: u64, step: F) -> Thing
where
    F: Fn(usize, u64) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Result<()>> + Send + 'static,
{
    Box::new(move |time| Box::pin(closed_loop(clients, Until::Time(time), keep, step.clone())))
}

/// Rounds of several things in turn: each is called once to warm up, then `rounds` times, one after
/// the other within each round.
///
/// # Errors
/// The first error of one of them.
pub async fn in_turn<const N: usize>(
    rounds: Rounds,
    mut things: [Thing; N],
) -> Result<[Series; N]> {
    for thing in &mut things {
        thing(rounds.time / 2).await?;
    }
    let mut series: [Vec<Load>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..rounds.count {
        for (thing, series) in things.iter_mut().zip(&mut series) {
            series.push(thing(rounds.time).await?);
        }
    }
    Ok(series.map(Series))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(count: u64, nanos: u64) -> Load {
        let mut latency = histogram().unwrap();
        latency.record(nanos).unwrap();
        Load { count, took: Duration::from_secs(1), latency }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own() {
        // A machine that halves its speed after the first round changes no ratio.
        let raw = Series::new(vec![load(100, 1000), load(50, 2000), load(48, 2000)]);
        let host = Series::new(vec![load(80, 1500), load(40, 3000), load(40, 3000)]);
        assert!((host.rate_ratio(&raw) - 0.8).abs() < 1e-9);
        assert!((host.latency_ratio(&raw, 0.5) - 1.5).abs() < 0.01);
        assert!((host.rate() - 40.0).abs() < 1e-9);
    }

    #[test]
    fn a_median_of_two_lies_between() {
        assert!((median([1.0, 3.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!(median([].into_iter()).is_nan());
    }

    #[tokio::test]
    async fn each_number_is_taken_once() {
        for (clients, total) in [(1, 3), (4, 10), (7, 5)] {
            let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
            let all = taken.clone();
            let step = move |number| {
                let all = all.clone();
                async move {
                    all.lock().unwrap().push(number);
                    Ok(())
                }
            };
            assert_eq!(once_each(clients, total, step).await.unwrap().count, total as u64);
            let mut taken = taken.lock().unwrap().clone();
            taken.sort_unstable();
            assert_eq!(taken, (0..total).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn every_client_does_its_steps_in_order_and_an_error_ends_the_loop() {
        let done = closed_loop(3, Until::Count(5), 1, |_, _| async { Ok(()) }).await.unwrap();
        assert_eq!((done.count, done.latency.len()), (15, 15));
        let failed = closed_loop(2, Until::Count(5), 1, |_, n| async move {
            ensure!(n < 3, "too far");
            Ok(())
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "too far");
    }
}
