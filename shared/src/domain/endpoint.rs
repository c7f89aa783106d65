//! An endpoint: a receiver's URL with its subscription, signing, authorization and retry policy.
//!
//! Signing keys and the receiver's credentials are never here as they are: they lie in Secrets Manager, or encrypted beside the rest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event_type::EventTypePattern;
use super::id::{EndpointId, KeyId};
use super::payload::PayloadField;
use super::retry::RetryPolicy;
use super::signature::Signature;
use super::signing_secret::Sealed;
use super::tenant::Scope;
use super::validation::FieldErrors;

/// How long one attempt may take unless the endpoint says otherwise, in seconds.
pub const TIMEOUT_SECONDS_DEFAULT: u32 = 15;
/// The longest that one attempt may take, in seconds. Deliver's own timeout and the queues' visibility are made from it.
pub const TIMEOUT_SECONDS_MAX: u32 = 30;

/// Whether an endpoint gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EndpointStatus {
    /// It does.
    Active,
    /// The caller has paused it; events are recorded as skipped.
    Paused,
    /// Outhook has given it up; events are recorded as skipped. Only a change back to active ends that.
    Disabled,
}

impl EndpointStatus {
    /// Every status there is.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Disabled];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// How requests to the receiver are authorized, without the credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(inline)]
pub enum Authorization {
    /// Not at all; the signature is enough.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// The user; the password is a credential.
        username: String,
    },
    /// `Authorization: Bearer`.
    Bearer,
    /// A header of the receiver's choice.
    Header {
        /// The header, in lower case; its value is a credential.
        name: String,
    },
}

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A caller, with this key.
    Key(KeyId),
    /// Outhook itself.
    Outhook,
}

impl Author {
    /// The caller's key, if it was a caller.
    #[must_use]
    pub fn key(self) -> Option<KeyId> {
        match self {
            Self::Key(id) => Some(id),
            Self::Outhook => None,
        }
    }
}

/// What is known of an endpoint's signing keys without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The version of the secret in Secrets Manager that is current; deliver caches by it.
    pub secret_version: String,
    /// When the newest key was made.
    pub created_at: Timestamp,
    /// The public key of an asymmetric scheme, `whpk_…`.
    pub public_key: Option<String>,
    /// Until when the key before it signs too.
    pub previous_expires_at: Option<Timestamp>,
    /// The keys and the credential themselves, where they are kept here, encrypted.
    pub sealed: Option<Sealed>,
}

/// A receiver's URL with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// What the caller says of it.
    pub settings: EndpointSettings,
    /// Whether it gets events.
    pub status: EndpointStatus,
    /// Why Outhook disabled it.
    pub disabled_reason: Option<String>,
    /// Its signing keys, without the keys.
    pub signing: Signing,
    /// Counts changes, from 1.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// With which key.
    pub created_by: KeyId,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: Author,
}

/// The most that all fields of an endpoint take together, as JSON, in bytes: deliver keeps the endpoints of the tenants that it serves in memory.
pub const ENDPOINT_BYTES_MAX: usize = 64 * 1_024;

/// What the caller says of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointSettings {
    /// The caller's own unique key, or `None`.
    pub uid: Option<String>,
    /// Where webhooks go, as the URL standard writes it.
    pub url: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it subscribes to; empty means everything.
    pub event_types: Vec<EventTypePattern>,
    /// Which channels reach it; empty means all.
    pub channels: Vec<String>,
    /// How its requests are authorized.
    pub authorization: Authorization,
    /// Headers that go along with every request, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// How its requests are signed.
    pub signature: Signature,
    /// Which fields its body has; empty means the standard body.
    pub payload_fields: Vec<PayloadField>,
    /// How often and how far apart it is tried.
    pub retry: RetryPolicy,
    /// How long one attempt may take, 1 to [`TIMEOUT_SECONDS_MAX`].
    pub timeout_seconds: u32,
}

impl EndpointSettings {
    /// Whether the fields go together: no header is set by more than one of `authorization`, `headers` and `signature`, of which one would silently be lost;
    /// and all of them together have at most [`ENDPOINT_BYTES_MAX`].
    ///
    /// # Errors
    /// Each field that sets a header which a field before it sets; the largest field, where they are too large together.
    pub fn check(&self) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        if let Some(largest) = self.largest_if_too_large() {
            errors
                .add(largest, format!("must be smaller: an endpoint has at most {ENDPOINT_BYTES_MAX} bytes, as JSON"));
        }
        let authorization = match &self.authorization {
            Authorization::None => None,
            Authorization::Basic { .. } | Authorization::Bearer => Some("authorization"),
            Authorization::Header { name } => Some(name.as_str()),
        };
        let own: Vec<&str> = self.headers.keys().map(String::as_str).collect();
        if let Some(name) = authorization.filter(|name| own.contains(name)) {
            errors.add("headers", format!("must not hold {name}, which authorization sets"));
        }
        for name in self.signature.chosen_headers() {
            if authorization == Some(name) || name == "authorization" {
                errors.add("signature", format!("must not use {name}, which is for authorization"));
            } else if own.contains(&name) {
                errors.add("signature", format!("must not use {name}, which headers holds"));
            }
        }
        if errors.0.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The name of the largest field, if all of them together are too large.
    fn largest_if_too_large(&self) -> Option<String> {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else { return None };
        let sizes: Vec<_> = fields.into_iter().map(|(name, value)| (value.to_string().len(), name)).collect();
        let total: usize = sizes.iter().map(|(size, name)| size + name.len() + r#""":,"#.len()).sum();
        sizes.into_iter().max().filter(|_| total > ENDPOINT_BYTES_MAX).map(|(_, name)| name)
    }

    /// The settings of an endpoint of which only the URL is said.
    #[must_use]
    pub fn with_defaults(url: String) -> Self {
        Self {
            uid: None,
            url,
            name: None,
            description: None,
            event_types: Vec::new(),
            channels: Vec::new(),
            authorization: Authorization::None,
            headers: BTreeMap::new(),
            signature: Signature::Standard,
            payload_fields: Vec::new(),
            retry: RetryPolicy::default(),
            timeout_seconds: TIMEOUT_SECONDS_DEFAULT,
        }
    }
}

#[cfg(test)]
impl Endpoint {
    /// An active endpoint that gets everything, for tests; another for each `entropy`.
    pub(crate) fn sample(entropy: u8) -> Self {
        let now = Timestamp::constant(1_700_000_000, 0);
        let tenant_id = crate::domain::id::TenantId::from_parts(now, [0; 10]);
        let key_id = KeyId::from_parts(now, [0; 10]);
        Self {
            id: EndpointId::from_parts(now, [entropy; 10]),
            scope: Scope { tenant_id, mode: crate::domain::tenant::Mode::Live },
            settings: EndpointSettings::with_defaults("https://example.com/".to_owned()),
            status: EndpointStatus::Active,
            disabled_reason: None,
            signing: Signing {
                secret_version: String::new(),
                created_at: now,
                public_key: None,
                previous_expires_at: None,
                sealed: None,
            },
            version: 1,
            created_at: now,
            created_by: key_id,
            updated_at: now,
            updated_by: Author::Outhook,
        }
    }
}
