//! Counting requests, a minute at a time.

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;

use super::{Store, key_item, keys, number, text};
use crate::aws_error::AwsError;
use crate::domain::id::TenantId;

/// How long a minute's count is kept after it, in seconds.
const KEPT_SECONDS: i64 = 600;

impl Store {
    /// Counts a request of this class in the minute of `now`; how many there have been in it, this one included.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn count_request(&self, tenant_id: TenantId, class: &str, now: Timestamp) -> Result<u32, AwsError> {
        const OPERATION: &str = "dynamodb:UpdateItem";
        let minute = now.as_second().div_euclid(60);
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::rate(tenant_id, class, minute))))
            .update_expression("ADD requests :one SET expires_at = :until, kind = :kind")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":kind", text("rate"))
            .expression_attribute_values(":until", number(now.as_second() + KEPT_SECONDS))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk(OPERATION, &error))?;
        let counted = answer.attributes.unwrap_or_default().remove("requests");
        let counted = counted.and_then(|value| value.as_n().ok()?.parse().ok());
        counted.ok_or_else(|| AwsError::unreadable(OPERATION, "no count in the answer"))
    }
}
