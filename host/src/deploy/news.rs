//! What a host hears and says within itself of deployments.

use std::{sync::Arc, time::Instant};

use tokio::sync::{Notify, watch};

use crate::{served::Realm, step::step};

/// Who looks for deployments, and who waits for what it finds. One of each host.
#[derive(Debug)]
pub struct News {
    wanted: Notify,
    adopted: watch::Sender<()>,
}

impl Default for News {
    fn default() -> Self {
        Self { wanted: Notify::new(), adopted: watch::Sender::new(()) }
    }
}

impl News {
    /// Has the store asked for deployments now.
    pub fn look(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody wants the store to be asked.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Says that what is served has changed.
    pub fn adopted(&self) {
        self.adopted.send_replace(());
    }

    /// Waits until this host serves at least deployment `number` of the aggregate of `realm`, or
    /// has said why it cannot; `false` if neither happened before `deadline`.
    pub async fn await_deployment(
        &self,
        realm: &Arc<Realm>,
        number: u64,
        deadline: Instant,
    ) -> bool {
        let mut adopted = self.adopted.subscribe();
        loop {
            if realm.current().map_or(true, |now| now.deployment >= number) {
                return true;
            }
            self.look();
            let changed = tokio::time::timeout_at(deadline.into(), adopted.changed());
            if !matches!(step!("news.adopted", changed.await), Ok(Ok(()))) {
                return false;
            }
        }
    }
}
