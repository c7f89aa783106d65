//! What is documented is served, and nothing else is.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use shared::aws;
use shared::clock::Clock;
use shared::config::Config;
use shared::services::Services;
use tower::ServiceExt;

use super::all;

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A router whose services lead nowhere: without a key it asks none of them.
async fn router() -> Router {
    let config = Config::read(|name| match name {
        name if name.ends_with("_DAYS") => Some("30".to_owned()),
        name if name.ends_with("_SECONDS") => Some("86400".to_owned()),
        "SIGNING_SECRETS" => Some("Sealed".to_owned()),
        "ALLOW_HTTP" | "METRICS_ENABLED" => Some("false".to_owned()),
        "ALLOWED_RANGES" | "CORS_ORIGINS" => Some(String::new()),
        _ => Some("nothing".to_owned()),
    });
    let aws = aws::from_env().await.unwrap();
    crate::router(Services::new(config.unwrap(), Clock::System, &aws).unwrap())
}

async fn status(router: &Router, method: &Method, path: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(path.replace(['{', '}'], "")).body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn every_documented_operation_is_served_and_no_other_method_is() {
    let router = router().await;
    let paths = crate::document()["paths"].as_object().unwrap();
    let mut documented = 0;
    for (path, operations) in paths {
        for method in METHODS {
            let operation = &operations[method.as_str().to_lowercase()];
            let expected = match operation["security"].as_array().map(Vec::len) {
                None => StatusCode::METHOD_NOT_ALLOWED,
                // These need no key; health would ask services that lead nowhere.
                Some(0) if path == "/v1/health" => continue,
                Some(0) => StatusCode::OK,
                Some(_) => StatusCode::UNAUTHORIZED,
            };
            documented += usize::from(*operation != Value::Null);
            assert_eq!(status(&router, &method, path).await, expected, "{method} {path}");
        }
    }
    assert_eq!(documented + 1, all().len(), "each route is one operation");
    for path in ["/", "/v1", "/v2/health", "/v1/nothing", "/v1/endpoints/", "/v1/openapi.yaml"] {
        assert_eq!(status(&router, &Method::GET, path).await, StatusCode::NOT_FOUND, "{path}");
    }
}
