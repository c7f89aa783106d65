//! What receivers get: the request of an event, of a test event, and of what Outhook itself has to say.

use serde_json::{Map, Value, json};
use shared::domain::id::{EndpointId, EventId};
use shared::domain::matching::{OPERATIONAL_EVENT_TYPES, TEST_EVENT_TYPE};

use super::operation::Component;
use super::parameters::webhook_headers;
use super::shape::{about, any_object, count, event_type, id, integer, nullable, of, output, text, time, word};
use crate::test_calls::TEST_DATA;

const ENDPOINT_ID: &str = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";

/// One request that receivers can get: its event type, a component for its body, and what it says.
struct Webhook {
    event_type: &'static str,
    component: &'static str,
    operation: &'static str,
    summary: &'static str,
    data: Value,
    example: Value,
}

/// `webhooks`: the standard request, then those whose types are Outhook's own.
pub(super) fn webhooks() -> Value {
    let event = operation(
        "receiveEvent",
        "An event",
        "Sent to every endpoint that the event reaches. The body is the same, byte for byte, at every attempt. An endpoint with `payload_fields` gets \
         an object of those instead; its own headers and authorization go along. Verify the signature over the bytes received before reading them.",
        "Webhook",
        &event_example(),
    );
    let mut webhooks = Map::from_iter([("event".to_owned(), json!({ "post": event }))]);
    for own in own() {
        let about = if own.event_type == TEST_EVENT_TYPE {
            "What a test call sends unless it says otherwise; otherwise as any event."
        } else {
            "Sent to those of the tenant's endpoints that subscribe to the type by name or by prefix; `*` and an empty list do not."
        };
        let example = own_example(&own);
        let operation = operation(own.operation, own.summary, about, own.component, &example);
        webhooks.insert(own.event_type.to_owned(), json!({ "post": operation }));
    }
    Value::Object(webhooks)
}

fn operation(id: &str, summary: &str, description: &str, component: &str, example: &Value) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "description": description,
        "security": [],
        "parameters": webhook_headers(),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": of(component), "example": example } },
        },
        "responses": {
            "2XX": { "description": "It is taken." },
            "410": { "description": "The receiver is gone for good: no further attempt, and the endpoint is disabled." },
            "default": {
                "description": "It is not taken, redirects included, and tried again while attempts are left. `Retry-After` is heeded.",
            },
        },
    })
}

pub(super) fn components() -> Vec<Component> {
    let schema = |event_type, data| {
        output(&[], [("type", event_type), ("timestamp", about(time(), "when it happened")), ("data", data)])
    };
    let any = schema(event_type(), about(any_object(), "as the sender wrote it"));
    let mut components = vec![Component { name: "Webhook", schema: any, example: event_example() }];
    components.extend(own().into_iter().map(|own| Component {
        name: own.component,
        example: own_example(&own),
        schema: schema(word(own.event_type), own.data),
    }));
    components
}

fn event_example() -> Value {
    body("cases.created", &json!({ "case_id": "case_7", "title": "Zugang öffnen" }))
}

fn own_example(own: &Webhook) -> Value {
    body(own.event_type, &own.example)
}

fn body(event_type: &str, data: &Value) -> Value {
    json!({ "type": event_type, "timestamp": "2026-11-21T09:30:00.000Z", "data": data })
}

/// What Outhook itself sends. Their data is made in `shared::pipeline::operational` and in the test calls.
fn own() -> Vec<Webhook> {
    let [disabled, rotated, failed] = OPERATIONAL_EVENT_TYPES;
    let endpoint_id = || ("endpoint_id", id(EndpointId::PREFIX));
    vec![
        Webhook {
            event_type: TEST_EVENT_TYPE,
            component: "TestWebhook",
            operation: "receiveTest",
            summary: "A test event",
            data: any_object(),
            example: serde_json::from_str(TEST_DATA).unwrap_or_default(),
        },
        Webhook {
            event_type: disabled,
            component: "EndpointDisabledWebhook",
            operation: "receiveEndpointDisabled",
            summary: "Outhook has given an endpoint up",
            data: output(&[], [endpoint_id(), ("url", text()), ("reason", nullable(text()))]),
            example: json!({
                "endpoint_id": ENDPOINT_ID,
                "url": "https://partner.example.com/webhooks",
                "reason": "the receiver answered 410, gone",
            }),
        },
        Webhook {
            event_type: rotated,
            component: "SecretRotatedWebhook",
            operation: "receiveSecretRotated",
            summary: "An endpoint has a new signing secret",
            data: output(
                &[],
                [endpoint_id(), ("previous_expires_at", nullable(about(time(), "until when the old one signs too")))],
            ),
            example: json!({ "endpoint_id": ENDPOINT_ID, "previous_expires_at": "2026-11-22T09:30:00.000Z" }),
        },
        Webhook {
            event_type: failed,
            component: "DeliveryFailedWebhook",
            operation: "receiveDeliveryFailed",
            summary: "The attempts of a delivery are used up",
            data: output(
                &[],
                [
                    endpoint_id(),
                    ("event_id", id(EventId::PREFIX)),
                    ("event_type", event_type()),
                    ("attempts", count()),
                    ("last_status_code", nullable(integer(100, 999))),
                    ("last_error", nullable(text())),
                ],
            ),
            example: json!({
                "endpoint_id": ENDPOINT_ID,
                "event_id": "evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW",
                "event_type": "cases.created",
                "attempts": 8,
                "last_status_code": 500,
                "last_error": "the receiver answered 500",
            }),
        },
    ]
}
