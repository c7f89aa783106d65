//! What a message is, and which messages SQS takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::errors;
use super::md5;
use crate::aws::protocol::AwsError;
use crate::aws::random;

/// The most bytes of a message (body and attributes), and of all messages of a batch together. Source: SQS quotas.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// The most attributes of a message. Source: SQS quotas.
const ATTRIBUTES_MAX: usize = 10;

/// The longest name and type of a message attribute. Source: SQS Developer Guide, "Message attribute components".
const ATTRIBUTE_NAME_CHARACTERS_MAX: usize = 256;

/// The longest message group id. Source: `SendMessage`.
const GROUP_CHARACTERS_MAX: usize = 128;

/// A message as it was sent; never changed afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) id: Arc<str>,
    pub(super) body: Arc<str>,
    pub(super) body_md5: Arc<str>,
    pub(super) attributes: Arc<BTreeMap<String, AttributeValue>>,
    pub(super) trace_header: Option<AttributeValue>,
    pub(super) group: Option<Arc<str>>,
    pub(super) sender: Arc<str>,
    /// In milliseconds since 1970.
    pub(super) sent_at: i64,
    /// The ARN of the queue that it came from, in a dead-letter queue.
    pub(super) dead_letter_source: Option<Arc<str>>,
    /// Made by [`crate::aws::Faults::duplicate_messages`]; not copied again.
    pub(super) is_copy: bool,
}

/// The value of a message attribute, with its type, for example `String` or `Number.cents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireAttribute", into = "WireAttribute")]
pub(super) struct AttributeValue {
    pub(super) data_type: String,
    pub(super) payload: Payload,
}

/// What an attribute carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    Text(String),
    Binary(Vec<u8>),
}

/// What `SendMessage` and the entries of `SendMessageBatch` say.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sent {
    pub(super) message_body: Option<String>,
    pub(super) delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: BTreeMap<String, Option<WireAttribute>>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, WireAttribute>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireAttribute {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    #[serde(default)]
    data_type: String,
}

/// A message that was checked, and how many bytes of the limits it takes.
pub(super) struct Checked {
    pub(super) message: Message,
    pub(super) bytes: usize,
    pub(super) delay_seconds: Option<i64>,
    pub(super) attributes_md5: Option<String>,
    pub(super) system_attributes_md5: Option<String>,
}

impl Sent {
    /// The bytes that count for the limits: the body, and the names, types and values of attributes.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.message_attributes.iter().map(|(name, attribute)| {
            let attribute = attribute.as_ref();
            let text = attribute.and_then(|attribute| attribute.string_value.as_ref()).map_or(0, String::len);
            let base64 = attribute.and_then(|attribute| attribute.binary_value.as_ref());
            let binary = base64.map_or(0, |value| value.trim_end_matches('=').len() * 3 / 4);
            name.len() + attribute.map_or(0, |attribute| attribute.data_type.len()) + text + binary
        });
        self.message_body.as_deref().map_or(0, str::len) + attributes.sum::<usize>()
    }

    /// Checks everything that can be checked without the queue.
    ///
    /// # Errors
    /// When the body, an attribute, the delay or the group is not allowed.
    pub(super) fn check(self, sender: &str, now: i64) -> Result<Checked, AwsError> {
        let bytes = self.bytes();
        let body = self.message_body.filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| errors::missing_parameter("MessageBody"))?;
        if let Some(character) = body.chars().find(|character| !is_allowed(*character)) {
            return Err(errors::invalid_message_contents(character));
        }
        if bytes > MESSAGE_BYTES_MAX {
            return Err(errors::too_long(MESSAGE_BYTES_MAX));
        }
        if let Some(seconds) = self.delay_seconds.filter(|seconds| !(0..=900).contains(seconds)) {
            return Err(errors::invalid_value(seconds, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900."));
        }
        if self.message_deduplication_id.is_some() {
            let reason = "The request includes a parameter that is not valid for this queue type";
            return Err(errors::invalid_value("", "MessageDeduplicationId", reason));
        }
        if let Some(group) = self.message_group_id.as_deref().filter(|group| !is_group(group)) {
            let reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            return Err(errors::invalid_value(group, "MessageGroupId", reason));
        }
        let attributes = check_attributes(self.message_attributes)?;
        let trace_header = check_system_attributes(self.message_system_attributes)?;
        let trace_name = "AWSTraceHeader".to_owned();
        let message = Message {
            id: random::uuid().into(),
            body_md5: md5::of_body(&body).into(),
            body: body.into(),
            attributes: Arc::new(attributes),
            trace_header,
            group: self.message_group_id.map(Arc::from),
            sender: sender.into(),
            sent_at: now,
            dead_letter_source: None,
            is_copy: false,
        };
        let attributes_md5 = md5::of_attributes(message.attributes.iter());
        let system_attributes_md5 =
            message.trace_header.as_ref().and_then(|header| md5::of_attributes([(&trace_name, header)]));
        Ok(Checked { bytes, delay_seconds: self.delay_seconds, attributes_md5, system_attributes_md5, message })
    }
}

fn check_attributes(
    attributes: BTreeMap<String, Option<WireAttribute>>,
) -> Result<BTreeMap<String, AttributeValue>, AwsError> {
    if attributes.len() > ATTRIBUTES_MAX {
        let count = attributes.len();
        let message = format!("Number of message attributes [{count}] exceeds the allowed maximum [{ATTRIBUTES_MAX}].");
        return Err(errors::invalid_parameter(message));
    }
    let check = |(name, value): (String, Option<WireAttribute>)| {
        if !is_attribute_name(&name) {
            let message = format!("Message (user) attribute name \"{name}\" is not valid.");
            return Err(errors::invalid_parameter(message));
        }
        let empty = || format!("Message (user) attribute '{name}' must contain a non-empty value.");
        let value = value.ok_or_else(|| errors::invalid_parameter(empty()))?;
        let value = AttributeValue::try_from(value)
            .map_err(|reason| errors::invalid_parameter(format!("Message (user) attribute '{name}': {reason}")))?;
        Ok((name, value))
    };
    attributes.into_iter().map(check).collect()
}

fn check_system_attributes(
    mut attributes: BTreeMap<String, WireAttribute>,
) -> Result<Option<AttributeValue>, AwsError> {
    let header = attributes.remove("AWSTraceHeader").map(AttributeValue::try_from).transpose();
    let header = header.map_err(|reason| errors::invalid_parameter(format!("AWSTraceHeader: {reason}")))?;
    match attributes.into_keys().next() {
        Some(name) => Err(errors::invalid_parameter(format!("Message system attribute name '{name}' is not valid."))),
        None => Ok(header),
    }
}

/// What XML 1.0 allows. Source: `SendMessage`, `MessageBody`.
fn is_allowed(character: char) -> bool {
    matches!(character, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn is_group(group: &str) -> bool {
    (1..=GROUP_CHARACTERS_MAX).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_attribute_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    (1..=ATTRIBUTE_NAME_CHARACTERS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !(name.starts_with('.') || name.ends_with('.') || name.contains(".."))
        && !(lower.starts_with("aws.") || lower.starts_with("amazon."))
}

impl AttributeValue {
    /// The value when it is text.
    pub(super) fn text(&self) -> Option<String> {
        match &self.payload {
            Payload::Text(text) => Some(text.clone()),
            Payload::Binary(_) => None,
        }
    }
}

impl TryFrom<WireAttribute> for AttributeValue {
    type Error = String;

    fn try_from(wire: WireAttribute) -> Result<Self, String> {
        let WireAttribute { string_value, binary_value, data_type } = wire;
        let kind = data_type.split('.').next().unwrap_or_default();
        if data_type.len() > ATTRIBUTE_NAME_CHARACTERS_MAX || data_type.ends_with('.') {
            return Err(format!("the type \"{data_type}\" is not valid"));
        }
        let text = string_value.filter(|text| !text.is_empty());
        let payload = match (kind, text, binary_value) {
            ("Number", Some(text), None) if text.parse::<f64>().is_err() => {
                return Err(format!("can't cast the value of type Number, got \"{text}\""));
            }
            ("String" | "Number", Some(text), None) => match text.chars().find(|character| !is_allowed(*character)) {
                Some(character) => return Err(format!("the value holds the invalid character {character:?}")),
                None => Payload::Text(text),
            },
            ("Binary", None, Some(base64)) => match STANDARD.decode(base64) {
                Ok(bytes) if !bytes.is_empty() => Payload::Binary(bytes),
                Ok(_) => return Err("must contain a non-empty value".to_owned()),
                Err(_) => return Err("the binary value is not base64".to_owned()),
            },
            ("String" | "Number" | "Binary", _, _) => {
                return Err(format!("must contain a non-empty value of its type \"{data_type}\", and only that"));
            }
            _ => {
                return Err(format!(
                    "the type must start with String, Number or Binary and may have a custom suffix, got \"{data_type}\""
                ));
            }
        };
        Ok(Self { data_type, payload })
    }
}

impl From<AttributeValue> for WireAttribute {
    fn from(value: AttributeValue) -> Self {
        let (string_value, binary_value) = match value.payload {
            Payload::Text(text) => (Some(text), None),
            Payload::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        Self { string_value, binary_value, data_type: value.data_type }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_names_follow_the_rules() {
        assert!(["a", "trace-id", "a.b_c", "AWSomething"].into_iter().all(is_attribute_name));
        assert!(!["", ".a", "a.", "a..b", "aws.x", "Amazon.x", "a b"].into_iter().any(is_attribute_name));
    }

    #[test]
    fn control_characters_and_noncharacters_are_refused() {
        assert!("a\t\r\n\u{20}\u{D7FF}\u{E000}\u{FFFD}\u{10FFFF}".chars().all(is_allowed));
        assert!(!['\u{0}', '\u{B}', '\u{1F}', '\u{FFFE}', '\u{FFFF}'].into_iter().any(is_allowed));
    }
}
