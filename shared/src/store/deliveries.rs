//! Deliveries: written after their first attempts, changed only over the attempt that a result is for, read newest first.

use std::collections::HashMap;

use jiff::Timestamp;

use super::batch::{Condition, Write};
use super::items::{DeliveryItem, EventItem, StoredEvent, TenantItem};
use super::keys;
use super::page::Page;
use super::query::{Partition, Window};
use super::{Item, Store, changes, from_item, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;

/// A delivery as it was read.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// The bulk replay that has taken it up last.
    pub replay_id: Option<ReplayId>,
    /// Until when it is kept.
    pub expires_at: Timestamp,
}

/// The most deliveries of one round of a drain: with their events and their tenant they are one call.
pub const ROUND_MAX: usize = 49;

/// What a drain needs for its next requests.
#[derive(Debug)]
pub struct Round {
    /// The endpoint's tenant; `None` if it is gone.
    pub tenant: Option<TenantItem>,
    /// The deliveries that are there.
    pub deliveries: HashMap<EventId, StoredDelivery>,
    /// The events that are there.
    pub events: HashMap<EventId, StoredEvent>,
    /// Those that cannot be read, and why.
    pub unreadable: Vec<(EventId, AwsError)>,
}

impl From<DeliveryItem> for StoredDelivery {
    fn from(item: DeliveryItem) -> Self {
        let (replay_id, expires_at) = (item.replay_id, item.state.expires_at);
        Self { delivery: item.into_delivery(), replay_id, expires_at }
    }
}

/// The write that keeps a delivery unless there is one of this event and endpoint already.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn insert_delivery(delivery: &Delivery, expires_at: Timestamp) -> Result<Write, AwsError> {
    let key = keys::delivery(delivery.endpoint_id, delivery.event_id);
    Ok(Write::Insert(to_item(&key, &DeliveryItem::new(delivery.clone(), expires_at))?))
}

/// The write that records `after` over `before`: only if the delivery is still where it was, at the same attempt, in the same state, and not asked for by
/// somebody meanwhile. It is kept until `expires_at`.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn update_delivery(before: &Delivery, after: &Delivery, expires_at: Timestamp) -> Result<Write, AwsError> {
    let attribute = |trigger: Trigger| {
        serde_dynamo::to_attribute_value(trigger).map_err(|error| AwsError::unreadable("dynamodb:Put", error))
    };
    // All of the state, whatever was there: what somebody else has set meanwhile goes too.
    let (set, remove) = changes(&DeliveryItem::new(after.clone(), expires_at).state)?;
    let only_if = vec![
        Condition::Is("attempt_count", number(before.attempt_count)),
        Condition::Is("status", text(before.status.as_str())),
        // Automatic is what is not said.
        match before.next_trigger {
            Trigger::Automatic => Condition::Missing("next_trigger"),
            asked_for => Condition::Is("next_trigger", attribute(asked_for)?),
        },
    ];
    Ok(Write::Update { key: keys::delivery(before.endpoint_id, before.event_id), set, remove, only_if })
}

/// The write by which a bulk replay takes a delivery up.
///
/// # Errors
/// When it cannot be put in its stored form.
pub fn replay_delivery(
    before: &Delivery,
    after: &Delivery,
    by: ReplayId,
    expires_at: Timestamp,
) -> Result<Write, AwsError> {
    let mut write = update_delivery(before, after, expires_at)?;
    if let Write::Update { set, .. } = &mut write {
        set.push(("replay_id".into(), text(by.to_string())));
    }
    Ok(write)
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
        Ok(found.filter(|item| item.state.expires_at > now).map(StoredDelivery::from))
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

    /// Reads what a drain needs for its next requests, with one call: the endpoint's tenant, the deliveries and their events, as they are now. `event_ids` are
    /// at most [`ROUND_MAX`].
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn round(&self, scope: Scope, endpoint_id: EndpointId, event_ids: &[EventId]) -> Result<Round, AwsError> {
        let tenant = keys::tenant(scope.tenant_id);
        let of_delivery = |id: &EventId| keys::delivery(endpoint_id, *id);
        let of_event = |id: &EventId| keys::event(scope, *id);
        let wanted: Vec<_> = std::iter::once(tenant.clone())
            .chain(event_ids.iter().map(of_delivery))
            .chain(event_ids.iter().map(of_event))
            .collect();
        let mut items = self.get_many(&wanted, true).await?;
        let tenant = items.remove(&tenant).map(from_item).transpose()?;
        let mut round = Round { tenant, deliveries: HashMap::new(), events: HashMap::new(), unreadable: Vec::new() };
        for id in event_ids {
            let delivery = items.remove(&of_delivery(id)).map(from_item::<DeliveryItem>).transpose();
            let event = items.remove(&of_event(id)).map(from_item::<EventItem>).transpose();
            let event = event.and_then(|event| event.map(EventItem::into_stored).transpose());
            match (delivery, event) {
                (Ok(delivery), Ok(event)) => {
                    round.deliveries.extend(delivery.map(|item| (*id, StoredDelivery::from(item))));
                    round.events.extend(event.map(|event| (*id, event)));
                }
                (Err(error), _) | (_, Err(error)) => round.unreadable.push((*id, error)),
            }
        }
        Ok(round)
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
    ) -> Result<Page<StoredDelivery, EventId>, AwsError> {
        let partitions = Self::delivery_partitions(endpoint_id, statuses);
        let read = |item: Item| {
            let item: DeliveryItem = from_item(item)?;
            Ok(Some(item).filter(|item| item.state.expires_at > now).map(StoredDelivery::from))
        };
        let keep = |stored: &StoredDelivery| {
            (statuses.is_empty() || statuses.contains(&stored.delivery.status)) && keep(stored)
        };
        self.query_events(&partitions, window, limit, read, keep, |stored| stored.delivery.event_id).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::id::TenantId;
    use crate::domain::tenant::Mode;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn pending() -> Delivery {
        let scope = Scope { tenant_id: TenantId::from_parts(NOW, [0; 10]), mode: Mode::Live };
        let event = NewEvent::from_body(br#"{"type":"a","data":{}}"#).unwrap();
        let event = event.accepted(EventId::from_parts(NOW, [0; 10]), scope, NOW);
        Delivery::new(&event, EndpointId::from_parts(NOW, [1; 10]), NOW)
    }

    /// The names of what an update sets, and of what it removes.
    fn names_of(write: Write) -> (BTreeSet<String>, BTreeSet<String>) {
        let Write::Update { set, remove, .. } = write else { panic!("{write:?}") };
        (set.into_iter().map(|(name, _)| name.into_owned()).collect(), remove.into_iter().map(Into::into).collect())
    }

    #[test]
    fn update_sets_or_removes_every_attribute_that_can_change() {
        let ended = |status| Delivery { status, next_attempt_at: None, ..pending() };
        let with_effects = Delivery { effects_due: true, ..ended(DeliveryStatus::Failed) };
        let asked = Delivery { next_trigger: Trigger::Manual, retry_after: true, resume_at: Some(NOW), ..pending() };
        let always = ["status", "attempt_count", "attempts", "updated_at", "expires_at"];
        let indexed = ["GSI1PK", "GSI1SK"];
        let waits = ["next_attempt_at"];
        let asked_for = ["next_trigger", "retry_after", "resume_at"];
        let table: [(&str, Delivery, Vec<&str>); 6] = [
            ("pending", pending(), [&waits[..], &indexed].concat()),
            ("asked for", asked, [&waits[..], &asked_for, &indexed].concat()),
            ("succeeded", ended(DeliveryStatus::Succeeded), vec![]),
            ("failed", ended(DeliveryStatus::Failed), indexed.to_vec()),
            ("failed with effects due", with_effects, [&["effects_due"][..], &indexed].concat()),
            ("cancelled", ended(DeliveryStatus::Cancelled), vec![]),
        ];
        let every: BTreeSet<String> =
            [&always[..], &indexed, &waits, &asked_for, &["effects_due", "counted_attempts", "payload_fields_hash"]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect();
        for (name, after, expected) in table {
            let (set, removed) = names_of(update_delivery(&pending(), &after, NOW).unwrap());
            let expected: BTreeSet<_> = always.iter().chain(&expected).map(|name| (*name).to_owned()).collect();
            assert_eq!(set, expected, "{name}");
            assert_eq!(set.union(&removed).cloned().collect::<BTreeSet<_>>(), every, "{name}");
            assert!(set.is_disjoint(&removed), "{name}");
        }
    }
}
