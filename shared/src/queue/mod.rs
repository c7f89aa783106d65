//! The queues: events in, retries on, dead letters beside.

#[cfg(test)]
mod golden;
pub mod messages;

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};

use crate::aws_error::AwsError;
use crate::domain::id::TenantId;
use messages::{
    ATTRIBUTE_EVENT_ID, ATTRIBUTE_REASON, ATTRIBUTE_REQUEST_ID, ATTRIBUTE_RESEND, EventMessage, RetryMessage,
};

/// The most entries of one batch (SQS).
const BATCH_ENTRIES_MAX: usize = 10;
/// The most bytes of one batch (SQS, 1 MiB), less room for attributes.
const BATCH_BYTES_MAX: usize = 1_024 * 1_024 - 16 * 1_024;
/// The most bytes of one message with its attributes (SQS, 1 MiB).
const MESSAGE_BYTES_MAX: usize = 1_024 * 1_024;
/// What an attribute costs beside its value: its name and its type, `String`.
const REASON_ENVELOPE_BYTES: usize = ATTRIBUTE_REASON.len() + "String".len();
/// How much of a reason goes along to the dead-letter queue, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// The three queues and the client that reaches them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queues {
    client: Client,
    events_url: String,
    retries_url: String,
    dead_letters_url: String,
}

impl Queues {
    /// The queues at these URLs.
    #[must_use]
    pub fn new(client: Client, events_url: String, retries_url: String, dead_letters_url: String) -> Self {
        Self { client, events_url, retries_url, dead_letters_url }
    }

    /// Puts an event onto the events queue. When this returns, the queue has it.
    ///
    /// # Errors
    /// When SQS does not take it; it may have it all the same, so sending again under the same event id is the way on.
    pub async fn send_event(&self, message: &EventMessage) -> Result<(), AwsError> {
        self.client
            .send_message()
            .queue_url(&self.events_url)
            .message_body(message.body())
            .set_message_attributes(Some(event_attributes(message)?))
            .message_group_id(message.scope.tenant_id.to_string())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| AwsError::from_sdk("sqs:SendMessage", &error))
    }

    /// Puts events onto the events queue, ten a call. The results stand in their order.
    pub async fn send_events(&self, messages: &[EventMessage]) -> Vec<Result<(), AwsError>> {
        let entries: Result<Vec<_>, AwsError> = messages
            .iter()
            .map(|message| {
                Ok(Entry {
                    body: message.body(),
                    group: message.scope.tenant_id,
                    delay_seconds: None,
                    attributes: Some(event_attributes(message)?),
                })
            })
            .collect();
        match entries {
            Ok(entries) => self.send_batches(&self.events_url, entries).await,
            Err(error) => vec![Err(error); messages.len()],
        }
    }

    /// Whether the events queue answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AwsError> {
        let attributes = self.client.get_queue_attributes().queue_url(&self.events_url);
        let answer = attributes.attribute_names(QueueAttributeName::QueueArn).send().await;
        answer.map(|_| ()).map_err(|error| AwsError::from_sdk("sqs:GetQueueAttributes", &error))
    }

    /// Puts messages onto the retries queue, each with its delay in seconds (0 to 900), ten a call. The results stand in their order.
    pub async fn send_retries(&self, messages: &[(RetryMessage, u32)]) -> Vec<Result<(), AwsError>> {
        let entries: Vec<_> = messages
            .iter()
            .map(|(message, delay_seconds)| Entry {
                body: message.body(),
                group: message.tenant_id(),
                delay_seconds: Some(*delay_seconds),
                attributes: None,
            })
            .collect();
        self.send_batches(&self.retries_url, entries).await
    }

    /// Puts a message that cannot be understood onto the dead-letter queue, with as much of the reason as the body leaves room for.
    ///
    /// # Errors
    /// When SQS does not take it.
    pub async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), AwsError> {
        let mut reason = reason.replace(|c: char| c.is_control(), " ");
        let room = MESSAGE_BYTES_MAX.saturating_sub(body.len() + REASON_ENVELOPE_BYTES).min(REASON_BYTES_MAX);
        reason.truncate(reason.floor_char_boundary(room));
        let mut attributes = HashMap::new();
        // SQS takes no empty values.
        if !reason.is_empty() {
            attributes.insert(ATTRIBUTE_REASON.to_owned(), text_attribute(&reason)?);
        }
        self.client
            .send_message()
            .queue_url(&self.dead_letters_url)
            .message_body(body)
            .set_message_attributes(Some(attributes))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| AwsError::from_sdk("sqs:SendMessage", &error))
    }

    async fn send_batches(&self, url: &str, entries: Vec<Entry>) -> Vec<Result<(), AwsError>> {
        let mut results = Vec::with_capacity(entries.len());
        let mut start = 0;
        while start < entries.len() {
            let end = batch_end(&entries, start);
            results.extend(self.send_batch(url, &entries[start..end]).await);
            start = end;
        }
        results
    }

    async fn send_batch(&self, url: &str, entries: &[Entry]) -> Vec<Result<(), AwsError>> {
        const OPERATION: &str = "sqs:SendMessageBatch";
        let built: Result<Vec<_>, _> = entries.iter().enumerate().map(|(index, entry)| entry.build(index)).collect();
        let built = match built {
            Ok(built) => built,
            Err(error) => return vec![Err(error); entries.len()],
        };
        let answer = self.client.send_message_batch().queue_url(url).set_entries(Some(built)).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return vec![Err(AwsError::from_sdk(OPERATION, &error)); entries.len()],
        };
        let mut results = vec![Ok(()); entries.len()];
        for failed in answer.failed {
            let index = failed.id.parse::<usize>().ok().and_then(|index| results.get_mut(index));
            if let Some(result) = index {
                *result =
                    Err(AwsError::in_batch(OPERATION, &failed.code, failed.message.as_deref().unwrap_or_default()));
            }
        }
        results
    }
}

struct Entry {
    body: String,
    group: TenantId,
    delay_seconds: Option<u32>,
    attributes: Option<HashMap<String, MessageAttributeValue>>,
}

impl Entry {
    fn build(&self, index: usize) -> Result<SendMessageBatchRequestEntry, AwsError> {
        SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(&self.body)
            .message_group_id(self.group.to_string())
            .set_delay_seconds(self.delay_seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX)))
            .set_message_attributes(self.attributes.clone())
            .build()
            .map_err(|error| AwsError::unreadable("sqs:SendMessageBatch", error))
    }
}

/// The end of the longest run from `start` that fits one call; at least one.
fn batch_end(entries: &[Entry], start: usize) -> usize {
    let mut bytes = 0;
    let mut end = start;
    while end < entries.len() && end - start < BATCH_ENTRIES_MAX {
        bytes += entries[end].body.len();
        if bytes > BATCH_BYTES_MAX && end > start {
            break;
        }
        end += 1;
    }
    end
}

fn event_attributes(message: &EventMessage) -> Result<HashMap<String, MessageAttributeValue>, AwsError> {
    let mut attributes =
        HashMap::from([(ATTRIBUTE_EVENT_ID.to_owned(), text_attribute(&message.event_id.to_string())?)]);
    if let Some(request_id) = &message.request_id {
        attributes.insert(ATTRIBUTE_REQUEST_ID.to_owned(), text_attribute(request_id)?);
    }
    if message.resend {
        attributes.insert(ATTRIBUTE_RESEND.to_owned(), text_attribute("true")?);
    }
    Ok(attributes)
}

fn text_attribute(value: &str) -> Result<MessageAttributeValue, AwsError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|error| AwsError::unreadable("sqs:SendMessage", error))
}
