//! Threads for work that must not hold up commands: at a lower priority than all others and with
//! short turns on a processor, so that the kernel gives them what the rest of the host leaves.

use std::thread;

use tokio::{runtime::Handle, sync::oneshot};

use crate::failure::{Code, Failure};

/// By how much the nice value of the threads is above that of the process: under full load they get
/// about a tenth of a processor, so that a deploy comes to its end on a busy host too.
pub const LOWER: i32 = 10;

/// The lowest priority there is, as a nice value.
pub const LOWEST: i32 = 19;

/// How long one of the threads runs at a time before another may take its processor. A thread that
/// wakes up does not interrupt one whose turn is not over, whatever their priorities, but waits for
/// the kernel's next tick, up to 10 ms. Far shorter turns would end with a claim to the next one that
/// comes before that of a thread of normal priority (up to 2.8 ms from its waking): at nice
/// [`LOWER`] this claim is nine times as far away as the turn is long. Linux heeds it from 6.12 on:
/// "[Use `sched_attr::sched_runtime` to set request/slice suggestion][source]".
///
/// [source]: https://lkml.iu.edu/hypermail/linux/kernel/2407.3/03484.html
#[cfg(target_os = "linux")]
const TURN: std::time::Duration = std::time::Duration::from_micros(400);

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
            stand_back(LOWER);
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

/// Has the calling thread stand back behind those that serve: its nice value becomes that of the
/// process and `by`, and its turns on a processor get short.
pub fn stand_back(by: i32) {
    // The thread may have been started by one whose priority is lowered already.
    let process = rustix::process::getpid();
    let own = rustix::process::getpriority_process(Some(process)).unwrap_or(0);
    let lowered = own.saturating_add(by).min(LOWEST);
    // Refused only where priorities are taken away altogether; the work then competes.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), lowered);
    #[cfg(target_os = "linux")]
    turns::shorten(lowered);
}

/// How long the turns of a thread on a processor are. No library has a checked way to say it.
#[cfg(target_os = "linux")]
mod turns {
    use super::TURN;

    const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

    /// Makes those of the calling thread [`TURN`] long; `nice` is what it has.
    #[expect(unsafe_code, reason = "neither std nor rustix has this call of the kernel")]
    pub(super) fn shorten(nice: i32) {
        let wanted = libc::sched_attr {
            size: SIZE,
            sched_policy: 0,
            sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
            sched_nice: nice,
            sched_priority: 0,
            sched_runtime: TURN.as_nanos() as u64,
            sched_deadline: 0,
            sched_period: 0,
        };
        // A kernel that does not know it, or a sandbox that forbids it: its turns stay as they are.
        // SAFETY: the kernel reads `SIZE` bytes from the address, which are those of `wanted`, and
        // changes how the calling thread (0) is scheduled, nothing in this process's memory.
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    }

    /// How the calling thread is scheduled.
    #[cfg(test)]
    #[expect(unsafe_code, reason = "neither std nor rustix has this call of the kernel")]
    pub(super) fn get() -> libc::sched_attr {
        // SAFETY: all its fields are numbers, for which zero is a value.
        let mut found: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes at most `SIZE` bytes to the address, which `found` has.
        let call = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, SIZE, 0) };
        assert_eq!(call, 0, "{}", std::io::Error::last_os_error());
        found
    }
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_turns_of_a_thread_that_stands_back_are_short() {
        let turn = || turns::get().sched_runtime;
        let usual = turn();
        let short = thread::spawn(move || {
            stand_back(LOWER);
            turn()
        });
        // Kernels that do not know it tell none.
        let expected = if usual == 0 { 0 } else { TURN.as_nanos() as u64 };
        assert_eq!((short.join().unwrap(), turn()), (expected, usual));
    }

    #[tokio::test]
    async fn a_worker_that_breaks_off_is_an_error() {
        let broken = Worker::start("aether-broken", async { panic!("a bug") });
        let result: Result<(), _> = broken.unwrap().result().await;
        assert_eq!(result.unwrap_err().code, Code::Unavailable);
    }
}
