//! Operational events: what Outhook itself has to say to a tenant, sent like any event to those of its endpoints that ask for it by name.
//!
//! An event's id is derived from what it tells of, so that telling twice is one event: whoever finds, in a message that comes again, that something
//! may not have been told tells it again. Nothing is sent where nobody has asked, and a failed delivery of an operational event raises no further one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use crate::aws_error::AwsError;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::NewEvent;
use crate::domain::id::EventId;
use crate::domain::matching::{is_operational, reaches};
use crate::domain::tenant::Scope;
use crate::queue::messages::EventMessage;
use crate::services::Services;

/// What there is to say: the event type and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    event_id: EventId,
    event_type: &'static str,
    data: serde_json::Value,
    /// An event that is operational itself; its failures are not told of.
    silent: bool,
}

impl Notice {
    /// `delivery.failed`: the attempts of a delivery are used up.
    #[must_use]
    pub fn delivery_failed(delivery: &Delivery) -> Self {
        let last = delivery.attempts.last();
        let name = format!("{}/{}/{}", delivery.endpoint_id, delivery.event_id, delivery.attempt_count);
        Self {
            event_id: EventId::derived_from_message(delivery.updated_at, &name),
            event_type: "delivery.failed",
            data: json!({
                "endpoint_id": delivery.endpoint_id,
                "event_id": delivery.event_id,
                "event_type": delivery.event_type,
                "attempts": delivery.attempt_count,
                "last_status_code": last.and_then(|attempt| attempt.status_code),
                "last_error": last.and_then(|attempt| attempt.error.clone()),
            }),
            silent: is_operational(&delivery.event_type),
        }
    }

    /// `endpoint.disabled`: Outhook has given an endpoint up.
    #[must_use]
    pub fn endpoint_disabled(endpoint: &Endpoint) -> Self {
        let data =
            json!({ "endpoint_id": endpoint.id, "url": endpoint.settings.url, "reason": endpoint.disabled_reason });
        Self { event_id: of_version(endpoint), event_type: "endpoint.disabled", data, silent: false }
    }

    /// `endpoint.secret.rotated`: an endpoint has a new signing secret. Says nothing of the secret itself.
    #[must_use]
    pub fn secret_rotated(endpoint: &Endpoint) -> Self {
        let until = endpoint.signing.previous_expires_at.map(crate::domain::time::format);
        let data = json!({ "endpoint_id": endpoint.id, "previous_expires_at": until });
        Self { event_id: of_version(endpoint), event_type: "endpoint.secret.rotated", data, silent: false }
    }
}

/// The id of the event that tells of the change which made this version of an endpoint.
fn of_version(endpoint: &Endpoint) -> EventId {
    EventId::derived_from_message(endpoint.updated_at, &format!("{}/{}", endpoint.id, endpoint.version))
}

/// Tells a tenant what its endpoints ask to be told: one read, whatever there is to say, and one call per ten events. Repeating is safe.
///
/// # Errors
/// When AWS does not answer; some may be told then.
pub async fn tell(services: &Services, scope: Scope, notices: &[Notice]) -> Result<(), AwsError> {
    let messages: Vec<_> = notices
        .iter()
        .filter(|notice| !notice.silent)
        .filter_map(|notice| {
            // Any of these may be told a second time, after the first.
            let (event_id, event) = (notice.event_id, event_of(notice)?);
            Some(EventMessage { event_id, scope, event, request_id: None, resend: true })
        })
        .collect();
    if messages.is_empty() {
        return Ok(());
    }
    let directory = services.directory.endpoints(&BTreeSet::from([scope])).await?;
    let endpoints = directory.get(&scope).cloned().unwrap_or_default();
    let is_wanted = |message: &EventMessage| {
        let event = message.event.clone().accepted(message.event_id, scope, message.event_id.created_at());
        endpoints.iter().any(|endpoint| reaches(&event, endpoint))
    };
    let wanted: Vec<_> = messages.into_iter().filter(is_wanted).collect();
    services.queues.send_events(&wanted).await.into_iter().collect()
}

fn event_of(notice: &Notice) -> Option<NewEvent> {
    Some(NewEvent {
        event_type: notice.event_type.parse().ok()?,
        data: Arc::from(RawValue::from_string(notice.data.to_string()).ok()?),
        timestamp: None,
        channels: Vec::new(),
        endpoint_ids: Vec::new(),
        idempotency_key: None,
    })
}
