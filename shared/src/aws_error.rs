//! A call to AWS that failed: which one, whether trying again can help, and the detail for the log.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// A failed call to AWS. The detail is for logs and never goes to callers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} failed: {detail}")]
pub struct AwsError {
    /// The operation, `dynamodb:Query`.
    pub operation: &'static str,
    /// Whether the same call may succeed later: throttling, outages, lost connections; not refusals.
    pub retryable: bool,
    /// What the SDK says.
    pub detail: String,
}

/// Error codes of AWS that mean "later", whatever their HTTP status.
const LATER: &[&str] = &[
    "ProvisionedThroughputExceededException",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingException",
    "ThrottlingError",
    "Throttling",
    "RequestThrottled",
    "AWS.SimpleQueueService.RequestThrottled",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
    "InternalServerError",
    "InternalServiceError",
    "InternalFailure",
    "LimitExceededException",
    "ServiceUnavailable",
];

impl AwsError {
    /// Sorts an SDK error.
    pub fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let retryable = match error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
            SdkError::ServiceError(answer) => {
                answer.raw().status().as_u16() >= 500 || error.code().is_some_and(is_later)
            }
            _ => false,
        };
        Self { operation, retryable, detail: chain(error) }
    }

    /// A part of a batch that AWS refused by itself.
    #[must_use]
    pub fn in_batch(operation: &'static str, code: &str, message: &str) -> Self {
        Self { operation, retryable: is_later(code), detail: format!("{code}: {message}") }
    }

    /// What is stored cannot be read; trying again does not help.
    #[must_use]
    pub fn unreadable(operation: &'static str, detail: impl std::fmt::Display) -> Self {
        Self { operation, retryable: false, detail: format!("unreadable: {detail}") }
    }

    /// AWS kept asking for another try until the limit was reached.
    #[must_use]
    pub fn gave_up(operation: &'static str) -> Self {
        Self { operation, retryable: true, detail: "not carried out after several tries".to_owned() }
    }
}

fn is_later(code: &str) -> bool {
    LATER.contains(&code)
}

/// What the errors in the chain say. Not their `Debug`, which can quote whole answers, and an answer can hold a secret.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
