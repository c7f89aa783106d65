//! The API: management and ingestion over HTTP, as the contract says. A router that Lambda and the local stack serve alike.
//!
//! [`routes`] lists what there is, and [`guard`] holds requests against it. Handlers extract, make one call to the pipeline or the store, and map what comes back. Errors are made in [`error`] and nowhere else.

mod access;
mod api_keys;
mod auth;
mod body;
mod cors;
mod cursor;
mod deliveries;
mod endpoint_health;
mod endpoint_view;
mod endpoints;
mod error;
mod event_types;
mod events;
mod guard;
mod idempotent;
mod insights;
mod limits;
mod openapi;
mod portal_sessions;
mod query;
mod replays;
mod request_id;
mod respond;
mod routes;
mod secrets;
mod service_health;
mod sort;
mod tenants;
mod test_calls;

use std::sync::OnceLock;

use axum::Router;
use axum::middleware;
use serde_json::Value;
use shared::cache::Cache;
use shared::services::Services;

use auth::KeyCache;
use error::ApiError;
use event_types::CatalogueCache;
use service_health::HealthCache;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
struct Api {
    services: Services,
    keys: KeyCache,
    health: HealthCache,
    catalogue: CatalogueCache,
    /// The description of the API, made when it is asked for.
    document_text: fn() -> &'static str,
}

/// The description of the API in OpenAPI 3.1, the same that `GET /v1/openapi.json` answers.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| openapi::build(routes::documented()))
}

fn document_text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

/// The whole API over these services.
pub fn router(services: Services) -> Router {
    let cors = cors::layer(&services.config.cors_origins);
    let api = Api {
        services,
        keys: auth::key_cache(),
        health: Cache::new(1),
        catalogue: event_types::catalogue_cache(),
        document_text,
    };
    let router = routes::router(&api)
        .fallback(async || ApiError::NotFound("route"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn(request_id::stamp));
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}
