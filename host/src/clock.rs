//! The only place that reads the machine's clocks.
#![expect(clippy::disallowed_methods, reason = "this module is what the others must use instead")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by the machine's clock; 0 if it stands before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time for deadlines and measurements; never goes back.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
