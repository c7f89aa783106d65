//! The API: management and ingestion over HTTP, as the contract says. A router that Lambda and the local stack serve alike.
//!
//! Handlers extract, make one call to the pipeline or the store, and map what comes back. Errors are made in [`error`] and nowhere else.

mod auth;
mod body;
mod deliveries;
mod endpoint_view;
mod endpoints;
mod error;
mod event_types;
mod events;
mod health;
mod idempotent;
mod insights;
mod limits;
mod query;
mod replays;
mod request_id;
mod respond;
mod secrets;
mod sort;
mod tenants;
mod test_calls;

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post};
use shared::services::Services;

use auth::KeyCache;
use error::ApiError;
use event_types::CatalogueCache;
use health::HealthCache;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
struct Api {
    services: Services,
    keys: KeyCache,
    health: HealthCache,
    catalogue: CatalogueCache,
}

/// The whole API over these services.
pub fn router(services: Services) -> Router {
    let api = Api {
        services,
        keys: KeyCache::default(),
        health: HealthCache::default(),
        catalogue: CatalogueCache::default(),
    };
    Router::new()
        .route("/v1/health", get(health::show))
        .route("/v1/tenants", post(tenants::create).get(tenants::list))
        .route("/v1/tenants/{tenant}", get(tenants::show).patch(tenants::change).delete(tenants::delete))
        .route("/v1/tenants/{tenant}/keys", post(tenants::create_key).get(tenants::list_keys))
        .route("/v1/tenants/{tenant}/keys/{key}", delete(tenants::delete_key))
        .route("/v1/tenants/{tenant}/portal-sessions", post(tenants::create_portal_session))
        .route("/v1/endpoints", get(endpoints::list).post(endpoints::create))
        .route("/v1/endpoints/test", post(test_calls::test_all))
        .route(
            "/v1/endpoints/{endpoint}",
            get(endpoints::show).put(endpoints::put).patch(endpoints::change).delete(endpoints::delete),
        )
        .route("/v1/endpoints/{endpoint}/secret", get(secrets::show))
        .route("/v1/endpoints/{endpoint}/secret/rotate", post(secrets::rotate_secret))
        .route("/v1/endpoints/{endpoint}/secret/previous", delete(secrets::end_previous))
        .route("/v1/endpoints/{endpoint}/test", post(test_calls::test_one))
        .route("/v1/endpoints/{endpoint}/event-status", get(insights::event_status))
        .route("/v1/endpoints/{endpoint}/stats", get(insights::stats))
        .route("/v1/endpoints/{endpoint}/deliveries", get(deliveries::list))
        .route("/v1/endpoints/{endpoint}/deliveries/{event}", get(deliveries::show))
        .route("/v1/endpoints/{endpoint}/deliveries/{event}/retry", post(deliveries::retry_one))
        .route("/v1/endpoints/{endpoint}/replay", post(replays::create))
        .route("/v1/replays/{replay}", get(replays::show))
        .route("/v1/events", get(events::list).post(events::create))
        .route("/v1/events/batch", post(events::create_batch))
        .route("/v1/events/{event}", get(events::show))
        .route("/v1/events/{event}/replay", post(events::replay))
        .route("/v1/event-types", get(event_types::list))
        .route("/v1/event-types/{name}", get(event_types::show).put(event_types::put).delete(event_types::delete))
        .fallback(async || ApiError::NotFound("route"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn(request_id::stamp))
        .with_state(api)
}
