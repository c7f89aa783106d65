//! Request bodies: JSON by their own word, and bounded.

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use shared::domain::event::EVENT_BYTES_MAX;

use crate::error::ApiError;

/// The largest body of any route that takes one object, in bytes: that of an event.
const BODY_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// The bytes of a JSON body, not yet read.
pub(crate) struct JsonBody(pub(crate) Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        if content_type.is_some_and(|value| !is_json(value)) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        bytes.map(|bytes| Self(bytes.into())).map_err(|_| ApiError::PayloadTooLarge(BODY_BYTES_MAX))
    }
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
