//! How an endpoint is doing, as far as that decides its events' way: since when it fails, and whether it answers slowly. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Outcome};
use super::time::plus_seconds;

/// An endpoint that takes this long to answer, in seconds, gets its new events through the retries lane, where it holds up nobody.
pub const SLOW_AFTER_SECONDS: u32 = 3;
/// An endpoint that has failed without a success for this long, in seconds, gets its new events through the retries lane.
pub const LEAVES_EVENTS_LANE_AFTER_SECONDS: i64 = 30;

/// How an endpoint is doing. The default is well, which is not on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// When the first attempt failed that no success has followed.
    #[serde(
        default,
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub failing_since: Option<Timestamp>,
    /// Its last answer took [`SLOW_AFTER_SECONDS`] or longer, or did not come in time.
    #[serde(default)]
    pub slow: bool,
}

/// What the attempts of a short while say about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    succeeded: bool,
    failed_at: Option<Timestamp>,
    slow: bool,
}

impl Signs {
    /// Takes in one attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        self.slow |= attempt.duration_ms >= SLOW_AFTER_SECONDS * 1_000;
        if attempt.outcome == Outcome::Succeeded {
            self.succeeded = true;
        } else {
            self.failed_at = Some(self.failed_at.map_or(attempt.at, |earlier| earlier.min(attempt.at)));
        }
    }

    /// Whether every attempt failed, and there was one.
    #[must_use]
    pub fn only_failures(self) -> bool {
        !self.succeeded && self.failed_at.is_some()
    }
}

impl Health {
    /// How it is doing after these signs. Any success ends its failing; only a quick one ends its slowness.
    #[must_use]
    pub fn after(self, signs: Signs) -> Self {
        Self {
            failing_since: if signs.succeeded { None } else { self.failing_since.or(signs.failed_at) },
            slow: signs.slow || (self.slow && !signs.succeeded),
        }
    }

    /// Whether nothing is to be kept of it.
    #[must_use]
    pub fn is_well(self) -> bool {
        self == Self::default()
    }

    /// Whether new events go through the retries lane at `now`.
    #[must_use]
    pub fn leaves_events_lane(self, now: Timestamp) -> bool {
        let fails = |since| now >= plus_seconds(since, LEAVES_EVENTS_LANE_AFTER_SECONDS);
        self.slow || self.failing_since.is_some_and(fails)
    }

    /// Whether one batch at a time sends to it: it hangs, as far as can be told. One that is slow and takes what it gets is sent to side by side.
    #[must_use]
    pub fn takes_turns(self) -> bool {
        self.slow && self.failing_since.is_some()
    }

    /// Since when it has failed, if that is long enough for it to be disabled at `now`; after a change of its settings it has the whole time again.
    #[must_use]
    pub fn given_up(self, changed_at: Timestamp, now: Timestamp, disable_after_seconds: u32) -> Option<Timestamp> {
        let is_over =
            |since: &Timestamp| now >= plus_seconds((*since).max(changed_at), i64::from(disable_after_seconds));
        self.failing_since.filter(is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Trigger;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn signs(attempts: &[(Outcome, u32)]) -> Signs {
        let mut signs = Signs::default();
        for (n, (outcome, seconds)) in attempts.iter().enumerate() {
            signs.add(&Attempt {
                at: plus_seconds(NOW, i64::try_from(n).unwrap()),
                trigger: Trigger::Automatic,
                outcome: *outcome,
                status_code: None,
                error: None,
                duration_ms: seconds * 1_000,
                response_body: String::new(),
            });
        }
        signs
    }

    #[test]
    fn first_failure_counts_and_a_success_ends_it() {
        let failing = Health::default().after(signs(&[(Outcome::HttpError, 0), (Outcome::HttpError, 0)]));
        assert_eq!(failing, Health { failing_since: Some(NOW), slow: false });
        let later = Health { failing_since: Some(plus_seconds(NOW, -5)), slow: false };
        assert_eq!(later.after(signs(&[(Outcome::HttpError, 0)])), later);
        assert!(later.after(signs(&[(Outcome::HttpError, 0), (Outcome::Succeeded, 0)])).is_well());
    }

    #[test]
    fn slow_answers_and_none_at_all_make_it_slow_and_only_a_quick_success_ends_that() {
        let slow = Health { failing_since: None, slow: true };
        assert_eq!(Health::default().after(signs(&[(Outcome::Succeeded, 3)])), slow);
        assert!(Health::default().after(signs(&[(Outcome::Timeout, 15)])).slow);
        assert!(slow.after(signs(&[(Outcome::HttpError, 0)])).slow);
        assert!(slow.after(signs(&[(Outcome::Succeeded, 0), (Outcome::Succeeded, 3)])).slow);
        assert!(slow.after(signs(&[(Outcome::Succeeded, 2)])).is_well());
    }

    #[test]
    fn slow_endpoint_leaves_the_events_lane_at_once_and_a_failing_one_after_half_a_minute() {
        let failing = Health { failing_since: Some(NOW), slow: false };
        assert!(!failing.leaves_events_lane(plus_seconds(NOW, 29)));
        assert!(failing.leaves_events_lane(plus_seconds(NOW, 30)));
        let slow = Health { failing_since: None, slow: true };
        assert!(slow.leaves_events_lane(NOW) && !slow.takes_turns());
        assert!(!failing.takes_turns() && Health { slow: true, ..failing }.takes_turns());
        assert!(!Health::default().leaves_events_lane(NOW));
    }

    #[test]
    fn endpoint_is_given_up_after_five_days_of_failures() {
        let failing = Health { failing_since: Some(NOW), slow: false };
        let later = |seconds| plus_seconds(NOW, seconds);
        assert_eq!(failing.given_up(NOW, later(5 * 86_400 - 1), 5 * 86_400), None);
        assert_eq!(failing.given_up(NOW, later(5 * 86_400), 5 * 86_400), Some(NOW));
        assert_eq!(failing.given_up(later(1), later(5 * 86_400), 5 * 86_400), None);
        assert_eq!(failing.given_up(later(1), later(5 * 86_400 + 1), 5 * 86_400), Some(NOW));
    }
}
