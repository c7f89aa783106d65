//! An entry of a tenant's catalogue of event types.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};

use super::converts;
use crate::domain::catalogue::{CatalogueEntry, Enforcement};
use crate::domain::event_type::EventType;
use crate::store::Stored;

/// An entry. It is always written as a whole.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct EventTypeItem {
    name: EventType,
    description: Option<String>,
    schema: Option<String>,
    enforcement: Enforcement,
    archived: bool,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    #[serde(with = "millisecond::required")]
    updated_at: Timestamp,
}

impl Stored for EventTypeItem {
    const KIND: &'static str = "event_type";
}

converts!(EventTypeItem, CatalogueEntry { name, description, schema, enforcement, archived, created_at, updated_at });
