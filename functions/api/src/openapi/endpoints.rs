//! The routes of endpoints, their secrets, test calls and how they are doing.

use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::delivery::DeliveryStatus;
use shared::domain::event_type::EVENT_TYPE_CHARACTERS_MAX;
use shared::domain::id::EventId;
use shared::domain::matching::TEST_EVENT_TYPE;

use super::endpoint_schemas::{endpoint_example, secret_input};
use super::operation::{Component, Operation};
use super::shape::{
    about, any_list, any_object, boolean, count, event_type, id, input, integer, nullable, output, text, time, with,
    word,
};
use crate::insights::WINDOW_HOURS_MAX;
use crate::secrets::{OVERLAP_SECONDS_DEFAULT, OVERLAP_SECONDS_MAX};

const TAG: &str = "Endpoints";
const SECRET_EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const PREVIOUS_EXAMPLE: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

pub(crate) fn list() -> Operation {
    Operation::new("listEndpoints", TAG, "List endpoints", "By the time they were made, the oldest first.")
        .takes(&["endpoint_status", "subscribed_event_type"])
        .pages("Endpoint", "A page of endpoints.")
}

pub(crate) fn create() -> Operation {
    let about = "Everything but `url` has a default. The answer holds the signing secret; later it is shown only by the secret routes, where \
                 the tenant's `secret_visibility` allows it.";
    Operation::new("createEndpoint", TAG, "Create an endpoint", about).versioned().body("NewEndpoint").answers_like(
        StatusCode::CREATED,
        "Endpoint",
        created_example(),
        "The endpoint, with its secret.",
    )
}

pub(crate) fn show() -> Operation {
    Operation::new("getEndpoint", TAG, "Read an endpoint", "").versioned().answers(
        StatusCode::OK,
        "Endpoint",
        "The endpoint.",
    )
}

pub(crate) fn put() -> Operation {
    let about = "There is exactly one endpoint per uid, also when several callers put it at once. What the body leaves out gets its default; the \
                 signing secret of an endpoint that was there stays as it is.";
    Operation::new("putEndpoint", TAG, "Create or replace an endpoint by uid", about)
        .versioned()
        .body("NewEndpoint")
        .answers_like(StatusCode::CREATED, "Endpoint", created_example(), "It is new; with its secret.")
        .answers(StatusCode::OK, "Endpoint", "It was there and has been replaced.")
        .fails(&["Conflict"])
}

pub(crate) fn change() -> Operation {
    let about = "Changes the fields given; `null` sets one back to its default. `status` set to `active` enables an endpoint again that Outhook \
                 disabled.";
    Operation::new("changeEndpoint", TAG, "Change an endpoint", about).versioned().body("EndpointChanges").answers(
        StatusCode::OK,
        "Endpoint",
        "The endpoint as it is now.",
    )
}

pub(crate) fn delete() -> Operation {
    let about = "What is still on its way to it is cancelled. By id, 404 says that there is none; by uid the answer is always 204, as for PUT.";
    Operation::new("deleteEndpoint", TAG, "Delete an endpoint", about)
        .answers_nothing("There is no such endpoint any more.")
}

pub(crate) fn show_secret() -> Operation {
    let about = "403 where the tenant's secrets are shown once only.";
    Operation::new("getEndpointSecret", TAG, "Read the signing secret", about).answers(
        StatusCode::OK,
        "Secret",
        "The secret, and the one before it while both sign.",
    )
}

pub(crate) fn rotate_secret() -> Operation {
    let about = "Until the overlap ends both secrets sign, so that receivers can change over in their own time. 409 while an earlier overlap lasts.";
    Operation::new("rotateEndpointSecret", TAG, "Rotate the signing secret", about).optional_body("Rotation").answers(
        StatusCode::OK,
        "RotatedSecret",
        "The new secret.",
    )
}

pub(crate) fn end_previous() -> Operation {
    Operation::new("endEndpointSecretOverlap", TAG, "End the overlap of two secrets now", "")
        .answers_nothing("Only the newest secret signs.")
        .fails(&["Conflict"])
}

pub(crate) fn test_one() -> Operation {
    let about = "Sends one signed request through the same guard and limits as any delivery, and answers what came back. It is not recorded. 404 \
                 when the endpoint is not active.";
    Operation::new("testEndpoint", TAG, "Send a test request now", about).optional_body("TestCall").answers(
        StatusCode::OK,
        "TestResult",
        "What the receiver answered, or why it did not.",
    )
}

pub(crate) fn test_all() -> Operation {
    let about = "The event is delivered, retried and recorded as any other, whatever the endpoints subscribe to.";
    Operation::new("testAllEndpoints", TAG, "Queue a test event to every active endpoint", about)
        .optional_body("Nothing")
        .answers(StatusCode::OK, "QueuedTest", "It is queued.")
}

pub(crate) fn event_status() -> Operation {
    let about = "One entry for each exact type subscribed, each catalogue type that a pattern matches, and each type seen among the latest \
                 deliveries; by name.";
    Operation::new("getEndpointEventStatus", TAG, "The latest delivery of each event type", about)
        .pages("EventTypeStatus", "Event types by name.")
}

pub(crate) fn stats() -> Operation {
    Operation::new("getEndpointStats", TAG, "Statistics of an endpoint", "Made of its deliveries of the recent past.")
        .takes(&["window"])
        .answers(StatusCode::OK, "EndpointStats", "Counts, success rate and response times.")
}

fn created_example() -> Value {
    with(endpoint_example(), "secret", SECRET_EXAMPLE)
}

/// How many deliveries there are in each state; states without any are left out.
fn status_counts() -> Value {
    let counts = DeliveryStatus::ALL.iter().map(|status| (status.as_str().to_owned(), count()));
    json!({
        "type": "object",
        "properties": serde_json::Map::from_iter(counts),
        "description": "deliveries by status; a status that none has is left out",
    })
}

pub(super) fn components() -> Vec<Component> {
    let secret = || about(text(), "`whsec_…`, `whsk_…` for an ed25519 signature, or the caller's own");
    let previous =
        output(&[], [("secret", secret()), ("expires_at", about(time(), "from when on it no longer signs"))]);
    vec![
        Component {
            name: "Secret",
            schema: output(&[], [("secret", secret()), ("previous", any_list(previous))]),
            example: json!({
                "secret": SECRET_EXAMPLE,
                "previous": [{ "secret": PREVIOUS_EXAMPLE, "expires_at": "2026-11-22T09:30:00.000Z" }],
            }),
        },
        Component {
            name: "Rotation",
            schema: input(
                &[],
                [
                    ("secret", nullable(secret_input())),
                    (
                        "overlap_seconds",
                        nullable(about(
                            with(integer(0, OVERLAP_SECONDS_MAX), "default", OVERLAP_SECONDS_DEFAULT),
                            "for how long the previous secret signs too",
                        )),
                    ),
                ],
            ),
            example: json!({ "overlap_seconds": OVERLAP_SECONDS_DEFAULT }),
        },
        Component {
            name: "RotatedSecret",
            schema: output(
                &["secret"],
                [
                    ("secret", about(text(), "the new secret")),
                    ("previous_expires_at", nullable(about(time(), "until when the previous one signs too"))),
                ],
            ),
            example: json!({ "secret": SECRET_EXAMPLE, "previous_expires_at": "2026-11-22T09:30:00.000Z" }),
        },
        Component { name: "Nothing", schema: input(&[], []), example: json!({}) },
        test_call(),
        test_result(),
        Component {
            name: "QueuedTest",
            schema: output(&[], [("success", boolean()), ("event_id", id(EventId::PREFIX))]),
            example: json!({ "success": true, "event_id": "evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW" }),
        },
        event_type_status(),
        endpoint_stats(),
    ]
}

fn test_call() -> Component {
    let data = about(any_object(), "what the event says");
    let event_type = about(with(event_type(), "default", TEST_EVENT_TYPE), "what the event claims to be");
    Component {
        name: "TestCall",
        schema: input(&[], [("event_type", nullable(event_type)), ("data", data)]),
        example: json!({ "event_type": "cases.created", "data": { "case_id": "case_7" } }),
    }
}

fn test_result() -> Component {
    let answered = output(
        &[],
        [
            ("delivered", about(boolean(), "whether the answer was 2xx")),
            ("status", about(integer(100, 999), "the status of the receiver's answer")),
            ("body", about(text(), "the first 1 KiB of its body, printable")),
            ("duration_ms", count()),
        ],
    );
    let failed = output(
        &[],
        [
            ("delivered", json!({ "type": "boolean", "const": false })),
            ("error", about(text(), "why there was no answer, the kind of failure first: `timeout: …`")),
        ],
    );
    Component {
        name: "TestResult",
        schema: json!({ "oneOf": [answered, failed] }),
        example: json!({ "delivered": true, "status": 200, "body": "ok", "duration_ms": 12 }),
    }
}

fn event_type_status() -> Component {
    let latest = output(
        &[],
        [
            ("type", word("delivery")),
            ("event_id", id(EventId::PREFIX)),
            ("at", time()),
            ("success", about(boolean(), "whether the delivery has succeeded")),
            ("status_code", nullable(about(integer(100, 999), "of the last attempt; null where there was no answer"))),
            ("response_body", nullable(about(text(), "of the last attempt; null before the first"))),
        ],
    );
    let none = output(&[], [("type", word("no_recent_delivery"))]);
    Component {
        name: "EventTypeStatus",
        schema: output(
            &[],
            [
                ("event_type", json!({ "type": "string", "maxLength": EVENT_TYPE_CHARACTERS_MAX })),
                ("latest", json!({ "oneOf": [latest, none] })),
            ],
        ),
        example: json!({
            "event_type": "cases.created",
            "latest": {
                "type": "delivery",
                "event_id": "evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW",
                "at": "2026-11-21T09:30:00.250Z",
                "success": true,
                "status_code": 200,
                "response_body": "ok",
            },
        }),
    }
}

fn endpoint_stats() -> Component {
    let hour = output(&[], [("hour", about(time(), "its beginning")), ("counts", status_counts())]);
    let milliseconds = || nullable(about(count(), "in milliseconds; null without any answer"));
    Component {
        name: "EndpointStats",
        schema: output(
            &[],
            [
                ("window_hours", integer(1, WINDOW_HOURS_MAX)),
                ("since", time()),
                ("counts", status_counts()),
                ("hours", about(any_list(hour), "the hours that have any deliveries, the oldest first")),
                (
                    "success_rate",
                    json!({
                        "type": ["number", "null"],
                        "minimum": 0,
                        "maximum": 1,
                        "description": "succeeded among succeeded and failed; null without either",
                    }),
                ),
                ("response_time_ms", output(&[], [("p50", milliseconds()), ("p95", milliseconds())])),
                ("truncated", about(boolean(), "whether only the newest deliveries of the window count")),
            ],
        ),
        example: json!({
            "window_hours": 24,
            "since": "2026-11-20T09:30:00.000Z",
            "counts": { "succeeded": 41, "pending": 1 },
            "hours": [{ "hour": "2026-11-21T09:00:00.000Z", "counts": { "succeeded": 41, "pending": 1 } }],
            "success_rate": 1.0,
            "response_time_ms": { "p50": 12, "p95": 80 },
            "truncated": false,
        }),
    }
}
