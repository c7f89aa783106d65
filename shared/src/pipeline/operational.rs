//! Operational events: what Outhook itself has to say to a tenant, sent like any event to those of its endpoints that ask for it by name.
//!
//! An event's id is derived from what it tells of, and is claimed like an idempotency key before it is sent, so that emitting twice is one event: code that
//! cannot be sure that it was emitted emits it again. Nothing is sent where nobody has asked, and a failed delivery of an operational event
//! raises no further one.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::aws_error::AwsError;
use crate::directory::Endpoints;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::NewEvent;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::matching::{is_operational, subscribes};
use crate::domain::tenant::Scope;
use crate::domain::time::Time;
use crate::pipeline::publish::publish_once;
use crate::queue::messages::EventMessage;
use crate::services::Services;

const DELIVERY_FAILED: &str = "delivery.failed";

/// What there is to say: the event type and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationalEvent {
    event_id: EventId,
    event_type: &'static str,
    data: serde_json::Value,
    /// An event that is operational itself; its failures emit nothing.
    silent: bool,
}

/// What `delivery.failed` says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct DeliveryFailed {
    endpoint_id: EndpointId,
    event_id: EventId,
    event_type: EventType,
    attempts: u32,
    #[schemars(range(min = 100, max = 999))]
    last_status_code: Option<u16>,
    last_error: Option<String>,
}

/// What `endpoint.disabled` says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct EndpointDisabled {
    endpoint_id: EndpointId,
    url: String,
    reason: Option<String>,
}

/// What `endpoint.secret.rotated` says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct SecretRotated {
    endpoint_id: EndpointId,
    /// Until when the old one signs too.
    previous_expires_at: Option<Time>,
}

impl OperationalEvent {
    /// `delivery.failed`: the attempts of a delivery are used up.
    #[must_use]
    pub fn delivery_failed(delivery: &Delivery) -> Self {
        let last = delivery.attempts.last();
        let name = format!("{}/{}/{}", delivery.endpoint_id, delivery.event_id, delivery.attempt_count);
        Self {
            event_id: EventId::derived_from_message(delivery.updated_at, &name),
            event_type: DELIVERY_FAILED,
            data: json!(DeliveryFailed {
                endpoint_id: delivery.endpoint_id,
                event_id: delivery.event_id,
                event_type: delivery.event_type.clone(),
                attempts: delivery.attempt_count,
                last_status_code: last.and_then(|attempt| attempt.status_code),
                last_error: last.and_then(|attempt| attempt.error.clone()),
            }),
            silent: is_operational(&delivery.event_type),
        }
    }

    /// `endpoint.disabled`: Outhook has given an endpoint up.
    #[must_use]
    pub fn endpoint_disabled(endpoint: &Endpoint) -> Self {
        let (url, reason) = (endpoint.settings.url.clone(), endpoint.disabled_reason.clone());
        let data = json!(EndpointDisabled { endpoint_id: endpoint.id, url, reason });
        Self { event_id: of_version(endpoint), event_type: "endpoint.disabled", data, silent: false }
    }

    /// `endpoint.secret.rotated`: an endpoint has a new signing secret. Says nothing of the secret itself.
    #[must_use]
    pub fn secret_rotated(endpoint: &Endpoint) -> Self {
        let previous_expires_at = endpoint.signing.previous_expires_at.map(Time);
        let data = json!(SecretRotated { endpoint_id: endpoint.id, previous_expires_at });
        Self { event_id: of_version(endpoint), event_type: "endpoint.secret.rotated", data, silent: false }
    }
}

/// The id of the event that tells of the change which made this version of an endpoint.
fn of_version(endpoint: &Endpoint) -> EventId {
    EventId::derived_from_message(endpoint.updated_at, &format!("{}/{}", endpoint.id, endpoint.version))
}

/// Sends a tenant the operational events that its endpoints ask for: one read where there is something to say, and a claim, a message and its confirmation
/// for each. Repeating is safe: each is sent once.
///
/// # Errors
/// When AWS does not answer; some may be sent then.
pub async fn emit(services: &Services, scope: Scope, events: &[OperationalEvent]) -> Result<(), AwsError> {
    if events.iter().all(|event| event.silent) {
        return Ok(());
    }
    let directory = services.directory.endpoints(&BTreeSet::from([scope])).await?;
    let endpoints = directory.get(&scope).cloned().unwrap_or_default();
    for event in events.iter().filter(|event| is_wanted(event.event_type, event.silent, &endpoints)) {
        let Some(new) = new_event(event) else { continue };
        let message = EventMessage { event_id: event.event_id, scope, event: new, request_id: None, resend: false };
        // No caller's key begins so: they are printable.
        publish_once(services, message, &format!("\u{0}operational/{}", event.event_id), None).await?;
    }
    Ok(())
}

/// Whether any of these endpoints subscribes to `delivery.failed`. A failed delivery of an operational event emits nothing.
#[must_use]
pub fn failures_are_wanted(delivered: &EventType, endpoints: &Endpoints) -> bool {
    is_wanted(DELIVERY_FAILED, is_operational(delivered), endpoints)
}

fn is_wanted(event_type: &str, silent: bool, endpoints: &Endpoints) -> bool {
    let Ok(event_type) = event_type.parse::<EventType>() else { return false };
    !silent && endpoints.iter().any(|endpoint| subscribes(&event_type, endpoint))
}

fn new_event(event: &OperationalEvent) -> Option<NewEvent> {
    Some(NewEvent {
        event_type: event.event_type.parse().ok()?,
        data: Arc::from(RawValue::from_string(event.data.to_string()).ok()?),
        timestamp: None,
        channels: Vec::new(),
        endpoint_ids: Vec::new(),
        idempotency_key: None,
    })
}
