//! API keys and portal sessions: each an item of its tenant, named by the hash of its text.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;

use super::items::{KeyItem, TenantItem};
use super::keys::Key;
use super::{Store, from_item, key_item, keys, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::api_key::{ApiKey, ApiKeySecret, KEYS_PER_TENANT_MAX};
use crate::domain::id::{KeyId, TenantId};
use crate::domain::tenant::Tenant;

/// The most portal sessions of a tenant that are open at once.
const PORTAL_SESSIONS_MAX: usize = 500;

/// What became of a new API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAdded {
    /// It opens its environment from now on.
    Added,
    /// There is no such tenant.
    NoTenant,
    /// The tenant has [`KEYS_PER_TENANT_MAX`] keys, or as many portal sessions as it can have.
    LimitReached,
}

impl Store {
    /// Keeps a new API key of a tenant; of the key itself only its hash.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn add_key(&self, key: &ApiKey, secret: &ApiKeySecret) -> Result<KeyAdded, AwsError> {
        if self.tenant(key.scope.tenant_id).await?.is_none_or(|item| item.is_deleted()) {
            return Ok(KeyAdded::NoTenant);
        }
        let (tenant_id, hash) = (key.scope.tenant_id, secret.hash());
        let (name, prefix, alike_max) = if key.portal {
            (keys::portal_session(tenant_id, &hash), keys::PORTAL_SESSION_PREFIX, PORTAL_SESSIONS_MAX)
        } else {
            (keys::api_key(tenant_id, &hash), keys::API_KEY_PREFIX, KEYS_PER_TENANT_MAX)
        };
        let alike = self.key_items(tenant_id, prefix).await?;
        if alike.iter().filter(|item| !key.portal || ApiKey::from((*item).clone()).is_valid(key.created_at)).count()
            >= alike_max
        {
            return Ok(KeyAdded::LimitReached);
        }
        let item = to_item(&name, &KeyItem::new(key.clone(), hash))?;
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))?;
        Ok(KeyAdded::Added)
    }

    /// All keys of a tenant, oldest first; no portal sessions.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn keys(&self, tenant_id: TenantId) -> Result<Vec<ApiKey>, AwsError> {
        let items = self.key_items(tenant_id, keys::API_KEY_PREFIX).await?.into_iter();
        let mut keys: Vec<_> = items.map(ApiKey::from).collect();
        keys.sort_by_key(|key| key.id);
        Ok(keys)
    }

    /// Removes a key. Whether there was one. Instances that have it cached accept it for a few seconds more.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn delete_key(&self, tenant_id: TenantId, id: KeyId) -> Result<bool, AwsError> {
        let items = self.key_items(tenant_id, keys::API_KEY_PREFIX).await?;
        let Some(found) = items.into_iter().find(|item| item.id == id) else { return Ok(false) };
        let key = keys::api_key(tenant_id, &found.hash);
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key_item(&key)));
        match delete.condition_expression("attribute_exists(PK)").send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(AwsError::from_sdk("dynamodb:DeleteItem", &error)),
        }
    }

    /// The key and its tenant, if both exist: one call. Whether the key is still valid is for the caller to judge.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn authorise(&self, secret: &ApiKeySecret) -> Result<Option<(ApiKey, Tenant)>, AwsError> {
        let tenant_id = secret.scope().tenant_id;
        let tenant_key = keys::tenant(tenant_id);
        let hash = secret.hash();
        let (key_key, session_key) = (keys::api_key(tenant_id, &hash), keys::portal_session(tenant_id, &hash));
        // Consistently, so that a key opens its environment from the moment it is shown.
        let mut found = self.get_many(&[tenant_key.clone(), key_key.clone(), session_key.clone()], true).await?;
        let key = found.remove(&key_key).or_else(|| found.remove(&session_key));
        let (Some(tenant), Some(key)) = (found.remove(&tenant_key), key) else { return Ok(None) };
        let tenant: TenantItem = from_item(tenant)?;
        let item: KeyItem = from_item(key)?;
        Ok((!tenant.is_deleted()).then(|| (item.into(), tenant.tenant())))
    }

    /// The keys, or the portal sessions, of a tenant, page by page to the end.
    async fn key_items(&self, tenant_id: TenantId, prefix: &str) -> Result<Vec<KeyItem>, AwsError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
            .expression_attribute_values(":pk", text(keys::tenant_partition(tenant_id)))
            .expression_attribute_values(":prefix", text(prefix))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
            match from_item(item) {
                Ok(item) => found.push(item),
                Err(error) => tracing::error!(%error, %tenant_id, "an API key cannot be read; it is left out"),
            }
        }
        Ok(found)
    }

    /// The names of all keys and portal sessions of a tenant.
    pub(super) async fn names_of_keys(&self, tenant_id: TenantId) -> Result<Vec<Key>, AwsError> {
        let keys = self.key_items(tenant_id, keys::API_KEY_PREFIX).await?.into_iter();
        let sessions = self.key_items(tenant_id, keys::PORTAL_SESSION_PREFIX).await?.into_iter();
        let keys = keys.map(|item| keys::api_key(tenant_id, &item.hash));
        Ok(keys.chain(sessions.map(|item| keys::portal_session(tenant_id, &item.hash))).collect())
    }
}
