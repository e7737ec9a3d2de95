//! What the host counts, in OpenMetrics' terms.
//!
//! Label sets are looked up once per aggregate: [`Metrics::aggregate`] gives handles that cost an
//! atomic addition per use. The methods with names do that lookup themselves, in two small maps
//! behind a read lock and without allocating. Labels are names of models, codes and operations,
//! never ids, so the number of series is bounded by the models.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{failure::Code, gateway::problem::CODES};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a turn in memory (100 µs) to the default timeout of a caller.
const SECONDS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Upper bounds of the mailbox depth: powers of four up to the cap on `mailbox`.
const DEPTHS: [f64; 8] = [0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Element {
    context: String,
    aggregate: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labelled {
    context: String,
    aggregate: String,
    /// `outcome`, `kind` or `result`, by the family.
    #[prometheus(flatten)]
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct What(&'static str, String);

impl EncodeLabelSet for What {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        (self.0, self.1.as_str()).encode(encoder.encode_label())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    at: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The counters of each aggregate, by context and name.
type ByContext = BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<AggregateMetrics>>>;

/// Count and time of calls to the store, by operation and whether they succeeded.
type ByCall = BTreeMap<(&'static str, bool), (Counter, Histogram)>;

/// Everything that the host counts.
pub struct Metrics {
    registry: Registry,
    turns: Family<Labelled, Counter>,
    turn_seconds: Histograms<Element>,
    conflicts: Family<Element, Counter>,
    faults: Family<Labelled, Counter>,
    wakes: Family<Labelled, Counter>,
    wake_seconds: Histograms<Element>,
    replayed: Family<Element, Counter>,
    snapshots: Family<Labelled, Counter>,
    store_calls: Family<Call, Counter>,
    store_seconds: Histograms<Call>,
    depth: Histogram,
    awake: Gauge,
    quarantined: Gauge,
    instances: Gauge,
    drops: Family<Place, Counter>,
    connections: Gauge,
    aggregates: RwLock<ByContext>,
    calls: RwLock<ByCall>,
}

/// The handles of one aggregate: cheap to use, to be kept by whoever counts often.
#[derive(Debug)]
pub struct AggregateMetrics {
    outcomes: Vec<(&'static str, Counter)>,
    seconds: Histogram,
    conflicts: Counter,
    replayed: Counter,
    wakes: [Counter; 2],
    wake_seconds: Histogram,
}

impl AggregateMetrics {
    /// A command was answered, see [`Metrics::turn`].
    pub fn turn(&self, outcome: &'static str, took: Duration) {
        if let Some((_, counter)) = self.outcomes.iter().find(|(name, _)| *name == outcome) {
            counter.inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }

    /// A command found that others had written to its actor.
    pub fn conflict(&self) {
        self.conflicts.inc();
    }

    /// An actor woke, see [`Metrics::wake`].
    pub fn wake(&self, events: u64, from_snapshot: bool, took: Duration) {
        let [from_start, from_snapshots] = &self.wakes;
        if from_snapshot {
            from_snapshots.inc()
        } else {
            from_start.inc()
        };
        self.replayed.inc_by(events);
        self.wake_seconds.observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// The handles of an aggregate.
    #[must_use]
    pub fn aggregate(&self, context: &str, aggregate: &str) -> Arc<AggregateMetrics> {
        let read = self.aggregates.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = read.get(context).and_then(|inner| inner.get(aggregate)) {
            return Arc::clone(found);
        }
        drop(read);
        let mut write = self.aggregates.write().unwrap_or_else(PoisonError::into_inner);
        let inner = write.entry(context.into()).or_default();
        let made = inner
            .entry(aggregate.into())
            .or_insert_with(|| Arc::new(self.resolve(context, aggregate)));
        Arc::clone(made)
    }

    fn resolve(&self, context: &str, aggregate: &str) -> AggregateMetrics {
        let element = Element { context: context.to_owned(), aggregate: aggregate.to_owned() };
        let labelled = |key, value: &str| labelled(context, aggregate, key, value);
        let outcomes = ["accepted", "rejected"].into_iter().chain(CODES.map(Code::as_str));
        AggregateMetrics {
            outcomes: outcomes
                .map(|name| (name, self.turns.get_or_create_owned(&labelled("outcome", name))))
                .collect(),
            seconds: self.turn_seconds.get_or_create_owned(&element),
            conflicts: self.conflicts.get_or_create_owned(&element),
            replayed: self.replayed.get_or_create_owned(&element),
            wakes: ["start", "snapshot"]
                .map(|from| self.wakes.get_or_create_owned(&labelled("from", from))),
            wake_seconds: self.wake_seconds.get_or_create_owned(&element),
        }
    }

    /// A command was answered: `outcome` is `accepted`, `rejected` or a code's word.
    pub fn turn(&self, context: &str, aggregate: &str, outcome: &'static str, took: Duration) {
        self.aggregate(context, aggregate).turn(outcome, took);
    }

    /// A write, read or other call to the store ended.
    pub fn store(&self, operation: &'static str, ok: bool, took: Duration) {
        let read = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, seconds)) = read.get(&(operation, ok)) {
            count.inc();
            seconds.observe(took.as_secs_f64());
            return;
        }
        drop(read);
        let call = Call { operation, result: if ok { "ok" } else { "error" } };
        let count = self.store_calls.get_or_create_owned(&call);
        let seconds = self.store_seconds.get_or_create_owned(&call);
        count.inc();
        seconds.observe(took.as_secs_f64());
        let mut write = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        write.insert((operation, ok), (count, seconds));
    }

    /// An actor woke, after folding `events` events.
    pub fn wake(
        &self,
        context: &str,
        aggregate: &str,
        events: u64,
        from_snapshot: bool,
        took: Duration,
    ) {
        self.aggregate(context, aggregate).wake(events, from_snapshot, took);
    }

    /// A command found that others had written to its actor.
    pub fn conflict(&self, context: &str, aggregate: &str) {
        self.aggregate(context, aggregate).conflict();
    }

    /// A component failed.
    pub fn fault(&self, context: &str, aggregate: &str, kind: &'static str) {
        self.faults.get_or_create(&labelled(context, aggregate, "kind", kind)).inc();
    }

    /// A snapshot was due: `written`, `skipped` (too large) or `failed`.
    pub fn snapshot(&self, context: &str, aggregate: &str, result: &'static str) {
        self.snapshots.get_or_create(&labelled(context, aggregate, "result", result)).inc();
    }

    /// How many commands waited in the mailbox when one more came.
    pub fn mailbox_depth(&self, depth: usize) {
        #[expect(clippy::cast_precision_loss, reason = "depths are far below 2^52")]
        self.depth.observe(depth as f64);
    }

    /// How many actors are awake, and how many are quarantined as far as this host knows.
    pub fn set_actors(&self, awake: usize, quarantined: usize) {
        self.awake.set(gauge(awake));
        self.quarantined.set(gauge(quarantined));
    }

    /// How many component instances are alive.
    pub fn set_instances(&self, alive: usize) {
        self.instances.set(gauge(alive));
    }

    /// A request was turned away before anything looked at it, at the limit named `at`.
    pub fn dropped(&self, at: &'static str) {
        self.drops.get_or_create(&Place { at }).inc();
    }

    /// An HTTP connection began (`true`) or ended.
    pub fn connection(&self, began: bool) {
        if began {
            self.connections.inc()
        } else {
            self.connections.dec()
        };
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let mut made = Self {
            registry: Registry::with_prefix("aether"),
            turns: Family::default(),
            turn_seconds: Family::new_with_constructor(seconds),
            conflicts: Family::default(),
            faults: Family::default(),
            wakes: Family::default(),
            wake_seconds: Family::new_with_constructor(seconds),
            replayed: Family::default(),
            snapshots: Family::default(),
            store_calls: Family::default(),
            store_seconds: Family::new_with_constructor(seconds),
            depth: Histogram::new(DEPTHS),
            awake: Gauge::default(),
            quarantined: Gauge::default(),
            instances: Gauge::default(),
            drops: Family::default(),
            connections: Gauge::default(),
            aggregates: RwLock::default(),
            calls: RwLock::default(),
        };
        made.register();
        made
    }
}

impl Metrics {
    fn register(&mut self) {
        let all = &mut self.registry;
        all.register("turns", "Commands answered, by outcome", self.turns.clone());
        all.register_with_unit(
            "turn",
            "Time from a command's arrival at its actor to its answer",
            Unit::Seconds,
            self.turn_seconds.clone(),
        );
        all.register(
            "conflicts",
            "Appends that found another writer's record",
            self.conflicts.clone(),
        );
        all.register("component_faults", "Failed calls of components", self.faults.clone());
        all.register("wakes", "Actors woken, by where the fold began", self.wakes.clone());
        all.register_with_unit(
            "wake",
            "Time to read on and fold the log of an actor that wakes, behind the store's first answer",
            Unit::Seconds,
            self.wake_seconds.clone(),
        );
        all.register("replayed_events", "Events folded while waking", self.replayed.clone());
        all.register("snapshots", "Snapshots that were due, by result", self.snapshots.clone());
        all.register("store_calls", "Calls to the store", self.store_calls.clone());
        all.register_with_unit(
            "store_call",
            "Time of calls to the store",
            Unit::Seconds,
            self.store_seconds.clone(),
        );
        all.register(
            "mailbox_depth",
            "Commands waiting for an actor when one more came",
            self.depth.clone(),
        );
        all.register("awake_actors", "Actors awake in this host", self.awake.clone());
        all.register(
            "quarantined_actors",
            "Actors that an operator must look at",
            self.quarantined.clone(),
        );
        all.register("instances", "Component instances alive", self.instances.clone());
        all.register("drops", "Requests turned away at a limit", self.drops.clone());
        all.register("http_connections", "HTTP connections open", self.connections.clone());
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn labelled(context: &str, aggregate: &str, key: &'static str, value: &str) -> Labelled {
    Labelled {
        context: context.to_owned(),
        aggregate: aggregate.to_owned(),
        what: What(key, value.to_owned()),
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::default();
        let ms = Duration::from_millis(3);
        metrics.turn("bank", "account", "accepted", ms);
        metrics.turn("bank", "account", "accepted", ms);
        metrics.turn("bank", "account", Code::Overloaded.as_str(), ms);
        metrics.store("append", true, ms);
        metrics.store("append", false, ms);
        metrics.store("append", false, ms);
        metrics.wake("bank", "account", 7, true, ms);
        metrics.conflict("bank", "account");
        metrics.fault("bank", "account", "trap");
        metrics.snapshot("bank", "account", "written");
        metrics.mailbox_depth(3);
        metrics.set_actors(5, 1);
        metrics.set_instances(4);
        metrics.dropped("connections");
        let text = metrics.render();
        let element = r#"context="bank",aggregate="account""#;
        for line in [
            format!("aether_turns_total{{{element},outcome=\"accepted\"}} 2"),
            format!("aether_turns_total{{{element},outcome=\"overloaded\"}} 1"),
            format!("aether_turn_seconds_bucket{{le=\"0.005\",{element}}} 3"),
            "aether_store_calls_total{operation=\"append\",result=\"error\"} 2".to_owned(),
            format!("aether_wakes_total{{{element},from=\"snapshot\"}} 1"),
            format!("aether_replayed_events_total{{{element}}} 7"),
            format!("aether_conflicts_total{{{element}}} 1"),
            format!("aether_component_faults_total{{{element},kind=\"trap\"}} 1"),
            format!("aether_snapshots_total{{{element},result=\"written\"}} 1"),
            "aether_mailbox_depth_bucket{le=\"4.0\"} 1".to_owned(),
            "aether_awake_actors 5".to_owned(),
            "aether_quarantined_actors 1".to_owned(),
            "aether_instances 4".to_owned(),
            "aether_drops_total{at=\"connections\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
