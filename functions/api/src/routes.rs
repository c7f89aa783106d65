//! Every route there is. A row says all of it: method, path, who may, how it is counted, whether a repeated request is answered again, what answers, and what the
//! document says. The router, the guard before each handler, the OpenAPI document and the tests of permissions read the same rows.
//!
//! Handlers for tenants, for the operator and for everybody have states of different types, so a row for everybody whose handler asks for a [`Caller`](crate::auth::Caller)
//! does not compile, and neither does a row for tenants without a permission.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};
use http::Method;
use shared::domain::api_key::Permission::{
    self, DeliveriesRead, DeliveriesWrite, EndpointsRead, EndpointsWrite, EventTypesWrite, EventsRead, EventsWrite,
    SecretsRead, SecretsWrite,
};

use crate::access::{Access, ForRoot, ForTenants, Idempotency, Rule};
use crate::guard::{Guard, guard};
use crate::limits::RateClass::{self, DeliveryQueries, Events, Reads, Writes};
use crate::openapi::Operation;
use crate::openapi::{deliveries as delivery_docs, endpoints as endpoint_docs, events as event_docs, operator as docs};
use crate::{
    Api, api_keys, deliveries, endpoints, event_types, events, insights, openapi, portal_sessions, replays, secrets,
    service_health, tenants, test_calls,
};

use Idempotency::{ByEvent, ByResponse, Natural};

enum Answering {
    Public(MethodRouter<Api>),
    Root(MethodRouter<ForRoot>),
    Tenant(MethodRouter<ForTenants>),
}

/// One row.
pub(crate) struct Route {
    rule: Rule,
    operation: fn() -> Operation,
    answering: Answering,
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// The routes, by path.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<Route> {
    vec![
        public(GET, "/v1/health", service_health::show, docs::health),
        public(GET, "/v1/openapi.json", openapi::show, docs::document),

        root(POST, "/v1/tenants", ByResponse, tenants::create, docs::create_tenant),
        root(GET, "/v1/tenants", Natural, tenants::list, docs::list_tenants),
        root(GET, "/v1/tenants/{tenant}", Natural, tenants::show, docs::show_tenant),
        root(PATCH, "/v1/tenants/{tenant}", Natural, tenants::change, docs::change_tenant),
        root(DELETE, "/v1/tenants/{tenant}", Natural, tenants::delete, docs::delete_tenant),
        root(POST, "/v1/tenants/{tenant}/keys", ByResponse, api_keys::create, docs::create_key),
        root(GET, "/v1/tenants/{tenant}/keys", Natural, api_keys::list, docs::list_keys),
        root(DELETE, "/v1/tenants/{tenant}/keys/{key}", Natural, api_keys::delete, docs::delete_key),
        root(POST, "/v1/tenants/{tenant}/portal-sessions", ByResponse, portal_sessions::create, docs::create_portal_session),

        key(EndpointsRead, GET, "/v1/endpoints", Reads, Natural, endpoints::list, endpoint_docs::list),
        key(EndpointsWrite, POST, "/v1/endpoints", Writes, ByResponse, endpoints::create, endpoint_docs::create),
        key(EndpointsWrite, POST, "/v1/endpoints/test", Writes, ByResponse, test_calls::test_all, endpoint_docs::test_all),
        key(EndpointsRead, GET, "/v1/endpoints/{endpoint}", Reads, Natural, endpoints::show, endpoint_docs::show),
        key(EndpointsWrite, PUT, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::put, endpoint_docs::put),
        key(EndpointsWrite, PATCH, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::change, endpoint_docs::change),
        key(EndpointsWrite, DELETE, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::delete, endpoint_docs::delete),
        key(SecretsRead, GET, "/v1/endpoints/{endpoint}/secret", Reads, Natural, secrets::show, endpoint_docs::show_secret),
        key(SecretsWrite, POST, "/v1/endpoints/{endpoint}/secret/rotate", Writes, ByResponse, secrets::rotate_secret, endpoint_docs::rotate_secret),
        key(SecretsWrite, DELETE, "/v1/endpoints/{endpoint}/secret/previous", Writes, Natural, secrets::end_previous, endpoint_docs::end_previous),
        key(EndpointsWrite, POST, "/v1/endpoints/{endpoint}/test", Writes, ByResponse, test_calls::test_one, endpoint_docs::test_one),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/event-status", DeliveryQueries, Natural, insights::event_status, endpoint_docs::event_status),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/stats", DeliveryQueries, Natural, insights::stats, endpoint_docs::stats),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/deliveries", DeliveryQueries, Natural, deliveries::list, delivery_docs::list_of_endpoint),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/deliveries/{event}", DeliveryQueries, Natural, deliveries::show, delivery_docs::show),
        key(DeliveriesWrite, POST, "/v1/endpoints/{endpoint}/deliveries/{event}/retry", Writes, ByResponse, deliveries::retry_one, delivery_docs::retry_one),
        key(DeliveriesWrite, POST, "/v1/endpoints/{endpoint}/replay", Writes, ByResponse, replays::create, delivery_docs::create_replay),
        key(DeliveriesRead, GET, "/v1/replays/{replay}", Reads, Natural, replays::show, delivery_docs::show_replay),

        key(EventsRead, GET, "/v1/events", Reads, Natural, events::list, event_docs::list),
        key(EventsWrite, POST, "/v1/events", Events, ByEvent, events::create, event_docs::create),
        key(EventsWrite, POST, "/v1/events/batch", Events, ByEvent, events::create_batch, event_docs::create_batch),
        key(EventsRead, GET, "/v1/events/{event}", Reads, Natural, events::show, event_docs::show),
        key(EventsWrite, POST, "/v1/events/{event}/replay", Writes, ByResponse, events::replay, event_docs::replay),

        any_key(GET, "/v1/event-types", Reads, event_types::list, event_docs::list_types),
        any_key(GET, "/v1/event-types/{name}", Reads, event_types::show, event_docs::show_type),
        key(EventTypesWrite, PUT, "/v1/event-types/{name}", Writes, Natural, event_types::put, event_docs::put_type),
        key(EventTypesWrite, DELETE, "/v1/event-types/{name}", Writes, Natural, event_types::delete, event_docs::delete_type),
    ]
}

fn public<H: Handler<T, Api>, T: 'static>(
    method: Method,
    path: &'static str,
    handler: H,
    operation: fn() -> Operation,
) -> Route {
    let answering = Answering::Public(on(filter(&method), handler));
    let rule = Rule { method, path, access: Access::Public, rate_class: None, idempotency: Natural };
    Route { rule, operation, answering }
}

fn root<H: Handler<T, ForRoot>, T: 'static>(
    method: Method,
    path: &'static str,
    idempotency: Idempotency,
    handler: H,
    operation: fn() -> Operation,
) -> Route {
    let answering = Answering::Root(on(filter(&method), handler));
    let rule = Rule { method, path, access: Access::Root, rate_class: None, idempotency };
    Route { rule, operation, answering }
}

fn key<H: Handler<T, ForTenants>, T: 'static>(
    permission: Permission,
    method: Method,
    path: &'static str,
    rate_class: RateClass,
    idempotency: Idempotency,
    handler: H,
    operation: fn() -> Operation,
) -> Route {
    let answering = Answering::Tenant(on(filter(&method), handler));
    let rule = Rule { method, path, access: Access::Key(permission), rate_class: Some(rate_class), idempotency };
    Route { rule, operation, answering }
}

fn any_key<H: Handler<T, ForTenants>, T: 'static>(
    method: Method,
    path: &'static str,
    rate_class: RateClass,
    handler: H,
    operation: fn() -> Operation,
) -> Route {
    let answering = Answering::Tenant(on(filter(&method), handler));
    let rule = Rule { method, path, access: Access::AnyKey, rate_class: Some(rate_class), idempotency: Natural };
    Route { rule, operation, answering }
}

fn filter(method: &Method) -> MethodFilter {
    // Every method above is one that axum knows.
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}

/// All routes, each behind its guard.
pub(crate) fn router(api: &Api) -> Router {
    // Different methods of one path come together here.
    all().into_iter().fold(Router::new(), |router, Route { rule, answering, .. }| {
        let handler = match answering {
            Answering::Public(handler) => handler.with_state(api.clone()),
            Answering::Root(handler) => handler.with_state(ForRoot::new(api)),
            Answering::Tenant(handler) => handler.with_state(ForTenants::new(api)),
        };
        let path = rule.path;
        let guarded = Guard { api: api.clone(), rule };
        router.route(path, handler.route_layer(middleware::from_fn_with_state(guarded, guard)))
    })
}

/// The rows as the document shows them.
pub(crate) fn documented() -> Vec<(Rule, Operation)> {
    all().into_iter().map(|route| (route.rule, (route.operation)())).collect()
}

#[cfg(test)]
mod tests;
