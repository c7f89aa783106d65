//! An event: something that happened, sent by the operator's backend once, and fanned out to endpoints.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde_json::value::RawValue;

use super::endpoint_input::{CHANNELS_MAX, check_channels};
use super::event_type::EventType;
use super::id::{EndpointId, EventId};
use super::schema::{AnyObject, Printable, TimeInput};
use super::tenant::{Mode, NAME_CHARACTERS_MAX, Scope};
use super::time;
use super::validation::{FieldErrors, Fields, NONCHARACTERS, printable};

/// The largest event, `data` with its envelope, in bytes: 256 KiB.
pub const EVENT_BYTES_MAX: usize = 256 * 1_024;
/// The largest message of the events queue, in bytes: an event, and what the API adds to say whose it is.
pub const MESSAGE_BYTES_MAX: usize = EVENT_BYTES_MAX + 4 * 1_024;
/// The most endpoints that an event can name.
pub const ENDPOINT_IDS_MAX: usize = 100;
/// The longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 256;

/// An event that has been accepted.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id, the `webhook-id` of all its deliveries.
    pub id: EventId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// What happened.
    pub event_type: EventType,
    /// When it happened, as the sender says; otherwise when it was accepted.
    pub timestamp: Timestamp,
    /// A JSON object, byte for byte as it came.
    pub data: Arc<RawValue>,
    /// Restricts it to endpoints that share a channel; empty means all.
    pub channels: Vec<String>,
    /// Restricts it to these endpoints; empty means all.
    pub endpoint_ids: Vec<EndpointId>,
}

/// An event as the sender describes it, before it has an id.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("description" = format!("an event, at most {EVENT_BYTES_MAX} bytes")))]
pub struct NewEvent {
    /// What happened.
    #[schemars(rename = "type")]
    pub event_type: EventType,
    /// Any JSON object; receivers get it byte for byte.
    #[schemars(with = "AnyObject")]
    pub data: Arc<RawValue>,
    /// When it happened; by default now.
    #[schemars(with = "Option<TimeInput>")]
    pub timestamp: Option<Timestamp>,
    /// Only to endpoints that share one of these, or that have none.
    #[schemars(with = "Option<Vec<Printable<NAME_CHARACTERS_MAX>>>", length(max = CHANNELS_MAX))]
    pub channels: Vec<String>,
    /// Only to these endpoints.
    #[schemars(with = "Option<Vec<EndpointId>>", length(min = 1, max = ENDPOINT_IDS_MAX))]
    pub endpoint_ids: Vec<EndpointId>,
    /// Names it for the sender, so that sending it again does nothing.
    #[schemars(with = "Option<Printable<IDEMPOTENCY_KEY_CHARACTERS_MAX>>")]
    pub idempotency_key: Option<String>,
}

impl NewEvent {
    /// Reads the body of `POST /v1/events`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8]) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let event = Self::read(&mut fields);
        fields.finish().finish(event)
    }

    /// Reads a message of the events queue: the same with `tenant_id` and `mode`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_message(body: &[u8]) -> Result<(Scope, Self), FieldErrors> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(FieldErrors::one("", format!("must be at most {MESSAGE_BYTES_MAX} bytes")));
        }
        let mut fields = Fields::from_body(body)?;
        let tenant_id = fields.required("tenant_id", "must be text", |id: String| {
            id.parse().map_err(|rule: super::id::InvalidId| rule.to_string())
        });
        let mode = fields.required("mode", "must be live or test", |mode: String| mode.parse::<Mode>());
        let event = Self::read(&mut fields);
        let scope = tenant_id.zip(mode).map(|(tenant_id, mode)| Scope { tenant_id, mode });
        fields.finish().finish(scope.zip(event))
    }

    fn read(fields: &mut Fields) -> Option<Self> {
        let event_type = fields.required("type", "must be text", |text: String| {
            text.parse().map_err(|rule: super::event_type::InvalidEventType| rule.to_string())
        });
        let data = match fields.raw("data") {
            Some(raw) if raw.get().contains(NONCHARACTERS) => {
                fields.error("data", "must not contain U+FFFE or U+FFFF unless escaped; no queue message carries them");
                None
            }
            Some(raw) if raw.get().starts_with('{') => Some(Arc::from(raw)),
            Some(_) => {
                fields.error("data", "must be a JSON object");
                None
            }
            None => {
                fields.error("data", "is required");
                None
            }
        };
        let timestamp = fields.optional("timestamp", "must be text", |text: String| time::parse(&text));
        let channels = fields.optional("channels", "must be a list of text", check_channels);
        let endpoint_ids = fields.optional("endpoint_ids", "must be a list of text", check_endpoint_ids);
        let idempotency_key = fields
            .optional("idempotency_key", "must be text", |key: String| printable(key, IDEMPOTENCY_KEY_CHARACTERS_MAX));
        Some(Self {
            event_type: event_type?,
            data: data?,
            timestamp,
            channels: channels.unwrap_or_default(),
            endpoint_ids: endpoint_ids.unwrap_or_default(),
            idempotency_key,
        })
    }

    /// The event under its id; `accepted_at` stands in for a time that the sender did not give.
    #[must_use]
    pub fn accepted(self, id: EventId, scope: Scope, accepted_at: Timestamp) -> Event {
        Event {
            id,
            scope,
            event_type: self.event_type,
            timestamp: self.timestamp.unwrap_or(accepted_at),
            data: self.data,
            channels: self.channels,
            endpoint_ids: self.endpoint_ids,
        }
    }
}

/// Endpoints that are named: 1 to [`ENDPOINT_IDS_MAX`] ids.
///
/// # Errors
/// The rule.
pub fn check_endpoint_ids(texts: Vec<String>) -> Result<Vec<EndpointId>, String> {
    if texts.is_empty() || texts.len() > ENDPOINT_IDS_MAX {
        return Err(format!("must be 1 to {ENDPOINT_IDS_MAX} endpoint ids"));
    }
    texts.iter().map(|text| text.parse().map_err(|rule: super::id::InvalidId| format!("each {rule}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_keeps_its_bytes() {
        let event =
            NewEvent::from_body(br#"{"type":"a.b","data":{ "z": 1.0, "a": 12345678901234567890123,"e":"\u00e9" }}"#)
                .unwrap();
        assert_eq!(event.data.get(), r#"{ "z": 1.0, "a": 12345678901234567890123,"e":"\u00e9" }"#);
    }

    #[test]
    fn every_wrong_field_of_a_message_is_named_at_once() {
        let body = br#"{"tenant_id":"x","mode":"prod","type":"a..b","data":[],"timestamp":"now","channels":"c","endpoint_ids":[],"id":1}"#;
        let named: Vec<_> = NewEvent::from_message(body).unwrap_err().0.into_iter().map(|e| e.field).collect();
        assert_eq!(named, ["tenant_id", "mode", "type", "data", "timestamp", "channels", "endpoint_ids", "id"]);
    }

    #[test]
    fn event_over_its_limit_is_refused() {
        let body = format!(r#"{{"type":"a","data":{{"x":"{}"}}}}"#, "x".repeat(MESSAGE_BYTES_MAX));
        assert!(NewEvent::from_message(body.as_bytes()).is_err());
    }
}
