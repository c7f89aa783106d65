//! The errors of Secrets Manager.

use crate::aws::protocol::AwsError;

pub(super) fn not_found() -> AwsError {
    AwsError::client("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

pub(super) fn value_not_found(what: &str, id: &str) -> AwsError {
    let message = format!("Secrets Manager can't find the specified secret value for {what}: {id}");
    AwsError::client("ResourceNotFoundException", message)
}

pub(super) fn marked_deleted() -> AwsError {
    invalid_request("You can't perform this operation on the secret because it was marked for deletion.")
}

pub(super) fn invalid_request(message: impl Into<String>) -> AwsError {
    AwsError::client("InvalidRequestException", message)
}

pub(super) fn invalid_parameter(message: impl Into<String>) -> AwsError {
    AwsError::client("InvalidParameterException", message)
}

pub(super) fn invalid_next_token() -> AwsError {
    AwsError::client("InvalidNextTokenException", "The NextToken is not valid.")
}

/// A value that breaks the limits of the API's model.
pub(super) fn validation(message: impl Into<String>) -> AwsError {
    AwsError::client("ValidationException", message)
}

pub(super) fn name_exists(name: &str) -> AwsError {
    let message = format!("The operation failed because the secret {name} already exists.");
    AwsError::client("ResourceExistsException", message)
}

pub(super) fn token_in_use(token: &str, arn: &str) -> AwsError {
    let message = format!(
        "You can't use ClientRequestToken {token} because that value is already in use for a version of secret {arn}."
    );
    AwsError::client("ResourceExistsException", message)
}

pub(super) fn limit_exceeded(message: impl Into<String>) -> AwsError {
    AwsError::client("LimitExceededException", message)
}
