//! The routes of delivery logs and bulk replays.

use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::attempt::{RESPONSE_KEPT_BYTES_MAX, Trigger};
use shared::domain::delivery::{ATTEMPTS_KEPT_MAX, DeliveryStatus, WaitingFor};
use shared::domain::id::{EndpointId, EventId, ReplayId};
use shared::store::replays::ReplayState;

use super::operation::{Component, Operation};
use super::shape::{
    about, any_list, any_object, count, event_type, id, input, integer, list_of, nullable, of, one_of, output, text,
    time, time_input, with,
};
use crate::replays::EVENT_TYPES_MAX;

const TAG: &str = "Deliveries";
const ENDPOINT_ID: &str = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
const EVENT_ID: &str = "evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW";

pub(crate) fn list_of_endpoint() -> Operation {
    Operation::new(
        "listDeliveries",
        TAG,
        "The delivery log of an endpoint",
        "The newest first, unless `sort_by` says otherwise.",
    )
    .takes(&["delivery_status", "event_type", "created_after", "created_before", "include", "sort_by"])
    .pages("Delivery", "A page of deliveries.")
}

pub(crate) fn show() -> Operation {
    Operation::new("getDelivery", TAG, "Read a delivery", "With its payload and all attempts.").answers(
        StatusCode::OK,
        "Delivery",
        "The delivery.",
    )
}

pub(crate) fn retry_one() -> Operation {
    Operation::new("retryDelivery", TAG, "Try a delivery again now", "409 when the endpoint is not active.")
        .optional_body("Nothing")
        .answers(StatusCode::ACCEPTED, "RetriedDelivery", "It is queued.")
}

pub(crate) fn create_replay() -> Operation {
    let about = "Delivers again all deliveries of the endpoint that match. It goes on in the background. 409 when the endpoint is not active.";
    Operation::new("createReplay", TAG, "Replay the deliveries of a time range", about).body("NewReplay").answers(
        StatusCode::ACCEPTED,
        "Replay",
        "It has begun.",
    )
}

pub(crate) fn show_replay() -> Operation {
    Operation::new("getReplay", TAG, "Read a replay", "").answers(
        StatusCode::OK,
        "Replay",
        "Whether it still goes on, and how far it has come.",
    )
}

pub(super) fn components() -> Vec<Component> {
    let example = |name, schema, example| Component { name, schema, example };
    vec![
        example("Delivery", delivery(), delivery_example()),
        example("Attempt", attempt(), attempt_example()),
        example(
            "RetriedDelivery",
            output(&[], [("endpoint_id", id(EndpointId::PREFIX)), ("event_id", id(EventId::PREFIX))]),
            json!({ "endpoint_id": ENDPOINT_ID, "event_id": EVENT_ID }),
        ),
        example(
            "NewReplay",
            new_replay(),
            json!({ "since": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z", "status": ["failed", "skipped"] }),
        ),
        example("Replay", replay(), replay_example()),
    ]
}

fn delivery() -> Value {
    let attempts = about(
        any_list(of("Attempt")),
        &format!("the oldest first; of more than {ATTEMPTS_KEPT_MAX} the oldest give way"),
    );
    output(
        &["payload"],
        [
            ("endpoint_id", id(EndpointId::PREFIX)),
            ("event_id", id(EventId::PREFIX)),
            ("event_type", event_type()),
            ("status", one_of(&DeliveryStatus::ALL)),
            ("attempts", attempts),
            ("next_attempt_at", nullable(about(time(), "while it is pending"))),
            (
                "waiting_for",
                nullable(about(
                    one_of(&[WaitingFor::Schedule, WaitingFor::RetryAfter, WaitingFor::EndpointHealth]),
                    "why it is not attempted now; null as well when it is about to be",
                )),
            ),
            ("created_at", time()),
            ("updated_at", time()),
            (
                "payload",
                about(any_object(), "what is sent; only where one delivery is read, or with `include=payload`"),
            ),
        ],
    )
}

fn attempt() -> Value {
    let body = format!("the first {RESPONSE_KEPT_BYTES_MAX} bytes, printable");
    output(
        &[],
        [
            ("at", time()),
            ("trigger", one_of(&[Trigger::Automatic, Trigger::Manual, Trigger::Replay, Trigger::Test])),
            ("outcome", one_of(&["succeeded", "failed"])),
            ("status_code", nullable(about(integer(100, 999), "null where there was no answer"))),
            ("error", nullable(about(text(), "the kind of failure first: `timeout: …`"))),
            ("duration_ms", count()),
            ("response_body", about(text(), &body)),
        ],
    )
}

fn attempt_example() -> Value {
    json!({
        "at": "2026-11-21T09:30:00.250Z",
        "trigger": "automatic",
        "outcome": "succeeded",
        "status_code": 200,
        "error": null,
        "duration_ms": 12,
        "response_body": "ok",
    })
}

pub(super) fn delivery_example() -> Value {
    json!({
        "endpoint_id": ENDPOINT_ID,
        "event_id": EVENT_ID,
        "event_type": "cases.created",
        "status": "succeeded",
        "attempts": [attempt_example()],
        "next_attempt_at": null,
        "waiting_for": null,
        "created_at": "2026-11-21T09:30:00.200Z",
        "updated_at": "2026-11-21T09:30:00.262Z",
    })
}

fn new_replay() -> Value {
    let statuses = with(
        json!({ "type": "array", "items": one_of(&DeliveryStatus::ALL), "minItems": 1 }),
        "default",
        json!(["failed"]),
    );
    input(
        &["since"],
        [
            ("since", about(time_input(), "events made at this time or later")),
            ("until", nullable(about(time_input(), "events made before this time; by default now"))),
            ("status", nullable(about(statuses, "deliveries in one of these states"))),
            (
                "event_types",
                nullable(about(list_of(event_type(), 0, EVENT_TYPES_MAX), "only these types; `[]` means all")),
            ),
        ],
    )
}

fn replay() -> Value {
    output(
        &[],
        [
            ("id", id(ReplayId::PREFIX)),
            ("endpoint_id", id(EndpointId::PREFIX)),
            ("state", one_of(&[ReplayState::Running, ReplayState::Completed, ReplayState::Cancelled])),
            ("queued", about(count(), "how many deliveries have been queued so far")),
            ("since", time()),
            ("until", time()),
            ("status", any_list(one_of(&DeliveryStatus::ALL))),
            ("event_types", any_list(event_type())),
            ("created_at", time()),
            ("updated_at", time()),
        ],
    )
}

fn replay_example() -> Value {
    json!({
        "id": "rpl_01J1C7B4N8Y2M6K0Q4T8V1X5ZA",
        "endpoint_id": ENDPOINT_ID,
        "state": "running",
        "queued": 120,
        "since": "2026-11-20T00:00:00.000Z",
        "until": "2026-11-21T00:00:00.000Z",
        "status": ["failed", "skipped"],
        "event_types": [],
        "created_at": "2026-11-21T09:30:00.000Z",
        "updated_at": "2026-11-21T09:30:04.000Z",
    })
}
