//! Where "now" comes from, and what time limits are measured by.
//!
//! Decisions take `now` as an argument; only the edges (handlers, the sweeper, the stand-ins for AWS) read a [`Clock`].
//! Tests hold a clock they move themselves, so that a week of retries, or a receiver that hangs, takes no time.

use std::ops::Add;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

/// The source of the current time: the system's, or one that tests move by hand. Clones share the same time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// A clock that stands still until it is moved.
    Manual(Arc<ManualClock>),
}

/// The state behind [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualClock {
    unix_milliseconds: AtomicI64,
    moved: Notify,
}

/// A point in time for measuring how long something takes: the system's are of a clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The time from an earlier moment to this one; none if that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// A time limit was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time limit is over")]
pub struct TimedOut;

impl Clock {
    /// A clock that stands at `start` (to the millisecond) until it is moved.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(ManualClock {
            unix_milliseconds: AtomicI64::new(start.as_millisecond()),
            moved: Notify::new(),
        }))
    }

    /// The current time, to the millisecond.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        let milliseconds = match self {
            Self::System => Timestamp::now().as_millisecond(),
            Self::Manual(manual) => manual.unix_milliseconds.load(Ordering::SeqCst),
        };
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }

    /// The present moment.
    #[must_use]
    pub fn moment(&self) -> Moment {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        match self {
            Self::System => Moment(BEGINNING.get_or_init(Instant::now).elapsed()),
            Self::Manual(_) => {
                Moment(Duration::from_millis(u64::try_from(self.now().as_millisecond()).unwrap_or_default()))
            }
        }
    }

    /// What `work` gives, if it is done when `limit` has passed on this clock.
    ///
    /// # Errors
    /// When it is not.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, TimedOut> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep(limit) => Err(TimedOut),
        }
    }

    /// Moves a manual clock forward and wakes what waits on it; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(manual) = self {
            let milliseconds = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            manual.unix_milliseconds.fetch_add(milliseconds, Ordering::SeqCst);
            manual.moved.notify_waiters();
        }
    }

    /// Returns when `by` has passed on this clock: a real sleep on the system's, a wait for [`Clock::advance`] on a manual one.
    pub async fn sleep(&self, by: Duration) {
        match self {
            Self::System => tokio::time::sleep(by).await,
            Self::Manual(manual) => {
                let until = manual
                    .unix_milliseconds
                    .load(Ordering::SeqCst)
                    .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
                loop {
                    let moved = manual.moved.notified();
                    if manual.unix_milliseconds.load(Ordering::SeqCst) >= until {
                        return;
                    }
                    moved.await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_stands_still_until_it_is_moved_and_clones_share_it() {
        let clock = Clock::manual(Timestamp::from_millisecond(1_000).unwrap());
        let other = clock.clone();
        assert_eq!(clock.now().as_millisecond(), 1_000);
        other.advance(Duration::from_secs(2));
        assert_eq!(clock.now().as_millisecond(), 3_000);
        assert_eq!(clock.moment().since(Moment(Duration::from_secs(1))), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn time_limit_is_over_when_the_clock_says_so() {
        let clock = Clock::manual(Timestamp::from_millisecond(1_000).unwrap());
        assert_eq!(clock.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        let never = std::future::pending::<()>();
        let limited = clock.timeout(Duration::from_secs(5), never);
        let moving = async {
            clock.advance(Duration::from_millis(4_999));
            tokio::task::yield_now().await;
            clock.advance(Duration::from_millis(1));
        };
        assert_eq!(futures::join!(limited, moving).0, Err(TimedOut));
        assert_eq!(clock.now().as_millisecond(), 6_000);
    }
}
