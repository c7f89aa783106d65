//! What receivers get: the request of an event, of a test event, and of what Outhook itself has to say.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use shared::domain::event_type::EventType;
use shared::domain::matching::{OPERATIONAL_EVENT_TYPES, TEST_EVENT_TYPE};
use shared::domain::schema::AnyObject;
use shared::domain::time::Time;
use shared::pipeline::operational::{DeliveryFailed, EndpointDisabled, SecretRotated};

use super::parameters::webhook_headers;
use super::schemas::{Described, Schemas, described};
use super::words::example;

/// The body of an event.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape, for the document")]
struct Webhook {
    #[schemars(rename = "type")]
    event_type: EventType,
    /// When it happened.
    timestamp: Time,
    /// As the sender wrote it.
    data: AnyObject,
}

/// The body of an event of Outhook's own, whose type `name` says.
macro_rules! own_webhook {
    ($name:ident, $event_type:expr, $data:ty) => {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "a shape, for the document")]
        struct $name {
            #[schemars(rename = "type", extend("const" = $event_type))]
            event_type: String,
            /// When it happened.
            timestamp: Time,
            data: $data,
        }
    };
}
own_webhook!(TestWebhook, TEST_EVENT_TYPE, AnyObject);
own_webhook!(EndpointDisabledWebhook, OPERATIONAL_EVENT_TYPES[0], EndpointDisabled);
own_webhook!(SecretRotatedWebhook, OPERATIONAL_EVENT_TYPES[1], SecretRotated);
own_webhook!(DeliveryFailedWebhook, OPERATIONAL_EVENT_TYPES[2], DeliveryFailed);

/// `webhooks`: the standard request, then those whose types are Outhook's own.
pub(super) fn webhooks(schemas: &mut Schemas) -> Value {
    let [disabled, rotated, failed] = OPERATIONAL_EVENT_TYPES;
    let own = "Sent to those of the tenant's endpoints that subscribe to the type by name or by prefix; `*` and an empty list do not.";
    let all = [
        (
            "event",
            "receiveEvent",
            "An event",
            "Sent to every endpoint that the event reaches. The body is the same, byte for byte, at every attempt. An endpoint with `payload_fields` gets \
             an object of those instead; its own headers and authorization go along. Verify the signature over the bytes received before reading them.",
            described::<Webhook>(),
        ),
        (
            TEST_EVENT_TYPE,
            "receiveTest",
            "A test event",
            "What a test call sends unless it says otherwise; otherwise as any event.",
            described::<TestWebhook>(),
        ),
        (
            disabled,
            "receiveEndpointDisabled",
            "Outhook has given an endpoint up",
            own,
            described::<EndpointDisabledWebhook>(),
        ),
        (
            rotated,
            "receiveSecretRotated",
            "An endpoint has a new signing secret",
            own,
            described::<SecretRotatedWebhook>(),
        ),
        (
            failed,
            "receiveDeliveryFailed",
            "The attempts of a delivery are used up",
            own,
            described::<DeliveryFailedWebhook>(),
        ),
    ];
    let webhooks = all.map(|(name, id, summary, description, body)| {
        (name.to_owned(), json!({ "post": operation(id, summary, description, body, schemas) }))
    });
    Value::Object(Map::from_iter(webhooks))
}

fn operation(id: &str, summary: &str, description: &str, body: Described, schemas: &mut Schemas) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "description": description,
        "security": [],
        "parameters": webhook_headers(),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": schemas.answer(body), "example": example(&body.name()) } },
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
