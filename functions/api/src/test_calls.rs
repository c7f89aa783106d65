//! Test calls: one request now, or a test event to every active endpoint.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::domain::attempt::Outcome;
use shared::domain::endpoint::{Endpoint, EndpointStatus};
use shared::domain::event::{Event, NewEvent};
use shared::domain::event_type::EventType;
use shared::domain::id::EventId;
use shared::domain::matching::TEST_EVENT_TYPE;
use shared::domain::schema::{AnyObject, none_required};
use shared::domain::validation::Fields;
use shared::pipeline::publish::{Published, publish};
use shared::random;
use shared::sending::request::WebhookRequest;

use crate::Api;
use crate::auth::Caller;
use crate::body::OptionalBody;
use crate::endpoints::find;
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::respond;

/// What a test event says unless the caller says otherwise.
const TEST_DATA: &str = r#"{"message":"This is a test of your webhook endpoint."}"#;

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "TestResult")]
pub(crate) enum TestView {
    Answered {
        /// Whether the answer was 2xx.
        delivered: bool,
        /// The status of the receiver's answer.
        #[schemars(range(min = 100, max = 999))]
        status: u16,
        /// The first 1 KiB of its body, printable.
        body: String,
        duration_ms: u32,
    },
    Failed {
        #[schemars(extend("const" = false))]
        delivered: bool,
        /// Why there was no answer, the kind of failure first: `timeout: …`.
        error: String,
    },
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueuedTest")]
pub(crate) struct TestedAllView {
    success: bool,
    event_id: EventId,
}

pub(crate) async fn test_one(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
    OptionalBody(body): OptionalBody,
) -> Result<Response, ApiError> {
    let TestCall { event_type, data } = read_test(&body)?;
    let endpoint = find(&api.services, caller.scope(), &name).await?;
    if endpoint.status != EndpointStatus::Active {
        return Err(ApiError::NotFound("active endpoint"));
    }
    let view = send(&api, &endpoint, event_type, data).await?;
    Ok(respond::data(StatusCode::OK, view))
}

/// Sends one signed request through the same guard and limits as any delivery; nothing goes on record.
async fn send(
    api: &Api,
    endpoint: &Endpoint,
    event_type: EventType,
    data: Arc<RawValue>,
) -> Result<TestView, ApiError> {
    let services = &api.services;
    let now = services.clock.now();
    let event = Event {
        id: EventId::from_parts(now, random::bytes()),
        scope: endpoint.scope,
        event_type,
        timestamp: now,
        data,
        channels: Vec::new(),
        endpoint_ids: Vec::new(),
    };
    let secrets = services.secrets.document(endpoint).await?;
    let mut request = match WebhookRequest::new(endpoint, &endpoint.settings.payload_fields, &secrets, &event, now) {
        Ok(request) => request,
        Err(error) => {
            let outcome = Outcome::PayloadTooLarge.as_str();
            return Ok(TestView::Failed { delivered: false, error: format!("{outcome}: {error}") });
        }
    };
    request.timeout_seconds = request.timeout_seconds.min(TEST_TIMEOUT_SECONDS_MAX);
    let answer = services.sender.send(request).await;
    Ok(match answer.result {
        Ok(response) => TestView::Answered {
            delivered: (200..300).contains(&response.status),
            status: response.status,
            body: response.body,
            duration_ms: answer.duration_ms,
        },
        Err(failure) => {
            TestView::Failed { delivered: false, error: format!("{}: {}", failure.outcome.as_str(), failure.message) }
        }
    })
}

/// How long a test call waits for the receiver, in seconds: the caller waits too, and API Gateway for 29 at the most.
const TEST_TIMEOUT_SECONDS_MAX: u32 = 20;

pub(crate) async fn test_all(
    caller: Caller,
    State(api): State<Api>,
    request_id: RequestId,
    OptionalBody(body): OptionalBody,
) -> Result<Response, ApiError> {
    Fields::from_body(&body)?.finish().finish(Some(()))?;
    let event = NewEvent {
        event_type: test_event_type()?,
        data: raw(TEST_DATA)?,
        timestamp: None,
        channels: Vec::new(),
        endpoint_ids: Vec::new(),
        idempotency_key: None,
    };
    let published = publish(&api.services, caller.scope(), event, &body, request_id.as_str().to_owned());
    match published.await? {
        Published::Accepted(event_id) => Ok(respond::data(StatusCode::OK, TestedAllView { success: true, event_id })),
        Published::KeyReused => Err(ApiError::Conflict("the idempotency key was used with another body")),
    }
}

/// What a test call says.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = none_required)]
pub(crate) struct TestCall {
    /// What the event claims to be.
    #[schemars(with = "Option<EventType>", extend("default" = TEST_EVENT_TYPE))]
    event_type: EventType,
    /// What the event says.
    #[schemars(with = "AnyObject")]
    data: Arc<RawValue>,
}

fn read_test(body: &[u8]) -> Result<TestCall, ApiError> {
    let mut fields = Fields::from_body(body)?;
    let event_type = fields.optional("event_type", "must be text", |text: String| {
        text.parse::<EventType>().map_err(|rule| rule.to_string())
    });
    let data = match fields.raw("data") {
        Some(data) if data.get().starts_with('{') => Some(Arc::from(data)),
        Some(_) => {
            fields.error("data", "must be a JSON object");
            None
        }
        None => None,
    };
    fields.finish().finish(Some(()))?;
    let event_type = event_type.map_or_else(test_event_type, Ok)?;
    Ok(TestCall { event_type, data: data.map_or_else(|| raw(TEST_DATA), Ok)? })
}

fn test_event_type() -> Result<EventType, ApiError> {
    TEST_EVENT_TYPE.parse().map_err(|_| ApiError::field("event_type", "is required"))
}

fn raw(json: &str) -> Result<Arc<RawValue>, ApiError> {
    RawValue::from_string(json.to_owned()).map(Arc::from).map_err(|_| ApiError::field("data", "must be a JSON object"))
}
