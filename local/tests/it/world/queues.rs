//! Looks at the queues and messages put straight onto them.

use aws_sdk_sqs::types::QueueAttributeName;
use local::clients::sdk_config;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::World;

/// How long a world may take to come to rest, in minutes of its own.
const REST_MINUTES_MAX: usize = 120;

impl World {
    /// An event of the tenant as a backend would put it straight onto the queue; `more` adds fields or replaces them.
    pub(crate) fn message(&self, event_type: &str, more: Value) -> Value {
        let mut message = json!({ "tenant_id": self.demo.tenant_id, "mode": "live", "type": event_type, "data": {} });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    }

    /// Puts a message onto the retries queue as it is.
    pub(crate) async fn send_retry(&self, body: &str) {
        let url = &self.services.config.retries_queue_url;
        self.queues.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    /// How many messages both queues hold: visible, in flight or delayed.
    pub(crate) async fn queued(&self) -> usize {
        let delayed = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
        self.at_hand().await + self.messages(&[delayed]).await
    }

    /// How many messages could be taken now or have been.
    pub(crate) async fn at_hand(&self) -> usize {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let in_flight = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        self.messages(&[visible, in_flight]).await
    }

    async fn messages(&self, states: &[QueueAttributeName]) -> usize {
        let config = &self.services.config;
        let mut total = 0;
        for url in [&config.events_queue_url, &config.retries_queue_url] {
            let get = self.queues.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let attributes = get.send().await.unwrap().attributes.unwrap_or_default();
            total += states.iter().filter_map(|state| attributes.get(state)?.parse::<usize>().ok()).sum::<usize>();
        }
        total
    }

    /// Lets minutes pass until nothing is under way any more.
    pub(crate) async fn run_until_rest(&self) {
        for _ in 0..REST_MINUTES_MAX {
            self.run(60).await;
            if self.waiting().await.is_empty() && self.queued().await == 0 {
                return;
            }
        }
        panic!("something is still under way");
    }

    /// How many secrets of endpoints there are.
    pub(crate) async fn endpoint_secrets(&self) -> usize {
        let client = aws_sdk_secretsmanager::Client::new(&sdk_config(self.aws.endpoint_url(), "deployer").await);
        let mut pages = client.list_secrets().into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let secrets = page.unwrap().secret_list.unwrap_or_default();
            let prefix = format!("{}/", self.services.config.secrets_prefix);
            count +=
                secrets.iter().filter(|secret| secret.name().is_some_and(|name| name.starts_with(&prefix))).count();
        }
        count
    }

    /// Loses every message of the retries queue, due or not.
    pub(crate) async fn lose_retries(&self) {
        let url = &self.services.config.retries_queue_url;
        self.queues.purge_queue().queue_url(url).send().await.unwrap();
    }

    /// Starts the pollers as the local stack runs them: side by side, each batch an invocation of its own. They end with what is given back.
    pub(crate) fn keep_polling(&self) -> (watch::Sender<bool>, JoinSet<()>) {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for poller in &self.functions.pollers {
            running.spawn(poller.clone().run(stopped.clone()));
        }
        (stop, running)
    }
}
