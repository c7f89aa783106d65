//! The API's description in OpenAPI 3.1, made from the route table and from the types, constants and enums that the code itself goes by.
//!
//! Each route carries its operation, so that nothing is served that is not described, and nothing described that is not served. Schemas are derived from the
//! types that the handlers read and write; the integration tests hold every answer against them.

mod failures;
mod operation;
mod parameters;
mod schemas;
mod webhooks;
mod words;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use crate::Api;
use crate::access::Rule;
pub(crate) use operation::{Operation, operation};
use schemas::Schemas;

/// `GET /v1/openapi.json`.
pub(crate) async fn show(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], (api.document_text)()).into_response()
}

/// The description of these routes.
pub(crate) fn build(routes: Vec<(Rule, Operation)>) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for (rule, operation) in routes {
        let path = paths.entry(rule.path).or_insert_with(|| json!({}));
        path[rule.method.as_str().to_ascii_lowercase()] = operation.object(&rule, &mut schemas);
    }
    let webhooks = webhooks::webhooks(&mut schemas);
    let responses = failures::responses(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Outhook",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Sends webhooks for a multi-tenant service.",
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "Endpoints", "description": "Receivers' URLs, their secrets, test calls and how they are doing." },
            { "name": "Events", "description": "What happened; each is sent once and fans out to endpoints." },
            { "name": "Event types", "description": "The catalogue, with optional schemas that data must satisfy." },
            { "name": "Deliveries", "description": "Each event on its way to each endpoint, with every attempt." },
            { "name": "Operator", "description": "Tenants and their keys, with the root key." },
            { "name": "Service", "description": "Routes that need no key." },
        ],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": security_schemes(),
            "schemas": schemas.finish(),
            "parameters": parameters::parameters(),
            "headers": parameters::headers(),
            "responses": responses,
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "sk_live_… or sk_test_…",
            "description": "a tenant's API key; it opens the tenant's live or test environment",
        },
        "keyAsPassword": { "type": "http", "scheme": "basic", "description": "the same key as password, with any user name" },
        "rootKey": { "type": "http", "scheme": "bearer", "description": "the operator's key" },
    })
}

const DESCRIPTION: &str = "Success is `{\"data\": …}`, a list `{\"data\": […], \"has_more\", \"next_cursor\"}`, failure `{\"error\": {\"code\", \
\"message\", \"details\"?, \"request_id\"}}`. Ids are a prefix and a ULID. Times are RFC 3339 in UTC with milliseconds. Unknown fields and parameters \
are refused. After a change or a delete an endpoint may still be used for a few seconds.";

#[cfg(test)]
mod tests;
