//! What the messages say. The events queue carries the contract's JSON; what only Outhook says rides in message attributes.

use serde::{Deserialize, Serialize};

use crate::domain::event::NewEvent;
use crate::domain::id::{EndpointId, EventId, ReplayId, TenantId};
use crate::domain::tenant::Scope;
use crate::domain::time;

/// The message attribute with the event's id, where the API has given it one.
pub const ATTRIBUTE_EVENT_ID: &str = "EventId";
/// The message attribute with the id of the HTTP request.
pub const ATTRIBUTE_REQUEST_ID: &str = "RequestId";
/// The message attribute that says the event may have been sent before.
pub const ATTRIBUTE_RESEND: &str = "Resend";
/// The message attribute of a dead letter with what was wrong.
pub const ATTRIBUTE_REASON: &str = "Reason";

/// An event that the API puts onto the events queue.
#[derive(Clone, Debug)]
pub struct EventMessage {
    /// The id that the caller was told.
    pub event_id: EventId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// The event.
    pub event: NewEvent,
    /// The HTTP request that it came with.
    pub request_id: Option<String>,
    /// Whether it may have been sent before under the same id.
    pub resend: bool,
}

impl EventMessage {
    /// The contract's JSON; `data` byte for byte as it came.
    #[must_use]
    pub fn body(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            tenant_id: TenantId,
            mode: crate::domain::tenant::Mode,
            r#type: &'a crate::domain::event_type::EventType,
            #[serde(skip_serializing_if = "Option::is_none")]
            timestamp: Option<String>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            channels: &'a [String],
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            endpoint_ids: &'a [EndpointId],
            data: &'a serde_json::value::RawValue,
        }
        let body = Body {
            tenant_id: self.scope.tenant_id,
            mode: self.scope.mode,
            r#type: &self.event.event_type,
            timestamp: self.event.timestamp.map(time::format),
            channels: &self.event.channels,
            endpoint_ids: &self.event.endpoint_ids,
            data: &self.event.data,
        };
        // Nothing in it can fail to be written: no maps with odd keys, no foreign types.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// What the retries queue carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RetryMessage {
    /// A wake: something may be due for an endpoint. Only the one whose token the endpoint's flow has is valid.
    Wake {
        /// Whose it is and in which mode.
        scope: Scope,
        /// The endpoint's id.
        endpoint_id: EndpointId,
        /// What tells the valid wake from others.
        token: String,
    },
    /// A part of the fan-out of an event that is on record: the endpoints from `first` to `last`, both included.
    FanOut {
        /// Whose it is and in which mode.
        scope: Scope,
        /// The event's id.
        event_id: EventId,
        /// The first endpoint of the part.
        first: EndpointId,
        /// The last endpoint of the part.
        last: EndpointId,
    },
    /// The next step of a bulk replay.
    Replay {
        /// Whose it is and in which mode.
        scope: Scope,
        /// The replay's id.
        replay_id: ReplayId,
    },
}

impl RetryMessage {
    /// The message as JSON.
    #[must_use]
    pub fn body(&self) -> String {
        // Plain structs of texts and numbers cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whose it is: the message group, so that no tenant's retries hold up another's.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Wake { scope, .. } | Self::FanOut { scope, .. } | Self::Replay { scope, .. } => scope.tenant_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tenant::Mode;
    use jiff::Timestamp;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn scope() -> Scope {
        Scope { tenant_id: TenantId::from_parts(NOW, [1; 10]), mode: Mode::Test }
    }

    proptest! {
        /// What the API accepts, deliver can read.
        #[test]
        fn any_event_that_the_api_accepts_is_read_from_its_message(
            year in 1960_i32..=9999,
            offset in "[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]|Z",
            names in prop::collection::vec("[a-zA-Z0-9_]{1,12}", 1..5),
            channels in prop::collection::vec("[a-zA-Z0-9._-]{1,20}", 0..4),
            text in any::<String>(),
            number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,5})?",
            depth in 0_usize..110,
        ) {
            let nested = format!("{}{number}{}", "[".repeat(depth), "]".repeat(depth));
            let body = format!(
                r#"{{"type":"{}","timestamp":"{year:04}-01-01T00:30:00{offset}","channels":{},"data":{{"t":{},"n":{nested}}}}}"#,
                names.join("."),
                serde_json::to_string(&channels).unwrap(),
                serde_json::to_string(&text).unwrap(),
            );
            if let Ok(event) = NewEvent::from_body(body.as_bytes()) {
                let event_id = EventId::from_parts(NOW, [2; 10]);
                let message = EventMessage { event_id, scope: scope(), event, request_id: None, resend: false };
                let (_, read) = NewEvent::from_message(message.body().as_bytes()).unwrap();
                prop_assert_eq!(read.data.get(), message.event.data.get());
                prop_assert_eq!((read.timestamp, read.channels), (message.event.timestamp, message.event.channels));
            }
        }
    }

    #[test]
    fn event_message_is_read_back_as_the_contract_says_with_its_data_untouched() {
        let event = NewEvent::from_body(
            br#"{"type":"a.b","data":{"n":1.0 },"channels":["c"],"timestamp":"2026-01-02T03:04:05Z","idempotency_key":"k"}"#,
        )
        .unwrap();
        let event_id = EventId::from_parts(NOW, [2; 10]);
        let message = EventMessage { event_id, scope: scope(), event, request_id: None, resend: false };
        let (read_scope, read) = NewEvent::from_message(message.body().as_bytes()).unwrap();
        assert_eq!(read_scope, scope());
        assert_eq!(read.data.get(), r#"{"n":1.0 }"#);
        assert_eq!(read.channels, ["c"]);
        assert_eq!(read.timestamp, message.event.timestamp);
        // The API has already given the event its id; the key has done its work.
        assert_eq!(read.idempotency_key, None);
    }

    #[test]
    fn retry_messages_read_back_and_unknown_kinds_are_refused() {
        let endpoint_id = EndpointId::from_parts(NOW, [3; 10]);
        let message = RetryMessage::Wake { scope: scope(), endpoint_id, token: "0123456789abcdef".to_owned() };
        assert_eq!(serde_json::from_str::<RetryMessage>(&message.body()).unwrap(), message);
        assert!(serde_json::from_str::<RetryMessage>(r#"{"kind":"other"}"#).is_err());
    }
}
