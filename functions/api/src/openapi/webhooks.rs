//! What receivers get: the request of an event, and of a test event.

use serde_json::{Value, json};
use shared::domain::matching::TEST_EVENT_TYPE;

use super::operation::Component;
use super::parameters::webhook_headers;
use super::shape::{about, any_object, event_type, of, output, time, word};

/// `webhooks`.
pub(super) fn webhooks() -> Value {
    json!({
        "event": { "post": webhook(
            "receiveEvent",
            "An event",
            "Sent to every endpoint that the event reaches. The body is the same, byte for byte, at every attempt. An endpoint with `payload_fields` \
             gets an object of those instead; its own headers and authorization go along. Verify the signature over the bytes received before \
             reading them.",
            "Webhook",
        ) },
        "test": { "post": webhook(
            "receiveTestEvent",
            "A test event",
            "What a test call sends unless it says otherwise; otherwise as any event.",
            "TestWebhook",
        ) },
    })
}

fn webhook(id: &str, summary: &str, description: &str, component: &str) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "description": description,
        "security": [],
        "parameters": webhook_headers(),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": of(component), "example": example(component) } },
        },
        "responses": {
            "2XX": { "description": "It is taken." },
            "410": { "description": "The receiver is gone for good: no further attempt, and the endpoint is disabled." },
            "default": { "description": "It is not taken, redirects included, and tried again while attempts are left. `Retry-After` is heeded." },
        },
    })
}

pub(super) fn components() -> Vec<Component> {
    let schema = |event_type| {
        output(
            &[],
            [
                ("type", event_type),
                ("timestamp", about(time(), "when it happened")),
                ("data", about(any_object(), "as the sender wrote it")),
            ],
        )
    };
    vec![
        Component { name: "Webhook", schema: schema(event_type()), example: example("Webhook") },
        Component { name: "TestWebhook", schema: schema(word(TEST_EVENT_TYPE)), example: example("TestWebhook") },
    ]
}

fn example(component: &str) -> Value {
    let (event_type, data) = match component {
        "Webhook" => ("cases.created", json!({ "case_id": "case_7", "title": "Zugang öffnen" })),
        _ => (TEST_EVENT_TYPE, json!({ "message": "This is a test of your webhook endpoint." })),
    };
    json!({ "type": event_type, "timestamp": "2026-11-21T09:30:00.000Z", "data": data })
}
