//! An endpoint; its keys and credentials are elsewhere, or encrypted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};

use super::converts;
use crate::domain::endpoint::{Author, Authorization, Endpoint, EndpointSettings, EndpointStatus, Signing};
use crate::domain::event_type::EventTypePattern;
use crate::domain::id::{EndpointId, KeyId, TenantId};
use crate::domain::payload::PayloadField;
use crate::domain::retry::RetryPolicy;
use crate::domain::signature::Signature;
use crate::domain::signing_secret::Sealed;
use crate::domain::tenant::{Mode, Scope};
use crate::store::Stored;

/// An endpoint. It is always written as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct EndpointItem {
    id: EndpointId,
    tenant_id: TenantId,
    mode: Mode,
    uid: Option<String>,
    url: String,
    name: Option<String>,
    description: Option<String>,
    event_types: Vec<EventTypePattern>,
    channels: Vec<String>,
    authorization: Authorization,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    signature: Signature,
    #[serde(default)]
    payload_fields: Vec<PayloadField>,
    retry: RetryPolicy,
    timeout_seconds: u32,
    status: EndpointStatus,
    disabled_reason: Option<String>,
    signing: SigningItem,
    version: u64,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    created_by: KeyId,
    #[serde(with = "millisecond::required")]
    updated_at: Timestamp,
    /// Null when Outhook changed it last.
    updated_by: Option<KeyId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SigningItem {
    secret_version: String,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(default, with = "millisecond::optional")]
    previous_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

impl Stored for EndpointItem {
    const KIND: &'static str = "endpoint";
}

converts!(SigningItem, Signing { secret_version, created_at, public_key, previous_expires_at, sealed });

impl From<Endpoint> for EndpointItem {
    fn from(endpoint: Endpoint) -> Self {
        let Endpoint {
            id,
            scope: Scope { tenant_id, mode },
            settings,
            status,
            disabled_reason,
            signing,
            version,
            created_at,
            created_by,
            updated_at,
            updated_by,
        } = endpoint;
        let EndpointSettings {
            uid,
            url,
            name,
            description,
            event_types,
            channels,
            authorization,
            headers,
            signature,
            payload_fields,
            retry,
            timeout_seconds,
        } = settings;
        Self {
            id,
            tenant_id,
            mode,
            uid,
            url,
            name,
            description,
            event_types,
            channels,
            authorization,
            headers,
            signature,
            payload_fields,
            retry,
            timeout_seconds,
            status,
            disabled_reason,
            signing: signing.into(),
            version,
            created_at,
            created_by,
            updated_at,
            updated_by: updated_by.key(),
        }
    }
}

impl From<EndpointItem> for Endpoint {
    fn from(item: EndpointItem) -> Self {
        let EndpointItem {
            id,
            tenant_id,
            mode,
            uid,
            url,
            name,
            description,
            event_types,
            channels,
            authorization,
            headers,
            signature,
            payload_fields,
            retry,
            timeout_seconds,
            status,
            disabled_reason,
            signing,
            version,
            created_at,
            created_by,
            updated_at,
            updated_by,
        } = item;
        let settings = EndpointSettings {
            uid,
            url,
            name,
            description,
            event_types,
            channels,
            authorization,
            headers,
            signature,
            payload_fields,
            retry,
            timeout_seconds,
        };
        Self {
            id,
            scope: Scope { tenant_id, mode },
            settings,
            status,
            disabled_reason,
            signing: signing.into(),
            version,
            created_at,
            created_by,
            updated_at,
            updated_by: updated_by.map_or(Author::Outhook, Author::Key),
        }
    }
}
