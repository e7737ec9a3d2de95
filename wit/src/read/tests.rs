//! Whole models: what is read, what every mistake looks like, and what hostile files cost.

mod docs;
mod hostile;
mod mistakes;
mod valid;

use crate::{Model, Problem, read};

/// The example of the design.
const BANK: &str = include_str!("testdata/bank.storm.yaml");

fn accepted(text: &str) -> (Model, Vec<Problem>) {
    read("m.yaml", text.as_bytes()).unwrap_or_else(|report| panic!("{report}"))
}

fn refused(text: &str) -> String {
    match read("m.yaml", text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(report) => report.to_string(),
    }
}
