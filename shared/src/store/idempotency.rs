//! Idempotency keys: which event id a key stands for, whether the queue has the event, and what was sent under it.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Store, from_item, key_item, keys, number, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::EventId;
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;

/// How long a key stands for its event, in seconds: 24 h.
pub const IDEMPOTENCY_SECONDS: i64 = 86_400;

/// What is known of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The event that the key stands for.
    pub event_id: EventId,
    /// SHA-256 of what was sent under it, in hex; `None` for a message that came straight onto the queue.
    pub body_hash: Option<String>,
    /// Whether the queue has the event for certain.
    pub queued: bool,
    /// From when on the key is free again.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

impl Store {
    /// Takes an idempotency key for an event id. Comes back with what was there before, if it is not yet over; then nothing is changed.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn claim_idempotency_key(
        &self,
        scope: Scope,
        key: &str,
        event_id: EventId,
        body_hash: Option<String>,
        queued: bool,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, AwsError> {
        let record =
            IdempotencyRecord { event_id, body_hash, queued, expires_at: plus_seconds(now, IDEMPOTENCY_SECONDS) };
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(&keys::idempotency(scope, key), &record)?))
            .condition_expression("attribute_not_exists(PK) OR expires_at <= :now")
            .expression_attribute_values(":now", number(now.as_second()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(None),
            Err(SdkError::ServiceError(error)) => match error.err() {
                PutItemError::ConditionalCheckFailedException(refused) => {
                    let item = refused.item().cloned().ok_or_else(|| AwsError::gave_up("dynamodb:PutItem"))?;
                    from_item(item).map(Some)
                }
                _ => Err(AwsError::from_sdk("dynamodb:PutItem", &SdkError::ServiceError(error))),
            },
            Err(error) => Err(AwsError::from_sdk("dynamodb:PutItem", &error)),
        }
    }

    /// Notes that the queue has the event of a key. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn confirm_idempotency_key(&self, scope: Scope, key: &str) -> Result<(), AwsError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::idempotency(scope, key))))
            .update_expression("SET queued = :yes")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":yes", aws_sdk_dynamodb::types::AttributeValue::Bool(true))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| AwsError::from_sdk("dynamodb:UpdateItem", &error))
    }
}
