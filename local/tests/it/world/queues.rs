//! Looks at the queues and messages put straight onto them.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::World;

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
    pub(crate) async fn backlog(&self) -> usize {
        let config = &self.services.config;
        let mut total = 0;
        for url in [&config.events_queue_url, &config.retries_queue_url] {
            let get = self.queues.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let attributes = get.send().await.unwrap().attributes.unwrap_or_default();
            for name in [
                QueueAttributeName::ApproximateNumberOfMessages,
                QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
                QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            ] {
                total += attributes.get(&name).map_or(0, |count| count.parse().unwrap());
            }
        }
        total
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
