//! Which endpoints are not doing well, and how.
//!
//! A record is there from the first failure or slow answer to the next good one. The tenant's item counts its records, so that a tenant without any costs nothing
//! here; a record is made and ended in one transaction with that count.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;
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
        // Of an endpoint that was deleted meanwhile, nobody would remove the record again.
        let is_there = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::endpoint(scope, id))))
            .condition_expression("attribute_exists(PK)")
            .build()
            .map_err(|error| AwsError::unreadable(OPERATION, error))?;
        let parts = vec![
            TransactWriteItem::builder().put(put).build(),
            self.count_failing(scope, 1)?,
            TransactWriteItem::builder().condition_check(is_there).build(),
        ];
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
            // Refused otherwise: the endpoint or its tenant is gone.
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

    /// Takes the one turn that there is at an endpoint that hangs, until `until` at the latest. Whether it was free.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn take_turn(
        &self,
        scope: Scope,
        id: EndpointId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, AwsError> {
        let free = "attribute_exists(PK) AND (attribute_not_exists(turn_until) OR turn_until <= :now)";
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::health(scope, id))))
            .update_expression("SET turn_until = :until")
            .condition_expression(free)
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                // Without a record it is well again, and needs no turns.
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => Ok(refused.item().is_none()),
                _ => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
            },
        }
    }

    /// Ends a turn that was taken until `until`. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn end_turn(&self, scope: Scope, id: EndpointId, until: Timestamp) -> Result<(), AwsError> {
        let ended = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::health(scope, id))))
            .update_expression("REMOVE turn_until")
            .condition_expression("turn_until = :until")
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .send()
            .await;
        match ended {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
            },
        }
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
