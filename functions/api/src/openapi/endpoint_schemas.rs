//! The shapes of an endpoint: as callers send it, change it, and see it.

use serde_json::{Value, json};
use shared::domain::address::URL_CHARACTERS_MAX;
use shared::domain::endpoint::{EndpointStatus, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX};
use shared::domain::endpoint_input::{
    CHANNELS_MAX, CREDENTIAL_BYTES_MAX, DESCRIPTION_CHARACTERS_MAX, EVENT_TYPES_MAX, UID_CHARACTERS_MAX,
};
use shared::domain::headers::{
    HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, RESERVED_HEADER_BEGINNINGS, RESERVED_HEADERS,
};
use shared::domain::health::HealthState;
use shared::domain::id::{EndpointId, KeyId};
use shared::domain::payload::{PAYLOAD_FIELD_CHARACTERS_MAX, PAYLOAD_FIELDS_MAX};
use shared::domain::retry::{ATTEMPTS_DEFAULT, ATTEMPTS_MAX, SCHEDULE_SECONDS_DEFAULT, WAIT_SECONDS_MAX};
use shared::domain::signature::{Encoding, HMAC_HEADER_DEFAULT, HMAC_PLACEHOLDERS, PLACEHOLDERS, TEMPLATE_BYTES_MAX};
use shared::domain::signing_secret::{
    KEY_BYTES_MAX, KEY_BYTES_MIN, RAW_SECRET_CHARACTERS_MAX, RAW_SECRET_CHARACTERS_MIN,
};
use shared::domain::tenant::NAME_CHARACTERS_MAX;

use super::operation::Component;
use super::shape::{
    about, any_list, boolean, count, event_type_pattern, id, input, integer, list_of, nullable, of, one_of, output,
    printable, text, time, with, word,
};
use crate::endpoint_health::COUNTED_MAX;

/// Visible ASCII with spaces and tabs inside.
const HEADER_VALUE: &str = "^([!-~]([\\t -~]*[!-~])?)?$";

pub(super) fn components() -> Vec<Component> {
    let example = |name, schema, example| Component { name, schema, example };
    vec![
        example("NewEndpoint", new_endpoint(), input_example()),
        example("EndpointChanges", endpoint_changes(), json!({ "status": "paused", "timeout_seconds": null })),
        example("Endpoint", endpoint(), endpoint_example()),
        example(
            "AuthorizationInput",
            authorization_input(),
            json!({ "type": "basic", "username": "webhook_user", "password": "correct horse" }),
        ),
        example("SignatureInput", signature_input(), json!({ "scheme": "standard" })),
        example("RetryInput", retry_input(), json!({ "max_attempts": 3, "schedule_seconds": [10, 60] })),
        example("PayloadField", payload_field(), json!({ "key": "who", "path": "user.name", "hint": "the name" })),
    ]
}

/// The caller's own key of an endpoint.
pub(super) fn uid() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": UID_CHARACTERS_MAX,
        "pattern": "^[A-Za-z0-9_.:-]+$",
        "not": { "type": "string", "pattern": format!("^({}.*|test)$", EndpointId::PREFIX) },
    })
}

/// A signing secret of the caller's own.
pub(super) fn secret_input() -> Value {
    let description = format!(
        "an own signing secret: `whsec_` and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, `whsk_` and the base64 of an Ed25519 key pair, or {RAW_SECRET_CHARACTERS_MIN} to \
         {RAW_SECRET_CHARACTERS_MAX} printable characters that are the key themselves"
    );
    let pattern = "^[!-~]+$";
    json!({
        "type": "string",
        "minLength": RAW_SECRET_CHARACTERS_MIN,
        "maxLength": RAW_SECRET_CHARACTERS_MAX,
        "pattern": pattern,
        "description": description,
    })
}

fn url_input() -> Value {
    json!({
        "type": "string",
        "maxLength": URL_CHARACTERS_MAX,
        // What every URL that is accepted has; the whole rule is the URL standard's.
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?:[^\\s#]+$",
        "description": "`https` (plain `http` only where the stack allows it); no credentials, no fragment; not an internal name or address",
    })
}

fn new_endpoint() -> Value {
    let mut schema = endpoint_changes();
    schema["required"] = json!(["url"]);
    schema["properties"]["secret"] = nullable(secret_input());
    schema
}

fn endpoint_changes() -> Value {
    let description = about(printable(DESCRIPTION_CHARACTERS_MAX), "what it is for");
    let event_types = about(list_of(event_type_pattern(), 0, EVENT_TYPES_MAX), "what it subscribes to; `[]` means all");
    let channels = about(list_of(printable(NAME_CHARACTERS_MAX), 0, CHANNELS_MAX), "`[]` means all");
    let status = one_of(&[EndpointStatus::Active, EndpointStatus::Paused]);
    let timeout = with(integer(1, TIMEOUT_SECONDS_MAX), "default", TIMEOUT_SECONDS_DEFAULT);
    input(
        &[],
        [
            ("uid", nullable(about(uid(), "the caller's own key, unique in the tenant and mode"))),
            ("url", url_input()),
            ("name", nullable(about(printable(NAME_CHARACTERS_MAX), "what people call it"))),
            ("description", nullable(description)),
            ("event_types", nullable(event_types)),
            ("channels", nullable(channels)),
            ("status", nullable(status)),
            ("authorization", nullable(of("AuthorizationInput"))),
            ("headers", nullable(headers_input())),
            ("signature", nullable(of("SignatureInput"))),
            (
                "payload_fields",
                nullable(about(
                    list_of(of("PayloadField"), 0, PAYLOAD_FIELDS_MAX),
                    "`[]` sends the standard body; otherwise the body is an object of these keys in this order",
                )),
            ),
            ("retry", nullable(of("RetryInput"))),
            ("timeout_seconds", nullable(about(timeout, "how long one attempt may take"))),
        ],
    )
}

fn header_value(characters_max: usize) -> Value {
    json!({ "type": "string", "maxLength": characters_max, "pattern": HEADER_VALUE })
}

/// A header's name that is not reserved; case does not matter, so the pattern spells out both.
fn header_name() -> Value {
    let any_case = |text: &str| -> String {
        let spelled = |c: char| {
            if c.is_ascii_alphabetic() { format!("[{}{c}]", c.to_ascii_uppercase()) } else { c.to_string() }
        };
        text.chars().map(spelled).collect()
    };
    let whole = RESERVED_HEADERS.iter().map(|name| any_case(name));
    let begun = RESERVED_HEADER_BEGINNINGS.iter().map(|name| format!("{}.*", any_case(name)));
    let reserved: Vec<_> = whole.chain(begun).collect();
    json!({
        "type": "string",
        "maxLength": HEADER_NAME_BYTES_MAX,
        "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        "not": { "type": "string", "pattern": format!("^({})$", reserved.join("|")) },
    })
}

fn headers_input() -> Value {
    json!({
        "type": "object",
        "maxProperties": HEADERS_MAX,
        "propertyNames": header_name(),
        "additionalProperties": header_value(HEADERS_BYTES_MAX),
        "description": format!(
            "headers that go along with every request, names and values at most {HEADERS_BYTES_MAX} bytes together; not `authorization`, which has its own field"
        ),
    })
}

fn authorization_input() -> Value {
    let credential = || {
        json!({
            "type": "string",
            "minLength": 1,
            "maxLength": CREDENTIAL_BYTES_MAX,
            "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$",
            "description": "its length counts in bytes of UTF-8",
        })
    };
    let username = json!({ "allOf": [credential(), { "pattern": "^[^:]*$" }] });
    let secret = || with(header_value(CREDENTIAL_BYTES_MAX), "minLength", 1);
    json!({
        "description": "how requests are authorized; what is secret goes in and never comes back out",
        "oneOf": [
            input(&["type"], [("type", word("none"))]),
            input(
                &["type", "username", "password"],
                [("type", word("basic")), ("username", username), ("password", credential())],
            ),
            input(&["type", "token"], [("type", word("bearer")), ("token", secret())]),
            input(
                &["type", "name", "value"],
                [("type", word("header")), ("name", header_name()), ("value", secret())],
            ),
        ],
    })
}

/// Text in which braces open nothing but these placeholders.
fn template(names: &[&str]) -> Value {
    let placeholders = if names.is_empty() { String::new() } else { format!("|\\{{({})\\}}", names.join("|")) };
    let pattern = format!("^([\\t -z|}}~]{placeholders})*$");
    json!({ "type": "string", "maxLength": TEMPLATE_BYTES_MAX, "pattern": pattern })
}

fn signature_input() -> Value {
    let in_headers: Vec<_> =
        PLACEHOLDERS.iter().chain(HMAC_PLACEHOLDERS).copied().filter(|name| *name != "body").collect();
    let signed = json!({ "allOf": [template(PLACEHOLDERS), { "pattern": "\\{body\\}" }] });
    let headers = json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": HEADERS_MAX,
        "propertyNames": header_name(),
        "additionalProperties": template(&in_headers),
        "description": "at least one of them carries `{hmac_hex}` or `{hmac_base64}`",
    });
    let encoding = with(one_of(&[Encoding::Hex, Encoding::Base64]), "default", json!(Encoding::default()));
    json!({
        "description": "how requests are signed; `webhook-id` and `webhook-timestamp` go along in every scheme",
        "oneOf": [
            about(input(&["scheme"], [("scheme", word("standard"))]), "Standard Webhooks with HMAC-SHA256 (`v1`)"),
            about(input(&["scheme"], [("scheme", word("ed25519"))]), "Standard Webhooks with Ed25519 (`v1a`)"),
            about(
                input(
                    &["scheme"],
                    [
                        ("scheme", word("hmac")),
                        ("header", nullable(with(header_name(), "default", HMAC_HEADER_DEFAULT))),
                        ("encoding", nullable(encoding)),
                        ("prefix", nullable(about(template(&[]), "what stands before the signature, `sha256=`"))),
                    ],
                ),
                "HMAC-SHA256 of the body, or of chosen payload fields, under one header",
            ),
            about(
                input(
                    &["scheme", "signed", "headers"],
                    [("scheme", word("custom")), ("signed", signed), ("headers", headers)],
                ),
                "HMAC-SHA256 of what the template `signed` makes, in headers that their own templates make",
            ),
        ],
    })
}

fn retry_input() -> Value {
    let attempts = with(integer(1, ATTEMPTS_MAX), "default", ATTEMPTS_DEFAULT);
    let waits = list_of(integer(0, WAIT_SECONDS_MAX), 1, ATTEMPTS_MAX as usize - 1);
    let description =
        format!("the waits before the second and every later attempt; null means {SCHEDULE_SECONDS_DEFAULT:?}");
    input(
        &[],
        [
            ("max_attempts", nullable(about(attempts, "the first included"))),
            ("schedule_seconds", nullable(about(waits, &description))),
        ],
    )
}

fn payload_field() -> Value {
    let text = || printable(PAYLOAD_FIELD_CHARACTERS_MAX);
    let full = input(
        &["key"],
        [
            ("key", text()),
            (
                "path",
                nullable(about(
                    text(),
                    "`id`, `type`, `timestamp`, `tenant_id`, or dotted in the data; by default the key",
                )),
            ),
            ("hint", nullable(about(text(), "a note for those who fill the field"))),
            (
                "use_for_signature",
                nullable(about(boolean(), "whether an `hmac` signature covers it, and then only such fields")),
            ),
        ],
    );
    json!({ "description": "a key that is also its path, or a key with more to say about it", "oneOf": [text(), full] })
}

fn endpoint() -> Value {
    let authorization = json!({
        "oneOf": [
            output(&[], [("type", word("none"))]),
            output(&[], [("type", word("basic")), ("username", text())]),
            output(&[], [("type", word("bearer"))]),
            output(&[], [("type", word("header")), ("name", text())]),
        ],
    });
    let headers = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let encoding = one_of(&[Encoding::Hex, Encoding::Base64]);
    let signature = json!({
        "oneOf": [
            output(&[], [("scheme", word("standard"))]),
            output(
                &["public_key"],
                [("scheme", word("ed25519")), ("public_key", about(text(), "`whpk_…`, for the receiver"))],
            ),
            output(&[], [("scheme", word("hmac")), ("header", text()), ("encoding", encoding), ("prefix", text())]),
            output(&[], [("scheme", word("custom")), ("signed", text()), ("headers", headers())]),
        ],
    });
    let retry = output(
        &[],
        [
            ("max_attempts", integer(1, ATTEMPTS_MAX)),
            ("schedule_seconds", nullable(any_list(integer(0, WAIT_SECONDS_MAX)))),
        ],
    );
    let signing = output(
        &[],
        [
            ("state", about(one_of(&["stable", "overlapping"]), "whether one secret signs or two")),
            ("created_at", about(time(), "when the newest secret was made")),
            ("previous_expires_at", nullable(about(time(), "until when the previous one signs too"))),
        ],
    );
    output(
        &["secret"],
        [
            ("id", id(EndpointId::PREFIX)),
            ("uid", nullable(text())),
            ("url", json!({ "type": "string", "format": "uri" })),
            ("name", nullable(text())),
            ("description", nullable(text())),
            ("event_types", any_list(event_type_pattern())),
            ("channels", any_list(text())),
            ("status", one_of(&EndpointStatus::ALL)),
            ("disabled_reason", nullable(about(text(), "why Outhook gave it up"))),
            ("authorization", authorization),
            ("headers", headers()),
            ("signature", signature),
            ("payload_fields", any_list(of("PayloadField"))),
            ("retry", retry),
            ("timeout_seconds", integer(1, TIMEOUT_SECONDS_MAX)),
            ("signing", signing),
            ("health", health()),
            ("version", about(count(), "counts changes; `ETag` and `If-Match` speak of it")),
            ("created_at", time()),
            ("created_by", about(id(KeyId::PREFIX), "the key that made it")),
            ("updated_at", time()),
            ("updated_by", nullable(about(id(KeyId::PREFIX), "the key that changed it last; null when Outhook did"))),
            ("secret", about(text(), "the signing secret; only in the answer that makes the endpoint")),
        ],
    )
}

fn health() -> Value {
    let states = [HealthState::Healthy, HealthState::Failing, HealthState::Slow, HealthState::Hanging];
    let counted = json!({ "oneOf": [integer(0, COUNTED_MAX), word("1000+")] });
    let waiting = output(
        &[],
        [
            ("count", about(counted, "deliveries that wait for it; exact up to 1,000")),
            ("oldest_at", nullable(about(time(), "when the first of them was accepted"))),
        ],
    );
    output(
        &[],
        [
            ("state", about(one_of(&states), "hanging: it fails, and does not answer soon")),
            ("failing_since", nullable(about(time(), "when the first attempt failed that no success has followed"))),
            ("waiting", waiting),
            ("next_attempt_at", nullable(about(time(), "when the next of them is sent"))),
        ],
    )
}

fn input_example() -> Value {
    json!({
        "url": "https://partner.example.com/webhooks",
        "name": "Partner production",
        "event_types": ["cases.*", "assignments.created"],
        "authorization": { "type": "basic", "username": "webhook_user", "password": "correct horse" },
        "headers": { "x-env": "production" },
    })
}

pub(super) fn endpoint_example() -> Value {
    json!({
        "id": "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW",
        "uid": null,
        "url": "https://partner.example.com/webhooks",
        "name": "Partner production",
        "description": null,
        "event_types": ["cases.*", "assignments.created"],
        "channels": [],
        "status": "active",
        "disabled_reason": null,
        "authorization": { "type": "basic", "username": "webhook_user" },
        "headers": { "x-env": "production" },
        "signature": { "scheme": "standard" },
        "payload_fields": [],
        "retry": { "max_attempts": ATTEMPTS_DEFAULT, "schedule_seconds": null },
        "timeout_seconds": TIMEOUT_SECONDS_DEFAULT,
        "signing": { "state": "stable", "created_at": "2026-11-21T09:30:00.000Z", "previous_expires_at": null },
        "health": {
            "state": "healthy",
            "failing_since": null,
            "waiting": { "count": 0, "oldest_at": null },
            "next_attempt_at": null,
        },
        "version": 1,
        "created_at": "2026-11-21T09:30:00.000Z",
        "created_by": "key_01J1C6YZ2V9M4Q8K7T5R3W1N0B",
        "updated_at": "2026-11-21T09:30:00.000Z",
        "updated_by": "key_01J1C6YZ2V9M4Q8K7T5R3W1N0B",
    })
}
