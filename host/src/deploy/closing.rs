//! The end of a closing, whatever became of the order that needed it.
//!
//! *Problem.* Between a closing and the activation that it is for, anything may fail: the store goes
//! away, an answer is lost, a host does not confirm, nobody listens any more. The named events
//! would be refused for ever, for the host that closed lives and no other one ends its closing.
//!
//! *Mechanism.* Who closes holds a [`Shut`]. Unless it is told that it is [over](Shut::over), it
//! has a task of the host take the closing's number, again and again until a deployment has it:
//! the one that was to be, if its activation was stored after all, or else what is active already.
//! Of the two the store takes one. If the host stops before, others find it gone and do the same.

use std::time::Duration;

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{host::Host, step::step, store::Deployment};

/// How long whoever ordered waits for the end of the closing; it goes on without them.
const WAIT: Duration = Duration::from_secs(5);

/// A closing that other hosts may know of.
#[must_use]
pub struct Shut {
    host: Host,
    active: Deployment,
    /// Why it is ended, as it is recorded then.
    pub because: &'static str,
    over: bool,
}

impl Shut {
    /// Nothing is told yet: from now on it will be ended.
    pub fn new(host: &Host, active: &Deployment) -> Self {
        let because = "a deployment that closed events was not activated";
        Self { host: host.clone(), active: active.clone(), because, over: false }
    }

    /// A deployment has its number, or it was never told.
    pub fn over(mut self) {
        self.over = true;
    }

    /// Ends it. Gives what is active then; none if the store does not say so soon, and then it is
    /// ended as soon as the store does.
    pub async fn end(mut self) -> Option<Deployment> {
        self.over = true;
        let ended = self.begin_to_end();
        step!("order.reopened", tokio::time::timeout(WAIT, ended).await).ok()?.ok()?
    }

    fn begin_to_end(&self) -> JoinHandle<Option<Deployment>> {
        self.host.end_closing(&self.active, self.because)
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        // Without a runtime the host is gone, and others end it.
        if !self.over && Handle::try_current().is_ok() {
            self.begin_to_end();
        }
    }
}
