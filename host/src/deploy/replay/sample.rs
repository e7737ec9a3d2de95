//! Which actors are folded when not all can be: those whose places lie below a bound.
//!
//! *Problem.* Neither all states need fit in memory nor all work in the time there is, and both
//! show only while the log is read. What was left out must be known exactly without a list of it.
//!
//! *Mechanism.* Each actor has a place among 2^63, by a hash of its address that is the same in
//! every host. Those below the bound are folded. When memory or time runs short the bound goes
//! down, and what lies above it is dropped; so those that remain were all read from their first
//! record on, and they are a fair sample. What was left out is one number, from which another
//! reading goes on.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::{Serialize, Serializer};

use crate::address::Address;

/// All places lie below this.
pub const ALL: u64 = 1 << 63;

/// The place of an actor: FNV-1a of aggregate and id, mixed so that its highest bits are as good
/// as its lowest.
#[must_use]
pub fn place(actor: &Address) -> u64 {
    let parts = [actor.aggregate().as_bytes(), b"/", actor.id().as_bytes()];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)) >> 1
}

/// The actors that were not covered: those from a place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest(pub(super) u64);

impl Rest {
    /// Every actor.
    pub const ALL: Self = Self(0);

    /// The actors of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// Whether `actor` is among them.
    #[must_use]
    pub fn holds(self, actor: &Address) -> bool {
        place(actor) >= self.0
    }

    /// How much of all actors it is, from 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn share(self) -> f64 {
        (ALL - self.0.min(ALL)) as f64 / ALL as f64
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Rest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no rest of a shadow replay: expected 16 hex digits");
        let place = u64::from_str_radix(text, 16).map_err(|_| refused())?;
        let rest = Self(place);
        if place <= ALL && rest.to_string() == text { Ok(rest) } else { Err(refused()) }
    }
}

impl Serialize for Rest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The bounds of one reading: places from `from` on, below a bound that only goes down.
#[derive(Debug)]
pub struct Window {
    from: u64,
    below: AtomicU64,
}

impl Window {
    /// Everything from `from` on.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self { from, below: AtomicU64::new(ALL) }
    }

    /// The lowest place in it.
    #[must_use]
    pub const fn from(&self) -> u64 {
        self.from
    }

    /// The place below which all in it lie.
    #[must_use]
    pub fn below(&self) -> u64 {
        self.below.load(Relaxed)
    }

    /// Whether `place` lies in it now.
    #[must_use]
    pub fn holds(&self, place: u64) -> bool {
        place >= self.from && place < self.below()
    }

    /// Leaves out everything from `place` on.
    pub fn cut(&self, place: u64) {
        self.below.fetch_min(place.max(self.from), Relaxed);
    }

    /// Leaves so many thousandths of it.
    pub fn shrink(&self, thousandths: u64) {
        let wide = u128::from(self.below() - self.from) * u128::from(thousandths.min(1000)) / 1000;
        self.cut(self.from + u64::try_from(wide).unwrap_or(ALL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(n: u32) -> Address {
        Address::new("bank", "account", &format!("acc-{n}")).unwrap()
    }

    /// Hosts of other builds go on where this one stopped: the places must never change.
    #[test]
    fn places_are_fixed_and_even() {
        assert_eq!(format!("{:016x}", place(&actor(1))), "291c91c79a4c0e24");
        let below = |share: u64| (0..10_000).filter(|n| place(&actor(*n)) < ALL / share).count();
        assert!((900..1100).contains(&below(10)), "{}", below(10));
        assert!((4800..5200).contains(&below(2)), "{}", below(2));
    }

    #[test]
    fn a_window_only_gets_smaller_and_says_what_it_left() {
        let window = Window::new(ALL / 2);
        assert!(!window.holds(0) && window.holds(ALL / 2) && window.holds(ALL - 1));
        window.shrink(500);
        assert_eq!(window.below(), ALL / 4 * 3);
        window.cut(ALL);
        assert_eq!(window.below(), ALL / 4 * 3);
        window.cut(0);
        assert_eq!((window.below(), window.holds(ALL / 2)), (ALL / 2, false));
        let rest = Rest(ALL / 4 * 3);
        assert!((rest.share() - 0.25).abs() < 1e-9);
        assert_eq!(rest.to_string().parse(), Ok(rest));
        for foreign in ["", "x", "1", "ffffffffffffffff", "6000000000000000 "] {
            assert!(foreign.parse::<Rest>().is_err(), "{foreign}");
        }
        let held = (0..10_000).filter(|n| rest.holds(&actor(*n))).count();
        assert!((2300..2700).contains(&held), "{held}");
    }
}
