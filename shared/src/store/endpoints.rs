//! Endpoints, the uids that name them, and the tenant's counters: always changed together, in one transaction.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};

use super::batch::key_of;
use super::cleanups::{Cleanup, cleanup_item};
use super::items::EndpointItem;
use super::page::Page;
use super::payload_fields::fields_item;
use super::transaction::Committed;
use super::{Item, Store, Stored, from_item, key_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::EndpointId;
use crate::domain::tenant::{Mode, Scope};
use crate::domain::time::plus_seconds;

const OPERATION: &str = "dynamodb:TransactWriteItems";
/// How many pages of DynamoDB's (1 MB each) one reading of a tenant's endpoints may take: four times what [`TENANT_ENDPOINTS_BYTES_MAX`] makes.
const PAGES_MAX: usize = 64;

/// How many endpoints one query of a list reads.
const PAGE_ENDPOINTS: usize = 100;

/// The most that all endpoints of a tenant in one environment take together, as JSON, in bytes: deliver reads them as a whole, and keeps them in memory.
pub const TENANT_ENDPOINTS_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// When the sweeper sets the labels of a secret's versions right after a change, in seconds: when the request that made it is over.
pub const LABELS_SETTLED_SECONDS: i64 = 60;

/// How long a secret that an endpoint has left is kept, in seconds: for instances that have read the endpoint before it was sealed.
pub const LEFT_SECRET_SECONDS: i64 = 300;

/// Whether a change needs room among what all endpoints of a tenant take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Of what callers choose.
    Needed,
    /// Of what Outhook notes by itself, which is little and has to be possible.
    Given,
}

/// How many endpoints are put into their shape without a break.
const READ_AT_A_TIME: usize = 32;

/// What became of a new endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointCreated {
    /// It gets events from now on.
    Created,
    /// There is one of this id: an earlier request with the same idempotency key has made it.
    Exists,
    /// The tenant has its maximum, of endpoints or of bytes, or is gone.
    LimitReached,
    /// Another endpoint has the uid.
    UidTaken,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChanged {
    /// It applies from the next event on.
    Updated,
    /// Somebody else changed or deleted the endpoint since it was read.
    Stale,
    /// All endpoints of the tenant together would be too large.
    LimitReached,
    /// Another endpoint has the uid.
    UidTaken,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UidItem {
    endpoint_id: EndpointId,
}

impl Stored for UidItem {
    const KIND: &'static str = "uid";
}

impl Store {
    /// Keeps a new endpoint: counted against the tenant's maximum, its uid taken, its secret no longer to be removed.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_endpoint(&self, endpoint: &Endpoint) -> Result<EndpointCreated, AwsError> {
        let scope = endpoint.scope;
        let count = counter(scope.mode);
        let mut parts = vec![
            self.put_endpoint(endpoint, "attribute_not_exists(PK)", None)?,
            self.change_tenant(
                scope,
                1,
                grown(0, bytes_of(endpoint)),
                Room::Needed,
                Some(&format!("{count} < max_endpoints")),
            )?,
        ];
        if let Some(uid) = &endpoint.settings.uid {
            parts.push(self.take_uid(scope, uid, endpoint.id)?);
        }
        if let Some(item) = fields_item(endpoint, None)? {
            parts.push(self.put(item, None)?);
        }
        if endpoint.signing.sealed.is_none() {
            parts.push(self.delete(&keys::cleanup(endpoint.id))?);
        }
        Ok(match self.transact(parts).await? {
            Committed::All => EndpointCreated::Created,
            Committed::Refused(parts) if parts.contains(&0) => EndpointCreated::Exists,
            Committed::Refused(parts) if parts.contains(&2) => EndpointCreated::UidTaken,
            Committed::Refused(_) => EndpointCreated::LimitReached,
        })
    }

    /// Replaces an endpoint that was read as `before` by `after`, whose version is one higher.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn update_endpoint(
        &self,
        before: &Endpoint,
        after: &Endpoint,
        room: Room,
        now: jiff::Timestamp,
    ) -> Result<EndpointChanged, AwsError> {
        let scope = before.scope;
        let mut parts = vec![
            self.put_endpoint(after, "version = :version", Some(before.version))?,
            self.change_tenant(scope, 0, grown(bytes_of(before), bytes_of(after)), room, None)?,
        ];
        let (old, new) = (&before.settings.uid, &after.settings.uid);
        if old != new {
            if let Some(uid) = new {
                parts.push(self.take_uid(scope, uid, after.id)?);
            }
            if let Some(uid) = old {
                parts.push(self.delete(&keys::uid(scope, uid))?);
            }
        }
        if before.settings.payload_fields != after.settings.payload_fields {
            for item in [fields_item(after, None)?, fields_item(before, Some(after.updated_at))?].into_iter().flatten()
            {
                parts.push(self.put(item, None)?);
            }
        }
        // A key that begins to sign beside its successor is cleaned up when that is over; and the version before leaves its label, should the change die half way.
        if before.signing.secret_version != after.signing.secret_version {
            let is_sealed = after.signing.sealed.is_some();
            let labels_at = (!is_sealed).then(|| plus_seconds(now, LABELS_SETTLED_SECONDS));
            if let Some(at) = [labels_at, after.signing.previous_expires_at].into_iter().flatten().min() {
                let cleanup = Cleanup::PreviousKey { endpoint_id: after.id, scope };
                parts.push(self.put(cleanup_item(cleanup, at)?, None)?);
            }
            if is_sealed && before.signing.sealed.is_none() {
                let cleanup = Cleanup::LeftSecret { endpoint_id: after.id, scope, is_removed: false };
                parts.push(self.put(cleanup_item(cleanup, plus_seconds(now, LEFT_SECRET_SECONDS))?, None)?);
            }
        }
        Ok(match self.transact(parts).await? {
            Committed::All => EndpointChanged::Updated,
            Committed::Refused(parts) if parts.contains(&0) => EndpointChanged::Stale,
            Committed::Refused(parts) if parts.contains(&1) => EndpointChanged::LimitReached,
            Committed::Refused(_) => EndpointChanged::UidTaken,
        })
    }

    /// Deletes an endpoint that was read as `endpoint`, and notes that its secret is to be removed.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn delete_endpoint(
        &self,
        endpoint: &Endpoint,
        now: jiff::Timestamp,
    ) -> Result<EndpointChanged, AwsError> {
        let scope = endpoint.scope;
        let removed = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::endpoint(scope, endpoint.id))))
            .condition_expression("version = :version")
            .expression_attribute_values(":version", number(endpoint.version))
            .build();
        let mut parts = vec![
            TransactWriteItem::builder().delete(built(removed)?).build(),
            self.change_tenant(scope, -1, grown(bytes_of(endpoint), 0), Room::Given, None)?,
            self.put(cleanup_item(Cleanup::Secret { endpoint_id: endpoint.id, scope }, now)?, None)?,
        ];
        if let Some(uid) = &endpoint.settings.uid {
            parts.push(self.delete(&keys::uid(scope, uid))?);
        }
        if let Some(item) = fields_item(endpoint, Some(now))? {
            parts.push(self.put(item, None)?);
        }
        Ok(match self.transact(parts).await? {
            Committed::All => EndpointChanged::Updated,
            Committed::Refused(_) => EndpointChanged::Stale,
        })
    }

    /// Reads an endpoint as it is now.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn endpoint(&self, scope: Scope, id: EndpointId) -> Result<Option<Endpoint>, AwsError> {
        let found: Option<EndpointItem> = self.get(&keys::endpoint(scope, id), true).await?;
        Ok(found.map(Endpoint::from))
    }

    /// Which endpoint has this uid.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn endpoint_id_of_uid(&self, scope: Scope, uid: &str) -> Result<Option<EndpointId>, AwsError> {
        Ok(self.get::<UidItem>(&keys::uid(scope, uid), true).await?.map(|item| item.endpoint_id))
    }

    /// A page of the endpoints that `keep` keeps, oldest first, from behind `after`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_endpoints(
        &self,
        scope: Scope,
        after: Option<EndpointId>,
        limit: usize,
        keep: impl Fn(&Endpoint) -> bool,
    ) -> Result<Page<Endpoint, EndpointId>, AwsError> {
        let mut kept = Vec::new();
        let mut start = after.map(|id| key_item(&keys::endpoint(scope, id)));
        let mut examined: Option<EndpointId> = None;
        for _ in 0..PAGES_MAX {
            let (items, next) = self.query_endpoints(scope, start, Some(PAGE_ENDPOINTS.max(limit + 1))).await?;
            for item in items {
                let key = key_of(&item).map(|key| key.sk).unwrap_or_default();
                examined = key.strip_prefix(keys::ENDPOINT_PREFIX).and_then(|id| id.parse().ok()).or(examined);
                match from_item::<EndpointItem>(item) {
                    Ok(item) => kept.extend(Some(Endpoint::from(item)).filter(&keep)),
                    // One that cannot be read is not a reason to show none.
                    Err(error) => tracing::error!(%error, key, "an endpoint cannot be read; it is left out of a list"),
                }
            }
            start = next;
            if kept.len() > limit || start.is_none() {
                return Ok(Page::cut(kept, limit, |endpoint| endpoint.id));
            }
        }
        // Cut short: goes on behind the last one examined.
        Ok(Page { entries: kept, next: examined })
    }

    /// All endpoints of a tenant in one mode, oldest first.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn all_endpoints(&self, scope: Scope) -> Result<Vec<Endpoint>, AwsError> {
        match self.readable_endpoints(scope).await? {
            (all, 0) => Ok(all),
            _ => Err(AwsError::unreadable("dynamodb:Query", "an endpoint of the tenant cannot be read")),
        }
    }

    /// Those endpoints of a tenant in one mode that can be read, oldest first, and how many there are beside them.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn readable_endpoints(&self, scope: Scope) -> Result<(Vec<Endpoint>, usize), AwsError> {
        let mut all = Vec::new();
        let mut unreadable = 0;
        let mut start = None;
        for _ in 0..PAGES_MAX {
            let (items, next) = self.query_endpoints(scope, start, None).await?;
            for item in items {
                let key = item.get(keys::SK).and_then(|key| key.as_s().ok()).cloned();
                match from_item::<EndpointItem>(item) {
                    Ok(item) => all.push(item.into()),
                    Err(error) => {
                        tracing::error!(%error, tenant_id = %scope.tenant_id, key, "an endpoint cannot be read");
                        unreadable += 1;
                    }
                }
                // Thousands take a while on a small instance, and other tenants of the batch wait for the same thread.
                if all.len().is_multiple_of(READ_AT_A_TIME) {
                    tokio::task::yield_now().await;
                }
            }
            start = next;
            if start.is_none() {
                return Ok((all, unreadable));
            }
        }
        Err(AwsError::unreadable("dynamodb:Query", "a tenant has more endpoints than fit"))
    }

    async fn query_endpoints(
        &self,
        scope: Scope,
        start: Option<Item>,
        limit: Option<usize>,
    ) -> Result<(Vec<Item>, Option<Item>), AwsError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
            .expression_attribute_values(":pk", text(keys::endpoints_partition(scope)))
            .expression_attribute_values(":prefix", text(keys::ENDPOINT_PREFIX))
            .consistent_read(true)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    fn put_endpoint(
        &self,
        endpoint: &Endpoint,
        condition: &str,
        version: Option<u64>,
    ) -> Result<TransactWriteItem, AwsError> {
        let item = to_item(&keys::endpoint(endpoint.scope, endpoint.id), &EndpointItem::from(endpoint.clone()))?;
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(condition);
        let put = match version {
            Some(version) => put.expression_attribute_values(":version", number(version)),
            None => put,
        };
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// Counts a change of the tenant's endpoints, so that nobody goes on with what they have cached.
    fn change_tenant(
        &self,
        scope: Scope,
        added: i32,
        added_bytes: i64,
        room: Room,
        condition: Option<&str>,
    ) -> Result<TransactWriteItem, AwsError> {
        let (mode, bytes) = (scope.mode, format!("{}_endpoint_bytes", scope.mode));
        let mut conditions = vec!["attribute_exists(PK)".to_owned()];
        conditions.extend(condition.map(str::to_owned));
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::tenant(scope.tenant_id))))
            .update_expression(format!(
                "ADD {} :added, {bytes} :bytes, {mode}_endpoints_version :one",
                counter(scope.mode)
            ))
            .expression_attribute_values(":added", number(added))
            .expression_attribute_values(":bytes", number(added_bytes))
            .expression_attribute_values(":one", number(1));
        if added_bytes > 0 && room == Room::Needed {
            conditions.push(format!("(attribute_not_exists({bytes}) OR {bytes} <= :room)"));
            update =
                update.expression_attribute_values(":room", number(grown(0, TENANT_ENDPOINTS_BYTES_MAX) - added_bytes));
        }
        let update = update.condition_expression(conditions.join(" AND ")).build();
        Ok(TransactWriteItem::builder().update(built(update)?).build())
    }

    fn take_uid(&self, scope: Scope, uid: &str, endpoint_id: EndpointId) -> Result<TransactWriteItem, AwsError> {
        self.put(to_item(&keys::uid(scope, uid), &UidItem { endpoint_id })?, Some("attribute_not_exists(PK)"))
    }

    fn put(&self, item: Item, condition: Option<&str>) -> Result<TransactWriteItem, AwsError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(condition.map(str::to_owned))
            .build();
        Ok(TransactWriteItem::builder().put(built(put)?).build())
    }

    fn delete(&self, key: &keys::Key) -> Result<TransactWriteItem, AwsError> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key_item(key))).build();
        Ok(TransactWriteItem::builder().delete(built(delete)?).build())
    }
}

/// What an endpoint counts for among all of its tenant's, in bytes: some 1 to 70 KiB.
#[must_use]
pub fn bytes_of(endpoint: &Endpoint) -> usize {
    serde_json::to_vec(&EndpointItem::from(endpoint.clone())).unwrap_or_default().len()
}

fn grown(before: usize, after: usize) -> i64 {
    i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
}

fn counter(mode: Mode) -> String {
    format!("{mode}_endpoint_count")
}

fn built<T>(part: Result<T, BuildError>) -> Result<T, AwsError> {
    part.map_err(|error| AwsError::unreadable(OPERATION, error))
}
