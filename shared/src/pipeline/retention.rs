//! How long events and deliveries are kept: as long as the operator says, and longer where something still waits. Pure.

use jiff::Timestamp;

use crate::config::Config;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::Endpoint;
use crate::domain::id::EventId;
use crate::domain::retry::schedule_seconds_total;
use crate::domain::time::plus_seconds;
use crate::store::items::Kept;

/// What a delivery may take beyond its schedule and its endpoint's time to be disabled, in seconds: queues, outages, a sweeper that is late.
const SPARE_SECONDS: u64 = 86_400;
/// How long a delivery that ends after its time is on record, in seconds.
const ENDED_LATE_SECONDS: i64 = 86_400;
/// How close to the end of its time that is, in seconds.
const LATE_SECONDS: i64 = 3_600;

/// The longest that something can wait for this endpoint, in seconds: until it is disabled, and its whole schedule.
#[must_use]
pub fn wait_seconds_max(config: &Config, endpoint: &Endpoint) -> i64 {
    let policy = &endpoint.settings.retry;
    let schedule = policy.schedule_seconds.as_deref().unwrap_or(&config.retry_schedule_seconds);
    let total = schedule_seconds_total(schedule, policy.max_attempts);
    i64::try_from(u64::from(config.disable_after_seconds) + total + SPARE_SECONDS).unwrap_or(i64::MAX)
}

/// How long an event is kept that is delivered to these endpoints.
pub fn event_kept<'a>(config: &Config, id: EventId, endpoints: impl Iterator<Item = &'a Endpoint>) -> Kept {
    let shown_until = shown_until(config, id);
    let wait = endpoints.map(|endpoint| wait_seconds_max(config, endpoint)).max().unwrap_or(0);
    Kept { shown_until, until: shown_until.max(plus_seconds(id.created_at(), wait)) }
}

/// Until when a delivery is kept that waits for this endpoint from `now` on.
#[must_use]
pub fn waiting_until(config: &Config, id: EventId, endpoint: &Endpoint, now: Timestamp) -> Timestamp {
    let since = now.max(id.created_at());
    shown_until(config, id).max(plus_seconds(since, wait_seconds_max(config, endpoint)))
}

/// Until when a delivery is kept that has ended at `now`.
#[must_use]
pub fn ended_until(config: &Config, id: EventId, now: Timestamp) -> Timestamp {
    let shown_until = shown_until(config, id);
    if shown_until > plus_seconds(now, LATE_SECONDS) { shown_until } else { plus_seconds(now, ENDED_LATE_SECONDS) }
}

/// Until when a delivery of this endpoint is kept that stands as `after` at `now`.
#[must_use]
pub fn delivery_kept_until(config: &Config, endpoint: &Endpoint, after: &Delivery, now: Timestamp) -> Timestamp {
    match after.status {
        DeliveryStatus::Pending => waiting_until(config, after.event_id, endpoint, now),
        _ => ended_until(config, after.event_id, now),
    }
}

/// Until when callers see what came of an event.
#[must_use]
pub fn shown_until(config: &Config, id: EventId) -> Timestamp {
    plus_seconds(id.created_at(), i64::from(config.retention_days) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::retry::RetryPolicy;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
    const DAY: i64 = 86_400;

    fn config(retention_days: u32) -> Config {
        Config::read(|name| {
            Some(match name {
                "RETENTION_DAYS" => retention_days.to_string(),
                "DISABLE_AFTER_SECONDS" => (5 * DAY).to_string(),
                "RETRY_SCHEDULE_SECONDS" => "3600".to_owned(),
                "ALLOW_HTTP" | "METRICS_ENABLED" => "false".to_owned(),
                "SIGNING_SECRETS" => "Dedicated".to_owned(),
                "ALLOWED_RANGES" | "CORS_ORIGINS" => String::new(),
                _ => "x".to_owned(),
            })
        })
        .unwrap()
    }

    fn endpoint(schedule_seconds: Option<Vec<u32>>, max_attempts: u32) -> Endpoint {
        let mut endpoint = Endpoint::sample(0);
        endpoint.settings.retry = RetryPolicy { max_attempts, schedule_seconds };
        endpoint
    }

    fn days(from: Timestamp, to: Timestamp) -> i64 {
        (to.as_second() - from.as_second()) / DAY
    }

    #[test]
    fn what_may_wait_is_the_time_until_its_endpoint_is_disabled_and_its_whole_schedule() {
        // A wait can be a fifth longer, by jitter.
        for (name, schedule, max_attempts, expected) in [
            ("no retries", None, 1, 0),
            ("the operator's schedule", None, 3, 2 * 4_320),
            ("its own", Some(vec![60, 600]), 3, 72 + 720),
            ("its own, the last wait repeated", Some(vec![60, 600]), 4, 72 + 2 * 720),
        ] {
            let wait = wait_seconds_max(&config(30), &endpoint(schedule, max_attempts));
            assert_eq!(wait, 5 * DAY + DAY + expected, "{name}");
        }
    }

    #[test]
    fn event_is_kept_for_its_days_and_for_what_may_wait_for_it() {
        let id = EventId::from_parts(NOW, [0; 10]);
        let endpoint = Endpoint::sample(0);
        for (name, retention, endpoints, shown, kept) in [
            ("long", 30, vec![&endpoint], 30, 30),
            ("shorter than something may wait", 1, vec![&endpoint], 1, 6),
            ("for nobody", 1, vec![], 1, 1),
        ] {
            let found = event_kept(&config(retention), id, endpoints.into_iter());
            assert_eq!((days(NOW, found.shown_until), days(NOW, found.until)), (shown, kept), "{name}");
        }
    }

    #[test]
    fn delivery_that_waits_is_kept_from_now_on_and_one_that_ends_late_for_a_day() {
        use DeliveryStatus::{Cancelled, Failed, Pending, Skipped, Succeeded};
        let endpoint = endpoint(None, 1);
        let event = NewEvent::from_body(br#"{"type":"a","data":{}}"#).unwrap();
        let event = event.accepted(EventId::from_parts(NOW, [0; 10]), endpoint.scope, NOW);
        let (end, late) = (30 * DAY, 30 * DAY - 3_600);
        for (name, status, after_seconds, expected) in [
            ("waits from the start", Pending, 0, end),
            ("waits from late on", Pending, 29 * DAY, 35 * DAY),
            ("ends at once", Succeeded, 0, end),
            ("ends an hour and a second before its time", Failed, late - 1, end),
            ("ends an hour before its time", Failed, late, late + DAY),
            ("ends after its time", Cancelled, end, end + DAY),
            ("is skipped", Skipped, 0, end),
        ] {
            let delivery = Delivery { status, ..Delivery::new(&event, endpoint.id, NOW) };
            let until = delivery_kept_until(&config(30), &endpoint, &delivery, plus_seconds(NOW, after_seconds));
            assert_eq!(until.as_second() - NOW.as_second(), expected, "{name}");
        }
    }
}
