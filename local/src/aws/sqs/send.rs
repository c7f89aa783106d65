//! `SendMessage` and `SendMessageBatch`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{self, Batch, Outcome};
use super::message::{MESSAGE_BYTES_MAX, Sent};
use super::queue::Delivery;
use super::{Change, errors, name_of_url};
use crate::aws::protocol::AwsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Send {
    queue_url: String,
    #[serde(flatten)]
    sent: Sent,
}

#[derive(Serialize)]
pub(super) struct Accepted {
    #[serde(rename = "MessageId")]
    message_id: Arc<str>,
    #[serde(rename = "MD5OfMessageBody")]
    body_md5: Arc<str>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    attributes_md5: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    system_attributes_md5: Option<String>,
}

pub(super) fn one(change: &mut Change<'_>, request: Send, sender: &str) -> Result<Accepted, AwsError> {
    let name = name_of_url(&request.queue_url);
    change.queue(name)?;
    accept(change, name, request.sent, sender)
}

pub(super) fn batch(
    change: &mut Change<'_>,
    request: Batch<Sent>,
    sender: &str,
) -> Result<Outcome<Accepted>, AwsError> {
    let name = name_of_url(&request.queue_url).to_owned();
    change.queue(&name)?;
    let entries = request.entries()?;
    let bytes = entries.iter().map(|entry| entry.content.bytes()).sum();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(errors::batch_too_long(MESSAGE_BYTES_MAX, bytes));
    }
    Ok(batch::each(entries, |sent| accept(change, &name, sent, sender)))
}

fn accept(change: &mut Change<'_>, name: &str, sent: Sent, sender: &str) -> Result<Accepted, AwsError> {
    let now = change.now;
    let checked = sent.check(sender, now)?;
    let number = change.state.next_number();
    let (queue, changes) = change.queue_and_changes(name)?;
    if checked.bytes > queue.settings.message_bytes_max {
        return Err(errors::too_long(queue.settings.message_bytes_max));
    }
    let delay_seconds = checked.delay_seconds.unwrap_or(queue.settings.delay_seconds);
    let delivery = Delivery { visible_at: now + delay_seconds * 1_000, ..Delivery::default() };
    let message = Arc::new(checked.message);
    let accepted = Accepted {
        message_id: Arc::clone(&message.id),
        body_md5: Arc::clone(&message.body_md5),
        attributes_md5: checked.attributes_md5,
        system_attributes_md5: checked.system_attributes_md5,
    };
    queue.send(number, message, delivery, now, changes);
    Ok(accepted)
}
