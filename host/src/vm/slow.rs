//! The slow thread of a component: where calls run that would hold up a worker of the runtime.
//!
//! A component has at most one, made when it is needed and ended when it is idle, so components
//! cannot take each other's time; its calls run in the order they came. It runs at the lowest
//! priority: network and stores go first. Hopping to it costs about 25 µs.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::aside::{LOWEST, stand_back};

/// How long the thread waits for its next call before it ends.
const IDLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// Runs the slow calls of one component, one after the other.
#[derive(Clone, Default)]
pub(super) struct SlowThread(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    thread_lives: bool,
}

/// The machine gives no more threads.
#[derive(Debug, thiserror::Error)]
#[error("the host cannot start a thread for slow calls: {0}")]
pub(super) struct NoThread(std::io::Error);

impl SlowThread {
    /// Runs `work` on the thread. It runs to its end even if this future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoThread> {
        let (done, result) = oneshot::channel();
        self.submit(Box::new(move || {
            // Nobody may be waiting any more; the work has been done all the same.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        }))?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(NoThread(std::io::Error::other("the thread ended before the call"))),
        }
    }

    fn submit(&self, job: Job) -> Result<(), NoThread> {
        let mut queue = self.0.queue();
        queue.jobs.push_back(job);
        if queue.thread_lives {
            self.0.more.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new().name("aether-slow".into()).spawn(move || {
            stand_back(LOWEST);
            shared.work();
        });
        match started {
            Ok(_) => queue.thread_lives = true,
            Err(error) => {
                queue.jobs.pop_back();
                return Err(NoThread(error));
            }
        }
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Jobs run without the lock, so no panic leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue();
                continue;
            }
            let (woken, timeout) =
                self.more.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.thread_lives = false;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_run_in_order_on_one_thread_of_low_priority() {
        let slow = SlowThread::default();
        let seen = Arc::new(Mutex::new(vec![]));
        let jobs = (0..20).map(|n| {
            let seen = Arc::clone(&seen);
            slow.run(move || {
                seen.lock().unwrap().push(n);
                let me = rustix::thread::gettid();
                (thread::current().id(), rustix::process::getpriority_process(Some(me)).unwrap())
            })
        });
        let threads: Vec<_> = futures::future::join_all(jobs).await;
        let first = threads[0].as_ref().unwrap();
        assert!(threads.iter().all(|t| t.as_ref().unwrap() == first));
        assert_eq!(first.1, LOWEST);
        assert_eq!(*seen.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_the_thread_lives_on() {
        let slow = SlowThread::default();
        let task = tokio::spawn({
            let slow = slow.clone();
            async move { slow.run(|| panic!("a bug")).await.unwrap() }
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(slow.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_is_done_even_if_nobody_waits() {
        let slow = SlowThread::default();
        let (started, wait_started) = oneshot::channel();
        let (go, wait_go) = std::sync::mpsc::channel::<()>();
        let task = tokio::spawn({
            let slow = slow.clone();
            async move {
                slow.run(move || {
                    started.send(()).unwrap();
                    wait_go.recv().unwrap();
                })
                .await
            }
        });
        wait_started.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        assert_eq!(slow.run(|| 7).await.unwrap(), 7);
    }
}
