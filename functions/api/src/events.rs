//! The routes of events.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::aws_error::AwsError;
use shared::domain::attempt::Attempt;
use shared::domain::delivery::Delivery;
use shared::domain::endpoint::EndpointStatus;
use shared::domain::event::{ENDPOINT_IDS_MAX, EVENT_BYTES_MAX, NewEvent, check_endpoint_ids};
use shared::domain::event_type::EventType;
use shared::domain::id::{EndpointId, EventId};
use shared::domain::matching::reaches;
use shared::domain::schema::AnyObject;
use shared::domain::time::Time;
use shared::domain::validation::Fields;
use shared::pipeline::publish::{Published, claim_batch, publish, publish_batch};
use shared::pipeline::replay::replay_event;
use shared::store::items::StoredEvent;
use shared::store::query::{Order, Window};

use crate::Api;
use crate::auth::Caller;
use crate::body::{BatchBody, JsonBody, OptionalBody};
use crate::cursor;
use crate::deliveries::{DeliveryView, flows_of};
use crate::error::{ApiError, ErrorBody};
use crate::event_types;
use crate::idempotent::key_of;
use crate::query::Params;
use crate::request_id::RequestId;
use crate::respond;

/// How many endpoints one answer looks for an event's deliveries at: ten calls to the table.
const ENDPOINTS_LOOKED_AT_MAX: usize = 1_000;
/// How large the deliveries of one answer are together, in bytes: Lambda's answers have 6 MB.
const DELIVERIES_BYTES_MAX: usize = 4_000_000;
/// Stands between a batch's idempotency key and what is made of it. No key of a caller's has it: it is not printable.
const BATCH_MARK: char = '\u{1}';
/// The most events of one batch.
pub(crate) const BATCH_EVENTS_MAX: usize = 100;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcceptedEvent")]
pub(crate) struct AcceptedView {
    id: EventId,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayedEvent")]
pub(crate) struct ReplayedView {
    id: EventId,
    /// How many are queued.
    deliveries: usize,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "BatchResult")]
pub(crate) enum BatchResultView {
    Accepted { id: EventId },
    Refused { error: ErrorBody },
}

/// What happened, as it was accepted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct EventView {
    id: EventId,
    #[serde(rename = "type")]
    event_type: EventType,
    timestamp: Time,
    #[schemars(with = "AnyObject")]
    data: Arc<RawValue>,
    channels: Vec<String>,
    endpoint_ids: Vec<EndpointId>,
    created_at: Time,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    deliveries: Option<DeliveriesView>,
}

/// Deliveries of one event, and where the next of them are.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct DeliveriesView {
    /// Only where one event is read.
    deliveries: Vec<DeliveryView>,
    /// Only where one event is read; null when these are all of its deliveries.
    deliveries_next_cursor: Option<String>,
}

impl EventView {
    fn new(stored: StoredEvent, deliveries: Option<DeliveriesView>) -> Self {
        let event = stored.event;
        Self {
            id: event.id,
            event_type: event.event_type,
            timestamp: event.timestamp.into(),
            data: event.data,
            channels: event.channels,
            endpoint_ids: event.endpoint_ids,
            created_at: event.id.created_at().into(),
            deliveries,
        }
    }
}

/// Many events.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct EventBatch {
    #[schemars(with = "Vec<NewEvent>", length(min = 1, max = BATCH_EVENTS_MAX))]
    events: Vec<Box<RawValue>>,
}

/// Which endpoints get an event again.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct EventReplay {
    /// Only these; otherwise all that it reaches.
    #[schemars(length(min = 1, max = ENDPOINT_IDS_MAX))]
    endpoint_ids: Option<Vec<EndpointId>>,
}

pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    request_id: RequestId,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut event = read_one(&api, &caller, &body).await?;
    // A header that is no key is refused, even where the body's own key comes before it.
    let key = key_of(&headers)?;
    event.idempotency_key = event.idempotency_key.or(key);
    let published = publish(&api.services, caller.scope(), event, &body, request_id.as_str().to_owned());
    Ok(respond::data(StatusCode::ACCEPTED, AcceptedView { id: accepted(published.await)? }))
}

pub(crate) async fn create_batch(
    caller: Caller,
    State(api): State<Api>,
    request_id: RequestId,
    headers: HeaderMap,
    BatchBody(body): BatchBody,
) -> Result<Response, ApiError> {
    let batch_key = key_of(&headers)?;
    let mut fields = Fields::from_body(&body)?;
    let rule = format!("must be a list of 1 to {BATCH_EVENTS_MAX} events");
    let events = fields.required("events", &rule, |events: Vec<Box<RawValue>>| {
        if (1..=BATCH_EVENTS_MAX).contains(&events.len()) { Ok(events) } else { Err(rule.clone()) }
    });
    let EventBatch { events } = fields.finish().finish(events.map(|events| EventBatch { events }))?;
    let mut results = Vec::with_capacity(events.len());
    let mut sound = Vec::new();
    for (place, raw) in events.iter().enumerate() {
        let read = read_one(&api, &caller, raw.get().as_bytes()).await;
        results.push(read.map(|mut event| {
            // The batch's key is a key of each of its events, so that a repeated batch sends what the first one could not, and nothing twice.
            let own = event.idempotency_key.take();
            event.idempotency_key = own.or_else(|| batch_key.as_ref().map(|key| format!("{key}{BATCH_MARK}{place}")));
            sound.push((event, raw.get().as_bytes()));
        }));
    }
    if let Some(key) = &batch_key
        && !claim_batch(&api.services, caller.scope(), &format!("{key}{BATCH_MARK}"), &body).await?
    {
        return Err(ApiError::Conflict("the idempotency key was used with another request"));
    }
    let published = publish_batch(&api.services, caller.scope(), sound, request_id.as_str()).await;
    let none_sent = !published.is_empty() && published.iter().all(Result::is_err);
    if let Some(Err(error)) = published.first().filter(|_| none_sent) {
        return Err(error.clone().into());
    }
    let mut published = published.into_iter().map(accepted);
    // Each event that was sound has its result, in order.
    let results = results.into_iter().map(|result| result.and_then(|()| published.next().unwrap_or(Err(NO_EVENT))));
    let views = results.map(|result| match result {
        Ok(id) => BatchResultView::Accepted { id },
        Err(error) => BatchResultView::Refused { error: error.part() },
    });
    Ok(respond::data(StatusCode::ACCEPTED, views.collect::<Vec<_>>()))
}

async fn read_one(api: &Api, caller: &Caller, body: &[u8]) -> Result<NewEvent, ApiError> {
    if body.len() > EVENT_BYTES_MAX {
        return Err(ApiError::PayloadTooLarge(EVENT_BYTES_MAX));
    }
    let event = NewEvent::from_body(body)?;
    event_types::check(api, caller.scope().tenant_id, &event).await?;
    Ok(event)
}

fn accepted(published: Result<Published, AwsError>) -> Result<EventId, ApiError> {
    match published? {
        Published::Accepted(id) => Ok(id),
        Published::KeyReused => Err(ApiError::Conflict("the idempotency key was used with another body")),
    }
}

pub(crate) async fn list(caller: Caller, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<EventId>();
    let (from, until) = params.window();
    let event_types = params.many("event_type", |text| text.parse::<EventType>().map_err(|rule| rule.to_string()));
    params.finish()?;
    let now = api.services.clock.now();
    let window = Window { order: Order::NewestFirst, from, until, after };
    let keep = |stored: &StoredEvent| event_types.is_empty() || event_types.contains(&stored.event.event_type);
    let page = api.services.store.list_events(caller.scope(), window, limit, now, keep).await?;
    Ok(respond::page(page, |stored| stored.event.id, |stored| EventView::new(stored, None)))
}

pub(crate) async fn replay(
    caller: Caller,
    State(api): State<Api>,
    Path(event): Path<String>,
    OptionalBody(body): OptionalBody,
) -> Result<Response, ApiError> {
    let mut fields = Fields::from_body(&body)?;
    let endpoint_ids = fields.optional("endpoint_ids", "must be a list of text", check_endpoint_ids);
    let EventReplay { endpoint_ids: named } = fields.finish().finish(Some(EventReplay { endpoint_ids }))?;
    let id: EventId = event.parse().map_err(|_| NO_EVENT)?;
    let services = &api.services;
    let stored = services.store.event(caller.scope(), id, services.clock.now()).await?.ok_or(NO_EVENT)?;
    let all = services.store.all_endpoints(caller.scope()).await?;
    let wanted: Vec<_> = match &named {
        Some(named) => all.into_iter().filter(|endpoint| named.contains(&endpoint.id)).collect(),
        None => all.into_iter().filter(|endpoint| reaches(&stored.event, endpoint)).collect(),
    };
    if let Some(missing) = named.iter().flatten().find(|id| !wanted.iter().any(|found| found.id == **id)) {
        return Err(ApiError::field("endpoint_ids", format!("names {missing}, which is no endpoint")));
    }
    if named.is_some() && wanted.iter().any(|endpoint| endpoint.status != EndpointStatus::Active) {
        return Err(ApiError::Conflict("an endpoint that is named is not active; activate it first"));
    }
    let deliveries = replay_event(services, &stored, &wanted).await?;
    Ok(respond::data(StatusCode::ACCEPTED, ReplayedView { id, deliveries }))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(event): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let after: Option<EndpointId> = params.one("deliveries_cursor", |text| {
        cursor::decode(text).map_err(|_| "must be the deliveries_next_cursor of an earlier answer".to_owned())
    });
    params.finish()?;
    let id: EventId = event.parse().map_err(|_| NO_EVENT)?;
    let now = api.services.clock.now();
    let stored = api.services.store.event(caller.scope(), id, now).await?.ok_or(NO_EVENT)?;
    // Those it was matched to at first, and those it may have reached since, by a large fan-out or a replay.
    let now_there = api.services.store.all_endpoints(caller.scope()).await?;
    let mut endpoints: BTreeSet<_> = now_there.iter().map(|endpoint| endpoint.id).collect();
    endpoints.extend(&stored.delivered_to);
    let page = Params::page_of(endpoints.into_iter().collect(), after.as_ref(), ENDPOINTS_LOOKED_AT_MAX, |id| *id);
    let names: Vec<_> = page.entries.into_iter().map(|endpoint_id| (endpoint_id, id)).collect();
    let mut found = api.services.store.deliveries(&names).await?;
    let mut view =
        DeliveriesView { deliveries: Vec::new(), deliveries_next_cursor: page.next.as_ref().map(cursor::encode) };
    let flows = flows_of(&api.services, found.values().map(|stored| &stored.delivery)).await?;
    let mut bytes = 0;
    for delivery in names.iter().filter_map(|name| found.remove(name)).map(|stored| stored.delivery) {
        bytes += approximate_bytes(&delivery);
        if let Some(last) = view.deliveries.last().filter(|_| bytes > DELIVERIES_BYTES_MAX) {
            view.deliveries_next_cursor = Some(cursor::encode(&last.endpoint_id));
            break;
        }
        let flow = flows.get(&delivery.endpoint_id);
        view.deliveries.push(DeliveryView::new(delivery, flow, now));
    }
    let deliveries = view;
    Ok(respond::data(StatusCode::OK, EventView::new(stored, Some(deliveries))))
}

/// How large a delivery is in an answer; rather too much than too little.
fn approximate_bytes(delivery: &Delivery) -> usize {
    let attempt =
        |attempt: &Attempt| 300 + 2 * attempt.response_body.len() + attempt.error.as_ref().map_or(0, String::len);
    500 + delivery.attempts.iter().map(attempt).sum::<usize>()
}

const NO_EVENT: ApiError = ApiError::NotFound("event");
