//! An event with its payload, compressed where that is large.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;
use zstd::bulk::Compressor;

use crate::aws_error::AwsError;
use crate::domain::event::Event;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::tenant::Scope;
use crate::store::Stored;

/// Data up to this size stays readable text; below a write unit compression gains nothing.
const DATA_PLAIN_BYTES_MAX: usize = 512;
/// The most that stored data may unfold to, as a guard against a broken item; the largest event is smaller.
const DATA_BYTES_MAX: usize = 1_024 * 1_024;
/// zstd's own default: the best of the fast levels.
const COMPRESSION_LEVEL: i32 = 3;

/// An event with its payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct EventItem {
    id: EventId,
    #[serde(flatten)]
    scope: Scope,
    event_type: EventType,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    timestamp: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_zstd: Option<ByteBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endpoint_ids: Vec<EndpointId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    delivered_to: Vec<EndpointId>,
    /// Where that is before `expires_at`: it is kept on for what may still wait for it.
    #[serde(default, with = "jiff::fmt::serde::timestamp::second::optional", skip_serializing_if = "Option::is_none")]
    shown_until: Option<Timestamp>,
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    expires_at: Timestamp,
}

impl Stored for EventItem {
    const KIND: &'static str = "event";
}

impl EventItem {
    pub(in crate::store) fn new(event: &Event, delivered_to: &[EndpointId], kept: Kept) -> Result<Self, AwsError> {
        let text = event.data.get();
        let (data, data_zstd) = if text.len() <= DATA_PLAIN_BYTES_MAX {
            (Some(text.to_owned()), None)
        } else {
            let packed = pack(text.as_bytes()).map_err(|error| AwsError::unreadable("zstd", error))?;
            (None, Some(ByteBuf::from(packed)))
        };
        Ok(Self {
            id: event.id,
            scope: event.scope,
            event_type: event.event_type.clone(),
            timestamp: event.timestamp,
            data,
            data_zstd,
            channels: event.channels.clone(),
            endpoint_ids: event.endpoint_ids.clone(),
            delivered_to: delivered_to.to_vec(),
            shown_until: Some(kept.shown_until).filter(|until| *until < kept.until),
            expires_at: kept.until,
        })
    }

    pub(in crate::store) fn into_stored(self) -> Result<StoredEvent, AwsError> {
        let text = match (self.data, self.data_zstd) {
            (Some(text), _) => text,
            (None, Some(packed)) => {
                let bytes = zstd::bulk::decompress(&packed, DATA_BYTES_MAX)
                    .map_err(|error| AwsError::unreadable("zstd", error))?;
                String::from_utf8(bytes).map_err(|error| AwsError::unreadable("event data", error))?
            }
            (None, None) => return Err(AwsError::unreadable("event data", "there is none")),
        };
        let data = RawValue::from_string(text).map_err(|error| AwsError::unreadable("event data", error))?;
        Ok(StoredEvent {
            event: Event {
                id: self.id,
                scope: self.scope,
                event_type: self.event_type,
                timestamp: self.timestamp,
                data: Arc::from(data),
                channels: self.channels,
                endpoint_ids: self.endpoint_ids,
            },
            delivered_to: self.delivered_to,
            shown_until: self.shown_until.unwrap_or(self.expires_at),
            expires_at: self.expires_at,
        })
    }
}

thread_local! {
    /// Kept from event to event: making one takes longer than compressing a small event.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(COMPRESSION_LEVEL)?),
        };
        compressor.compress(bytes)
    })
}

/// How long an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Until when callers see it.
    pub shown_until: Timestamp,
    /// Until when it is there for deliveries that wait.
    pub until: Timestamp,
}

/// An event as it was read, with what the record says of its fan-out.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// The endpoints it was matched to; empty where there were none or too many to list.
    pub delivered_to: Vec<EndpointId>,
    /// From when on callers do not see it.
    pub shown_until: Timestamp,
    /// From when on it is no longer there.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::id::TenantId;
    use crate::domain::tenant::Mode;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn data_of_any_size_comes_back_byte_for_byte() {
        let scope = Scope { tenant_id: TenantId::from_parts(NOW, [0; 10]), mode: Mode::Live };
        for length in [0, DATA_PLAIN_BYTES_MAX, 10_000, 250_000] {
            let body = format!(r#"{{"type":"a","data":{{ "n": 1.0, "x":"{}"}}}}"#, "y".repeat(length));
            let event = NewEvent::from_body(body.as_bytes()).unwrap();
            let event = event.accepted(EventId::from_parts(NOW, [0; 10]), scope, NOW);
            let item: crate::store::Item =
                serde_dynamo::to_item(EventItem::new(&event, &[], Kept { shown_until: NOW, until: NOW }).unwrap())
                    .unwrap();
            let read: EventItem = serde_dynamo::from_item(item).unwrap();
            assert_eq!(read.into_stored().unwrap().event.data.get(), event.data.get());
        }
    }
}
