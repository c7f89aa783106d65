//! The API: management and ingestion over HTTP, as the contract says. A router that Lambda and the local stack serve alike.
//!
//! [`routes`] lists what there is. Handlers extract, make one call to the pipeline or the store, and map what comes back. Errors are made in [`error`] and nowhere else.

mod auth;
mod body;
mod cors;
mod deliveries;
mod endpoint_health;
mod endpoint_view;
mod endpoints;
mod error;
mod event_types;
mod events;
mod health;
mod idempotent;
mod insights;
mod limits;
pub mod openapi;
mod query;
mod replays;
mod request_id;
mod respond;
mod routes;
mod secrets;
mod sort;
mod tenants;
mod test_calls;

use axum::Router;
use axum::middleware;
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
    let cors = cors::layer(&services.config.cors_origins);
    let api = Api {
        services,
        keys: KeyCache::default(),
        health: HealthCache::default(),
        catalogue: CatalogueCache::default(),
    };
    // Different methods of one path come together here.
    let routes = routes::all().into_iter();
    let router = routes
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(async || ApiError::NotFound("route"))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn(request_id::stamp))
        .with_state(api);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}
