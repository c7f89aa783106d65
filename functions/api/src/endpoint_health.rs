//! How endpoints are doing, and what waits for them, as callers see it.

use std::collections::HashMap;

use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::health::{Health, HealthState};
use shared::domain::id::EndpointId;
use shared::domain::time::Time;
use shared::services::Services;
use shared::store::flows::Flow;

use crate::error::ApiError;

/// How many waiting deliveries are counted one by one.
pub(crate) const COUNTED_MAX: usize = 1_000;
/// How many endpoints' backlogs are counted at once.
const IN_FLIGHT_MAX: usize = 10;

/// How an endpoint is doing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct HealthView {
    /// Hanging: it fails, and does not answer soon.
    state: HealthState,
    /// When the first attempt failed that no success has followed.
    failing_since: Option<Time>,
    waiting: WaitingView,
    /// When the next of them is sent.
    next_attempt_at: Option<Time>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct WaitingView {
    /// Deliveries that wait for it; exact up to 1,000.
    count: CountView,
    /// When the first of them was accepted.
    oldest_at: Option<Time>,
}

/// A number up to [`COUNTED_MAX`], and a text above.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum CountView {
    Exact(#[schemars(range(max = COUNTED_MAX))] usize),
    More(#[schemars(extend("const" = "1000+"))] &'static str),
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
        failing_since: flow.health.failing_since.map(Time),
        waiting: WaitingView { count, oldest_at: oldest_at.map(Time) },
        next_attempt_at: flow.next_at.filter(|_| size.count > 0).map(Time),
    })
}
