//! When an endpoint's backlog is checked next, and by whom. Pure.
//!
//! A backlog is what waits for one endpoint. It is checked because of a wake, a queue message with a delay; waits that are longer than a queue can delay,
//! and wakes that got lost, are the sweeper's.

use jiff::Timestamp;

use super::health::Health;
use super::retry::seconds_until;
use super::time::plus_seconds;

/// The longest delay of a queue message, in seconds (SQS, `DelaySeconds`).
pub const QUEUE_DELAY_SECONDS_MAX: u32 = 900;
/// How often the sweeper runs, in seconds.
pub const SWEEP_PERIOD_SECONDS: i64 = 60;
/// How long before a due time the sweeper takes up a long wait, in seconds: two of its periods, so that a run that is late makes nothing late.
const SWEEP_AHEAD_SECONDS: i64 = 2 * SWEEP_PERIOD_SECONDS;
/// How long after its time a wake is taken for lost, in seconds; doubles with every one that was. A drain lasts a minute at the longest.
const LOST_AFTER_SECONDS: i64 = 120;
/// The longest that [`LOST_AFTER_SECONDS`] grows to: a long queue is not made longer by new wakes for those that wait in it.
const LOST_AFTER_SECONDS_MAX: i64 = 3_600;
/// How long a flow that has nothing more to do is kept, in seconds: as long as a batch can last that read it before (60 s), twice over. What such a
/// batch adds to the backlog is found by the last look.
pub const FLOW_LINGER_SECONDS: i64 = 120;

/// How long the index may follow the table, in seconds: what was added so shortly before a drain has read it may not have been there yet. Usually it is less
/// than one (DynamoDB, global secondary indexes are eventually consistent).
pub const INDEX_LAG_SECONDS: i64 = 5;

/// The wait before the second probe, in seconds; doubles with each that fails.
const PROBE_WAIT_SECONDS: u32 = 15;
/// The longest that [`PROBE_WAIT_SECONDS`] grows to.
const PROBE_WAIT_SECONDS_MAX: u32 = 300;
/// How many probes of an endpoint that hangs follow the schedules of their own deliveries. Each costs its time limit, so later ones are spaced out.
const HANGING_PROBES_ON_SCHEDULE: u32 = 2;

/// What is known of a backlog when a drain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// When the delivery is due that is due first, if there is one.
    pub first_due: Option<Timestamp>,
    /// When the delivery is due again that has just been attempted in vain.
    pub probed_due: Option<Timestamp>,
}

/// When the backlog is checked next; `None` if nothing waits. `jitter` lies in 0 to 1.
///
/// A healthy endpoint is checked when something is due. An unhealthy one gets its next probe after a wait that grows; a delivery that has been attempted
/// keeps its own schedule, because that spaces its attempts already.
#[must_use]
pub fn next_look(health: Health, now: Timestamp, waiting: Waiting, jitter: f64) -> Option<Timestamp> {
    let first_due = waiting.first_due?.max(now);
    if !health.is_unhealthy(now) {
        return Some(first_due);
    }
    let spaced = first_due.max(plus_seconds(now, i64::from(probe_wait_seconds(health.probes_failed, jitter))));
    let keeps_schedule = !health.slow || health.probes_failed < HANGING_PROBES_ON_SCHEDULE;
    let own = waiting.probed_due.filter(|_| keeps_schedule).map(|due| due.max(plus_seconds(now, 1)));
    Some(own.map_or(spaced, |own| own.min(spaced)))
}

/// When a check has to be requested, for a delivery that joins the backlog at `now`, unattempted and due at `due`; `None` if there is one soon enough.
/// `next_at` is the next check, if there is one, and `is_leased` whether a drain has the backlog now. `jitter` lies in 0 to 1.
///
/// While the endpoint is unhealthy nothing has to be asked for as long as the next probe is near: so waiting costs no more than the delivery's own write.
#[must_use]
pub fn look_for_deferred(
    health: Health,
    next_at: Option<Timestamp>,
    is_leased: bool,
    due: Timestamp,
    now: Timestamp,
    jitter: f64,
) -> Option<Timestamp> {
    if !health.is_unhealthy(now) {
        return Some(due);
    }
    let from = plus_seconds(now, INDEX_LAG_SECONDS);
    let until = plus_seconds(now, i64::from(probe_wait_seconds(u32::MAX, 1.0)));
    if next_at.is_some_and(|at| at > from && at <= until) {
        return None;
    }
    // Behind a probe that is under way there is to be a wait like behind any other.
    let wait = if is_leased { probe_wait_seconds(health.probes_failed, jitter) } else { 0 };
    Some(due.max(plus_seconds(now, i64::from(wait))))
}

/// When a drain looks again at the latest whose reading of the index may have missed what was added shortly before.
#[must_use]
pub fn look_once_more_at(now: Timestamp) -> Timestamp {
    plus_seconds(now, FLOW_LINGER_SECONDS)
}

fn probe_wait_seconds(probes_failed: u32, jitter: f64) -> u32 {
    let wait = PROBE_WAIT_SECONDS.saturating_mul(2_u32.saturating_pow(probes_failed)).min(PROBE_WAIT_SECONDS_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 60")]
    let longer = (f64::from(wait) * 0.2 * jitter.clamp(0.0, 1.0)) as u32;
    wait + longer
}

/// The time of a check that a queue can bring about, which delays by whole seconds: `at`, or up to a second later. So what is due within one second needs one
/// look.
#[must_use]
pub fn look_at(at: Timestamp, now: Timestamp) -> Timestamp {
    plus_seconds(now, i64::from(seconds_until(at, now)))
}

/// The delay of the wake for a check at `next_at`, in whole seconds, rounded up; `None` where that is the sweeper's.
#[must_use]
pub fn wake_delay(next_at: Timestamp, now: Timestamp) -> Option<u32> {
    Some(seconds_until(next_at, now)).filter(|delay| *delay <= QUEUE_DELAY_SECONDS_MAX)
}

/// When the sweeper should check a flow whose backlog is to be checked at `next_at`: shortly before a long wait ends, or when the wake must have got lost,
/// after `wakes_lost` that did. In whole minutes, so that small changes do not move its place in the index.
#[must_use]
pub fn sweep_at(next_at: Timestamp, now: Timestamp, wakes_lost: u32) -> Timestamp {
    if wake_delay(next_at, now).is_none() {
        return whole_minute(plus_seconds(next_at, -SWEEP_AHEAD_SECONDS));
    }
    let doubled = LOST_AFTER_SECONDS.saturating_mul(2_i64.saturating_pow(wakes_lost)).min(LOST_AFTER_SECONDS_MAX);
    next_minute(plus_seconds(next_at.max(now), doubled))
}

/// When the sweeper takes the last look at a flow that has nothing more to do since `now`.
#[must_use]
pub fn last_look_at(now: Timestamp) -> Timestamp {
    next_minute(plus_seconds(now, FLOW_LINGER_SECONDS))
}

fn whole_minute(at: Timestamp) -> Timestamp {
    let second = at.as_second().div_euclid(60) * 60;
    Timestamp::from_second(second).unwrap_or(at)
}

fn next_minute(at: Timestamp) -> Timestamp {
    whole_minute(plus_seconds(at, 59))
}

/// What the sweeper finds of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// When its backlog is to be checked next.
    pub next_at: Option<Timestamp>,
    /// Until when a drain has it.
    pub lease_until: Option<Timestamp>,
    /// How many wakes have got lost in a row.
    pub wakes_lost: u32,
}

/// What the sweeper does about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAction {
    /// Nothing: a drain has it, or a wake is on its way.
    Leave,
    /// Sends a wake, with this delay in seconds; so many have got lost now.
    Wake {
        /// 0 to [`QUEUE_DELAY_SECONDS_MAX`].
        delay_seconds: u32,
        /// For the next check of the sweeper.
        wakes_lost: u32,
    },
    /// Takes the last look: nothing waits, as far as the flow knows.
    LastLook,
}

/// What the sweeper does at `now` about a flow whose time to be swept has come.
#[must_use]
pub fn sweep_action(looked: Looked, now: Timestamp) -> SweepAction {
    if looked.lease_until.is_some_and(|until| until > now) {
        return SweepAction::Leave;
    }
    let Some(next_at) = looked.next_at else { return SweepAction::LastLook };
    // A drain that did not end its lease has died with it; its wake was not lost, but is over.
    let is_lost = next_at < now;
    match wake_delay(next_at, now) {
        Some(delay_seconds) => {
            let wakes_lost = if is_lost { looked.wakes_lost.saturating_add(1) } else { looked.wakes_lost };
            SweepAction::Wake { delay_seconds, wakes_lost }
        }
        None => SweepAction::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_040, 0);

    fn at(seconds: i64) -> Timestamp {
        plus_seconds(NOW, seconds)
    }

    fn look(health: Health, first_due: i64, probed_due: Option<i64>) -> i64 {
        let waiting = Waiting { first_due: Some(at(first_due)), probed_due: probed_due.map(at) };
        next_look(health, NOW, waiting, 0.0).unwrap().as_second() - NOW.as_second()
    }

    fn failing(probes_failed: u32, slow: bool) -> Health {
        Health { failing_since: Some(at(-3_600)), probes_failed, slow, width: None }
    }

    #[test]
    fn healthy_backlog_is_looked_at_when_something_is_due_and_never_before_now() {
        assert_eq!(look(Health::default(), 30, None), 30);
        assert_eq!(look(Health::default(), -30, None), 0);
        assert_eq!(next_look(Health::default(), NOW, Waiting::default(), 0.0), None);
    }

    #[test]
    fn delivery_that_joins_a_backlog_is_looked_at_soon_whatever_else_waits_there() {
        let ask = |health, next_at: Option<i64>, is_leased| {
            let asked = look_for_deferred(health, next_at.map(at), is_leased, NOW, NOW, 0.0);
            asked.map(|asked| asked.as_second() - NOW.as_second())
        };
        let slow = Health { slow: true, ..Health::default() };
        for health in [Health::default(), slow, Health { width: Some(8), ..Health::default() }] {
            assert_eq!(ask(health, Some(36_000), false), Some(0), "{health:?}");
        }
        // The next probe is near; or it is far away, about to begin, or there is none.
        for (next_at, asked) in
            [(Some(6), None), (Some(360), None), (Some(361), Some(0)), (Some(5), Some(0)), (None, Some(0))]
        {
            assert_eq!(ask(failing(9, false), next_at, false), asked, "{next_at:?}");
        }
        // It is under way.
        assert_eq!(ask(failing(9, false), None, true), Some(300));
        assert_eq!(ask(failing(1, true), Some(36_000), true), Some(30));
        assert_eq!(ask(failing(1, true), Some(20), true), None);
    }

    #[test]
    fn probes_are_further_and_further_apart_up_to_a_bound() {
        let waits: Vec<_> = (0..7).map(|probes| look(failing(probes, false), -10, None)).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300]);
        let waiting = Waiting { first_due: Some(at(-10)), probed_due: None };
        assert_eq!(next_look(failing(9, false), NOW, waiting, 1.0), Some(at(360)));
        // Nothing is probed before it is due.
        assert_eq!(look(failing(0, false), 500, None), 500);
    }

    #[test]
    fn delivery_that_was_probed_keeps_its_own_schedule_while_the_endpoint_answers() {
        assert_eq!(look(failing(5, false), -10, Some(5)), 5);
        assert_eq!(look(failing(5, false), -10, Some(0)), 1);
        assert_eq!(look(failing(5, false), -10, Some(1_800)), 300);
        assert_eq!(look(failing(1, true), 5, Some(5)), 5);
        assert_eq!(look(failing(2, true), 5, Some(5)), 60);
    }

    #[test]
    fn short_waits_are_the_queues_and_long_ones_the_sweepers() {
        assert_eq!(
            (wake_delay(at(-5), NOW), wake_delay(at(900), NOW), wake_delay(at(901), NOW)),
            (Some(0), Some(900), None)
        );
        // NOW is a whole minute.
        assert_eq!(sweep_at(at(900), NOW, 0), at(900 + 120));
        assert_eq!(sweep_at(at(901), NOW, 0), at(780));
        assert_eq!(sweep_at(at(959), NOW, 0), at(780));
    }

    #[test]
    fn looks_are_whole_seconds_away_and_never_before_what_they_are_for() {
        let after = |milliseconds| NOW.checked_add(jiff::SignedDuration::from_millis(milliseconds)).unwrap();
        for (due, look) in [(-5, NOW), (0, NOW), (1, at(1)), (4_001, at(5)), (5_000, at(5))] {
            assert_eq!(look_at(after(due), NOW), look);
        }
    }

    #[test]
    fn lost_wakes_are_replaced_less_and_less_often() {
        let waits: Vec<_> = (0..7).map(|lost| sweep_at(NOW, NOW, lost).as_second() - NOW.as_second()).collect();
        assert_eq!(waits, [120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(sweep_at(at(1), NOW, 0), at(180));
    }

    #[test]
    fn sweeper_leaves_what_is_drained_wakes_what_is_due_and_looks_a_last_time_at_the_rest() {
        let looked = |next_at: Option<i64>, lease_until: Option<i64>, wakes_lost| Looked {
            next_at: next_at.map(at),
            lease_until: lease_until.map(at),
            wakes_lost,
        };
        let wake = |delay_seconds, wakes_lost| SweepAction::Wake { delay_seconds, wakes_lost };
        for (found, expected) in [
            (looked(Some(-300), Some(1), 0), SweepAction::Leave),
            (looked(Some(-300), Some(0), 0), wake(0, 1)),
            (looked(Some(-300), None, 2), wake(0, 3)),
            (looked(Some(100), None, 2), wake(100, 2)),
            (looked(Some(2_000), None, 0), SweepAction::Leave),
            (looked(None, None, 0), SweepAction::LastLook),
            (looked(None, Some(30), 0), SweepAction::Leave),
        ] {
            assert_eq!(sweep_action(found, NOW), expected, "{found:?}");
        }
    }
}
