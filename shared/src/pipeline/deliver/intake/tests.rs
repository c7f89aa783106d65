//! What messages are read as, as tables of cases.

use super::*;
use crate::domain::endpoint::Endpoint;
use crate::domain::time::plus_seconds;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn scope() -> Scope {
    Endpoint::sample(0).scope
}

fn event_id(made_at: Timestamp) -> EventId {
    EventId::from_parts(made_at, [1; 10])
}

/// A message as it comes for the first time.
fn message(lane: Lane, body: &str) -> Incoming {
    Incoming {
        message_id: "m".to_owned(),
        body: body.to_owned(),
        lane,
        sent_at: NOW,
        receive_count: 1,
        event_id: None,
        request_id: Some("r".to_owned()),
        resend: false,
    }
}

fn event_body(more: &str) -> String {
    format!(r#"{{"tenant_id":"{}","mode":"live","type":"a","data":{{}}{more}}}"#, scope().tenant_id)
}

/// In a word, what one message was read as.
fn outline(intake: &Intake) -> String {
    let Intake { tasks, keyed, poison, failed } = intake;
    assert_eq!(tasks.len() + keyed.len() + poison.len() + failed.len(), 1, "{intake:?}");
    if let [task] = tasks.as_slice() {
        assert_eq!((task.message_id.as_str(), task.request_id.as_deref()), ("m", Some("r")));
        return match task.work {
            Work::Event { .. } => "event",
            Work::FanOut { .. } => "fan-out",
            Work::Wake { .. } => "wake",
            Work::Replay { .. } => "replay",
        }
        .to_owned();
    }
    match (keyed.as_slice(), poison.as_slice()) {
        ([keyed], _) => format!("key {}", keyed.key),
        (_, [poison]) => {
            assert!(poison.message_id == "m" && !poison.reason.is_empty());
            "poison".to_owned()
        }
        _ => "failed".to_owned(),
    }
}

#[test]
fn message_is_read_as_what_its_lane_brings_and_all_else_is_poison() {
    let scope = scope();
    let endpoint_id = Endpoint::sample(0).id;
    let wake = RetryMessage::Wake { scope, endpoint_id, token: "t".to_owned() }.body();
    let id = event_id(NOW);
    let part = RetryMessage::FanOut { scope, event_id: id, first: endpoint_id, last: endpoint_id }.body();
    let replay = RetryMessage::Replay { scope, replay_id: ReplayId::from_parts(NOW, [0; 10]) }.body();
    let (event, keyed) = (event_body(""), event_body(r#","idempotency_key":"k""#));
    let with_id = |body: &str| Incoming { event_id: Some(id), ..message(Lane::Events, body) };
    for (name, message, expected) in [
        ("an event", message(Lane::Events, &event), "event"),
        ("an event with a key", message(Lane::Events, &keyed), "key k"),
        ("an event with the API's id", with_id(&event), "event"),
        ("an event with the API's id, which has taken its key", with_id(&keyed), "event"),
        ("an event without a type", message(Lane::Events, &event.replace("type", "kind")), "poison"),
        ("no JSON", message(Lane::Events, "{"), "poison"),
        ("a wake on the lane of events", message(Lane::Events, &wake), "poison"),
        ("a wake", message(Lane::Retries, &wake), "wake"),
        ("a part of a fan-out", message(Lane::Retries, &part), "fan-out"),
        ("a replay", message(Lane::Retries, &replay), "replay"),
        ("an event on the lane of retries", message(Lane::Retries, &event), "poison"),
        ("nothing", message(Lane::Retries, ""), "poison"),
    ] {
        assert_eq!(outline(&read(vec![message])), expected, "{name}");
    }
}

#[test]
fn each_message_of_a_batch_is_read_by_itself() {
    let bodies = [event_body(""), "rubbish".to_owned(), event_body(r#","idempotency_key":"k""#), event_body("")];
    let batch = bodies.iter().zip(["a", "b", "c", "d"]);
    let batch = batch.map(|(body, id)| Incoming { message_id: id.to_owned(), ..message(Lane::Events, body) });
    let intake = read(batch.collect());
    let tasks: Vec<_> = intake.tasks.iter().map(|task| task.message_id.as_str()).collect();
    let keyed: Vec<_> = intake.keyed.iter().map(|keyed| keyed.message.message_id.as_str()).collect();
    let poison: Vec<_> = intake.poison.iter().map(|poison| poison.message_id.as_str()).collect();
    assert_eq!((tasks, keyed, poison, intake.failed.len()), (vec!["a", "d"], vec!["c"], vec!["b"], 0));
}

#[test]
fn event_has_the_apis_id_or_one_of_its_message_and_is_looked_for_where_it_may_have_come_before() {
    let body = event_body("");
    let first = || message(Lane::Events, &body);
    let derived = EventId::derived_from_message(NOW, "m");
    let given = event_id(NOW);
    // The message; its event's id, whether that may be on record, whether the message has come before.
    for (name, message, id, check_existing, redelivered) in [
        ("for the first time", first(), derived, false, false),
        ("for the second", Incoming { receive_count: 2, ..first() }, derived, true, true),
        ("with the API's id", Incoming { event_id: Some(given), ..first() }, given, false, false),
        ("perhaps sent before", Incoming { event_id: Some(given), resend: true, ..first() }, given, true, false),
        (
            "as long after its event as the API takes to send",
            Incoming { event_id: Some(event_id(plus_seconds(NOW, -30))), ..first() },
            event_id(plus_seconds(NOW, -30)),
            false,
            false,
        ),
        (
            "longer: sent back from the dead-letter queue",
            Incoming { event_id: Some(event_id(plus_seconds(NOW, -31))), ..first() },
            event_id(plus_seconds(NOW, -31)),
            true,
            false,
        ),
    ] {
        let intake = read(vec![message]);
        let Work::Event { event, check_existing: found } = &intake.tasks[0].work else { panic!("{name}: {intake:?}") };
        assert_eq!((event.id, *found, intake.tasks[0].redelivered), (id, check_existing, redelivered), "{name}");
        // What is recorded of the event does not depend on which of its messages came.
        assert_eq!(intake.tasks[0].work.stored_event().is_some(), check_existing, "{name}");
    }
}

#[test]
fn message_stands_for_the_event_of_its_key_unless_another_does_or_may_be_about_to() {
    let of = |claim: &str, queued| IdempotencyRecord::new(event_id(NOW), None, queued, claim.to_owned(), NOW);
    for (name, earlier, seconds, expected) in [
        ("its own, queued", of("own", true), 0, Claimed::Own),
        ("its own, taken over", of("own", false), 0, Claimed::Own),
        ("another's, queued", of("other", true), 60, Claimed::ByAnother),
        ("another's, who may still send", of("other", false), 29, Claimed::UnderWay),
        ("another's, who cannot send any more", of("other", false), 30, Claimed::Over),
    ] {
        assert_eq!(claimed(&earlier, "own", plus_seconds(NOW, seconds)), expected, "{name}");
    }
}
