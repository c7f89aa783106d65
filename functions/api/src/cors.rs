//! Calls from pages in a browser: which origins may make them (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>). Usually none: keys belong into backends.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::limits;

/// For how long a browser remembers what is allowed, in seconds; browsers cut it to their own limits.
const MAX_AGE_SECONDS: u64 = 3_600;

/// What lets pages of these origins call the API; `None` where there are none. Cookies are never sent along.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origin = match origins {
        [] => return None,
        [all] if all == "*" => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IF_MATCH, HeaderName::from_static("idempotency-key")])
        .expose_headers([
            RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
            limits::LIMIT,
            limits::REMAINING,
            limits::RESET,
        ])
        .max_age(Duration::from_secs(MAX_AGE_SECONDS));
    Some(layer)
}
