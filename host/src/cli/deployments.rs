//! `aether deployments`: what was deployed, and where it is served.

use std::{collections::HashSet, process::ExitCode};

use super::{client::Connection, print};
use crate::{deploy::rests::Uncovered, host::Rollouts, store::Deployment};

/// Shows what was ever deployed, the newest of each context first (`*` = active), what each living
/// host serves, and what components have failed in the host that is asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the host's answer as it is.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
///
/// # Errors
/// If the host cannot be reached.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let answer = args.connection.client().get("/admin/deployments")?;
    answer.print(args.json, shown)
}

fn shown(told: &Rollouts) -> String {
    let mut seen = HashSet::new();
    let rows = told.deployments.iter().map(|deployment| {
        let active = seen.insert(deployment.context.as_str());
        row(deployment, active)
    });
    let mut text = print::table(&rows.collect::<Vec<_>>());
    for host in &told.hosts {
        let serves = host.serves.iter().map(|(context, number)| format!("{context} #{number}"));
        let unable = host.unable.iter().map(|(context, why)| format!("NOT {context}: {why}"));
        let all: Vec<_> = serves.chain(unable).collect();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        text.push_str(&print::plain(&format!("{} serves {all}", host.place)));
        text.push('\n');
    }
    for (context, uncovered) in &told.uncovered {
        for line in uncovered_lines(context, uncovered) {
            text.push_str(&print::plain(&line));
            text.push('\n');
        }
    }
    for (component, faulty) in &told.faults {
        text.push_str(&print::plain(&format!(
            "component {component} failed {} times, with {} actors; last: {}",
            faulty.faults, faulty.actors, faulty.last
        )));
        text.push('\n');
    }
    text
}

/// What became of the actors that were not covered before a deployment, a line each.
fn uncovered_lines(context: &str, told: &Uncovered) -> Vec<String> {
    let Uncovered { deployment, share, covered, checked, failed, differing, .. } = told;
    let head = format!(
        "{context} #{deployment}: {:.0} % of its actors were not replayed before it became active; ",
        (share * 100.0).ceil()
    );
    let state = if *covered {
        "this host has replayed all of them since: nothing fails".to_owned()
    } else {
        format!(
            "each is checked before its first command; in this host, since it started, {checked} were, {failed} fail and are not served, {differing} have another state"
        )
    };
    let failures = told.failures.iter().map(|failure| format!("  not served: {failure}"));
    let differ = told.differ.iter().map(|actor| format!("  another state: {actor}"));
    std::iter::once(head + &state).chain(failures).chain(differ).collect()
}

fn row(deployment: &Deployment, active: bool) -> Vec<String> {
    let components = deployment.components.iter();
    let components: Vec<_> =
        components.map(|(name, digest)| format!("{name} {}", digest.short())).collect();
    let mut notes = Vec::new();
    notes.extend(deployment.again.map(|number| format!("#{number} again")));
    notes.extend((!deployment.origin.is_empty()).then(|| deployment.origin.clone()));
    notes.extend((!deployment.because.is_empty()).then(|| format!("`{}`", deployment.because)));
    if !deployment.forced.is_empty() {
        let forced: Vec<_> = deployment.forced.iter().map(String::as_str).collect();
        notes.push(format!("forced: {}", forced.join(", ")));
    }
    vec![
        format!("{} {}", if active { "*" } else { " " }, deployment.context),
        format!("#{}", deployment.number),
        format!("model {}", deployment.model.short()),
        print::time(deployment.at),
        format!("by {}", deployment.by),
        components.join(", "),
        notes.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use aether_wit::Digest;

    use super::*;
    use crate::store::Presence;

    #[test]
    fn a_deployment_is_a_line() {
        let deployment = Deployment {
            number: 2,
            context: "bank".to_owned(),
            model: Digest::of("m"),
            components: [("account".to_owned(), Digest::of("c"))].into(),
            at: 0,
            by: "run".to_owned(),
            because: "why".to_owned(),
            origin: "bank.storm.yaml".to_owned(),
            again: Some(1),
            forced: ["replay".to_owned()].into(),
            replayed: Vec::new(),
            rest: None,
        };
        let first = Deployment {
            number: 1,
            because: String::new(),
            origin: String::new(),
            again: None,
            forced: BTreeSet::new(),
            ..deployment.clone()
        };
        let host = Presence {
            host: "h".to_owned(),
            place: "process 1 on m".to_owned(),
            serves: [("bank".to_owned(), 2)].into(),
            unable: [("shop".to_owned(), "too new".to_owned())].into(),
            closed: BTreeMap::new(),
        };
        let told = Rollouts {
            deployments: vec![deployment, first],
            hosts: vec![host],
            faults: BTreeMap::new(),
            uncovered: BTreeMap::new(),
        };
        let (model, component) = (Digest::of("m").short(), Digest::of("c").short());
        let shown = shown(&told);
        let mut lines = shown.lines();
        let line = lines.next().unwrap();
        assert_eq!(
            line,
            format!(
                "* bank  #2  model {model}  1970-01-01T00:00:00.000Z  by run  account {component}  #1 again; bank.storm.yaml; `why`; forced: replay"
            )
        );
        assert!(lines.next().unwrap().starts_with("  bank  #1  "));
        let line = lines.next().unwrap();
        assert_eq!(line, "process 1 on m serves bank #2, NOT shop: too new");
    }
}
