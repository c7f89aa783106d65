//! The operator's routes, and those that need no key.

use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::api_key::{
    KEYS_PER_TENANT_MAX, PORTAL_PERMISSIONS, PORTAL_SECONDS_DEFAULT, PORTAL_SECONDS_MAX, PORTAL_SECONDS_MIN, Permission,
};
use shared::domain::id::{KeyId, TenantId};
use shared::domain::tenant::{
    ENDPOINTS_DEFAULT, ENDPOINTS_MAX, Mode, NAME_CHARACTERS_MAX, RATE_LIMIT_MAX, RateLimits, SecretVisibility,
};

use super::operation::{Component, Operation};
use super::shape::{
    about, any_list, id, input, integer, nullable, of, one_of, output, printable, text, time, time_input, with,
};

const TAG: &str = "Operator";
const SERVICE_TAG: &str = "Service";
const TENANT_ID: &str = "ten_01J1C6Y3E5H7K9M1P3R5T7V9XB";
const MODES: [Mode; 2] = [Mode::Live, Mode::Test];
const VISIBILITIES: [SecretVisibility; 2] = [SecretVisibility::Readable, SecretVisibility::Once];

pub(crate) fn health() -> Operation {
    let about = "200 also when a dependency does not answer; `status` says so. The answer may be a few seconds old.";
    Operation::new("getHealth", SERVICE_TAG, "Whether Outhook and its dependencies answer", about).answers(
        StatusCode::OK,
        "Health",
        "How it is.",
    )
}

pub(crate) fn document() -> Operation {
    Operation::new("getOpenApi", SERVICE_TAG, "This document", "Not wrapped in `data`.")
        .answers_plain(json!({ "type": "object", "required": ["openapi", "info", "paths"] }), "OpenAPI 3.1.")
}

pub(crate) fn create_tenant() -> Operation {
    Operation::new("createTenant", TAG, "Create a tenant", "").body("NewTenant").answers(
        StatusCode::CREATED,
        "Tenant",
        "The tenant.",
    )
}

pub(crate) fn list_tenants() -> Operation {
    Operation::new("listTenants", TAG, "List tenants", "").pages("Tenant", "A page of tenants.")
}

pub(crate) fn show_tenant() -> Operation {
    Operation::new("getTenant", TAG, "Read a tenant", "").answers(StatusCode::OK, "Tenant", "The tenant.")
}

pub(crate) fn change_tenant() -> Operation {
    let about = "Changes the fields given; `null` sets one back to its default.";
    Operation::new("changeTenant", TAG, "Change a tenant", about).body("TenantChanges").answers(
        StatusCode::OK,
        "Tenant",
        "The tenant as it is now.",
    )
}

pub(crate) fn delete_tenant() -> Operation {
    let about = "Its keys stop working within seconds; all that belongs to it is cleaned up in the background.";
    Operation::new("deleteTenant", TAG, "Delete a tenant", about).answers_nothing("It is being cleaned up.")
}

pub(crate) fn create_key() -> Operation {
    let about =
        format!("The key is shown in this answer and never again. A tenant has at most {KEYS_PER_TENANT_MAX} keys.");
    Operation::new("createKey", TAG, "Create an API key", "").described(about).body("NewKey").answers_like(
        StatusCode::CREATED,
        "Key",
        with(key_example(), "key", "sk_live_01J1C6Y3E5H7K9M1P3R5T7V9XB_3f1c0a9be2d84756a1b2c3d4e5f60718293a4b5c"),
        "The key.",
    )
}

pub(crate) fn list_keys() -> Operation {
    Operation::new("listKeys", TAG, "List the API keys of a tenant", "Oldest first.")
        .pages("Key", "What is known of each key; the key itself is not.")
}

pub(crate) fn delete_key() -> Operation {
    Operation::new("deleteKey", TAG, "Revoke an API key", "It stops working within seconds.")
        .answers_nothing("There is no such key any more.")
}

pub(crate) fn create_portal_session() -> Operation {
    let about = "A link to the console for the tenant's own people. Its token is a key with fewer permissions that expires soon.";
    Operation::new("createPortalSession", TAG, "Open the console for a tenant", about).body("NewPortalSession").answers(
        StatusCode::CREATED,
        "PortalSession",
        "The link, shown once.",
    )
}

pub(super) fn components() -> Vec<Component> {
    let example = |name, schema, example| Component { name, schema, example };
    let word = |words: &[&str]| one_of(words);
    let dependencies = ["dynamodb", "sqs", "secrets_manager"].map(|name| (name, word(&["ok", "unavailable"])));
    vec![
        example(
            "Health",
            output(
                &[],
                [
                    ("status", word(&["ok", "degraded"])),
                    ("version", text()),
                    ("dependencies", output(&[], dependencies)),
                ],
            ),
            json!({
                "status": "ok",
                "version": env!("CARGO_PKG_VERSION"),
                "dependencies": { "dynamodb": "ok", "sqs": "ok", "secrets_manager": "ok" },
            }),
        ),
        example(
            "NewTenant",
            with(tenant_input(), "required", json!(["name"])),
            json!({ "name": "Acme", "max_endpoints": 20 }),
        ),
        example(
            "TenantChanges",
            tenant_input(),
            json!({ "secret_visibility": "once", "rate_limits": { "reads": 60 } }),
        ),
        example("Tenant", tenant(), tenant_example()),
        example("RateLimits", rate_limits(), json!(RateLimits::default())),
        example("NewKey", new_key(), json!({ "mode": "live", "name": "backend", "permissions": ["events:write"] })),
        example("Key", key(), key_example()),
        example("NewPortalSession", new_portal_session(), json!({ "mode": "live", "expires_in_seconds": 900 })),
        example(
            "PortalSession",
            output(
                &["url", "token"],
                [
                    ("url", about(text(), "the link; left out where an answer is given again")),
                    ("token", about(text(), "the key in the link; left out where an answer is given again")),
                    ("expires_at", nullable(time())),
                ],
            ),
            json!({
                "url": "https://webhooks.example.com/console#sk_live_01J1C6Y3E5H7K9M1P3R5T7V9XB_3f1c0a9be2d84756a1b2c3d4e5f60718293a4b5c",
                "token": "sk_live_01J1C6Y3E5H7K9M1P3R5T7V9XB_3f1c0a9be2d84756a1b2c3d4e5f60718293a4b5c",
                "expires_at": "2026-11-21T09:45:00.000Z",
            }),
        ),
    ]
}

fn tenant_input() -> Value {
    let limit = || nullable(about(integer(0, RATE_LIMIT_MAX), "requests a minute; 0 means any number"));
    let endpoints = with(integer(1, ENDPOINTS_MAX), "default", ENDPOINTS_DEFAULT);
    let visibility = with(one_of(&VISIBILITIES), "default", json!(SecretVisibility::default()));
    let limits =
        input(&[], [("reads", limit()), ("writes", limit()), ("delivery_queries", limit()), ("events", limit())]);
    input(
        &[],
        [
            ("name", printable(NAME_CHARACTERS_MAX)),
            ("max_endpoints", nullable(about(endpoints, "in each mode"))),
            ("secret_visibility", nullable(about(visibility, "whether signing secrets can be read again"))),
            ("rate_limits", nullable(about(limits, "null means the defaults"))),
        ],
    )
}

fn rate_limits() -> Value {
    let limit = || integer(0, RATE_LIMIT_MAX);
    let schema =
        output(&[], [("reads", limit()), ("writes", limit()), ("delivery_queries", limit()), ("events", limit())]);
    about(schema, "requests a minute, by class; 0 means any number")
}

fn tenant() -> Value {
    output(
        &[],
        [
            ("id", id(TenantId::PREFIX)),
            ("name", text()),
            ("max_endpoints", integer(1, ENDPOINTS_MAX)),
            ("secret_visibility", one_of(&VISIBILITIES)),
            ("rate_limits", of("RateLimits")),
            ("created_at", time()),
        ],
    )
}

fn tenant_example() -> Value {
    json!({
        "id": TENANT_ID,
        "name": "Acme",
        "max_endpoints": 20,
        "secret_visibility": "readable",
        "rate_limits": RateLimits::default(),
        "created_at": "2026-11-21T09:30:00.000Z",
    })
}

fn permissions(allowed: &[Permission]) -> Value {
    json!({ "type": "array", "items": one_of(allowed), "minItems": 1 })
}

fn new_key() -> Value {
    input(
        &["mode"],
        [
            ("mode", one_of(&MODES)),
            ("permissions", nullable(about(permissions(Permission::ALL), "by default all"))),
            ("name", nullable(about(printable(NAME_CHARACTERS_MAX), "what it is for"))),
            ("expires_at", nullable(about(time_input(), "from when on it is refused; in the future"))),
        ],
    )
}

fn key() -> Value {
    output(
        &["key"],
        [
            ("id", id(KeyId::PREFIX)),
            ("tenant_id", id(TenantId::PREFIX)),
            ("mode", one_of(&MODES)),
            ("name", text()),
            ("permissions", any_list(one_of(Permission::ALL))),
            ("created_at", time()),
            ("expires_at", nullable(time())),
            (
                "key",
                about(text(), "the key itself; only in the answer that makes it, the first time that answer is given"),
            ),
        ],
    )
}

fn key_example() -> Value {
    json!({
        "id": "key_01J1C6YZ2V9M4Q8K7T5R3W1N0B",
        "tenant_id": TENANT_ID,
        "mode": "live",
        "name": "backend",
        "permissions": ["events:write"],
        "created_at": "2026-11-21T09:30:00.000Z",
        "expires_at": null,
    })
}

fn new_portal_session() -> Value {
    let seconds = with(integer(PORTAL_SECONDS_MIN, PORTAL_SECONDS_MAX), "default", PORTAL_SECONDS_DEFAULT);
    input(
        &["mode"],
        [
            ("mode", one_of(&MODES)),
            ("permissions", nullable(about(permissions(PORTAL_PERMISSIONS), "by default all of these"))),
            ("expires_in_seconds", nullable(seconds)),
        ],
    )
}
