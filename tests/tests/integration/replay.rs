//! Shadow replay: what it finds in real logs with real components, on both stores; that neither
//! memory nor time changes what is found, only how much; and how fast it is.

mod findings;
pub mod kit;
mod limits;
mod rate;
