//! How an endpoint is doing: the latest delivery of each event type, and statistics of the recent past.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::delivery::{Delivery, DeliveryStatus};
use shared::domain::event_type::{EventType, EventTypePattern};
use shared::domain::id::EventId;
use shared::domain::schema::none_required;
use shared::domain::time::{Time, plus_seconds};
use shared::store::query::Window;

use crate::Api;
use crate::auth::Caller;
use crate::endpoints::find;
use crate::error::ApiError;
use crate::query::Params;
use crate::respond;

/// How many of the latest deliveries are looked through for event types.
const LATEST_EXAMINED_MAX: usize = 1_000;
/// How many catalogue types are held against the endpoint's patterns.
const CATALOGUE_EXAMINED_MAX: usize = 1_000;
/// How many deliveries the statistics are made of at the most; of more, only the newest count.
const STATS_EXAMINED_MAX: usize = 10_000;
/// How far back the statistics go unless the caller says otherwise, in hours.
pub(crate) const WINDOW_HOURS_DEFAULT: u32 = 24;
/// The longest window of the statistics, in hours: 30 days.
pub(crate) const WINDOW_HOURS_MAX: u32 = 720;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventTypeStatus")]
pub(crate) struct TypeStatusView {
    event_type: EventType,
    latest: LatestView,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum LatestView {
    Delivery {
        event_id: EventId,
        at: Time,
        /// Whether the delivery has succeeded.
        success: bool,
        /// Of the last attempt; null where there was no answer.
        #[schemars(range(min = 100, max = 999))]
        status_code: Option<u16>,
        /// Of the last attempt; null before the first.
        response_body: Option<String>,
    },
    NoRecentDelivery,
}

impl From<&Delivery> for LatestView {
    fn from(delivery: &Delivery) -> Self {
        let last = delivery.attempts.last();
        Self::Delivery {
            event_id: delivery.event_id,
            at: last.map_or(delivery.created_at, |attempt| attempt.at).into(),
            success: delivery.status == DeliveryStatus::Succeeded,
            status_code: last.and_then(|attempt| attempt.status_code),
            response_body: last.map(|attempt| attempt.response_body.clone()),
        }
    }
}

pub(crate) async fn event_status(
    caller: Caller,
    State(api): State<Api>,
    Path(endpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<EventType>();
    params.finish()?;
    let store = &api.services.store;
    let endpoint = find(&api.services, caller.scope(), &endpoint).await?;
    let now = api.services.clock.now();
    let latest = store.list_deliveries(endpoint.id, &[], Window::default(), LATEST_EXAMINED_MAX, now, |_| true).await?;
    let mut seen: BTreeMap<EventType, LatestView> = BTreeMap::new();
    for stored in &latest.entries {
        seen.entry(stored.delivery.event_type.clone()).or_insert_with(|| LatestView::from(&stored.delivery));
    }
    let patterns = &endpoint.settings.event_types;
    let exact = patterns.iter().filter_map(|pattern| match pattern {
        EventTypePattern::Exact(exact) => Some(exact.clone()),
        EventTypePattern::All | EventTypePattern::Below(_) => None,
    });
    let mut types: BTreeSet<EventType> = exact.collect();
    if patterns.is_empty() || patterns.iter().any(|pattern| !matches!(pattern, EventTypePattern::Exact(_))) {
        let catalogue = store.list_event_types(caller.scope().tenant_id, None, CATALOGUE_EXAMINED_MAX).await?;
        let names = catalogue.entries.into_iter().filter(|entry| !entry.archived).map(|entry| entry.name);
        types.extend(names.filter(|name| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))));
    }
    types.extend(seen.keys().cloned());
    let page = Params::page_of(types.into_iter().collect(), after.as_ref(), limit, EventType::clone);
    Ok(respond::page(page, EventType::clone, |event_type| {
        let latest = seen.remove(&event_type).unwrap_or(LatestView::NoRecentDelivery);
        TypeStatusView { event_type, latest }
    }))
}

/// How many deliveries there are in each state; states without any are left out.
#[derive(JsonSchema)]
#[schemars(inline, transform = none_required)]
#[expect(dead_code, reason = "a shape, for the document")]
struct StatusCounts {
    pending: u64,
    succeeded: u64,
    failed: u64,
    skipped: u64,
    cancelled: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointStats")]
pub(crate) struct StatsView {
    #[schemars(range(min = 1, max = WINDOW_HOURS_MAX))]
    window_hours: u32,
    since: Time,
    #[schemars(with = "StatusCounts")]
    counts: BTreeMap<&'static str, u64>,
    /// The hours that have any deliveries, the oldest first.
    hours: Vec<HourView>,
    /// Succeeded among succeeded and failed; null without either.
    #[schemars(range(min = 0, max = 1))]
    success_rate: Option<f64>,
    response_time_ms: ResponseTimeView,
    /// Whether only the newest deliveries of the window count.
    truncated: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct HourView {
    /// Its beginning.
    hour: Time,
    #[schemars(with = "StatusCounts")]
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct ResponseTimeView {
    /// In milliseconds; null without any answer.
    p50: Option<u32>,
    /// In milliseconds; null without any answer.
    p95: Option<u32>,
}

pub(crate) async fn stats(
    caller: Caller,
    State(api): State<Api>,
    Path(endpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let window_hours = params.one("window", |text| {
        let hours = text.strip_suffix('h').and_then(|hours| hours.parse::<u32>().ok());
        hours
            .filter(|hours| (1..=WINDOW_HOURS_MAX).contains(hours))
            .ok_or_else(|| format!("must be 1h to {WINDOW_HOURS_MAX}h"))
    });
    params.finish()?;
    let window_hours = window_hours.unwrap_or(WINDOW_HOURS_DEFAULT);
    let store = &api.services.store;
    let endpoint = find(&api.services, caller.scope(), &endpoint).await?;
    let now = api.services.clock.now();
    let since = plus_seconds(now, -3_600 * i64::from(window_hours));
    let mut deliveries = Vec::new();
    let mut window = Window { from: Some(since), ..Window::default() };
    let mut truncated = false;
    loop {
        let page = store.list_deliveries(endpoint.id, &[], window, LATEST_EXAMINED_MAX, now, |_| true).await?;
        deliveries.extend(page.entries.into_iter().map(|stored| stored.delivery));
        let Some(next) = page.next else { break };
        if deliveries.len() >= STATS_EXAMINED_MAX {
            truncated = true;
            break;
        }
        window.after = Some(next);
    }
    Ok(respond::data(StatusCode::OK, summarise(&deliveries, window_hours, since, truncated)))
}

fn summarise(deliveries: &[Delivery], window_hours: u32, since: Timestamp, truncated: bool) -> StatsView {
    let mut counts = BTreeMap::new();
    let mut hours: BTreeMap<i64, BTreeMap<&'static str, u64>> = BTreeMap::new();
    let mut durations: Vec<u32> = Vec::new();
    for delivery in deliveries {
        let status = delivery.status.as_str();
        *counts.entry(status).or_default() += 1;
        let hour = delivery.created_at.as_second().div_euclid(3_600);
        *hours.entry(hour).or_default().entry(status).or_default() += 1;
        let answered = delivery.attempts.iter().filter(|attempt| attempt.status_code.is_some());
        durations.extend(answered.map(|attempt| attempt.duration_ms));
    }
    durations.sort_unstable();
    let count = |status: DeliveryStatus| counts.get(status.as_str()).copied().unwrap_or(0);
    let (succeeded, failed) = (count(DeliveryStatus::Succeeded), count(DeliveryStatus::Failed));
    let ended = succeeded + failed;
    #[expect(clippy::cast_precision_loss, reason = "at most some ten thousand")]
    let success_rate = (ended > 0).then(|| succeeded as f64 / ended as f64);
    let hours = hours.into_iter().filter_map(|(hour, counts)| {
        Some(HourView { hour: Timestamp::from_second(hour * 3_600).ok()?.into(), counts })
    });
    StatsView {
        window_hours,
        since: since.into(),
        hours: hours.collect(),
        success_rate,
        response_time_ms: ResponseTimeView { p50: percentile(&durations, 50), p95: percentile(&durations, 95) },
        counts,
        truncated,
    }
}

/// The nearest-rank percentile of sorted values.
fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (Some(50), Some(95)));
    }
}
