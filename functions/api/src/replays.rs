//! The routes of bulk replays.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::delivery::DeliveryStatus;
use shared::domain::endpoint::EndpointStatus;
use shared::domain::event_type::EventType;
use shared::domain::id::{EndpointId, ReplayId};
use shared::domain::schema::TimeInput;
use shared::domain::time::{self, Time};
use shared::domain::validation::Fields;
use shared::pipeline::replay::{ReplayRequest, start};
use shared::store::replays::{Replay, ReplayState};

use crate::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::endpoints::find;
use crate::error::ApiError;
use crate::idempotent::MadeFrom;
use crate::respond;

/// The most event types that a replay names.
pub(crate) const EVENT_TYPES_MAX: usize = 100;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Replay")]
pub(crate) struct ReplayView {
    id: ReplayId,
    endpoint_id: EndpointId,
    state: ReplayState,
    /// How many deliveries have been queued so far.
    queued: u64,
    since: Time,
    until: Time,
    status: Vec<DeliveryStatus>,
    event_types: Vec<EventType>,
    created_at: Time,
    updated_at: Time,
}

impl From<Replay> for ReplayView {
    fn from(replay: Replay) -> Self {
        Self {
            id: replay.id,
            endpoint_id: replay.endpoint_id,
            state: replay.state,
            queued: replay.queued,
            since: replay.since.into(),
            until: replay.until.into(),
            status: replay.statuses,
            event_types: replay.event_types,
            created_at: replay.created_at.into(),
            updated_at: replay.updated_at.into(),
        }
    }
}

pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    Path(endpoint): Path<String>,
    MadeFrom(origin): MadeFrom,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    let id = ReplayId::from_parts(origin.at, origin.entropy);
    if origin.is_repeat
        && let Some(begun) = api.services.store.replay(caller.scope(), id, now).await?
    {
        return Ok(respond::data(StatusCode::ACCEPTED, ReplayView::from(begun)));
    }
    let request = read(&body, now)?;
    let endpoint = find(&api.services, caller.scope(), &endpoint).await?;
    if endpoint.status != EndpointStatus::Active {
        return Err(ApiError::Conflict("the endpoint is not active; activate it first"));
    }
    let replay = start(&api.services, caller.scope(), endpoint.id, id, request).await?;
    Ok(respond::data(StatusCode::ACCEPTED, ReplayView::from(replay)))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(replay): Path<String>,
) -> Result<Response, ApiError> {
    let id = replay.parse().map_err(|_| NO_REPLAY)?;
    let now = api.services.clock.now();
    let replay = api.services.store.replay(caller.scope(), id, now).await?.ok_or(NO_REPLAY)?;
    Ok(respond::data(StatusCode::OK, ReplayView::from(replay)))
}

const NO_REPLAY: ApiError = ApiError::NotFound("replay");

/// Which deliveries are replayed.
#[derive(JsonSchema)]
#[schemars(rename = "NewReplay", deny_unknown_fields)]
pub(crate) struct ReplayInput {
    /// Events made at this time or later.
    #[schemars(with = "TimeInput")]
    since: Timestamp,
    /// Events made before this time; by default now.
    #[schemars(with = "Option<TimeInput>")]
    until: Option<Timestamp>,
    /// Deliveries in one of these states.
    #[schemars(length(min = 1), extend("default" = [DeliveryStatus::Failed]))]
    status: Option<Vec<DeliveryStatus>>,
    /// Only these types; `[]` means all.
    #[schemars(length(max = EVENT_TYPES_MAX))]
    event_types: Option<Vec<EventType>>,
}

fn read(body: &[u8], now: Timestamp) -> Result<ReplayRequest, ApiError> {
    let mut fields = Fields::from_body(body)?;
    let since = fields.required("since", "must be text", |text: String| time::parse(&text));
    let until = fields.optional("until", "must be text", |text: String| time::parse(&text));
    let status = fields.optional("status", "must be a list of text", |texts: Vec<String>| {
        if texts.is_empty() {
            return Err("must name at least one status".to_owned());
        }
        texts
            .iter()
            .map(|text| text.parse::<DeliveryStatus>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|rule| format!("each {rule}"))
    });
    let event_types = fields.optional("event_types", "must be a list of text", |texts: Vec<String>| {
        if texts.len() > EVENT_TYPES_MAX {
            return Err(format!("must be at most {EVENT_TYPES_MAX} event types"));
        }
        texts
            .iter()
            .map(|text| text.parse::<EventType>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|rule| format!("each {rule}"))
    });
    // Events of this very millisecond are meant too.
    let latest = until.unwrap_or_else(|| time::plus_seconds(now, 1));
    if since.is_some_and(|since| since >= latest) {
        fields.error("until", "must be later than since");
    }
    let input = since.map(|since| ReplayInput { since, until, status, event_types });
    let input = fields.finish().finish(input)?;
    Ok(ReplayRequest {
        since: input.since,
        until: input.until.unwrap_or(latest),
        statuses: input.status.unwrap_or_else(|| vec![DeliveryStatus::Failed]),
        event_types: input.event_types.unwrap_or_default(),
    })
}
