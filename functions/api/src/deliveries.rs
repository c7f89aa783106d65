//! The routes of delivery logs.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::domain::api_key::Permission;
use shared::domain::attempt::{Attempt, Outcome, Trigger};
use shared::domain::delivery::{Delivery, DeliveryStatus};
use shared::domain::event_type::EventType;
use shared::domain::id::{EndpointId, EventId};
use shared::domain::payload::standard_body;
use shared::domain::time::{rfc3339, rfc3339_option};
use shared::store::items::StoredEvent;

use crate::Api;
use crate::auth::Caller;
use crate::endpoints;
use crate::error::ApiError;
use crate::query::Params;
use crate::respond;

/// A delivery as callers see it.
#[derive(Serialize)]
pub(crate) struct DeliveryView {
    endpoint_id: EndpointId,
    event_id: EventId,
    event_type: EventType,
    status: DeliveryStatus,
    attempts: Vec<AttemptView>,
    #[serde(with = "rfc3339_option")]
    next_attempt_at: Option<Timestamp>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct AttemptView {
    #[serde(with = "rfc3339")]
    at: Timestamp,
    trigger: Trigger,
    outcome: &'static str,
    status_code: Option<u16>,
    error: Option<String>,
    duration_ms: u32,
    response_body: String,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            endpoint_id: delivery.endpoint_id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            status: delivery.status,
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
            next_attempt_at: delivery.next_attempt_at,
            created_at: delivery.created_at,
            updated_at: delivery.updated_at,
            payload: None,
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let outcome = if attempt.outcome == Outcome::Succeeded { "succeeded" } else { "failed" };
        // The finer outcome leads the error, so that people and programs can tell a timeout from a refusal.
        let error = attempt.error.map(|error| format!("{}: {error}", attempt.outcome.as_str()));
        Self {
            at: attempt.at,
            trigger: attempt.trigger,
            outcome,
            status_code: attempt.status_code,
            error,
            duration_ms: attempt.duration_ms,
            response_body: attempt.response_body,
        }
    }
}

pub(crate) async fn list(
    caller: Caller,
    State(api): State<Api>,
    Path(endpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    caller.needs(Permission::DeliveriesRead)?;
    let (limit, before) = params.paging::<EventId>();
    params.finish()?;
    let endpoint = endpoints::find(&api.services, caller.scope(), &endpoint).await?;
    let now = api.services.clock.now();
    let page = api.services.store.list_deliveries(endpoint.id, before, limit, now).await?;
    Ok(respond::page(page.map(DeliveryView::from)))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path((endpoint, event)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.needs(Permission::DeliveriesRead)?;
    let event_id: EventId = event.parse().map_err(|_| NO_DELIVERY)?;
    let endpoint = endpoints::find(&api.services, caller.scope(), &endpoint).await?;
    let now = api.services.clock.now();
    let store = &api.services.store;
    let (delivery, event) =
        tokio::try_join!(store.delivery(endpoint.id, event_id, now), store.event(caller.scope(), event_id, now))?;
    let mut view = DeliveryView::from(delivery.ok_or(NO_DELIVERY)?.delivery);
    view.payload = event.and_then(payload);
    Ok(respond::data(StatusCode::OK, view))
}

const NO_DELIVERY: ApiError = ApiError::NotFound("delivery");

/// What was sent, as JSON.
fn payload(stored: StoredEvent) -> Option<Box<RawValue>> {
    let body = String::from_utf8(standard_body(&stored.event)).ok()?;
    RawValue::from_string(body).ok()
}
