//! Dead-letter queues: which queue is whose, and moving messages back (`StartMessageMoveTask`).
//!
//! The way in is in `receive`. A move is done at once when it is started, so tasks are always completed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::errors;
use super::message::Message;
use super::queue::Delivery;
use super::{Change, arn_of, name_of_arn};
use crate::aws::protocol::AwsError;
use crate::aws::random;

/// How many tasks a queue remembers, and `ListMessageMoveTasks` lists at the most. Source: `ListMessageMoveTasks`.
const TASKS_MAX: usize = 10;

/// When a message goes to which dead-letter queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RedrivePolicy {
    pub(super) dead_letter_target_arn: String,
    pub(super) max_receive_count: u32,
}

/// A finished move.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveTask {
    status: String,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<i64>,
    approximate_number_of_messages_moved: usize,
    approximate_number_of_messages_to_move: usize,
    started_timestamp: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Start {
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Started {
    task_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    source_arn: String,
    max_results: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    results: Vec<MoveTask>,
}

/// Moves all visible messages of a dead-letter queue: to the destination, or each to the queue it came from. They are
/// new messages there, with new ids and receive counts, as on AWS; those whose queue is gone stay.
pub(super) fn start(change: &mut Change<'_>, request: Start) -> Result<Started, AwsError> {
    let Start { source_arn, destination_arn, max_number_of_messages_per_second } = request;
    let source = existing(change, &source_arn, "SourceArn")?;
    if let Some(rate) = max_number_of_messages_per_second.filter(|rate| !(1..=500).contains(rate)) {
        return Err(errors::invalid_value(rate, "MaxNumberOfMessagesPerSecond", "Must be between 1 and 500."));
    }
    if sources_of(change, &source).is_empty() {
        return Err(errors::invalid_parameter("Source queue must be configured as a Dead Letter Queue."));
    }
    let destination = destination_arn.as_deref().map(|arn| existing(change, arn, "DestinationArn")).transpose()?;
    if destination.as_deref() == Some(&*source) {
        return Err(errors::invalid_parameter("Source queue arn and destination queue arn cannot be the same."));
    }
    let numbers = change.queue(&source)?.visible();
    let to_move = numbers.len();
    let mut moved = 0;
    for number in numbers {
        moved += usize::from(move_back(change, &source, destination.as_deref(), number)?);
    }
    let started_timestamp = change.now;
    let (queue, changes) = change.queue_and_changes(&source)?;
    let task = MoveTask {
        status: "COMPLETED".to_owned(),
        source_arn,
        destination_arn,
        max_number_of_messages_per_second,
        approximate_number_of_messages_moved: moved,
        approximate_number_of_messages_to_move: to_move,
        started_timestamp,
    };
    queue.record.move_tasks.insert(0, task);
    queue.record.move_tasks.truncate(TASKS_MAX);
    queue.save(changes);
    Ok(Started { task_handle: random::uuid() })
}

/// The latest moves out of a queue.
pub(super) fn list(change: &mut Change<'_>, request: &List) -> Result<Listed, AwsError> {
    let source = existing(change, &request.source_arn, "SourceArn")?;
    let count = request.max_results.unwrap_or(1);
    if !(1..=TASKS_MAX).contains(&count) {
        return Err(errors::invalid_value(count, "MaxResults", "Must be between 1 and 10."));
    }
    let tasks = &change.queue(&source)?.record.move_tasks;
    Ok(Listed { results: tasks.iter().take(count).cloned().collect() })
}

/// The names of the queues whose dead-letter queue this is.
fn sources_of(change: &Change<'_>, name: &str) -> Vec<Arc<str>> {
    let arn = arn_of(name);
    let queues = change.state.queues.values();
    let sources = queues
        .filter(|queue| queue.settings.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_target_arn == arn));
    sources.map(|queue| Arc::clone(&queue.record.name)).collect()
}

fn move_back(change: &mut Change<'_>, source: &str, destination: Option<&str>, number: u64) -> Result<bool, AwsError> {
    let message = match change.queue(source)?.get(number) {
        Some(entry) => Arc::clone(&entry.message),
        None => return Ok(false),
    };
    let origin = message.dead_letter_source.as_deref().map(name_of_arn);
    let target = destination.or(origin).filter(|target| change.state.queues.contains_key(*target));
    let Some(target) = target.map(str::to_owned) else { return Ok(false) };
    let now = change.now;
    let moved =
        Message { id: random::uuid().into(), sent_at: now, dead_letter_source: None, ..Message::clone(&message) };
    let (queue, changes) = change.queue_and_changes(source)?;
    queue.remove(number, changes);
    let new_number = change.state.next_number();
    let delivery = Delivery { visible_at: now, ..Delivery::default() };
    let (queue, changes) = change.queue_and_changes(&target)?;
    queue.send(new_number, Arc::new(moved), delivery, now, changes);
    Ok(true)
}

fn existing(change: &Change<'_>, arn: &str, parameter: &str) -> Result<String, AwsError> {
    let name = name_of_arn(arn);
    if arn == arn_of(name) && change.state.queues.contains_key(name) {
        return Ok(name.to_owned());
    }
    Err(errors::resource_not_found(format!(
        "The resource that you specified for the {parameter} parameter doesn't exist."
    )))
}
