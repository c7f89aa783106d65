//! Deliveries: written after their first attempts, changed only over the attempt that a result is for, read newest first; and what is due.

use std::collections::HashMap;

use jiff::Timestamp;

use super::batch::Write;
use super::cursor::Page;
use super::items::{DeliveryItem, StoredEvent, index_key};
use super::keys::{self, INDEX_PK, INDEX_SK};
use super::removals::Removal;
use super::replays::Replay;
use super::scan::{Partition, Window};
use super::{Item, Store, from_item, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;

/// The most items that the sweeper takes from one index partition at once.
pub const DUE_PER_SHARD_MAX: i32 = 250;

/// A delivery as it was read, with what the sweeper keeps beside it.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// How often a message for its next attempt was taken for lost.
    pub messages_lost: u32,
    /// The bulk replay that has taken it up last.
    pub replay_id: Option<ReplayId>,
    index_sk: Option<String>,
}

impl From<DeliveryItem> for StoredDelivery {
    fn from(item: DeliveryItem) -> Self {
        Self {
            delivery: item.delivery,
            messages_lost: item.messages_lost,
            replay_id: item.replay_id,
            index_sk: item.index_sk,
        }
    }
}

/// What the sweeper finds.
#[derive(Clone, Debug)]
pub enum Due {
    /// A delivery whose next attempt is due soon, or whose message got lost.
    Delivery(Box<StoredDelivery>),
    /// Something to be cleared away.
    Removal(Removal),
    /// A bulk replay that has not got on for a while.
    Replay(Box<Replay>),
}

/// The write that keeps a delivery unless there is one of this event and endpoint already.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn insert_delivery(delivery: &Delivery, now: Timestamp, expires_at: Timestamp) -> Result<Write, AwsError> {
    let key = keys::delivery(delivery.endpoint_id, delivery.event_id);
    Ok(Write::Insert(to_item(&key, &DeliveryItem::new(delivery.clone(), now, expires_at))?))
}

/// The write that records `after` over `before`: only if the delivery is still where it was, at the same attempt and in the same state.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn update_delivery(before: &Delivery, after: &Delivery, now: Timestamp) -> Result<Write, AwsError> {
    let mut item: Item = serde_dynamo::to_item(after).map_err(|error| AwsError::unreadable("dynamodb:Put", error))?;
    let mut set = Vec::new();
    for name in
        ["status", "attempt_count", "attempts_before", "payload_fields", "attempts", "updated_at", "next_attempt_at"]
    {
        if let Some(value) = item.remove(name) {
            set.push((name, value));
        }
    }
    let mut remove = Vec::new();
    if before.next_attempt_at.is_some() && after.next_attempt_at.is_none() {
        remove.push("next_attempt_at");
    }
    set.push(("messages_lost", number(0)));
    match index_key(after, now, 0) {
        Some((pk, sk)) => set.extend([(INDEX_PK, text(pk)), (INDEX_SK, text(sk))]),
        None => remove.extend([INDEX_PK, INDEX_SK]),
    }
    Ok(Write::Update {
        key: keys::delivery(before.endpoint_id, before.event_id),
        set,
        remove,
        only_if: vec![("attempt_count", number(before.attempt_count)), ("status", text(before.status.as_str()))],
    })
}

/// The write by which a bulk replay takes a delivery up.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn replay_delivery(before: &Delivery, after: &Delivery, by: ReplayId, now: Timestamp) -> Result<Write, AwsError> {
    let mut write = update_delivery(before, after, now)?;
    if let Write::Update { set, .. } = &mut write {
        set.push(("replay_id", text(by.to_string())));
    }
    Ok(write)
}

/// The write by which one sweeper, and no other, takes a delivery that is due: moves the time when it is looked at again.
#[must_use]
pub fn take_due(stored: &StoredDelivery, now: Timestamp) -> Option<Write> {
    let delivery = &stored.delivery;
    let seen_at = stored.index_sk.clone()?;
    let due = delivery.next_attempt_at.unwrap_or(now);
    // A message that was sent for a time gone by got no result: look again later and later.
    let messages_lost = if due < now { stored.messages_lost + 1 } else { stored.messages_lost };
    let (_, look_again) =
        index_key(&Delivery { next_attempt_at: Some(due.max(now)), ..delivery.clone() }, now, messages_lost)?;
    Some(Write::Update {
        key: keys::delivery(delivery.endpoint_id, delivery.event_id),
        set: vec![(INDEX_SK, text(look_again)), ("messages_lost", number(messages_lost))],
        remove: Vec::new(),
        only_if: vec![(INDEX_SK, text(seen_at)), ("status", text("pending"))],
    })
}

impl Store {
    /// Reads a delivery; expired ones are not there.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn delivery(
        &self,
        endpoint_id: EndpointId,
        event_id: EventId,
        now: Timestamp,
    ) -> Result<Option<StoredDelivery>, AwsError> {
        let found: Option<DeliveryItem> = self.get(&keys::delivery(endpoint_id, event_id), true).await?;
        Ok(found.filter(|item| item.expires_at > now).map(StoredDelivery::from))
    }

    /// Reads many deliveries with one call per hundred, by endpoint and event.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn deliveries(
        &self,
        names: &[(EndpointId, EventId)],
    ) -> Result<HashMap<(EndpointId, EventId), StoredDelivery>, AwsError> {
        let wanted: Vec<_> = names.iter().map(|(endpoint, event)| keys::delivery(*endpoint, *event)).collect();
        let mut found = HashMap::new();
        for item in self.get_many(&wanted, true).await?.into_values() {
            let stored = StoredDelivery::from(from_item::<DeliveryItem>(item)?);
            found.insert((stored.delivery.endpoint_id, stored.delivery.event_id), stored);
        }
        Ok(found)
    }

    /// Reads many events with one call per hundred.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn events(&self, names: &[(Scope, EventId)]) -> Result<HashMap<EventId, StoredEvent>, AwsError> {
        let wanted: Vec<_> = names.iter().map(|(scope, id)| keys::event(*scope, *id)).collect();
        self.events_by_key(&wanted).await
    }

    /// Where the deliveries of these states are: in the sparse index, where that has them all and nothing else; else in the log itself.
    fn delivery_partitions(endpoint_id: EndpointId, statuses: &[DeliveryStatus]) -> Vec<Partition> {
        let indexed = statuses.iter().map(|status| match status {
            DeliveryStatus::Failed => Some(Partition::Index(keys::failed_partition(endpoint_id))),
            DeliveryStatus::Skipped => Some(Partition::Index(keys::skipped_partition(endpoint_id))),
            DeliveryStatus::Pending | DeliveryStatus::Succeeded | DeliveryStatus::Cancelled => None,
        });
        match indexed.collect::<Option<Vec<_>>>() {
            Some(partitions) if !partitions.is_empty() => partitions,
            _ => (0..keys::DELIVERY_SHARDS)
                .map(|shard| Partition::Table(keys::deliveries_partition(endpoint_id, shard)))
                .collect(),
        }
    }

    /// A page of an endpoint's deliveries that are in one of `statuses` (any, if there are none) and that `keep` keeps, in the order of their events.
    ///
    /// Failed and skipped ones are found by the index, so that no more is read than is shown.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_deliveries(
        &self,
        endpoint_id: EndpointId,
        statuses: &[DeliveryStatus],
        window: Window,
        limit: usize,
        now: Timestamp,
        keep: impl Fn(&StoredDelivery) -> bool,
    ) -> Result<Page<StoredDelivery>, AwsError> {
        let partitions = Self::delivery_partitions(endpoint_id, statuses);
        let read = |item: Item| {
            let item: DeliveryItem = from_item(item)?;
            Ok(Some(item).filter(|item| item.expires_at > now).map(StoredDelivery::from))
        };
        let keep = |stored: &StoredDelivery| {
            (statuses.is_empty() || statuses.contains(&stored.delivery.status)) && keep(stored)
        };
        self.scan_events(&partitions, window, limit, read, keep, |stored| stored.delivery.event_id).await
    }

    /// What is due in one index partition up to `until`, the longest due first; at most [`DUE_PER_SHARD_MAX`].
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn due(&self, shard: u8, until: Timestamp) -> Result<Vec<Due>, AwsError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(keys::INDEX)
            .key_condition_expression(format!("{INDEX_PK} = :pk AND {INDEX_SK} <= :until"))
            .expression_attribute_values(":pk", text(keys::due_partition(shard)))
            .expression_attribute_values(":until", text(keys::due_sort(until)))
            .limit(DUE_PER_SHARD_MAX)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
        answer.items.unwrap_or_default().into_iter().map(due_of).collect()
    }
}

fn due_of(item: Item) -> Result<Due, AwsError> {
    if item.contains_key("event_id") {
        return Ok(Due::Delivery(Box::new(from_item::<DeliveryItem>(item)?.into())));
    }
    if item.contains_key("clear_away") {
        return from_item(item).map(Due::Removal);
    }
    Ok(Due::Replay(Box::new(from_item(item)?)))
}
