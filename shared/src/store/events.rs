//! Events: written once, with their first deliveries; read by id or newest first.

use jiff::Timestamp;

use super::batch::Write;
use super::cursor::Page;
use super::items::{EventItem, StoredEvent};
use super::keys::{self, Key};
use super::{Store, from_item, to_item};
use crate::aws_error::AwsError;
use crate::domain::event::Event;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::tenant::Scope;

/// The write that keeps an event unless it is there already; `delivered_to` are the endpoints it was matched to.
///
/// # Errors
/// When the event cannot be put in its stored form.
pub fn insert_event(event: &Event, delivered_to: &[EndpointId], expires_at: Timestamp) -> Result<Write, AwsError> {
    let item = EventItem::new(event, delivered_to, expires_at)?;
    Ok(Write::Insert(to_item(&keys::event(event.scope, event.id), &item)?))
}

impl Store {
    /// Reads an event with its payload; expired ones are not there, whether or not DynamoDB has removed them.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn event(&self, scope: Scope, id: EventId, now: Timestamp) -> Result<Option<StoredEvent>, AwsError> {
        let found: Option<EventItem> = self.get(&keys::event(scope, id), true).await?;
        let stored = found.map(EventItem::into_stored).transpose()?;
        Ok(stored.filter(|stored| stored.expires_at > now))
    }

    /// A page of events, newest first, from before `before`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_events(
        &self,
        scope: Scope,
        before: Option<EventId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<StoredEvent>, AwsError> {
        let partitions = (0..keys::EVENT_SHARDS).map(|shard| keys::events_partition(scope, shard)).collect();
        let items: Vec<EventItem> = self.newest_first(partitions, before, limit + 1).await?;
        let stored = items.into_iter().map(EventItem::into_stored).collect::<Result<Vec<_>, _>>()?;
        let alive = stored.into_iter().filter(|stored| stored.expires_at > now).collect();
        Ok(Page::cut(alive, limit, |stored| stored.event.id))
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
