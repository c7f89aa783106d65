//! The one place where errors become HTTP: status, code, message. What went wrong inside is logged here and never shown.

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::aws_error::AwsError;
use shared::domain::api_key::Permission;
use shared::domain::validation::{FieldError, FieldErrors};

/// How long a caller should wait when a dependency is down, in seconds.
const UNAVAILABLE_RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// Something about the input is wrong; every field that is.
    Validation(FieldErrors),
    /// No key, or a wrong one.
    Unauthorized,
    /// The key does not have this permission.
    Forbidden(Permission),
    /// The key is of the wrong kind for this route.
    WrongKind(&'static str),
    /// There is no such thing, or not for this caller.
    NotFound(&'static str),
    /// The route exists, this method on it does not.
    MethodNotAllowed,
    /// The body is not JSON by its own word.
    UnsupportedMediaType,
    /// It would contradict what is there.
    Conflict(&'static str),
    /// The tenant has its maximum.
    LimitExceeded(&'static str),
    /// The body is larger than this many bytes.
    PayloadTooLarge(usize),
    /// The tenant has made its requests for this minute.
    RateLimited {
        /// How many it may make.
        limit: u32,
        /// Seconds until it may make more.
        reset_seconds: i64,
    },
    /// AWS failed us.
    Aws(AwsError),
}

impl ApiError {
    /// An error about one field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Validation(FieldErrors::one(field, message))
    }

    /// The error as one of several in an answer.
    pub(crate) fn part(self) -> ErrorBody {
        if let Self::Aws(error) = &self {
            tracing::error!(%error, "a part of a request failed");
        }
        self.body()
    }

    /// Every code there is.
    pub(crate) const CODES: [&str; 12] = [
        "VALIDATION_ERROR",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_FOUND",
        "METHOD_NOT_ALLOWED",
        "CONFLICT",
        "LIMIT_EXCEEDED",
        "PAYLOAD_TOO_LARGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "RATE_LIMITED",
        "INTERNAL_ERROR",
        "UNAVAILABLE",
    ];

    /// What callers are told.
    pub(crate) fn body(self) -> ErrorBody {
        let (_, code) = self.status_and_code();
        let message = self.message();
        let details = if let Self::Validation(errors) = self { errors.0 } else { Vec::new() };
        ErrorBody { code, message, details }
    }

    pub(crate) fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Validation(_) => (StatusCode::BAD_REQUEST, "VALIDATION_ERROR"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Forbidden(_) | Self::WrongKind(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "CONFLICT"),
            Self::LimitExceeded(_) => (StatusCode::CONFLICT, "LIMIT_EXCEEDED"),
            Self::PayloadTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::Aws(error) if error.retryable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::Aws(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Validation(errors) => {
                let named: Vec<_> = errors.0.iter().filter(|e| !e.field.is_empty()).map(|e| e.field.as_str()).collect();
                match (errors.0.as_slice(), named.as_slice()) {
                    ([only], []) => format!("the body {}", only.message),
                    ([only], _) => format!("{} {}", only.field, only.message),
                    _ => format!("these fields are wrong: {}", named.join(", ")),
                }
            }
            Self::Unauthorized => "a valid API key is required: Authorization: Bearer sk_…".to_owned(),
            Self::Forbidden(permission) => format!("the API key lacks the permission {permission}"),
            Self::WrongKind(needed) => format!("this route needs {needed}"),
            Self::NotFound(what) => format!("there is no such {what}"),
            Self::MethodNotAllowed => "this route does not have this method".to_owned(),
            Self::UnsupportedMediaType => "the body must be sent as content-type: application/json".to_owned(),
            Self::Conflict(why) | Self::LimitExceeded(why) => (*why).to_owned(),
            Self::PayloadTooLarge(bytes_max) => format!("the body must be at most {bytes_max} bytes"),
            Self::RateLimited { limit, .. } => format!("at most {limit} such requests a minute"),
            Self::Aws(error) if error.retryable => {
                "a service that Outhook depends on does not answer; try again".to_owned()
            }
            Self::Aws(_) => "something went wrong inside; the request id finds it in the log".to_owned(),
        }
    }
}

impl From<AwsError> for ApiError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl From<FieldErrors> for ApiError {
    fn from(errors: FieldErrors) -> Self {
        Self::Validation(errors)
    }
}

/// Why a request, or a part of one, was refused.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PartError")]
pub(crate) struct ErrorBody {
    /// For programs.
    #[schemars(extend("enum" = ApiError::CODES))]
    code: &'static str,
    /// For people.
    message: String,
    /// Every field that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<FieldError>,
}

/// Marks a response to a request of which nobody knows whether it was carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsettled;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        if let Self::Aws(error) = &self {
            tracing::error!(%error, code, "request failed");
        }
        let retry_after = match &self {
            Self::RateLimited { reset_seconds, .. } => Some(HeaderValue::from(*reset_seconds)),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(UNAVAILABLE_RETRY_AFTER),
            _ => None,
        };
        let is_unsettled = matches!(self, Self::Aws(_));
        let body = self.body();
        let mut response = status.into_response();
        if is_unsettled {
            response.extensions_mut().insert(Unsettled);
        }
        if let Some(retry_after) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(body);
        response
    }
}
