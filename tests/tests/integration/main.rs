//! The integration tests, as one binary: each module is a part of the product.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what fails here is a failed test, in helpers too"
)]

mod attackers;
mod bank_http;
mod bank_model;
mod bench;
mod cache;
mod cli;
mod crash;
mod crash_points;
mod damage;
mod dev;
mod disk;
mod evolution;
mod faults;
mod hostile;
mod hot_loading;
mod jetstream;
mod languages;
mod looking_back;
mod many_actors;
mod new_project;
mod operations;
mod process;
mod readme;
mod replay;
mod requests;
mod scenarios;
mod tidy;
mod turns;
mod two_hosts;
