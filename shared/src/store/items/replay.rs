//! A bulk replay, with when the sweeper should check it.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::{millisecond, second};
use serde::{Deserialize, Serialize};

use crate::domain::delivery::DeliveryStatus;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;
use crate::store::replays::{Replay, ReplayState};
use crate::store::{Stored, keys};

/// A bulk replay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct ReplayItem {
    id: ReplayId,
    scope: Scope,
    endpoint_id: EndpointId,
    #[serde(with = "millisecond::required")]
    since: Timestamp,
    #[serde(with = "millisecond::required")]
    until: Timestamp,
    statuses: Vec<DeliveryStatus>,
    event_types: Vec<EventType>,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    #[serde(with = "second::required")]
    expires_at: Timestamp,
    #[serde(flatten)]
    pub(in crate::store) progress: ProgressItem,
}

/// What changes while a replay goes on, as a whole. What is `None` is no attribute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct ProgressItem {
    state: ReplayState,
    position: Option<EventId>,
    #[serde(default)]
    page: Vec<EventId>,
    page_end: Option<EventId>,
    queued: u64,
    #[serde(default)]
    version: u64,
    #[serde(with = "millisecond::required")]
    updated_at: Timestamp,
    #[serde(rename = "GSI1PK")]
    index_pk: Option<String>,
    #[serde(rename = "GSI1SK")]
    index_sk: Option<String>,
}

impl Stored for ReplayItem {
    const KIND: &'static str = "replay";
    const STORES_NULLS: bool = false;
}

impl ReplayItem {
    /// The item of a replay. `sweep_at` is when the sweeper should check it, where it should.
    pub(in crate::store) fn new(replay: Replay, sweep_at: Option<Timestamp>) -> Self {
        let Replay {
            id,
            scope,
            endpoint_id,
            since,
            until,
            statuses,
            event_types,
            state,
            position,
            page,
            page_end,
            queued,
            version,
            created_at,
            updated_at,
            expires_at,
        } = replay;
        let index_pk = sweep_at.map(|_| keys::cleanup_partition_of(&id.to_bytes()));
        let index_sk = sweep_at.map(keys::sweep_sort);
        let progress =
            ProgressItem { state, position, page, page_end, queued, version, updated_at, index_pk, index_sk };
        Self { id, scope, endpoint_id, since, until, statuses, event_types, created_at, expires_at, progress }
    }
}

impl From<ReplayItem> for Replay {
    fn from(item: ReplayItem) -> Self {
        let ReplayItem {
            id,
            scope,
            endpoint_id,
            since,
            until,
            statuses,
            event_types,
            created_at,
            expires_at,
            progress,
        } = item;
        let ProgressItem { state, position, page, page_end, queued, version, updated_at, index_pk: _, index_sk: _ } =
            progress;
        Self {
            id,
            scope,
            endpoint_id,
            since,
            until,
            statuses,
            event_types,
            state,
            position,
            page,
            page_end,
            queued,
            version,
            created_at,
            updated_at,
            expires_at,
        }
    }
}
