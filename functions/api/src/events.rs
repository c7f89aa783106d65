//! The routes of events.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::domain::api_key::Permission;
use shared::domain::event::{IDEMPOTENCY_KEY_CHARACTERS_MAX, NewEvent};
use shared::domain::event_type::EventType;
use shared::domain::id::{EndpointId, EventId};
use shared::domain::time::rfc3339;
use shared::domain::validation::printable;
use shared::pipeline::publish::{Published, publish};
use shared::store::items::StoredEvent;
use std::sync::Arc;

use crate::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::deliveries::DeliveryView;
use crate::error::ApiError;
use crate::query::Params;
use crate::request_id::RequestId;
use crate::respond;

#[derive(Serialize)]
struct AcceptedView {
    id: EventId,
}

#[derive(Serialize)]
struct EventView {
    id: EventId,
    #[serde(rename = "type")]
    event_type: EventType,
    #[serde(with = "rfc3339")]
    timestamp: Timestamp,
    data: Arc<RawValue>,
    channels: Vec<String>,
    endpoint_ids: Vec<EndpointId>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryView>>,
}

impl EventView {
    fn new(stored: StoredEvent, deliveries: Option<Vec<DeliveryView>>) -> Self {
        let event = stored.event;
        Self {
            id: event.id,
            event_type: event.event_type,
            timestamp: event.timestamp,
            data: event.data,
            channels: event.channels,
            endpoint_ids: event.endpoint_ids,
            created_at: event.id.created_at(),
            deliveries,
        }
    }
}

pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    request_id: RequestId,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EventsWrite)?;
    let mut event = NewEvent::from_body(&body)?;
    if event.idempotency_key.is_none() {
        event.idempotency_key = idempotency_key(&headers)?;
    }
    let published = publish(&api.services, caller.scope(), event, &body, request_id.as_str().to_owned());
    match published.await? {
        Published::Yes(id) => Ok(respond::data(StatusCode::ACCEPTED, AcceptedView { id })),
        Published::KeyReused => Err(ApiError::Conflict("the idempotency key was used with another body")),
    }
}

pub(crate) async fn list(caller: Caller, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    caller.needs(Permission::EventsRead)?;
    let (limit, before) = params.paging::<EventId>();
    params.finish()?;
    let now = api.services.clock.now();
    let page = api.services.store.list_events(caller.scope(), before, limit, now).await?;
    Ok(respond::page(page.map(|stored| EventView::new(stored, None))))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(event): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EventsRead)?;
    let id: EventId = event.parse().map_err(|_| NO_EVENT)?;
    let now = api.services.clock.now();
    let stored = api.services.store.event(caller.scope(), id, now).await?.ok_or(NO_EVENT)?;
    let names: Vec<_> = stored.delivered_to.iter().map(|endpoint_id| (*endpoint_id, id)).collect();
    let mut found = api.services.store.deliveries(&names).await?;
    let deliveries = names.iter().filter_map(|name| found.remove(name)).map(|stored| stored.delivery.into()).collect();
    Ok(respond::data(StatusCode::OK, EventView::new(stored, Some(deliveries))))
}

const NO_EVENT: ApiError = ApiError::NotFound("event");

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().to_owned();
    let key = printable(text, IDEMPOTENCY_KEY_CHARACTERS_MAX);
    key.map(Some).map_err(|rule| ApiError::field("Idempotency-Key", rule))
}
