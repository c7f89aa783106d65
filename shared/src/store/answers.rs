//! Answers to requests with an idempotency key, so that a repeated request gets the first one again. They hold no secret.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::idempotency::IDEMPOTENCY_SECONDS;
use super::{Store, from_item, key_item, keys, number, to_item};
use crate::aws_error::AwsError;
use crate::domain::time::plus_seconds;

/// A request that has not been answered for so long, in seconds, has died; the API's own time limit is 29.
const ABANDONED_AFTER_SECONDS: i64 = 60;

/// What is known of a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// SHA-256 of method, path and body, in hex: whether it is the same request.
    pub request_hash: String,
    /// The status; `None` while the first request is still being carried out.
    pub status: Option<u16>,
    /// The body without its secret.
    pub body: Option<String>,
    /// Where the secret is that belongs into the body: endpoint and version.
    pub secret_of: Option<(String, String)>,
    /// When the first request began.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub began_at: Timestamp,
    /// From when on the key is free again.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

impl Store {
    /// Takes an idempotency key for a request. Comes back with what is there, if the key is taken; then nothing is changed.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn claim_answer(
        &self,
        owner: &str,
        key_hash: &str,
        request_hash: String,
        now: Timestamp,
    ) -> Result<Option<KeptAnswer>, AwsError> {
        let expires_at = plus_seconds(now, IDEMPOTENCY_SECONDS);
        let kept = KeptAnswer { request_hash, status: None, body: None, secret_of: None, began_at: now, expires_at };
        let abandoned = plus_seconds(now, -ABANDONED_AFTER_SECONDS);
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(&keys::answer(owner, key_hash), &kept)?))
            .condition_expression(
                "attribute_not_exists(PK) OR expires_at <= :now OR (attribute_type(#status, :null) AND began_at <= :abandoned)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":abandoned", number(abandoned.as_second()))
            .expression_attribute_values(":null", super::text("NULL"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match answer {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        if let SdkError::ServiceError(refused) = &error
            && let PutItemError::ConditionalCheckFailedException(refused) = refused.err()
            && let Some(item) = refused.item()
        {
            return from_item(item.clone()).map(Some);
        }
        Err(AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Keeps the answer to a request whose key was taken.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn keep_answer(&self, owner: &str, key_hash: &str, answer: &KeptAnswer) -> Result<(), AwsError> {
        let item = to_item(&keys::answer(owner, key_hash), answer)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Gives a key back whose request changed nothing.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn release_answer(&self, owner: &str, key_hash: &str) -> Result<(), AwsError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let delete = delete.set_key(Some(key_item(&keys::answer(owner, key_hash))));
        delete.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))
    }
}
