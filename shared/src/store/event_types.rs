//! A tenant's catalogue of event types.

use aws_sdk_dynamodb::types::ReturnValue;

use super::items::EventTypeItem;
use super::page::Page;
use super::{Store, from_item, key_item, keys, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::catalogue::CatalogueEntry;
use crate::domain::event_type::EventType;
use crate::domain::id::TenantId;

impl Store {
    /// Keeps an entry, new or over the one there was; whether it is new.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn put_event_type(&self, tenant_id: TenantId, entry: &CatalogueEntry) -> Result<bool, AwsError> {
        let key = keys::event_type(tenant_id, entry.name.as_str());
        let item = to_item(&key, &EventTypeItem::from(entry.clone()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let answer = put.return_values(ReturnValue::AllOld).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("dynamodb:PutItem", &error))?;
        Ok(answer.attributes.is_none_or(|old| old.is_empty()))
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn event_type(&self, tenant_id: TenantId, name: &EventType) -> Result<Option<CatalogueEntry>, AwsError> {
        let found: Option<EventTypeItem> = self.get(&keys::event_type(tenant_id, name.as_str()), true).await?;
        Ok(found.map(CatalogueEntry::from))
    }

    /// Removes an entry; whether there was one.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn delete_event_type(&self, tenant_id: TenantId, name: &EventType) -> Result<bool, AwsError> {
        let key = key_item(&keys::event_type(tenant_id, name.as_str()));
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        let answer = delete.return_values(ReturnValue::AllOld).send().await;
        let answer = answer.map_err(|error| AwsError::from_sdk("dynamodb:DeleteItem", &error))?;
        Ok(answer.attributes.is_some_and(|old| !old.is_empty()))
    }

    /// A page of the catalogue by name, from behind `after`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn list_event_types(
        &self,
        tenant_id: TenantId,
        after: Option<&EventType>,
        limit: usize,
    ) -> Result<Page<CatalogueEntry, EventType>, AwsError> {
        let mut entries = Vec::new();
        let mut start = after.map(|name| key_item(&keys::event_type(tenant_id, name.as_str())));
        while entries.len() <= limit {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
                .expression_attribute_values(":pk", text(keys::tenant_partition(tenant_id)))
                .expression_attribute_values(":prefix", text(keys::EVENT_TYPE_PREFIX))
                .consistent_read(true)
                .limit(i32::try_from(limit + 1 - entries.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
            for item in answer.items.unwrap_or_default() {
                entries.push(from_item::<EventTypeItem>(item)?.into());
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(Page::cut(entries, limit, |entry| entry.name.clone()))
    }
}
