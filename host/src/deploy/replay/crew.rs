//! Threads for work that must not hold up commands: at a lower priority than all others, so that
//! the kernel gives them what the rest of the host leaves.

use std::thread;

use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    failure::{Code, Failure},
    step::step,
};

/// Nice value of the threads: under full load they get about a tenth of a processor, so that a
/// deploy comes to its end on a busy host too.
const NICE: i32 = 10;

/// Work on a thread of its own.
#[derive(Debug)]
pub struct Worker<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Worker<T> {
    /// Runs `work` on a thread of its own, to its end even if nobody waits for it.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn start(work: impl Future<Output = T> + Send + 'static) -> Result<Self, Failure> {
        let (done, result) = oneshot::channel();
        let runtime = Handle::current();
        let body = move || {
            // Refused only where priorities are taken away altogether.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            // Nobody may be waiting any more.
            let _ = done.send(runtime.block_on(work));
        };
        let started = thread::Builder::new().name("aether-replay".to_owned()).spawn(body);
        started.map(|_| Self(result)).map_err(|error| {
            let detail = format!("the host cannot start a thread for shadow replay: {error}");
            Failure::new(Code::Unavailable, detail)
        })
    }

    /// What it gave.
    ///
    /// # Errors
    /// If it broke off, which is a bug.
    pub async fn result(self) -> Result<T, Failure> {
        let result = step!("replay.await-worker", self.0.await);
        result.map_err(|_| {
            Failure::new(Code::Unavailable, "shadow replay broke off: this is a bug in aether")
        })
    }
}
