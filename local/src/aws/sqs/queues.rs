//! Operations on queues themselves: making, finding, attributes, tags, purging, deleting.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attributes::{self, Settings};
use super::queue::{Queue, QueueRecord};
use super::{Change, OfQueue, Sqs, arn_of, errors, name_of_arn, name_of_url};
use crate::aws::protocol::AwsError;

/// The longest name of a queue. Source: `CreateQueue`.
const NAME_CHARACTERS_MAX: usize = 80;

/// The most queues that one list answers. Source: `ListQueues`.
const LIST_MAX: usize = 1_000;

/// The most tags of a queue. Source: SQS quotas.
const TAGS_MAX: usize = 50;

/// How long no second purge is allowed. Source: `PurgeQueue`.
const PURGE_MILLISECONDS: i64 = 60_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    queue_name: String,
    #[serde(default, deserialize_with = "attributes::deserialize")]
    attributes: BTreeMap<String, String>,
    #[serde(default, rename = "tags")]
    tags: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueUrl {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    queue_name_prefix: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    queue_url: String,
    #[serde(deserialize_with = "attributes::deserialize")]
    attributes: BTreeMap<String, String>,
}

/// The same queue again is no error; one with other attributes is.
pub(super) fn create(change: &mut Change<'_>, request: Create, sqs: &Sqs) -> Result<QueueUrl, AwsError> {
    let Create { queue_name, attributes, tags } = request;
    check_name(&queue_name)?;
    let attributes: BTreeMap<_, _> = attributes
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let value = attributes::normalized(&name, value);
            (name, value)
        })
        .collect();
    let settings = Settings::read(&attributes)?;
    let queue_url = sqs.url_of(&queue_name);
    if let Some(queue) = change.state.queues.get(queue_name.as_str()) {
        let arn = arn_of(&queue_name);
        let differs = |(name, value): &(&String, &String)| {
            attributes::value_of(queue, &arn, name).as_deref() != Some(value.as_str())
        };
        return match attributes.iter().find(differs) {
            Some((name, _)) => Err(errors::queue_name_exists(name)),
            None => Ok(QueueUrl { queue_url }),
        };
    }
    check_redrive(change, &settings)?;
    check_tags(&tags)?;
    let created_at = change.now / 1_000;
    let record = QueueRecord {
        name: queue_name.into(),
        attributes,
        tags,
        created_at,
        modified_at: created_at,
        move_tasks: Vec::new(),
    };
    let queue = Queue::new(record, settings);
    queue.save(&mut change.changes);
    change.state.queues.insert(Arc::clone(&queue.record.name), queue);
    Ok(QueueUrl { queue_url })
}

pub(super) fn url(change: &mut Change<'_>, request: &Named, sqs: &Sqs) -> Result<QueueUrl, AwsError> {
    change.queue(&request.queue_name)?;
    Ok(QueueUrl { queue_url: sqs.url_of(&request.queue_name) })
}

pub(super) fn list(change: &mut Change<'_>, request: &List, sqs: &Sqs) -> Result<Listed, AwsError> {
    let prefix = request.queue_name_prefix.as_deref().unwrap_or_default();
    let count = request.max_results.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&count) {
        return Err(errors::invalid_value(count, "MaxResults", "Must be between 1 and 1000."));
    }
    let start = match request.next_token.as_deref() {
        Some(last) => Bound::Excluded(last),
        None => Bound::Included(prefix),
    };
    let names = change.state.queues.range::<str, _>((start, Bound::Unbounded)).map(|(name, _)| name);
    let mut names: Vec<_> = names.take_while(|name| name.starts_with(prefix)).take(count + 1).cloned().collect();
    let more = names.len() > count;
    names.truncate(count);
    // AWS gives a token only to those who asked for pages.
    let next_token = names.last().filter(|_| more && request.max_results.is_some()).cloned();
    Ok(Listed { queue_urls: names.iter().map(|name| sqs.url_of(name)).collect(), next_token })
}

pub(super) fn attributes(change: &mut Change<'_>, request: &GetAttributes) -> Result<Attributes, AwsError> {
    let name = name_of_url(&request.queue_url);
    let attributes = attributes::asked_for(change.queue(name)?, &arn_of(name), &request.attribute_names)?;
    Ok(Attributes { attributes })
}

pub(super) fn set_attributes(change: &mut Change<'_>, request: SetAttributes) -> Result<(), AwsError> {
    let name = name_of_url(&request.queue_url);
    let mut attributes = change.queue(name)?.record.attributes.clone();
    let changes_redrive = request.attributes.contains_key("RedrivePolicy");
    for (name, value) in request.attributes {
        if value.is_empty() {
            attributes.remove(&name);
        } else {
            let value = attributes::normalized(&name, value);
            attributes.insert(name, value);
        }
    }
    let settings = Settings::read(&attributes)?;
    if changes_redrive {
        check_redrive(change, &settings)?;
    }
    let modified_at = change.now / 1_000;
    let (queue, changes) = change.queue_and_changes(name)?;
    queue.record.attributes = attributes;
    queue.record.modified_at = modified_at;
    queue.settings = settings;
    queue.save(changes);
    Ok(())
}

pub(super) fn delete(change: &mut Change<'_>, request: &OfQueue) -> Result<(), AwsError> {
    let name = name_of_url(&request.queue_url);
    let (queue, changes) = change.queue_and_changes(name)?;
    queue.clear(changes);
    changes.delete(|| format!("sqs/queue/{name}"));
    // Long polls learn that it is gone.
    queue.available.notify_waiters();
    change.state.queues.remove(name);
    Ok(())
}

pub(super) fn purge(change: &mut Change<'_>, request: &OfQueue) -> Result<(), AwsError> {
    let name = name_of_url(&request.queue_url);
    let now = change.now;
    let (queue, changes) = change.queue_and_changes(name)?;
    if queue.purged_at.is_some_and(|at| now - at < PURGE_MILLISECONDS) {
        return Err(errors::purge_in_progress(name));
    }
    queue.purged_at = Some(now);
    queue.clear(changes);
    Ok(())
}

fn check_name(name: &str) -> Result<(), AwsError> {
    if name.ends_with(".fifo") {
        return Err(errors::unsupported(format!("the local stack does not cover FIFO queues, got \"{name}\"")));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(errors::invalid_parameter(
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    ))
}

fn check_redrive(change: &Change<'_>, settings: &Settings) -> Result<(), AwsError> {
    let Some(redrive) = &settings.redrive else { return Ok(()) };
    let arn = &redrive.dead_letter_target_arn;
    let name = name_of_arn(arn);
    if *arn == arn_of(name) && change.state.queues.contains_key(name) {
        return Ok(());
    }
    Err(errors::invalid_value(arn, "RedrivePolicy", "Dead letter target does not exist."))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
    if tags.len() > TAGS_MAX {
        return Err(errors::invalid_parameter(format!("a queue has at most {TAGS_MAX} tags, got {}", tags.len())));
    }
    Ok(())
}
