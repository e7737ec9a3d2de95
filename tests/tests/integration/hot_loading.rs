//! New behaviour for running hosts: what clients notice of it (nothing), what is refused, and what
//! is left if somebody dies meanwhile.
//!
//! `make hot` runs the long variants: `AETHER_TEST_HOT=long`.

mod at_start;
mod back_and_forth;
mod closing;
mod deaths;
mod deaths_apart;
pub mod kit;
pub mod load;
mod refused;
mod rests;
mod runtime_traps;
mod story;
mod unable;
mod uncovered;
mod upcasts;
mod versions;
