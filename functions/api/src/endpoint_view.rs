//! An endpoint as callers see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::endpoint::{Authorization, Endpoint, EndpointStatus};
use shared::domain::event_type::EventTypePattern;
use shared::domain::id::{EndpointId, KeyId};
use shared::domain::payload::PayloadField;
use shared::domain::retry::RetryPolicy;
use shared::domain::signature::Signature;
use shared::domain::time::{rfc3339, rfc3339_option};

use crate::endpoint_health::HealthView;

/// An endpoint as callers see it; with its secret where that is shown.
#[derive(Serialize)]
pub(crate) struct EndpointView {
    id: EndpointId,
    uid: Option<String>,
    url: String,
    name: Option<String>,
    description: Option<String>,
    event_types: Vec<EventTypePattern>,
    channels: Vec<String>,
    status: EndpointStatus,
    disabled_reason: Option<String>,
    authorization: Authorization,
    headers: BTreeMap<String, String>,
    signature: SignatureView,
    payload_fields: Vec<PayloadField>,
    retry: RetryPolicy,
    timeout_seconds: u32,
    signing: SigningView,
    health: HealthView,
    version: u64,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    created_by: KeyId,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
    updated_by: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Serialize)]
struct SignatureView {
    #[serde(flatten)]
    signature: Signature,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

#[derive(Serialize)]
struct SigningView {
    state: &'static str,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_option")]
    previous_expires_at: Option<Timestamp>,
}

impl EndpointView {
    pub(crate) fn new(endpoint: Endpoint, secret: Option<String>, health: HealthView, now: Timestamp) -> Self {
        let previous_expires_at = endpoint.signing.previous_expires_at.filter(|until| now < *until);
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            uid: settings.uid,
            url: settings.url,
            name: settings.name,
            description: settings.description,
            event_types: settings.event_types,
            channels: settings.channels,
            status: endpoint.status,
            disabled_reason: endpoint.disabled_reason,
            authorization: settings.authorization,
            headers: settings.headers,
            signature: SignatureView { signature: settings.signature, public_key: endpoint.signing.public_key },
            payload_fields: settings.payload_fields,
            retry: settings.retry,
            timeout_seconds: settings.timeout_seconds,
            signing: SigningView {
                state: if previous_expires_at.is_some() { "overlapping" } else { "stable" },
                created_at: endpoint.signing.created_at,
                previous_expires_at,
            },
            health,
            version: endpoint.version,
            created_at: endpoint.created_at,
            created_by: endpoint.created_by,
            updated_at: endpoint.updated_at,
            updated_by: endpoint.updated_by,
            secret,
        }
    }
}
