//! `aether deployments`: what the host serves.

use std::process::ExitCode;

use serde::Deserialize;

use super::{client::Connection, print};
use crate::store::Deployment;

/// Shows what the host serves of each context.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Told {
    deployments: Vec<Deployment>,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let answer = args.connection.client().get("/admin/deployments")?;
    answer.print(args.json, |told: &Told| shown(&told.deployments))
}

fn shown(all: &[Deployment]) -> String {
    let row = |deployment: &Deployment| {
        let components = deployment.components.iter();
        let components: Vec<_> =
            components.map(|(name, digest)| format!("{name} {}", digest.short())).collect();
        vec![
            deployment.context.clone(),
            format!("#{}", deployment.number),
            format!("model {}", deployment.model.short()),
            print::time(deployment.at),
            format!("by {}", deployment.by),
            components.join(", "),
        ]
    };
    print::table(&all.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use aether_wit::Digest;

    use super::*;

    #[test]
    fn a_deployment_is_a_line() {
        let deployment = Deployment {
            number: 2,
            context: "bank".to_owned(),
            model: Digest::of("m"),
            components: [("account".to_owned(), Digest::of("c"))].into(),
            at: 0,
            by: "run".to_owned(),
        };
        let (model, component) = (Digest::of("m").short(), Digest::of("c").short());
        let expected = format!(
            "bank  #2  model {model}  1970-01-01T00:00:00.000Z  by run  account {component}\n"
        );
        assert_eq!(shown(&[deployment]), expected);
    }
}
