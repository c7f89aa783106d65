//! Idempotency keys: which event id a key stands for, whether the queue has the event, and who is about to send it.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::batch::named;
use super::{Condition, Named, Recorded, Store, Stored, Write, from_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::EventId;
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;

/// How long a key stands for its event, in seconds: 24 h.
pub const IDEMPOTENCY_SECONDS: i64 = 86_400;
/// How long the holder of a key has to put the event onto the queue, in seconds. API and deliver live no longer than that and a second for the
/// sending: the API 29 s.
const CLAIM_SECONDS: i64 = 30;

/// What is known of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The event that the key stands for.
    pub event_id: EventId,
    /// SHA-256 of what was sent under it, in hex; `None` for a message that came straight onto the queue.
    pub body_hash: Option<String>,
    /// Whether the queue has the event for certain.
    pub queued: bool,
    /// Who is about to put it there.
    pub claim: String,
    /// Until when nobody else does.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub claimed_until: Timestamp,
    /// From when on the key is free again.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

impl Stored for IdempotencyRecord {
    const KIND: &'static str = "idempotency";
}

impl IdempotencyRecord {
    /// A new claim on a key for an event.
    #[must_use]
    pub fn new(event_id: EventId, body_hash: Option<String>, queued: bool, claim: String, now: Timestamp) -> Self {
        let claimed_until = plus_seconds(now, CLAIM_SECONDS);
        Self { event_id, body_hash, queued, claim, claimed_until, expires_at: plus_seconds(now, IDEMPOTENCY_SECONDS) }
    }
}

impl Store {
    /// Takes an idempotency key. Comes back with what was there before, if it is not yet over; then nothing is changed.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn claim_idempotency_key(
        &self,
        scope: Scope,
        key: &str,
        record: &IdempotencyRecord,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, AwsError> {
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(&keys::idempotency(scope, key), record)?))
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
                    let found: IdempotencyRecord = from_item(item)?;
                    // Its own, written by an earlier try whose answer was lost.
                    Ok(Some(found).filter(|found| (&found.claim, found.event_id) != (&record.claim, record.event_id)))
                }
                _ => Err(AwsError::from_sdk("dynamodb:PutItem", &SdkError::ServiceError(error))),
            },
            Err(error) => Err(AwsError::from_sdk("dynamodb:PutItem", &error)),
        }
    }

    /// What is known of an idempotency key.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn idempotency_record(&self, scope: Scope, key: &str) -> Result<Option<IdempotencyRecord>, AwsError> {
        self.get(&keys::idempotency(scope, key), true).await
    }

    /// Takes over the claim of somebody who is gone, or has given it up. Whether it was still theirs, and the event not queued.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn take_over_claim(
        &self,
        scope: Scope,
        key: &str,
        from: &IdempotencyRecord,
        claim: &str,
        now: Timestamp,
    ) -> Result<bool, AwsError> {
        let until = number(plus_seconds(now, CLAIM_SECONDS).as_millisecond());
        let set = named([("claim", text(claim)), ("claimed_until", until)]);
        self.change_claim(scope, key, &from.claim, set).await
    }

    /// Notes that the queue has the event of a key.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn confirm_claim(&self, scope: Scope, key: &str, claim: &str) -> Result<(), AwsError> {
        self.change_claim(scope, key, claim, named([("queued", AttributeValue::Bool(true))])).await.map(|_| ())
    }

    /// Gives up a claim whose event could not be sent, so that the next one need not wait.
    ///
    /// # Errors
    /// When DynamoDB does not answer; the claim ends by itself.
    pub async fn give_up_claim(&self, scope: Scope, key: &str, claim: &str) -> Result<(), AwsError> {
        self.change_claim(scope, key, claim, named([("claimed_until", number(0))])).await.map(|_| ())
    }

    async fn change_claim(&self, scope: Scope, key: &str, claim: &str, set: Named) -> Result<bool, AwsError> {
        let key = keys::idempotency(scope, key);
        let only_if = vec![Condition::Is("claim", text(claim)), Condition::Is("queued", AttributeValue::Bool(false))];
        match self.record(&[Write::Update { key, set, remove: Vec::new(), only_if }]).await.pop() {
            Some(Recorded::Done) => Ok(true),
            Some(Recorded::Failed(error)) => Err(error),
            Some(Recorded::Refused) | None => Ok(false),
        }
    }
}
