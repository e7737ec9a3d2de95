//! Threads for work that must not hold up commands: at a lower priority than all others, so that
//! the kernel gives them what the rest of the host leaves.

use std::thread;

use tokio::{runtime::Handle, sync::oneshot};

use crate::failure::{Code, Failure};

/// By how much the nice value of the threads is above that of the process: under full load they get
/// about a tenth of a processor, so that a deploy comes to its end on a busy host too.
pub const LOWER: i32 = 10;

/// The lowest priority there is, as a nice value.
pub const LOWEST: i32 = 19;

/// Work on a thread of its own.
#[derive(Debug)]
pub struct Worker<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Worker<T> {
    /// Runs `work` on a thread of its own, to its end even if nobody waits for it. `name` is the
    /// thread's, of at most 15 bytes.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn start(
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Self, Failure> {
        let (done, result) = oneshot::channel();
        let runtime = Handle::current();
        let body = move || {
            lower_priority(LOWER);
            // Nobody may be waiting any more.
            let _ = done.send(runtime.block_on(work));
        };
        let started = thread::Builder::new().name(name.to_owned()).spawn(body);
        started.map(|_| Self(result)).map_err(|error| {
            let detail = format!("the host cannot start a thread ({name}): {error}");
            Failure::new(Code::Unavailable, detail)
        })
    }

    /// What it gave.
    ///
    /// # Errors
    /// If it broke off, which is a bug.
    pub async fn result(self) -> Result<T, Failure> {
        self.0.await.map_err(|_| {
            let detail = "work beside the commands broke off: this is a bug in aether";
            Failure::new(Code::Unavailable, detail)
        })
    }
}

/// Lowers the priority of the calling thread: its nice value becomes that of the process and `by`.
pub fn lower_priority(by: i32) {
    // The thread may have been started by one whose priority is lowered already.
    let process = rustix::process::getpid();
    let own = rustix::process::getpriority_process(Some(process)).unwrap_or(0);
    let lowered = own.saturating_add(by).min(LOWEST);
    // Refused only where priorities are taken away altogether; the work then competes.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), lowered);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(of: rustix::process::Pid) -> i32 {
        rustix::process::getpriority_process(Some(of)).unwrap()
    }

    #[tokio::test]
    async fn a_worker_has_a_lower_priority_and_so_has_one_that_it_starts() {
        let own = || priority(rustix::thread::gettid());
        let expected = (priority(rustix::process::getpid()) + LOWER).min(LOWEST);
        let nested = async move {
            let inner = Worker::start("aether-inner", async move { own() }).unwrap();
            (own(), inner.result().await.unwrap())
        };
        let found = Worker::start("aether-outer", nested).unwrap().result().await.unwrap();
        assert_eq!(found, (expected, expected));
    }

    #[tokio::test]
    async fn a_worker_that_breaks_off_is_an_error() {
        let broken = Worker::start("aether-broken", async { panic!("a bug") });
        let result: Result<(), _> = broken.unwrap().result().await;
        assert_eq!(result.unwrap_err().code, Code::Unavailable);
    }
}
