//! The routes of delivery logs.

use std::collections::{BTreeSet, HashMap};

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::domain::attempt::{Attempt, Outcome, RESPONSE_KEPT_BYTES_MAX, Trigger};
use shared::domain::delivery::{ATTEMPTS_KEPT_MAX, Delivery, DeliveryStatus, WaitingFor};
use shared::domain::endpoint::{Endpoint, EndpointStatus};
use shared::domain::event_type::EventType;
use shared::domain::id::{EndpointId, EventId};
use shared::domain::payload;
use shared::domain::schema::AnyObject;
use shared::domain::time::Time;
use shared::domain::validation::Fields;
use shared::pipeline::replay::retry;
use shared::services::Services;
use shared::store::deliveries::StoredDelivery;
use shared::store::flows::Flow;
use shared::store::items::StoredEvent;
use shared::store::page::Page;
use shared::store::payload_fields::EarlierFields;
use shared::store::query::{Order, Window};

use crate::Api;
use crate::auth::Caller;
use crate::body::OptionalBody;
use crate::cursor;
use crate::endpoints;
use crate::error::ApiError;
use crate::query::Params;
use crate::respond;
use crate::sort::Sort;

/// The most deliveries that are sorted by anything but their time.
const SORTED_MAX: usize = 1_500;
const SORTED_RULE: &str = "other than created_at needs a narrower status, event_type, created_after or created_before: more than 1500 deliveries match";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RetriedDelivery")]
pub(crate) struct RetriedView {
    endpoint_id: EndpointId,
    event_id: EventId,
}

/// A delivery as callers see it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub(crate) struct DeliveryView {
    pub(crate) endpoint_id: EndpointId,
    event_id: EventId,
    event_type: EventType,
    status: DeliveryStatus,
    #[schemars(extend("description" = format!("The oldest first; of more than {ATTEMPTS_KEPT_MAX} the oldest give way.")))]
    attempts: Vec<AttemptView>,
    /// While it is pending.
    next_attempt_at: Option<Time>,
    /// Why it is not attempted now; null as well when it is about to be.
    waiting_for: Option<WaitingFor>,
    created_at: Time,
    updated_at: Time,
    /// What is sent; only where one delivery is read, or with `include=payload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AnyObject")]
    payload: Option<Box<RawValue>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub(crate) struct AttemptView {
    at: Time,
    trigger: Trigger,
    #[schemars(extend("enum" = ["succeeded", "failed"]))]
    outcome: &'static str,
    /// Null where there was no answer.
    #[schemars(range(min = 100, max = 999))]
    status_code: Option<u16>,
    /// The kind of failure first: `timeout: …`.
    error: Option<String>,
    duration_ms: u32,
    #[schemars(extend("description" = format!("The first {RESPONSE_KEPT_BYTES_MAX} bytes, printable.")))]
    response_body: String,
}

impl DeliveryView {
    /// A delivery, given its endpoint's flow, if it has one: it waits until that is checked, if that is later than its own time.
    pub(crate) fn new(delivery: Delivery, flow: Option<&Flow>, now: Timestamp) -> Self {
        let is_unhealthy = flow.is_some_and(|flow| flow.health.is_unhealthy(now));
        let waiting_for = delivery.waiting_for(is_unhealthy, now);
        let looked_at = flow.and_then(|flow| flow.next_at);
        Self {
            endpoint_id: delivery.endpoint_id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            status: delivery.status,
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
            next_attempt_at: delivery.next_attempt_at.map(|due| Time(looked_at.map_or(due, |at| at.max(due)))),
            waiting_for,
            created_at: delivery.created_at.into(),
            updated_at: delivery.updated_at.into(),
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
            at: attempt.at.into(),
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
    let cursor = params.one("cursor", |text| Ok(text.to_owned()));
    let (limit, _) = params.paging::<EventId>();
    let (from, until) = params.window();
    let statuses = params.many("status", str::parse::<DeliveryStatus>);
    let event_types = params.many("event_type", |text| text.parse::<EventType>().map_err(|rule| rule.to_string()));
    let with_payload = params.one("include", |text| match text {
        "payload" => Ok(true),
        _ => Err("must be payload".to_owned()),
    });
    let sort = params.one("sort_by", Sort::parse).unwrap_or_default();
    params.finish()?;
    let bad_cursor = |rule| ApiError::field("cursor", rule);
    let endpoint = endpoints::find(&api.services, caller.scope(), &endpoint).await?;
    let services = &api.services;
    let now = services.clock.now();
    let keep = |stored: &StoredDelivery| event_types.is_empty() || event_types.contains(&stored.delivery.event_type);
    let window = Window { order: Order::NewestFirst, from, until, after: None };
    let page = match sort.order() {
        Some(order) => {
            let after = cursor.as_deref().map(cursor::decode).transpose().map_err(bad_cursor)?;
            let window = Window { order, after, ..window };
            let page = services.store.list_deliveries(endpoint.id, &statuses, window, limit, now, keep).await?;
            Page { entries: page.entries, next: page.next.as_ref().map(cursor::encode) }
        }
        None => {
            let all = services.store.list_deliveries(endpoint.id, &statuses, window, SORTED_MAX, now, keep).await?;
            if all.next.is_some() {
                return Err(ApiError::field("sort_by", SORTED_RULE));
            }
            sort.page(all.entries, cursor.as_deref(), limit).map_err(bad_cursor)?
        }
    };
    let names: Vec<_> = page.entries.iter().map(|stored| (caller.scope(), stored.delivery.event_id)).collect();
    let events = if with_payload.is_some() { services.store.events(&names).await? } else { HashMap::new() };
    let deliveries = page.entries.iter().map(|stored| &stored.delivery);
    let earlier = match with_payload {
        Some(_) => services.store.earlier_fields(&endpoint, deliveries).await?,
        None => EarlierFields::default(),
    };
    let flows = flows_of(services, page.entries.iter().map(|stored| &stored.delivery)).await?;
    let cursor_of = |stored: &StoredDelivery| sort.cursor(&stored.delivery);
    Ok(respond::page_with_cursors(page, cursor_of, |stored| {
        let event = events.get(&stored.delivery.event_id);
        let payload = event.and_then(|event| payload(event, &stored.delivery, &endpoint, &earlier));
        DeliveryView { payload, ..DeliveryView::new(stored.delivery, flows.get(&endpoint.id), now) }
    }))
}

pub(crate) async fn retry_one(
    caller: Caller,
    State(api): State<Api>,
    Path((endpoint, event)): Path<(String, String)>,
    OptionalBody(body): OptionalBody,
) -> Result<Response, ApiError> {
    Fields::from_body(&body)?.finish().finish(Some(()))?;
    let event_id: EventId = event.parse().map_err(|_| NO_DELIVERY)?;
    let endpoint = endpoints::find(&api.services, caller.scope(), &endpoint).await?;
    if endpoint.status != EndpointStatus::Active {
        return Err(ApiError::Conflict("the endpoint is not active; activate it first"));
    }
    let now = api.services.clock.now();
    let stored = api.services.store.delivery(endpoint.id, event_id, now).await?.ok_or(NO_DELIVERY)?;
    retry(&api.services, &endpoint, &stored).await?;
    Ok(respond::data(StatusCode::ACCEPTED, RetriedView { endpoint_id: endpoint.id, event_id }))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path((endpoint, event)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let event_id: EventId = event.parse().map_err(|_| NO_DELIVERY)?;
    let endpoint = endpoints::find(&api.services, caller.scope(), &endpoint).await?;
    let now = api.services.clock.now();
    let store = &api.services.store;
    let (delivery, event) =
        tokio::try_join!(store.delivery(endpoint.id, event_id, now), store.event(caller.scope(), event_id, now))?;
    let delivery = delivery.ok_or(NO_DELIVERY)?.delivery;
    let earlier = store.earlier_fields(&endpoint, std::iter::once(&delivery)).await?;
    let payload = event.as_ref().and_then(|event| payload(event, &delivery, &endpoint, &earlier));
    let flows = flows_of(&api.services, std::iter::once(&delivery)).await?;
    let view = DeliveryView { payload, ..DeliveryView::new(delivery, flows.get(&endpoint.id), now) };
    Ok(respond::data(StatusCode::OK, view))
}

/// The flows of the endpoints for which any of these deliveries waits.
///
/// # Errors
/// When AWS does not answer.
pub(crate) async fn flows_of(
    services: &Services,
    deliveries: impl Iterator<Item = &Delivery>,
) -> Result<HashMap<EndpointId, Flow>, ApiError> {
    let waiting = deliveries.filter(|delivery| delivery.status == DeliveryStatus::Pending);
    let endpoints: BTreeSet<_> = waiting.map(|delivery| delivery.endpoint_id).collect();
    Ok(services.store.flows(&endpoints.into_iter().collect::<Vec<_>>()).await?)
}

const NO_DELIVERY: ApiError = ApiError::NotFound("delivery");

/// What is sent by this delivery, as JSON.
fn payload(
    stored: &StoredEvent,
    delivery: &Delivery,
    endpoint: &Endpoint,
    earlier: &EarlierFields,
) -> Option<Box<RawValue>> {
    let payload = payload::payload(&stored.event, earlier.of(delivery, endpoint)).ok()?;
    let body = String::from_utf8(payload.body).ok()?;
    RawValue::from_string(body).ok()
}
