//! How an endpoint is doing, and what that means for how it is sent to. Pure.
//!
//! An endpoint that hangs or only fails is unhealthy: it gets one delivery at a time, a probe, and all others wait unattempted. With its first success
//! the width, which is how many requests go side by side, is two, and doubles with every round that succeeds, until it is healthy again.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Outcome};
use super::time::plus_seconds;

/// An endpoint that takes this long to answer, in seconds, is slow.
pub const SLOW_AFTER_SECONDS: u32 = 3;
/// An endpoint that has failed without a success for this long, in seconds, is unhealthy. One that is slow as well is so with its first failure.
pub const UNHEALTHY_AFTER_SECONDS: i64 = 30;
/// The most requests that go to one endpoint side by side out of its backlog.
pub const WIDTH_MAX: u32 = 32;
/// The width after the first success of an unhealthy endpoint.
const WIDTH_RECOVERING: u32 = 2;

/// How an endpoint is doing. The default is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// When the first attempt began that failed and that no success has followed.
    #[serde(
        default,
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub failing_since: Option<Timestamp>,
    /// Its last answer took [`SLOW_AFTER_SECONDS`] or longer, or did not come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
    /// How many probes have failed since it became unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probes_failed: u32,
    /// How many requests go side by side, while that is fewer than [`WIDTH_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How an endpoint is doing, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum HealthState {
    /// It takes what it gets.
    Healthy,
    /// Its last attempts failed.
    Failing,
    /// It takes what it gets, slowly.
    Slow,
    /// Its last attempts failed, and it does not answer soon.
    Hanging,
}

/// What the attempts of a short while say about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthSample {
    succeeded: bool,
    failed_at: Option<Timestamp>,
    /// A request was given up before the endpoint's own time limit was over.
    unanswered: bool,
    slow: bool,
}

impl HealthSample {
    /// A request that was given up before the endpoint's own time limit was over: it is slow, as far as can be told.
    #[must_use]
    pub fn unanswered() -> Self {
        Self { unanswered: true, slow: true, ..Self::default() }
    }

    /// Takes in one attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        if attempt.outcome.is_unsent() {
            return;
        }
        self.slow |= attempt.outcome == Outcome::Timeout || attempt.duration_ms >= SLOW_AFTER_SECONDS * 1_000;
        if attempt.outcome == Outcome::Succeeded {
            self.succeeded = true;
        } else if attempt.is_counted() {
            self.failed_at = Some(self.failed_at.map_or(attempt.at, |earlier| earlier.min(attempt.at)));
        } else {
            self.unanswered |= !attempt.is_manual();
        }
    }

    /// Whether every attempt failed, and there was one.
    #[must_use]
    pub fn only_failures(self) -> bool {
        !self.succeeded && self.failed_at.is_some()
    }

    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Health {
    /// How it is doing after this sample, at `now`. Any success ends its failing; only a quick answer ends its slowness.
    #[must_use]
    pub fn after(self, sample: HealthSample, now: Timestamp) -> Self {
        if sample.is_empty() {
            return self;
        }
        let was_unhealthy = self.is_unhealthy(now);
        if sample.succeeded {
            let failed_too = sample.failed_at.is_some() || sample.unanswered;
            let wider = if was_unhealthy { Some(WIDTH_RECOVERING) } else { self.width.map(|width| width * 2) };
            let width = if failed_too { self.width } else { wider.filter(|width| *width < WIDTH_MAX) };
            return Self { failing_since: None, slow: sample.slow, probes_failed: 0, width };
        }
        // Failed for certain, or not known to have succeeded: one at a time, until it answers.
        let narrower = self.width.map(|width| (width / 2).max(1));
        Self {
            failing_since: self.failing_since.or(sample.failed_at),
            slow: sample.slow,
            probes_failed: self.probes_failed + u32::from(was_unhealthy),
            width: if sample.unanswered { Some(1) } else { narrower },
        }
    }

    /// Whether there is something in it that is not `noted`.
    #[must_use]
    pub fn adds_to(self, noted: Self) -> bool {
        (self.slow && !noted.slow) || (self.failing_since.is_some() && noted.failing_since.is_none())
    }

    /// Whether it gets one probe at a time at `now`.
    #[must_use]
    pub fn is_unhealthy(self, now: Timestamp) -> bool {
        let is_over = |since: Timestamp| self.slow || now >= plus_seconds(since, UNHEALTHY_AFTER_SECONDS);
        self.failing_since.is_some_and(is_over)
    }

    /// Whether new events wait in its backlog at `now`, where they hold up nobody.
    #[must_use]
    pub fn defers_new_events(self, now: Timestamp) -> bool {
        self.slow || self.width.is_some() || self.is_unhealthy(now)
    }

    /// How many requests go side by side at `now`: 1 to [`WIDTH_MAX`].
    #[must_use]
    pub fn width(self, now: Timestamp) -> u32 {
        if self.is_unhealthy(now) { 1 } else { self.width.unwrap_or(WIDTH_MAX) }
    }

    /// Whether there is nothing to remember of it.
    #[must_use]
    pub fn is_healthy(self) -> bool {
        self == Self::default()
    }

    /// The state in a word.
    #[must_use]
    pub fn state(self) -> HealthState {
        match (self.failing_since.is_some(), self.slow) {
            (false, false) => HealthState::Healthy,
            (true, false) => HealthState::Failing,
            (false, true) => HealthState::Slow,
            (true, true) => HealthState::Hanging,
        }
    }

    /// Since when it has failed, if that is long enough for it to be disabled at `now`; after a change of its settings it has the whole time again.
    #[must_use]
    pub fn disable_due(self, changed_at: Timestamp, now: Timestamp, disable_after_seconds: u32) -> Option<Timestamp> {
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

    fn at(seconds: i64) -> Timestamp {
        plus_seconds(NOW, seconds)
    }

    /// A sample of attempts: outcome, seconds that it took, when it began.
    fn sample(attempts: &[(Outcome, u32, i64)]) -> HealthSample {
        let mut sample = HealthSample::default();
        for (outcome, seconds, began) in attempts {
            sample.add(&Attempt {
                at: at(*began),
                trigger: Trigger::Automatic,
                outcome: *outcome,
                status_code: None,
                error: None,
                duration_ms: seconds * 1_000,
                response_body: String::new(),
                counted: true,
            });
        }
        sample
    }

    const OK: Outcome = Outcome::Succeeded;
    const BAD: Outcome = Outcome::HttpError;

    #[test]
    fn first_failure_is_remembered_until_a_success() {
        let failing = Health::default().after(sample(&[(BAD, 0, 5), (BAD, 0, 3)]), at(5));
        assert_eq!((failing.failing_since, failing.state()), (Some(at(3)), HealthState::Failing));
        assert_eq!(failing.after(sample(&[(BAD, 0, 9)]), at(9)).failing_since, Some(at(3)));
        assert!(failing.after(sample(&[(BAD, 0, 9), (OK, 0, 9)]), at(9)).is_healthy());
    }

    #[test]
    fn endpoint_is_unhealthy_after_half_a_minute_of_failures_or_at_once_if_it_hangs() {
        let failing = Health::default().after(sample(&[(BAD, 0, 0)]), at(0));
        assert!(!failing.is_unhealthy(at(29)) && failing.is_unhealthy(at(30)));
        assert_eq!((failing.width(at(29)), failing.width(at(30))), (WIDTH_MAX, 1));
        for time_limit in [1, 15] {
            let hanging = Health::default().after(sample(&[(Outcome::Timeout, time_limit, 0)]), at(15));
            assert!(hanging.is_unhealthy(at(15)) && hanging.state() == HealthState::Hanging);
        }
    }

    #[test]
    fn probes_that_fail_are_counted_and_the_attempts_before_are_not() {
        let mut health = Health::default();
        for second in [0, 10, 20, 40, 50] {
            health = health.after(sample(&[(BAD, 0, second)]), at(second));
        }
        assert_eq!(health.probes_failed, 2);
    }

    #[test]
    fn width_doubles_with_every_round_that_succeeds_until_it_is_healthy() {
        let mut health = Health { failing_since: Some(at(0)), probes_failed: 7, ..Health::default() };
        let mut widths = Vec::new();
        for second in 100..106 {
            widths.push(health.width(at(second)));
            health = health.after(sample(&[(OK, 0, second)]), at(second));
        }
        assert_eq!(widths, [1, 2, 4, 8, 16, 32]);
        assert!(health.is_healthy());
    }

    #[test]
    fn round_with_failures_does_not_grow_and_one_of_failures_alone_shrinks() {
        let recovering = Health { width: Some(8), ..Health::default() };
        assert_eq!(recovering.after(sample(&[(OK, 0, 0), (BAD, 0, 0)]), at(0)).width, Some(8));
        assert_eq!(recovering.after(sample(&[(BAD, 0, 0)]), at(0)).width, Some(4));
        assert_eq!(Health { width: Some(1), ..recovering }.after(sample(&[(BAD, 0, 0)]), at(0)).width, Some(1));
    }

    #[test]
    fn slow_answers_make_it_slow_and_a_quick_one_ends_that() {
        let slow = Health::default().after(sample(&[(OK, 3, 0)]), at(3));
        assert_eq!(
            (slow.state(), slow.defers_new_events(at(3)), slow.width(at(3))),
            (HealthState::Slow, true, WIDTH_MAX)
        );
        assert!(slow.after(sample(&[(OK, 2, 9)]), at(11)).is_healthy());
    }

    #[test]
    fn request_that_was_given_up_early_is_no_failure_and_leads_to_one_at_a_time() {
        let unanswered = Health::default().after(HealthSample::unanswered(), at(5));
        assert_eq!((unanswered.failing_since, unanswered.width(at(5))), (None, 1));
        assert!(unanswered.defers_new_events(at(5)) && !unanswered.is_unhealthy(at(500)));
        assert_eq!(unanswered.after(sample(&[(OK, 9, 6)]), at(15)).width, Some(2));
    }

    #[test]
    fn disabling_is_due_after_the_whole_time_and_a_change_begins_it_anew() {
        let failing = Health { failing_since: Some(at(0)), ..Health::default() };
        assert_eq!(failing.disable_due(at(-5), at(99), 100), None);
        assert_eq!(failing.disable_due(at(-5), at(100), 100), Some(at(0)));
        assert_eq!(failing.disable_due(at(50), at(100), 100), None);
    }
}
