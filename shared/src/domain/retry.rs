//! When to try again. Pure: the current time and the jitter are arguments.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The waits before the second and every later attempt, in seconds: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h.
/// With the first attempt at once these are the eight that Standard Webhooks recommends, spread over a bit more than a day.
pub const SCHEDULE_SECONDS_DEFAULT: &[u32] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// The attempts of a delivery, the first included, unless the endpoint says otherwise.
pub const ATTEMPTS_DEFAULT: u32 = 8;
/// The most attempts that an endpoint can ask for.
pub const ATTEMPTS_MAX: u32 = 20;
/// The longest wait that an endpoint can ask for, and the longest `Retry-After` that is honoured, in seconds.
pub const WAIT_SECONDS_MAX: u32 = 86_400;
/// A receiver that says it is overloaded (429, 502, 503, 504) is left alone at least this long, in seconds.
pub const OVERLOADED_WAIT_SECONDS_MIN: u32 = 60;
/// Jitter lengthens a wait by up to this share of it, so that what failed together does not come back together.
const JITTER_SHARE_MAX: f64 = 0.2;

/// How often and how far apart an endpoint is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    #[schemars(range(min = 1, max = ATTEMPTS_MAX))]
    pub max_attempts: u32,
    /// The endpoint's own waits before the second and every later attempt, in seconds; the last one repeats. Without them it has the stack's.
    #[schemars(inner(range(max = WAIT_SECONDS_MAX)))]
    pub schedule_seconds: Option<Vec<u32>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: ATTEMPTS_DEFAULT, schedule_seconds: None }
    }
}

/// What a failed attempt says about the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryHint {
    /// What `Retry-After` asked for, in seconds from the answer; lengthens a wait, never shortens it.
    pub retry_after_seconds: Option<u32>,
    /// The answer was 429, 502, 503 or 504.
    pub overloaded: bool,
}

/// Whether these can be waits: 1 to 19, one fewer than there can be attempts, of at most [`WAIT_SECONDS_MAX`] each.
#[must_use]
pub fn is_schedule(waits: &[u32]) -> bool {
    (1..ATTEMPTS_MAX as usize).contains(&waits.len()) && waits.iter().all(|wait| *wait <= WAIT_SECONDS_MAX)
}

/// When the next attempt is due after the `attempts_made`th failed at `now`, or `None` when the attempts are used up.
///
/// `schedule_seconds` are the waits of endpoints that have none of their own. `jitter` lies in 0 (no jitter) to 1 (all of it). The result is in whole milliseconds.
#[must_use]
pub fn next_attempt_at(
    policy: &RetryPolicy,
    schedule_seconds: &[u32],
    attempts_made: u32,
    hint: RetryHint,
    now: Timestamp,
    jitter: f64,
) -> Option<Timestamp> {
    if attempts_made >= policy.max_attempts {
        return None;
    }
    let schedule = policy.schedule_seconds.as_deref().unwrap_or(schedule_seconds);
    let wait = schedule.get(attempts_made.saturating_sub(1) as usize).or(schedule.last()).copied().unwrap_or_default();
    let scheduled = f64::from(wait) * (1.0 + JITTER_SHARE_MAX * jitter.clamp(0.0, 1.0));
    let asked = hint.retry_after_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX);
    let least = if hint.overloaded { asked.max(OVERLOADED_WAIT_SECONDS_MIN) } else { asked };
    #[expect(clippy::cast_possible_truncation, reason = "at most 1.2 days in milliseconds")]
    let wait_milliseconds = (scheduled.max(f64::from(least)) * 1_000.0) as i64;
    now.checked_add(jiff::SignedDuration::from_millis(wait_milliseconds)).ok()
}

/// Reads `Retry-After` (RFC 9110 10.2.3), in seconds or as a date; rubbish and dates gone by are `None`. At most [`WAIT_SECONDS_MAX`].
#[must_use]
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<u32> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean "very long", which is the bound.
        return Some(value.parse::<u32>().unwrap_or(WAIT_SECONDS_MAX).min(WAIT_SECONDS_MAX));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date = Timestamp::try_from(date).ok()?;
    let wait = date.as_second().checked_sub(now.as_second())?;
    u32::try_from(wait).ok().map(|wait| wait.min(WAIT_SECONDS_MAX))
}

/// The whole seconds from `now` until `due`, rounded up; 0 when it has passed.
#[must_use]
pub fn seconds_until(due: Timestamp, now: Timestamp) -> u32 {
    let milliseconds = due.as_millisecond().saturating_sub(now.as_millisecond()).max(0).unsigned_abs();
    u32::try_from(milliseconds.div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// The longest that a delivery can take with these waits, in seconds: all attempts an endpoint can ask for, each as late as it can be.
#[must_use]
pub fn schedule_seconds_total(schedule_seconds: &[u32], max_attempts: u32) -> u64 {
    let waits = (0..max_attempts.saturating_sub(1) as usize)
        .map(|n| schedule_seconds.get(n).or(schedule_seconds.last()).copied().unwrap_or_default());
    // A fifth longer, by jitter.
    waits.map(|wait| u64::from(wait) * 6 / 5).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn wait(policy: &RetryPolicy, attempts_made: u32, hint: RetryHint, jitter: f64) -> Option<i64> {
        next_attempt_at(policy, SCHEDULE_SECONDS_DEFAULT, attempts_made, hint, NOW, jitter)
            .map(|at| at.as_second() - NOW.as_second())
    }

    #[test]
    fn default_schedule_is_eight_attempts_over_a_bit_more_than_a_day() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = (1..=8).map(|made| wait(&policy, made, RetryHint::default(), 0.0)).collect();
        let expected =
            [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].map(Some).into_iter().chain([None]).collect::<Vec<_>>();
        assert_eq!(waits, expected);
    }

    #[test]
    fn jitter_lengthens_a_wait_by_up_to_a_fifth() {
        let policy = RetryPolicy::default();
        assert_eq!(wait(&policy, 2, RetryHint::default(), 1.0), Some(360));
        assert_eq!(wait(&policy, 2, RetryHint::default(), 0.5), Some(330));
    }

    #[test]
    fn own_schedule_is_kept_and_its_last_wait_repeats() {
        let policy = RetryPolicy { max_attempts: 6, schedule_seconds: Some(vec![5, 10, 20]) };
        let waits: Vec<_> = (1..=6).map(|made| wait(&policy, made, RetryHint::default(), 0.0)).collect();
        assert_eq!(waits, [Some(5), Some(10), Some(20), Some(20), Some(20), None]);
    }

    #[test]
    fn retry_after_lengthens_and_never_shortens() {
        let policy = RetryPolicy::default();
        let asks = |seconds| RetryHint { retry_after_seconds: Some(seconds), overloaded: false };
        assert_eq!(wait(&policy, 1, asks(3_600), 0.0), Some(3_600));
        assert_eq!(wait(&policy, 2, asks(1), 0.0), Some(300));
        assert_eq!(wait(&policy, 1, asks(u32::MAX), 0.0), Some(86_400));
    }

    #[test]
    fn overloaded_receiver_is_left_alone_for_a_minute() {
        let overloaded = RetryHint { retry_after_seconds: None, overloaded: true };
        assert_eq!(wait(&RetryPolicy::default(), 1, overloaded, 0.0), Some(60));
        assert_eq!(wait(&RetryPolicy::default(), 2, overloaded, 0.0), Some(300));
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_rubbish_is_ignored() {
        assert_eq!(parse_retry_after(" 120 ", NOW), Some(120));
        assert_eq!(parse_retry_after("99999999999999999999", NOW), Some(86_400));
        assert_eq!(parse_retry_after("Tue, 14 Nov 2023 22:14:20 GMT", NOW), Some(60));
        assert_eq!(parse_retry_after("Tue, 14 Nov 2023 22:12:20 GMT", NOW), None);
        for rubbish in ["", "soon", "-5", "1.5", "2023-11-14T22:14:20Z"] {
            assert_eq!(parse_retry_after(rubbish, NOW), None, "{rubbish}");
        }
    }

    #[test]
    fn seconds_until_rounds_up_so_that_nothing_is_early() {
        let due = NOW.checked_add(jiff::SignedDuration::from_millis(1_001)).unwrap();
        assert_eq!(seconds_until(due, NOW), 2);
        assert_eq!(seconds_until(NOW, due), 0);
    }

    #[test]
    fn whole_schedule_is_the_sum_of_its_waits_with_jitter() {
        assert_eq!(schedule_seconds_total(&[10, 20], 4), 12 + 24 + 24);
        assert_eq!(schedule_seconds_total(&[10], 1), 0);
    }
}
