//! A delivery with its attempts, and where it stands in the index.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::{millisecond, second};
use serde::{Deserialize, Serialize};

use super::converts;
use crate::domain::attempt::{Attempt, Outcome, Trigger};
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId, TenantId};
use crate::domain::payload::FieldsHash;
use crate::domain::tenant::{Mode, Scope};
use crate::store::{Stored, keys};

/// A delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct DeliveryItem {
    endpoint_id: EndpointId,
    event_id: EventId,
    tenant_id: TenantId,
    mode: Mode,
    event_type: EventType,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    pub(in crate::store) replay_id: Option<ReplayId>,
    #[serde(flatten)]
    pub(in crate::store) state: StateItem,
}

/// What a change of a delivery replaces as a whole. What is `None` is no attribute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct StateItem {
    status: DeliveryStatus,
    attempt_count: u32,
    /// `None` for 0.
    counted_attempts: Option<u32>,
    payload_fields_hash: Option<FieldsHash>,
    attempts: Vec<AttemptItem>,
    #[serde(default, with = "millisecond::optional")]
    next_attempt_at: Option<Timestamp>,
    /// `None` for an automatic one.
    next_trigger: Option<Trigger>,
    #[serde(default, with = "millisecond::optional")]
    resume_at: Option<Timestamp>,
    /// `None` for false.
    retry_after: Option<bool>,
    /// `None` for false.
    effects_due: Option<bool>,
    #[serde(with = "millisecond::required")]
    updated_at: Timestamp,
    #[serde(rename = "GSI1PK")]
    index_pk: Option<String>,
    #[serde(rename = "GSI1SK")]
    index_sk: Option<String>,
    #[serde(with = "second::required")]
    pub(in crate::store) expires_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AttemptItem {
    #[serde(with = "millisecond::required")]
    at: Timestamp,
    trigger: Trigger,
    outcome: Outcome,
    status_code: Option<u16>,
    error: Option<String>,
    duration_ms: u32,
    #[serde(default)]
    response_body: String,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    counted: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Stored for DeliveryItem {
    const KIND: &'static str = "delivery";
    const STORES_NULLS: bool = false;
}

converts!(AttemptItem, Attempt { at, trigger, outcome, status_code, error, duration_ms, response_body, counted });

impl DeliveryItem {
    /// The item of a delivery that is kept until `expires_at`.
    pub(in crate::store) fn new(delivery: Delivery, expires_at: Timestamp) -> Self {
        let (index_pk, index_sk) = index_key(&delivery).unzip();
        let Delivery {
            endpoint_id,
            event_id,
            scope: Scope { tenant_id, mode },
            event_type,
            status,
            attempt_count,
            counted_attempts,
            payload_fields_hash,
            attempts,
            next_attempt_at,
            next_trigger,
            resume_at,
            retry_after,
            effects_due,
            created_at,
            updated_at,
        } = delivery;
        let state = StateItem {
            status,
            attempt_count,
            counted_attempts: Some(counted_attempts).filter(|count| *count > 0),
            payload_fields_hash,
            attempts: attempts.into_iter().map(AttemptItem::from).collect(),
            next_attempt_at,
            next_trigger: Some(next_trigger).filter(|trigger| *trigger != Trigger::Automatic),
            resume_at,
            retry_after: Some(retry_after).filter(|is| *is),
            effects_due: Some(effects_due).filter(|is| *is),
            updated_at,
            index_pk,
            index_sk,
            expires_at,
        };
        Self { endpoint_id, event_id, tenant_id, mode, event_type, created_at, replay_id: None, state }
    }

    /// The delivery.
    pub(in crate::store) fn into_delivery(self) -> Delivery {
        let Self { endpoint_id, event_id, tenant_id, mode, event_type, created_at, replay_id: _, state } = self;
        let StateItem {
            status,
            attempt_count,
            counted_attempts,
            payload_fields_hash,
            attempts,
            next_attempt_at,
            next_trigger,
            resume_at,
            retry_after,
            effects_due,
            updated_at,
            index_pk: _,
            index_sk: _,
            expires_at: _,
        } = state;
        Delivery {
            endpoint_id,
            event_id,
            scope: Scope { tenant_id, mode },
            event_type,
            status,
            attempt_count,
            counted_attempts: counted_attempts.unwrap_or_default(),
            payload_fields_hash,
            attempts: attempts.into_iter().map(Attempt::from).collect(),
            next_attempt_at,
            next_trigger: next_trigger.unwrap_or_default(),
            resume_at,
            retry_after: retry_after.unwrap_or_default(),
            effects_due: effects_due.unwrap_or_default(),
            created_at,
            updated_at,
        }
    }
}

/// Where a delivery stands in the sparse index: pending ones in their endpoint's backlog, failed and skipped ones under their endpoint.
fn index_key(delivery: &Delivery) -> Option<(String, String)> {
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
