//! Stored shapes that differ from the domain's. The others are the domain's own types with a key.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;

use super::{Stored, keys};
use crate::aws_error::AwsError;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::event::Event;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::{Scope, Tenant};
use crate::domain::time::plus_seconds;

/// Data up to this size stays readable text; below a write unit compression gains nothing.
const DATA_PLAIN_BYTES_MAX: usize = 512;
/// The most that stored data may unfold to, as a guard against a broken item; the largest event is smaller.
const DATA_BYTES_MAX: usize = 1_024 * 1_024;
/// zstd's own default: the best of the fast levels.
const COMPRESSION_LEVEL: i32 = 3;

/// A tenant and what deliver and the endpoint limit need to know of its endpoints, in one item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantItem {
    /// The tenant.
    #[serde(flatten)]
    pub tenant: Tenant,
    /// How many endpoints it has in live mode.
    #[serde(default)]
    pub live_endpoint_count: u32,
    /// Counts changes of its live endpoints; what is cached of them is good while this stays.
    #[serde(default)]
    pub live_endpoints_version: u64,
    /// How many endpoints it has in test mode.
    #[serde(default)]
    pub test_endpoint_count: u32,
    /// Counts changes of its test endpoints.
    #[serde(default)]
    pub test_endpoints_version: u64,
}

impl Stored for TenantItem {
    const KIND: &'static str = "tenant";
}

/// An event with its payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EventItem {
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
    pub(super) fn new(event: &Event, delivered_to: &[EndpointId], kept: Kept) -> Result<Self, AwsError> {
        let text = event.data.get();
        let (data, data_zstd) = if text.len() <= DATA_PLAIN_BYTES_MAX {
            (Some(text.to_owned()), None)
        } else {
            let packed = zstd::bulk::compress(text.as_bytes(), COMPRESSION_LEVEL)
                .map_err(|error| AwsError::unreadable("zstd", error))?;
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

    pub(super) fn into_stored(self) -> Result<StoredEvent, AwsError> {
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

/// A delivery with what the index needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeliveryItem {
    #[serde(flatten)]
    pub(super) delivery: Delivery,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay_id: Option<ReplayId>,
    #[serde(rename = "GSI1PK", default, skip_serializing_if = "Option::is_none")]
    index_pk: Option<String>,
    #[serde(rename = "GSI1SK", default, skip_serializing_if = "Option::is_none")]
    index_sk: Option<String>,
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub(super) expires_at: Timestamp,
}

impl Stored for DeliveryItem {
    const KIND: &'static str = "delivery";
}

impl DeliveryItem {
    /// The item of a delivery.
    pub(super) fn new(delivery: Delivery, expires_at: Timestamp) -> Self {
        let (index_pk, index_sk) = index_key(&delivery).unzip();
        Self { delivery, replay_id: None, index_pk, index_sk, expires_at }
    }
}

/// Where a delivery stands in the sparse index: pending ones in their endpoint's backlog, failed and skipped ones under their endpoint.
pub(super) fn index_key(delivery: &Delivery) -> Option<(String, String)> {
    let (endpoint_id, event_id) = (delivery.endpoint_id, delivery.event_id);
    match delivery.status {
        DeliveryStatus::Pending => {
            let due = delivery.backlog_order().unwrap_or(delivery.updated_at);
            Some((keys::backlog_partition_of(endpoint_id, event_id), keys::backlog_sort(due, event_id)))
        }
        // Stays where drains look until all that follows is done.
        DeliveryStatus::Failed if delivery.effects_due => {
            let since = keys::backlog_sort(delivery.updated_at, event_id);
            Some((keys::backlog_partition_of(endpoint_id, event_id), since))
        }
        DeliveryStatus::Failed => Some((keys::failed_partition(endpoint_id), event_id.to_string())),
        DeliveryStatus::Skipped => Some((keys::skipped_partition(endpoint_id), event_id.to_string())),
        DeliveryStatus::Succeeded | DeliveryStatus::Cancelled => None,
    }
}

/// When something that is made at `created_at` is no longer there.
#[must_use]
pub fn expires_at(created_at: Timestamp, retention_days: u32) -> Timestamp {
    plus_seconds(created_at, i64::from(retention_days) * 86_400)
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
            let item: super::super::Item =
                serde_dynamo::to_item(EventItem::new(&event, &[], Kept { shown_until: NOW, until: NOW }).unwrap())
                    .unwrap();
            let read: EventItem = serde_dynamo::from_item(item).unwrap();
            assert_eq!(read.into_stored().unwrap().event.data.get(), event.data.get());
        }
    }
}
