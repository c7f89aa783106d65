//! Notes that an endpoint's secret is to be removed.
//!
//! One is written before a secret is made and goes with the endpoint's own creation, so that a crash between the two leaves no secret behind;
//! another is written when an endpoint is deleted. The sweeper carries them out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Item, Store, key_item, keys, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;

/// A secret that is to be removed unless its endpoint exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Whose secret.
    pub endpoint_id: EndpointId,
    /// Whose endpoint.
    #[serde(flatten)]
    pub scope: Scope,
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

impl Store {
    /// Notes that the secret of this endpoint is to be removed at `at` unless the endpoint exists by then.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_removal(&self, scope: Scope, endpoint_id: EndpointId, at: Timestamp) -> Result<(), AwsError> {
        let item = self.removal_item(scope, endpoint_id, at)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Forgets a note that has been carried out. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn forget_removal(&self, endpoint_id: EndpointId) -> Result<(), AwsError> {
        let key = key_item(&keys::removal(endpoint_id));
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        delete.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))
    }

    pub(super) fn removal_item(&self, scope: Scope, endpoint_id: EndpointId, at: Timestamp) -> Result<Item, AwsError> {
        let item = RemovalItem {
            removal: Removal { endpoint_id, scope },
            index_pk: keys::due_partition_of(endpoint_id, None),
            index_sk: keys::due_sort(at),
        };
        to_item(&keys::removal(endpoint_id), &item)
    }
}
