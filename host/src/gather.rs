//! Things of many tasks that leave together.
//!
//! *Problem.* A task that hands something to the task of a connection wakes it, and the runtime runs
//! what was woken last as the next thing: so few messages go to the kernel in one call (3.3 were
//! counted at 64 clients), though many tasks are about to send one.
//!
//! *Mechanism.* What is to leave goes through a queue. Who takes from it waits for the first, lets
//! all tasks go on that can, and takes what they have added too.
//!
//! *Cost.* One more change of tasks, and what leaves waits until its thread has nothing else to do or
//! has let 61 tasks go on, tokio's longest interval. Something that is known to be alone does not wait.

use tokio::sync::mpsc;

/// Most things that leave together: with more, the first would only wait longer for the last.
const MOST: usize = 256;

/// Waits for something in `queue` and moves it to `batch`, with all that is added while others go
/// on; these get no turn if `is_alone`. False when nothing can come any more.
pub async fn gather<T>(
    queue: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    is_alone: impl FnOnce() -> bool,
) -> bool {
    if queue.recv_many(batch, MOST).await == 0 {
        return false;
    }
    if !is_alone() {
        tokio::task::yield_now().await;
        while batch.len() < MOST
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_others_are_about_to_send_leaves_together() {
        let (sender, mut queue) = mpsc::channel(16);
        // There before the others had a turn: alone, it would leave without them.
        sender.send(0).await.unwrap();
        for number in 1..5 {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(number).await.unwrap() });
        }
        drop(sender);
        let mut batch = Vec::new();
        assert!(gather(&mut queue, &mut batch, || false).await);
        batch.sort_unstable();
        assert_eq!(batch, [0, 1, 2, 3, 4]);
        batch.clear();
        assert!(!gather(&mut queue, &mut batch, || false).await);
        assert!(batch.is_empty());
    }

    #[tokio::test]
    async fn what_is_alone_does_not_wait_and_a_batch_has_an_end() {
        let (sender, mut queue) = mpsc::channel(2 * MOST);
        sender.send(0).await.unwrap();
        let later = sender.clone();
        tokio::spawn(async move {
            for number in 1..2 * MOST {
                later.send(number).await.unwrap();
            }
        });
        let mut batch = Vec::new();
        assert!(gather(&mut queue, &mut batch, || true).await);
        assert_eq!(batch, [0]);
        batch.clear();
        assert!(gather(&mut queue, &mut batch, || false).await);
        assert_eq!(batch.len(), MOST);
    }
}
