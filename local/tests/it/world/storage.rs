//! Looks at what is stored, for tests about what must not be.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use jiff::Timestamp;
use local::clients::sdk_config;

use shared::domain::id::EndpointId;
use shared::domain::tenant::{Mode, Scope};
use shared::store::keys::{self, Key};

use super::World;

type Item = HashMap<String, AttributeValue>;

impl World {
    /// No call since the last look at them could have changed anything.
    #[track_caller]
    pub(crate) fn assert_nothing_changed(&self) {
        let reads = ["GetItem", "BatchGetItem", "Query", "GetSecretValue", "GetQueueAttributes"];
        let calls = self.aws.calls().take();
        let writes: Vec<_> = calls.into_iter().filter(|call| !reads.contains(&call.operation.as_str())).collect();
        assert!(writes.is_empty(), "{writes:?}");
    }

    /// When the deliveries are due that wait, the first due first.
    pub(crate) async fn waiting(&self) -> Vec<Timestamp> {
        let sorts = self.index_sorts(&["BACKLOG#"]).await;
        let mut due: Vec<_> = sorts.iter().filter_map(|sort| sort.split('#').next()?.parse().ok()).collect();
        due.sort_unstable();
        due
    }

    /// When the sweeper would find something to do.
    pub(crate) async fn next_look(&self) -> Option<Timestamp> {
        let sorts = self.index_sorts(&["SWEEP#", "CLEANUP#"]).await;
        sorts.iter().filter_map(|sort| sort.parse().ok()).min()
    }

    /// The sort keys of what stands in the sparse index under partitions that begin so.
    async fn index_sorts(&self, partitions: &[&str]) -> Vec<String> {
        let scan = self.tables.scan().table_name(&self.services.config.table_name).index_name("GSI1");
        let mut pages = scan.into_paginator().items().send();
        let mut sorts = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.unwrap();
            let text = |name: &str| item[name].as_s().unwrap().as_str();
            if partitions.iter().any(|partition| text("GSI1PK").starts_with(partition)) {
                sorts.push(text("GSI1SK").to_owned());
            }
        }
        sorts
    }

    /// Takes a delivery's event out of the table.
    pub(crate) async fn take_event(&self, event: &str) -> Item {
        let scope = Scope { tenant_id: self.demo.tenant_id, mode: Mode::Live };
        let key = keys::event(scope, event.parse().unwrap());
        let delete = self.tables.delete_item().table_name(&self.services.config.table_name);
        let taken = delete.set_key(Some(item_of(&key))).return_values(ReturnValue::AllOld).send().await.unwrap();
        taken.attributes.unwrap()
    }

    /// Puts so many copies of the tenant's only portal session into the table.
    pub(crate) async fn copy_portal_session(&self, copies: usize) {
        let query = self.tables.query().table_name(&self.services.config.table_name);
        let query = query.key_condition_expression("PK = :pk AND begins_with(SK, :prefix)");
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let query = query.expression_attribute_values(":pk", text(&keys::tenant_partition(self.demo.tenant_id)));
        let query = query.expression_attribute_values(":prefix", text(keys::PORTAL_SESSION_PREFIX));
        let item = query.send().await.unwrap().items.unwrap().remove(0);
        for n in 0..copies {
            let mut copy = item.clone();
            copy.insert("SK".to_owned(), text(&format!("{}{n}", keys::PORTAL_SESSION_PREFIX)));
            self.put_item(copy).await;
        }
    }

    /// Puts an item into the table.
    pub(crate) async fn put_item(&self, item: Item) {
        let put = self.tables.put_item().table_name(&self.services.config.table_name);
        put.set_item(Some(item)).send().await.unwrap();
    }

    /// Makes a delivery unreadable, as one is for a version of the functions that does not know what a later one has written.
    pub(crate) async fn spoil_delivery(&self, endpoint: &str, event: &str) {
        let key = keys::delivery(endpoint.parse::<EndpointId>().unwrap(), event.parse().unwrap());
        self.spoil(&key, "attempts").await;
    }

    /// Ends the lease of the drain that has the endpoint's backlog.
    pub(crate) async fn end_lease(&self, endpoint: &str) {
        let key = keys::flow(endpoint.parse().unwrap());
        let update = self.tables.update_item().table_name(&self.services.config.table_name);
        let update = update.set_key(Some(item_of(&key))).update_expression("SET lease_until = :past");
        update.expression_attribute_values(":past", AttributeValue::N("1".to_owned())).send().await.unwrap();
    }

    /// Makes the tenant's item unreadable.
    pub(crate) async fn spoil_tenant(&self) {
        self.spoil(&keys::tenant(self.demo.tenant_id), "max_endpoints").await;
    }

    /// Makes an attribute of an item something that it cannot be.
    pub(crate) async fn spoil(&self, key: &Key, attribute: &str) {
        let update = self.tables.update_item().table_name(&self.services.config.table_name);
        let update = update.set_key(Some(item_of(key))).update_expression("SET #spoiled = :spoiled");
        let update = update.expression_attribute_names("#spoiled", attribute);
        update.expression_attribute_values(":spoiled", AttributeValue::S("spoiled".to_owned())).send().await.unwrap();
    }

    /// Everything in the table as text.
    pub(crate) async fn table_texts(&self) -> String {
        let mut pages = self.tables.scan().table_name(&self.services.config.table_name).into_paginator().send();
        let mut text = String::new();
        while let Some(page) = pages.next().await {
            text.push_str(&format!("{:?}", page.unwrap().items));
        }
        text
    }

    /// The documents of all endpoints' secrets, in all versions that are current.
    pub(crate) async fn secret_texts(&self) -> Vec<String> {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let listed = client.list_secrets().max_results(100).send().await.unwrap().secret_list.unwrap_or_default();
        let mut texts = Vec::new();
        for name in listed.into_iter().filter_map(|secret| secret.name) {
            if name.starts_with(&self.services.config.secrets_prefix) {
                let value = client.get_secret_value().secret_id(name).send().await.unwrap();
                texts.extend(value.secret_string);
            }
        }
        texts
    }

    /// The documents of an endpoint's secret in every version that has a label.
    pub(crate) async fn labelled_secrets(&self, endpoint: &str) -> Vec<String> {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let name = format!("{}/{}/live/{endpoint}", self.services.config.secrets_prefix, self.demo.tenant_id);
        let versions = client.list_secret_version_ids().secret_id(&name).send().await.unwrap().versions;
        let mut texts = Vec::new();
        for version in versions.unwrap_or_default().iter().filter(|version| !version.version_stages().is_empty()) {
            let get = client.get_secret_value().secret_id(&name).set_version_id(version.version_id.clone());
            texts.extend(get.send().await.unwrap().secret_string);
        }
        texts
    }

    /// Removes an endpoint's secret, as somebody may by hand.
    pub(crate) async fn remove_secret(&self, endpoint: &str) {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let name = format!("{}/{}/live/{endpoint}", self.services.config.secrets_prefix, self.demo.tenant_id);
        client.delete_secret().secret_id(name).force_delete_without_recovery(true).send().await.unwrap();
    }

    /// The operator's key.
    pub(crate) async fn root_key(&self) -> String {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let value = client.get_secret_value().secret_id(&self.services.config.root_key_secret_name).send().await;
        value.unwrap().secret_string.unwrap()
    }
}

fn item_of(key: &Key) -> Item {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    HashMap::from([("PK".to_owned(), text(&key.pk)), ("SK".to_owned(), text(&key.sk))])
}
