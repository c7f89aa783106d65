//! How endpoints are doing, and what waits for them, as callers see it.

use std::collections::HashMap;

use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use shared::domain::health::{Health, HealthState};
use shared::domain::id::EndpointId;
use shared::domain::time::rfc3339_option;
use shared::services::Services;
use shared::store::flows::Flow;

use crate::error::ApiError;

/// How many waiting deliveries are counted one by one.
pub(crate) const COUNTED_MAX: usize = 1_000;
/// How many endpoints' backlogs are counted at once.
const IN_FLIGHT_MAX: usize = 10;

/// How an endpoint is doing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HealthView {
    state: HealthState,
    #[serde(with = "rfc3339_option")]
    failing_since: Option<Timestamp>,
    waiting: WaitingView,
    #[serde(with = "rfc3339_option")]
    next_attempt_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
struct WaitingView {
    count: CountView,
    #[serde(with = "rfc3339_option")]
    oldest_at: Option<Timestamp>,
}

/// A number up to [`COUNTED_MAX`], and a text above.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum CountView {
    Exact(usize),
    More(&'static str),
}

impl Default for HealthView {
    /// A healthy endpoint with nothing waiting.
    fn default() -> Self {
        let waiting = WaitingView { count: CountView::Exact(0), oldest_at: None };
        Self { state: Health::default().state(), failing_since: None, waiting, next_attempt_at: None }
    }
}

/// How these endpoints are doing: one read for all, and one for each for which something may wait.
///
/// # Errors
/// When AWS does not answer.
pub(crate) async fn of(
    services: &Services,
    ids: impl Iterator<Item = EndpointId>,
) -> Result<HashMap<EndpointId, HealthView>, ApiError> {
    let ids: Vec<_> = ids.collect();
    let flows = services.store.flows(&ids).await?.into_values();
    let views = flows.map(|flow| async move {
        let view = view(services, &flow).await?;
        Ok((flow.endpoint_id, view))
    });
    let views: Vec<Result<_, ApiError>> = futures::stream::iter(views).buffer_unordered(IN_FLIGHT_MAX).collect().await;
    views.into_iter().collect()
}

/// How one endpoint is doing.
///
/// # Errors
/// When AWS does not answer.
pub(crate) async fn of_one(services: &Services, id: EndpointId) -> Result<HealthView, ApiError> {
    Ok(of(services, std::iter::once(id)).await?.remove(&id).unwrap_or_default())
}

async fn view(services: &Services, flow: &Flow) -> Result<HealthView, ApiError> {
    let size = services.store.backlog_size(flow.endpoint_id, COUNTED_MAX + 1).await?;
    let count = if size.count > COUNTED_MAX { CountView::More("1000+") } else { CountView::Exact(size.count) };
    let oldest_at = size.oldest.map(|event_id| event_id.created_at());
    Ok(HealthView {
        state: flow.health.state(),
        failing_since: flow.health.failing_since,
        waiting: WaitingView { count, oldest_at },
        next_attempt_at: flow.next_at.filter(|_| size.count > 0),
    })
}
