//! Every route there is. A row says all of it: method, path, who may, how it is counted, whether a repeated request is answered again, what answers, and what it takes
//! and gives, as types. The router, the guard before each handler, the OpenAPI document and the tests of permissions read the same rows.
//!
//! Handlers for tenants, for the operator and for everybody have states of different types, so a row for everybody whose handler asks for a [`Caller`](crate::auth::Caller)
//! does not compile, and neither does a row for tenants without a permission.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};
use http::{Method, StatusCode};
use serde_json::json;
use shared::domain::api_key::Permission::{
    self, DeliveriesRead, DeliveriesWrite, EndpointsRead, EndpointsWrite, EventTypesWrite, EventsRead, EventsWrite,
    SecretsRead, SecretsWrite,
};
use shared::domain::api_key::{NewKeyInput, PortalSessionInput};
use shared::domain::catalogue::EventTypeInput;
use shared::domain::endpoint_input::{EndpointChanges, NewEndpoint};
use shared::domain::event::NewEvent;
use shared::domain::tenant::{TenantChanges, TenantSettings};

use crate::access::{Access, ForRoot, ForTenants, Idempotency, Rule};
use crate::api_keys::KeyView;
use crate::deliveries::{DeliveryView, RetriedView};
use crate::endpoint_view::EndpointView;
use crate::event_types::EventTypeView;
use crate::events::{AcceptedView, BatchResultView, EventBatch, EventReplay, EventView, ReplayedView};
use crate::guard::{Guard, guard};
use crate::insights::{StatsView, TypeStatusView};
use crate::limits::RateClass::{self, DeliveryQueries, Events, Reads, Writes};
use crate::openapi::{Operation, operation};
use crate::portal_sessions::PortalSessionView;
use crate::replays::{ReplayInput, ReplayView};
use crate::secrets::{RotatedView, Rotation, SecretView};
use crate::service_health::HealthView;
use crate::tenants::TenantView;
use crate::test_calls::{TestCall, TestView, TestedAllView};
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
    operation: Operation,
    answering: Answering,
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;
const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;
const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

/// The routes, by path.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<Route> {
    vec![
        public(GET, "/v1/health", service_health::show,
            operation().answers::<HealthView>(OK)),
        public(GET, "/v1/openapi.json", openapi::show,
            operation().answers_plain(json!({ "type": "object", "required": ["openapi", "info", "paths"] }))),

        root(POST, "/v1/tenants", ByResponse, tenants::create,
            operation().body::<TenantSettings>().answers::<TenantView>(CREATED)),
        root(GET, "/v1/tenants", Natural, tenants::list,
            operation().pages::<TenantView>()),
        root(GET, "/v1/tenants/{tenant}", Natural, tenants::show,
            operation().answers::<TenantView>(OK)),
        root(PATCH, "/v1/tenants/{tenant}", Natural, tenants::change,
            operation().body::<TenantChanges>().answers::<TenantView>(OK)),
        root(DELETE, "/v1/tenants/{tenant}", Natural, tenants::delete,
            operation().answers_nothing()),
        root(POST, "/v1/tenants/{tenant}/keys", ByResponse, api_keys::create,
            operation().body::<NewKeyInput>().answers::<KeyView>(CREATED)),
        root(GET, "/v1/tenants/{tenant}/keys", Natural, api_keys::list,
            operation().pages::<KeyView>()),
        root(DELETE, "/v1/tenants/{tenant}/keys/{key}", Natural, api_keys::delete,
            operation().answers_nothing()),
        root(POST, "/v1/tenants/{tenant}/portal-sessions", ByResponse, portal_sessions::create,
            operation().body::<PortalSessionInput>().answers::<PortalSessionView>(CREATED)),

        key(EndpointsRead, GET, "/v1/endpoints", Reads, Natural, endpoints::list,
            operation().takes(&["endpoint_status", "subscribed_event_type"]).pages::<EndpointView>()),
        key(EndpointsWrite, POST, "/v1/endpoints", Writes, ByResponse, endpoints::create,
            operation().versioned().body::<NewEndpoint>().answers::<EndpointView>(CREATED)),
        key(EndpointsWrite, POST, "/v1/endpoints/test", Writes, ByResponse, test_calls::test_all,
            operation().empty_body().answers::<TestedAllView>(OK)),
        key(EndpointsRead, GET, "/v1/endpoints/{endpoint}", Reads, Natural, endpoints::show,
            operation().versioned().answers::<EndpointView>(OK)),
        key(EndpointsWrite, PUT, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::put,
            operation().versioned().body::<NewEndpoint>().answers::<EndpointView>(CREATED).answers::<EndpointView>(OK).fails(&["Conflict"])),
        key(EndpointsWrite, PATCH, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::change,
            operation().versioned().body::<EndpointChanges>().answers::<EndpointView>(OK)),
        key(EndpointsWrite, DELETE, "/v1/endpoints/{endpoint}", Writes, Natural, endpoints::delete,
            operation().answers_nothing()),
        key(SecretsRead, GET, "/v1/endpoints/{endpoint}/secret", Reads, Natural, secrets::show,
            operation().answers::<SecretView>(OK)),
        key(SecretsWrite, POST, "/v1/endpoints/{endpoint}/secret/rotate", Writes, ByResponse, secrets::rotate_secret,
            operation().optional_body::<Rotation>().answers::<RotatedView>(OK)),
        key(SecretsWrite, DELETE, "/v1/endpoints/{endpoint}/secret/previous", Writes, Natural, secrets::end_previous,
            operation().answers_nothing().fails(&["Conflict"])),
        key(EndpointsWrite, POST, "/v1/endpoints/{endpoint}/test", Writes, ByResponse, test_calls::test_one,
            operation().optional_body::<TestCall>().answers::<TestView>(OK)),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/event-status", DeliveryQueries, Natural, insights::event_status,
            operation().pages::<TypeStatusView>()),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/stats", DeliveryQueries, Natural, insights::stats,
            operation().takes(&["window"]).answers::<StatsView>(OK)),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/deliveries", DeliveryQueries, Natural, deliveries::list,
            operation().takes(&["delivery_status", "event_type", "created_after", "created_before", "include", "sort_by"]).pages::<DeliveryView>()),
        key(DeliveriesRead, GET, "/v1/endpoints/{endpoint}/deliveries/{event}", DeliveryQueries, Natural, deliveries::show,
            operation().answers::<DeliveryView>(OK)),
        key(DeliveriesWrite, POST, "/v1/endpoints/{endpoint}/deliveries/{event}/retry", Writes, ByResponse, deliveries::retry_one,
            operation().empty_body().answers::<RetriedView>(ACCEPTED)),
        key(DeliveriesWrite, POST, "/v1/endpoints/{endpoint}/replay", Writes, ByResponse, replays::create,
            operation().body::<ReplayInput>().answers::<ReplayView>(ACCEPTED)),
        key(DeliveriesRead, GET, "/v1/replays/{replay}", Reads, Natural, replays::show,
            operation().answers::<ReplayView>(OK)),

        key(EventsRead, GET, "/v1/events", Reads, Natural, events::list,
            operation().takes(&["event_type", "created_after", "created_before"]).pages::<EventView>()),
        key(EventsWrite, POST, "/v1/events", Events, ByEvent, events::create,
            operation().body::<NewEvent>().answers::<AcceptedView>(ACCEPTED)),
        key(EventsWrite, POST, "/v1/events/batch", Events, ByEvent, events::create_batch,
            operation().body::<EventBatch>().answers_list::<BatchResultView>(ACCEPTED)),
        key(EventsRead, GET, "/v1/events/{event}", Reads, Natural, events::show,
            operation().takes(&["deliveries_cursor"]).answers::<EventView>(OK)),
        key(EventsWrite, POST, "/v1/events/{event}/replay", Writes, ByResponse, events::replay,
            operation().optional_body::<EventReplay>().answers::<ReplayedView>(ACCEPTED)),

        any_key(GET, "/v1/event-types", Reads, event_types::list,
            operation().pages::<EventTypeView>()),
        any_key(GET, "/v1/event-types/{name}", Reads, event_types::show,
            operation().answers::<EventTypeView>(OK)),
        key(EventTypesWrite, PUT, "/v1/event-types/{name}", Writes, Natural, event_types::put,
            operation().body::<EventTypeInput>().answers::<EventTypeView>(CREATED).answers::<EventTypeView>(OK)),
        key(EventTypesWrite, DELETE, "/v1/event-types/{name}", Writes, Natural, event_types::delete,
            operation().answers_nothing()),
    ]
}

fn public<H: Handler<T, Api>, T: 'static>(
    method: Method,
    path: &'static str,
    handler: H,
    operation: Operation,
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
    operation: Operation,
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
    operation: Operation,
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
    operation: Operation,
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
    all().into_iter().map(|route| (route.rule, route.operation)).collect()
}

#[cfg(test)]
mod tests;
