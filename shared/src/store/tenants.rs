//! Tenants and their API keys.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::batch::key_of;
use super::cursor::Page;
use super::items::TenantItem;
use super::{Recorded, Store, Stored, Write, from_item, key_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::api_key::{ApiKey, ApiKeySecret, KEYS_PER_TENANT_MAX, KeyHash};
use crate::domain::id::{KeyId, TenantId};
use crate::domain::tenant::{Mode, Scope, Tenant, TenantSettings};

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

#[derive(Serialize, Deserialize)]
pub(super) struct KeyItem {
    #[serde(flatten)]
    key: ApiKey,
    hash: KeyHash,
    /// Only tokens of portal sessions go by themselves; a key that has expired stays listed.
    #[serde(default, with = "jiff::fmt::serde::timestamp::second::optional", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Stored for KeyItem {
    const KIND: &'static str = "api_key";
}

impl TenantItem {
    /// Counts changes of the endpoints of this environment.
    #[must_use]
    pub fn endpoints_version(&self, scope: Scope) -> u64 {
        match scope.mode {
            Mode::Live => self.live_endpoints_version,
            Mode::Test => self.test_endpoints_version,
        }
    }
}

impl Store {
    /// Keeps a new tenant, and its entry in the list of tenants. Its id is new, so there is nothing to meet.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_tenant(&self, tenant: Tenant) -> Result<(), AwsError> {
        let (key, entry) = (keys::tenant(tenant.id), keys::tenant_entry(tenant.id));
        let item = TenantItem {
            tenant,
            live_endpoint_count: 0,
            live_endpoints_version: 0,
            test_endpoint_count: 0,
            test_endpoints_version: 0,
        };
        let writes = [Write::Insert(to_item(&key, &item)?), Write::Insert(key_item(&entry))];
        for result in self.record(&writes).await {
            // Refused: an own earlier try whose answer was lost.
            if let Recorded::Failed(error) = result {
                return Err(error);
            }
        }
        Ok(())
    }

    /// A page of tenants that are not deleted, oldest first, from behind `after`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_tenants(&self, after: Option<TenantId>, limit: usize) -> Result<Page<Tenant>, AwsError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk")
            .expression_attribute_values(":pk", text(keys::TENANTS_PARTITION))
            .consistent_read(true)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(|id| key_item(&keys::tenant_entry(id))))
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
        let entries = answer.items.unwrap_or_default().into_iter().filter_map(|item| key_of(&item)?.sk.parse().ok());
        let ids: Vec<TenantId> = entries.collect();
        let page = Page::cut(ids, limit, |id| *id);
        let mut found = self.tenants(&page.entries).await?;
        let tenants = page.entries.iter().filter_map(|id| found.remove(id)).map(|item| item.tenant);
        let entries = tenants.filter(|tenant| tenant.deleted_at.is_none()).collect();
        Ok(Page { entries, next_cursor: page.next_cursor })
    }

    /// Changes what the operator says of a tenant; the tenant as it is then, or `None` where there is none.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn change_tenant_settings(
        &self,
        id: TenantId,
        settings: &TenantSettings,
    ) -> Result<Option<Tenant>, AwsError> {
        let limits = serde_dynamo::to_attribute_value(settings.rate_limits)
            .map_err(|error| AwsError::unreadable("dynamodb:UpdateItem", error))?;
        let visibility = serde_dynamo::to_attribute_value(settings.secret_visibility)
            .map_err(|error| AwsError::unreadable("dynamodb:UpdateItem", error))?;
        let update = self
            .update_tenant(id)
            .update_expression(
                "SET #name = :name, max_endpoints = :max, secret_visibility = :visibility, rate_limits = :limits",
            )
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":name", text(&settings.name))
            .expression_attribute_values(":max", number(settings.max_endpoints))
            .expression_attribute_values(":visibility", visibility)
            .expression_attribute_values(":limits", limits);
        updated(update.send().await)
    }

    /// Marks a tenant as deleted: its keys open nothing from then on. Whether there was one. Its entry in the list goes too.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn mark_tenant_deleted(&self, id: TenantId, now: Timestamp) -> Result<bool, AwsError> {
        let update = self
            .update_tenant(id)
            .update_expression("SET deleted_at = :now")
            .expression_attribute_values(":now", number(now.as_millisecond()));
        Ok(updated(update.send().await)?.is_some())
    }

    /// Removes a tenant's entry in the list of tenants and all its API keys. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn remove_tenant_entries(&self, id: TenantId) -> Result<(), AwsError> {
        let keys = self.key_items(id, keys::API_KEY_PREFIX).await?.into_iter();
        let keys = keys.map(|item| keys::api_key(id, &item.hash));
        let sessions = self.key_items(id, keys::PORTAL_SESSION_PREFIX).await?.into_iter();
        let sessions = sessions.map(|item| keys::portal_session(id, &item.hash));
        for key in keys.chain(sessions).chain([keys::tenant_entry(id)]) {
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key_item(&key)));
            delete.send().await.map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))?;
        }
        Ok(())
    }

    fn update_tenant(&self, id: TenantId) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::tenant(id))))
            .condition_expression("attribute_exists(PK) AND attribute_not_exists(deleted_at)")
            .return_values(ReturnValue::AllNew)
    }

    /// Reads a tenant.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<TenantItem>, AwsError> {
        self.get(&keys::tenant(id), true).await
    }

    /// Reads many tenants with one call per hundred, as they are now.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn tenants(&self, ids: &[TenantId]) -> Result<HashMap<TenantId, TenantItem>, AwsError> {
        let wanted: Vec<_> = ids.iter().map(|id| keys::tenant(*id)).collect();
        let mut found = HashMap::new();
        for item in self.get_many(&wanted, true).await?.into_values() {
            let tenant: TenantItem = from_item(item)?;
            found.insert(tenant.tenant.id, tenant);
        }
        Ok(found)
    }

    /// Keeps a new API key of a tenant; of the key itself only its hash.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn add_key(&self, key: &ApiKey, secret: &ApiKeySecret) -> Result<KeyAdded, AwsError> {
        if self.tenant(key.scope.tenant_id).await?.is_none_or(|item| item.tenant.deleted_at.is_some()) {
            return Ok(KeyAdded::NoTenant);
        }
        let (tenant_id, hash) = (key.scope.tenant_id, secret.hash());
        let (name, prefix, alike_max) = if key.portal {
            (keys::portal_session(tenant_id, &hash), keys::PORTAL_SESSION_PREFIX, PORTAL_SESSIONS_MAX)
        } else {
            (keys::api_key(tenant_id, &hash), keys::API_KEY_PREFIX, KEYS_PER_TENANT_MAX)
        };
        let alike = self.key_items(tenant_id, prefix).await?;
        if alike.iter().filter(|item| !key.portal || item.key.is_valid(key.created_at)).count() >= alike_max {
            return Ok(KeyAdded::LimitReached);
        }
        let expires_at = key.valid_until.filter(|_| key.portal);
        let item = to_item(&name, &KeyItem { key: key.clone(), hash, expires_at })?;
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
        let mut keys: Vec<_> = items.map(|item| item.key).collect();
        keys.sort_by_key(|key| key.id);
        Ok(keys)
    }

    /// Removes a key. Whether there was one. Instances that have it cached accept it for a few seconds more.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn delete_key(&self, tenant_id: TenantId, id: KeyId) -> Result<bool, AwsError> {
        let items = self.key_items(tenant_id, keys::API_KEY_PREFIX).await?;
        let Some(found) = items.into_iter().find(|item| item.key.id == id) else { return Ok(false) };
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
        Ok(tenant.tenant.deleted_at.is_none().then_some((item.key, tenant.tenant)))
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
}

/// The tenant after an update, or `None` where its condition did not hold.
fn updated(
    answer: Result<UpdateItemOutput, SdkError<UpdateItemError, HttpResponse>>,
) -> Result<Option<Tenant>, AwsError> {
    match answer {
        Ok(answer) => {
            let item: TenantItem = from_item(answer.attributes.unwrap_or_default())?;
            Ok(Some(item.tenant))
        }
        Err(error) if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) => {
            Ok(None)
        }
        Err(error) => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
    }
}
