//! The API: management and ingestion over HTTP, as the contract says. A router that Lambda and the local stack serve alike.
//!
//! Handlers extract, make one call to the pipeline or the store, and map what comes back. Errors are made in [`error`] and nowhere else.

mod auth;
mod body;
mod deliveries;
mod endpoints;
mod error;
mod events;
mod health;
mod query;
mod request_id;
mod respond;
mod tenants;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use shared::services::Services;

use auth::KeyCache;
use error::ApiError;
use health::HealthCache;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
struct Api {
    services: Services,
    keys: KeyCache,
    health: HealthCache,
}

/// The whole API over these services.
pub fn router(services: Services) -> Router {
    let api = Api { services, keys: KeyCache::default(), health: HealthCache::default() };
    Router::new()
        .route("/v1/health", get(health::show))
        .route("/v1/tenants", post(tenants::create))
        .route("/v1/tenants/{tenant}", get(tenants::show))
        .route("/v1/tenants/{tenant}/keys", post(tenants::create_key).get(tenants::list_keys))
        .route("/v1/tenants/{tenant}/keys/{key}", axum::routing::delete(tenants::delete_key))
        .route("/v1/endpoints", get(endpoints::list).post(endpoints::create))
        .route("/v1/endpoints/{endpoint}", get(endpoints::show).patch(endpoints::change).delete(endpoints::delete))
        .route("/v1/endpoints/{endpoint}/secret", get(endpoints::show_secret))
        .route("/v1/endpoints/{endpoint}/deliveries", get(deliveries::list))
        .route("/v1/endpoints/{endpoint}/deliveries/{event}", get(deliveries::show))
        .route("/v1/events", get(events::list).post(events::create))
        .route("/v1/events/{event}", get(events::show))
        .fallback(async || ApiError::NotFound("route"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn(request_id::stamp))
        .with_state(api)
}
