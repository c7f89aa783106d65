//! Backlogs: what waits for an endpoint, as the sparse index has it; of a delivery no more than its names and when it is due.
//!
//! The index follows the table after a moment, so what is read here may have been delivered since, and what was added just now may be missing. A drain
//! reads the delivery itself before it sends; a flow is ended only after a check that comes long after the last touch.

use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, Select};
use futures::future::try_join_all;
use jiff::Timestamp;

use super::batch::{Condition, Write, named, names};
use super::keys::{self, INDEX, INDEX_PK, INDEX_SK};
use super::{Item, Store, number, text};
use crate::aws_error::AwsError;
use crate::domain::delivery::DeliveryStatus;
use crate::domain::id::{EndpointId, EventId};

/// A delivery that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waits {
    /// When it is due; what somebody asked for is due since the beginning of time.
    pub due: Timestamp,
    /// The event's id.
    pub event_id: EventId,
}

/// How much waits for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogSize {
    /// How many deliveries, counted up to a bound.
    pub count: usize,
    /// The first of them to be accepted, among those that were counted.
    pub oldest: Option<EventId>,
}

impl Store {
    /// What waits for an endpoint, at most `limit`, the first due first, from behind `after`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn backlog(
        &self,
        endpoint_id: EndpointId,
        after: Option<Waits>,
        limit: usize,
    ) -> Result<Vec<Waits>, AwsError> {
        let queries = (0..keys::BACKLOG_SHARDS).map(|shard| self.backlog_shard(endpoint_id, shard, after, limit));
        let mut waits: Vec<_> = try_join_all(queries).await?.into_iter().flatten().collect();
        waits.sort_unstable();
        waits.truncate(limit);
        Ok(waits)
    }

    /// How much waits for an endpoint, counted up to `limit`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn backlog_size(&self, endpoint_id: EndpointId, limit: usize) -> Result<BacklogSize, AwsError> {
        let waits = self.backlog(endpoint_id, None, limit).await?;
        Ok(BacklogSize { count: waits.len(), oldest: waits.iter().map(|waits| waits.event_id).min() })
    }

    async fn backlog_shard(
        &self,
        endpoint_id: EndpointId,
        shard: u8,
        after: Option<Waits>,
        limit: usize,
    ) -> Result<Vec<Waits>, AwsError> {
        // Every sort key begins with a digit, which sorts behind a space.
        let after = after.map_or_else(|| " ".to_owned(), |last| keys::backlog_sort(last.due, last.event_id));
        let mut found = Vec::new();
        let mut start = None;
        while found.len() < limit {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .select(Select::AllProjectedAttributes)
                .key_condition_expression(format!("{INDEX_PK} = :pk AND {INDEX_SK} > :after"))
                .expression_attribute_values(":pk", text(keys::backlog_partition(endpoint_id, shard)))
                .expression_attribute_values(":after", text(&after))
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
            found.extend(answer.items.unwrap_or_default().iter().filter_map(waits));
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What of one of the sweeper's index partitions should be checked by `until`, from behind `after`; and where the rest begins.
    pub(super) async fn query_sweep(
        &self,
        partition: String,
        until: Timestamp,
        limit: i32,
        after: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), AwsError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression(format!("{INDEX_PK} = :pk AND {INDEX_SK} <= :until"))
            .expression_attribute_values(":pk", text(partition))
            .expression_attribute_values(":until", text(keys::sweep_sort(until)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .limit(limit)
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }
}

fn waits(item: &Item) -> Option<Waits> {
    let text = |name| item.get(name)?.as_s().ok();
    Some(Waits { due: keys::due_of_backlog_sort(text(INDEX_SK)?)?, event_id: text(keys::SK)?.parse().ok()? })
}

/// The write that ends a waiting delivery as cancelled, without having read it.
#[must_use]
pub fn cancel_delivery(endpoint_id: EndpointId, event_id: EventId, now: Timestamp) -> Write {
    Write::Update {
        key: keys::delivery(endpoint_id, event_id),
        set: named([
            ("status", text(DeliveryStatus::Cancelled.as_str())),
            ("updated_at", number(now.as_millisecond())),
        ]),
        remove: names(["next_attempt_at", "next_trigger", "resume_at", "retry_after", INDEX_PK, INDEX_SK]),
        only_if: vec![Condition::Is("status", text(DeliveryStatus::Pending.as_str()))],
    }
}
