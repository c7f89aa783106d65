//! Request bodies: JSON by their own word, and bounded.

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use shared::domain::event::EVENT_BYTES_MAX;

use crate::error::ApiError;

/// The largest body of any route that takes one object, in bytes: that of an event.
pub(crate) const BODY_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// The largest body of a route that takes many, in bytes. Lambda hands over 6,291,456 bytes at the most, of which the body takes more than its own length,
/// because it is a text inside JSON: this leaves room for one escaped character in two.
const BATCH_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The bytes of a JSON body, not yet read.
pub(crate) struct JsonBody(pub(crate) Vec<u8>);

/// The bytes of a JSON body that holds many things.
pub(crate) struct BatchBody(pub(crate) Vec<u8>);

/// The bytes of a JSON body that may be left out: `{}` then.
pub(crate) struct OptionalBody(pub(crate) Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request, BODY_BYTES_MAX).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for BatchBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request, BATCH_BYTES_MAX).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read(request, BODY_BYTES_MAX).await?;
        Ok(Self(if body.is_empty() { b"{}".to_vec() } else { body }))
    }
}

async fn read(request: Request, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if content_type.is_some_and(|value| !is_json(value)) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let bytes = axum::body::to_bytes(request.into_body(), bytes_max).await;
    bytes.map(Vec::from).map_err(|_| ApiError::PayloadTooLarge(bytes_max))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_known_by_its_media_type() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/cloudevents+json"));
        assert!(!is_json("text/plain"));
        assert!(!is_json("application/x-www-form-urlencoded"));
        assert!(!is_json(""));
    }
}
