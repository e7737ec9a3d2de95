//! Logs: on stderr, readable on a terminal, a JSON object per line otherwise.
//!
//! What is logged about an actor carries the field `actor`, what a component prints as well.
//! `AETHER_LOG` filters, e.g. `info` or `info,aether::store=debug`.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// Begins to log what passes the filter of `AETHER_LOG`, or `default` if it is not set.
///
/// # Errors
/// If the filter cannot be read, or logging has begun already.
pub fn start(default: &str) -> anyhow::Result<()> {
    let text = match std::env::var("AETHER_LOG") {
        Ok(text) if !text.is_empty() => text,
        _ => default.to_owned(),
    };
    let filter = filter(&text)?;
    let builder = tracing_subscriber::fmt().with_writer(stderr).with_env_filter(filter);
    let started = if stderr().is_terminal() {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.with_ansi(colours).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot begin: {error}"))
}

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(text).map_err(|error| {
        anyhow::anyhow!(
            "AETHER_LOG is `{text}`: {error}; expected e.g. info or info,aether::store=debug"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        assert!(filter("info,aether::store=debug").is_ok());
        let said = filter("info,aether=loud").unwrap_err().to_string();
        assert!(said.contains("info,aether=loud") && said.contains("expected"), "{said}");
    }
}
