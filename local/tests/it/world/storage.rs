//! Looks at what is stored, for tests about what must not be.

use jiff::Timestamp;
use local::clients::sdk_config;

use super::World;

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

    /// The operator's key.
    pub(crate) async fn root_key(&self) -> String {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let value = client.get_secret_value().secret_id(&self.services.config.root_key_secret_name).send().await;
        value.unwrap().secret_string.unwrap()
    }
}
