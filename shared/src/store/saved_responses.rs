//! Saved responses to requests with an idempotency key, so that a repeated request gets the first response again. They hold no secret.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::idempotency::IDEMPOTENCY_SECONDS;
use super::{Store, Stored, from_item, key_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::time::plus_seconds;

/// A request that has not been answered for so long, in seconds, has died; the API's own time limit is 29.
const ABANDONED_AFTER_SECONDS: i64 = 60;

/// What is known of a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedResponse {
    /// SHA-256 of method, path and body, in hex: whether it is the same request.
    pub request_hash: String,
    /// The status; `None` while the first request is still being carried out.
    pub status: Option<u16>,
    /// The body without its secret.
    pub body: Option<String>,
    /// Where the secret is that belongs into the body: endpoint and version.
    pub secret_of: Option<(String, String)>,
    /// Names the request that carries it out.
    pub claim: String,
    /// When the request that carries it out began.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub claimed_at: Timestamp,
    /// When the first request began.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub began_at: Timestamp,
    /// From when on the key is free again.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

impl Stored for SavedResponse {
    const KIND: &'static str = "saved_response";
}

/// What became of the claim on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseClaim {
    /// It is the caller's: the request is to be carried out.
    Taken {
        /// When the first request with this key began.
        began_at: Timestamp,
        /// Whether one has begun and died: it may have been carried out, or half of it.
        is_repeat: bool,
    },
    /// Somebody has answered it, or is about to.
    Known(SavedResponse),
}

impl SavedResponse {
    fn is_abandoned(&self, now: Timestamp) -> bool {
        self.status.is_none() && self.claimed_at <= plus_seconds(now, -ABANDONED_AFTER_SECONDS)
    }
}

impl Store {
    /// Takes an idempotency key for a request: if it is free, or if its holder has died. `claim` is new for every request.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn claim_response(
        &self,
        owner: &str,
        key_hash: &str,
        request_hash: &str,
        claim: &str,
        now: Timestamp,
    ) -> Result<ResponseClaim, AwsError> {
        let first = SavedResponse {
            request_hash: request_hash.to_owned(),
            status: None,
            body: None,
            secret_of: None,
            claim: claim.to_owned(),
            claimed_at: now,
            began_at: now,
            expires_at: plus_seconds(now, IDEMPOTENCY_SECONDS),
        };
        let free = "attribute_not_exists(PK) OR expires_at <= :now";
        let Some(found) = self.put_claim(owner, key_hash, &first, (free, ":now", number(now.as_second()))).await?
        else {
            return Ok(ResponseClaim::Taken { began_at: now, is_repeat: false });
        };
        if found.request_hash != request_hash || !found.is_abandoned(now) {
            return Ok(ResponseClaim::Known(found));
        }
        let next = SavedResponse { began_at: found.began_at, ..first };
        let still = ("claim = :claim", ":claim", text(&found.claim));
        Ok(match self.put_claim(owner, key_hash, &next, still).await? {
            None => ResponseClaim::Taken { began_at: found.began_at, is_repeat: true },
            Some(other) => ResponseClaim::Known(other),
        })
    }

    /// Puts a claim where the condition allows it; otherwise what is there. One's own, written by an earlier try whose answer was lost, is no other's.
    async fn put_claim(
        &self,
        owner: &str,
        key_hash: &str,
        claim: &SavedResponse,
        (condition, name, value): (&str, &str, AttributeValue),
    ) -> Result<Option<SavedResponse>, AwsError> {
        let put = self.client.put_item().table_name(&self.table);
        let answer = put
            .set_item(Some(to_item(&keys::saved_response(owner, key_hash), claim)?))
            .condition_expression(condition)
            .expression_attribute_values(name, value)
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
            let found: SavedResponse = from_item(item.clone())?;
            return Ok(Some(found).filter(|found| found.claim != claim.claim));
        }
        Err(AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Saves the response to a request whose key was taken, if the claim is still the request's.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn save_response(&self, owner: &str, key_hash: &str, response: &SavedResponse) -> Result<(), AwsError> {
        let own = ("claim = :claim", ":claim", text(&response.claim));
        self.put_claim(owner, key_hash, response, own).await.map(|_| ())
    }

    /// Says of a request of which nobody knows what became that it is over: the next request with its key takes it up.
    ///
    /// # Errors
    /// When DynamoDB does not answer; then the claim is over after a minute.
    pub async fn abandon_response(&self, owner: &str, key_hash: &str, claim: &str) -> Result<(), AwsError> {
        let update = self.client.update_item().table_name(&self.table);
        let update = update
            .set_key(Some(key_item(&keys::saved_response(owner, key_hash))))
            .update_expression("SET claimed_at = :over")
            .condition_expression("claim = :claim")
            .expression_attribute_values(":over", number(0))
            .expression_attribute_values(":claim", text(claim));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
        }
    }

    /// Gives a key back whose request changed nothing, if it is still the request's.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn release_response(&self, owner: &str, key_hash: &str, claim: &str) -> Result<(), AwsError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let delete = delete
            .set_key(Some(key_item(&keys::saved_response(owner, key_hash))))
            .condition_expression("claim = :claim")
            .expression_attribute_values(":claim", text(claim));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(error) => Err(AwsError::from_sdk("dynamodb:DeleteItem", &error)),
        }
    }
}
