//! `ReceiveMessage`: whose turn it is, long polls, the way into the dead-letter queue.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::message::{AttributeValue, Message};
use super::queue::{Delivery, Entry};
use super::{Change, Sqs, arn_of, errors, handles, md5, name_of_arn, name_of_url};
use crate::aws::protocol::{self, Answer, AwsError, Service};
use crate::serve::told_to_stop;

/// The most messages of a standard queue in flight. Source: SQS quotas.
const IN_FLIGHT_MAX: usize = 120_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Receive {
    queue_url: String,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    /// The older name of the next.
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<ReceivedMessage>,
}

#[derive(Serialize)]
struct ReceivedMessage {
    #[serde(rename = "MessageId")]
    id: Arc<str>,
    #[serde(rename = "ReceiptHandle")]
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    body_md5: Arc<str>,
    #[serde(rename = "Body")]
    body: Arc<str>,
    #[serde(rename = "Attributes", skip_serializing_if = "BTreeMap::is_empty")]
    system_attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    attributes_md5: Option<String>,
    #[serde(rename = "MessageAttributes", skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, AttributeValue>,
}

/// How the receive of one moment went.
struct Looked {
    messages: Vec<ReceivedMessage>,
    /// When to look again at the latest, in milliseconds since 1970.
    next_visible_at: Option<i64>,
    now: i64,
    wait_seconds: i64,
    available: Arc<tokio::sync::Notify>,
}

/// Receives; waits for the first message as long as the request or the queue says.
///
/// The wait itself is real time even on a manual clock, so that a test whose clock stands still does not hang; messages
/// become visible by the clock.
///
/// # Errors
/// When the queue is not there or goes away, or a number is not allowed.
pub(super) async fn receive(sqs: &Sqs, request: Receive) -> Result<Answer, AwsError> {
    request.check()?;
    let started = Instant::now();
    let mut stopped = sqs.stopped.clone();
    loop {
        let (looked, written) = sqs.locked(|change| look(change, &request, sqs));
        written.wait().await.map_err(|error| AwsError::internal(Service::Sqs, error.to_string()))?;
        let looked = looked?;
        let until = started + Duration::from_secs(u64::try_from(looked.wait_seconds).unwrap_or_default());
        if !looked.messages.is_empty() || Instant::now() >= until || *stopped.borrow() {
            return protocol::success(Service::Sqs, &Received { messages: looked.messages });
        }
        let mut available = pin!(looked.available.notified());
        available.as_mut().enable();
        // What came between looking and registering.
        let (changed, written) = sqs.locked(|change| {
            let queue = change.queue(name_of_url(&request.queue_url));
            queue.map_or(true, |queue| queue.next(false).is_some() || queue.next_visible_at() != looked.next_visible_at)
        });
        written.wait().await.map_err(|error| AwsError::internal(Service::Sqs, error.to_string()))?;
        if changed {
            continue;
        }
        let visible = async {
            match looked.next_visible_at {
                Some(at) => {
                    sqs.clock.sleep(Duration::from_millis(u64::try_from(at - looked.now).unwrap_or_default())).await;
                }
                None => std::future::pending().await,
            }
        };
        let mut visible = pin!(visible);
        // The sleep counts from its first poll; a manual clock may have been moved since `now` was read.
        if futures::poll!(visible.as_mut()).is_ready()
            || sqs.clock.now().as_millisecond() >= looked.next_visible_at.unwrap_or(i64::MAX)
        {
            continue;
        }
        tokio::select! {
            () = available => {}
            () = visible => {}
            () = tokio::time::sleep_until(until) => {}
            () = told_to_stop(&mut stopped) => {}
        }
    }
}

/// Takes what is visible now.
fn look(change: &mut Change<'_>, request: &Receive, sqs: &Sqs) -> Result<Looked, AwsError> {
    let name = name_of_url(&request.queue_url);
    let now = change.now;
    let count = usize::try_from(request.max_number_of_messages.unwrap_or(1)).unwrap_or(1);
    let (reorders, duplicates) = (sqs.faults.reorders(), sqs.faults.duplicates());
    let queue = change.queue(name)?;
    if queue.counts().in_flight >= IN_FLIGHT_MAX {
        return Err(errors::over_limit(format!("at most {IN_FLIGHT_MAX} messages of a queue are in flight")));
    }
    let timeout_seconds = request.visibility_timeout.unwrap_or(queue.settings.visibility_timeout_seconds);
    let wait_seconds = request.wait_time_seconds.unwrap_or(queue.settings.wait_seconds);
    let redrive = queue.settings.redrive.clone();
    let dead_letters =
        redrive.map(|redrive| (redrive.max_receive_count, name_of_arn(&redrive.dead_letter_target_arn).to_owned()));
    let dead_letters = dead_letters.filter(|(_, target)| change.state.queues.contains_key(target.as_str()));

    // No time passes in this loop: what it hands out with a timeout of 0, and the copies, are for the next receive.
    let (mut messages, mut copies) = (Vec::new(), Vec::new());
    while messages.len() < count {
        let Some(queue) = change.state.queues.get_mut(name) else { break };
        let Some(number) = queue.next(reorders) else { break };
        let receive_count = queue.get(number).map_or(0, |entry| entry.delivery.receive_count);
        if let Some((_, target)) = dead_letters.as_ref().filter(|(max, _)| receive_count >= *max) {
            bury(change, name, target, number)?;
            continue;
        }
        let visible_at = now + timeout_seconds * 1_000;
        let Some(entry) = queue.hand_out(number, now, visible_at, &mut change.changes) else { break };
        messages.push(request.received(name, number, entry));
        let message = &entry.message;
        if duplicates && receive_count == 0 && !message.is_copy {
            copies.push(Message { is_copy: true, ..Message::clone(message) });
        }
    }
    for copy in copies {
        duplicate(change, name, copy)?;
    }
    let queue = change.queue(name)?;
    let available = Arc::clone(&queue.available);
    Ok(Looked { messages, next_visible_at: queue.next_visible_at(), now, wait_seconds, available })
}

/// Leaves a copy that another receive gets.
fn duplicate(change: &mut Change<'_>, name: &str, copy: Message) -> Result<(), AwsError> {
    let now = change.now;
    let number = change.state.next_number();
    let (queue, changes) = change.queue_and_changes(name)?;
    let delivery = Delivery { visible_at: now, ..Delivery::default() };
    queue.send(number, Arc::new(copy), delivery, now, changes);
    Ok(())
}

/// Moves a message that was received too often to the dead-letter queue. It keeps its id and its age there; receives
/// count from the start.
fn bury(change: &mut Change<'_>, source: &str, target: &str, number: u64) -> Result<(), AwsError> {
    let now = change.now;
    let (queue, changes) = change.queue_and_changes(source)?;
    let Some(entry) = queue.remove(number, changes) else { return Ok(()) };
    let buried = Message { dead_letter_source: Some(arn_of(source).into()), ..Message::clone(&entry.message) };
    let new_number = change.state.next_number();
    let (queue, changes) = change.queue_and_changes(target)?;
    let delivery = Delivery { visible_at: now, ..Delivery::default() };
    queue.send(new_number, Arc::new(buried), delivery, now, changes);
    Ok(())
}

impl Receive {
    fn check(&self) -> Result<(), AwsError> {
        let ranges = [
            (self.max_number_of_messages, "MaxNumberOfMessages", 1, 10),
            (self.wait_time_seconds, "WaitTimeSeconds", 0, 20),
            (self.visibility_timeout, "VisibilityTimeout", 0, handles::IN_FLIGHT_SECONDS_MAX),
        ];
        for (value, name, least, most) in ranges {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let reason = format!("Must be between {least} and {most}, if provided.");
                return Err(errors::invalid_value(value, name, &reason));
            }
        }
        Ok(())
    }

    fn received(&self, queue: &str, number: u64, entry: &Entry) -> ReceivedMessage {
        let Entry { message, delivery, .. } = entry;
        let wanted = |(name, _): &(&String, &AttributeValue)| self.wants_attribute(name);
        let attributes = message.attributes.iter().filter(wanted);
        let attributes: BTreeMap<_, _> = attributes.map(|(name, value)| (name.clone(), value.clone())).collect();
        ReceivedMessage {
            id: Arc::clone(&message.id),
            receipt_handle: handles::handle(queue, number, message, delivery.receive_count),
            body_md5: Arc::clone(&message.body_md5),
            body: Arc::clone(&message.body),
            system_attributes: self.system_attributes(message, delivery),
            attributes_md5: md5::of_attributes(&attributes),
            attributes,
        }
    }

    fn system_attributes(&self, message: &Message, delivery: &Delivery) -> BTreeMap<&'static str, String> {
        let mut found = BTreeMap::new();
        let mut add = |name: &'static str, value: Option<String>| {
            if let Some(value) = value.filter(|_| self.wants_system_attribute(name)) {
                found.insert(name, value);
            }
        };
        add("SenderId", Some(message.sender.to_string()));
        add("SentTimestamp", Some(message.sent_at.to_string()));
        add("ApproximateReceiveCount", Some(delivery.receive_count.to_string()));
        add("ApproximateFirstReceiveTimestamp", delivery.first_received_at.map(|at| at.to_string()));
        add("MessageGroupId", message.group.as_deref().map(str::to_owned));
        add("DeadLetterQueueSourceArn", message.dead_letter_source.as_deref().map(str::to_owned));
        add("AWSTraceHeader", message.trace_header.as_ref().and_then(AttributeValue::text));
        found
    }

    fn wants_system_attribute(&self, name: &str) -> bool {
        let names = [&self.attribute_names, &self.message_system_attribute_names];
        names.into_iter().flatten().flatten().any(|asked| asked == "All" || asked == name)
    }

    /// By name, `All`, `.*`, or everything under a prefix: `trace.*`.
    fn wants_attribute(&self, name: &str) -> bool {
        self.message_attribute_names.iter().flatten().any(|asked| match asked.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => asked == "All" || asked == name,
        })
    }
}
