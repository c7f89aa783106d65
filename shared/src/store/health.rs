//! Which endpoints are not doing well, and how.
//!
//! A record is there from the first failure or slow answer to the next good one. The tenant's item counts its records, so that a tenant without any costs nothing
//! here; a record is made and ended in one transaction with that count.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};

use super::batch::Write;
use super::transaction::Committed;
use super::{Item, Recorded, Store, from_item, key_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::health::Health;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;

const OPERATION: &str = "dynamodb:TransactWriteItems";

#[derive(Serialize, Deserialize)]
struct HealthItem {
    endpoint_id: EndpointId,
    #[serde(flatten)]
    health: Health,
}

impl Store {
    /// How each of these endpoints is doing; those that are well are not in the answer. One call per hundred.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn health(&self, names: &[(Scope, EndpointId)]) -> Result<HashMap<EndpointId, Health>, AwsError> {
        let wanted: Vec<_> = names.iter().map(|(scope, id)| keys::health(*scope, *id)).collect();
        let found = self.get_many(&wanted, false).await?.into_values();
        found.map(|item| from_item::<HealthItem>(item).map(|item| (item.endpoint_id, item.health))).collect()
    }

    /// Notes how an endpoint is doing, where it was doing otherwise when it was looked at. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_health(
        &self,
        scope: Scope,
        id: EndpointId,
        before: Health,
        after: Health,
    ) -> Result<(), AwsError> {
        match (before.is_well(), after.is_well()) {
            (true, true) => Ok(()),
            (true, false) => self.begin_unwell(scope, id, after).await,
            (false, false) if before == after => Ok(()),
            (false, false) => self.stay_unwell(scope, id, after).await,
            (false, true) => self.end_unwell(scope, id).await,
        }
    }

    async fn begin_unwell(&self, scope: Scope, id: EndpointId, health: Health) -> Result<(), AwsError> {
        let item = to_item(&keys::health(scope, id), &HealthItem { endpoint_id: id, health })?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK)")
            .build()
            .map_err(|error| AwsError::unreadable(OPERATION, error))?;
        let parts = vec![TransactWriteItem::builder().put(put).build(), self.count_failing(scope, 1)?];
        match self.transact(parts).await? {
            // Somebody else has noted one thing of it; this may be another.
            Committed::Refused(parts) if parts.contains(&0) => {
                let Some(noted) = self.health(&[(scope, id)]).await?.remove(&id) else { return Ok(()) };
                let both = Health {
                    failing_since: noted.failing_since.or(health.failing_since),
                    slow: noted.slow || health.slow,
                };
                if both == noted { Ok(()) } else { self.stay_unwell(scope, id, both).await }
            }
            // Refused otherwise: the tenant is gone.
            Committed::Yes | Committed::Refused(_) => Ok(()),
        }
    }

    async fn stay_unwell(&self, scope: Scope, id: EndpointId, health: Health) -> Result<(), AwsError> {
        let mut item: Item = serde_dynamo::to_item(health).map_err(|error| AwsError::unreadable(OPERATION, error))?;
        let mut change = Write::Update {
            key: keys::health(scope, id),
            set: Vec::new(),
            remove: Vec::new(),
            only_if: vec![("endpoint_id", text(id.to_string()))],
        };
        if let Write::Update { set, remove, .. } = &mut change {
            for name in ["failing_since", "slow"] {
                match item.remove(name) {
                    Some(value) => set.push((name, value)),
                    None => remove.push(name),
                }
            }
        }
        match self.record(&[change]).await.pop() {
            Some(Recorded::Failed(error)) => Err(error),
            // Refused: it has become well meanwhile.
            Some(Recorded::Done | Recorded::Refused) | None => Ok(()),
        }
    }

    /// Notes that an endpoint is well, or is to be taken for it. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn end_unwell(&self, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
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
