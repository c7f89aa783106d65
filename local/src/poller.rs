//! In the place of Lambda's event source mapping: takes messages from a queue and invokes deliver with them, as Lambda does.
//!
//! What deliver gets is the JSON that Lambda would send, read by the same types. Messages that it does not name as failed are deleted; the others
//! come back when their visibility timeout ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use futures::future::BoxFuture;
use serde_json::json;
use shared::services::Services;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::template::QueueSource;

/// How long one receive waits for messages, in seconds (SQS's longest).
const WAIT_SECONDS: i32 = 20;
/// How long to wait when a receive failed, in seconds.
const AFTER_FAILURE_SECONDS: u64 = 1;

/// An invocation of deliver: its answer, or why there is none.
pub type Invocation = BoxFuture<'static, Result<SqsBatchResponse, String>>;

/// A queue, the function that it feeds, and the way to both. Cheap to clone.
#[derive(Clone)]
pub struct Poller {
    source: QueueSource,
    invoke: Arc<dyn Fn(SqsEvent) -> Invocation + Send + Sync>,
    queues: Client,
}

impl Poller {
    /// A poller of this queue that invokes deliver in this process. `queues` is the poller's own client: on AWS it is not the function that receives.
    #[must_use]
    pub fn new(source: QueueSource, services: Services, queues: Client) -> Self {
        let seconds = Duration::from_secs(source.timeout_seconds);
        Self::invoking(source, queues, move |event| {
            let services = services.clone();
            Box::pin(async move {
                let deadline = services.clock.moment() + seconds;
                Ok(deliver::handle(&services, event, deadline).await)
            })
        })
    }

    /// A poller of this queue that hands its batches to `invoke`.
    #[must_use]
    pub fn invoking(
        source: QueueSource,
        queues: Client,
        invoke: impl Fn(SqsEvent) -> Invocation + Send + Sync + 'static,
    ) -> Self {
        Self { source, invoke: Arc::new(invoke), queues }
    }

    /// Polls until it is told to stop; then finishes what is in hand.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(self.source.concurrency_max));
        let mut invocations = JoinSet::new();
        while !*stopped.borrow() {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                _ = stopped.changed() => break,
            };
            let Ok(slot) = slot else { break };
            let received = tokio::select! {
                received = self.receive(WAIT_SECONDS) => received,
                _ = stopped.changed() => break,
            };
            match received {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => {
                    let poller = self.clone();
                    invocations.spawn(async move {
                        poller.invoke(messages).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(error, queue = self.source.queue_arn, "messages could not be received");
                    tokio::time::sleep(Duration::from_secs(AFTER_FAILURE_SECONDS)).await;
                }
            }
            while let Some(ended) = invocations.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "an invocation of deliver panicked; its messages come back");
                }
            }
        }
        invocations.join_all().await;
    }

    /// Takes one batch, if there is one now, and delivers it. How many messages that were.
    ///
    /// # Errors
    /// When the messages cannot be received.
    pub async fn run_once(&self) -> Result<usize, String> {
        let messages = self.receive(0).await?;
        let count = messages.len();
        if count > 0 {
            self.invoke(messages).await;
        }
        Ok(count)
    }

    async fn receive(&self, wait_seconds: i32) -> Result<Vec<Message>, String> {
        let receive = self
            .queues
            .receive_message()
            .queue_url(&self.source.queue_url)
            .max_number_of_messages(self.source.batch_size)
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names("All".into())
            .message_attribute_names("All");
        // A long poll outlasts what other calls may take.
        let seconds = u64::try_from(wait_seconds).unwrap_or_default() + 5;
        let timeouts = aws_config::timeout::TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(seconds))
            .operation_timeout(Duration::from_secs(2 * seconds))
            .build();
        let patient = aws_sdk_sqs::config::Config::builder().timeout_config(timeouts);
        let answer = receive.customize().config_override(patient).send().await;
        answer.map(|answer| answer.messages.unwrap_or_default()).map_err(|error| error.to_string())
    }

    async fn invoke(&self, messages: Vec<Message>) {
        let event = match sqs_event(&messages, &self.source.queue_arn) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "a batch could not be put into an event");
                return;
            }
        };
        let response = match (self.invoke)(event).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(error, "an invocation of deliver failed; its messages come back");
                return;
            }
        };
        let failed: HashSet<_> =
            response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        let done =
            messages.iter().filter(|message| !failed.contains(message.message_id.as_deref().unwrap_or_default()));
        let entries = done.enumerate().filter_map(|(index, message)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.set_receipt_handle(message.receipt_handle.clone()).build().ok()
        });
        let entries: Vec<_> = entries.collect();
        if entries.is_empty() {
            return;
        }
        let delete = self.queues.delete_message_batch().queue_url(&self.source.queue_url).set_entries(Some(entries));
        if let Err(error) = delete.send().await {
            tracing::warn!(%error, "delivered messages could not be deleted; they come back and are recognised");
        }
    }
}

/// The event that Lambda would send for these messages.
fn sqs_event(messages: &[Message], queue_arn: &str) -> serde_json::Result<SqsEvent> {
    let records: Vec<_> = messages
        .iter()
        .map(|message| {
            let attributes: HashMap<_, _> =
                message.attributes.iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
            let message_attributes: HashMap<_, _> = message
                .message_attributes
                .iter()
                .flatten()
                .map(|(name, value)| {
                    let value = json!({
                        "stringValue": value.string_value,
                        "dataType": value.data_type,
                        "stringListValues": [],
                        "binaryListValues": [],
                    });
                    (name, value)
                })
                .collect();
            json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "md5OfBody": message.md5_of_body,
                "attributes": attributes,
                "messageAttributes": message_attributes,
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": "us-east-1",
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records }))
}
