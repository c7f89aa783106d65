//! Ways in: over HTTP and straight onto the queue, once or several times, in order or not at all.

use std::sync::Arc;

use http::StatusCode;
use local::aws::{Fault, FaultRule, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::domain::id::EventId;
use tokio::sync::Semaphore;

use crate::world::{Answer, Reply, World};

/// The queues' visibility timeout, and a second.
const REDELIVERED_SECONDS: u64 = 361;

fn of(identity: &str, service: Service, operation: &str, fault: Fault) -> FaultRule {
    let rule = FaultRule::once(service, operation, fault);
    FaultRule { identity: Some(identity.to_owned()), times: u32::MAX, ..rule }
}

async fn post(world: &World, key: &str, body: Value) -> Answer {
    let request = world.api.request(Method::POST, "/v1/events").header("content-type", "application/json");
    Answer::of(request.header("idempotency-key", key).body(body.to_string())).await
}

fn id_of(accepted: &Value) -> &str {
    accepted["id"].as_str().unwrap()
}

#[tokio::test]
async fn event_straight_onto_the_queue_arrives_like_one_over_http() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let data = json!({ "case_id": 42, "price": 1.5 });
    let over_http = world.send("cases.created", data.clone()).await;
    let sent = world.send_message(&world.message("cases.created", json!({ "data": data })).to_string()).await;
    let derived = EventId::derived_from_message(world.clock.now(), &sent).to_string();
    world.settle().await;

    let got = world.receiver.got("/a");
    let mut ids: Vec<_> = got.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    ids.sort();
    let mut expected = vec![over_http.clone(), derived.clone()];
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(got[0].body, got[1].body);
    for event in [over_http, derived] {
        let delivery = world.delivery(&endpoint, &event).await;
        assert_eq!(delivery["status"], "succeeded");
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
        let shown = world.api.get(&format!("/v1/events/{event}")).await.expect(200);
        assert_eq!(shown["data"], data);
        assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn event_on_the_queue_is_of_the_tenant_and_mode_that_it_names() {
    let world = World::start().await;
    world.endpoint("/live", json!({})).await;
    let test = crate::world::Client::new(&world.api_url, &world.demo.test_key);
    world.endpoint_of(&test, "/test", json!({})).await;
    let other = world.other_tenant().await;
    world.endpoint_of(&other, "/other", json!({})).await;
    world.send_message(&world.message("a", json!({ "mode": "test" })).to_string()).await;
    world.settle().await;
    let counts = ["/live", "/test", "/other"].map(|path| world.receiver.got(path).len());
    assert_eq!(counts, [0, 1, 0]);
}

#[tokio::test]
async fn message_that_sqs_hands_out_twice_is_one_event_with_one_attempt() {
    let world = World::start().await;
    world.aws.faults().duplicate_messages(true);
    let endpoint = world.endpoint("/a", json!({})).await;
    let over_http = world.send("a", json!({})).await;
    let sent = world.send_message(&world.message("a", json!({})).to_string()).await;
    let derived = EventId::derived_from_message(world.clock.now(), &sent).to_string();
    world.settle().await;

    for event in [&over_http, &derived] {
        let delivery = world.delivery(&endpoint, event).await;
        assert_eq!(delivery["status"], "succeeded");
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
    }
    let listed = world.api.get("/v1/events").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let got = world.receiver.got("/a");
    assert!(got.iter().all(|got| [&over_http, &derived].contains(&&got.header("webhook-id").to_owned())));
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]));
}

/// Two instances have the same message in hand, each with its request under way, before either has anything on record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_with_one_message_record_one_attempt() {
    for status in [200, 500] {
        let mut world = World::start().await;
        world.scale_out(1).await;
        let gate = Arc::new(Semaphore::new(0));
        let gated = Reply::Gate(Arc::clone(&gate), status);
        world.receiver.reply("/a", [gated.clone(), gated, Reply::Status(200)]);
        let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5] } })).await;
        world.aws.faults().duplicate_messages(true);
        let event = world.send("a", json!({})).await;
        let (stop, mut pollers) = world.keep_polling();
        while world.receiver.got("/a").len() < 2 {
            tokio::task::yield_now().await;
        }
        world.aws.faults().duplicate_messages(false);
        gate.add_permits(2);
        stop.send(true).unwrap();
        while pollers.join_next().await.is_some() {}
        let delivery = world.delivery(&endpoint, &event).await;
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
        world.run(3_600).await;
        let (requests, attempts) = if status == 200 { (2, 1) } else { (3, 2) };
        let delivery = world.delivery(&endpoint, &event).await;
        assert_eq!(
            (&delivery["status"], delivery["attempts"].as_array().unwrap().len()),
            (&json!("succeeded"), attempts)
        );
        assert_eq!(world.receiver.got("/a").len(), requests);
    }
}

#[tokio::test]
async fn message_that_comes_back_after_it_was_delivered_is_not_sent_again() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let event = world.send("a", json!({})).await;
    let lost = of("DeliverEventsFunctionPoller", Service::Sqs, "DeleteMessageBatch", Fault::DropBefore);
    world.aws.faults().inject(lost);
    world.poll_once().await;
    world.aws.faults().clear();
    assert_eq!(world.queued().await, 1);
    world.advance_seconds(REDELIVERED_SECONDS);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(world.delivery(&endpoint, &event).await["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(world.queued().await, 0);
}

#[tokio::test]
async fn message_that_nobody_can_understand_is_dead_lettered_at_once_and_once_with_the_reason() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let nobody = "ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
    let poison = [
        ("not json".to_owned(), "JSON"),
        ("[]".to_owned(), "object"),
        (r#"{"type":"a","type":"b"}"#.to_owned(), "twice"),
        (world.message("a", json!({ "colour": "red" })).to_string(), "colour"),
        (world.message("a..b", json!({})).to_string(), "type"),
        (world.message("a", json!({ "mode": "prod" })).to_string(), "mode"),
        (world.message("a", json!({ "data": [] })).to_string(), "data"),
        (world.message("a", json!({ "tenant_id": nobody })).to_string(), "no such tenant"),
        (world.message("a", json!({ "data": { "x": "x".repeat(270_000) } })).to_string(), "at most"),
    ];
    for (body, reason) in &poison {
        world.send_message(body).await;
        assert_eq!(world.poll_once().await, 1);
        let aside = world.dead_letters().await;
        assert_eq!(aside.len(), 1, "{reason}");
        assert_eq!(&aside[0].0, body);
        assert!(aside[0].1.contains(reason), "{}", aside[0].1);
        assert_eq!(world.queued().await, 0);
    }
    let good = world.send("a", json!({})).await;
    world.advance_seconds(REDELIVERED_SECONDS);
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &good).await["status"], "succeeded");
    assert_eq!(world.receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn message_as_large_as_the_queue_takes_is_dead_lettered_at_once_too() {
    let world = World::start().await;
    let body = "x".repeat(1_024 * 1_024);
    world.send_message(&body).await;
    assert_eq!(world.poll_once().await, 1);
    assert_eq!(world.queued().await, 0);
    let aside = world.dead_letters().await;
    assert_eq!(aside.len(), 1);
    assert!(aside[0].0 == body);
}

#[tokio::test]
async fn rubbish_on_the_retries_queue_is_dead_lettered_at_once_and_once() {
    let world = World::start().await;
    for (body, reason) in [("rubbish", "expected"), (r#"{"kind":"other"}"#, "other"), ("{}", "kind")] {
        world.send_retry(body).await;
        assert_eq!(world.poll_once().await, 1);
        let aside = world.dead_letters().await;
        assert_eq!(aside.len(), 1);
        assert_eq!(aside[0].0, body);
        assert!(aside[0].1.contains(reason), "{}", aside[0].1);
        assert_eq!(world.queued().await, 0);
    }
}

#[tokio::test]
async fn poison_beside_good_messages_costs_them_nothing() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    for n in 0..4 {
        world.send_message("poison").await;
        world.send("a", json!({ "n": n })).await;
    }
    assert_eq!(world.poll_once().await, 8);
    assert_eq!(world.receiver.got("/a").len(), 4);
    assert_eq!(world.dead_letters().await.len(), 4);
    assert_eq!(world.queued().await, 0);
}

#[tokio::test]
async fn same_key_and_body_give_the_same_id_and_one_delivery() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let body = json!({ "type": "a", "data": { "n": 1 } });
    let first = post(&world, "k", body.clone()).await.expect(202);
    let again = post(&world, "k", body.clone()).await.expect(202);
    assert_eq!(first, again);
    world.settle().await;
    let later = post(&world, "k", body.clone()).await.expect(202);
    assert_eq!(first, later);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    // The key in the body is the same as in the header.
    let in_body = json!({ "type": "a", "data": {}, "idempotency_key": "k2" });
    let first = world.api.post("/v1/events", in_body.clone()).await.expect(202);
    assert_eq!(first, world.api.post("/v1/events", in_body).await.expect(202));
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 2);
}

#[tokio::test]
async fn header_that_is_no_key_is_refused_beside_a_key_in_the_body_too() {
    let world = World::start().await;
    let body = json!({ "type": "a", "data": {}, "idempotency_key": "k" });
    let refused = post(&world, &"x".repeat(257), body).await;
    assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["Idempotency-Key"]);
}

#[tokio::test]
async fn same_key_with_another_body_is_a_conflict_and_delivers_nothing() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    post(&world, "k", json!({ "type": "a", "data": { "n": 1 } })).await.expect(202);
    let other = post(&world, "k", json!({ "type": "a", "data": { "n": 2 } })).await;
    other.expect_error(StatusCode::CONFLICT, "CONFLICT");
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn key_is_free_again_after_a_day_and_never_shared_between_modes_or_tenants() {
    let world = World::start().await;
    let body = json!({ "type": "a", "data": {}, "idempotency_key": "k" });
    let live = world.api.post("/v1/events", body.clone()).await.expect(202);
    let test = crate::world::Client::new(&world.api_url, &world.demo.test_key);
    let other = world.other_tenant().await;
    for client in [&test, &other] {
        assert_ne!(live, client.post("/v1/events", body.clone()).await.expect(202));
    }
    world.advance_seconds(86_399);
    assert_eq!(live, world.api.post("/v1/events", body.clone()).await.expect(202));
    world.advance_seconds(2);
    assert_ne!(live, world.api.post("/v1/events", body).await.expect(202));
}

#[tokio::test]
async fn same_key_at_the_same_time_is_one_event_and_one_delivery() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let body = json!({ "type": "a", "data": {} });
    let calls = (0..8).map(|_| post(&world, "k", body.clone()));
    let ids: Vec<_> = futures::future::join_all(calls).await.into_iter().map(|answer| answer.expect(202)).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn key_on_the_queue_takes_the_id_that_the_first_message_got() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let over_http = post(&world, "http", json!({ "type": "a", "data": { "n": 1 } })).await.expect(202);
    world.settle().await;
    world.send_message(&world.message("a", json!({ "idempotency_key": "http" })).to_string()).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);

    let first = world.send_message(&world.message("a", json!({ "idempotency_key": "queue" })).to_string()).await;
    let derived = EventId::derived_from_message(world.clock.now(), &first).to_string();
    world.settle().await;
    world.advance_seconds(5);
    world.send_message(&world.message("a", json!({ "idempotency_key": "queue" })).to_string()).await;
    world.settle().await;
    assert_eq!(id_of(&post(&world, "queue", json!({ "type": "a", "data": {} })).await.expect(202)), derived);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 2);
    for event in [id_of(&over_http), &derived] {
        assert_eq!(world.delivery(&endpoint, event).await["attempts"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn messages_with_one_key_in_one_batch_are_one_event_sent_once() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    for _ in 0..3 {
        world.send_message(&world.message("a", json!({ "idempotency_key": "k" })).to_string()).await;
    }
    let unrelated = world.send("b", json!({})).await;
    assert_eq!(world.poll_once().await, 4);
    assert_eq!(world.receiver.got("/a").len(), 2);
    assert_eq!(world.delivery(&endpoint, &unrelated).await["status"], "succeeded");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]));
}

/// Scenario 5.
#[tokio::test]
async fn event_posted_while_the_queue_is_down_is_refused_and_accepted_later_under_the_same_key() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let body = json!({ "type": "a", "data": {} });
    world.aws.faults().inject(of("ApiFunction", Service::Sqs, "SendMessage", Fault::Unavailable));
    let refused = post(&world, "k", body.clone()).await;
    assert_eq!(refused.headers["retry-after"], "5");
    refused.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 0);

    world.aws.faults().clear();
    let accepted = post(&world, "k", body).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(world.delivery(&endpoint, id_of(&accepted)).await["status"], "succeeded");
}

#[tokio::test]
async fn event_that_the_queue_took_without_an_answer_is_delivered_once_when_it_is_posted_again() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let body = json!({ "type": "a", "data": {} });
    world.aws.faults().inject(of("ApiFunction", Service::Sqs, "SendMessage", Fault::DropAnswer));
    post(&world, "k", body.clone()).await.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    world.aws.faults().clear();
    world.settle().await;
    let id = post(&world, "k", body).await.expect(202);
    world.settle().await;
    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].header("webhook-id"), id_of(&id));
}

#[tokio::test]
async fn later_message_with_the_same_key_sends_nothing_whatever_it_says() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "event_types": ["a"] })).await;
    let first = world.message("a", json!({ "idempotency_key": "k", "data": { "n": 1 } }));
    world.send_message(&first.to_string()).await;
    world.settle().await;
    world.endpoint("/b", json!({ "event_types": ["a", "b"] })).await;
    let second = world.message("b", json!({ "idempotency_key": "k", "data": { "n": 2 } }));
    world.send_message(&second.to_string()).await;
    world.settle().await;
    let got = |path: &str| world.receiver.got(path).len();
    assert_eq!((got("/a"), got("/b"), world.queued().await, world.dead_letters().await), (1, 0, 0, vec![]));
}
