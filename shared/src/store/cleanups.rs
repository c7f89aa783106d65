//! Notes of what is to be cleaned up later; the sweeper carries them out.
//!
//! A secret: a note is written before one is made and goes with the endpoint's own creation, so that a crash between the two leaves no secret behind;
//! another is written when an endpoint is deleted. A previous key: a note is written when a rotation begins its overlap. A tenant: a note is written
//! when it is deleted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::batch::key_of;
use super::items::ReplayItem;
use super::keys::Key;
use super::replays::Replay;
use super::{Item, Store, Stored, from_item, key_item, keys, kind_of, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::{EndpointId, TenantId};
use crate::domain::tenant::Scope;

/// The most that the sweeper takes from one index partition at once.
pub const CLEANUPS_MAX: i32 = 100;

/// What is to be cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cleanup", rename_all = "snake_case")]
pub enum Cleanup {
    /// A secret, unless its endpoint exists.
    Secret {
        /// The endpoint's id.
        endpoint_id: EndpointId,
        /// Its tenant and mode.
        scope: Scope,
    },
    /// The secret that an endpoint had before its document was sealed.
    LeftSecret {
        /// The endpoint's id.
        endpoint_id: EndpointId,
        /// Its tenant and mode.
        scope: Scope,
        /// Whether it has been removed. The note stays for a while longer, so that nobody who still removes it can meet a new secret of the same name.
        is_removed: bool,
    },
    /// A key whose overlap is over.
    PreviousKey {
        /// The endpoint's id.
        endpoint_id: EndpointId,
        /// Its tenant and mode.
        scope: Scope,
    },
    /// What a deleted tenant leaves.
    Tenant {
        /// The tenant's id.
        tenant_id: TenantId,
    },
}

#[derive(Serialize)]
pub(super) struct CleanupItem {
    #[serde(flatten)]
    pub(super) cleanup: Cleanup,
    #[serde(rename = "GSI1PK")]
    pub(super) index_pk: String,
    #[serde(rename = "GSI1SK")]
    pub(super) index_sk: String,
}

impl Stored for Cleanup {
    const KIND: &'static str = "cleanup";
}

impl Stored for CleanupItem {
    const KIND: &'static str = "cleanup";
}

impl Cleanup {
    fn key(&self) -> Key {
        match self {
            Self::Secret { endpoint_id, .. } => keys::cleanup(endpoint_id),
            Self::LeftSecret { endpoint_id, .. } => keys::left_secret_cleanup(*endpoint_id),
            Self::PreviousKey { endpoint_id, .. } => keys::previous_key_cleanup(*endpoint_id),
            Self::Tenant { tenant_id } => keys::cleanup(tenant_id),
        }
    }

    fn index_partition(&self) -> String {
        match self {
            Self::Secret { endpoint_id, .. }
            | Self::LeftSecret { endpoint_id, .. }
            | Self::PreviousKey { endpoint_id, .. } => keys::cleanup_partition_of(&endpoint_id.to_bytes()),
            Self::Tenant { tenant_id } => keys::cleanup_partition_of(&tenant_id.to_bytes()),
        }
    }
}

/// What the sweeper finds beside flows.
#[derive(Clone, Debug)]
pub enum Due {
    /// Something to be cleaned up.
    Cleanup(Cleanup),
    /// A bulk replay that has not got on for a while.
    Replay(Box<Replay>),
}

impl Store {
    /// What of one of the index's partitions should be checked by `until`, the longest due first; at most [`CLEANUPS_MAX`].
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn due(&self, shard: u8, until: Timestamp) -> Result<Vec<Due>, AwsError> {
        let (found, _) = self.query_sweep(keys::cleanup_partition(shard), until, CLEANUPS_MAX, None).await?;
        let keys: Vec<_> = found.iter().filter_map(key_of).collect();
        let mut items = self.get_many(&keys, true).await?;
        let found = keys.into_iter().filter_map(|key| items.remove(&key).map(|item| (key, item)));
        let read = |(key, item): (Key, Item)| {
            let read = match kind_of(&item) {
                Some(Cleanup::KIND) => from_item(item).map(Due::Cleanup),
                _ => from_item::<ReplayItem>(item).map(|item| Due::Replay(Box::new(item.into()))),
            };
            read.inspect_err(|error| tracing::error!(%error, key = key.pk, "what is to be cleaned up cannot be read"))
                .ok()
        };
        Ok(found.filter_map(read).collect())
    }

    /// Notes that this is to be cleaned up at `at`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn schedule_cleanup(&self, cleanup: Cleanup, at: Timestamp) -> Result<(), AwsError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(cleanup_item(cleanup, at)?));
        put.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Forgets a note that has been carried out, unless somebody has put it anew meanwhile, for a time after `now`. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn forget_due_cleanup(&self, cleanup: Cleanup, now: Timestamp) -> Result<(), AwsError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key_item(&cleanup.key())));
        let delete = delete.condition_expression("attribute_not_exists(GSI1SK) OR GSI1SK <= :now");
        match delete.expression_attribute_values(":now", text(keys::sweep_sort(now))).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk("dynamodb:DeleteItem", &error)),
        }
    }

    /// Forgets a note that has been carried out. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn forget_cleanup(&self, cleanup: Cleanup) -> Result<(), AwsError> {
        let key = key_item(&cleanup.key());
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        delete.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))
    }
}

pub(super) fn cleanup_item(cleanup: Cleanup, at: Timestamp) -> Result<Item, AwsError> {
    let item = CleanupItem { cleanup, index_pk: cleanup.index_partition(), index_sk: keys::sweep_sort(at) };
    to_item(&cleanup.key(), &item)
}
