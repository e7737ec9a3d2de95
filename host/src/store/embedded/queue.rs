//! What waits for one of several threads. Of those that are free, the one that was busy last takes
//! the next item: its processor is awake and still has what it needs. Were they to take turns, each
//! item would wake two of them, and half of all items a processor that sleeps (some 50 µs on a
//! virtual machine).

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, Thread},
};

use tokio::sync::Semaphore;

use crate::step::step;

/// Items in their order, and who is free to take them.
pub(super) struct Queue<T> {
    room: Semaphore,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Threads that wait for an item, the one that was busy last behind the others.
    free: Vec<Thread>,
    closed: bool,
}

/// Nothing is taken any more.
#[derive(Debug)]
pub(super) struct Closed;

impl<T> Queue<T> {
    /// An empty one; more than `room` items make those wait who bring them.
    pub(super) fn new(room: usize) -> Self {
        let state = State { waiting: VecDeque::new(), free: Vec::new(), closed: false };
        Self { room: Semaphore::new(room), state: Mutex::new(state) }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// If it is closed.
    pub(super) async fn push(&self, item: T) -> Result<(), Closed> {
        step!("embedded.queue-room", self.room.acquire().await).map_err(|_| Closed)?.forget();
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.waiting.push_back(item);
        let free = state.free.pop();
        drop(state);
        if let Some(thread) = free {
            thread.unpark();
        }
        Ok(())
    }

    /// The next item, for which this thread waits; none once it is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let own = thread::current();
        let mut state = self.lock();
        loop {
            if let Some(item) = state.waiting.pop_front() {
                drop(state);
                self.room.add_permits(1);
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state.free.push(own.clone());
            drop(state);
            thread::park();
            state = self.lock();
            // Threads may wake up by themselves.
            state.free.retain(|free| free.id() != own.id());
        }
    }

    /// Takes nothing more. What waits is still given out.
    pub(super) fn close(&self) {
        self.room.close();
        let mut state = self.lock();
        state.closed = true;
        let free = std::mem::take(&mut state.free);
        drop(state);
        free.iter().for_each(Thread::unpark);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::clock;

    type Shared = Arc<Queue<u64>>;

    /// A thread that reports what it takes, by its name, and then waits until it may go on.
    fn taker(
        queue: &Shared,
        name: char,
        told: &mpsc::Sender<(char, u64)>,
    ) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
        let (queue, told) = (queue.clone(), told.clone());
        let (go, may_go) = mpsc::channel();
        let body = move || {
            while let Some(item) = queue.pop() {
                told.send((name, item)).unwrap();
                may_go.recv().unwrap();
            }
        };
        (go, thread::spawn(body))
    }

    fn free(queue: &Shared, count: usize) {
        let until = clock::now() + Duration::from_secs(60);
        while queue.lock().free.len() < count {
            assert!(clock::now() < until, "{count} threads are not free");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn who_was_busy_last_takes_the_next_item() {
        let queue = Arc::new(Queue::new(8));
        let (told, taken) = mpsc::channel();
        let (go_a, a) = taker(&queue, 'a', &told);
        free(&queue, 1);
        let (go_b, b) = taker(&queue, 'b', &told);
        free(&queue, 2);
        for item in 0..3 {
            queue.push(item).await.unwrap();
            assert_eq!(taken.recv().unwrap(), ('b', item));
            go_b.send(()).unwrap();
            free(&queue, 2);
        }
        // While that one is busy the other one takes over.
        queue.push(3).await.unwrap();
        queue.push(4).await.unwrap();
        let mut both = [taken.recv().unwrap(), taken.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both.map(|(name, _)| name), ['a', 'b']);
        queue.push(5).await.unwrap();
        queue.close();
        assert!(matches!(queue.push(6).await, Err(Closed)));
        go_a.send(()).unwrap();
        assert_eq!(taken.recv().unwrap(), ('a', 5), "what waits is given out");
        go_a.send(()).unwrap();
        go_b.send(()).unwrap();
        a.join().unwrap();
        b.join().unwrap();
    }

    #[tokio::test]
    async fn closing_ends_those_who_wait() {
        let queue = Arc::new(Queue::new(1));
        let (told, _taken) = mpsc::channel();
        let (_go, taker) = taker(&queue, 'a', &told);
        free(&queue, 1);
        queue.close();
        taker.join().unwrap();

        let full = Queue::new(1);
        full.push(1).await.unwrap();
        let second = full.push(2);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "there was no room");
        full.close();
        assert!(matches!(second.await, Err(Closed)));
        assert_eq!((full.pop(), full.pop()), (Some(1), None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_more_than_there_is_room_for_waits() {
        let queue = Queue::new(1);
        queue.push(1).await.unwrap();
        let second = queue.push(2);
        tokio::pin!(second);
        let waited = tokio::time::timeout(Duration::from_secs(60), &mut second).await;
        assert!(waited.is_err(), "there was no room");
        assert_eq!(queue.pop(), Some(1));
        second.await.unwrap();
        assert_eq!(queue.pop(), Some(2));
    }
}
