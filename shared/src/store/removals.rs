//! Notes of what is to be cleared away later; the sweeper carries them out.
//!
//! A secret: a note is written before one is made and goes with the endpoint's own creation, so that a crash between the two leaves no secret behind;
//! another is written when an endpoint is deleted. A previous key: a note is written when a rotation begins its overlap. A tenant: a note is written
//! when it is deleted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::Key;
use super::{Item, Store, key_item, keys, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::{EndpointId, TenantId};
use crate::domain::tenant::Scope;

/// What is to be cleared away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "clear_away", rename_all = "snake_case")]
pub enum Removal {
    /// A secret, unless its endpoint exists.
    Secret {
        /// Whose secret.
        endpoint_id: EndpointId,
        /// Whose endpoint.
        scope: Scope,
    },
    /// A key whose overlap is over.
    PreviousKey {
        /// Whose key.
        endpoint_id: EndpointId,
        /// Whose endpoint.
        scope: Scope,
    },
    /// What a deleted tenant leaves.
    Tenant {
        /// Which.
        tenant_id: TenantId,
    },
}

#[derive(Serialize)]
struct RemovalItem {
    #[serde(flatten)]
    removal: Removal,
    #[serde(rename = "GSI1PK")]
    index_pk: String,
    #[serde(rename = "GSI1SK")]
    index_sk: String,
}

impl Removal {
    fn key(&self) -> Key {
        match self {
            Self::Secret { endpoint_id, .. } => keys::removal(endpoint_id),
            Self::PreviousKey { endpoint_id, .. } => keys::previous_key_removal(*endpoint_id),
            Self::Tenant { tenant_id } => keys::removal(tenant_id),
        }
    }

    fn index_partition(&self) -> String {
        match self {
            Self::Secret { endpoint_id, .. } | Self::PreviousKey { endpoint_id, .. } => {
                keys::due_partition_of(&endpoint_id.to_bytes())
            }
            Self::Tenant { tenant_id } => keys::due_partition_of(&tenant_id.to_bytes()),
        }
    }
}

impl Store {
    /// Notes that this is to be cleared away at `at`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_removal(&self, removal: Removal, at: Timestamp) -> Result<(), AwsError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(removal_item(removal, at)?));
        put.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Forgets a note that has been carried out. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn forget_removal(&self, removal: Removal) -> Result<(), AwsError> {
        let key = key_item(&removal.key());
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        delete.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))
    }
}

pub(super) fn removal_item(removal: Removal, at: Timestamp) -> Result<Item, AwsError> {
    let item = RemovalItem { removal, index_pk: removal.index_partition(), index_sk: keys::due_sort(at) };
    to_item(&removal.key(), &item)
}
