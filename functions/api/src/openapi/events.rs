//! The routes of events and of the catalogue of event types.

use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::catalogue::{DESCRIPTION_CHARACTERS_MAX, Enforcement, SCHEMA_BYTES_MAX};
use shared::domain::endpoint_input::CHANNELS_MAX;
use shared::domain::event::{ENDPOINT_IDS_MAX, EVENT_BYTES_MAX, IDEMPOTENCY_KEY_CHARACTERS_MAX};
use shared::domain::id::{EndpointId, EventId};
use shared::domain::tenant::NAME_CHARACTERS_MAX;

use super::deliveries::delivery_example;
use super::operation::{Component, Operation};
use super::shape::{
    about, any_list, any_object, boolean, count, event_type, id, input, list_of, nullable, of, one_of, output,
    printable, text, time, time_input, with,
};
use crate::events::BATCH_EVENTS_MAX;

const TAG: &str = "Events";
const CATALOGUE_TAG: &str = "Event types";
const EVENT_ID: &str = "evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW";

pub(crate) fn create() -> Operation {
    let about = "202 only once the queue has it. The same event sent again under the same idempotency key, in the body or in the header, is \
                 accepted again under the same id and delivered once.";
    Operation::new("sendEvent", TAG, "Send an event", about).body("NewEvent").answers(
        StatusCode::ACCEPTED,
        "AcceptedEvent",
        "The queue has it.",
    )
}

pub(crate) fn create_batch() -> Operation {
    let about = "Each event is accepted or refused by itself; there is one result for each, in order.";
    Operation::new("sendEvents", TAG, "Send many events", about).body("EventBatch").answers_list(
        StatusCode::ACCEPTED,
        "BatchResult",
        "A result for each event.",
    )
}

pub(crate) fn list() -> Operation {
    Operation::new("listEvents", TAG, "List events", "The newest first.")
        .takes(&["event_type", "created_after", "created_before"])
        .pages("Event", "A page of events.")
}

pub(crate) fn show() -> Operation {
    let example = with(event_example(), "deliveries", json!([delivery_example()]));
    let about = "Of a tenant with more than 1,000 endpoints the deliveries come in parts; a part may have few of them.";
    Operation::new("getEvent", TAG, "Read an event with its deliveries", about)
        .takes(&["deliveries_cursor"])
        .answers_like(
            StatusCode::OK,
            "Event",
            with(example, "deliveries_next_cursor", Value::Null),
            "The event, and what became of it at each endpoint.",
        )
}

pub(crate) fn replay() -> Operation {
    let about = "To the endpoints named, or to all that it reaches now. Each delivery begins its schedule anew.";
    Operation::new("replayEvent", TAG, "Deliver an event again", about).optional_body("EventReplay").answers(
        StatusCode::ACCEPTED,
        "ReplayedEvent",
        "The deliveries are queued.",
    )
}

pub(crate) fn list_types() -> Operation {
    Operation::new("listEventTypes", CATALOGUE_TAG, "List the catalogue", "By name.")
        .pages("EventType", "A page of event types.")
}

pub(crate) fn show_type() -> Operation {
    Operation::new("getEventType", CATALOGUE_TAG, "Read an event type", "").answers(
        StatusCode::OK,
        "EventType",
        "The event type.",
    )
}

pub(crate) fn put_type() -> Operation {
    let about = "What the body leaves out gets its default. The catalogue is the tenant's, the same in both modes.";
    Operation::new("putEventType", CATALOGUE_TAG, "Create or replace an event type", about)
        .body("EventTypeInput")
        .answers(StatusCode::CREATED, "EventType", "It is new.")
        .answers(StatusCode::OK, "EventType", "It was there and has been replaced.")
}

pub(crate) fn delete_type() -> Operation {
    let about = "Events of the type are accepted all the same, and no longer checked.";
    Operation::new("deleteEventType", CATALOGUE_TAG, "Delete an event type", about)
        .answers_nothing("It is no longer in the catalogue.")
}

pub(super) fn components() -> Vec<Component> {
    let example = |name, schema, example| Component { name, schema, example };
    let event_id = || id(EventId::PREFIX);
    let accepted = output(&[], [("id", event_id())]);
    let refused = output(&[], [("error", of("PartError"))]);
    vec![
        example("NewEvent", new_event(), new_event_example()),
        example("AcceptedEvent", accepted.clone(), json!({ "id": EVENT_ID })),
        example(
            "EventBatch",
            input(&["events"], [("events", list_of(of("NewEvent"), 1, BATCH_EVENTS_MAX))]),
            json!({ "events": [new_event_example()] }),
        ),
        example("BatchResult", json!({ "oneOf": [accepted, refused] }), json!({ "id": EVENT_ID })),
        example("Event", event(), event_example()),
        example(
            "EventReplay",
            input(&[], [("endpoint_ids", nullable(endpoint_ids("only to these; otherwise to all that it reaches")))]),
            json!({ "endpoint_ids": ["ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW"] }),
        ),
        example(
            "ReplayedEvent",
            output(&[], [("id", event_id()), ("deliveries", about(count(), "how many are queued"))]),
            json!({ "id": EVENT_ID, "deliveries": 2 }),
        ),
        example("EventTypeInput", event_type_input(), event_type_input_example()),
        example("EventType", catalogue_entry(), catalogue_entry_example()),
    ]
}

fn endpoint_ids(description: &str) -> Value {
    about(list_of(id(EndpointId::PREFIX), 1, ENDPOINT_IDS_MAX), description)
}

fn new_event() -> Value {
    let data = about(any_object(), "any JSON object; receivers get it byte for byte");
    let key = about(
        printable(IDEMPOTENCY_KEY_CHARACTERS_MAX),
        "names it for the sender, so that sending it again does nothing",
    );
    let schema = input(
        &["type", "data"],
        [
            ("type", event_type()),
            ("data", data),
            (
                "channels",
                nullable(about(
                    list_of(printable(NAME_CHARACTERS_MAX), 0, CHANNELS_MAX),
                    "only to endpoints that share one of these, or that have none",
                )),
            ),
            ("timestamp", nullable(about(time_input(), "when it happened; by default now"))),
            ("idempotency_key", nullable(key)),
            ("endpoint_ids", nullable(endpoint_ids("only to these endpoints"))),
        ],
    );
    about(schema, &format!("an event, at most {EVENT_BYTES_MAX} bytes"))
}

fn new_event_example() -> Value {
    json!({
        "type": "cases.created",
        "data": { "case_id": "case_7", "title": "Zugang öffnen" },
        "idempotency_key": "case_7-created",
    })
}

fn event() -> Value {
    output(
        &["deliveries", "deliveries_next_cursor"],
        [
            ("id", id(EventId::PREFIX)),
            ("type", event_type()),
            ("timestamp", time()),
            ("data", any_object()),
            ("channels", any_list(text())),
            ("endpoint_ids", any_list(id(EndpointId::PREFIX))),
            ("created_at", time()),
            ("deliveries", about(any_list(of("Delivery")), "only where one event is read")),
            (
                "deliveries_next_cursor",
                about(nullable(text()), "only where one event is read; null when these are all of its deliveries"),
            ),
        ],
    )
}

fn event_example() -> Value {
    json!({
        "id": EVENT_ID,
        "type": "cases.created",
        "timestamp": "2026-11-21T09:30:00.000Z",
        "data": { "case_id": "case_7", "title": "Zugang öffnen" },
        "channels": [],
        "endpoint_ids": [],
        "created_at": "2026-11-21T09:30:00.000Z",
    })
}

const ENFORCEMENTS: [Enforcement; 3] = [Enforcement::Off, Enforcement::Warn, Enforcement::Reject];

fn event_type_input() -> Value {
    let schema = format!("the JSON Schema (2020-12) that `data` must satisfy, at most {SCHEMA_BYTES_MAX} bytes");
    let enforcement = with(one_of(&ENFORCEMENTS), "default", json!(Enforcement::default()));
    input(
        &[],
        [
            ("description", nullable(printable(DESCRIPTION_CHARACTERS_MAX))),
            ("schema", nullable(about(any_object(), &schema))),
            ("enforcement", nullable(about(enforcement, "what is done about data that does not"))),
            ("archived", nullable(about(with(boolean(), "default", false), "whether it is no longer used"))),
        ],
    )
}

fn event_type_input_example() -> Value {
    json!({
        "description": "A case was opened.",
        "schema": { "type": "object", "required": ["case_id"], "properties": { "case_id": { "type": "string" } } },
    })
}

fn catalogue_entry() -> Value {
    output(
        &[],
        [
            ("name", event_type()),
            ("description", nullable(text())),
            ("schema", nullable(any_object())),
            ("enforcement", one_of(&ENFORCEMENTS)),
            ("archived", boolean()),
            ("created_at", time()),
            ("updated_at", time()),
        ],
    )
}

fn catalogue_entry_example() -> Value {
    json!({
        "name": "cases.created",
        "description": "A case was opened.",
        "schema": event_type_input_example()["schema"],
        "enforcement": "reject",
        "archived": false,
        "created_at": "2026-11-21T09:30:00.000Z",
        "updated_at": "2026-11-21T09:30:00.000Z",
    })
}
