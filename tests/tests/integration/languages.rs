//! Components in Rust, Python, Go, TypeScript and C: they pass the same scenarios, give and take the
//! same values, go on with one another's logs, and see the same world.
//!
//! `make languages` compares 10,000 random histories: `AETHER_TEST_HISTORIES=10000`.

mod conformance;
mod loading;
mod many;
mod one_log;
mod samples;
mod world;
