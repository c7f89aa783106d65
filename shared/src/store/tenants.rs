//! Tenants: their items, with the counters of their endpoints, and the list of them.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;

use super::batch::key_of;
use super::items::{TenantItem, TenantSettingsItem};
use super::page::Page;
use super::{Recorded, Store, Write, changes, from_item, key_item, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::id::TenantId;
use crate::domain::tenant::{Tenant, TenantSettings};

impl Store {
    /// Keeps a new tenant, and its entry in the list of tenants. Its id is new, so there is nothing to meet.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_tenant(&self, tenant: Tenant) -> Result<(), AwsError> {
        let (key, entry) = (keys::tenant(tenant.id), keys::tenant_entry(tenant.id));
        let item = TenantItem::new(tenant);
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
    pub async fn list_tenants(
        &self,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Page<Tenant, TenantId>, AwsError> {
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
        let tenants = page.entries.iter().filter_map(|id| found.remove(id)).map(|item| item.tenant());
        let entries = tenants.filter(|tenant| tenant.deleted_at.is_none()).collect();
        Ok(Page { entries, next: page.next })
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
        let (set, removed) = changes(&TenantSettingsItem::from(settings.clone()))?;
        let mut update = self.update_tenant(id);
        let mut assignments = Vec::new();
        for (place, (name, value)) in set.into_iter().enumerate() {
            assignments.push(format!("#f{place} = :v{place}"));
            update = update
                .expression_attribute_names(format!("#f{place}"), name)
                .expression_attribute_values(format!(":v{place}"), value);
        }
        let mut expression = format!("SET {}", assignments.join(", "));
        for (place, name) in removed.into_iter().enumerate() {
            expression.push_str(&format!("{} #r{place}", if place == 0 { " REMOVE" } else { "," }));
            update = update.expression_attribute_names(format!("#r{place}"), name);
        }
        let update = update.update_expression(expression);
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
        let keys = self.names_of_keys(id).await?;
        for key in keys.into_iter().chain([keys::tenant_entry(id)]) {
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
            found.insert(tenant.id(), tenant);
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
            Ok(Some(item.tenant()))
        }
        Err(error) if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) => {
            Ok(None)
        }
        Err(error) => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
    }
}
