//! Every route there is: what it does, and what the document says of it. The router and the OpenAPI document are both made from this list.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use crate::openapi::Operation;
use crate::openapi::{deliveries as delivery_docs, endpoints as endpoint_docs, events as event_docs, operator as docs};
use crate::{
    Api, deliveries, endpoints, event_types, events, health, insights, openapi, replays, secrets, tenants, test_calls,
};

/// One method of one path.
pub(crate) struct Route {
    /// The method.
    pub(crate) method: Method,
    /// The path, `/v1/endpoints/{endpoint}`.
    pub(crate) path: &'static str,
    /// What answers.
    pub(crate) handler: MethodRouter<Api>,
    /// What the document says.
    pub(crate) operation: fn() -> Operation,
}

/// The routes, by path.
pub(crate) fn all() -> Vec<Route> {
    let health_path = "/v1/health";
    let document = "/v1/openapi.json";
    let tenants_path = "/v1/tenants";
    let tenant = "/v1/tenants/{tenant}";
    let keys = "/v1/tenants/{tenant}/keys";
    let key = "/v1/tenants/{tenant}/keys/{key}";
    let sessions = "/v1/tenants/{tenant}/portal-sessions";
    let endpoints_path = "/v1/endpoints";
    let tests = "/v1/endpoints/test";
    let endpoint = "/v1/endpoints/{endpoint}";
    let secret = "/v1/endpoints/{endpoint}/secret";
    let rotation = "/v1/endpoints/{endpoint}/secret/rotate";
    let previous = "/v1/endpoints/{endpoint}/secret/previous";
    let test = "/v1/endpoints/{endpoint}/test";
    let event_status = "/v1/endpoints/{endpoint}/event-status";
    let stats = "/v1/endpoints/{endpoint}/stats";
    let log = "/v1/endpoints/{endpoint}/deliveries";
    let delivery = "/v1/endpoints/{endpoint}/deliveries/{event}";
    let retry = "/v1/endpoints/{endpoint}/deliveries/{event}/retry";
    let bulk_replay = "/v1/endpoints/{endpoint}/replay";
    let replay = "/v1/replays/{replay}";
    let events_path = "/v1/events";
    let batch = "/v1/events/batch";
    let event = "/v1/events/{event}";
    let event_replay = "/v1/events/{event}/replay";
    let types = "/v1/event-types";
    let event_type = "/v1/event-types/{name}";
    vec![
        route(Method::GET, health_path, health::show, docs::health),
        route(Method::GET, document, openapi::show, docs::document),
        route(Method::POST, tenants_path, tenants::create, docs::create_tenant),
        route(Method::GET, tenants_path, tenants::list, docs::list_tenants),
        route(Method::GET, tenant, tenants::show, docs::show_tenant),
        route(Method::PATCH, tenant, tenants::change, docs::change_tenant),
        route(Method::DELETE, tenant, tenants::delete, docs::delete_tenant),
        route(Method::POST, keys, tenants::create_key, docs::create_key),
        route(Method::GET, keys, tenants::list_keys, docs::list_keys),
        route(Method::DELETE, key, tenants::delete_key, docs::delete_key),
        route(Method::POST, sessions, tenants::create_portal_session, docs::create_portal_session),
        route(Method::GET, endpoints_path, endpoints::list, endpoint_docs::list),
        route(Method::POST, endpoints_path, endpoints::create, endpoint_docs::create),
        route(Method::POST, tests, test_calls::test_all, endpoint_docs::test_all),
        route(Method::GET, endpoint, endpoints::show, endpoint_docs::show),
        route(Method::PUT, endpoint, endpoints::put, endpoint_docs::put),
        route(Method::PATCH, endpoint, endpoints::change, endpoint_docs::change),
        route(Method::DELETE, endpoint, endpoints::delete, endpoint_docs::delete),
        route(Method::GET, secret, secrets::show, endpoint_docs::show_secret),
        route(Method::POST, rotation, secrets::rotate_secret, endpoint_docs::rotate_secret),
        route(Method::DELETE, previous, secrets::end_previous, endpoint_docs::end_previous),
        route(Method::POST, test, test_calls::test_one, endpoint_docs::test_one),
        route(Method::GET, event_status, insights::event_status, endpoint_docs::event_status),
        route(Method::GET, stats, insights::stats, endpoint_docs::stats),
        route(Method::GET, log, deliveries::list, delivery_docs::list_of_endpoint),
        route(Method::GET, delivery, deliveries::show, delivery_docs::show),
        route(Method::POST, retry, deliveries::retry_one, delivery_docs::retry_one),
        route(Method::POST, bulk_replay, replays::create, delivery_docs::create_replay),
        route(Method::GET, replay, replays::show, delivery_docs::show_replay),
        route(Method::GET, events_path, events::list, event_docs::list),
        route(Method::POST, events_path, events::create, event_docs::create),
        route(Method::POST, batch, events::create_batch, event_docs::create_batch),
        route(Method::GET, event, events::show, event_docs::show),
        route(Method::POST, event_replay, events::replay, event_docs::replay),
        route(Method::GET, types, event_types::list, event_docs::list_types),
        route(Method::GET, event_type, event_types::show, event_docs::show_type),
        route(Method::PUT, event_type, event_types::put, event_docs::put_type),
        route(Method::DELETE, event_type, event_types::delete, event_docs::delete_type),
    ]
}

fn route<H: Handler<T, Api>, T: 'static>(
    method: Method,
    path: &'static str,
    handler: H,
    operation: fn() -> Operation,
) -> Route {
    // Every method above is one that axum knows.
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route { method, path, handler: on(filter, handler), operation }
}

#[cfg(test)]
mod tests;
