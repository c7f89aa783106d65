//! The ways in which requests fail, as the document has them: their codes, statuses and messages come from [`ApiError`] itself.

use http::StatusCode;
use serde_json::{Value, json};
use shared::aws_error::AwsError;
use shared::domain::api_key::Permission;
use shared::domain::event::EVENT_BYTES_MAX;

use super::operation::header_refs;
use super::schemas::{Schemas, described};
use crate::error::ApiError;
use crate::request_id::Envelope;

const REQUEST_ID: &str = "req_5f2b1c9e8d7a6b5c4d3e2f10";

/// Each response with an error of its kind.
fn all() -> Vec<(&'static str, &'static str, ApiError)> {
    let aws = |retryable| ApiError::Aws(AwsError { operation: "example", retryable, detail: String::new() });
    vec![
        (
            "BadRequest",
            "Something about the request is wrong; `details` names every field that is.",
            ApiError::field("url", "is required"),
        ),
        ("Unauthorized", "No key, or a wrong one.", ApiError::Unauthorized),
        (
            "Forbidden",
            "The key lacks the permission, or is of the wrong kind for the route.",
            ApiError::Forbidden(Permission::EndpointsWrite),
        ),
        ("NotFound", "There is no such thing, or not for this caller.", ApiError::NotFound("endpoint")),
        (
            "MethodNotAllowed",
            "`test` names the route of test calls, which has no such method.",
            ApiError::MethodNotAllowed,
        ),
        (
            "Conflict",
            "It would contradict what is there (`CONFLICT`), or the tenant has its maximum (`LIMIT_EXCEEDED`).",
            ApiError::Conflict("another endpoint has this uid"),
        ),
        ("PayloadTooLarge", "The body is too large.", ApiError::PayloadTooLarge(EVENT_BYTES_MAX)),
        ("UnsupportedMediaType", "The body is not JSON by its own word.", ApiError::UnsupportedMediaType),
        (
            "RateLimited",
            "The tenant has made its requests for this minute.",
            ApiError::RateLimited { limit: 120, reset_seconds: 17 },
        ),
        ("InternalError", "Something went wrong inside; the request id finds it in the log.", aws(false)),
        ("Unavailable", "A service that Outhook depends on does not answer.", aws(true)),
    ]
}

/// Every error code there is; one status has two.
#[cfg(test)]
pub(super) fn codes() -> std::collections::BTreeSet<&'static str> {
    let all = all().into_iter().map(|(_, _, error)| error).chain([ApiError::LimitExceeded("")]);
    all.map(|error| error.status_and_code().1).collect()
}

/// The status of a response of `components.responses`.
pub(super) fn status_of(name: &str) -> Option<StatusCode> {
    all().into_iter().find(|(candidate, _, _)| *candidate == name).map(|(_, _, error)| error.status_and_code().0)
}

/// `components.responses`.
pub(super) fn responses(schemas: &mut Schemas) -> Value {
    let envelope = schemas.answer(described::<Envelope<'static>>());
    let responses = all().into_iter().map(|(name, description, error)| {
        let (status, _) = error.status_and_code();
        let mut headers = vec!["x-request-id"];
        match status {
            StatusCode::UNAUTHORIZED => headers.push("www-authenticate"),
            StatusCode::TOO_MANY_REQUESTS => {
                headers.extend(["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]);
            }
            StatusCode::SERVICE_UNAVAILABLE => headers.push("retry-after"),
            _ => {}
        }
        let content = json!({ "schema": envelope, "example": example(error) });
        let response = json!({
            "description": description,
            "headers": header_refs(&headers),
            "content": { "application/json": content },
        });
        (name.to_owned(), response)
    });
    Value::Object(responses.collect())
}

fn example(error: ApiError) -> Value {
    let mut body = json!(error.body());
    body["request_id"] = json!(REQUEST_ID);
    json!({ "error": body })
}
