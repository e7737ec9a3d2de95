//! The only place that reads the machine's clocks.
#![expect(clippy::disallowed_methods, reason = "this module is what the others must use instead")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How wrong this host's idea of the time of day is, in ms: `--clock-offset`.
#[cfg(feature = "faults")]
static OFFSET_MS: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

/// Makes the time of day wrong by `ms` from now on. What is measured and what waits is not touched.
#[cfg(feature = "faults")]
pub fn set_offset(ms: i64) {
    OFFSET_MS.store(ms, std::sync::atomic::Ordering::Relaxed);
}

/// Milliseconds since 1970 by the machine's clock; 0 if it stands before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    #[cfg(feature = "faults")]
    let now = now.saturating_add_signed(OFFSET_MS.load(std::sync::atomic::Ordering::Relaxed));
    now
}

/// A point in time for deadlines and measurements; never goes back.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
