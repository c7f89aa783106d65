//! Operational events: what Outhook itself has to say to a tenant, sent like any event to those of its endpoints that ask for it by name.
//!
//! Best effort: a crash between what happened and the telling leaves it untold. Nothing is sent where nobody has asked, and a failed delivery of an
//! operational event raises no further one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use crate::domain::delivery::Delivery;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::NewEvent;
use crate::domain::id::EventId;
use crate::domain::matching::{is_operational, reaches};
use crate::domain::tenant::Scope;
use crate::queue::messages::EventMessage;
use crate::random;
use crate::services::Services;

/// What there is to say: the event type and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
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
        Self {
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
        Self { event_type: "endpoint.disabled", data, silent: false }
    }

    /// `endpoint.secret.rotated`: an endpoint has a new signing secret. Says nothing of the secret itself.
    #[must_use]
    pub fn secret_rotated(endpoint: &Endpoint) -> Self {
        let until = endpoint.signing.previous_expires_at.map(crate::domain::time::format);
        let data = json!({ "endpoint_id": endpoint.id, "previous_expires_at": until });
        Self { event_type: "endpoint.secret.rotated", data, silent: false }
    }
}

/// Tells a tenant what its endpoints ask to be told: one read, whatever there is to say, and one call per ten events.
pub async fn tell(services: &Services, scope: Scope, notices: &[Notice]) {
    let now = services.clock.now();
    let messages: Vec<_> = notices
        .iter()
        .filter(|notice| !notice.silent)
        .filter_map(|notice| {
            let event_id = EventId::from_parts(now, random::bytes());
            Some(EventMessage { event_id, scope, event: event_of(notice)?, request_id: None, resend: false })
        })
        .collect();
    if messages.is_empty() {
        return;
    }
    let wanted = match services.directory.endpoints(&BTreeSet::from([scope])).await {
        Ok(directory) => {
            let endpoints = directory.get(&scope).cloned().unwrap_or_default();
            let is_wanted = |message: &EventMessage| {
                let event = message.event.clone().accepted(message.event_id, scope, now);
                endpoints.iter().any(|endpoint| reaches(&event, endpoint))
            };
            messages.into_iter().filter(is_wanted).collect::<Vec<_>>()
        }
        Err(error) => {
            tracing::warn!(%error, "a tenant could not be told");
            return;
        }
    };
    for result in services.queues.send_events(&wanted).await {
        if let Err(error) = result {
            tracing::warn!(%error, "a tenant could not be told");
        }
    }
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
