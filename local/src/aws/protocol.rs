//! The AWS JSON protocols (1.0 and 1.1), as far as all three services share them: which service and operation a request
//! names, and how answers and errors are written.
//!
//! Sources: the Smithy specifications "AWS JSON 1.0", "AWS JSON 1.1" and "AWS Query compatible protocol".

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::random;

/// One of the services behind the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// DynamoDB and DynamoDB Streams.
    DynamoDb,
    /// SQS.
    Sqs,
    /// Secrets Manager.
    SecretsManager,
}

impl Service {
    /// The service and the operation that an `x-amz-target` names, for example `AmazonSQS.SendMessage`.
    pub(super) fn of_target(target: &str) -> Option<(Self, &str)> {
        let (prefix, operation) = target.split_once('.')?;
        let service = match prefix {
            "AmazonSQS" => Self::Sqs,
            "secretsmanager" => Self::SecretsManager,
            prefix if prefix.starts_with("DynamoDB_") || prefix.starts_with("DynamoDBStreams_") => Self::DynamoDb,
            _ => return None,
        };
        Some((service, operation))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::DynamoDb | Self::Sqs => "application/x-amz-json-1.0",
            Self::SecretsManager => "application/x-amz-json-1.1",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::SecretsManager => "secretsmanager",
        })
    }
}

/// A whole answer, as it goes out.
pub(super) type Answer = http::Response<Bytes>;

/// An error as AWS answers it.
#[derive(Debug)]
pub(super) struct AwsError {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What stands in `__type`, with its namespace where the service writes one.
    pub(super) kind: Cow<'static, str>,
    /// The code of the older query protocol, which SQS still sends along in a header.
    pub(super) query_code: Option<&'static str>,
    /// What went wrong, for people.
    pub(super) message: String,
}

impl AwsError {
    /// An error of the caller: 400.
    pub(super) fn client(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: kind.into(), query_code: None, message: message.into() }
    }

    /// An error of ours: 500. Clients may repeat the request.
    pub(super) fn internal(service: Service, message: impl Into<String>) -> Self {
        let kind = match service {
            Service::DynamoDb => "com.amazonaws.dynamodb.v20120810#InternalServerError",
            Service::Sqs => "com.amazon.coral.service#InternalFailure",
            Service::SecretsManager => "InternalServiceError",
        };
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: kind.into(), query_code: None, message: message.into() }
    }

    /// The answer to an operation that is not there.
    pub(super) fn unknown_operation(target: &str) -> Self {
        Self::client(
            "com.amazon.coral.service#UnknownOperationException",
            format!("the local stack does not cover the operation \"{target}\""),
        )
    }

    /// This error as an answer of `service`.
    pub(super) fn answer(self, service: Service) -> Answer {
        let message_field = match service {
            Service::DynamoDb | Service::Sqs => "message",
            Service::SecretsManager => "Message",
        };
        let body = json!({ "__type": self.kind, message_field: self.message });
        let mut answer = write(service, self.status, Bytes::from(body.to_string()));
        if let Some(code) = self.query_code {
            let side = if self.status.is_server_error() { "Receiver" } else { "Sender" };
            if let Ok(value) = HeaderValue::try_from(format!("{code};{side}")) {
                answer.headers_mut().insert("x-amzn-query-error", value);
            }
        }
        answer
    }
}

/// The answer 200 with `body` as JSON.
///
/// # Errors
/// When the body cannot be written as JSON, which no type here allows.
pub(super) fn success(service: Service, body: &impl Serialize) -> Result<Answer, AwsError> {
    let body = serde_json::to_vec(body).map_err(|error| AwsError::internal(service, error.to_string()))?;
    Ok(write(service, StatusCode::OK, Bytes::from(body)))
}

/// The answer of SQS to an operation that gives nothing back: 200 without a body.
pub(super) fn empty(service: Service) -> Answer {
    write(service, StatusCode::OK, Bytes::new())
}

/// The request's body as the operation's input.
///
/// # Errors
/// `SerializationException` when it is not that.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body)
        .map_err(|error| AwsError::client("com.amazon.coral.service#SerializationException", error.to_string()))
}

/// The access key id of the caller, from the `Authorization` header's `Credential`; empty when there is none.
pub(super) fn identity(headers: &HeaderMap) -> &str {
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = authorization.and_then(|value| value.split_once("Credential=")).map(|(_, rest)| rest);
    credential.and_then(|rest| rest.split(['/', ',']).next()).unwrap_or_default()
}

fn write(service: Service, status: StatusCode, body: Bytes) -> Answer {
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(service.content_type()));
    if let Ok(request_id) = HeaderValue::try_from(random::uuid()) {
        headers.insert("x-amzn-requestid", request_id);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_the_access_key_id_of_the_credential() {
        let mut headers = HeaderMap::new();
        assert_eq!(identity(&headers), "");
        let value = "AWS4-HMAC-SHA256 Credential=AKIDAPI/20261120/us-east-1/sqs/aws4_request, SignedHeaders=host";
        headers.insert("authorization", HeaderValue::from_static(value));
        assert_eq!(identity(&headers), "AKIDAPI");
    }

    #[test]
    fn target_names_the_service_and_the_operation() {
        assert_eq!(Service::of_target("AmazonSQS.SendMessage"), Some((Service::Sqs, "SendMessage")));
        assert_eq!(Service::of_target("DynamoDB_20120810.GetItem"), Some((Service::DynamoDb, "GetItem")));
        assert_eq!(
            Service::of_target("secretsmanager.GetSecretValue"),
            Some((Service::SecretsManager, "GetSecretValue"))
        );
        assert_eq!(Service::of_target("Kinesis_20131202.PutRecord"), None);
        assert_eq!(Service::of_target("rubbish"), None);
    }
}
