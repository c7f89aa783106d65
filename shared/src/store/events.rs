//! Events: written once, with their first deliveries; read by id or newest first.

use jiff::Timestamp;

use super::batch::{Condition, Write, named};
use super::items::{EventItem, Kept, StoredEvent};
use super::keys::{self, Key, TTL};
use super::page::Page;
use super::query::{Partition, Window};
use super::{Store, from_item, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::event::Event;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::tenant::Scope;

/// The write that keeps an event unless it is there already; `delivered_to` are the endpoints it was matched to.
///
/// # Errors
/// When the event cannot be put in its stored form.
pub fn insert_event(event: &Event, delivered_to: &[EndpointId], kept: Kept) -> Result<Write, AwsError> {
    let item = EventItem::new(event, delivered_to, kept)?;
    Ok(Write::Insert(to_item(&keys::event(event.scope, event.id), &item)?))
}

/// The write that keeps an event for longer. It costs as much as the event is large, so it is for those that would expire while something waits.
#[must_use]
pub fn keep_event_until(scope: Scope, id: EventId, until: Timestamp) -> Write {
    Write::Update {
        key: keys::event(scope, id),
        set: named([(TTL, number(until.as_second()))]),
        remove: Vec::new(),
        only_if: vec![
            Condition::Is("id", text(id.to_string())),
            Condition::MissingOrAtMost(TTL, number(until.as_second())),
        ],
    }
}

impl Store {
    /// Reads an event with its payload; expired ones are not there, whether or not DynamoDB has removed them.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn event(&self, scope: Scope, id: EventId, now: Timestamp) -> Result<Option<StoredEvent>, AwsError> {
        let found: Option<EventItem> = self.get(&keys::event(scope, id), true).await?;
        let stored = found.map(EventItem::into_stored).transpose()?;
        Ok(stored.filter(|stored| stored.shown_until > now))
    }

    /// A page of events that `keep` keeps, in the order of their ids.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_events(
        &self,
        scope: Scope,
        window: Window,
        limit: usize,
        now: Timestamp,
        keep: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Page<StoredEvent, EventId>, AwsError> {
        let partitions: Vec<_> =
            (0..keys::EVENT_SHARDS).map(|shard| Partition::Table(keys::events_partition(scope, shard))).collect();
        let read = |item| {
            let stored = from_item::<EventItem>(item)?.into_stored()?;
            Ok(Some(stored).filter(|stored| stored.shown_until > now))
        };
        self.query_events(&partitions, window, limit, read, keep, |stored| stored.event.id).await
    }

    /// Reads many events with one call per hundred.
    pub(super) async fn events_by_key(
        &self,
        keys: &[Key],
    ) -> Result<std::collections::HashMap<EventId, StoredEvent>, AwsError> {
        let mut found = std::collections::HashMap::new();
        for item in self.get_many(keys, true).await?.into_values() {
            let stored = from_item::<EventItem>(item)?.into_stored()?;
            found.insert(stored.event.id, stored);
        }
        Ok(found)
    }
}
