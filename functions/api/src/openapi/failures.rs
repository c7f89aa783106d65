//! The ways in which requests fail, as the document has them: their codes, statuses and messages come from [`ApiError`] itself.

use http::StatusCode;
use serde_json::{Value, json};
use shared::aws_error::AwsError;
use shared::domain::api_key::Permission;
use shared::domain::event::EVENT_BYTES_MAX;

use super::operation::{Component, header_refs};
use super::shape::{about, any_list, one_of, output, text};
use crate::error::ApiError;

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
fn codes() -> Vec<&'static str> {
    let others = [ApiError::LimitExceeded("")];
    let all = all().into_iter().map(|(_, _, error)| error).chain(others);
    all.map(|error| error.status_and_code().1).collect()
}

/// The status of a response of `components.responses`.
pub(super) fn status_of(name: &str) -> Option<StatusCode> {
    all().into_iter().find(|(candidate, _, _)| *candidate == name).map(|(_, _, error)| error.status_and_code().0)
}

/// `components.responses`.
pub(super) fn responses() -> Value {
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
        let content = json!({ "schema": super::shape::of("Error"), "example": example(error) });
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

/// The schemas of errors.
pub(super) fn components() -> Vec<Component> {
    let detail = output(
        &[],
        [
            ("field", about(text(), "the field's path, `retry.max_attempts`; empty for the body itself")),
            ("message", about(text(), "the rule")),
        ],
    );
    let fields = |with_id: bool| {
        let code = about(one_of(&codes()), "for programs");
        let message = about(text(), "for people");
        let details = about(any_list(detail.clone()), "every field that is wrong");
        let request_id = about(text(), "the request's id, as `x-request-id` has it");
        if with_id {
            output(
                &["details"],
                [("code", code), ("message", message), ("details", details), ("request_id", request_id)],
            )
        } else {
            output(&["details"], [("code", code), ("message", message), ("details", details)])
        }
    };
    let error = ApiError::field("url", "is required");
    vec![
        Component { name: "Error", schema: output(&[], [("error", fields(true))]), example: example(error) },
        Component {
            name: "PartError",
            schema: about(fields(false), "why one of several was refused"),
            example: json!(ApiError::field("type", "is required").body()),
        },
    ]
}
