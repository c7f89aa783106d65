//! Doing together what several ask for at about the same time: the writes of a batch go 25 a call, its messages ten.
//!
//! Nobody waits for long: a call is made when it is full, when nothing more is about to come, when nothing has come for a moment, or when the first to ask has
//! waited for its longest time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long after the last one another is waited for, in milliseconds.
const IDLE_MILLISECONDS: u64 = 20;
/// How long the first one waits at the most, in milliseconds.
const WAIT_MILLISECONDS_MAX: u64 = 100;

/// Counts what is under way and will ask for something when it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// Counts one more until the guard is dropped.
    pub(super) fn begin(&self) -> BusyGuard {
        self.0.fetch_add(1, Ordering::SeqCst);
        BusyGuard(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// One that is under way.
#[derive(Debug)]
pub(super) struct BusyGuard(Busy);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Asked<T, R> = (T, oneshot::Sender<R>);

/// The way to ask. Clones ask the same.
#[derive(Debug)]
pub(super) struct Coalescer<T, R>(mpsc::UnboundedSender<Asked<T, R>>);

impl<T, R> Clone for Coalescer<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, R> Coalescer<T, R> {
    /// A coalescer, and what is asked of it, to be served.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Asked<T, R>>) {
        // As many wait in it as requests can be under way.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Asks, and waits until it is done; `None` if nobody serves any more.
    pub(super) async fn ask(&self, one: T) -> Option<R> {
        let (reply, replied) = oneshot::channel();
        self.0.send((one, reply)).ok()?;
        replied.await.ok()
    }
}

/// Serves what is asked, at most `together_max` at once, until nobody can ask any more. `carry_out` answers in the order of what it is given.
pub(super) async fn serve<T, R, F: Future<Output = Vec<R>>>(
    mut asked: mpsc::UnboundedReceiver<Asked<T, R>>,
    together_max: usize,
    busy: Busy,
    carry_out: impl Fn(Vec<T>) -> F,
) {
    while let Some(first) = asked.recv().await {
        let until = Instant::now() + Duration::from_millis(WAIT_MILLISECONDS_MAX);
        let mut together = vec![first];
        while together.len() < together_max {
            if let Ok(next) = asked.try_recv() {
                together.push(next);
                continue;
            }
            if busy.is_idle() {
                // A task that has just ended may be about to ask.
                tokio::task::yield_now().await;
                match asked.try_recv() {
                    Ok(next) => together.push(next),
                    Err(_) => break,
                }
                continue;
            }
            let idle = Instant::now() + Duration::from_millis(IDLE_MILLISECONDS);
            match tokio::time::timeout_at(until.min(idle), asked.recv()).await {
                Ok(Some(next)) => together.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        let (ones, replies): (Vec<_>, Vec<_>) = together.into_iter().unzip();
        for (reply, result) in replies.into_iter().zip(carry_out(ones).await) {
            // The task that asked may be gone.
            let _ = reply.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Asks for these numbers, each after so many milliseconds; what was carried out together.
    async fn carried_out(asks: &[(u64, u32)], busy: Busy) -> Vec<Vec<u32>> {
        let (coalescer, asked) = Coalescer::new();
        let calls = Mutex::new(Vec::new());
        let serving = serve(asked, 3, busy, |ones: Vec<u32>| {
            calls.lock().unwrap().push(ones.clone());
            std::future::ready(ones.into_iter().map(|one| one * 10).collect())
        });
        let asking = async move {
            let all = asks.iter().map(|(after, one)| {
                let coalescer = coalescer.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(*after)).await;
                    assert_eq!(coalescer.ask(*one).await, Some(one * 10));
                }
            });
            futures::future::join_all(all).await;
        };
        futures::join!(serving, asking);
        calls.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_done_together_up_to_a_bound() {
        assert_eq!(carried_out(&[(0, 1), (0, 2), (0, 3), (0, 4)], Busy::default()).await, [vec![1, 2, 3], vec![4]]);
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_waited_for_while_some_are_under_way_but_not_for_long() {
        let busy = Busy::default();
        let _guard = busy.begin();
        assert_eq!(carried_out(&[(0, 1), (15, 2), (50, 3)], busy).await, [vec![1, 2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_when_nothing_is_under_way() {
        assert_eq!(carried_out(&[(0, 1), (5, 2)], Busy::default()).await, [vec![1], vec![2]]);
    }
}
