//! An endpoint as callers see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::Value;
use shared::domain::endpoint::{Authorization, Endpoint, EndpointStatus, TIMEOUT_SECONDS_MAX};
use shared::domain::event_type::EventTypePattern;
use shared::domain::id::{EndpointId, KeyId};
use shared::domain::payload::PayloadField;
use shared::domain::retry::RetryPolicy;
use shared::domain::signature::Signature;
use shared::domain::time::Time;

use crate::endpoint_health::HealthView;

/// An endpoint as callers see it; with its secret where that is shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Endpoint")]
pub(crate) struct EndpointView {
    id: EndpointId,
    uid: Option<String>,
    #[schemars(extend("format" = "uri"))]
    url: String,
    name: Option<String>,
    description: Option<String>,
    event_types: Vec<EventTypePattern>,
    channels: Vec<String>,
    status: EndpointStatus,
    /// Why Outhook gave it up.
    disabled_reason: Option<String>,
    authorization: Authorization,
    headers: BTreeMap<String, String>,
    signature: SignatureView,
    payload_fields: Vec<PayloadField>,
    retry: RetryPolicy,
    #[schemars(range(min = 1, max = TIMEOUT_SECONDS_MAX))]
    timeout_seconds: u32,
    signing: SigningView,
    health: HealthView,
    /// Counts changes; `ETag` and `If-Match` speak of it.
    version: u64,
    created_at: Time,
    /// The key that made it.
    created_by: KeyId,
    updated_at: Time,
    /// The key that changed it last; null when Outhook did.
    updated_by: Option<KeyId>,
    /// The signing secret; only in the answer that makes the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    secret: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline, transform = public_key_of_ed25519)]
pub(crate) struct SignatureView {
    #[serde(flatten)]
    signature: Signature,
    /// `whpk_…`, for the receiver of an `ed25519` signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    public_key: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct SigningView {
    /// Whether one secret signs or two.
    #[schemars(extend("enum" = ["stable", "overlapping"]))]
    state: &'static str,
    /// When the newest secret was made.
    created_at: Time,
    /// Until when the previous one signs too.
    previous_expires_at: Option<Time>,
}

/// In the schema: only the scheme that has a public key shows one.
fn public_key_of_ed25519(schema: &mut Schema) {
    schema.remove("type");
    let public_key = schema.remove("properties").unwrap_or_default()["public_key"].take();
    let schemes = schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
    for scheme in schemes.filter(|scheme| scheme["properties"]["scheme"]["const"] == "ed25519") {
        scheme["properties"]["public_key"] = public_key.clone();
    }
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
                created_at: endpoint.signing.created_at.into(),
                previous_expires_at: previous_expires_at.map(Time),
            },
            health,
            version: endpoint.version,
            created_at: endpoint.created_at.into(),
            created_by: endpoint.created_by,
            updated_at: endpoint.updated_at.into(),
            updated_by: endpoint.updated_by.key(),
            secret,
        }
    }
}
