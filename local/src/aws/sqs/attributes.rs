//! The attributes of a queue: which there are, which values they may have, what follows from them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::json;

use super::errors;
use super::message::MESSAGE_BYTES_MAX;
use super::queue::Queue;
use super::redrive::RedrivePolicy;
use crate::aws::protocol::AwsError;

/// Attributes with a number, its least, its most and its default. Source: `SetQueueAttributes`.
const NUMBERS: [(&str, i64, i64, i64); 5] = [
    ("VisibilityTimeout", 0, 43_200, 30),
    ("MaximumMessageSize", 1_024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("DelaySeconds", 0, 900, 0),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
];

/// Attributes that are kept and given back, and change nothing here.
const KEPT: [&str; 4] = ["Policy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"];

/// Attributes of FIFO queues, which this stand-in does not cover.
const FIFO: [&str; 4] = ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];

/// Attributes that are asked for and never set.
const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// What a queue's attributes mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) visibility_timeout_seconds: i64,
    pub(super) message_bytes_max: usize,
    pub(super) retention_seconds: i64,
    pub(super) delay_seconds: i64,
    pub(super) wait_seconds: i64,
    pub(super) redrive: Option<RedrivePolicy>,
}

impl Settings {
    /// Checks attributes and reads them.
    ///
    /// # Errors
    /// When an attribute is unknown or its value is not allowed.
    pub(super) fn read(attributes: &BTreeMap<String, String>) -> Result<Self, AwsError> {
        let known = |name: &str| {
            NUMBERS.iter().any(|(number, ..)| *number == name)
                || KEPT.contains(&name)
                || ["RedrivePolicy", "RedriveAllowPolicy"].contains(&name)
        };
        if let Some(name) = attributes.keys().find(|name| FIFO.contains(&name.as_str())) {
            return Err(errors::unsupported(format!(
                "the local stack does not cover FIFO queues, got attribute {name}"
            )));
        }
        if let Some(name) = attributes.keys().find(|name| !known(name)) {
            return Err(errors::invalid_attribute_name(name));
        }
        let number = |name: &str| -> Result<i64, AwsError> {
            let Some((_, least, most, default)) = NUMBERS.iter().find(|(number, ..)| *number == name) else {
                return Err(errors::invalid_attribute_name(name));
            };
            let Some(text) = attributes.get(name) else { return Ok(*default) };
            let number = text.parse().ok().filter(|number| (*least..=*most).contains(number));
            number.ok_or_else(|| {
                errors::invalid_attribute_value(name, &format!("must be {least} to {most}, got \"{text}\""))
            })
        };
        let redrive = attributes.get("RedrivePolicy").map(|text| RedrivePolicy::parse(text)).transpose()?;
        Ok(Self {
            visibility_timeout_seconds: number("VisibilityTimeout")?,
            message_bytes_max: usize::try_from(number("MaximumMessageSize")?).unwrap_or(MESSAGE_BYTES_MAX),
            retention_seconds: number("MessageRetentionPeriod")?,
            delay_seconds: number("DelaySeconds")?,
            wait_seconds: number("ReceiveMessageWaitTimeSeconds")?,
            redrive,
        })
    }
}

/// Attributes as a request carries them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let attributes = Option::<BTreeMap<String, serde_json::Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |(name, value): (String, serde_json::Value)| match value.as_str() {
        Some(text) => Ok((name, text.to_owned())),
        None => Err(Error::custom(format!("the attribute {name} must be a string, got {value}"))),
    };
    attributes.into_iter().map(text).collect()
}

/// The attribute as it is stored, so that equal policies compare equal.
pub(super) fn normalized(name: &str, value: String) -> String {
    if name != "RedrivePolicy" {
        return value;
    }
    match RedrivePolicy::parse(&value) {
        Ok(policy) => policy.text(),
        Err(_) => value,
    }
}

/// The attribute `name` of a queue with its default, `None` when the queue has no such attribute.
pub(super) fn value_of(queue: &Queue, arn: &str, name: &str) -> Option<String> {
    let counts = queue.counts();
    match name {
        "ApproximateNumberOfMessages" => Some(counts.visible.to_string()),
        "ApproximateNumberOfMessagesNotVisible" => Some(counts.in_flight.to_string()),
        "ApproximateNumberOfMessagesDelayed" => Some(counts.delayed.to_string()),
        "CreatedTimestamp" => Some(queue.record.created_at.to_string()),
        "LastModifiedTimestamp" => Some(queue.record.modified_at.to_string()),
        "QueueArn" => Some(arn.to_owned()),
        _ => {
            let default = NUMBERS.iter().find(|(number, ..)| *number == name).map(|(.., default)| default.to_string());
            let default = default.or_else(|| (name == "SqsManagedSseEnabled").then(|| "true".to_owned()));
            queue.record.attributes.get(name).cloned().or(default)
        }
    }
}

/// The attributes that `GetQueueAttributes` asked for.
///
/// # Errors
/// When a name is not one of an attribute.
pub(super) fn asked_for(queue: &Queue, arn: &str, names: &[String]) -> Result<BTreeMap<String, String>, AwsError> {
    let policies = ["RedrivePolicy", "RedriveAllowPolicy"];
    let all = || NUMBERS.iter().map(|(name, ..)| *name).chain(KEPT).chain(COMPUTED).chain(policies);
    if let Some(unknown) = names
        .iter()
        .find(|asked| *asked != "All" && !FIFO.contains(&asked.as_str()) && !all().any(|name| name == asked.as_str()))
    {
        return Err(errors::invalid_attribute_name(unknown));
    }
    let wanted = |name: &&str| names.iter().any(|asked| asked == "All" || asked == name);
    let found = all().filter(wanted).filter_map(|name| Some((name.to_owned(), value_of(queue, arn, name)?)));
    Ok(found.collect())
}

impl RedrivePolicy {
    /// Reads `{"deadLetterTargetArn": "...", "maxReceiveCount": 5}`; the count may be a string.
    pub(super) fn parse(text: &str) -> Result<Self, AwsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            dead_letter_target_arn: String,
            max_receive_count: serde_json::Value,
        }
        let invalid = |reason: &str| errors::invalid_value(text, "RedrivePolicy", reason);
        let wire: Wire = serde_json::from_str(text).map_err(|_| {
            invalid("Redrive policy does not contain mandatory attribute: maxReceiveCount, deadLetterTargetArn.")
        })?;
        let count = &wire.max_receive_count;
        let count = match count.as_str() {
            Some(text) => text.parse().ok(),
            None => count.as_u64().and_then(|count| u32::try_from(count).ok()),
        };
        let max_receive_count = count
            .filter(|count| (1..=1_000).contains(count))
            .ok_or_else(|| invalid("Invalid value for maxReceiveCount: must be 1 to 1000."))?;
        Ok(Self { dead_letter_target_arn: wire.dead_letter_target_arn, max_receive_count })
    }

    fn text(&self) -> String {
        let Self { dead_letter_target_arn, max_receive_count } = self;
        json!({ "deadLetterTargetArn": dead_letter_target_arn, "maxReceiveCount": max_receive_count }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Settings, AwsError> {
        Settings::read(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn numbers_have_limits_and_defaults() {
        assert_eq!(read("DelaySeconds", "900").unwrap().delay_seconds, 900);
        assert_eq!(read("DelaySeconds", "900").unwrap().visibility_timeout_seconds, 30);
        assert!(read("DelaySeconds", "901").is_err());
        assert!(read("VisibilityTimeout", "43201").is_err());
        assert!(read("VisibilityTimeout", "soon").is_err());
    }

    #[test]
    fn unknown_and_fifo_attributes_are_refused() {
        assert_eq!(read("Colour", "blue").unwrap_err().query_code, Some("InvalidAttributeName"));
        assert!(read("FifoQueue", "true").unwrap_err().message.contains("FIFO"));
    }

    #[test]
    fn redrive_policies_that_say_the_same_are_stored_the_same() {
        let policy = r#"{ "maxReceiveCount": "5", "deadLetterTargetArn": "a:b" }"#;
        let stored = normalized("RedrivePolicy", policy.to_owned());
        assert_eq!(stored, r#"{"deadLetterTargetArn":"a:b","maxReceiveCount":5}"#);
        assert!(RedrivePolicy::parse(r#"{"deadLetterTargetArn":"a","maxReceiveCount":0}"#).is_err());
    }
}
