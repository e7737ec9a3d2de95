//! `aether run --dev`: what is edited is deployed.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{bundle::bundle, deploy::Teller, print};
use crate::{
    deploy::order::{Order, What, Word},
    gateway::http::deploy::BUDGET,
    host::{Bundle, Host},
};

/// How often the files are looked at. A change is taken when they look the same twice: tools write
/// large files in pieces.
const LOOK: Duration = Duration::from_millis(150);

/// A model that is watched, with its components.
struct Watched {
    model: PathBuf,
    components: Vec<PathBuf>,
    /// As they were when they were last deployed, or tried.
    tried: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

/// What shows that a file is another one: when and how much was written. None = it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Watched {
    fn new(model: PathBuf) -> Self {
        let components = components(&model).unwrap_or_default();
        let mut watched = Self { model, components, tried: Vec::new(), seen: Vec::new() };
        watched.seen = watched.stamps();
        watched.tried.clone_from(&watched.seen);
        watched
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = std::iter::once(&self.model).chain(&self.components);
        let stamp = |file: &PathBuf| {
            let file = std::fs::metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        files.map(stamp).collect()
    }

    /// Whether the files have changed since they were last tried, and are whole now.
    fn has_changed(&mut self) -> bool {
        let now = self.stamps();
        let is_calm = now == self.seen;
        self.seen = now;
        if !is_calm || self.seen == self.tried {
            return false;
        }
        // The model may name other components than before.
        if let Some(components) = components(&self.model) {
            self.components = components;
        }
        self.seen = self.stamps();
        self.tried.clone_from(&self.seen);
        true
    }
}

/// The component files of a model; none if it has mistakes.
fn components(model: &Path) -> Option<Vec<PathBuf>> {
    let text = std::fs::read(model).ok()?;
    let (read, _) = aether_wit::read(&model.display().to_string(), &text).ok()?;
    let folder = model.parent().unwrap_or(Path::new("."));
    Some(read.components.iter().map(|component| folder.join(component)).collect())
}

/// Models as they are before they are read: what is edited from then on is seen.
pub struct Watch(Vec<Watched>);

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn begin(models: &[PathBuf]) -> Self {
        Self(models.iter().cloned().map(Watched::new).collect())
    }
}

/// What is told whenever an edit is not taken.
const SERVED_ON: &str = "not deployed: what was deployed last is served on";

/// Deploys each of the models to `host` whenever it or one of its components changes, until `stop`.
/// What does not pass is told, and what was deployed last is served on.
pub async fn watch(host: Host, Watch(mut all): Watch, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for watched in &mut all {
            if !watched.has_changed() {
                continue;
            }
            match bundle(&watched.model) {
                Ok(bundle) => {
                    print::line(&format!("{} has changed: deploying it", watched.model.display()));
                    deploy(&host, bundle).await;
                }
                Err(error) => tell_refused(&error),
            }
        }
    }
}

async fn deploy(host: &Host, bundle: Bundle) {
    let order = Order {
        what: What::Bundle(bundle),
        dry_run: false,
        what_if: false,
        actor: None,
        sample: None,
        force: [].into(),
        // Whoever edits sees them at once.
        accept_state_changes: true,
        budget: BUDGET,
        all: false,
        by: "aether run --dev".to_owned(),
        because: String::new(),
    };
    let mut teller = Teller::of_people();
    let mut words = host.deploy(order);
    while let Some(word) = words.recv().await {
        match word {
            Ok(Word::Host { .. }) => {}
            Ok(word) => {
                teller.tell(&word);
                if matches!(word, Word::Refused(_)) {
                    print::line(SERVED_ON);
                }
            }
            Err(failure) => {
                print::line(&format!("not deployed: {}", print::plain(&failure.detail)))
            }
        }
    }
}

fn tell_refused(error: &anyhow::Error) {
    match error.downcast_ref::<aether_wit::Report>() {
        Some(report) => eprint!("{report}"),
        None => eprintln!("{error:#}"),
    }
    print::line(SERVED_ON);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_once_and_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("a.storm.yaml");
        std::fs::write(&model, "context: a").unwrap();
        let mut watched = Watched::new(model.clone());
        assert!(!watched.has_changed());
        std::fs::write(&model, "context: ab").unwrap();
        assert!(!watched.has_changed(), "it may still be written");
        assert!(watched.has_changed());
        assert!(!watched.has_changed());
        std::fs::remove_file(&model).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
    }
}
