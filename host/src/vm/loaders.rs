//! The threads on which components are loaded: read, judged, compiled, or taken from the cache.
//!
//! *Problem.* Compiling takes seconds of all processors, and somebody may have it done in a host that
//! serves, on purpose and again and again. wasmtime compiles on the threads of whoever calls it.
//!
//! *Mechanism.* A fixed number of threads of lower priority than those that serve, on which all of
//! a load runs from the first byte on: wasmtime's parallel parts stay on the threads that they are
//! called from. One load at a time, also if whoever wanted one is gone meanwhile, so that its
//! memory is bounded as well.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread,
};

use tokio::sync::{Mutex, oneshot};

use super::SandboxError;
use crate::aside::{LOWER, stand_back};

/// Most threads: beyond, compiling one component hardly gets faster.
const MOST: usize = 8;

/// Stack of a thread, in bytes: while it waits for a part of the work, it begins others above it.
const STACK_BYTES: usize = 8 << 20;

/// The threads on which components are loaded.
pub(super) struct Loaders {
    threads: rayon::ThreadPool,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Loaders {
    /// As many threads as there are processors, up to [`MOST`]. They sleep while nothing is loaded.
    pub(super) fn start() -> Result<Self, SandboxError> {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(processors.min(MOST))
            .stack_size(STACK_BYTES)
            .thread_name(|number| format!("aether-load-{number}"))
            .start_handler(|_| stand_back(LOWER))
            .build();
        let threads = threads.map_err(|error| {
            SandboxError(format!("the threads that compile components do not start: {error}"))
        })?;
        Ok(Self { threads, one_at_a_time: Arc::default() })
    }

    /// Does `work` there, after what came before. It runs to its end even if this future is dropped.
    /// None if the threads have ended, which they do with the sandbox alone.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let alone = self.one_at_a_time.clone().lock_owned().await;
        let (done, result) = oneshot::channel();
        self.threads.spawn(move || {
            let worked = catch_unwind(AssertUnwindSafe(work));
            drop(alone);
            // Nobody may be waiting any more; the work has been done all the same.
            let _ = done.send(worked);
        });
        match result.await.ok()? {
            Ok(value) => Some(value),
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aside::LOWEST;

    /// The nice value of the calling thread.
    fn nice() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[tokio::test]
    async fn work_and_what_it_parts_run_there_at_a_lower_priority() {
        let process = rustix::process::getpid();
        let process = rustix::process::getpriority_process(Some(process)).unwrap();
        let expected = (process + LOWER).min(LOWEST);
        let loaders = Loaders::start().unwrap();
        let seen = loaders.run(|| {
            let name = || thread::current().name().unwrap_or_default().to_owned();
            let (one, other) = rayon::join(|| (nice(), name()), || (nice(), name()));
            [(nice(), name()), one, other]
        });
        for (nice, name) in seen.await.unwrap() {
            assert_eq!(nice, expected, "{name}");
            assert!(name.starts_with("aether-load-"), "{name}");
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends_before_the_next_begins() {
        let loaders = Arc::new(Loaders::start().unwrap());
        let (began, begun) = oneshot::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let loaders = loaders.clone();
            async move {
                let work = move || {
                    began.send(()).unwrap();
                    gone.recv().unwrap();
                };
                loaders.run(work).await
            }
        });
        begun.await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let mut next = Box::pin(loaders.run(|| 7));
        assert!(futures::poll!(&mut next).is_pending());
        assert!(loaders.one_at_a_time.try_lock().is_err(), "the first one is at work");
        go.send(()).unwrap();
        assert_eq!(next.await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_reaches_whoever_waits_and_the_threads_live_on() {
        let loaders = Arc::new(Loaders::start().unwrap());
        let broken = tokio::spawn({
            let loaders = loaders.clone();
            async move { loaders.run(|| panic!("a bug")).await }
        });
        let ended: Result<Option<()>, _> = broken.await;
        assert!(ended.unwrap_err().is_panic());
        assert_eq!(loaders.run(|| 7).await, Some(7));
    }
}
