//! What a request to a receiver looks like. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::domain::endpoint::{Authorization, Endpoint};
use crate::domain::event::Event;
use crate::domain::payload::{PayloadField, PayloadTooLarge, payload};
use crate::domain::signing_secret::{Credential, SecretDocument};
use crate::signing::{self, Content};

/// One request, ready to be sent.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// The URL.
    pub url: String,
    /// All headers but those of the connection, `host`, `user-agent` and `content-length`.
    pub headers: HeaderMap,
    /// The bytes that are signed and sent.
    pub body: Bytes,
    /// How long the request may take, whole.
    pub timeout_seconds: u32,
}

impl WebhookRequest {
    /// The request of an attempt at `now`: signed with the current keys, authorized as the endpoint says, its own headers beside ours.
    /// `payload_fields` say what the body is made of.
    ///
    /// # Errors
    /// When the body would be too large.
    pub fn new(
        endpoint: &Endpoint,
        payload_fields: &[PayloadField],
        secrets: &SecretDocument,
        event: &Event,
        now: Timestamp,
    ) -> Result<Self, PayloadTooLarge> {
        let settings = &endpoint.settings;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            insert(&mut headers, name, value);
        }
        if let Some((name, value)) = authorization(&settings.authorization, secrets.credential.as_ref()) {
            insert(&mut headers, &name, &value);
            if let Some(value) = headers.get_mut(name.as_str()) {
                value.set_sensitive(true);
            }
        }
        // Last, so that nothing above can stand in for them.
        let payload = payload(event, payload_fields)?;
        let signed_fields = payload.signed_fields.as_deref();
        let content = Content { event_id: event.id, at: now, body: &payload.body, signed_fields };
        for (name, value) in signing::headers(&settings.signature, secrets, &content) {
            insert(&mut headers, &name, &value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (url, timeout_seconds) = (settings.url.clone(), settings.timeout_seconds);
        Ok(Self { url, headers, body: payload.body.into(), timeout_seconds })
    }
}

fn authorization(how: &Authorization, credential: Option<&Credential>) -> Option<(String, String)> {
    let credential = credential?.expose();
    match how {
        Authorization::None => None,
        Authorization::Basic { username } => {
            let encoded = STANDARD.encode(format!("{username}:{credential}"));
            Some((AUTHORIZATION.to_string(), format!("Basic {encoded}")))
        }
        Authorization::Bearer => Some((AUTHORIZATION.to_string(), format!("Bearer {credential}"))),
        Authorization::Header { name } => Some((name.clone(), credential.to_owned())),
    }
}

/// Names and values were checked when the endpoint was made; one that is no header all the same is left out, not sent half.
fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
