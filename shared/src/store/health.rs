//! Which endpoints are failing, and since when.
//!
//! A record is there from the first failure to the next success. The tenant's item counts its records, so that a tenant without any costs nothing
//! here; a record is made and ended in one transaction with that count.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Store, from_item, key_item, keys, number, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;

const OPERATION: &str = "dynamodb:TransactWriteItems";

#[derive(Serialize, Deserialize)]
struct HealthItem {
    endpoint_id: EndpointId,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    failing_since: Timestamp,
}

impl Store {
    /// Since when each of these endpoints has been failing; those that are not are not in the answer. One call per hundred.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn failing_since(
        &self,
        names: &[(Scope, EndpointId)],
    ) -> Result<HashMap<EndpointId, Timestamp>, AwsError> {
        let wanted: Vec<_> = names.iter().map(|(scope, id)| keys::health(*scope, *id)).collect();
        let found = self.get_many(&wanted, false).await?.into_values();
        found.map(|item| from_item::<HealthItem>(item).map(|item| (item.endpoint_id, item.failing_since))).collect()
    }

    /// Notes that an endpoint has been failing since `since`, unless that is noted already. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn begin_failing(&self, scope: Scope, id: EndpointId, since: Timestamp) -> Result<(), AwsError> {
        let item = to_item(&keys::health(scope, id), &HealthItem { endpoint_id: id, failing_since: since })?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK)")
            .build()
            .map_err(|error| AwsError::unreadable(OPERATION, error))?;
        let parts = vec![TransactWriteItem::builder().put(put).build(), self.count_failing(scope, 1)?];
        // Refused: somebody else has noted it, or the tenant is gone.
        self.transact(parts).await.map(|_| ())
    }

    /// Notes that an endpoint fails no longer. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn end_failing(&self, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::health(scope, id))))
            .condition_expression("attribute_exists(PK)")
            .build()
            .map_err(|error| AwsError::unreadable(OPERATION, error))?;
        let parts = vec![TransactWriteItem::builder().delete(delete).build(), self.count_failing(scope, -1)?];
        self.transact(parts).await.map(|_| ())
    }

    fn count_failing(&self, scope: Scope, by: i32) -> Result<TransactWriteItem, AwsError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::tenant(scope.tenant_id))))
            .update_expression(format!("ADD {}_failing_count :by", scope.mode))
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":by", number(by))
            .build()
            .map_err(|error| AwsError::unreadable(OPERATION, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
