//! Requests of many tasks over one connection, and the way of each answer to who asked.
//!
//! All requests have one subscription for their answers, each with a number of its own in the
//! subject: a subscription for each would be two more messages to the server. And they leave
//! together, as [`gather`] has it.
//!
//! The client drops what a subscription has no room for. Answers of several messages could fill it,
//! so few are asked for at once; and who reads one sees whether it is whole.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::{Failure, chain};
use crate::{gather::gather, step::step};

/// Requests that may wait to leave before who sends is held back.
const QUEUE: usize = 1 << 10;

/// Requests for several messages that may be under way. A server answers one after the other; and
/// their answers, 1,025 messages at most, fill half of a subscription's room of 65,536.
const READS: usize = 32;

/// Why a request has no answer when its connection has ended for good.
const ENDED: &str = "the connection to NATS was closed";

/// An answer, or why there will be none.
type Answer = Result<Message, Failure>;

/// What carries the requests of one connection. Its tasks end with it, the one that sends when its
/// queue is empty.
#[derive(Debug)]
pub(super) struct Exchange {
    out: mpsc::Sender<Outgoing>,
    inbox: Arc<Inbox>,
    reads: Semaphore,
    _end: DropGuard,
}

/// A request that leaves.
#[derive(Debug)]
struct Outgoing {
    number: u64,
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
}

/// Who waits for answers.
#[derive(Debug)]
struct Inbox {
    /// What the subject of each answer begins with, its dot included.
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
enum Waiting {
    /// For one answer.
    One(oneshot::Sender<Answer>),
    /// For all that come, until it has heard enough.
    All(mpsc::UnboundedSender<Answer>),
}

/// A request that waits; with it its place in the inbox ends.
#[derive(Debug)]
struct Place<'a> {
    inbox: &'a Inbox,
    number: u64,
}

/// The answers to a request that may have several.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    _place: Place<'a>,
    _turn: SemaphorePermit<'a>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Exchange {
    /// Begins to carry requests over `client`.
    ///
    /// # Errors
    /// If the client has ended.
    pub(super) async fn open(client: &Client) -> Result<Self, String> {
        let prefix = format!("{}.", client.new_inbox());
        let subscribed = client.subscribe(format!("{prefix}*"));
        let answers = step!("nats.subscribe", subscribed.await).map_err(|error| chain(&error))?;
        let (out, queue) = mpsc::channel(QUEUE);
        let inbox = Arc::new(Inbox { prefix, next: AtomicU64::new(1), waiting: Mutex::default() });
        let end = CancellationToken::new();
        tokio::spawn(send(client.clone(), queue, inbox.clone()));
        let distributed = distribute(answers, inbox.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(distributed));
        Ok(Self { out, inbox, reads: Semaphore::new(READS), _end: end.drop_guard() })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// If it was not sent, or the connection ended. That nobody serves the subject is an answer.
    pub(super) async fn one(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Answer {
        let (sender, answer) = oneshot::channel();
        let place = self.inbox.wait(Waiting::One(sender));
        self.hand_over(&place, subject, headers, payload).await?;
        let answer = step!("nats.request", answer.await);
        answer.unwrap_or_else(|_| Err(Failure::Unanswered(ENDED.to_owned())))
    }

    /// Sends a request that may have several answers, when its turn comes.
    ///
    /// # Errors
    /// If it was not sent.
    pub(super) async fn all(&self, subject: &str, payload: Bytes) -> Result<Answers<'_>, Failure> {
        let turn = step!("nats.turn", self.reads.acquire().await);
        let turn = turn.map_err(|_| Failure::Unsent(ENDED.to_owned()))?;
        let (sender, answers) = mpsc::unbounded_channel();
        let place = self.inbox.wait(Waiting::All(sender));
        self.hand_over(&place, subject, None, payload).await?;
        Ok(Answers { _place: place, _turn: turn, answers })
    }

    async fn hand_over(
        &self,
        place: &Place<'_>,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Failure> {
        let request =
            Outgoing { number: place.number, subject: subject.to_owned(), headers, payload };
        let sent = self.out.send(request).await;
        sent.map_err(|_| Failure::Unsent(ENDED.to_owned()))
    }
}

impl Answers<'_> {
    /// The next answer.
    ///
    /// # Errors
    /// If the request was not sent, or the connection ended.
    pub(super) async fn next(&mut self) -> Answer {
        let answer = step!("nats.got", self.answers.recv().await);
        answer.unwrap_or_else(|| Err(Failure::Unanswered(ENDED.to_owned())))
    }
}

impl Inbox {
    fn wait(&self, waiting: Waiting) -> Place<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, waiting);
        Place { inbox: self, number }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_waited_for(&self, number: u64) -> bool {
        self.all().contains_key(&number)
    }

    fn is_one(&self) -> bool {
        self.all().len() <= 1
    }

    /// Gives an answer to who waits for it; a late one to nobody.
    fn give(&self, number: u64, answer: Answer) {
        let mut all = self.all();
        if let Some(Waiting::All(sender)) = all.get(&number) {
            // Who has heard enough is about to leave.
            let _ = sender.send(answer);
        } else if let Some(Waiting::One(sender)) = all.remove(&number) {
            drop(all);
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inbox.all().remove(&self.number);
    }
}

/// Sends what comes, as much together as there is.
async fn send(client: Client, mut queue: mpsc::Receiver<Outgoing>, inbox: Arc<Inbox>) {
    let mut batch = Vec::new();
    while step!("nats.gather", gather(&mut queue, &mut batch, || inbox.is_one()).await) {
        for Outgoing { number, subject, headers, payload } in batch.drain(..) {
            if !inbox.is_waited_for(number) {
                continue;
            }
            let reply = format!("{}{number}", inbox.prefix);
            let headers = headers.unwrap_or_default();
            let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
            if let Err(error) = step!("nats.send", sent.await) {
                inbox.give(number, Err(Failure::Unsent(chain(&error))));
            }
        }
    }
}

/// Gives each answer that comes to who waits for it.
async fn distribute(mut answers: Subscriber, inbox: Arc<Inbox>) {
    while let Some(message) = step!("nats.answers", answers.next().await) {
        let number = message.subject.get(inbox.prefix.len()..).and_then(|it| it.parse().ok());
        if let Some(number) = number {
            inbox.give(number, Ok(message));
        }
    }
    // The client has ended: nobody will be answered any more.
    inbox.all().clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> Inbox {
        Inbox { prefix: "_INBOX.x.".to_owned(), next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    fn unsent(why: &str) -> Answer {
        Err(Failure::Unsent(why.to_owned()))
    }

    fn why(answer: Answer) -> String {
        match answer {
            Err(Failure::Unsent(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_goes_to_who_asked_and_a_late_one_to_nobody() {
        let inbox = inbox();
        let ask = || {
            let (sender, answer) = oneshot::channel();
            (inbox.wait(Waiting::One(sender)), answer)
        };
        let (first, mut to_first) = ask();
        let (second, mut to_second) = ask();
        assert!(!inbox.is_one());
        inbox.give(second.number, unsent("b"));
        assert_eq!(why(to_second.try_recv().unwrap()), "b");
        assert!(to_first.try_recv().is_err());
        assert!(inbox.is_one(), "one answer is all there is");

        let late = first.number;
        drop(first);
        inbox.give(late, unsent("late"));
        assert!(to_first.try_recv().is_err());
        assert!(inbox.all().is_empty());
        drop(second);
        assert_ne!(ask().0.number, late, "no number is used again");
    }

    #[test]
    fn who_waits_for_several_answers_gets_all_until_it_leaves() {
        let inbox = inbox();
        let (sender, mut answers) = mpsc::unbounded_channel();
        let place = inbox.wait(Waiting::All(sender));
        let number = place.number;
        for said in ["a", "b"] {
            inbox.give(number, unsent(said));
            assert_eq!(why(answers.try_recv().unwrap()), said);
        }
        drop(place);
        inbox.give(number, unsent("c"));
        assert!(answers.try_recv().is_err());
    }
}
