//! The errors of SQS, with the code of the JSON protocol and the older code that goes along in a header.

use std::fmt::Display;

use crate::aws::protocol::AwsError;

/// An error of the SQS model: `code` in the JSON protocol, `query_code` in the older one.
fn modelled(code: &'static str, query_code: &'static str, message: impl Into<String>) -> AwsError {
    let mut error = AwsError::client(format!("com.amazonaws.sqs#{code}"), message);
    error.query_code = Some(query_code);
    error
}

/// An error that all AWS services share.
fn common(code: &'static str, query_code: &'static str, message: impl Into<String>) -> AwsError {
    let mut error = AwsError::client(format!("com.amazon.coral.service#{code}"), message);
    error.query_code = Some(query_code);
    error
}

pub(super) fn queue_does_not_exist() -> AwsError {
    let query_code = "AWS.SimpleQueueService.NonExistentQueue";
    modelled("QueueDoesNotExist", query_code, "The specified queue does not exist.")
}

pub(super) fn queue_name_exists(attribute: &str) -> AwsError {
    let message = format!("A queue already exists with the same name and a different value for attribute {attribute}");
    modelled("QueueNameExists", "QueueAlreadyExists", message)
}

pub(super) fn purge_in_progress(name: &str) -> AwsError {
    let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
    modelled("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", message)
}

pub(super) fn invalid_attribute_name(name: &str) -> AwsError {
    modelled("InvalidAttributeName", "InvalidAttributeName", format!("Unknown Attribute {name}."))
}

pub(super) fn invalid_attribute_value(name: &str, reason: &str) -> AwsError {
    let message = format!("Invalid value for the parameter {name}. Reason: {reason}");
    modelled("InvalidAttributeValue", "InvalidAttributeValue", message)
}

pub(super) fn unsupported(message: impl Into<String>) -> AwsError {
    modelled("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", message)
}

pub(super) fn over_limit(message: impl Into<String>) -> AwsError {
    modelled("OverLimit", "OverLimit", message)
}

pub(super) fn resource_not_found(message: impl Into<String>) -> AwsError {
    modelled("ResourceNotFoundException", "ResourceNotFoundException", message)
}

pub(super) fn receipt_handle_is_invalid(handle: &str) -> AwsError {
    let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
    modelled("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", message)
}

pub(super) fn message_not_in_flight(handle: &str) -> AwsError {
    let message = format!("The message referred to by \"{handle}\" is not in flight.");
    modelled("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", message)
}

pub(super) fn invalid_message_contents(character: char) -> AwsError {
    let message = format!(
        "Invalid binary character '#x{:X}' was found in the message body, the set of allowed characters is #x9 | #xA | \
         #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        u32::from(character)
    );
    modelled("InvalidMessageContents", "InvalidMessageContents", message)
}

pub(super) fn empty_batch() -> AwsError {
    let message = "There should be at least one entry in the request.";
    modelled("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", message)
}

pub(super) fn too_many_entries(max: usize, count: usize) -> AwsError {
    let message = format!("Maximum number of entries per request are {max}. You have sent {count}.");
    modelled("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message)
}

pub(super) fn ids_not_distinct(id: &str) -> AwsError {
    let message = format!("Id {id} repeated.");
    modelled("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", message)
}

pub(super) fn invalid_entry_id() -> AwsError {
    let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most \
                   80 letters long.";
    modelled("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", message)
}

pub(super) fn batch_too_long(max: usize, bytes: usize) -> AwsError {
    let message = format!("Batch requests cannot be longer than {max} bytes. You have sent {bytes} bytes.");
    modelled("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", message)
}

pub(super) fn missing_parameter(name: &str) -> AwsError {
    let message = format!("The request must contain the parameter {name}.");
    common("MissingRequiredParameterException", "MissingParameter", message)
}

pub(super) fn invalid_parameter(message: impl Into<String>) -> AwsError {
    common("InvalidParameterValueException", "InvalidParameterValue", message)
}

pub(super) fn invalid_value(value: impl Display, parameter: &str, reason: &str) -> AwsError {
    invalid_parameter(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
}

pub(super) fn too_long(bytes_max: usize) -> AwsError {
    let message =
        format!("One or more parameters are invalid. Reason: Message must be shorter than {bytes_max} bytes.");
    invalid_parameter(message)
}
