//! Receipt handles, and what is done with them: deleting messages and changing when they are visible again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::batch::{self, Batch, Nothing, Outcome};
use super::message::Message;
use super::queue::Place;
use super::{Change, errors, name_of_url};
use crate::aws::protocol::AwsError;

/// The longest a message may be in flight after a receive. Source: `ChangeMessageVisibility`.
pub(super) const IN_FLIGHT_SECONDS_MAX: i64 = 43_200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct One<E> {
    queue_url: String,
    #[serde(flatten)]
    content: E,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    receipt_handle: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeVisibility {
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

/// The handle of one receive of a message.
pub(super) fn handle(queue: &str, number: u64, message: &Message, receive_count: u32) -> String {
    STANDARD.encode(format!("{number} {} {receive_count} {queue}", message.id))
}

pub(super) fn delete(change: &mut Change<'_>, request: &One<Delete>) -> Result<(), AwsError> {
    let name = name_of_url(&request.queue_url);
    change.queue(name)?;
    delete_one(change, name, &request.content).map(|_| ())
}

pub(super) fn delete_batch(change: &mut Change<'_>, request: Batch<Delete>) -> Result<Outcome<Nothing>, AwsError> {
    let name = name_of_url(&request.queue_url).to_owned();
    change.queue(&name)?;
    let entries = request.entries()?;
    Ok(batch::each(entries, |entry| delete_one(change, &name, &entry)))
}

pub(super) fn change_visibility(change: &mut Change<'_>, request: &One<ChangeVisibility>) -> Result<(), AwsError> {
    let name = name_of_url(&request.queue_url);
    change.queue(name)?;
    change_one(change, name, &request.content).map(|_| ())
}

pub(super) fn change_visibility_batch(
    change: &mut Change<'_>,
    request: Batch<ChangeVisibility>,
) -> Result<Outcome<Nothing>, AwsError> {
    let name = name_of_url(&request.queue_url).to_owned();
    change.queue(&name)?;
    let entries = request.entries()?;
    Ok(batch::each(entries, |entry| change_one(change, &name, &entry)))
}

/// An old handle deletes too, and deleting what is deleted succeeds, as on AWS.
fn delete_one(change: &mut Change<'_>, name: &str, request: &Delete) -> Result<Nothing, AwsError> {
    let number = number_of(change, name, request.receipt_handle.as_deref())?;
    if let Some(number) = number {
        let (queue, changes) = change.queue_and_changes(name)?;
        queue.remove(number, changes);
    }
    Ok(Nothing {})
}

fn change_one(change: &mut Change<'_>, name: &str, request: &ChangeVisibility) -> Result<Nothing, AwsError> {
    let handle = request.receipt_handle.as_deref();
    let seconds = request.visibility_timeout.ok_or_else(|| errors::missing_parameter("VisibilityTimeout"))?;
    if !(0..=IN_FLIGHT_SECONDS_MAX).contains(&seconds) {
        return Err(errors::invalid_value(seconds, "VisibilityTimeout", "Must be between 0 and 43200."));
    }
    let number = number_of(change, name, handle)?;
    let now = change.now;
    let (queue, changes) = change.queue_and_changes(name)?;
    let entry = number.and_then(|number| Some((number, queue.get(number)?)));
    let text = handle.unwrap_or_default();
    let Some((number, entry)) = entry else {
        let reason = "Message does not exist or is not available for visibility timeout change.";
        return Err(errors::invalid_value(text, "ReceiptHandle", reason));
    };
    if entry.place != Place::InFlight {
        return Err(errors::message_not_in_flight(text));
    }
    let visible_at = now + seconds * 1_000;
    let received_at = entry.delivery.received_at.unwrap_or(now);
    if visible_at - received_at > IN_FLIGHT_SECONDS_MAX * 1_000 {
        let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        return Err(errors::invalid_value(seconds, "VisibilityTimeout", reason));
    }
    queue.set_visible_at(number, visible_at, now, changes);
    Ok(Nothing {})
}

/// The number of the message that a handle belongs to, `None` when it is gone.
///
/// # Errors
/// When it is no handle of this queue.
fn number_of(change: &mut Change<'_>, name: &str, handle: Option<&str>) -> Result<Option<u64>, AwsError> {
    let handle = handle.filter(|handle| !handle.is_empty());
    let handle = handle.ok_or_else(|| errors::missing_parameter("ReceiptHandle"))?;
    let text = STANDARD.decode(handle).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| errors::receipt_handle_is_invalid(handle))?;
    let mut parts = text.split(' ');
    let number = parts.next().and_then(|number| number.parse::<u64>().ok());
    let (id, _, queue) = (parts.next(), parts.next(), parts.next());
    let (Some(number), Some(id), Some(true)) = (number, id, queue.map(|queue| queue == name)) else {
        return Err(errors::receipt_handle_is_invalid(handle));
    };
    let entry = change.queue(name)?.get(number);
    Ok(entry.filter(|entry| &*entry.message.id == id).map(|_| number))
}
