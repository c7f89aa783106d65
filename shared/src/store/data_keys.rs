//! Tenants' data keys, wrapped, and how far their secrets are converted to the form that is configured.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};

use super::batch::named;
use super::{Condition, Recorded, Store, Stored, Write, key_item, keys, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::{EndpointId, TenantId};

/// What a goal begins with by which secrets are to be sealed.
pub const SEALED_GOAL: &str = "sealed/";

/// A data key under a wrapping key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Which wrapping key.
    pub wrapped_by: String,
    /// The data key, encrypted.
    pub wrapped: String,
}

impl Stored for WrappedKey {
    const KIND: &'static str = "data_key";
}

/// How far the secrets of all tenants are kept as they are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion {
    /// How they are to be kept.
    pub goal: String,
    /// The last tenant that this pass is done with; `None` at its beginning.
    pub after: Option<TenantId>,
    /// Whether this pass has found anything that was to be converted.
    pub has_found: bool,
    /// When this pass begins, or began.
    #[serde(with = "millisecond::required")]
    pub begins_at: Timestamp,
    /// Whether all are as they are to be.
    pub is_done: bool,
}

impl Stored for Conversion {
    const KIND: &'static str = "conversion";
}

impl Store {
    /// Reads a tenant's data key.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn data_key(&self, tenant_id: TenantId) -> Result<Option<WrappedKey>, AwsError> {
        self.get(&keys::data_key(tenant_id), true).await
    }

    /// Keeps the data key of a tenant that has none.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn insert_data_key(&self, tenant_id: TenantId, key: &WrappedKey) -> Result<(), AwsError> {
        settled(self.record(&[Write::Insert(to_item(&keys::data_key(tenant_id), key)?)]).await)
    }

    /// Keeps a data key wrapped anew, over `before` and nothing else.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn replace_data_key(
        &self,
        tenant_id: TenantId,
        before: &WrappedKey,
        after: &WrappedKey,
    ) -> Result<(), AwsError> {
        let write = Write::Update {
            key: keys::data_key(tenant_id),
            set: named([("wrapped_by", text(&after.wrapped_by)), ("wrapped", text(&after.wrapped))]),
            remove: Vec::new(),
            only_if: vec![Condition::Is("wrapped", text(&before.wrapped))],
        };
        settled(self.record(&[write]).await)
    }

    /// Whether a secret that an endpoint has left is still to be removed from Secrets Manager.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn leaves_secret(&self, id: EndpointId) -> Result<bool, AwsError> {
        Ok(self.get_item(&keys::left_secret_cleanup(id), true).await?.is_some())
    }

    /// Reads how far secrets are converted; `None` before anything ever was.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn conversion(&self) -> Result<Option<Conversion>, AwsError> {
        self.get(&keys::conversion(), true).await
    }

    /// Notes how far secrets are converted.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_conversion(&self, conversion: &Conversion) -> Result<(), AwsError> {
        let item = to_item(&keys::conversion(), conversion)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))
    }

    /// Removes a tenant's data key: what it has sealed opens no more. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn remove_data_key(&self, tenant_id: TenantId) -> Result<(), AwsError> {
        let delete =
            self.client.delete_item().table_name(&self.table).set_key(Some(key_item(&keys::data_key(tenant_id))));
        delete.send().await.map(|_| ()).map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))
    }
}

/// Written, or refused because somebody else was quicker.
fn settled(mut recorded: Vec<Recorded>) -> Result<(), AwsError> {
    match recorded.pop() {
        Some(Recorded::Failed(error)) => Err(error),
        Some(Recorded::Done | Recorded::Refused) | None => Ok(()),
    }
}
