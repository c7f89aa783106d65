//! Parameters and headers, by the names under which operations take them.

use serde_json::{Map, Value, json};
use shared::domain::delivery::DeliveryStatus;
use shared::domain::endpoint::EndpointStatus;
use shared::domain::endpoint_input::UID_CHARACTERS_MAX;
use shared::domain::event::IDEMPOTENCY_KEY_CHARACTERS_MAX;
use shared::domain::id::{EventId, KeyId, ReplayId, TenantId};
use shared::store::page::{PAGE_DEFAULT, PAGE_MAX};

use super::schemas::plain;
use crate::insights::{WINDOW_HOURS_DEFAULT, WINDOW_HOURS_MAX};
use crate::query::VALUES_MAX;
use schemars::{JsonSchema, SchemaGenerator};
use shared::domain::event_type::EventType;
use shared::domain::schema::{TimeInput, Uid};

/// `components.parameters`.
pub(super) fn parameters() -> Value {
    let endpoint = json!({
        "type": "string", "minLength": 1, "maxLength": UID_CHARACTERS_MAX, "pattern": "^[A-Za-z0-9_.:-]+$",
        "not": { "const": "test" },
    });
    let window = json!({ "type": "string", "pattern": "^[0-9]+h$", "default": format!("{WINDOW_HOURS_DEFAULT}h") });
    let window_about = format!("how far back: 1h to {WINDOW_HOURS_MAX}h");
    let field = "(created_at|status|event_type)";
    let sort = json!({
        "type": "string", "pattern": format!("^[+-]?{field}(,[+-]?{field})*$"), "default": "-created_at",
    });
    let key = json!({
        "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARACTERS_MAX,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    });
    let version = json!({ "type": "string", "pattern": "^(\\*|[0-9]+|\"[0-9]+\")$" });
    let statuses = json!({ "type": "array", "items": of::<DeliveryStatus>(), "maxItems": VALUES_MAX });
    let types = json!({ "type": "array", "items": of::<EventType>(), "maxItems": VALUES_MAX });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT });
    let cursor = json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" });
    let all = [
        ("endpoint", at("path", "endpoint", endpoint, "an endpoint's id or uid")),
        ("uid", at("path", "endpoint", of::<Uid>(), "the caller's own key of the endpoint")),
        ("event", at("path", "event", of::<EventId>(), "an event's id")),
        ("replay", at("path", "replay", of::<ReplayId>(), "a replay's id")),
        ("tenant", at("path", "tenant", of::<TenantId>(), "a tenant's id")),
        ("key", at("path", "key", of::<KeyId>(), "an API key's id")),
        ("name", at("path", "name", of::<EventType>(), "an event type")),
        ("limit", at("query", "limit", limit, "how many at the most")),
        (
            "deliveries_cursor",
            at("query", "deliveries_cursor", cursor.clone(), "the `deliveries_next_cursor` of an earlier answer"),
        ),
        ("cursor", at("query", "cursor", cursor, "the `next_cursor` of an earlier page of the same list")),
        ("endpoint_status", at("query", "status", of::<EndpointStatus>(), "only those in this state")),
        (
            "subscribed_event_type",
            at("query", "event_type", of::<EventType>(), "only those whose subscription matches this type"),
        ),
        ("delivery_status", at("query", "status", statuses, "only those in this state; may stand several times")),
        ("event_type", at("query", "event_type", types, "only those of this type; may stand several times")),
        ("created_after", at("query", "created_after", of::<TimeInput>(), "from this time on")),
        ("created_before", at("query", "created_before", of::<TimeInput>(), "up to this time, which does not count")),
        ("include", at("query", "include", json!({ "type": "string", "const": "payload" }), "adds what was sent")),
        (
            "sort_by",
            at(
                "query",
                "sort_by",
                sort,
                "a comma list of fields, each once, with `-` for descending; other than by `created_at` only \
                                          where few enough deliveries match",
            ),
        ),
        ("window", at("query", "window", window, &window_about)),
        (
            "Idempotency-Key",
            at(
                "header",
                "Idempotency-Key",
                key,
                "the same key and body within 24 hours gives the first answer again and does nothing twice",
            ),
        ),
        (
            "If-Match",
            at(
                "header",
                "If-Match",
                version,
                "the version that is meant, as `ETag` has it; 409 when it has been changed since",
            ),
        ),
    ];
    named(all)
}

/// `components.headers`.
pub(super) fn headers() -> Value {
    let number = |description: &str| header(json!({ "type": "integer", "minimum": 0 }), description, false);
    named([
        ("x-request-id", header(json!({ "type": "string" }), "the request's id; the logs carry it too", true)),
        (
            "etag",
            header(
                json!({ "type": "string" }),
                "the version, for `If-Match`; not where an answer is given again",
                false,
            ),
        ),
        ("retry-after", header(json!({ "type": "integer", "minimum": 0 }), "seconds to wait", true)),
        ("www-authenticate", header(json!({ "type": "string" }), "how to present a key", true)),
        ("ratelimit-limit", number("requests a minute of this class; only where they are limited")),
        ("ratelimit-remaining", number("how many are left in this minute")),
        ("ratelimit-reset", number("seconds until there are more")),
    ])
}

fn of<T: JsonSchema>() -> Value {
    let mut schema = T::json_schema(&mut SchemaGenerator::default());
    plain(&mut schema);
    schema.to_value()
}

fn named<const N: usize>(all: [(&str, Value); N]) -> Value {
    Value::Object(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn at(place: &str, name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema, "description": description })
}

fn header(schema: Value, description: &str, required: bool) -> Value {
    json!({ "schema": schema, "description": description, "required": required })
}

/// What receivers get in the headers of a webhook.
pub(super) fn webhook_headers() -> Value {
    let text = |name: &str, description: &str| at("header", name, json!({ "type": "string" }), description);
    let required = |mut parameter: Value| {
        parameter["required"] = json!(true);
        parameter
    };
    json!([
        required(text("webhook-id", "the event's id; the same at every attempt, so that what comes twice can be told")),
        required(text("webhook-timestamp", "when this attempt was made, in seconds since 1970")),
        text(
            "webhook-signature",
            "`v1,` and the base64 HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`, several separated by a space; other headers where the \
             endpoint's `signature` says so",
        ),
    ])
}
